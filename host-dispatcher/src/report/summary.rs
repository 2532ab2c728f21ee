//! What a run came to, folded from its events.
//!
//! The same fold serves the dispatcher while it runs and everything that reads a run directory later; so the two
//! cannot differ. Knows nothing of files.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::suite::{self, Attachment, SuiteSummary};
use crate::job::event::{BoardClock, CallbackSent, DroppedRecords, Event, KernelReport, Stamped};
use crate::job::metadata::Metadata;
use crate::job::verdict::{ErrorClass, Tally, Verdict};

/// What a run came to so far; `run.json` in a run directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run's name.
    pub run: String,
    /// The job's name.
    pub job: String,
    /// The job's number, where it came out of a lab's queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<u64>,
    /// What the job says of itself.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// The board's name.
    pub board: String,
    /// The board's type.
    pub board_type: String,
    /// The version of the program that drove the run.
    pub dispatcher_version: String,
    /// The version of the run directory.
    pub store_version: u32,
    /// When the first event happened.
    pub started: Option<Timestamp>,
    /// When the last event happened.
    pub ended: Option<Timestamp>,
    /// How long the run took.
    pub seconds: Option<f64>,
    /// The verdict; nothing while the run is not over, or if its end was not written.
    pub verdict: Option<Verdict>,
    /// The exit status that goes with the verdict.
    pub exit_status: Option<u8>,
    /// The class of the error that the verdict names, if it names one.
    pub error_class: Option<ErrorClass>,
    /// What stopped the run, in the order it happened.
    pub errors: Vec<RunError>,
    /// The texts of warnings.
    pub warnings: Vec<String>,
    /// The results, counted.
    pub tally: Tally,
    /// The suites, in the order they began.
    pub suites: Vec<SuiteSummary>,
    /// How well the clocks of the board's boots are known, in the order of these.
    #[serde(default)]
    pub clocks: Vec<BoardClock>,
    /// What the kernel reported while no suite ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_reports: Vec<KernelReport>,
    /// Who was told of the run's end, and what became of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callbacks: Vec<CallbackSent>,
    /// What files of the run directory had no room for; the last that was said of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped_records: Vec<DroppedRecords>,
    /// Errors, warnings, clocks, suites, cases, attachments and kernel reports beyond what is kept here. Cases count in
    /// the tally all the same.
    pub dropped: u64,
    #[serde(skip)]
    kept: Kept,
}

/// How much of what has a bound for the whole run is kept, and kernel reports that make the run fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kept {
    cases: usize,
    attachments: usize,
    reports: usize,
    not_allowed: u32,
}

/// What stopped a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// Who must mend it.
    pub class: ErrorClass,
    /// One line.
    pub message: String,
    /// The last text of the console before it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub console_tail: String,
}

impl Summary {
    /// The summary of these events.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Stamped>) -> Self {
        let mut summary = Self::default();
        events.into_iter().for_each(|event| summary.handle_event(event));
        summary
    }

    /// One more event happened.
    pub fn handle_event(&mut self, stamped: &Stamped) {
        self.started.get_or_insert(stamped.time);
        if let Event::Callback(sent) = &stamped.event {
            // The run is over by then.
            if self.callbacks.len() < LISTED_MAX {
                self.callbacks.push(sent.clone());
            }
            return;
        }
        self.ended = Some(stamped.time);
        match &stamped.event {
            Event::RunStarted {
                run,
                job,
                board,
                board_type,
                dispatcher_version,
                store_version,
            } => {
                self.run.clone_from(run);
                self.job.clone_from(job);
                self.board.clone_from(board);
                self.board_type.clone_from(board_type);
                self.dispatcher_version.clone_from(dispatcher_version);
                self.store_version = *store_version;
            }
            Event::Job { id, .. } => self.job_id = Some(*id),
            Event::Metadata { metadata } => self.metadata.clone_from(metadata),
            Event::TestStarted { suite } => {
                self.suite(suite);
                self.count();
            }
            Event::TestEnded { suite, end, result, seconds, rusage } => {
                if let Some(summary) = self.suite(suite) {
                    summary.end(end, *result, *seconds, *rusage);
                }
                self.count();
            }
            Event::CaseStarted { suite, set, case } => {
                if let Some(summary) = self.suite(suite) {
                    summary.start_case(stamped.time, set.as_deref(), case);
                }
                self.count();
            }
            Event::CaseEnded(case) => {
                let room = self.kept.cases < CASES_MAX;
                if let Some(summary) = self.suite(&case.suite) {
                    let kept = summary.end_case(stamped.time, case, room);
                    self.kept.cases += usize::from(kept);
                    self.dropped += u64::from(!kept && !room);
                }
                self.count();
            }
            Event::Attachment { suite, case, path } => {
                if self.kept.attachments >= ATTACHMENTS_MAX {
                    self.dropped += 1;
                } else if let Some(summary) = self.suite(suite) {
                    let (case, path) = (case.clone(), path.clone());
                    summary.attachments.push(Attachment { case, path });
                    self.kept.attachments += 1;
                }
            }
            Event::KernelReport(report) => {
                self.kernel_report(report);
                self.count();
            }
            Event::Warning { text } if self.warnings.len() < LISTED_MAX => {
                self.warnings.push(text.clone())
            }
            Event::Error { class, message, console_tail } if self.errors.len() < LISTED_MAX => {
                let (message, console_tail) = (message.clone(), console_tail.clone());
                self.errors.push(RunError { class: *class, message, console_tail });
            }
            Event::Clock(clock) if self.clocks.len() < LISTED_MAX => self.clocks.push(*clock),
            Event::Warning { .. } | Event::Error { .. } | Event::Clock(_) => self.dropped += 1,
            Event::Dropped(dropped) => {
                self.dropped_records.retain(|known| known.file != dropped.file);
                if self.dropped_records.len() < LISTED_MAX {
                    self.dropped_records.push(dropped.clone());
                }
            }
            Event::RunEnded { verdict, exit_status, seconds } => {
                self.verdict = Some(*verdict);
                self.exit_status = Some(*exit_status);
                self.error_class = verdict.error_class();
                self.seconds = Some(*seconds);
            }
            _ => {}
        }
    }

    /// What the run comes to with what is known now: the verdict for its [`Event::RunEnded`].
    pub fn decide(&self) -> Verdict {
        Verdict::of(&self.tally, ErrorClass::worst(self.errors.iter().map(|error| error.class)))
    }

    /// As JSON, with the cases of its suites, which `run.json` leaves to the suites' own files.
    ///
    /// # Errors
    /// A number that JSON does not know.
    pub fn with_cases(&self) -> serde_json::Result<serde_json::Value> {
        let mut value = serde_json::to_value(self)?;
        let suites: Result<Vec<_>, _> =
            self.suites.iter().map(|suite| serde_json::to_value(suite.whole())).collect();
        if let serde_json::Value::Object(map) = &mut value {
            map.insert("suites".into(), suites?.into());
        }
        Ok(value)
    }

    fn kernel_report(&mut self, report: &KernelReport) {
        let decides = suite::is_not_allowed(report)
            && report.suite.as_deref().is_some_and(|name| {
                let known = self.suites.iter().find(|suite| suite.suite == name);
                known.is_none_or(|suite| !suite.kernel_reports.iter().any(suite::is_not_allowed))
            });
        self.kept.not_allowed += u32::from(suite::is_not_allowed(report));
        // What decides about a suite is kept, however many came before.
        if self.kept.reports >= LISTED_MAX && !decides {
            self.dropped += 1;
            return;
        }
        self.kept.reports += 1;
        match &report.suite {
            None => self.kernel_reports.push(report.clone()),
            Some(name) => {
                if let Some(suite) = self.suite(name) {
                    suite.report(report);
                }
            }
        }
    }

    fn count(&mut self) {
        let mut tally = Tally::default();
        self.suites.iter().for_each(|suite| tally.add_all(&suite.tally));
        tally.kernel_reports = self.kept.not_allowed;
        self.tally = tally;
    }

    /// The entry of a suite, made if it is new.
    fn suite(&mut self, name: &str) -> Option<&mut SuiteSummary> {
        let known = self.suites.iter().position(|known| known.suite == name);
        let index = match known {
            Some(index) => index,
            None if self.suites.len() < SUITES_MAX => {
                self.suites.push(SuiteSummary::new(name));
                self.suites.len() - 1
            }
            None => {
                self.dropped += 1;
                return None;
            }
        };
        self.suites.get_mut(index)
    }
}

/// Errors and warnings beyond these are in `events.ndjson`.
const LISTED_MAX: usize = 100;
/// More than any job has.
const SUITES_MAX: usize = 1000;
/// Of one run. The largest suites that are run on boards (LTP, kselftest, CTS modules) have some ten thousand; a case is
/// some hundred bytes.
const CASES_MAX: usize = 100_000;
/// Of one run; each is a path.
const ATTACHMENTS_MAX: usize = 10_000;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::job::event::{ByteRange, Case, CaseOrigin, Rusage, SuiteEnd};
    use crate::job::verdict::CaseResult;

    /// A run of three suites that a kernel panic ended: one passed, one failed, one never ended.
    pub(crate) fn panicked_run() -> Vec<Stamped> {
        let ended = |suite: &str, status, result| Event::TestEnded {
            suite: suite.into(),
            end: SuiteEnd::Exited { status },
            result,
            seconds: 0.5,
            rusage: Some(Rusage { user_us: 10, system_us: 20, max_rss_kib: 300 }),
        };
        stamped([
            Event::RunStarted {
                run: "2012-03-01-smoke-abc234".into(),
                job: "smoke".into(),
                board: "qemu-01".into(),
                board_type: "qemu-virt-armv7".into(),
                dispatcher_version: "0.1.0".into(),
                store_version: 1,
            },
            Event::TestStarted { suite: "uname".into() },
            ended("uname", 0, CaseResult::Pass),
            Event::TestStarted { suite: "audio".into() },
            ended("audio", 1, CaseResult::Fail),
            Event::TestStarted { suite: "crash".into() },
            Event::Error {
                class: ErrorClass::TestError,
                message: "the kernel of the test image panicked".into(),
                console_tail: "Kernel panic - not syncing: sysrq triggered crash\n\u{1b}[31m"
                    .into(),
            },
            Event::RunEnded {
                verdict: Verdict::Error(ErrorClass::TestError),
                exit_status: 1,
                seconds: 12.5,
            },
        ])
    }

    /// The events, one a second.
    fn stamped(events: impl IntoIterator<Item = Event>) -> Vec<Stamped> {
        let at = |second: i64| Timestamp::from_second(1_330_560_000 + second).unwrap();
        events
            .into_iter()
            .zip(0..)
            .map(|(event, second)| Stamped { time: at(second), event })
            .collect()
    }

    #[test]
    fn a_run_is_folded() {
        let summary = Summary::of(&panicked_run());
        assert_eq!(summary.tally, Tally { pass: 1, fail: 1, unknown: 1, ..Tally::default() });
        assert_eq!(summary.verdict, Some(summary.decide()));
        assert_eq!(summary.suites[2].end, None);
        let json = serde_json::to_value(&summary).unwrap();
        let read: Summary = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), json);
    }

    /// A run of two suites: one with cases of every result, a measurement, an attachment, a set and an odd name; one
    /// without cases that hit a kernel report.
    pub(crate) fn run_with_cases() -> Vec<Stamped> {
        let case = |set: Option<&str>, name: &str, result, second: u64| Case {
            set: set.map(str::to_owned),
            seconds: Some(0.25),
            stdout: Some(ByteRange { from: second * 10, to: second * 10 + 10 }),
            board_time_us: Some(second * 1_000_000),
            ..Case::new("smoke", name, result, CaseOrigin::Helper)
        };
        let mut read_rate = case(Some("disk"), "read-rate", CaseResult::Pass, 1);
        read_rate.measurement = Some(41.5);
        read_rate.units = Some("MB/s".into());
        let mut broken = case(Some("disk"), "<a> & \"b\": ], 'c'\u{1b}[2J", CaseResult::Fail, 2);
        broken.why = Some("expected: 3\nis: 4".into());
        broken.reference = Some("https://example.org/a?b=1&c=2".into());
        let mut sound = case(None, "sound", CaseResult::Skip, 3);
        sound.why = Some("no sound card".into());
        let started =
            |name: &str| Event::CaseStarted { suite: "smoke".into(), set: None, case: name.into() };
        let first = panicked_run()[0].event.clone();
        stamped([
            first,
            Event::TestStarted { suite: "smoke".into() },
            Event::CaseEnded(read_rate),
            Event::CaseEnded(broken),
            Event::CaseEnded(sound),
            Event::Attachment {
                suite: "smoke".into(),
                case: Some("sound".into()),
                path: "tests/smoke/attachments/cards".into(),
            },
            started("hangs"),
            Event::TestEnded {
                suite: "smoke".into(),
                end: SuiteEnd::TimedOut,
                result: CaseResult::Fail,
                seconds: 30.5,
                rusage: None,
            },
            Event::TestStarted { suite: "stress".into() },
            Event::KernelReport(KernelReport {
                kind: "oops".into(),
                title: "Internal error: Oops: 5 [#1] ARM".into(),
                policy: "fail".into(),
                suite: Some("stress".into()),
                case: None,
                source: "kernel".into(),
                board_time_us: Some(40_000_000),
                text: "Internal error: Oops: 5 [#1] ARM\nModules linked in:".into(),
            }),
            Event::TestEnded {
                suite: "stress".into(),
                end: SuiteEnd::Exited { status: 0 },
                result: CaseResult::Pass,
                seconds: 3.0,
                rusage: None,
            },
            Event::RunEnded {
                verdict: Verdict::Error(ErrorClass::Timeout),
                exit_status: 4,
                seconds: 50.0,
            },
        ])
    }

    #[test]
    fn cases_are_folded() {
        let summary = Summary::of(&run_with_cases());
        let tally =
            Tally { pass: 1, fail: 3, skip: 1, unknown: 1, timed_out: 1, kernel_reports: 1 };
        assert_eq!(summary.tally, tally);
        assert_eq!(summary.verdict, Some(summary.decide()));
        let (smoke, stress) = (&summary.suites[0], &summary.suites[1]);
        assert_eq!((smoke.result, stress.result), (CaseResult::Fail, CaseResult::Fail));
        assert_eq!(stress.why().unwrap(), "kernel oops: Internal error: Oops: 5 [#1] ARM");
        assert_eq!((smoke.all_cases().count(), smoke.attachments.len()), (4, 1));
    }

    #[test]
    fn a_kernel_report_outside_of_any_suite_fails_the_run() {
        let mut events = panicked_run();
        events.truncate(3);
        let mut summary = Summary::of(&events);
        assert_eq!(summary.decide(), Verdict::Passed);
        let mut report = match &run_with_cases()[9].event {
            Event::KernelReport(report) => report.clone(),
            other => panic!("{other:?}"),
        };
        report.suite = None;
        for (policy, verdict) in [("record", Verdict::Passed), ("fail", Verdict::Failed)] {
            report.policy = policy.into();
            let event = Event::KernelReport(report.clone());
            summary.handle_event(&Stamped { time: events[2].time, event });
            assert_eq!(summary.decide(), verdict, "{policy}");
        }
        assert_eq!(summary.kernel_reports.len(), 2);
    }

    #[test]
    fn cases_beyond_the_bound_count_and_are_not_kept() {
        let mut events = run_with_cases();
        events.truncate(3);
        let mut summary = Summary::of(&events);
        let mut bad = events[2].clone();
        for _ in 0..CASES_MAX {
            summary.handle_event(&bad);
        }
        if let Event::CaseEnded(case) = &mut bad.event {
            case.result = CaseResult::Fail;
        }
        summary.handle_event(&bad);
        let suite = &summary.suites[0];
        assert_eq!((suite.cases.len(), summary.dropped, summary.tally.fail), (CASES_MAX, 2, 1));
    }

    #[test]
    fn a_run_without_results_has_not_passed() {
        assert_eq!(Summary::default().decide(), Verdict::Failed);
    }
}
