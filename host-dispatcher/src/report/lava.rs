//! A run's results in the forms of LAVA's REST interface: the list of `/api/v0.2/jobs/<id>/yaml/`, and the rows of `…/csv/`.
//!
//! Keys, columns and the forms of values are those of `export_testcase` in `lava_results_app/utils.py` (2023.01 and
//! later), down to `None` for no measurement; every value is a text but the metadata. As in LAVA there is always a
//! result `job` in the suite `lava`: whether the run itself came to its end, and what stopped it.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value};

use super::rows::{self, RUN_SUITE, Row};
use super::suite::SuiteSummary;
use super::summary::Summary;
use super::yaml;
use crate::job::event::SuiteEnd;
use crate::job::verdict::{CaseResult, ErrorClass};

/// One result as LAVA exports it, in the order of the columns.
#[derive(Debug, Serialize)]
struct Exported {
    job: String,
    suite: String,
    result: &'static str,
    measurement: String,
    unit: String,
    duration: String,
    timeout: &'static str,
    logged: String,
    level: &'static str,
    metadata: Map<String, Value>,
    url: String,
    name: String,
    id: String,
    log_start_line: &'static str,
    log_end_line: &'static str,
}

/// The results as a list in YAML.
pub fn results_yaml(summary: &Summary) -> String {
    let text: String = exported(summary).iter().map(yaml::item).collect();
    if text.is_empty() { "[]\n".to_owned() } else { text }
}

/// The results as CSV (RFC 4180), every field in quotes, the names of the columns in the first line.
///
/// # Errors
/// Those of the CSV writer; none is known for these inputs.
pub fn csv(summary: &Summary) -> Result<Vec<u8>, csv::Error> {
    let mut writer =
        csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for row in exported(summary) {
        let metadata = Value::Object(row.metadata).to_string();
        writer.write_record([
            row.job.as_str(),
            &row.suite,
            row.result,
            &row.measurement,
            &row.unit,
            &row.duration,
            row.timeout,
            &row.logged,
            row.level,
            &metadata,
            &row.url,
            &row.name,
            &row.id,
            row.log_start_line,
            row.log_end_line,
        ])?;
    }
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

/// The results of each suite as a list in YAML, the suite `lava` first, as they go with a callback. There LAVA has names
/// that receivers take apart: a suite is `0_smoke`, by its place in the job, and `lava` tells of each once more; and
/// whether the image under test came up is the case `login-action`.
pub(super) fn results_by_suite(summary: &Summary) -> Vec<(String, String)> {
    let mut all = exported(summary);
    for row in &mut all {
        let place = summary.suites.iter().position(|suite| suite.suite == row.suite);
        if let Some(place) = place.filter(|_| row.suite != "lava") {
            row.suite = format!("{place}_{}", row.suite);
        }
    }
    let stage = |name: String, result: CaseResult, number: usize| Exported {
        job: summary.run.clone(),
        suite: "lava".to_owned(),
        result: result.as_str(),
        measurement: "None".to_owned(),
        unit: String::new(),
        duration: String::new(),
        timeout: "",
        logged: summary.ended.map_or_else(String::new, logged_time),
        level: "",
        metadata: stage_message(&name, result),
        url: String::new(),
        name,
        id: (all.len() + number).to_string(),
        log_start_line: "",
        log_end_line: "",
    };
    let is_up = |suite: &SuiteSummary| {
        !matches!(suite.end, None | Some(SuiteEnd::NotRun { .. })) || suite.has_cases()
    };
    let login = if summary.suites.iter().any(is_up) { CaseResult::Pass } else { CaseResult::Fail };
    let stages = std::iter::once(("login-action".to_owned(), login)).chain(
        summary
            .suites
            .iter()
            .enumerate()
            .map(|(place, suite)| (format!("{place}_{}", suite.suite), suite.result)),
    );
    let stages: Vec<Exported> =
        (1..).zip(stages).map(|(number, (name, result))| stage(name, result, number)).collect();
    let mut suites: Vec<(String, String)> = Vec::new();
    for row in stages.iter().chain(&all) {
        let item = yaml::item(row);
        match suites.iter_mut().find(|(suite, _)| *suite == row.suite) {
            Some((_, text)) => text.push_str(&item),
            None => suites.push((row.suite.clone(), item)),
        }
    }
    suites
}

fn stage_message(name: &str, result: CaseResult) -> Map<String, Value> {
    [("definition", "lava"), ("case", name), ("result", result.as_str())]
        .map(|(key, value)| (key.to_owned(), Value::from(value)))
        .into_iter()
        .collect()
}

/// The message of a result in LAVA's log, and the metadata of an exported one.
pub(super) fn message(row: &Row<'_>) -> Map<String, Value> {
    let (suite, name) = lava_names(row);
    let mut map = Map::new();
    map.insert("definition".into(), suite.into());
    map.insert("case".into(), name.into());
    map.insert("result".into(), row.result.as_str().into());
    if let Some(case) = &row.case {
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        map.extend(text(&case.set).map(|set| ("set".to_owned(), set)));
        map.extend(case.measurement.map(|number| ("measurement".to_owned(), number.into())));
        map.extend(text(&case.units).map(|units| ("units".to_owned(), units)));
        map.extend(text(&case.reference).map(|reference| ("reference".to_owned(), reference)));
    }
    map.extend(row.seconds.map(|seconds| ("duration".to_owned(), format!("{seconds:.2}").into())));
    match row.error {
        Some(class) => {
            map.insert("error_type".into(), error_type(class).into());
            map.extend(row.why.as_deref().map(|why| ("error_msg".to_owned(), why.into())));
        }
        None => map.extend(row.why.as_deref().map(|why| ("why".to_owned(), why.into()))),
    }
    map
}

/// The result of the run itself, as LAVA has it: `lava`, `job`.
pub(super) fn job_row(summary: &Summary) -> Row<'_> {
    rows::of_run(summary).next().unwrap_or_else(|| Row {
        suite: RUN_SUITE,
        name: "run".into(),
        result: CaseResult::Pass,
        why: None,
        seconds: summary.seconds,
        logged: summary.ended,
        case: None,
        error: None,
    })
}

/// A time as LAVA's log has it: UTC, without a zone.
pub fn log_time(time: Timestamp) -> String {
    format!("{:.6}", time.to_zoned(TimeZone::UTC).datetime())
}

fn exported(summary: &Summary) -> Vec<Exported> {
    let run = rows::of_run(summary).skip(1);
    let rows = std::iter::once(job_row(summary)).chain(run).chain(rows::of_suites(summary));
    rows.zip(1u64..)
        .map(|(row, id)| {
            let (suite, name) = lava_names(&row);
            let case = row.case.as_ref();
            Exported {
                job: summary.run.clone(),
                suite: suite.to_owned(),
                result: row.result.as_str(),
                measurement: case
                    .and_then(|case| case.measurement)
                    .map_or_else(|| "None".to_owned(), |number| format!("{number:?}")),
                unit: case.and_then(|case| case.units.clone()).unwrap_or_default(),
                duration: row.seconds.map_or_else(String::new, |seconds| format!("{seconds:.2}")),
                timeout: "",
                logged: row.logged.or(summary.ended).map_or_else(String::new, logged_time),
                level: "",
                metadata: message(&row),
                url: case.and_then(|case| case.reference.clone()).unwrap_or_default(),
                name: name.to_owned(),
                id: id.to_string(),
                log_start_line: "",
                log_end_line: "",
            }
        })
        .collect()
}

/// The names of a row's suite and case, as LAVA calls them.
fn lava_names<'a>(row: &'a Row<'_>) -> (&'a str, &'a str) {
    match (row.suite, &*row.name) {
        (RUN_SUITE, "run") => ("lava", "job"),
        (RUN_SUITE, name) => ("lava", name),
        names => names,
    }
}

/// Python's `str()` of an aware `datetime`.
pub(super) fn logged_time(time: Timestamp) -> String {
    format!("{}+00:00", log_time(time).replace('T', " "))
}

/// The class's word in `error_type` (`lava_common/exceptions.py`).
pub fn error_type(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::InfrastructureError => "Infrastructure",
        ErrorClass::JobError => "Job",
        ErrorClass::TestError => "Test",
        ErrorClass::ConfigurationError => "Configuration",
        ErrorClass::Timeout => "LAVATimeout",
        ErrorClass::Canceled => "Canceled",
    }
}

/// `testcase_export_fields` in `lava_results_app/utils.py`.
const COLUMNS: [&str; 15] = [
    "job",
    "suite",
    "result",
    "measurement",
    "unit",
    "duration",
    "timeout",
    "logged",
    "level",
    "metadata",
    "url",
    "name",
    "id",
    "log_start_line",
    "log_end_line",
];

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{panicked_run, run_with_cases};
    use super::*;

    #[test]
    fn a_list_of_results() {
        let yaml = results_yaml(&Summary::of(&run_with_cases()));
        let lines: Vec<&str> = yaml.lines().collect();
        assert_eq!(lines.len(), 7);
        assert!(lines[0].contains("\"suite\": \"lava\", \"result\": \"pass\""), "{}", lines[0]);
        assert_eq!(
            lines[1],
            "- {\"job\": \"2012-03-01-smoke-abc234\", \"suite\": \"smoke\", \"result\": \"pass\", \"measurement\": \"41.5\", \
             \"unit\": \"MB/s\", \"duration\": \"0.25\", \"timeout\": \"\", \"logged\": \"2012-03-01 00:00:02.000000+00:00\", \
             \"level\": \"\", \"metadata\": {\"case\": \"read-rate\", \"definition\": \"smoke\", \"duration\": \"0.25\", \
             \"measurement\": 41.5, \"result\": \"pass\", \"set\": \"disk\", \"units\": \"MB/s\"}, \"url\": \"\", \
             \"name\": \"read-rate\", \"id\": \"2\", \"log_start_line\": \"\", \"log_end_line\": \"\"}"
        );
    }

    #[test]
    fn rows_in_csv() {
        let bytes = csv(&Summary::of(&panicked_run())).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[0].starts_with("\"job\",\"suite\",\"result\",\"measurement\",\"unit\","));
        assert!(
            lines[1].starts_with("\"2012-03-01-smoke-abc234\",\"lava\",\"fail\",\"None\","),
            "{}",
            lines[1]
        );
        assert!(lines[1].contains("\"\"error_type\"\":\"\"Test\"\""), "{}", lines[1]);
    }
}
