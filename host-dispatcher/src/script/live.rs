//! The live log as it comes: records become lines of the timeline, and marks become results.

use std::collections::{HashMap, HashSet};

use agent_core::link::Priority;
use agent_core::time::Duration;
use agent_core::wire::record::Record;
use agent_core::wire::response::Exit;
use agent_core::wire::{Method, codec, request};
use jiff::Timestamp;

use super::ask::Stream;
use super::files::SHORT_DEADLINE;
use super::{Bench, Fault};
use crate::board::Direction;
use crate::clock::{Clock, HostTime};
use crate::job::event::{Event, LogRecord, Rusage, Source, SuiteEnd};
use crate::job::spec::Test;

/// Credit of the live log beyond the first.
const LIVE_WINDOW: usize = 16 * 1024;

/// What the live log told so far.
#[derive(Debug, Default)]
pub struct Live {
    clock: Option<Clock>,
    /// The last line of each source: its own time, and the host's that it became.
    last: HashMap<Source, (u64, Timestamp)>,
    /// Kernel lines that are on the timeline, by time and text.
    kernel: HashSet<(u64, String)>,
    next_kernel: u64,
    /// How far the output of each test is on the timeline, and from where on something is missing.
    output: HashMap<(u16, Source), Coverage>,
    /// The unfinished line of each test's outputs.
    lines: HashMap<(u16, Source), Vec<u8>>,
    started: HashSet<u16>,
    ended: HashSet<u16>,
    has_begun: bool,
    is_over: bool,
    elided_records: u64,
}

/// Which bytes of an output came live.
#[derive(Clone, Copy, Debug, Default)]
struct Coverage {
    /// All bytes before this one.
    contiguous: u64,
}

impl Bench {
    /// Asks for the live log, the kernel's from this sequence number on.
    ///
    /// # Errors
    /// The agent's.
    pub async fn follow(&self, kernel_from: u64) -> Result<Stream, Fault> {
        let stream = self.stream(Priority::Interactive, Direction::FromBoard).await?;
        let body = request::Follow { stream: stream.id, kernel_from };
        self.start(Method::FOLLOW, &body, &[&stream], SHORT_DEADLINE).answer().await?;
        stream.widen(LIVE_WINDOW);
        Ok(stream)
    }

    /// Takes the live log until its stream ends, which it does with the session.
    pub async fn take_live(
        &self,
        stream: &Stream,
        live: &std::cell::RefCell<Live>,
        tests: &[Test],
    ) {
        let mut rest = Vec::new();
        while let Some(piece) = stream.read().await {
            rest.extend_from_slice(&piece);
            let mut used = 0;
            loop {
                match Record::parse(&rest[used..]) {
                    Ok(Some((record, length))) => {
                        live.borrow_mut().handle_record(self, &record, tests);
                        used += length;
                    }
                    Ok(None) => break,
                    Err(_) => return self.warn("the live log cannot be read any further"),
                }
            }
            rest.drain(..used);
        }
    }

    /// A warning on the record.
    pub fn warn(&self, text: &str) {
        self.tell(Event::Warning { text: text.to_owned() });
    }
}

impl Live {
    /// A boot began: it has a clock and a kernel log of its own.
    pub fn begin_boot(&mut self, clock: Clock) {
        self.clock = Some(clock);
        self.last.clear();
        self.next_kernel = 0;
        // Every boot says the same things at the same times.
        self.kernel.clear();
    }

    /// The board starts again: what comes home meanwhile has no clock.
    pub fn end_boot(&mut self) {
        self.clock = None;
    }

    /// The clock of the boot, once it was compared.
    pub fn clock(&self) -> Option<&Clock> {
        self.clock.as_ref()
    }

    /// The clock of the boot was compared again.
    pub fn set_clock(&mut self, clock: Clock) {
        self.clock = Some(clock);
    }

    /// The first kernel record of this boot that has not come.
    pub fn next_kernel(&self) -> u64 {
        self.next_kernel
    }

    /// From now on the image under test may have left something.
    pub fn begin_tests(&mut self) {
        self.has_begun = true;
    }

    /// Whether it may.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether the plan has ended.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Records that the line had no room for.
    pub fn elided_records(&self) -> u64 {
        self.elided_records
    }

    /// Whether a kernel line is on the timeline.
    pub fn has_kernel(&self, board_us: u64, text: &str) -> bool {
        self.kernel.contains(&(board_us, text.to_owned()))
    }

    /// Bytes of a test's output that are on the timeline without a gap.
    pub fn covered(&self, test: u16, source: Source) -> u64 {
        self.output.get(&(test, source)).map_or(0, |coverage| coverage.contiguous)
    }

    /// The unfinished line at the end of what is covered.
    pub fn take_partial_line(&mut self, test: u16, source: Source) -> Vec<u8> {
        self.lines.remove(&(test, source)).unwrap_or_default()
    }

    /// Whether the start, or the end, of a test is on record.
    pub fn has_started(&self, test: u16) -> bool {
        self.started.contains(&test)
    }

    /// See [`Self::has_started`].
    pub fn has_ended(&self, test: u16) -> bool {
        self.ended.contains(&test)
    }

    /// A test started; on record once.
    pub fn test_started(&mut self, bench: &Bench, test: u16, suite: &str) {
        if self.started.insert(test) {
            bench.tell(Event::TestStarted { suite: suite.to_owned() });
        }
    }

    /// A test ended; on record once.
    pub fn test_ended(&mut self, bench: &Bench, test: u16, suite: &str, exit: &Exit) {
        self.test_started(bench, test, suite);
        if !self.ended.insert(test) {
            return;
        }
        let end = match exit.end {
            Exit::EXITED => SuiteEnd::Exited { status: i32::from(exit.code) },
            Exit::SIGNALED => SuiteEnd::Signaled { signal: i32::from(exit.code) },
            Exit::TIMED_OUT | Exit::STEP_TIMED_OUT => SuiteEnd::TimedOut,
            Exit::REBOOTED => SuiteEnd::Rebooted,
            Exit::INTERRUPTED if exit.code == Exit::BY_AGENT => {
                SuiteEnd::NotRun { why: "the agent was killed while it ran".to_owned() }
            }
            Exit::INTERRUPTED => {
                SuiteEnd::NotRun { why: "the board restarted while it ran".to_owned() }
            }
            _ => SuiteEnd::NotRun { why: format!("it could not be started (errno {})", exit.code) },
        };
        bench.tell(Event::TestEnded {
            suite: suite.to_owned(),
            result: end.result(),
            end,
            seconds: exit.elapsed_us as f64 / 1e6,
            rusage: Some(Rusage {
                user_us: exit.user_us,
                system_us: exit.system_us,
                max_rss_kib: exit.max_rss_kib,
            }),
        });
    }

    /// A test will have no end.
    pub fn test_lost(&mut self, bench: &Bench, test: u16, suite: &str, why: &str) {
        if self.ended.insert(test) {
            let end = SuiteEnd::NotRun { why: why.to_owned() };
            let result = end.result();
            let suite = suite.to_owned();
            bench.tell(Event::TestEnded { suite, end, result, seconds: 0.0, rusage: None });
        }
    }

    /// Puts a line on the timeline.
    pub fn log(&mut self, bench: &Bench, line: Line<'_>) {
        let time = self.host_time(line.source, line.board_us);
        let record = LogRecord {
            host_time: time.map_or_else(|| bench.wall(), |time| time.wall),
            board_time_us: Some(line.board_us),
            uncertainty_us: time.map(|time| time.uncertainty_us),
            source: line.source,
            level: line.level,
            sequence: line.sequence,
            suite: line.suite.map(str::to_owned),
            case: None,
            facility: None,
            lost: None,
            text: line.text,
        };
        bench.observer(|observer| observer.log(&record));
    }

    /// When a line was written, by the host's clock.
    ///
    /// A clock that is compared again shows a little more or less than before. A line must not come before one that the
    /// same source wrote earlier, so it is put at the same time then, and what that adds is said.
    fn host_time(&mut self, source: Source, board_us: u64) -> Option<HostTime> {
        let clock = self.clock.as_ref()?;
        let mut time = match source {
            Source::Kernel => clock.host_time_of_kernel(board_us)?,
            _ => clock.host_time(board_us)?,
        };
        if let Some((earlier_us, earlier)) = self.last.get(&source)
            && *earlier_us <= board_us
            && *earlier > time.wall
        {
            let shift = earlier.duration_since(time.wall).as_micros();
            time.uncertainty_us += u64::try_from(shift).unwrap_or(0);
            time.wall = *earlier;
        }
        self.last.insert(source, (board_us, time.wall));
        Some(time)
    }

    /// A line of the kernel, once.
    pub fn kernel_line(
        &mut self,
        bench: &Bench,
        board_us: u64,
        priority: u8,
        sequence: Option<u64>,
        text: String,
    ) {
        if self.kernel.insert((board_us, text.clone())) {
            let level = Some(priority & 7);
            self.log(
                bench,
                Line { board_us, source: Source::Kernel, level, sequence, suite: None, text },
            );
        }
    }

    /// Bytes of a test's output that follow on those before; they become lines when these end.
    pub fn output(
        &mut self,
        bench: &Bench,
        test: u16,
        source: Source,
        suite: &str,
        board_us: u64,
        bytes: &[u8],
    ) {
        let mut line = self.lines.remove(&(test, source)).unwrap_or_default();
        for byte in bytes {
            if *byte == b'\n' || line.len() >= LINE_MAX {
                let text = String::from_utf8_lossy(&line).into_owned();
                line.clear();
                self.log(
                    bench,
                    Line {
                        board_us,
                        source,
                        level: None,
                        sequence: None,
                        suite: Some(suite),
                        text,
                    },
                );
            }
            if *byte != b'\n' {
                line.push(*byte);
            }
        }
        self.lines.insert((test, source), line);
        self.output.entry((test, source)).or_default().contiguous += bytes.len() as u64;
    }

    fn handle_record(&mut self, bench: &Bench, record: &Record<'_>, tests: &[Test]) {
        let suite = tests.get(usize::from(record.test)).map_or("", |test| test.name.as_str());
        let text = || String::from_utf8_lossy(record.text).into_owned();
        match record.source {
            Record::KERNEL => {
                self.next_kernel = self.next_kernel.max(record.sequence + 1);
                self.kernel_line(
                    bench,
                    record.board_us,
                    record.priority,
                    Some(record.sequence),
                    text(),
                );
            }
            Record::STDOUT | Record::STDERR => {
                let source =
                    if record.source == Record::STDOUT { Source::Stdout } else { Source::Stderr };
                // Behind a gap nothing is taken: the file brings it all, in order.
                if !suite.is_empty() && record.sequence == self.covered(record.test, source) {
                    self.output(bench, record.test, source, suite, record.board_us, record.text);
                    self.append_live(bench, source, suite, record.text);
                }
            }
            Record::AGENT => self.log(
                bench,
                Line {
                    board_us: record.board_us,
                    source: Source::Agent,
                    level: None,
                    sequence: None,
                    suite: None,
                    text: text(),
                },
            ),
            Record::TEST_STARTED if !suite.is_empty() => {
                self.test_started(bench, record.test, suite)
            }
            Record::TEST_ENDED if !suite.is_empty() => {
                if let Ok(exit) = codec::decode::<Exit>(record.text) {
                    self.test_ended(bench, record.test, suite, &exit);
                }
            }
            Record::PLAN_ENDED => self.is_over = true,
            Record::ELIDED => self.elided_records += record.sequence,
            _ => {}
        }
    }

    /// What came live is kept in the suite's file until the file of the board replaces it.
    fn append_live(&self, bench: &Bench, source: Source, suite: &str, bytes: &[u8]) {
        use std::io::Write;
        let name = if source == Source::Stdout { "stdout.log" } else { "stderr.log" };
        let written = bench.run_dir(|dir| match dir.open_suite_file(suite, name) {
            Ok(mut file) => file.write_all(bytes).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        });
        if let Some(Err(why)) = written {
            bench.warn(&why);
        }
    }
}

/// A line for the timeline.
#[derive(Debug)]
pub struct Line<'a> {
    /// The board's time.
    pub board_us: u64,
    /// Who wrote it.
    pub source: Source,
    /// The kernel's level.
    pub level: Option<u8>,
    /// The kernel's number.
    pub sequence: Option<u64>,
    /// The suite whose output it is.
    pub suite: Option<&'a str>,
    /// The text.
    pub text: String,
}

/// A line of output that is longer becomes several.
const LINE_MAX: usize = 4096;

/// How long a session that was lost is waited for before the board is started again.
pub const RETURN_WAIT: Duration = Duration::from_secs(60);
