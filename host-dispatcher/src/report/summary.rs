//! What a run came to, folded from its events.
//!
//! The same fold serves the dispatcher while it runs and everything that reads a run directory later; so the two
//! cannot differ. Knows nothing of files.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::job::event::{BoardClock, Event, Rusage, Stamped, SuiteEnd};
use crate::job::verdict::{CaseResult, ErrorClass, Tally, Verdict};

/// What a run came to so far; `run.json` in a run directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run's name.
    pub run: String,
    /// The job's name.
    pub job: String,
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
    /// Errors, warnings, clocks and suites beyond what is kept here.
    pub dropped: u64,
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

/// What a suite came to; `tests/<suite>/results.json` in a run directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuiteSummary {
    /// The suite's name.
    pub suite: String,
    /// What it came to: `unknown` as long as its end was not seen.
    pub result: CaseResult,
    /// How it ended.
    pub end: Option<SuiteEnd>,
    /// How long it ran.
    pub seconds: f64,
    /// What it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rusage: Option<Rusage>,
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
            Event::TestStarted { suite } => {
                self.suite(suite);
            }
            Event::TestEnded { suite, end, result, seconds, rusage } => {
                if let Some(summary) = self.suite(suite) {
                    summary.result = *result;
                    summary.end = Some(end.clone());
                    summary.seconds = *seconds;
                    summary.rusage = *rusage;
                }
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
            Event::RunEnded { verdict, exit_status, seconds } => {
                self.verdict = Some(*verdict);
                self.exit_status = Some(*exit_status);
                self.error_class = verdict.error_class();
                self.seconds = Some(*seconds);
            }
            _ => {}
        }
        self.tally = self.suites.iter().map(|suite| suite.result).collect();
        let late = self.suites.iter().filter(|suite| suite.end == Some(SuiteEnd::TimedOut)).count();
        self.tally.timed_out = u32::try_from(late).unwrap_or(u32::MAX);
    }

    /// What the run comes to with what is known now: the verdict for its [`Event::RunEnded`].
    pub fn decide(&self) -> Verdict {
        Verdict::of(&self.tally, ErrorClass::worst(self.errors.iter().map(|error| error.class)))
    }

    /// The entry of a suite, made if it is new.
    fn suite(&mut self, name: &str) -> Option<&mut SuiteSummary> {
        let known = self.suites.iter().position(|known| known.suite == name);
        let index = match known {
            Some(index) => index,
            None if self.suites.len() < SUITES_MAX => {
                self.suites.push(SuiteSummary {
                    suite: name.to_owned(),
                    result: CaseResult::Unknown,
                    end: None,
                    seconds: 0.0,
                    rusage: None,
                });
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run of three suites that a kernel panic ended: one passed, one failed, one never ended.
    pub(crate) fn panicked_run() -> Vec<Stamped> {
        let ended = |suite: &str, status, result| Event::TestEnded {
            suite: suite.into(),
            end: SuiteEnd::Exited { status },
            result,
            seconds: 0.5,
            rusage: Some(Rusage { user_us: 10, system_us: 20, max_rss_kib: 300 }),
        };
        [
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
        ]
        .into_iter()
        .zip(0..)
        .map(|(event, second)| Stamped {
            time: Timestamp::from_second(1_330_560_000 + second).unwrap(),
            event,
        })
        .collect()
    }

    #[test]
    fn a_run_is_folded() {
        let summary = Summary::of(&panicked_run());
        assert_eq!(summary.tally, Tally { pass: 1, fail: 1, unknown: 1, ..Tally::default() });
        assert_eq!(summary.verdict, Some(summary.decide()));
        assert_eq!(summary.suites[2].end, None);
        let json = serde_json::to_string(&summary).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);
    }

    #[test]
    fn a_run_without_results_has_not_passed() {
        assert_eq!(Summary::default().decide(), Verdict::Failed);
    }
}
