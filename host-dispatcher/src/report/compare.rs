//! Two runs of the same tests: which results differ. What is compared with is another run, or what LAVA has of one: the
//! YAML or CSV of its REST interface (`/api/v0.2/jobs/<id>/yaml/`, `…/csv/`), or of `lavacli results`.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::rows;
use super::summary::Summary;
use crate::config::value::shorten;
use crate::config::yaml;

/// A result by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The suite, without the number that LAVA puts before it.
    pub suite: String,
    /// The case.
    pub case: String,
    /// `pass`, `fail`, `skip`, `unknown`.
    pub result: String,
}

/// What the comparison of two runs came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Results that are alike.
    pub same: usize,
    /// The others, in the order of the first run, then what only the second has.
    pub different: Vec<Difference>,
}

/// A case whose results differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The suite.
    pub suite: String,
    /// The case.
    pub case: String,
    /// In the first run; nothing if it has none.
    pub ours: Option<String>,
    /// In the second.
    pub theirs: Option<String>,
}

/// The results of a run of ours.
pub fn of_run(summary: &Summary) -> Vec<Named> {
    let cases = rows::of_suites(summary).filter(|row| row.case.is_some());
    let named = cases.map(|row| Named {
        suite: row.suite.to_owned(),
        case: row.name.to_string(),
        result: row.result.as_str().to_owned(),
    });
    named.collect()
}

/// The results that LAVA exported, as YAML or CSV. Those of its own suite `lava` are left out: they tell of its actions.
///
/// # Errors
/// A sentence: the text is neither, or a result is none.
pub fn of_lava(text: &str) -> Result<Vec<Named>, CompareError> {
    let rows: Vec<LavaRow> = if text.trim_start().starts_with(['-', '[']) {
        yaml::from_made_str("results", text).map_err(|error| CompareError::Form(error.message))?
    } else {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
        let columns = reader.headers().map_err(|error| CompareError::Form(error.to_string()))?;
        if let Some(column) =
            COLUMNS.iter().find(|column| columns.iter().all(|name| name != **column))
        {
            return Err(CompareError::Form(format!("there is no column \"{column}\"")));
        }
        let rows: Result<Vec<LavaRow>, _> = reader.deserialize().collect();
        rows.map_err(|error| CompareError::Form(error.to_string()))?
    };
    if rows.len() > RESULTS_MAX {
        return Err(CompareError::TooMany);
    }
    let mut named = Vec::with_capacity(rows.len());
    for row in rows.into_iter().filter(|row| row.suite != LAVA_SUITE) {
        let result = row.result.to_ascii_lowercase();
        if !RESULTS.contains(&result.as_str()) {
            return Err(CompareError::Result(shorten(&result)));
        }
        named.push(Named { suite: plain(&row.suite).to_owned(), case: row.name, result });
    }
    Ok(named)
}

/// Compares by suite and case; of one name the first is held against the first, the second against the second.
pub fn compare(ours: &[Named], theirs: &[Named]) -> Comparison {
    let mut waiting: BTreeMap<(&str, &str), VecDeque<usize>> = BTreeMap::new();
    for (index, named) in theirs.iter().enumerate() {
        waiting.entry((&named.suite, &named.case)).or_default().push_back(index);
    }
    let mut comparison = Comparison::default();
    for named in ours {
        let found = waiting.get_mut(&(named.suite.as_str(), named.case.as_str()));
        let other = found.and_then(VecDeque::pop_front).map(|index| &theirs[index].result);
        if other == Some(&named.result) {
            comparison.same += 1;
        } else {
            comparison.different.push(Difference {
                suite: named.suite.clone(),
                case: named.case.clone(),
                ours: Some(named.result.clone()),
                theirs: other.cloned(),
            });
        }
    }
    let mut rest: Vec<usize> = waiting.into_values().flatten().collect();
    rest.sort_unstable();
    for Named { suite, case, result } in rest.into_iter().map(|index| theirs[index].clone()) {
        comparison.different.push(Difference { suite, case, ours: None, theirs: Some(result) });
    }
    comparison
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |difference: &Difference| format!("{}/{}", difference.suite, difference.case);
        let width = self.different.iter().map(|difference| name(difference).chars().count());
        let width = width.max().unwrap_or(0).min(NAME_WIDTH_MAX);
        for difference in &self.different {
            let word = |result: &Option<String>| result.clone().unwrap_or_else(|| "-".to_owned());
            let (ours, theirs) = (word(&difference.ours), word(&difference.theirs));
            writeln!(f, "{:width$}  {ours:7}  {theirs}", name(difference))?;
        }
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let (same, different) = (self.same, self.different.len());
        writeln!(f, "{same} result{} alike, {different} different", plural(same))
    }
}

#[derive(Deserialize)]
struct LavaRow {
    suite: String,
    name: String,
    result: String,
}

/// LAVA puts the number of the action and of the definition before a suite's name: `0_smoke`, `1.2_smoke`.
fn plain(suite: &str) -> &str {
    match suite.split_once('_') {
        Some((number, name))
            if !name.is_empty()
                && number.starts_with(|c: char| c.is_ascii_digit())
                && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') =>
        {
            name
        }
        _ => suite,
    }
}

const COLUMNS: [&str; 3] = ["suite", "name", "result"];
const LAVA_SUITE: &str = "lava";
const RESULTS: [&str; 4] = ["pass", "fail", "skip", "unknown"];
/// A run of ours has no more.
const RESULTS_MAX: usize = 1_000_000;
/// Longer names stand out of their column.
const NAME_WIDTH_MAX: usize = 60;

/// Why results cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareError {
    /// Neither YAML nor CSV of LAVA's.
    Form(String),
    /// A result that is none.
    Result(String),
    /// Too many.
    TooMany,
}

impl fmt::Display for CompareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(why) => write!(
                f,
                "no results of LAVA: {why}: save https://SERVER/api/v0.2/jobs/ID/csv/, or lavacli results ID --yaml"
            ),
            Self::Result(word) => {
                write!(f, "\"{word}\" is no result: known are {}", RESULTS.join(", "))
            }
            Self::TooMany => write!(f, "more than {RESULTS_MAX} results"),
        }
    }
}

impl std::error::Error for CompareError {}

#[cfg(test)]
mod tests {
    use super::super::lava;
    use super::super::summary::tests::run_with_cases;
    use super::*;

    fn named(list: &[(&str, &str, &str)]) -> Vec<Named> {
        let of = |(suite, case, result): &(&str, &str, &str)| Named {
            suite: (*suite).into(),
            case: (*case).into(),
            result: (*result).into(),
        };
        list.iter().map(of).collect()
    }

    #[test]
    fn what_differs_is_told() {
        let ours = named(&[
            ("smoke", "a", "pass"),
            ("smoke", "b", "pass"),
            ("smoke", "b", "fail"),
            ("mine", "c", "skip"),
        ]);
        let theirs = named(&[
            ("smoke", "b", "pass"),
            ("smoke", "b", "pass"),
            ("smoke", "a", "pass"),
            ("x", "d", "pass"),
        ]);
        assert_eq!(
            compare(&ours, &theirs).to_string(),
            "smoke/b  fail     pass\nmine/c   skip     -\nx/d      -        pass\n2 results alike, 3 different\n"
        );
        assert!(compare(&ours, &ours).different.is_empty());
    }

    #[test]
    fn what_lava_exports_is_read() {
        let yaml = "- {suite: lava, name: job, result: pass}\n- {job: 1, suite: 0_smoke, name: a_b, result: pass, measurement: None}\n";
        assert_eq!(of_lava(yaml).unwrap(), named(&[("smoke", "a_b", "pass")]));
        let csv = "job,suite,result,name\r\n7,1.2_x_y,FAIL,b\r\n7,plain_name,skip,c\r\n";
        assert_eq!(
            of_lava(csv).unwrap(),
            named(&[("x_y", "b", "fail"), ("plain_name", "c", "skip")])
        );
        for text in ["nothing", "- 3", "- {suite: a, name: b, result: maybe}", "a,b\n1,2\n"] {
            assert!(of_lava(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_exported_as_lava_is_the_same_run() {
        let summary = Summary::of(&run_with_cases());
        let ours = of_run(&summary);
        assert!(!ours.is_empty());
        let csv = String::from_utf8(lava::csv(&summary).unwrap()).unwrap();
        for text in [csv, lava::results_yaml(&summary)] {
            let theirs = of_lava(&text).unwrap();
            // A suite that counts itself is a row of LAVA's, and no case.
            let cases: Vec<Named> =
                theirs.into_iter().filter(|row| row.case != row.suite).collect();
            let comparison = compare(&ours, &cases);
            assert!(comparison.different.is_empty(), "{comparison}");
        }
    }
}
