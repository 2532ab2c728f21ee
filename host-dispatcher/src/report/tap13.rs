//! A run as TAP 13 (<https://testanything.org/tap-version-13-specification.html>).
//!
//! A result that is not known is `not ok`. TAP 13 has no escape for `#`, behind which a reader looks for a directive; in a
//! name it stands as `_`. Reasons, measurements and times are in a block of YAML below the point.

use std::fmt::Write as _;

use super::rows::{self, Row};
use super::summary::Summary;
use super::text::printable;
use super::yaml;
use crate::job::verdict::CaseResult;

/// The run, as one document.
pub fn text(summary: &Summary) -> String {
    let rows: Vec<Row<'_>> = rows::of_suites(summary).chain(rows::of_run(summary)).collect();
    let mut text = format!("TAP version 13\n1..{}\n", rows.len());
    for (row, number) in rows.iter().zip(1u32..) {
        point(&mut text, number, row);
    }
    text
}

fn point(text: &mut String, number: u32, row: &Row<'_>) {
    let word = match row.result {
        CaseResult::Pass | CaseResult::Skip => "ok",
        CaseResult::Fail | CaseResult::Unknown => "not ok",
    };
    let set = row.case.as_ref().and_then(|case| case.set.as_deref());
    let names = [Some(row.suite), set, Some(&*row.name)];
    let name: Vec<String> = names.into_iter().flatten().map(described).collect();
    let _ = write!(text, "{word} {number} - {}", name.join(" "));
    if row.result == CaseResult::Skip {
        let _ = write!(text, " # SKIP {}", described(row.why.as_deref().unwrap_or("")));
        text.truncate(text.trim_end().len());
    }
    text.push('\n');
    let mut block = serde_json::Map::new();
    if !matches!(row.result, CaseResult::Pass | CaseResult::Skip) {
        block.insert("result".into(), row.result.as_str().into());
        block.extend(row.error.map(|class| ("error_class".to_owned(), class.as_str().into())));
        block.extend(row.why.as_ref().map(|why| ("message".to_owned(), why.as_str().into())));
    }
    if let Some(case) = &row.case {
        block.extend(case.measurement.map(|number| ("measurement".to_owned(), number.into())));
        block.extend(case.units.as_ref().map(|units| ("units".to_owned(), units.as_str().into())));
    }
    if block.is_empty() {
        return;
    }
    block.extend(row.seconds.map(|seconds| ("seconds".to_owned(), seconds.into())));
    text.push_str("  ---\n");
    for (key, value) in &block {
        let _ = writeln!(text, "  {key}: {}", yaml::flow(value));
    }
    text.push_str("  ...\n");
}

/// One line without a mark of a directive.
fn described(text: &str) -> String {
    printable(text).replace('#', "_")
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{panicked_run, run_with_cases};
    use super::*;

    #[test]
    fn a_run() {
        assert_eq!(
            text(&Summary::of(&run_with_cases())),
            "TAP version 13\n\
             1..6\n\
             ok 1 - smoke disk read-rate\n  ---\n  measurement: 41.5\n  seconds: 0.25\n  units: \"MB/s\"\n  ...\n\
             not ok 2 - smoke disk <a> & \"b\": ], 'c'\\u{1b}[2J\n  ---\n  message: \"expected: 3\\nis: 4\"\n  result: \"fail\"\n  seconds: 0.25\n  ...\n\
             ok 3 - smoke sound # SKIP no sound card\n\
             not ok 4 - smoke hangs\n  ---\n  message: \"its end was not seen\"\n  result: \"unknown\"\n  ...\n\
             not ok 5 - smoke smoke\n  ---\n  message: \"timeout\"\n  result: \"fail\"\n  seconds: 30.5\n  ...\n\
             not ok 6 - stress stress\n  ---\n  message: \"kernel oops: Internal error: Oops: 5 [#1] ARM\"\n  result: \"fail\"\n  seconds: 3.0\n  ...\n"
        );
    }

    #[test]
    fn what_stopped_the_run_is_a_point() {
        let text = text(&Summary::of(&panicked_run()));
        assert!(
            text.contains("not ok 4 - pumice.run run\n  ---\n  error_class: \"TestError\"\n"),
            "{text}"
        );
    }
}
