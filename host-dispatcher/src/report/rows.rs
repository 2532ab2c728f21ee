//! The results of a run as one flat list, for the forms that know no nesting: TAP, CSV, LAVA's.
//!
//! Each case is a row; so is a suite that counts itself, under its own name, and whatever stopped the run or failed it
//! from outside of its suites, under the suite [`RUN_SUITE`]. So the rows of a run that has not passed are never all good.

use std::borrow::Cow;

use jiff::Timestamp;

use super::suite::{LoggedCase, SuiteSummary, is_not_allowed};
use super::summary::Summary;
use crate::job::verdict::{CaseResult, ErrorClass};

/// The suite of what belongs to no suite.
pub const RUN_SUITE: &str = "pumice.run";

/// One result.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// The suite's name.
    pub suite: &'a str,
    /// The case's name; of a suite itself the suite's.
    pub name: Cow<'a, str>,
    /// What it came to.
    pub result: CaseResult,
    /// Why.
    pub why: Option<String>,
    /// How long it took.
    pub seconds: Option<f64>,
    /// When it was put on record.
    pub logged: Option<Timestamp>,
    /// The case, where it is one.
    pub case: Option<Cow<'a, LoggedCase>>,
    /// The class of the error, where it is one.
    pub error: Option<ErrorClass>,
}

/// The rows of all suites, in their order.
pub fn of_suites(summary: &Summary) -> impl Iterator<Item = Row<'_>> {
    summary.suites.iter().flat_map(of_suite)
}

/// The rows of one suite: its cases, and then itself, if it counts itself.
pub fn of_suite(suite: &SuiteSummary) -> impl Iterator<Item = Row<'_>> {
    let cases = suite.all_cases().map(|case| of_case(&suite.suite, case));
    cases.chain(suite.counts_itself().then(|| itself(suite)))
}

/// What belongs to no suite: errors, kernel reports that fail the run, and an end that was not written.
pub fn of_run(summary: &Summary) -> impl Iterator<Item = Row<'_>> {
    let row = |name, result, why: String, error| Row {
        suite: RUN_SUITE,
        name: Cow::Borrowed(name),
        result,
        why: Some(why),
        seconds: None,
        logged: summary.ended,
        case: None,
        error,
    };
    let errors = summary
        .errors
        .iter()
        .map(move |error| row("run", CaseResult::Fail, error.message.clone(), Some(error.class)));
    let reports = summary.kernel_reports.iter().filter(|report| is_not_allowed(report));
    let reports = reports.map(move |report| {
        row("kernel", CaseResult::Fail, format!("{}: {}", report.kind, report.title), None)
    });
    let unended = summary
        .verdict
        .is_none()
        .then(|| row("run", CaseResult::Unknown, "the run's end was not written".to_owned(), None));
    errors.chain(reports).chain(unended)
}

fn of_case<'a>(suite: &'a str, case: Cow<'a, LoggedCase>) -> Row<'a> {
    let end = case.end.as_ref().filter(|_| case.result == CaseResult::Fail);
    Row {
        suite,
        name: match &case {
            Cow::Borrowed(case) => Cow::Borrowed(case.inner.case.as_str()),
            Cow::Owned(case) => Cow::Owned(case.inner.case.clone()),
        },
        result: case.result,
        why: case.why.clone().or_else(|| end.map(ToString::to_string)),
        seconds: case.seconds,
        logged: Some(case.logged),
        case: Some(case),
        error: None,
    }
}

fn itself(suite: &SuiteSummary) -> Row<'_> {
    Row {
        suite: &suite.suite,
        name: Cow::Borrowed(&suite.suite),
        result: suite.itself(),
        why: suite.why(),
        seconds: suite.end.is_some().then_some(suite.seconds),
        logged: None,
        case: None,
        error: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{panicked_run, run_with_cases};
    use super::*;

    fn shown<'a>(rows: impl Iterator<Item = Row<'a>>) -> Vec<String> {
        rows.map(|row| format!("{}/{} {}", row.suite, row.name, row.result)).collect()
    }

    #[test]
    fn rows() {
        let summary = Summary::of(&run_with_cases());
        assert_eq!(
            shown(of_suites(&summary)),
            [
                "smoke/read-rate pass",
                "smoke/<a> & \"b\": ], 'c'\u{1b}[2J fail",
                "smoke/sound skip",
                "smoke/hangs unknown",
                "smoke/smoke fail",
                "stress/stress fail",
            ]
        );
        assert_eq!(shown(of_run(&summary)), [""; 0]);
        assert_eq!(shown(of_run(&Summary::of(&panicked_run()))), ["pumice.run/run fail"]);
        assert_eq!(shown(of_run(&Summary::of(&panicked_run()[..2]))), ["pumice.run/run unknown"]);
    }

    /// Every beginning of a run: what the tally counts is what the rows are.
    #[test]
    fn rows_are_what_is_counted() {
        for events in [run_with_cases(), panicked_run()] {
            for length in 0..=events.len() {
                let summary = Summary::of(&events[..length]);
                let results: crate::job::verdict::Tally =
                    of_suites(&summary).map(|row| row.result).collect();
                let told = summary.tally;
                assert_eq!(
                    (results.pass, results.fail, results.skip, results.unknown),
                    (told.pass, told.fail, told.skip, told.unknown)
                );
            }
        }
    }
}
