//! Timeouts, at every level.

use super::super::report::Report;
use super::super::tree::{Field, Keys};
use crate::config::yaml::Place;

/// The timeouts of a job, as periods of ours.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeouts {
    /// For the whole job.
    pub(super) job: Option<String>,
    /// For every action without one of its own.
    action: Option<String>,
    /// For every test shell without one of its own.
    test: Option<String>,
}

impl Timeouts {
    /// `timeouts:` of a job whose map begins at `at`.
    pub(super) fn read(field: Option<Field>, at: Place, report: &mut Report) -> Self {
        let mut timeouts = Self::default();
        let Some(field) = field else {
            report.missing(at, "timeouts", "timeouts: {job: {minutes: 30}}");
            return timeouts;
        };
        let at = field.at;
        let mut keys = field.keys(report);
        match keys.take("job") {
            Some(field) => timeouts.job = mapped(field, "timeout", report),
            None => report.missing(at, "timeouts.job", "job: {minutes: 30}"),
        }
        if let Some(field) = keys.take("action") {
            timeouts.action = mapped(field, "the timeouts of actions without one", report);
        }
        if let Some(field) = keys.take("actions") {
            for (name, field) in field.keys(report).rest() {
                if TEST_ACTIONS.contains(&name.as_str()) {
                    timeouts.test = mapped(field, "tests[].timeout", report);
                } else {
                    ignored(field, STEPS, report);
                }
            }
        }
        if let Some(field) = keys.take("connection") {
            ignored(field, PROMPTS, report);
        }
        if let Some(field) = keys.take("connections") {
            for (_, field) in field.keys(report).rest() {
                ignored(field, PROMPTS, report);
            }
        }
        if let Some(field) = keys.take("queue") {
            timeout(field.clone(), report);
            report
                .ignored(&field, "a job waits for its board until it is cancelled: pumice cancel");
        }
        keys.end(report);
        timeouts
    }

    /// How long an action may take: its own `timeout`, the job's for such actions, or that for all. `what` is the key that it
    /// becomes.
    pub(super) fn of_action(
        &self,
        keys: &mut Keys,
        kind: Action,
        report: &mut Report,
    ) -> Option<String> {
        let what = match kind {
            Action::Deploy => "deadlines.deploy",
            Action::Boot => "deadlines.boot",
            Action::Test => "tests[].timeout",
        };
        let own = keys.take("timeout").and_then(|field| mapped(field, what, report));
        if let Some(field) = keys.take("timeouts") {
            for (_, field) in field.keys(report).rest() {
                ignored(field, STEPS, report);
            }
        }
        let of_kind = if kind == Action::Test { self.test.clone() } else { None };
        own.or(of_kind).or_else(|| self.action.clone())
    }
}

/// What an action does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Deploy,
    Boot,
    Test,
}

/// A period of ours from `{minutes: 5}`.
pub(super) fn timeout(field: Field, report: &mut Report) -> Option<String> {
    let whole = field.clone();
    if !field.is_map() {
        report.mistake(&whole, FORM);
        return None;
    }
    let mut keys = field.keys(report);
    let mut period = None;
    let mut count = 0;
    for (key, unit, factor) in
        [("days", "h", 24), ("hours", "h", 1), ("minutes", "m", 1), ("seconds", "s", 1)]
    {
        if let Some(field) = keys.take(key) {
            count += 1;
            let number = field.number(report).filter(|number| (1..=LONGEST).contains(number));
            period = number.map(|number| format!("{}{unit}", number * factor));
        }
    }
    if let Some(field) = keys.take("skip") {
        report.ignored(&field, "a test that takes too long never stops the tests behind it here");
    }
    keys.end(report);
    if count != 1 || period.is_none() {
        report.mistake(&whole, FORM);
        return None;
    }
    period
}

fn mapped(field: Field, to: &str, report: &mut Report) -> Option<String> {
    let whole = field.clone();
    let period = timeout(field, report)?;
    report.mapped(&whole, format!("{to}: {period}"));
    Some(period)
}

fn ignored(field: Field, why: &str, report: &mut Report) {
    let whole = field.clone();
    if timeout(field, report).is_some() {
        report.ignored(&whole, why);
    }
}

const FORM: &str = "one of days, hours, minutes, seconds is expected here, 1 or more";
/// The actions of LAVA within which a test definition runs.
const TEST_ACTIONS: [&str; 3] = ["lava-test-shell", "lava-test-retry", "lava-test-monitor"];
const STEPS: &str =
    "that step of LAVA's does not exist here, and the phase has a deadline of its own";
const PROMPTS: &str = "no prompt is waited for";
/// No period is longer than a week (in minutes); checked again, in its unit, where the job is read.
const LONGEST: u64 = 7 * 24 * 3600;
