//! The cases of a run, from what tests told their agents and from what they printed: each becomes one event, once,
//! whether it came live, with the journal, or both.
//!
//! Pure: signals, lines and times go in, events come out. Signals are numbered by the agent; one that follows on a
//! missing one waits for the journal, so that sets and cases open and close in their order.

use std::collections::{HashMap, HashSet};

use agent_core::wire::response::Exit;
use agent_core::wire::test_signal::{Noted, TestSignal};

use super::live::end_of;
use super::spans::{SpanId, Spans};
use crate::job::event::{ByteRange, Case, CaseOrigin, Event, Rusage, Source};
use crate::job::output::{Found, OutputReader};
use crate::job::verdict::CaseResult;
use crate::job::watch::Watch;
use crate::store::names;

/// See the module.
#[derive(Debug, Default)]
pub struct Cases {
    /// The last signal that was taken.
    last: u64,
    tests: HashMap<u16, TestCases>,
    spans: Spans,
    /// Why a test wants the job to stop.
    raised: Option<String>,
    /// Events so far, and those that were dropped because there were too many.
    told: u64,
    dropped: u64,
}

/// When and where something was said.
#[derive(Clone, Copy, Debug)]
pub struct When<'a> {
    /// Index of the test in the plan.
    pub test: u16,
    /// Its suite.
    pub suite: &'a str,
    /// The boot, by the count of [`Live`](super::live::Live).
    pub boot: usize,
    /// The board's time, µs.
    pub board_us: u64,
}

#[derive(Debug, Default)]
struct TestCases {
    set: Option<String>,
    open: Option<Open>,
    /// Cases that have ended, in the order of their bytes.
    ended: Vec<(ByteRange, ByteRange, String)>,
    reader: OutputReader,
    /// What the output's own signals opened.
    printed: Option<Printed>,
    /// Names that have a result.
    named: HashSet<String>,
}

/// A case that began, as its helper said.
#[derive(Debug)]
struct Open {
    case: String,
    stdout: u64,
    stderr: u64,
    board_us: u64,
    boot: usize,
    span: SpanId,
}

/// A case that began, as the output said.
#[derive(Debug)]
struct Printed {
    case: String,
    from: u64,
    board_us: u64,
}

impl Cases {
    /// A test told its agent something: signal number `n` of the plan, 1 the first. Nothing comes of one that was taken
    /// before, nor of one that came live and does not follow on the last. The journal (`is_journal`) has them all; a number
    /// that is missing there is that of one which the agent could not write down, and refused.
    pub fn signal(
        &mut self,
        n: u64,
        when: &When<'_>,
        noted: &Noted<'_>,
        is_journal: bool,
    ) -> Vec<Event> {
        if n <= self.last || !is_journal && n != self.last + 1 {
            return Vec::new();
        }
        self.last = n;
        // Beyond the bound nothing is kept of them either.
        if self.told >= EVENTS_MAX {
            self.dropped += 1;
            return Vec::new();
        }
        let events = self.take(when, noted);
        self.bounded(events)
    }

    fn take(&mut self, when: &When<'_>, noted: &Noted<'_>) -> Vec<Event> {
        let signal = &noted.signal;
        match signal.kind {
            TestSignal::CASE_STARTED => self.case_started(when, noted),
            TestSignal::CASE_ENDED => vec![self.case_ended(when, noted)],
            TestSignal::REFERENCE => {
                let mut case = self.case(when, signal.name, result_of(signal.result));
                case.reference = Some(signal.text.to_owned());
                vec![Event::CaseEnded(case)]
            }
            TestSignal::SET_STARTED => {
                self.test(when.test).set = Some(signal.name.to_owned());
                Vec::new()
            }
            TestSignal::SET_ENDED => {
                self.test(when.test).set = None;
                Vec::new()
            }
            TestSignal::RAISE => self.raise(when.suite, signal.text),
            TestSignal::EVENT => vec![note(when.suite, "event", signal.text)],
            TestSignal::FEEDBACK => {
                vec![note(when.suite, &format!("feedback of {}", signal.name), signal.text)]
            }
            TestSignal::ATTACHMENT => {
                let place = format!("tests/{}/attachments/{}", when.suite, signal.text);
                vec![Event::Attachment {
                    suite: when.suite.to_owned(),
                    case: (!signal.name.is_empty()).then(|| signal.name.to_owned()),
                    path: names::place_of_board_file(&place).display().to_string(),
                }]
            }
            _ => Vec::new(),
        }
    }

    /// What to look for in the output of a test, before its first line.
    pub fn watch(&mut self, test: u16, watch: Watch) {
        self.test(test).reader = OutputReader::watching(watch);
    }

    /// A whole line of a test's standard output, in order from the first; `offset` of its first byte.
    pub fn line(&mut self, when: &When<'_>, offset: u64, line: &[u8]) -> Vec<Event> {
        let found = self.test(when.test).reader.line(line);
        if self.told >= EVENTS_MAX {
            self.dropped += found.len() as u64;
            return Vec::new();
        }
        let events = found.into_iter().flat_map(|found| self.found(when, offset, found)).collect();
        self.bounded(events)
    }

    /// Results that were dropped because a run has so many.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The case that printed a byte of an output.
    pub fn case_at(&self, test: u16, source: Source, offset: u64) -> Option<&str> {
        let test = self.tests.get(&test)?;
        if let Some(open) = &test.open {
            let from = if source == Source::Stderr { open.stderr } else { open.stdout };
            if offset >= from {
                return Some(&open.case);
            }
        }
        let range = |ended: &(ByteRange, ByteRange, String)| {
            if source == Source::Stderr { ended.1 } else { ended.0 }
        };
        // Those without a byte of their own have the same place as their neighbour, and hold nothing.
        let behind = test.ended.partition_point(|ended| range(ended).to <= offset);
        let ended = test.ended.get(behind).filter(|ended| range(ended).from <= offset)?;
        Some(&ended.2)
    }

    /// What ran when.
    pub fn spans(&self) -> &Spans {
        &self.spans
    }

    /// See [`Self::spans`].
    pub fn spans_mut(&mut self) -> &mut Spans {
        &mut self.spans
    }

    /// Why a test wants the job to stop, if one does.
    pub fn raised(&self) -> Option<&str> {
        self.raised.as_deref()
    }

    /// The last word on a test: what began and did not end, and what was expected and did not come, is unknown. `offset`
    /// is that behind the last byte of its output.
    pub fn close(&mut self, when: &When<'_>, offset: u64, expected: &[String]) -> Vec<Event> {
        let reader = std::mem::take(&mut self.test(when.test).reader);
        let mut events: Vec<Event> =
            reader.finish().into_iter().flat_map(|found| self.found(when, offset, found)).collect();
        let test = self.test(when.test);
        let open = test.open.take().map(|open| open.case);
        let printed = test.printed.take().map(|printed| printed.case);
        let mut unknown: Vec<_> =
            open.into_iter().chain(printed).map(|case| (case, "its end was not seen")).collect();
        for name in expected {
            let is_known = test.named.contains(name) || unknown.iter().any(|lost| lost.0 == *name);
            if !is_known {
                unknown.push((name.clone(), "it was expected and did not come"));
            }
        }
        for (name, why) in unknown {
            let mut case = self.case(when, &name, CaseResult::Unknown);
            case.origin = CaseOrigin::Dispatcher;
            case.board_time_us = None;
            case.why = Some(why.to_owned());
            events.push(Event::CaseEnded(case));
        }
        events
    }

    fn bounded(&mut self, mut events: Vec<Event>) -> Vec<Event> {
        let room = usize::try_from(EVENTS_MAX.saturating_sub(self.told)).unwrap_or(usize::MAX);
        self.dropped += events.len().saturating_sub(room) as u64;
        events.truncate(room);
        self.told += events.len() as u64;
        events
    }

    fn case_started(&mut self, when: &When<'_>, noted: &Noted<'_>) -> Vec<Event> {
        let name = noted.signal.name.to_owned();
        let mut events = Vec::new();
        // Cases do not nest: one whose end never came was killed.
        if let Some(open) = self.test(when.test).open.take() {
            self.spans.end(open.span, when.board_us);
            let mut case = self.case(when, &open.case, CaseResult::Unknown);
            case.origin = CaseOrigin::Dispatcher;
            case.why = Some("its end was not seen".to_owned());
            events.push(Event::CaseEnded(case));
        }
        let span = self.spans.open(when, Some(name.clone()));
        let test = self.test(when.test);
        let set = test.set.clone();
        test.open = Some(Open {
            case: name.clone(),
            stdout: noted.stdout_bytes,
            stderr: noted.stderr_bytes,
            board_us: when.board_us,
            boot: when.boot,
            span,
        });
        events.push(Event::CaseStarted { suite: when.suite.to_owned(), set, case: name });
        events
    }

    fn case_ended(&mut self, when: &When<'_>, noted: &Noted<'_>) -> Event {
        let signal = &noted.signal;
        let mut case = self.case(when, signal.name, result_of(signal.result));
        case.measurement =
            signal.measurement.parse().ok().filter(|number: &f64| number.is_finite());
        case.units = (!signal.units.is_empty()).then(|| signal.units.to_owned());
        let test = self.test(when.test);
        let open = test.open.take_if(|open| open.case == signal.name);
        if let Some(open) = open {
            let range = |from, to: u64| ByteRange { from, to: to.max(from) };
            let stdout = range(open.stdout, noted.stdout_bytes);
            let stderr = range(open.stderr, noted.stderr_bytes);
            test.ended.push((stdout, stderr, open.case));
            (case.stdout, case.stderr) = (Some(stdout), Some(stderr));
            case.seconds = (open.boot == when.boot)
                .then(|| when.board_us.saturating_sub(open.board_us) as f64 / 1e6);
            self.spans.end(open.span, when.board_us);
        }
        if signal.exit.elapsed_us > 0 {
            case.end = Some(end_of(&signal.exit));
            case.seconds = Some(signal.exit.elapsed_us as f64 / 1e6);
            case.rusage = Some(rusage_of(&signal.exit));
        }
        Event::CaseEnded(case)
    }

    fn found(&mut self, when: &When<'_>, offset: u64, found: Found) -> Vec<Event> {
        let test = self.test(when.test);
        match found {
            Found::CaseStarted { set, case } => {
                test.printed =
                    Some(Printed { case: case.clone(), from: offset, board_us: when.board_us });
                vec![Event::CaseStarted { suite: when.suite.to_owned(), set, case }]
            }
            Found::CaseEnded(ended) => {
                let printed = test.printed.take_if(|printed| printed.case == ended.case);
                let mut case = self.case(when, &ended.case, ended.result);
                case.set = ended.set.or(case.set);
                case.origin = ended.origin;
                case.measurement = ended.measurement.filter(|number| number.is_finite());
                (case.units, case.why) = (ended.units, ended.why);
                if let Some(printed) = printed {
                    case.stdout = Some(ByteRange { from: printed.from, to: offset });
                    let period = when.board_us.saturating_sub(printed.board_us);
                    case.seconds = Some(period as f64 / 1e6);
                }
                vec![Event::CaseEnded(case)]
            }
            // The reader knows the set of each case that it finds.
            Found::SetStarted { .. } | Found::SetEnded => Vec::new(),
            Found::Reference { set, case, result, reference } => {
                let mut case = self.case(when, &case, result);
                case.set = set.or(case.set);
                (case.origin, case.reference) = (CaseOrigin::Signal, Some(reference));
                vec![Event::CaseEnded(case)]
            }
            Found::Raise { text } => self.raise(when.suite, &text),
            Found::Event { text } => vec![note(when.suite, "event", &text)],
            Found::Feedback { namespace } => vec![note(when.suite, "feedback", &namespace)],
        }
    }

    fn raise(&mut self, suite: &str, text: &str) -> Vec<Event> {
        self.raised.get_or_insert_with(|| format!("the test {suite} stopped the job: {text}"));
        vec![note(suite, "raise", text)]
    }

    fn case(&mut self, when: &When<'_>, name: &str, result: CaseResult) -> Case {
        let test = self.test(when.test);
        test.named.insert(name.to_owned());
        Case {
            set: test.set.clone(),
            board_time_us: Some(when.board_us),
            ..Case::new(when.suite, name, result, CaseOrigin::Helper)
        }
    }

    fn test(&mut self, test: u16) -> &mut TestCases {
        self.tests.entry(test).or_default()
    }
}

/// What a process used.
pub fn rusage_of(exit: &Exit) -> Rusage {
    Rusage { user_us: exit.user_us, system_us: exit.system_us, max_rss_kib: exit.max_rss_kib }
}

fn result_of(result: u8) -> CaseResult {
    match result {
        TestSignal::PASS => CaseResult::Pass,
        TestSignal::FAIL => CaseResult::Fail,
        TestSignal::SKIP => CaseResult::Skip,
        _ => CaseResult::Unknown,
    }
}

fn note(suite: &str, what: &str, text: &str) -> Event {
    Event::Note { text: format!("{suite}: {what}: {text}") }
}

/// Starts and ends of cases in a run: some 250 bytes each in `events.ndjson`, whose bound they stay below.
const EVENTS_MAX: u64 = 200_000;

#[cfg(test)]
mod tests {
    use super::super::spans::Running;
    use super::*;

    fn when(test: u16, board_us: u64) -> When<'static> {
        When { test, suite: "smoke", boot: 0, board_us }
    }

    fn noted(kind: u8, name: &'static str, stdout_bytes: u64) -> Noted<'static> {
        let signal = TestSignal { kind, name, ..TestSignal::default() };
        Noted { stdout_bytes, stderr_bytes: 0, signal }
    }

    fn ended(events: &[Event]) -> Vec<Case> {
        let case = |event: &'_ Event| match event {
            Event::CaseEnded(case) => Some(case.clone()),
            _ => None,
        };
        events.iter().filter_map(case).collect()
    }

    #[test]
    fn a_case_has_its_bytes_its_time_and_its_set() {
        let mut cases = Cases::default();
        assert!(
            cases
                .signal(1, &when(0, 5), &noted(TestSignal::SET_STARTED, "net", 0), false)
                .is_empty()
        );
        let started =
            cases.signal(2, &when(0, 10), &noted(TestSignal::CASE_STARTED, "ping", 100), false);
        let set = Some("net".to_owned());
        let expected = Event::CaseStarted {
            suite: "smoke".to_owned(),
            set: set.clone(),
            case: "ping".to_owned(),
        };
        assert_eq!(started, [expected]);
        assert_eq!(cases.case_at(0, Source::Stdout, 99), None);
        assert_eq!(cases.case_at(0, Source::Stdout, 100), Some("ping"));
        let events = cases.signal(
            3,
            &when(0, 2_000_010),
            &noted(TestSignal::CASE_ENDED, "ping", 150),
            false,
        );
        let case = ended(&events).remove(0);
        assert_eq!((&case.set, case.seconds), (&set, Some(2.0)));
        assert_eq!(case.stdout, Some(ByteRange { from: 100, to: 150 }));
        assert_eq!(cases.case_at(0, Source::Stdout, 149), Some("ping"));
        assert_eq!(cases.case_at(0, Source::Stdout, 150), None);
        assert_eq!(cases.spans().running_at(0, 11).case.as_deref(), Some("ping"));
        assert_eq!(cases.spans().running_at(0, 2_000_011), Running::default());
    }

    #[test]
    fn what_came_live_does_not_come_again_with_the_journal() {
        let signals = [
            noted(TestSignal::CASE_STARTED, "a", 0),
            noted(TestSignal::CASE_ENDED, "a", 1),
            noted(TestSignal::CASE_STARTED, "b", 1),
            noted(TestSignal::CASE_ENDED, "b", 2),
        ];
        // The second was left out live; what follows it waits for the journal.
        let mut cases = Cases::default();
        let mut events = Vec::new();
        for live in [1, 3, 4] {
            events.extend(cases.signal(live, &when(0, live), &signals[live as usize - 1], false));
        }
        assert_eq!(events.len(), 1);
        for (n, signal) in (1..).zip(&signals) {
            events.extend(cases.signal(n, &when(0, n), signal, true));
        }
        let names: Vec<_> = ended(&events).into_iter().map(|case| case.case).collect();
        assert_eq!((events.len(), names), (4, vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn what_has_no_end_is_unknown() {
        let mut cases = Cases::default();
        cases.signal(1, &when(0, 1), &noted(TestSignal::CASE_STARTED, "killed", 0), false);
        let events =
            cases.signal(2, &when(0, 2), &noted(TestSignal::CASE_STARTED, "cut", 9), false);
        assert_eq!(ended(&events)[0].result, CaseResult::Unknown);
        let expected = ["cut".to_owned(), "never".to_owned()];
        let events = cases.close(&when(0, 0), 20, &expected);
        let cases_ended = ended(&events);
        let words: Vec<_> = cases_ended
            .iter()
            .map(|case| (case.case.as_str(), case.result, case.origin, case.why.as_deref()))
            .collect();
        let unknown = |name, why| (name, CaseResult::Unknown, CaseOrigin::Dispatcher, Some(why));
        assert_eq!(
            words,
            [
                unknown("cut", "its end was not seen"),
                unknown("never", "it was expected and did not come")
            ]
        );
        assert!(ended(&cases.close(&when(0, 0), 20, &[])).is_empty());
    }

    #[test]
    fn a_board_that_tells_of_cases_without_end_is_bounded() {
        let mut cases = Cases::default();
        let mut told = 0;
        for n in 1..=EVENTS_MAX + 10 {
            let started = noted(TestSignal::CASE_STARTED, "again", 0);
            told += cases.signal(n, &when(0, n), &started, true).len() as u64;
        }
        assert!(told <= EVENTS_MAX && cases.dropped() > 0, "{told}");
        assert!(cases.tests[&0].ended.is_empty() && cases.tests[&0].named.len() == 1);
        let raised = noted(TestSignal::RAISE, "", 0);
        assert_eq!(cases.signal(EVENTS_MAX + 11, &when(0, 1), &raised, true), []);
    }

    #[test]
    fn a_measurement_that_is_no_number_is_left_out() {
        let mut cases = Cases::default();
        for (n, (measurement, expected)) in
            (1..).zip([("1.5e3", Some(1500.0)), ("1e999", None), ("", None)])
        {
            let signal = TestSignal {
                kind: TestSignal::CASE_ENDED,
                name: "m",
                measurement,
                ..TestSignal::default()
            };
            let noted = Noted { stdout_bytes: 0, stderr_bytes: 0, signal };
            let events = cases.signal(n, &when(0, n), &noted, false);
            assert_eq!(ended(&events)[0].measurement, expected);
        }
    }
}
