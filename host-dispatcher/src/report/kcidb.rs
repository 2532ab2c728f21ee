//! A run's results as a submission to KCIDB, the database of KernelCI's reports: schema 5.3, of the package `kcidb-io`.
//!
//! A test there belongs to a build. Which one was tested only the job knows: its metadata says so, as `kcidb.build_id`.
//! What else of these keys it has (`BUILD_KEYS`, `CHECKOUT_KEYS`) describes a build and a checkout of our own origin;
//! those of others are theirs to submit.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::rows::{self, RUN_SUITE, Row};
use super::suite::SuiteSummary;
use super::summary::Summary;
use crate::job::event::SuiteEnd;
use crate::job::metadata::text_of;
use crate::job::verdict::{CaseResult, ErrorClass};

/// The submission, by the origin that submits it.
///
/// # Errors
/// The metadata names no build, or one that cannot be: a sentence.
pub fn submission(summary: &Summary, origin: &str) -> Result<Value, String> {
    let build_id = id_of(summary, "build_id")?.ok_or_else(|| {
        format!("KCIDB wants the build that was tested: add \"{PREFIX}build_id: ORIGIN:ID\" to metadata: of the job")
    })?;
    let checkout_id = id_of(summary, "checkout_id")?;
    let is_ours = |id: &str| id.split_once(':').is_some_and(|(by, _)| by == origin);
    let mut submission = Map::new();
    submission.insert("version".into(), json!({"major": 5, "minor": 3}));
    if let Some(checkout_id) = checkout_id.filter(|id| is_ours(id)) {
        let checkout = json!({"id": checkout_id, "origin": origin});
        submission
            .insert("checkouts".into(), json!([described(summary, checkout, &CHECKOUT_KEYS)]));
    }
    if let Some(checkout_id) = checkout_id.filter(|_| is_ours(build_id)) {
        let build = json!({"id": build_id, "origin": origin, "checkout_id": checkout_id});
        submission.insert("builds".into(), json!([described(summary, build, &BUILD_KEYS)]));
    }
    let rows = rows::of_suites(summary).chain(rows::of_run(summary));
    let tests = (1..)
        .zip(rows)
        .map(|(number, row): (u32, _)| test(summary, origin, build_id, number, &row));
    submission.insert("tests".into(), tests.collect());
    Ok(submission.into())
}

/// Whether a text can be the name of who submits.
pub fn is_origin(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !text.is_empty() && text.bytes().all(is_fit)
}

fn test(summary: &Summary, origin: &str, build_id: &str, number: u32, row: &Row<'_>) -> Value {
    let case = row.case.as_ref();
    let set = case.and_then(|case| case.set.as_deref());
    let named = (row.name != row.suite).then_some(&*row.name);
    let mut misc = Map::new();
    let told = [
        ("run", Some(summary.run.as_str())),
        ("job", Some(summary.job.as_str())),
        ("suite", Some(row.suite)),
        ("set", set),
        ("case", named),
        ("reference", case.and_then(|case| case.reference.as_deref())),
    ];
    misc.extend(told.iter().filter_map(|(key, text)| Some(((*key).into(), Value::from((*text)?)))));
    let mut test = Map::new();
    let mut put = |key: &str, value: Value| drop(test.insert(key.to_owned(), value));
    put("id", format!("{origin}:{}.{number}", clean(&summary.run)).into());
    put("origin", origin.into());
    put("build_id", build_id.into());
    put("path", path(&[Some(row.suite), set, named]).into());
    put("status", status(summary, row).into());
    put("misc", misc.into());
    put(
        "environment",
        json!({
            "comment": clean(&format!("{} ({})", summary.board, summary.board_type)),
            "misc": {"board": summary.board, "board_type": summary.board_type},
        }),
    );
    if let Some(seconds) = row.seconds {
        put("duration", seconds.into());
    }
    if let Some(time) = start_of(row) {
        put("start_time", time.to_string().into());
    }
    if let Some(why) = row.why.as_deref().map(clean).filter(|why| !why.is_empty()) {
        put("log_excerpt", cut(&why).into());
    }
    if let Some(value) = case.and_then(|case| case.measurement) {
        let unit = case.and_then(|case| case.units.as_deref()).map(clean);
        put(
            "number",
            unit.map_or_else(
                || json!({"value": value}),
                |unit| json!({"value": value, "unit": unit}),
            ),
        );
    }
    test.into()
}

/// KCIDB tells what the tested code did from what kept a test from telling.
fn status(summary: &Summary, row: &Row<'_>) -> &'static str {
    match (row.result, row.error) {
        (CaseResult::Pass, _) => "PASS",
        (CaseResult::Skip, _) => "SKIP",
        // The image that was tested died.
        (CaseResult::Fail, None | Some(ErrorClass::TestError)) => "FAIL",
        (CaseResult::Fail, Some(ErrorClass::Timeout)) => "ERROR",
        (CaseResult::Fail, Some(_)) => "MISS",
        (CaseResult::Unknown, _) => {
            let did_not_run = |suite: &SuiteSummary| {
                suite.suite == row.suite && matches!(suite.end, Some(SuiteEnd::NotRun { .. }))
            };
            let is_missed = row.case.is_none() && summary.suites.iter().any(did_not_run);
            if is_missed || row.suite == RUN_SUITE { "MISS" } else { "ERROR" }
        }
    }
}

fn start_of(row: &Row<'_>) -> Option<Timestamp> {
    let seconds = row.seconds.filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds))?;
    let micros = SignedDuration::from_micros((seconds * 1e6) as i64);
    row.logged?.checked_sub(micros).ok()
}

/// A place in the tree of all tests: what its words may not have becomes `_`.
fn path(names: &[Option<&str>]) -> String {
    let word = |word: &str| -> String {
        let fit = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        word.chars().map(fit).collect()
    };
    let words = names.iter().flatten().flat_map(|name| name.split('.')).map(word);
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(".")
}

/// An id in the metadata: `origin:anything`.
fn id_of<'s>(summary: &'s Summary, key: &str) -> Result<Option<&'s str>, String> {
    let key = format!("{PREFIX}{key}");
    let Some(value) = summary.metadata.get(&key) else { return Ok(None) };
    let id = value.as_str().filter(|id| {
        id.split_once(':').is_some_and(|(origin, _)| is_origin(origin)) && !id.contains('\0')
    });
    id.map(Some).ok_or_else(|| format!("{key} in the metadata is no id of KCIDB: write ORIGIN:ID"))
}

/// With what the metadata says of it.
fn described(summary: &Summary, mut object: Value, keys: &[&str]) -> Value {
    for key in keys {
        if let Some(value) = summary.metadata.get(&format!("{PREFIX}{key}")) {
            object[*key] = clean(&text_of(value)).into();
        }
    }
    object
}

fn clean(text: &str) -> String {
    text.replace('\0', "")
}

fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(EXCERPT_CHARACTERS_MAX).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

const PREFIX: &str = "kcidb.";
/// What describes a build; free texts in the schema.
const BUILD_KEYS: [&str; 3] = ["architecture", "compiler", "config_name"];
/// What describes a checkout; free texts in the schema.
const CHECKOUT_KEYS: [&str; 3] = ["tree_name", "git_commit_name", "git_repository_branch"];
const EXCERPT_CHARACTERS_MAX: usize = 16 * 1024;
/// A test that took longer than a year did not.
const SECONDS_MAX: f64 = 366.0 * 86400.0;

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{panicked_run, run_with_cases};
    use super::*;

    fn with(events: &[crate::job::event::Stamped], metadata: Value) -> Summary {
        let Value::Object(metadata) = metadata else { panic!("{metadata}") };
        let mut summary = Summary::of(events);
        summary.metadata = metadata;
        summary
    }

    #[test]
    fn each_row_is_a_test_of_the_build() {
        let summary = with(&run_with_cases(), json!({"kcidb.build_id": "maestro:abc"}));
        let submission = submission(&summary, "ourlab").unwrap();
        assert_eq!(submission["version"], json!({"major": 5, "minor": 3}));
        // The build is another's: nothing is said of it.
        assert!(submission.get("builds").is_none() && submission.get("checkouts").is_none());
        let tests = submission["tests"].as_array().unwrap();
        let shown: Vec<String> =
            tests.iter().map(|test| format!("{} {}", test["path"], test["status"])).collect();
        let first = [
            (0, r#""smoke.disk.read-rate" "PASS""#),
            (2, r#""smoke.sound" "SKIP""#),
            (3, r#""smoke.hangs" "ERROR""#),
        ];
        for (index, expected) in first {
            assert_eq!(shown[index], expected, "{shown:?}");
        }
        assert!(shown[1].ends_with(" \"FAIL\"") && !shown[1].contains('<'), "{shown:?}");
        assert_eq!(tests[0]["id"], "ourlab:2012-03-01-smoke-abc234.1");
        assert_eq!(
            (&tests[0]["build_id"], &tests[0]["origin"]),
            (&"maestro:abc".into(), &"ourlab".into())
        );
        assert_eq!(tests[0]["number"], json!({"value": 41.5, "unit": "MB/s"}));
        assert_eq!(tests[0]["start_time"], "2012-03-01T00:00:01.75Z");
    }

    #[test]
    fn a_build_of_our_own_is_described() {
        let metadata = json!({"kcidb.build_id": "ourlab:b1", "kcidb.checkout_id": "ourlab:c1",
            "kcidb.architecture": "arm", "kcidb.tree_name": "next", "other": 1});
        let submission = submission(&with(&panicked_run(), metadata), "ourlab").unwrap();
        let build = json!([{"id": "ourlab:b1", "origin": "ourlab", "checkout_id": "ourlab:c1", "architecture": "arm"}]);
        assert_eq!(submission["builds"], build);
        assert_eq!(
            submission["checkouts"],
            json!([{"id": "ourlab:c1", "origin": "ourlab", "tree_name": "next"}])
        );
        let last = submission["tests"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["path"], &last["status"]), (&"pumice.run.run".into(), &"FAIL".into()));
    }

    #[test]
    fn without_a_build_there_is_no_submission() {
        let error = submission(&Summary::of(&run_with_cases()), "ourlab").unwrap_err();
        assert_eq!(
            error,
            "KCIDB wants the build that was tested: add \"kcidb.build_id: ORIGIN:ID\" to metadata: of the job"
        );
        for id in [json!("no colon"), json!("Upper:1"), json!(7), json!(":x")] {
            let summary = with(&run_with_cases(), json!({"kcidb.build_id": id}));
            let error = submission(&summary, "ourlab").unwrap_err();
            assert_eq!(error, "kcidb.build_id in the metadata is no id of KCIDB: write ORIGIN:ID");
        }
        assert!(is_origin("our_lab2") && !is_origin("Our-Lab") && !is_origin(""));
    }
}
