//! The live log as it comes: records become lines of the timeline, and marks become results.

use std::collections::{HashMap, HashSet};
use std::io::Write;

use agent_core::link::Priority;
use agent_core::time::Duration;
use agent_core::wire::record::Record;
use agent_core::wire::response::Exit;
use agent_core::wire::test_signal::Noted;
use agent_core::wire::{Method, codec, request};

use super::ask::Stream;
use super::board_logs::{KernelLine, KernelLines, UserConsole};
use super::cases::{Cases, When, rusage_of};
use super::files::SHORT_DEADLINE;
use super::output::{Line, Outputs, Rest};
use super::placed::Placed;
use super::{Bench, Fault};
use crate::board::{Direction, Slot};
use crate::clock::{Clock, HostTime};
use crate::job::event::{Event, LogRecord, Source, SuiteEnd};
use crate::job::spec::Test;
use crate::kernel::watch::LogLine;
use crate::store::run_dir::SuiteFile;

/// Credit of the live log beyond the first.
const LIVE_WINDOW: usize = 16 * 1024;

/// What the live log told so far.
#[derive(Debug, Default)]
pub struct Live {
    /// The boots that had a session, or of which files came home; the newest is the last.
    boots: Vec<Boot>,
    /// The boot that the board is in.
    current: Option<usize>,
    outputs: Outputs,
    cases: Cases,
    user_console: UserConsole,
    /// Suite files that are open to be appended to: those of one test.
    files: Vec<(u16, Source, SuiteFile)>,
    started: HashSet<u16>,
    ended: HashSet<u16>,
    has_begun: bool,
    has_secrets: bool,
    is_over: bool,
    elided_records: u64,
    warned: HashSet<String>,
}

/// One boot of the board: its clock, and what of its logs is on the timeline.
#[derive(Debug, Default)]
struct Boot {
    id: [u8; 16],
    clock: Option<Clock>,
    /// The lines of each source that are on the timeline.
    placed: HashMap<Source, Placed>,
    kernel: KernelLines,
    /// Lines of the agent that are on the timeline, by time and text.
    agent: HashSet<(u64, String)>,
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

    /// A line that came now and was written at `board_us` of the board's uptime; of which nothing else is known.
    pub fn record(&self, source: Source, board_us: u64, text: String) -> LogRecord {
        LogRecord { board_time_us: Some(board_us), ..LogRecord::new(self.wall(), source, text) }
    }

    /// A warning on the record.
    pub fn warn(&self, text: &str) {
        self.tell(Event::Warning { text: text.to_owned() });
    }
}

impl Live {
    /// The board is in this boot, which has a clock and a kernel log of its own.
    pub fn begin_boot(&mut self, id: [u8; 16], clock: Clock) {
        let boot = self.boot_of(id);
        self.boots[boot].clock = Some(clock);
        self.current = Some(boot);
        // The test agent has a file of it, which it goes on with in its next boot.
        if !self.has_begun {
            self.user_console = UserConsole::default();
        }
    }

    /// The board starts again: what comes home meanwhile has no clock.
    pub fn end_boot(&mut self) {
        self.current = None;
    }

    /// The id of the boot that the board is in.
    pub fn boot_id(&self) -> Option<[u8; 16]> {
        self.current.map(|boot| self.boots[boot].id)
    }

    /// The place of a boot, made if it is new.
    pub fn boot_of(&mut self, id: [u8; 16]) -> usize {
        let known = self.boots.iter().position(|boot| boot.id == id);
        known.unwrap_or_else(|| {
            // A board that started so often, or says so: what follows counts as of the last that is known.
            if self.boots.len() == BOOTS_MAX {
                return BOOTS_MAX - 1;
            }
            self.boots.push(Boot { id, ..Boot::default() });
            self.boots.len() - 1
        })
    }

    /// The place of the boot that files which do not name theirs are of: the board's, or the last that there was.
    pub fn last_boot(&mut self) -> usize {
        match self.current {
            Some(boot) => boot,
            None if self.boots.is_empty() => self.boot_of([0; 16]),
            None => self.boots.len() - 1,
        }
    }

    /// The clock of the boot, once it was compared.
    pub fn clock(&self) -> Option<&Clock> {
        self.boots[self.current?].clock.as_ref()
    }

    /// The clock of the boot was compared again.
    pub fn set_clock(&mut self, clock: Clock) {
        if let Some(boot) = self.current {
            self.boots[boot].clock = Some(clock);
        }
    }

    /// The first kernel record of this boot that has not come.
    pub fn next_kernel(&self) -> u64 {
        self.current.map_or(0, |boot| self.boots[boot].kernel.next())
    }

    /// From now on the image under test may have left something.
    pub fn begin_tests(&mut self) {
        self.has_begun = true;
        // The test agent counts from the beginning of its file.
        self.user_console = UserConsole::default();
    }

    /// Whether it may.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The image whose log comes.
    pub fn slot(&self) -> Slot {
        if self.has_begun { Slot::Test } else { Slot::Master }
    }

    /// The suite, and the case of it, that ran at a time of the kernel's clock, or runs now.
    pub fn running_at(&self, kernel_us: Option<u64>) -> Option<(String, Option<String>)> {
        let boot = self.current.or_else(|| self.boots.len().checked_sub(1));
        let running = match (kernel_us, boot) {
            (Some(kernel_us), Some(boot)) => {
                let quality = self.boots[boot].clock.as_ref().and_then(Clock::quality);
                let offset_us = quality.and_then(|quality| quality.kernel_offset_us).unwrap_or(0);
                self.cases.spans().running_at(boot, kernel_us.saturating_add_signed(-offset_us))
            }
            _ => self.cases.spans().running(),
        };
        running.suite.map(|suite| (suite, running.case))
    }

    /// Whether the plan has ended.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Records that the line had no room for.
    pub fn elided_records(&self) -> u64 {
        self.elided_records
    }

    /// The kernel lines of a boot.
    pub fn kernel_lines(&mut self, boot: usize) -> &mut KernelLines {
        &mut self.boots[boot].kernel
    }

    /// What of the user console is on the timeline.
    pub fn user_console(&mut self) -> &mut UserConsole {
        &mut self.user_console
    }

    /// The suites' files are replaced now: none is written to any more.
    pub fn close_files(&mut self) {
        self.files.clear();
    }

    /// The cases of the tests.
    pub fn cases(&mut self) -> &mut Cases {
        &mut self.cases
    }

    /// The test that runs, as far as is known.
    pub fn running_test(&self) -> Option<u16> {
        self.started.difference(&self.ended).max().copied()
    }

    /// The secrets of the job are on the board.
    pub fn secrets_are_there(&mut self) {
        self.has_secrets = true;
    }

    /// Whether they are, as far as is known.
    pub fn has_secrets(&self) -> bool {
        self.has_secrets
    }

    /// Gives up what is known of a test's output, for its file to bring the rest.
    pub fn rest_of_output(&mut self, test: u16, source: Source) -> Rest {
        self.outputs.rest(test, source)
    }

    /// The file brought it, up to this byte.
    pub fn end_rest_of_output(&mut self, test: u16, source: Source, rest: Rest, end: u64) {
        self.outputs.end_rest(test, source, rest, end);
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
    pub fn test_started(&mut self, bench: &Bench, when: &When<'_>) {
        if self.started.insert(when.test) {
            self.cases.spans_mut().open(when, None);
            bench.tell(Event::TestStarted { suite: when.suite.to_owned() });
        }
    }

    /// A test ended; on record once.
    pub fn test_ended(&mut self, bench: &Bench, when: &When<'_>, exit: &Exit) {
        self.test_started(bench, when);
        if !self.ended.insert(when.test) {
            return;
        }
        self.cases.spans_mut().end_test(when);
        let end = end_of(exit);
        bench.tell(Event::TestEnded {
            suite: when.suite.to_owned(),
            result: end.result(),
            end,
            seconds: exit.elapsed_us as f64 / 1e6,
            rusage: Some(rusage_of(exit)),
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

    /// Puts a line of a boot on the timeline: at the host's time of its `board_time_us`, where that is known, else at its own.
    pub fn log(&mut self, bench: &Bench, boot: usize, mut record: LogRecord) {
        let time = record.board_time_us.and_then(|us| self.host_time(boot, record.source, us));
        if let Some(time) = time {
            record.host_time = time.wall;
            record.uncertainty_us = Some(time.uncertainty_us);
        }
        bench.observer(|observer| observer.log(&record));
    }

    /// When a line was written, by the host's clock.
    ///
    /// A clock that is compared again shows a little more or less than before. A line must not come before one that the
    /// same source wrote earlier, nor, if it is read in a file afterwards, behind one that was written later: so it is put at
    /// the former's time then, or just before the latter's, and what that adds is said.
    fn host_time(&mut self, boot: usize, source: Source, board_us: u64) -> Option<HostTime> {
        let boot = self.boots.get_mut(boot)?;
        let clock = boot.clock.as_ref()?;
        let mut time = match source {
            Source::Kernel => clock.host_time_of_kernel(board_us)?,
            _ => clock.host_time(board_us)?,
        };
        let place = boot.placed.entry(source).or_default().put(board_us, time.wall);
        let shift = place.duration_since(time.wall).as_micros().unsigned_abs();
        time.uncertainty_us += u64::try_from(shift).unwrap_or(0);
        time.wall = place;
        Some(time)
    }

    /// Puts a line of the kernel on the timeline, and shows it to who watches the kernel where it came live.
    pub fn kernel_line(&mut self, bench: &Bench, boot: usize, line: KernelLine) {
        let KernelLine { board_us, priority, sequence, lost, text } = line;
        if sequence.is_some() && lost.is_none() {
            bench.watch_log(self, LogLine { priority, board_us, sequence, text: &text });
        }
        let record = LogRecord {
            level: lost.is_none().then_some(priority & 7),
            facility: Some(priority >> 3).filter(|facility| *facility != 0),
            sequence,
            lost,
            ..bench.record(Source::Kernel, board_us, text)
        };
        self.log(bench, boot, record);
    }

    /// A line of the agent, once.
    pub fn agent_line(&mut self, bench: &Bench, boot: usize, board_us: u64, text: String) {
        let lines = self.boots.get_mut(boot).map(|boot| &mut boot.agent);
        if lines.is_some_and(|lines| lines.insert((board_us, text.clone()))) {
            self.log(bench, boot, bench.record(Source::Agent, board_us, text));
        }
    }

    /// A warning, once, however often the board's files are read.
    pub fn warn(&mut self, bench: &Bench, text: String) {
        if self.warned.len() < WARNINGS_MAX && !self.warned.contains(&text) {
            bench.warn(&text);
            self.warned.insert(text);
        }
    }

    /// A line of a test's output: on the timeline with its case, and, of standard output, read for what it says of cases.
    /// What `is_shown` already is only read.
    pub fn output_line(
        &mut self,
        bench: &Bench,
        when: &When<'_>,
        source: Source,
        line: &Line,
        is_shown: bool,
    ) {
        if source == Source::Stdout && line.is_first && line.is_in_order {
            // What is read here loses quotes and escapes: a secret has to go before.
            let redacted = bench.hidden().redacted_bytes(&line.bytes);
            let text = redacted.as_deref().unwrap_or(&line.bytes);
            for event in self.cases.line(when, line.offset, text) {
                bench.tell(event);
            }
        }
        if is_shown {
            return;
        }
        let text = String::from_utf8_lossy(&line.bytes).into_owned();
        let case = self.cases.case_at(when.test, source, line.offset).map(str::to_owned);
        let record = bench.record(source, when.board_us, text);
        let suite = Some(when.suite.to_owned());
        self.log(bench, when.boot, LogRecord { suite, case, ..record });
    }

    fn handle_record(&mut self, bench: &Bench, record: &Record<'_>, tests: &[Test]) {
        // Records come in a session, which has a boot.
        let Some(boot) = self.current else { return };
        let suite = tests.get(usize::from(record.test)).map(|test| test.name.as_str());
        let when =
            suite.map(|suite| When { test: record.test, suite, boot, board_us: record.board_us });
        let text = || String::from_utf8_lossy(record.text).into_owned();
        match (record.source, when) {
            (Record::KERNEL | Record::KERNEL_GAP, _) => {
                for line in self.boots[boot].kernel.take_record(record, self.has_begun) {
                    self.kernel_line(bench, boot, line);
                }
            }
            (Record::USER_CONSOLE, _) => {
                let lines = self.user_console.take(record.sequence, record.text, self.has_begun);
                for text in lines {
                    self.log(bench, boot, bench.record(Source::UserConsole, record.board_us, text));
                }
            }
            (Record::STDOUT, Some(when)) => self.output(bench, &when, Source::Stdout, record),
            (Record::STDERR, Some(when)) => self.output(bench, &when, Source::Stderr, record),
            (Record::AGENT, _) => {
                self.agent_line(bench, boot, record.board_us, text());
            }
            (Record::TEST_STARTED, Some(when)) => self.test_started(bench, &when),
            (Record::TEST_ENDED, Some(when)) => {
                if let Ok(exit) = codec::decode::<Exit>(record.text) {
                    self.test_ended(bench, &when, &exit);
                }
            }
            (Record::TEST_SIGNAL, Some(when)) => {
                if let Ok(noted) = codec::decode::<Noted<'_>>(record.text) {
                    self.signal(bench, record.sequence, &when, &noted, false);
                }
            }
            (Record::PLAN_RESUMED, _) => {
                bench.tell(Event::Note { text: "the test plan goes on".to_owned() });
            }
            (Record::PLAN_ENDED, _) => self.is_over = true,
            (Record::ELIDED, _) => self.elided_records += record.sequence,
            _ => {}
        }
    }

    /// A test told its agent something; on record once.
    pub fn signal(
        &mut self,
        bench: &Bench,
        n: u64,
        when: &When<'_>,
        noted: &Noted<'_>,
        is_journal: bool,
    ) {
        for event in self.cases.signal(n, when, noted, is_journal) {
            bench.tell(event);
        }
    }

    fn output(&mut self, bench: &Bench, when: &When<'_>, source: Source, record: &Record<'_>) {
        let taken = self.outputs.take_live(when.test, source, record.sequence, record.text);
        if taken.elided > 0 {
            let text = format!("({} bytes are left out here; the file brings them)", taken.elided);
            let record = LogRecord {
                suite: Some(when.suite.to_owned()),
                elided: Some(taken.elided),
                ..bench.record(source, when.board_us, text)
            };
            self.log(bench, when.boot, record);
        }
        if taken.appendable > 0 {
            let from = record.text.len() - taken.appendable;
            self.append_live(bench, when.test, source, when.suite, &record.text[from..]);
        }
        for line in &taken.lines {
            self.output_line(bench, when, source, line, false);
        }
    }

    /// What came live is kept in the suite's file until the file of the board replaces it.
    fn append_live(&mut self, bench: &Bench, test: u16, source: Source, suite: &str, bytes: &[u8]) {
        self.files.retain(|(of, ..)| *of == test);
        if !self.files.iter().any(|(_, of, _)| *of == source) {
            let name = if source == Source::Stdout { "stdout.log" } else { "stderr.log" };
            match bench.run_dir(|dir| dir.open_suite_file(suite, name)) {
                Some(Ok(file)) => self.files.push((test, source, file)),
                Some(Err(error)) => return bench.warn(&error.to_string()),
                None => return,
            }
        }
        let file = self.files.iter_mut().find(|(_, of, _)| *of == source);
        if let Some(Err(error)) = file.map(|(_, _, file)| file.write_all(bytes)) {
            bench.warn(&format!("failed to write what {suite} printed: {error}"));
        }
    }
}

/// How a test, or the command of a case, ended.
pub fn end_of(exit: &Exit) -> SuiteEnd {
    match exit.end {
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
    }
}

/// A plan of 1000 tests of which each restarts the board has as many.
const BOOTS_MAX: usize = 2000;

/// What a board's files can be warned of is one thing a test, and some of the whole run.
const WARNINGS_MAX: usize = 2000;

/// How long a session that was lost is waited for before the board is started again.
pub const RETURN_WAIT: Duration = Duration::from_secs(60);
