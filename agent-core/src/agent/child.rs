//! The life of a child process: its timeout, its end, the end of its pipes.

use super::effect::Pipe;
use crate::time::{Duration, Instant};
use crate::wire::response::Exit;

/// Between TERM and KILL at a test's timeout.
pub const KILL_GRACE: Duration = Duration::from_secs(5);

/// After a child's end its pipes are read for so long, if a process that it left behind holds them open.
pub const DRAIN_WAIT: Duration = Duration::from_millis(500);

/// Bytes that may come out of the pipes after a child's end and still be its own: what two pipes hold (pipe(7)).
/// What comes behind them is of processes that it left behind, and those are not waited for.
const DRAIN_MAX: usize = 2 * 65_536;

const SIGTERM: u8 = 15;
const SIGKILL: u8 = 9;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child {
    deadline: Option<Instant>,
    kill_at: Option<Instant>,
    step_deadline: Option<Instant>,
    /// The end that it gets when it was killed at one of them.
    killed_as: Option<u8>,
    exit: Option<Exit>,
    drain_until: Instant,
    drain_left: usize,
    is_stdout_open: bool,
    is_stderr_open: bool,
}

impl Child {
    pub(super) fn new(now: Instant, timeout: Option<Duration>) -> Self {
        Self {
            deadline: timeout.map(|timeout| now + timeout),
            kill_at: None,
            step_deadline: None,
            killed_as: None,
            exit: None,
            drain_until: now,
            drain_left: DRAIN_MAX,
            is_stdout_open: true,
            is_stderr_open: true,
        }
    }

    /// A step of it begins, and may take until then. One that is killed already gets no more time.
    pub(super) fn begin_step(&mut self, until: Option<Instant>) {
        if self.killed_as.is_none() {
            self.step_deadline = until;
        }
    }

    pub(super) fn handle_pipe_end(&mut self, pipe: Pipe) {
        match pipe {
            Pipe::Stdout => self.is_stdout_open = false,
            Pipe::Stderr => self.is_stderr_open = false,
        }
    }

    pub(super) fn is_open(&self, pipe: Pipe) -> bool {
        match pipe {
            Pipe::Stdout => self.is_stdout_open,
            Pipe::Stderr => self.is_stderr_open,
        }
    }

    /// `count` bytes came out of a pipe. After its end more may follow them.
    pub(super) fn handle_output(&mut self, now: Instant, count: usize) {
        if self.exit.is_some() && self.drain_left > 0 {
            self.drain_left = self.drain_left.saturating_sub(count);
            self.drain_until = now + DRAIN_WAIT;
        }
    }

    /// Nobody takes what is in a pipe: it stays there, and the wait for its end begins when somebody does.
    pub(super) fn hold(&mut self, now: Instant) {
        if self.exit.is_some() {
            self.drain_until = now + DRAIN_WAIT;
        }
    }

    pub(super) fn handle_exit(&mut self, now: Instant, exit: Exit) {
        self.exit = Some(exit);
        self.drain_until = now + DRAIN_WAIT;
    }

    /// When its time is up, unless it was before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The signal that is due now, if one is.
    pub(super) fn signal_due(&mut self, now: Instant) -> Option<u8> {
        if self.exit.is_some() {
            return None;
        }
        for (at, end) in
            [(self.deadline, Exit::TIMED_OUT), (self.step_deadline, Exit::STEP_TIMED_OUT)]
        {
            if at.is_some_and(|at| now >= at) {
                (self.deadline, self.step_deadline) = (None, None);
                (self.kill_at, self.killed_as) = (Some(now + KILL_GRACE), Some(end));
                return Some(SIGTERM);
            }
        }
        if self.kill_at.is_some_and(|at| now >= at) {
            self.kill_at = None;
            return Some(SIGKILL);
        }
        None
    }

    /// How it ended, once its pipes have ended too or have been waited for.
    pub(super) fn ended(&self, now: Instant) -> Option<Exit> {
        self.exit?;
        let are_pipes_open = self.is_stdout_open || self.is_stderr_open;
        if are_pipes_open && now < self.drain_until {
            return None;
        }
        self.exit()
    }

    /// How it ended, whatever its pipes still hold.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.exit.map(|exit| Exit { end: self.killed_as.unwrap_or(exit.end), ..exit })
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.exit {
            Some(_) => Some(self.drain_until),
            None => [self.deadline, self.step_deadline, self.kill_at].into_iter().flatten().min(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn what_a_child_leaves_in_its_pipes_is_read_and_no_more() {
        let mut child = Child::new(at(0), None);
        child.handle_exit(at(1000), Exit::default());
        assert!(child.ended(at(1499)).is_none());
        child.handle_output(at(1499), DRAIN_MAX);
        assert!(child.ended(at(1998)).is_none());
        // From here on it is the output of others.
        child.handle_output(at(1998), 1);
        assert!(child.ended(at(1999)).is_some());
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_waited_for() {
        let mut child = Child::new(at(0), None);
        child.handle_exit(at(0), Exit::default());
        child.hold(at(400));
        assert!(child.ended(at(899)).is_none());
        assert_eq!(child.poll_timeout(), Some(at(900)));
        child.handle_pipe_end(Pipe::Stdout);
        child.handle_pipe_end(Pipe::Stderr);
        assert!(child.ended(at(401)).is_some());
    }
}
