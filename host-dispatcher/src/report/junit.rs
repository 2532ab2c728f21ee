//! A run as JUnit XML, the form that CI systems show.
//!
//! A suite is a `testsuite`, a case a `testcase` of the class `suite` or `suite.set`. A suite that counts itself is one more
//! `testcase`, of its own name. What stopped a run is a `testsuite` of its own, so that no reader takes a run for good that
//! did not end.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::rows::{self, Row};
use super::suite::{LoggedCase, SuiteSummary};
use super::summary::{RunError, Summary};
use super::text::printable;
use crate::job::event::{ByteRange, Source, SuiteEnd};
use crate::job::metadata::text_of;
use crate::job::verdict::CaseResult;

/// Gives bytes of a suite's output; nothing where they are not there.
pub type Output<'o> = dyn FnMut(&str, Source, ByteRange) -> Option<Vec<u8>> + 'o;

/// The XML of a run. Cases that did not pass have the end of what they printed, at most 16 KiB of each output; all cases
/// together at most 8 MiB.
///
/// # Errors
/// Those of the XML writer; none is known for these inputs.
pub fn xml(summary: &Summary, output: &mut Output<'_>) -> Result<String, SerializeError> {
    let mut report = Report::new(summary.job.as_str());
    report.set_time(seconds(summary.seconds.unwrap_or(0.0)));
    let mut left = OUTPUT_BYTES_MAX;
    for suite in &summary.suites {
        report.add_test_suite(suite_of(summary, suite, output, &mut left));
    }
    let errors = summary.errors.iter().map(error_of);
    let others = rows::of_run(summary).filter(|row| row.error.is_none());
    let others = others.map(|row| TestCase::new(printable(&row.name), status_of(&row, None)));
    let cases: Vec<TestCase> = errors.chain(others).collect();
    if !cases.is_empty() {
        let mut suite = TestSuite::new(rows::RUN_SUITE);
        suite.add_test_cases(cases);
        report.add_test_suite(suite);
    }
    report.to_string()
}

fn suite_of(
    summary: &Summary,
    suite: &SuiteSummary,
    output: &mut Output<'_>,
    left: &mut u64,
) -> TestSuite {
    let mut xml = TestSuite::new(suite.suite.as_str());
    xml.set_time(seconds(suite.seconds));
    xml.add_property(("board", summary.board.as_str()));
    xml.add_property(("board_type", summary.board_type.as_str()));
    xml.add_property(("run", summary.run.as_str()));
    for (key, value) in &summary.metadata {
        let (name, value) = (format!("metadata.{}", printable(key)), text_of(value));
        xml.add_property((name.as_str(), printable(&value).as_ref()));
    }
    for row in rows::of_suite(suite) {
        let mut case = TestCase::new(printable(&row.name), status_of(&row, suite.end.as_ref()));
        case.set_time(seconds(row.seconds.unwrap_or(0.0)));
        match &row.case {
            Some(logged) => describe(&mut case, logged, output, left),
            None => {
                case.set_classname(suite.suite.as_str());
            }
        }
        xml.add_test_case(case);
    }
    xml
}

/// What only a case has.
fn describe(xml: &mut TestCase, case: &LoggedCase, output: &mut Output<'_>, left: &mut u64) {
    match &case.set {
        Some(set) => xml.set_classname(printable(&format!("{}.{set}", case.suite))),
        None => xml.set_classname(printable(&case.suite)),
    };
    if let Some(measurement) = case.measurement {
        xml.add_property(("measurement", format!("{measurement:?}").as_str()));
    }
    for (name, value) in [("units", &case.units), ("reference", &case.reference)] {
        if let Some(value) = value {
            xml.add_property((name, value.as_str()));
        }
    }
    if matches!(case.result, CaseResult::Pass | CaseResult::Skip) {
        return;
    }
    let mut printed = |source, range: Option<ByteRange>| {
        let ByteRange { from, to } = range?;
        let length = to.saturating_sub(from).min(CASE_OUTPUT_BYTES_MAX).min(*left);
        let bytes = output(&case.suite, source, ByteRange { from: to - length, to })?;
        *left = left.saturating_sub(bytes.len() as u64);
        (!bytes.is_empty()).then_some(bytes)
    };
    if let Some(bytes) = printed(Source::Stdout, case.stdout) {
        xml.set_system_out_lossy(bytes);
    }
    if let Some(bytes) = printed(Source::Stderr, case.stderr) {
        xml.set_system_err_lossy(bytes);
    }
}

/// `end` is that of the suite, which tells what kind of failure the suite itself is.
fn status_of(row: &Row<'_>, end: Option<&SuiteEnd>) -> TestCaseStatus {
    let mut status = match row.result {
        CaseResult::Pass => return TestCaseStatus::success(),
        CaseResult::Skip => TestCaseStatus::skipped(),
        CaseResult::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        CaseResult::Unknown => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if let Some(why) = &row.why {
        status.set_message(why.as_str());
    }
    let is_late = match &row.case {
        Some(case) => case.end == Some(SuiteEnd::TimedOut),
        None => end == Some(&SuiteEnd::TimedOut),
    };
    status.set_type(if is_late { "timeout" } else { row.result.as_str() });
    status
}

fn error_of(error: &RunError) -> TestCase {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(error.message.as_str()).set_type(error.class.as_str());
    if !error.console_tail.is_empty() {
        status.set_description(error.console_tail.as_str());
    }
    TestCase::new("run", status)
}

/// A duration from a number that may have come from a file.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// The end of what a case printed says why it failed.
const CASE_OUTPUT_BYTES_MAX: u64 = 16 * 1024;
/// CI systems hold the whole file in memory.
const OUTPUT_BYTES_MAX: u64 = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{panicked_run, run_with_cases};
    use super::*;

    fn xml_of(events: &[crate::job::event::Stamped]) -> String {
        let printed = b"0123456789abcdefghij\x1b[2J]]>&<\n".repeat(4);
        xml(&Summary::of(events), &mut |suite, source, range| {
            assert_eq!((suite, source), ("smoke", Source::Stdout));
            printed.get(range.from as usize..range.to as usize).map(<[u8]>::to_vec)
        })
        .unwrap()
    }

    #[test]
    fn metadata_stands_in_each_suite() {
        let mut summary = Summary::of(&run_with_cases());
        summary.metadata = serde_json::from_str(r#"{"build": "5<6", "trees": ["a", 2]}"#).unwrap();
        let xml = xml(&summary, &mut |_, _, _| None).unwrap();
        for property in [
            r#"<property name="metadata.build" value="5&lt;6"/>"#,
            r#"<property name="metadata.trees" value="a, 2"/>"#,
        ] {
            assert_eq!(xml.matches(property).count(), summary.suites.len(), "{xml}");
        }
    }

    #[test]
    fn cases() {
        let xml = xml_of(&run_with_cases());
        for expected in [
            r#"<testsuite name="smoke" tests="5" skipped="1" errors="1" failures="2" time="30.500">"#,
            r#"<testcase name="read-rate" classname="smoke.disk" time="0.250">"#,
            r#"<property name="measurement" value="41.5"/>"#,
            r#"<property name="units" value="MB/s"/>"#,
            r#"<skipped message="no sound card" type="skip"/>"#,
            r#"<error message="its end was not seen" type="unknown"/>"#,
            r#"<failure message="timeout" type="timeout"/>"#,
            r#"<failure message="kernel oops: Internal error: Oops: 5 [#1] ARM" type="fail"/>"#,
            "<system-out>]]&gt;",
        ] {
            assert!(xml.contains(expected), "{expected} is missing in\n{xml}");
        }
        assert!(!xml.contains('\u{1b}'), "control characters are no XML");
    }

    #[test]
    fn content() {
        let xml = xml_of(&panicked_run());
        for expected in [
            r#"<testsuites name="smoke" tests="4" skipped="0" failures="1" errors="2" time="12.500">"#,
            r#"<testcase name="uname" classname="uname" time="0.500"/>"#,
            r#"<failure message="exit status 1" type="fail"/>"#,
            r#"<error message="its end was not seen" type="unknown"/>"#,
            r#"<error message="the kernel of the test image panicked" type="TestError">Kernel panic - not syncing: sysrq triggered crash"#,
            r#"<property name="board" value="qemu-01"/>"#,
        ] {
            assert!(xml.contains(expected), "{expected} is missing in\n{xml}");
        }
        assert!(!xml.contains('\u{1b}'), "control characters are no XML");
    }

    #[test]
    fn an_unended_run_is_an_error() {
        let mut events = panicked_run();
        events.truncate(3);
        assert!(xml_of(&events).contains("the run&apos;s end was not written"));
    }
}
