//! A run as JUnit XML, the form that CI systems show.
//!
//! A suite is a `testsuite` with one `testcase` of the same name. What stopped a run is a `testsuite` of its own, so
//! that no reader takes a run for good that did not end.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::suite::SuiteSummary;
use super::summary::{RunError, Summary};
use crate::job::event::SuiteEnd;
use crate::job::verdict::CaseResult;

/// The XML of a run.
///
/// # Errors
/// Those of the XML writer; none is known for these inputs.
pub fn xml(summary: &Summary) -> Result<String, SerializeError> {
    let mut report = Report::new(summary.job.as_str());
    report.set_time(seconds(summary.seconds.unwrap_or(0.0)));
    report.add_test_suites(summary.suites.iter().map(|suite| suite_of(summary, suite)));
    let broken = summary.errors.iter().map(error_of);
    let unended = summary.verdict.is_none().then(|| {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message("the run's end was not written");
        TestCase::new("run", status)
    });
    let cases: Vec<TestCase> = broken.chain(unended).collect();
    if !cases.is_empty() {
        let mut suite = TestSuite::new("pumice.run");
        suite.add_test_cases(cases);
        report.add_test_suite(suite);
    }
    report.to_string()
}

fn suite_of(summary: &Summary, suite: &SuiteSummary) -> TestSuite {
    let mut case = TestCase::new(suite.suite.as_str(), status_of(suite));
    case.set_classname(suite.suite.as_str()).set_time(seconds(suite.seconds));
    let mut xml = TestSuite::new(suite.suite.as_str());
    xml.set_time(seconds(suite.seconds));
    xml.add_property(("board", summary.board.as_str()));
    xml.add_property(("board_type", summary.board_type.as_str()));
    xml.add_property(("run", summary.run.as_str()));
    xml.add_test_case(case);
    xml
}

fn status_of(suite: &SuiteSummary) -> TestCaseStatus {
    let mut status = match suite.result {
        CaseResult::Pass => return TestCaseStatus::success(),
        CaseResult::Skip => TestCaseStatus::skipped(),
        CaseResult::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        CaseResult::Unknown => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    match &suite.end {
        Some(end) => status.set_message(end.to_string()),
        None => status.set_message("its end was not seen"),
    };
    status.set_type(match &suite.end {
        Some(SuiteEnd::TimedOut) => "timeout",
        _ => suite.result.as_str(),
    });
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

#[cfg(test)]
mod tests {
    use super::super::summary::tests::panicked_run;
    use super::*;

    #[test]
    fn content() {
        let xml = xml(&Summary::of(&panicked_run())).unwrap();
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
        assert!(xml(&Summary::of(&events)).unwrap().contains("the run&apos;s end was not written"));
    }
}
