//! What went on when in a run, as stretches of time: the board's phases, the job's actions, its suites and their cases.
//!
//! Folded from events as they come, of a run that goes on too. What is put on record late, because it came home with the
//! board's files, is placed by the board's clock where an earlier case of its suite told how that goes with the host's.
//! Pure.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::suite;
use crate::job::event::{ActionOutcome, Case, Event, Stamped, SuiteEnd};
use crate::job::verdict::CaseResult;

/// A stretch of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// What it is a stretch of.
    pub kind: SpanKind,
    /// The phase (`up master`), the action (`deploy rootfs`), the suite (`smoke`), or the suite and its case (`smoke/mount`), as
    /// `pumice log --test` takes it.
    pub name: String,
    /// When it began, by the host's clock.
    pub from: Timestamp,
    /// When it ended; nothing while it goes on.
    pub to: Option<Timestamp>,
    /// What it came to; nothing for phases, and while it is not known.
    pub result: Option<CaseResult>,
}

/// See [`Span`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// A phase of the board.
    Phase,
    /// A step of the job.
    Action,
    /// A suite.
    Test,
    /// A case of a suite.
    Case,
}

/// Folds events into spans.
#[derive(Clone, Debug, Default)]
pub struct TimelineSpans {
    began: Option<Timestamp>,
    is_over: bool,
    /// The last one may be open.
    phases: Vec<Span>,
    actions: Vec<Span>,
    tests: Vec<Test>,
    cases: Vec<Span>,
    open_cases: Vec<OpenCase>,
    dropped: u64,
}

/// A suite that began.
#[derive(Clone, Debug)]
struct Test {
    suite: String,
    from: Timestamp,
    to: Option<Timestamp>,
    /// What its end alone comes to.
    own: Option<CaseResult>,
    /// The worst of its cases.
    of_cases: Option<CaseResult>,
    /// When its image was gone.
    left: Option<Timestamp>,
    clock: Option<Clock>,
}

/// How the board's clock goes with the host's, told by a case that ended.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// The host's time at the board's 0, µs; the earliest that a case showed, as events are told late and never early.
    zero_us: i64,
    /// The board's time of the last case, µs.
    last_us: i64,
}

#[derive(Clone, Debug)]
struct OpenCase {
    suite: String,
    set: Option<String>,
    case: String,
    from: Timestamp,
}

impl TimelineSpans {
    /// The spans of these events.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Stamped>) -> Vec<Span> {
        let mut spans = Self::default();
        events.into_iter().for_each(|event| spans.handle_event(event));
        spans.spans()
    }

    /// One more event happened.
    pub fn handle_event(&mut self, stamped: &Stamped) {
        let now = stamped.time;
        let began = *self.began.get_or_insert(now);
        match &stamped.event {
            Event::Phase { from, to, .. } => {
                match self.phases.last_mut() {
                    Some(last) if last.to.is_none() => last.to = Some(now),
                    Some(_) => {}
                    None => {
                        let to = Some(now);
                        self.phases.push(Span { to, ..span(SpanKind::Phase, from.clone(), began) });
                    }
                }
                if from == UP_TEST {
                    let open = self.tests.iter_mut().filter(|test| test.to.is_none());
                    open.for_each(|test| test.left = Some(now));
                }
                self.dropped +=
                    push(&mut self.phases, OTHERS_MAX, span(SpanKind::Phase, to.clone(), now));
            }
            Event::ActionStarted { action } => {
                let new = span(SpanKind::Action, action.clone(), now);
                self.dropped += push(&mut self.actions, OTHERS_MAX, new);
            }
            Event::ActionEnded { action, outcome, .. } => {
                let is_it = |known: &&mut Span| known.name == *action && known.to.is_none();
                if let Some(known) = self.actions.iter_mut().rev().find(is_it) {
                    known.to = Some(now);
                    known.result = Some(match outcome {
                        ActionOutcome::Done => CaseResult::Pass,
                        ActionOutcome::Skipped { .. } => CaseResult::Skip,
                        ActionOutcome::Failed { .. } => CaseResult::Fail,
                    });
                }
            }
            Event::TestStarted { suite } => self.test_started(suite, now),
            Event::TestEnded { suite, end, result, seconds, .. } => {
                if let Some(test) = self.test(suite) {
                    test.own = Some(*result);
                    test.to = Some(end_of_test(test, now, end, *seconds));
                }
            }
            Event::CaseStarted { suite, set, case } if self.open_cases.len() < OPEN_MAX => {
                let (suite, set, case) = (suite.clone(), set.clone(), case.clone());
                self.open_cases.push(OpenCase { suite, set, case, from: now });
            }
            Event::CaseEnded(case) => self.case_ended(case, now),
            Event::KernelReport(report) if suite::is_not_allowed(report) => {
                if let Some(test) = report.suite.as_deref().and_then(|suite| self.test(suite)) {
                    test.of_cases = Some(CaseResult::Fail);
                }
            }
            Event::RunEnded { .. } => {
                self.is_over = true;
                let phases = self.phases.iter_mut().chain(&mut self.actions);
                phases.filter(|span| span.to.is_none()).for_each(|span| span.to = Some(now));
                let open = self.tests.iter_mut().filter(|test| test.to.is_none());
                open.for_each(|test| test.to = Some(test.left.unwrap_or(now)));
            }
            _ => {}
        }
    }

    /// The spans so far, in the order of their beginnings; of two that began together what holds the other comes first.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<Span> =
            [&self.phases, &self.actions, &self.cases].into_iter().flatten().cloned().collect();
        spans.extend(self.tests.iter().map(Test::span));
        let open = self.open_cases.iter().map(|open| {
            let to = self.is_over.then(|| self.end_of(&open.suite)).flatten();
            let result = self.is_over.then_some(CaseResult::Unknown);
            let name = format!("{}/{}", open.suite, open.case);
            Span {
                to: to.map(|to| to.max(open.from)),
                result,
                ..span(SpanKind::Case, name, open.from)
            }
        });
        spans.extend(open);
        spans.sort_by_key(|span| (span.from, span.kind));
        spans
    }

    /// How many are beyond the bounds, and left out.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn test_started(&mut self, suite: &str, now: Timestamp) {
        if self.test(suite).is_some() {
            return;
        }
        let new = Test {
            suite: suite.to_owned(),
            from: now,
            to: None,
            own: None,
            of_cases: None,
            left: None,
            clock: None,
        };
        self.dropped += push(&mut self.tests, TESTS_MAX, new);
    }

    fn case_ended(&mut self, case: &Case, now: Timestamp) {
        let is_it = |open: &OpenCase| {
            open.suite == case.suite && open.set == case.set && open.case == case.case
        };
        let open = self.open_cases.iter().position(is_it);
        let began = open.map(|index| self.open_cases.swap_remove(index).from);
        let mut ended = now;
        if let Some(test) = self.test(&case.suite) {
            test.of_cases = test.of_cases.max_by_rank(case.result);
            ended = match case.board_time_us.and_then(|us| i64::try_from(us).ok()) {
                Some(board_us) => test.time_of(board_us, now),
                // Nobody saw it end.
                None => test.to.or(test.left).unwrap_or(now),
            };
        }
        let by_clock = case.seconds.and_then(|seconds| before(ended, seconds));
        let from = by_clock.or(began).unwrap_or(ended).min(ended);
        let name = format!("{}/{}", case.suite, case.case);
        let new =
            Span { to: Some(ended), result: Some(case.result), ..span(SpanKind::Case, name, from) };
        self.dropped += push(&mut self.cases, CASES_MAX, new);
    }

    fn test(&mut self, suite: &str) -> Option<&mut Test> {
        // Mostly it is the one that began last.
        self.tests.iter_mut().rev().find(|test| test.suite == suite)
    }

    fn end_of(&self, suite: &str) -> Option<Timestamp> {
        self.tests.iter().rev().find(|test| test.suite == suite).and_then(|test| test.to)
    }
}

impl Test {
    fn span(&self) -> Span {
        let result = match (self.own, self.of_cases) {
            // A suite that ended well is what its cases are.
            (Some(CaseResult::Pass), Some(cases)) => Some(cases),
            (own, None) => own,
            (Some(own), cases) => cases.max_by_rank(own),
            (None, cases) => cases.filter(|result| *result == CaseResult::Fail),
        };
        Span { to: self.to, result, ..span(SpanKind::Test, self.suite.clone(), self.from) }
    }

    /// The host's time of the board's, which a case told that is put on record `now`.
    fn time_of(&mut self, board_us: i64, now: Timestamp) -> Timestamp {
        let zero_us = now.as_microsecond().saturating_sub(board_us);
        let Some(known) = &mut self.clock else {
            self.clock = Some(Clock { zero_us, last_us: board_us });
            return now;
        };
        let is_late = zero_us.saturating_sub(known.zero_us) > LATE_US;
        if is_late && board_us >= known.last_us {
            known.last_us = board_us;
            let time = known.zero_us.saturating_add(board_us);
            return Timestamp::from_microsecond(time).unwrap_or(now).clamp(self.from.min(now), now);
        }
        // A clock that begins anew is another boot's.
        let zero_us = if is_late { zero_us } else { zero_us.min(known.zero_us) };
        *known = Clock { zero_us, last_us: board_us };
        now
    }
}

trait Worst {
    fn max_by_rank(self, other: CaseResult) -> Option<CaseResult>;
}

impl Worst for Option<CaseResult> {
    /// The worse of the two.
    fn max_by_rank(self, other: CaseResult) -> Self {
        let rank = |result: &CaseResult| match result {
            CaseResult::Skip => 0,
            CaseResult::Pass => 1,
            CaseResult::Unknown => 2,
            CaseResult::Fail => 3,
        };
        self.into_iter().chain([other]).max_by_key(rank)
    }
}

fn end_of_test(test: &Test, now: Timestamp, end: &SuiteEnd, seconds: f64) -> Timestamp {
    let by_clock = SignedDuration::try_from_secs_f64(seconds)
        .ok()
        .filter(SignedDuration::is_positive)
        .and_then(|ran| test.from.checked_add(ran).ok());
    match (by_clock, test.left) {
        (Some(ended), _) => ended.min(now),
        (None, Some(left)) if matches!(end, SuiteEnd::NotRun { .. }) => left,
        (None, _) => now,
    }
}

fn before(time: Timestamp, seconds: f64) -> Option<Timestamp> {
    let duration = SignedDuration::try_from_secs_f64(seconds.max(0.0)).ok()?;
    time.checked_sub(duration).ok()
}

fn span(kind: SpanKind, name: String, from: Timestamp) -> Span {
    Span { kind, name, from, to: None, result: None }
}

/// Returns how many were left out: 1 when there is no room.
fn push<T>(list: &mut Vec<T>, most: usize, new: T) -> u64 {
    let has_room = list.len() < most;
    if has_room {
        list.push(new);
    }
    u64::from(!has_room)
}

/// The phase in which tests run.
const UP_TEST: &str = "up test";
/// A page of so many stretches is 3 MB, and nobody looks at more.
const CASES_MAX: usize = 20_000;
/// As many suites as a summary keeps.
const TESTS_MAX: usize = 1000;
/// Of phases, and of actions: a job has some tens.
const OTHERS_MAX: usize = 2000;
/// As many as a summary keeps.
const OPEN_MAX: usize = 1000;
/// An event that is told on a busy line may be seconds late; what comes home after a restart is later.
const LATE_US: i64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::event::CaseOrigin;
    use crate::report::summary::tests::{panicked_run, run_with_cases};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_330_560_000 + second).unwrap()
    }

    fn stamped(events: impl IntoIterator<Item = (i64, Event)>) -> Vec<Stamped> {
        events.into_iter().map(|(second, event)| Stamped { time: at(second), event }).collect()
    }

    fn phase(from: &str, to: &str) -> Event {
        Event::Phase { from: from.into(), to: to.into(), cause: String::new() }
    }

    /// Kind, name, from and to in seconds from the run's start, result.
    type Told<'a> = (SpanKind, &'a str, f64, Option<f64>, Option<CaseResult>);

    fn told(spans: &[Span]) -> Vec<Told<'_>> {
        let seconds = |time: Timestamp| (time - at(0)).total(jiff::Unit::Second).unwrap();
        let told = spans.iter().map(|span| {
            (span.kind, &*span.name, seconds(span.from), span.to.map(seconds), span.result)
        });
        told.collect()
    }

    use CaseResult::{Fail, Pass, Skip, Unknown};

    #[test]
    fn phases_and_actions_follow_each_other() {
        let action = |action: &str| Event::ActionStarted { action: action.into() };
        let ended = |action: &str, outcome| Event::ActionEnded {
            action: action.into(),
            seconds: 1.0,
            outcome,
        };
        let mut events = stamped([
            (0, panicked_run()[0].event.clone()),
            (1, action("boot master")),
            (1, phase("off", "powering on")),
            (3, phase("powering on", "up master")),
            (4, ended("boot master", ActionOutcome::Done)),
            (4, action("deploy rootfs")),
            (5, ended("deploy rootfs", ActionOutcome::Skipped { why: "it is there".into() })),
            (6, action("inject")),
        ]);
        let open = TimelineSpans::of(&events);
        let expected = [
            (SpanKind::Phase, "off", 0.0, Some(1.0), None),
            (SpanKind::Phase, "powering on", 1.0, Some(3.0), None),
            (SpanKind::Action, "boot master", 1.0, Some(4.0), Some(Pass)),
            (SpanKind::Phase, "up master", 3.0, None, None),
            (SpanKind::Action, "deploy rootfs", 4.0, Some(5.0), Some(Skip)),
            (SpanKind::Action, "inject", 6.0, None, None),
        ];
        assert_eq!(told(&open), expected);
        events.extend(stamped([(9, panicked_run().pop().unwrap().event)]));
        assert!(TimelineSpans::of(&events).iter().all(|span| span.to.is_some()));
        let json = serde_json::to_value(&open[0]).unwrap();
        let expected = serde_json::json!({
            "kind": "phase", "name": "off", "from": "2012-03-01T00:00:00Z", "to": "2012-03-01T00:00:01Z", "result": null
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn suites_and_cases() {
        let spans = TimelineSpans::of(&run_with_cases());
        let case = SpanKind::Case;
        let expected = [
            (SpanKind::Test, "smoke", 1.0, Some(7.0), Some(Fail)),
            (case, "smoke/read-rate", 1.75, Some(2.0), Some(Pass)),
            (case, "smoke/<a> & \"b\": ], 'c'\u{1b}[2J", 2.75, Some(3.0), Some(Fail)),
            (case, "smoke/sound", 3.75, Some(4.0), Some(Skip)),
            (case, "smoke/hangs", 6.0, Some(7.0), Some(Unknown)),
            (SpanKind::Test, "stress", 8.0, Some(10.0), Some(Fail)),
        ];
        assert_eq!(told(&spans), expected);
    }

    #[test]
    fn what_comes_home_late_stands_where_the_boards_clock_says() {
        let case = |name: &str, board_second: u64| {
            Event::CaseEnded(Case {
                board_time_us: Some(board_second * 1_000_000),
                seconds: Some(1.0),
                ..Case::new("smoke", name, Pass, CaseOrigin::Helper)
            })
        };
        let lost = SuiteEnd::NotRun { why: "its end was not seen".into() };
        let ended = Event::TestEnded {
            suite: "smoke".into(),
            end: lost,
            result: Unknown,
            seconds: 0.0,
            rusage: None,
        };
        let events = stamped([
            (10, Event::TestStarted { suite: "smoke".into() }),
            (12, case("live", 5)),
            (20, phase("up test", "booting test")),
            (70, case("late", 11)),
            (70, case("after a restart", 3)),
            (71, ended),
        ]);
        let spans = TimelineSpans::of(&events);
        let cases = [
            (SpanKind::Test, "smoke", 10.0, Some(20.0), Some(Unknown)),
            (SpanKind::Case, "smoke/live", 11.0, Some(12.0), Some(Pass)),
            (SpanKind::Case, "smoke/late", 17.0, Some(18.0), Some(Pass)),
        ];
        let all = told(&spans);
        assert_eq!(all.iter().filter(|span| span.0 != SpanKind::Phase).count(), 4);
        for expected in cases {
            assert!(all.contains(&expected), "{expected:?} in {all:?}");
        }
        assert!(all.contains(&(
            SpanKind::Case,
            "smoke/after a restart",
            69.0,
            Some(70.0),
            Some(Pass)
        )));
    }

    #[test]
    fn a_flood_is_bounded_and_hostile_numbers_do_nothing() {
        let mut spans = TimelineSpans::default();
        let started = Event::TestStarted { suite: "s".into() };
        spans.handle_event(&Stamped { time: at(0), event: started });
        for seconds in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            for board_time_us in [0, 1, u64::MAX, i64::MAX as u64] {
                let case = Case {
                    seconds: Some(seconds),
                    board_time_us: Some(board_time_us),
                    ..Case::new("s", "c", Pass, CaseOrigin::Helper)
                };
                spans.handle_event(&Stamped { time: at(1), event: Event::CaseEnded(case) });
            }
        }
        let case = Event::CaseEnded(Case::new("s", "c", Pass, CaseOrigin::Tap));
        let flood = Stamped { time: at(2), event: case };
        (0..CASES_MAX).for_each(|_| spans.handle_event(&flood));
        assert_eq!((spans.spans().len(), spans.dropped()), (CASES_MAX + 1, 16));
        assert!(spans.spans().iter().all(|span| span.to.is_none_or(|to| to >= span.from)));
    }
}
