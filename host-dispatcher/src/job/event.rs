//! What happens in a run, as data: the seam between what drives a board and what shows and stores it.
//!
//! Owns [`Event`] (what happened to the run) and [`LogRecord`] (a line of text with its times), with the form in which
//! both stand in a run directory: `docs/store.md` is its description. Names are only ever added. Times are passed in,
//! never read here.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::connection::PowerOperation;
use crate::job::metadata::Metadata;
use crate::job::verdict::{CaseResult, ErrorClass, Verdict};

/// The version of the run directory that this program writes; stands in the first event of a run.
pub const STORE_VERSION: u32 = 1;

/// One thing that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first event of a run.
    RunStarted {
        /// The run's name, which is also its directory's.
        run: String,
        /// The job's name.
        job: String,
        /// The board's name in the lab.
        board: String,
        /// The board's type.
        board_type: String,
        /// The version of the program that drives the run.
        dispatcher_version: String,
        /// [`STORE_VERSION`] of the writer.
        store_version: u32,
    },
    /// The run is one of a job in a lab's queue.
    Job {
        /// The job's number.
        id: u64,
        /// Which of its runs this is: 1, or more where the lab failed before.
        attempt: u32,
        /// Who submitted it.
        submitter: String,
    },
    /// What the job says of itself.
    Metadata {
        /// Names and values.
        metadata: Metadata,
    },
    /// The board went from one phase to another.
    Phase {
        /// The phase that it left.
        from: String,
        /// The phase that it is in now.
        to: String,
        /// The evidence, or the deadline that passed.
        cause: String,
    },
    /// The board's power is being switched, or was.
    Power {
        /// What was asked for.
        operation: PowerOperation,
        /// How far it got.
        state: OperationState,
    },
    /// One step of the job began.
    ActionStarted {
        /// What it does, for a person: `deploy rootfs`.
        action: String,
    },
    /// A step got further; shown, never stored.
    ActionProgress {
        /// As in [`Event::ActionStarted`].
        action: String,
        /// Bytes done so far.
        done_bytes: u64,
        /// Bytes in all, where that is known.
        total_bytes: Option<u64>,
    },
    /// One step of the job ended.
    ActionEnded {
        /// As in [`Event::ActionStarted`].
        action: String,
        /// How long it took.
        seconds: f64,
        /// How it ended.
        outcome: ActionOutcome,
    },
    /// The dispatcher and an agent talk.
    SessionOpened {
        /// The image whose agent it is.
        slot: Slot,
        /// The kernel's boot id, as hexadecimal digits.
        boot_id: String,
        /// What the two ends agreed on (coding, frame size, window), by name.
        link: serde_json::Value,
    },
    /// They talk no more.
    SessionClosed {
        /// Why.
        reason: String,
    },
    /// How well the clock of a boot is known, at the end of its session.
    Clock(BoardClock),
    /// A suite began to run on the board.
    TestStarted {
        /// The suite's name.
        suite: String,
    },
    /// A suite ended, or it is certain that it will not run.
    TestEnded {
        /// The suite's name.
        suite: String,
        /// How it ended.
        end: SuiteEnd,
        /// What that comes to.
        result: CaseResult,
        /// How long it ran, by the board's clock.
        seconds: f64,
        /// What it used, as the board's kernel counted it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rusage: Option<Rusage>,
    },
    /// A case of a suite began to run.
    CaseStarted {
        /// The suite's name.
        suite: String,
        /// The set that it belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        set: Option<String>,
        /// The case's name.
        case: String,
    },
    /// A case has a result.
    CaseEnded(Case),
    /// A file that a test attached to a case, or to its suite, is kept with the run.
    Attachment {
        /// The suite's name.
        suite: String,
        /// The case's name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        case: Option<String>,
        /// Where it is, relative to the run directory.
        path: String,
    },
    /// The kernel reported trouble.
    KernelReport(KernelReport),
    /// Something a reader of the run may want to know.
    Note {
        /// One line.
        text: String,
    },
    /// Something that did not stop the run, but was not as it should be.
    Warning {
        /// One line.
        text: String,
    },
    /// A file of the run directory is full: so much found no room in it so far.
    Dropped(DroppedRecords),
    /// What stopped the run.
    Error {
        /// Who must mend it.
        class: ErrorClass,
        /// One line: what was tried, what happened, and what to do about it.
        message: String,
        /// The last text of the console before it; empty if there was none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        console_tail: String,
    },
    /// Somebody was told of the run's end; behind it.
    Callback(CallbackSent),
    /// The last event of a run but for callbacks.
    RunEnded {
        /// What the run came to.
        verdict: Verdict,
        /// The exit status that goes with it.
        exit_status: u8,
        /// From the first event to this one.
        seconds: f64,
    },
}

/// What became of a callback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackSent {
    /// Where to, without what stands behind `?`.
    pub url: String,
    /// The status of the last answer; nothing where none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was given up; nothing where it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How often it was sent.
    pub tries: u32,
}

impl CallbackSent {
    /// An address as it may be seen: what stands behind `?` may be somebody's.
    pub fn shown(url: &str) -> String {
        url.split('?').next().unwrap_or_default().to_owned()
    }
}

impl std::fmt::Display for CallbackSent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url, status, why, tries } = self;
        match (status, why) {
            (_, Some(why)) => write!(f, "the callback to {url} was given up after {tries}: {why}"),
            (Some(status), None) => write!(f, "the callback to {url} was answered with {status}"),
            (None, None) => write!(f, "the callback to {url} was sent"),
        }
    }
}

/// What a full file of the run directory has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedRecords {
    /// The file's name.
    pub file: String,
    /// Lines, or pieces of a file without such, that were left out.
    pub records: u64,
    /// Their length.
    pub bytes: u64,
}

impl std::fmt::Display for DroppedRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, records, bytes } = self;
        write!(f, "{file} was full: {records} records of {bytes} bytes were left out")
    }
}

/// The result of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The suite's name.
    pub suite: String,
    /// The set that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// The case's name.
    pub case: String,
    /// What it came to.
    pub result: CaseResult,
    /// Who said so.
    pub origin: CaseOrigin,
    /// A number that it measured; never infinite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurement: Option<f64>,
    /// The measurement's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<String>,
    /// Where the case is explained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Why it came to that, where somebody said so: a reason to skip, a kernel report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How its command ended, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<SuiteEnd>,
    /// From its start to its end, by the board's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// What its command used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rusage: Option<Rusage>,
    /// The bytes of the suite's `stdout.log` that were printed while it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<ByteRange>,
    /// The same of `stderr.log`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<ByteRange>,
    /// When it ended, in microseconds of the board's uptime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board_time_us: Option<u64>,
}

/// Who said what a case came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseOrigin {
    /// The test, through a helper (`lava-test-case`), to its agent.
    Helper,
    /// A `<LAVA_SIGNAL_…>` text in the suite's output.
    Signal,
    /// A line of TAP or KTAP in the suite's output.
    Tap,
    /// A pattern of the job's in the suite's output: `monitor`, `interactive`.
    Pattern,
    /// The dispatcher: the case began and its end was not seen, or it was expected and never came.
    Dispatcher,
}

/// Bytes of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteRange {
    /// The first.
    pub from: u64,
    /// The one behind the last.
    pub to: u64,
}

/// Trouble that the kernel reported, in its log or, in a panic, on the raw line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelReport {
    /// What it is: `panic`, `oops`, `bug`, `warn`, `hung_task`, `rcu_stall`, `lockup`, `lockdep`, `sanitizer`, `oom`.
    pub kind: String,
    /// Its first line.
    pub title: String,
    /// What the job says is to be done: `record`, `fail`, `abort`.
    pub policy: String,
    /// The suite that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// The case that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// Where it was read: `kernel` (the log), `console` (the raw line), `pstore`.
    pub source: String,
    /// The kernel's time of it, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board_time_us: Option<u64>,
    /// The whole of it, line by line.
    pub text: String,
}

/// How well the clock of one boot of the board is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoardClock {
    /// Which image ran.
    pub slot: Slot,
    /// How far a time at the newest comparison may be off, µs.
    pub uncertainty_us: u64,
    /// How much faster than the host's clock the board's runs, ppm; `null` until it is known.
    #[serde(default)]
    pub drift_ppm: Option<f64>,
    /// Comparisons that told something.
    pub samples: u64,
    /// The time of the kernel's log minus that of the agent's clock, µs; `null` when no marker told it.
    #[serde(default)]
    pub kernel_offset_us: Option<i64>,
}

/// How far an operation got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// It was begun.
    Started,
    /// It was done.
    Done,
    /// It could not be done; an [`Event::Error`] or [`Event::Warning`] says why.
    Failed,
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionOutcome {
    /// It was done.
    Done,
    /// There was nothing to do.
    Skipped {
        /// Why not.
        why: String,
    },
    /// It could not be done.
    Failed {
        /// Why not.
        why: String,
    },
}

/// Which image a board runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// The master image: the one that deploys.
    Master,
    /// The image under test.
    Test,
}

/// How a suite ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuiteEnd {
    /// Its shell exited.
    Exited {
        /// Its exit status.
        status: i32,
    },
    /// A signal ended its shell.
    Signaled {
        /// The signal's number.
        signal: i32,
    },
    /// It ran past its time; its process group was killed.
    TimedOut,
    /// It restarted the board, as it was expected to.
    Rebooted,
    /// It did not run, or its end was not seen.
    NotRun {
        /// Why not.
        why: String,
    },
}

/// What a process and its children used; `getrusage(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rusage {
    /// Processor time in user mode.
    pub user_us: u64,
    /// Processor time in the kernel.
    pub system_us: u64,
    /// The most memory that was resident at once.
    pub max_rss_kib: u64,
}

/// One line of `events.ndjson`: an event and when it happened. The time comes first so that lines sort as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// The host's wall clock, in UTC with microseconds.
    #[serde(with = "rfc3339_us")]
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// A line of text from one source, on the one timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// When it was written, by the host's wall clock, in UTC with microseconds: converted from `board_time_us` where there is one,
    /// else when it arrived.
    #[serde(with = "rfc3339_us")]
    pub host_time: Timestamp,
    /// When it was written, in microseconds of the board's uptime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board_time_us: Option<u64>,
    /// How far `host_time` may be off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertainty_us: Option<u64>,
    /// Who wrote it.
    pub source: Source,
    /// The syslog level, 0 (emergency) to 7 (debug), where the source has levels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u8>,
    /// The source's own number of the record, where it has one (`/dev/kmsg`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The suite whose output it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// The case that ran when it was printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// The kernel's facility (syslog(3)), where it is another than the kernel's own, 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facility: Option<u8>,
    /// So many records of the source are missing here for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// So many bytes of the source were left out of the live log here, and are still to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elided: Option<u64>,
    /// The text, without its line end.
    pub text: String,
}

/// Who wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The kernel's log, record by record.
    Kernel,
    /// A suite's standard output.
    Stdout,
    /// A suite's standard error.
    Stderr,
    /// What user space printed to /dev/console.
    UserConsole,
    /// Raw text on the line that belongs to none of the others.
    Console,
    /// The agent on the board.
    Agent,
    /// This program.
    Dispatcher,
    /// Raw text on the line while the boot loader had it.
    BootLoader,
    /// What came on the agent's own line and belongs to no frame.
    AgentLine,
}

impl LogRecord {
    /// A line of which nothing else is known.
    pub fn new(host_time: Timestamp, source: Source, text: impl Into<String>) -> Self {
        Self {
            host_time,
            board_time_us: None,
            uncertainty_us: None,
            source,
            level: None,
            sequence: None,
            suite: None,
            case: None,
            facility: None,
            lost: None,
            elided: None,
            text: text.into(),
        }
    }
}

impl Case {
    /// A result of which nothing else is known.
    pub fn new(
        suite: impl Into<String>,
        case: impl Into<String>,
        result: CaseResult,
        origin: CaseOrigin,
    ) -> Self {
        Self {
            suite: suite.into(),
            set: None,
            case: case.into(),
            result,
            origin,
            measurement: None,
            units: None,
            reference: None,
            why: None,
            end: None,
            seconds: None,
            rusage: None,
            stdout: None,
            stderr: None,
            board_time_us: None,
        }
    }
}

impl Event {
    /// The first event of a run of `job` on `board`, which is of `board_type`.
    pub fn run_started(run: &str, job: &str, board: &str, board_type: &str) -> Self {
        Self::RunStarted {
            run: run.to_owned(),
            job: job.to_owned(),
            board: board.to_owned(),
            board_type: board_type.to_owned(),
            dispatcher_version: env!("CARGO_PKG_VERSION").to_owned(),
            store_version: STORE_VERSION,
        }
    }

    /// The event's name, as it stands in `events.ndjson`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RunStarted { .. } => "run_started",
            Self::Job { .. } => "job",
            Self::Metadata { .. } => "metadata",
            Self::Callback(_) => "callback",
            Self::Phase { .. } => "phase",
            Self::Power { .. } => "power",
            Self::ActionStarted { .. } => "action_started",
            Self::ActionProgress { .. } => "action_progress",
            Self::ActionEnded { .. } => "action_ended",
            Self::SessionOpened { .. } => "session_opened",
            Self::SessionClosed { .. } => "session_closed",
            Self::Clock(_) => "clock",
            Self::TestStarted { .. } => "test_started",
            Self::TestEnded { .. } => "test_ended",
            Self::CaseStarted { .. } => "case_started",
            Self::CaseEnded(_) => "case_ended",
            Self::Attachment { .. } => "attachment",
            Self::KernelReport(_) => "kernel_report",
            Self::Note { .. } => "note",
            Self::Warning { .. } => "warning",
            Self::Dropped(_) => "dropped",
            Self::Error { .. } => "error",
            Self::RunEnded { .. } => "run_ended",
        }
    }

    /// Whether the event is written down. Progress is not: it would outgrow everything else.
    pub fn is_stored(&self) -> bool {
        !matches!(self, Self::ActionProgress { .. })
    }

    /// Whether the event must be on the disk before anything else happens: what a result or a verdict hangs on.
    pub fn is_important(&self) -> bool {
        matches!(
            self,
            Self::RunStarted { .. }
                | Self::TestEnded { .. }
                | Self::KernelReport(_)
                | Self::Error { .. }
                | Self::RunEnded { .. }
        )
    }
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 9] = [
        Self::Kernel,
        Self::Stdout,
        Self::Stderr,
        Self::UserConsole,
        Self::Console,
        Self::Agent,
        Self::Dispatcher,
        Self::BootLoader,
        Self::AgentLine,
    ];

    /// The word, as it stands in every file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::UserConsole => "user_console",
            Self::Console => "console",
            Self::Agent => "agent",
            Self::Dispatcher => "dispatcher",
            Self::BootLoader => "boot_loader",
            Self::AgentLine => "agent_line",
        }
    }
}

impl SuiteEnd {
    /// What this end comes to: only exit status 0 is a pass.
    pub fn result(&self) -> CaseResult {
        match self {
            Self::Exited { status: 0 } | Self::Rebooted => CaseResult::Pass,
            Self::Exited { .. } | Self::Signaled { .. } | Self::TimedOut => CaseResult::Fail,
            Self::NotRun { .. } => CaseResult::Unknown,
        }
    }
}

impl std::fmt::Display for SuiteEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited { status } => write!(f, "exit status {status}"),
            Self::Signaled { signal } => write!(f, "killed by signal {signal}"),
            Self::TimedOut => f.write_str("timeout"),
            Self::Rebooted => f.write_str("restarted the board"),
            Self::NotRun { why } => write!(f, "not run: {why}"),
        }
    }
}

impl Slot {
    /// The word, as it stands on the wire, in files and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Test => "test",
        }
    }
}

/// RFC 3339 in UTC, always with six digits of the second, so that the text sorts as the time does.
mod rfc3339_us {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    pub(super) fn serialize<S: Serializer>(
        time: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{time:.6}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(microseconds: i64) -> Timestamp {
        Timestamp::from_microsecond(microseconds).unwrap()
    }

    #[test]
    fn lines_are_as_documented() {
        let event = Event::TestEnded {
            suite: "uname".into(),
            end: SuiteEnd::Exited { status: 1 },
            result: CaseResult::Fail,
            seconds: 0.25,
            rusage: Some(Rusage { user_us: 1, system_us: 2, max_rss_kib: 3 }),
        };
        let line = serde_json::to_string(&Stamped { time: at(1_000_000), event }).unwrap();
        assert_eq!(
            line,
            r#"{"time":"1970-01-01T00:00:01.000000Z","event":"test_ended","suite":"uname","end":{"exited":{"status":1}},"result":"fail","seconds":0.25,"rusage":{"user_us":1,"system_us":2,"max_rss_kib":3}}"#
        );
    }

    #[test]
    fn every_event_survives_and_names_itself() {
        for event in samples() {
            let stamped = Stamped { time: at(1_330_000_000_123_456), event };
            let line = serde_json::to_string(&stamped).unwrap();
            assert!(line.contains(&format!("\"event\":\"{}\"", stamped.event.name())), "{line}");
            assert_eq!(serde_json::from_str::<Stamped>(&line).unwrap(), stamped, "{line}");
        }
    }

    #[test]
    fn newer_writers_may_add_keys() {
        let line = r#"{"time":"2012-03-01T00:00:00Z","event":"note","text":"x","later":[1]}"#;
        assert_eq!(
            serde_json::from_str::<Stamped>(line).unwrap().event,
            Event::Note { text: "x".into() }
        );
    }

    #[test]
    fn sources_have_one_word() {
        for source in Source::ALL {
            assert_eq!(serde_json::to_value(source).unwrap(), source.as_str());
        }
    }

    #[test]
    fn only_status_zero_passes() {
        assert_eq!(SuiteEnd::Exited { status: 0 }.result(), CaseResult::Pass);
        assert_eq!(SuiteEnd::Exited { status: -1 }.result(), CaseResult::Fail);
        assert_eq!(SuiteEnd::Signaled { signal: 9 }.result(), CaseResult::Fail);
        assert_eq!(SuiteEnd::TimedOut.result(), CaseResult::Fail);
        assert_eq!(SuiteEnd::NotRun { why: String::new() }.result(), CaseResult::Unknown);
    }

    fn samples() -> Vec<Event> {
        let text = || "text".to_owned();
        vec![
            Event::RunStarted {
                run: text(),
                job: text(),
                board: text(),
                board_type: text(),
                dispatcher_version: text(),
                store_version: STORE_VERSION,
            },
            Event::Job { id: 1, attempt: 2, submitter: text() },
            Event::Phase { from: text(), to: text(), cause: text() },
            Event::Power { operation: PowerOperation::Cycle, state: OperationState::Done },
            Event::ActionStarted { action: text() },
            Event::ActionProgress { action: text(), done_bytes: 1, total_bytes: None },
            Event::ActionEnded {
                action: text(),
                seconds: 1.5,
                outcome: ActionOutcome::Failed { why: text() },
            },
            Event::ActionEnded { action: text(), seconds: 1.5, outcome: ActionOutcome::Done },
            Event::SessionOpened {
                slot: Slot::Test,
                boot_id: text(),
                link: serde_json::json!({"window_frames": 16}),
            },
            Event::SessionClosed { reason: text() },
            Event::Clock(BoardClock {
                slot: Slot::Test,
                uncertainty_us: 1200,
                drift_ppm: Some(-12.5),
                samples: 20,
                kernel_offset_us: None,
            }),
            Event::TestStarted { suite: text() },
            Event::TestEnded {
                suite: text(),
                end: SuiteEnd::TimedOut,
                result: CaseResult::Fail,
                seconds: 0.0,
                rusage: None,
            },
            Event::TestEnded {
                suite: text(),
                end: SuiteEnd::NotRun { why: text() },
                result: CaseResult::Unknown,
                seconds: 0.0,
                rusage: None,
            },
            Event::TestEnded {
                suite: text(),
                end: SuiteEnd::Rebooted,
                result: CaseResult::Pass,
                seconds: 9.0,
                rusage: None,
            },
            Event::CaseStarted { suite: text(), set: None, case: text() },
            Event::CaseEnded(Case {
                suite: text(),
                set: Some(text()),
                case: text(),
                result: CaseResult::Skip,
                origin: CaseOrigin::Tap,
                measurement: Some(-1.5),
                units: Some(text()),
                reference: None,
                why: Some(text()),
                end: Some(SuiteEnd::Exited { status: 0 }),
                seconds: Some(0.5),
                rusage: Some(Rusage::default()),
                stdout: Some(ByteRange { from: 1, to: 2 }),
                stderr: None,
                board_time_us: Some(7),
            }),
            Event::Attachment { suite: text(), case: None, path: text() },
            Event::KernelReport(KernelReport {
                kind: text(),
                title: text(),
                policy: text(),
                suite: None,
                case: Some(text()),
                source: text(),
                board_time_us: Some(1),
                text: text(),
            }),
            Event::Note { text: text() },
            Event::Warning { text: text() },
            Event::Dropped(DroppedRecords { file: text(), records: 1, bytes: 2 }),
            Event::Error {
                class: ErrorClass::Timeout,
                message: text(),
                console_tail: String::new(),
            },
            Event::RunEnded {
                verdict: Verdict::Error(ErrorClass::Canceled),
                exit_status: 130,
                seconds: 1.0,
            },
        ]
    }
}
