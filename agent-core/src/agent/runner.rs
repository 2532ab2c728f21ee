//! Runs the test plan: one test after the other, each with its timeout, whether anybody watches or not.
//!
//! What it does is written to the journal and synced before the next thing happens, so that after any kind of death
//! the journal says which test was running, and the next start goes on behind it (see [`super::resume`]).

use super::child::Child;
use super::effect::{Op, Pipe, RunFile};
use super::live::{Live, Mark};
use super::plan::{PlanReader, RUN_NAME_MAX, SUITE_NAME_MAX, TESTS_MAX, Test};
use super::queue::{Line, Queue, Queued};
use super::resume::{Boot, Journal, Start};
use super::signals::{self, Place, Signals, write_exit, write_usage};
use crate::text::hex_digit;
use crate::time::{Duration, Instant};
use crate::wire::record::Record;
use crate::wire::response::{Exit, TestStatus};
use heapless::{String, Vec};

/// The first test waits so long for somebody to watch, then starts anyway.
pub const START_WAIT: Duration = Duration::from_secs(15);

/// While a test runs its files are synced so often.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The plan ends when the kernel has been silent for so long after the last test.
const KERNEL_QUIET: Duration = Duration::from_millis(150);

/// ... and after so long at the latest.
const KERNEL_LIMIT: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug)]
pub(super) struct Runner {
    run: String<RUN_NAME_MAX>,
    directory: String<DIRECTORY_MAX>,
    problem: String<PROBLEM_MAX>,
    /// The kernel's boot id, for the journal.
    boot: Boot,
    tests: Vec<PlannedTest, TESTS_MAX>,
    state: State,
    ended: u16,
    signals: Signals,
    /// No test of this start has begun: the next one waits for somebody to watch.
    waits_for_company: bool,
    /// The watchdog is fed until the plan ends.
    has_watchdog: bool,
    /// Writes to the run's files that failed in this start.
    failed_writes: u32,
    /// The plan ends at the latest now, whatever the kernel still says.
    end_by: Instant,
}

/// Longest path of a run's directory.
const DIRECTORY_MAX: usize = 256;

/// Longest problem: a sentence with a suite's name in it.
const PROBLEM_MAX: usize = 32 + SUITE_NAME_MAX;

#[derive(Clone, Debug)]
struct PlannedTest {
    suite: String<SUITE_NAME_MAX>,
    timeout: Duration,
    /// `None`: steps have no limit of their own.
    step_timeout: Option<Duration>,
    expects_restart: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    NoPlan,
    Broken,
    /// Until somebody watches, or this time.
    Waiting(Instant),
    Running(Running),
    Ended,
}

/// The test that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub(super) op: Op,
    pub(super) index: u16,
    child: Child,
    stdout_bytes: u64,
    stderr_bytes: u64,
    /// Output that could not be written to its file.
    lost_bytes: u64,
    sync_at: Option<Instant>,
    /// Its process has ended, and it is to restart the board until then.
    restart_by: Option<Instant>,
}

impl Runner {
    pub(super) fn new(boot_id: [u8; 16]) -> Self {
        let mut boot = Boot::default();
        for (digits, byte) in boot.chunks_exact_mut(2).zip(boot_id) {
            for (digit, value) in digits.iter_mut().zip([byte >> 4, byte]) {
                *digit = hex_digit(value);
            }
        }
        Self {
            run: String::new(),
            directory: String::new(),
            problem: String::new(),
            boot,
            tests: Vec::new(),
            state: State::NoPlan,
            ended: 0,
            signals: Signals::new(0),
            waits_for_company: true,
            has_watchdog: false,
            failed_writes: 0,
            end_by: Instant::ZERO,
        }
    }

    /// Takes the plan, or what is wrong with it, and goes on behind what its journal says.
    pub(super) fn start(
        &mut self,
        now: Instant,
        plan: Result<&[u8], &str>,
        before: &Journal,
        directory: &str,
        queue: &mut Queue,
        live: &mut Live,
    ) {
        if self.directory.push_str(directory).is_err() {
            return self.break_off("the path of the run's directory is too long");
        }
        let plan = match plan {
            Ok(plan) => plan,
            Err(problem) => return self.break_off(problem),
        };
        let Some(watchdog_s) = self.read(plan) else {
            return self.break_off("the plan is damaged");
        };
        if usize::from(before.next) > self.tests.len() {
            return self.break_off("its journal is that of another plan");
        }
        // What was read of it before, for a dispatcher that came early, belongs into the file too.
        queue.push(Queued::SeekKernel { sequence: 0 });
        if self.go_on(now, before, queue, live) && watchdog_s > 0 {
            self.has_watchdog = true;
            queue.push(Queued::Watchdog { seconds: watchdog_s });
        }
    }

    /// Begins where the journal ends. Returns whether there is anything left to be done.
    fn go_on(
        &mut self,
        now: Instant,
        before: &Journal,
        queue: &mut Queue,
        live: &mut Live,
    ) -> bool {
        let expects_restart =
            |test| self.tests.get(usize::from(test)).is_some_and(|test| test.expects_restart);
        let (ended, start) = before.resume(&self.boot, expects_restart);
        self.set_signals(before.last_signal);
        self.ended = before.next;
        if let Some((test, exit)) = ended {
            self.write_end(now, test, exit, None, queue);
            live.mark(mark(Record::TEST_ENDED, test, now, exit));
        }
        if !matches!(start, Start::New | Start::Ended) {
            // The board may have died in the middle of a line.
            queue.line(RunFile::KernelLog).text("\n").end();
        }
        let boot = core::str::from_utf8(&self.boot).unwrap_or_default();
        // Times of another boot follow in these.
        for file in [RunFile::KernelLog, RunFile::AgentLog] {
            queue.line(file).text("-- boot ").text(boot).text(" --\n").end();
        }
        queue.line(RunFile::UserConsoleTimes).text("{\"boot\":\"").text(boot).text("\"}\n").end();
        match start {
            Start::New => {
                let mut line = queue.event("plan_started");
                line.string("run", &self.run).number("tests", self.tests.len() as u64);
                line.string("boot", boot).end_at(now);
            }
            Start::Resumed { by_board } => {
                let why = if by_board { "board" } else { "agent" };
                let mut line = queue.event("plan_resumed");
                line.number("test", self.ended.into()).string("why", why);
                line.string("boot", boot).end_at(now);
                live.mark(mark(Record::PLAN_RESUMED, self.ended, now, Exit::default()));
            }
            Start::Ended => {
                live.mark(mark(Record::PLAN_ENDED, self.ended, now, Exit::default()));
                self.state = State::Ended;
                return false;
            }
            Start::Stopped(test) => {
                // A test that brings the board down would otherwise do so for ever. Nobody is told that the plan has
                // ended, for it has not.
                let suite = self.tests.get(test.map_or(usize::MAX, usize::from));
                let sentence = match suite {
                    Some(test) => ["the board restarted while ", &test.suite, " ran"],
                    None => ["the board restarted between two tests", "", ""],
                };
                for part in sentence {
                    // There is room for the longest name.
                    let _ = self.problem.push_str(part);
                }
                self.state = State::Ended;
                return false;
            }
        }
        self.wait(now, START_WAIT);
        true
    }

    /// Until the next test, or the end.
    fn wait(&mut self, now: Instant, at_most: Duration) {
        let is_last = usize::from(self.ended) == self.tests.len();
        self.waits_for_company &= !is_last;
        self.end_by = now + KERNEL_LIMIT;
        self.state = State::Waiting(now + if is_last { KERNEL_QUIET } else { at_most });
    }

    /// Returns the watchdog's seconds.
    fn read(&mut self, plan: &[u8]) -> Option<u16> {
        let (header, mut reader) = PlanReader::new(plan).ok()?;
        self.run.push_str(header.run).ok()?;
        while let Some(test) = reader.test().ok()? {
            let mut suite = String::new();
            suite.push_str(test.suite).ok()?;
            let timeout = Duration::from_millis(u64::from(test.timeout_ms));
            let step_ms = u64::from(test.step_timeout_ms);
            let step_timeout = (step_ms > 0).then(|| Duration::from_millis(step_ms));
            let expects_restart = test.flags & Test::EXPECTS_REBOOT != 0;
            self.tests.push(PlannedTest { suite, timeout, step_timeout, expects_restart }).ok()?;
        }
        Some(header.watchdog_s)
    }

    fn break_off(&mut self, problem: &str) {
        self.tests.clear();
        self.problem.clear();
        let end = problem.len().min(self.problem.capacity());
        let _ = self.problem.push_str(problem.get(..end).unwrap_or("the plan cannot be used"));
        self.state = State::Broken;
    }

    /// Whether there is a plan: then the kernel's log goes to a file.
    pub(super) fn has_plan(&self) -> bool {
        !matches!(self.state, State::NoPlan | State::Broken)
    }

    /// Whether it will need an operation for its next test.
    pub(super) fn needs_operation(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }

    /// Whether the first test of this start waits for somebody to watch.
    pub(super) fn is_waiting_for_company(&self) -> bool {
        self.waits_for_company && matches!(self.state, State::Waiting(_))
    }

    /// Whether the next test may start now.
    pub(super) fn is_due(&self, now: Instant, is_followed: bool) -> bool {
        let State::Waiting(until) = self.state else { return false };
        now >= until || self.waits_for_company && is_followed
    }

    /// A record of the kernel's log, or text of the user console, was read. The plan ends only when both have said what
    /// they had to say by then.
    pub(super) fn handle_kernel(&mut self, now: Instant) {
        match &mut self.state {
            State::Running(running) => {
                running.sync_at = Some(running.sync_at.unwrap_or(now + SYNC_EVERY));
            }
            State::Waiting(until) if usize::from(self.ended) == self.tests.len() => {
                *until = (now + KERNEL_QUIET).min(self.end_by);
            }
            _ => {}
        }
    }

    /// Starts the next test as operation `op`, or ends the plan; returns whether a test started.
    pub(super) fn next(
        &mut self,
        now: Instant,
        op: Op,
        queue: &mut Queue,
        live: &mut Live,
    ) -> bool {
        let index = self.ended;
        let Some(test) = self.tests.get(usize::from(index)) else {
            self.state = State::Ended;
            queue.push(Queued::SyncRun);
            let mut line = queue.event("plan_ended");
            if self.failed_writes > 0 {
                line.number("failed_writes", self.failed_writes.into());
            }
            line.end_at(now);
            if core::mem::take(&mut self.has_watchdog) {
                queue.push(Queued::Watchdog { seconds: 0 });
            }
            live.mark(mark(Record::PLAN_ENDED, index, now, Exit::default()));
            return false;
        };
        let mut line = queue.event("test_started");
        line.number("test", index.into()).string("suite", &test.suite).end_at(now);
        queue.push(Queued::StartTest { op, index });
        live.mark(mark(Record::TEST_STARTED, index, now, Exit::default()));
        self.signals.begin_test();
        self.state = State::Running(Running {
            op,
            index,
            child: Child::new(now, Some(test.timeout)),
            stdout_bytes: 0,
            stderr_bytes: 0,
            lost_bytes: 0,
            sync_at: None,
            restart_by: None,
        });
        self.waits_for_company = false;
        true
    }

    /// The test that runs as operation `op`.
    pub(super) fn running(&self, op: Op) -> Option<Running> {
        match self.state {
            State::Running(running) if running.op == op => Some(running),
            _ => None,
        }
    }

    /// The test printed something, which stands in its file already. Returns the record for the live log.
    pub(super) fn handle_output<'b>(
        &mut self,
        now: Instant,
        pipe: Pipe,
        bytes: &'b [u8],
        queue: &mut Queue,
    ) -> Option<Record<'b>> {
        let State::Running(running) = &mut self.state else { return None };
        if bytes.is_empty() {
            running.child.handle_pipe_end(pipe);
            return None;
        }
        let (source, name, count) = match pipe {
            Pipe::Stdout => (Record::STDOUT, "stdout", &mut running.stdout_bytes),
            Pipe::Stderr => (Record::STDERR, "stderr", &mut running.stderr_bytes),
        };
        running.child.handle_output(now, bytes.len());
        let sequence = *count;
        *count += bytes.len() as u64;
        running.sync_at = Some(running.sync_at.unwrap_or(now + SYNC_EVERY));
        let board_us = now.as_micros();
        push_times(queue.line(RunFile::Output), board_us, name, sequence, bytes.len());
        let (priority, test, text, count) = (0, running.index, bytes, 0);
        Some(Record { source, priority, test, board_us, sequence, text, count })
    }

    /// Signals are numbered from `last` + 1 on.
    pub(super) fn set_signals(&mut self, last: u64) {
        self.signals = Signals::new(last);
    }

    /// The running test tells something. What it printed before has been taken.
    pub(super) fn handle_signal(
        &mut self,
        now: Instant,
        client: u8,
        packet: &[u8],
        queue: &mut Queue,
    ) {
        let State::Running(running) = &mut self.state else {
            return signals::refuse(client, signals::ENOENT, queue);
        };
        let Running { index: test, stdout_bytes, stderr_bytes, .. } = *running;
        let place = Place { test, stdout_bytes, stderr_bytes };
        if self.signals.take(now, client, packet, place, queue) {
            let limit = self.tests.get(usize::from(test)).and_then(|test| test.step_timeout);
            running.child.begin_step(limit.map(|limit| now + limit));
        }
    }

    /// Whether a test runs.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    pub(super) fn has_signal_room(&self) -> bool {
        self.signals.has_room()
    }

    /// See [`Signals::settle`].
    pub(super) fn settle_signal(&mut self, show: impl FnOnce(&Record<'_>)) -> u8 {
        self.signals.settle(show)
    }

    /// A file of the run could not be written or synced.
    pub(super) fn handle_file_failed(&mut self, os_error: i32) {
        self.signals.handle_failed(os_error);
    }

    /// The test's process has ended.
    pub(super) fn handle_exit(&mut self, now: Instant, exit: Exit) {
        if let State::Running(running) = &mut self.state {
            running.child.handle_exit(now, exit);
        }
    }

    /// So much of what the test printed could not be written to its file, and is gone.
    pub(super) fn handle_lost(&mut self, now: Instant, bytes: usize) {
        if let State::Running(running) = &mut self.state {
            running.child.handle_output(now, bytes);
            running.lost_bytes += bytes as u64;
        }
    }

    /// A file of the run could not be written. Returns whether that is news.
    pub(super) fn handle_write_failed(&mut self) -> bool {
        self.failed_writes = self.failed_writes.saturating_add(1);
        self.failed_writes == 1
    }

    /// The watchdog does not do what the plan wants: the record says so, and the plan runs on.
    pub(super) fn handle_watchdog_failed(
        &mut self,
        now: Instant,
        os_error: i32,
        queue: &mut Queue,
    ) {
        // An error's number is never below 0.
        let os_error = os_error.unsigned_abs().into();
        queue.event("watchdog_failed").number("os_error", os_error).end_at(now);
    }

    /// The test could not be started.
    pub(super) fn handle_failed(
        &mut self,
        now: Instant,
        os_error: i32,
        queue: &mut Queue,
        live: &mut Live,
    ) {
        let exit = Exit { end: Exit::NOT_STARTED, code: os_error as u8, ..Exit::default() };
        self.end_test(now, exit, queue, live);
    }

    /// Time has passed, or something else happened; returns the operation of a test that is now over.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        queue: &mut Queue,
        live: &mut Live,
    ) -> Option<Op> {
        let State::Running(running) = &mut self.state else { return None };
        let op = running.op;
        if let Some(signal) = running.child.signal_due(now) {
            queue.push(Queued::Signal { op, signal });
        }
        if running.sync_at.is_some_and(|at| now >= at) {
            running.sync_at = None;
            queue.push(Queued::SyncRun);
        }
        let mut exit = running.child.ended(now)?;
        let test = self.tests.get(usize::from(running.index));
        if test.is_some_and(|test| test.expects_restart) && may_restart(exit) {
            running.restart_by = running.child.deadline();
            if running.restart_by.is_some_and(|by| now < by) {
                return None;
            }
            exit.end = Exit::TIMED_OUT;
        }
        self.end_test(now, exit, queue, live);
        Some(op)
    }

    fn end_test(&mut self, now: Instant, exit: Exit, queue: &mut Queue, live: &mut Live) {
        let State::Running(running) = self.state else { return };
        // The output first, then the line that says that it is all there.
        queue.push(Queued::SyncRun);
        self.write_end(now, running.index, exit, Some(&running), queue);
        live.mark(mark(Record::TEST_ENDED, running.index, now, exit));
        self.ended += 1;
        // The owner frees the operation and asks for the next test.
        self.wait(now, Duration::ZERO);
    }

    /// The journal's line on a test's end. `running` is it, unless it ran in an earlier start, of whose output nobody
    /// counted the bytes.
    fn write_end(
        &self,
        now: Instant,
        test: u16,
        exit: Exit,
        running: Option<&Running>,
        queue: &mut Queue,
    ) {
        let mut line = queue.event("test_ended");
        line.number("test", test.into()).string("suite", self.suite(test));
        write_exit(&mut line, exit);
        if let Some(running) = running {
            write_usage(&mut line, exit);
            line.number("stdout_bytes", running.stdout_bytes);
            line.number("stderr_bytes", running.stderr_bytes);
            line.number("lost_bytes", running.lost_bytes);
        }
        line.end_at(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting(until) => Some(*until),
            State::Running(running) => {
                let due = running.restart_by.or_else(|| running.child.poll_timeout());
                [due, running.sync_at].into_iter().flatten().min()
            }
            _ => None,
        }
    }

    /// Name of a test's suite.
    pub(super) fn suite(&self, index: u16) -> &str {
        self.tests.get(usize::from(index)).map_or("", |test| test.suite.as_str())
    }

    pub(super) fn status(&self) -> TestStatus<'_> {
        let state = match self.state {
            State::NoPlan => TestStatus::NO_PLAN,
            State::Broken => TestStatus::BROKEN,
            State::Waiting(_) | State::Running(_) => TestStatus::RUNNING,
            State::Ended => TestStatus::ENDED,
        };
        TestStatus {
            run: &self.run,
            state,
            ended: u32::from(self.ended),
            total: self.tests.len() as u32,
            directory: &self.directory,
            problem: &self.problem,
        }
    }
}

/// Whether a test that is to restart the board may have done so with this end: its script has come to its end, or it was
/// ended as an init ends all there is (128 + a signal is what a shell makes of that).
fn may_restart(exit: Exit) -> bool {
    match exit.end {
        Exit::EXITED => matches!(exit.code, 0 | 143 | 137),
        Exit::SIGNALED => true,
        _ => false,
    }
}

fn mark(source: u8, test: u16, now: Instant, exit: Exit) -> Mark {
    Mark { source, test, board_us: now.as_micros(), exit }
}

/// A line on when a piece of a file came.
pub(super) fn push_times(
    mut line: Line<'_>,
    board_us: u64,
    source: &str,
    offset: u64,
    bytes: usize,
) {
    line.text("{\"board_us\":").padded(board_us, 0, "").string("source", source);
    line.number("offset", offset).number("bytes", bytes as u64).text("}\n").end();
}
