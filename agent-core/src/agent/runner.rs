//! Runs the test plan: one test after the other, each with its timeout, whether anybody watches or not.
//!
//! What it does is written to the journal and synced before the next thing happens, so that after any kind of death
//! the journal says which test was running.

use super::child::Child;
use super::effect::{Op, Pipe, RunFile};
use super::live::{Live, Mark};
use super::plan::{PlanReader, RUN_NAME_MAX, SUITE_NAME_MAX, TESTS_MAX};
use super::queue::{Queue, Queued};
use super::signals::{self, Place, Signals};
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
    problem: String<80>,
    tests: Vec<PlannedTest, TESTS_MAX>,
    state: State,
    ended: u16,
    signals: Signals,
    /// The plan ends at the latest now, whatever the kernel still says.
    end_by: Instant,
}

/// Longest path of a run's directory.
const DIRECTORY_MAX: usize = 256;

#[derive(Clone, Debug)]
struct PlannedTest {
    suite: String<SUITE_NAME_MAX>,
    timeout: Duration,
    /// `None`: steps have no limit of their own.
    step_timeout: Option<Duration>,
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
    sync_at: Option<Instant>,
}

impl Runner {
    pub(super) fn new() -> Self {
        Self {
            run: String::new(),
            directory: String::new(),
            problem: String::new(),
            tests: Vec::new(),
            state: State::NoPlan,
            ended: 0,
            signals: Signals::new(0),
            end_by: Instant::ZERO,
        }
    }

    /// Takes the plan, or what is wrong with it.
    pub(super) fn start(
        &mut self,
        now: Instant,
        plan: Result<&[u8], &str>,
        directory: &str,
        queue: &mut Queue,
    ) {
        if self.directory.push_str(directory).is_err() {
            return self.break_off("the path of the run's directory is too long");
        }
        let plan = match plan {
            Ok(plan) => plan,
            Err(problem) => return self.break_off(problem),
        };
        if self.read(plan).is_none() {
            return self.break_off("the plan is damaged");
        }
        self.set_signals(0);
        queue.push_text(
            RunFile::Journal,
            format_args!(
                "{{\"event\":\"plan_started\",\"run\":\"{}\",\"tests\":{},\"board_us\":{}}}\n",
                self.run,
                self.tests.len(),
                now.as_micros()
            ),
        );
        queue.push(Queued::SyncRun);
        // What was read of it before, for a dispatcher that came early, belongs into the file too.
        queue.push(Queued::SeekKernel { sequence: 0 });
        self.state = State::Waiting(now + START_WAIT);
    }

    fn read(&mut self, plan: &[u8]) -> Option<()> {
        let (header, mut reader) = PlanReader::new(plan).ok()?;
        self.run.push_str(header.run).ok()?;
        while let Some(test) = reader.test().ok()? {
            let mut suite = String::new();
            suite.push_str(test.suite).ok()?;
            let timeout = Duration::from_millis(u64::from(test.timeout_ms));
            let step_ms = u64::from(test.step_timeout_ms);
            let step_timeout = (step_ms > 0).then(|| Duration::from_millis(step_ms));
            self.tests.push(PlannedTest { suite, timeout, step_timeout }).ok()?;
        }
        Some(())
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

    /// Whether the first test waits for somebody to watch.
    pub(super) fn is_waiting_for_company(&self) -> bool {
        self.ended == 0 && matches!(self.state, State::Waiting(_))
    }

    /// Whether the first test may start now.
    pub(super) fn is_due(&self, now: Instant, is_followed: bool) -> bool {
        let State::Waiting(until) = self.state else { return false };
        now >= until || self.ended == 0 && is_followed
    }

    /// A record of the kernel's log was read. The plan ends only when the kernel has said what it had to say by then.
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
            journal(queue, format_args!("{{\"event\":\"plan_ended\""), now);
            live.mark(mark(Record::PLAN_ENDED, index, now, Exit::default()));
            return false;
        };
        queue.push_text(
            RunFile::Journal,
            format_args!(
                "{{\"event\":\"test_started\",\"test\":{index},\"suite\":\"{}\",\"board_us\":{}}}\n",
                test.suite,
                now.as_micros()
            ),
        );
        queue.push(Queued::SyncRun);
        queue.push(Queued::StartTest { op, index });
        live.mark(mark(Record::TEST_STARTED, index, now, Exit::default()));
        self.signals.begin_test();
        self.state = State::Running(Running {
            op,
            index,
            child: Child::new(now, Some(test.timeout)),
            stdout_bytes: 0,
            stderr_bytes: 0,
            sync_at: None,
        });
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
        queue.push_text(
            RunFile::Output,
            format_args!(
                "{{\"board_us\":{board_us},\"source\":\"{name}\",\"offset\":{sequence},\"bytes\":{}}}\n",
                bytes.len()
            ),
        );
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
        let exit = running.child.ended(now)?;
        self.end_test(now, exit, queue, live);
        Some(op)
    }

    fn end_test(&mut self, now: Instant, exit: Exit, queue: &mut Queue, live: &mut Live) {
        let State::Running(running) = self.state else { return };
        let suite = self.suite(running.index);
        let end = match exit.end {
            Exit::EXITED => "exited",
            Exit::SIGNALED => "signaled",
            Exit::TIMED_OUT => "timed_out",
            Exit::STEP_TIMED_OUT => "step_timed_out",
            _ => "not_started",
        };
        // The output first, then the line that says that it is all there.
        queue.push(Queued::SyncRun);
        queue.push_text(
            RunFile::Journal,
            format_args!(
                "{{\"event\":\"test_ended\",\"test\":{},\"suite\":\"{suite}\",\"end\":\"{end}\",\"code\":{},\
                 \"user_us\":{},\"system_us\":{},\"max_rss_kib\":{},\"elapsed_us\":{},\
                 \"stdout_bytes\":{},\"stderr_bytes\":{},\"board_us\":{}}}\n",
                running.index,
                exit.code,
                exit.user_us,
                exit.system_us,
                exit.max_rss_kib,
                exit.elapsed_us,
                running.stdout_bytes,
                running.stderr_bytes,
                now.as_micros()
            ),
        );
        queue.push(Queued::SyncRun);
        live.mark(mark(Record::TEST_ENDED, running.index, now, exit));
        self.ended += 1;
        // The owner frees the operation and asks for the next test.
        let is_last = usize::from(self.ended) == self.tests.len();
        self.end_by = now + KERNEL_LIMIT;
        self.state = State::Waiting(if is_last { now + KERNEL_QUIET } else { now });
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting(until) => Some(*until),
            State::Running(running) => {
                [running.child.poll_timeout(), running.sync_at].into_iter().flatten().min()
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

fn mark(source: u8, test: u16, now: Instant, exit: Exit) -> Mark {
    Mark { source, test, board_us: now.as_micros(), exit }
}

fn journal(queue: &mut Queue, head: core::fmt::Arguments<'_>, now: Instant) {
    queue.push_text(RunFile::Journal, format_args!("{head},\"board_us\":{}}}\n", now.as_micros()));
    queue.push(Queued::SyncRun);
}
