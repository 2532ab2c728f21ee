//! Switching a board's power, as data: which steps an operation has, and where in them it is.
//!
//! Nothing is switched or slept here: [`PowerRun`] says what the shell must do next and by when, and hears what came of
//! it. That a switch has said "done" is not taken for the board being off: the line has to be silent as well.

use super::spec::{PowerKind, PowerSpec};
pub use crate::config::connection::PowerOperation;
use agent_core::time::{Duration, Instant};

/// One step of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Open the connection; it must succeed.
    Connect,
    /// Open the connection if that can be done: adapters that the board itself powers come only later.
    TryConnect,
    /// Close the connection.
    Disconnect,
    /// Run the command that switches.
    Switch(PowerOperation),
    /// Wait until the line has been silent for the settle time.
    Settle,
}

/// The steps of an operation; empty when it cannot be done.
pub fn plan(kind: PowerKind, operation: PowerOperation) -> &'static [Step] {
    use PowerOperation::{Cycle, Off, On};
    use Step::{Connect, Disconnect, Settle, Switch, TryConnect};
    match (kind, operation) {
        (PowerKind::None, _) => &[],
        (PowerKind::WithConnection, On) => &[Connect],
        (PowerKind::WithConnection, Off) => &[Disconnect],
        (PowerKind::WithConnection, Cycle) => &[Disconnect, Connect],
        (PowerKind::Commands { .. }, On) => &[TryConnect, Switch(On)],
        (PowerKind::Commands { .. }, Off) => &[Switch(Off), Settle],
        (PowerKind::Commands { has_cycle: true }, Cycle) => &[TryConnect, Switch(Cycle)],
        (PowerKind::Commands { has_cycle: false }, Cycle) => {
            &[TryConnect, Switch(Off), Settle, Switch(On)]
        }
    }
}

/// An operation under way.
#[derive(Clone, Debug)]
pub struct PowerRun {
    operation: PowerOperation,
    steps: &'static [Step],
    settle: Duration,
    is_asked: bool,
    deadline: Option<Instant>,
    /// When the settling began, and the last text since.
    settling: Option<(Instant, Instant)>,
    is_connected: bool,
    failure: Option<String>,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// It goes on.
    Running,
    /// Everything was done.
    Done,
    /// A step failed; a sentence says which and why.
    Failed(&'a str),
}

impl PowerRun {
    /// Begins an operation that [`plan`] has steps for.
    pub fn new(spec: &PowerSpec, operation: PowerOperation, is_connected: bool) -> Self {
        Self {
            operation,
            steps: plan(spec.kind, operation),
            settle: spec.settle,
            is_asked: false,
            deadline: None,
            settling: None,
            is_connected,
            failure: None,
        }
    }

    /// The operation.
    pub fn operation(&self) -> PowerOperation {
        self.operation
    }

    /// How far it is.
    pub fn progress(&self) -> Progress<'_> {
        match &self.failure {
            Some(failure) => Progress::Failed(failure),
            None if self.steps.is_empty() => Progress::Done,
            None => Progress::Running,
        }
    }

    /// The step that the shell must begin now; each is given once. Steps with nothing to do are stepped over.
    pub fn poll_step(&mut self, now: Instant) -> Option<Step> {
        while !self.is_asked && self.failure.is_none() {
            let step = *self.steps.first()?;
            let is_needless = match step {
                Step::Connect | Step::TryConnect => self.is_connected,
                Step::Disconnect => !self.is_connected,
                Step::Switch(_) | Step::Settle => false,
            };
            if is_needless {
                self.advance();
                continue;
            }
            self.is_asked = true;
            self.deadline = Some(
                now + match step {
                    Step::Connect | Step::Disconnect => CONNECT_DEADLINE,
                    Step::TryConnect => TRY_CONNECT_DEADLINE,
                    Step::Switch(_) => SWITCH_DEADLINE,
                    Step::Settle => self.settle,
                },
            );
            if step == Step::Settle {
                self.settling = Some((now, now));
                return None;
            }
            return Some(step);
        }
        None
    }

    /// The connection is open.
    pub fn handle_connected(&mut self) {
        self.is_connected = true;
        if matches!(self.asked(), Some(Step::Connect | Step::TryConnect)) {
            self.advance();
        }
    }

    /// The connection is closed, or could not be opened.
    pub fn handle_disconnected(&mut self, why: &str) {
        self.is_connected = false;
        match self.asked() {
            Some(Step::Disconnect | Step::TryConnect) => self.advance(),
            Some(Step::Connect) => {
                self.failure = Some(format!("the connection was not opened: {why}"))
            }
            // An adapter that the board powers goes with the power.
            _ => {}
        }
    }

    /// The switching command has ended.
    pub fn handle_power(&mut self, result: Result<(), String>) {
        if matches!(self.asked(), Some(Step::Switch(_))) {
            match result {
                Ok(()) => self.advance(),
                Err(why) => self.failure = Some(format!("the power command failed: {why}")),
            }
        }
    }

    /// The board has said something.
    pub fn handle_text(&mut self, now: Instant) {
        if let Some((_, last)) = &mut self.settling {
            *last = now;
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.asked() {
            None => {}
            Some(Step::TryConnect) => self.advance(),
            Some(Step::Connect) => {
                self.failure = Some("the connection was not opened in time".into())
            }
            Some(Step::Disconnect) => {
                self.failure = Some("the connection was not closed in time".into())
            }
            Some(Step::Switch(_)) => {
                self.failure = Some("the power command did not end in time".into())
            }
            Some(Step::Settle) => {
                let (began, last) = self.settling.unwrap_or((now, now));
                // Capacitors keep a board alive for a moment; what still speaks after several settle times is on.
                if now.since(last) >= self.settle || last == began {
                    self.advance();
                } else if now.since(began) > self.settle.times(SETTLES_MAX) + SETTLE_SLACK {
                    self.failure = Some(
                        "the board still sends text although its power was switched off".into(),
                    );
                } else {
                    self.deadline = Some(last + self.settle);
                }
            }
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.failure.is_none() && self.is_asked { self.deadline } else { None }
    }

    fn asked(&self) -> Option<Step> {
        if self.is_asked { self.steps.first().copied() } else { None }
    }

    fn advance(&mut self) {
        self.steps = self.steps.get(1..).unwrap_or(&[]);
        self.is_asked = false;
        self.deadline = None;
        self.settling = None;
    }
}

/// To open or close a connection; a name look-up and a child's start at most.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// What the first text of a board is worth waiting for.
const TRY_CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// Slow PDUs take some 10 s for one outlet, and answer the next only after that.
const SWITCH_DEADLINE: Duration = Duration::from_secs(60);
/// So many settle times a board may go on sending after it was switched off.
const SETTLES_MAX: u64 = 5;
/// The same for boards with a short settle time.
const SETTLE_SLACK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn spec(kind: PowerKind) -> PowerSpec {
        PowerSpec { kind, settle: Duration::from_millis(500) }
    }

    const COMMANDS: PowerKind = PowerKind::Commands { has_cycle: false };

    #[test]
    fn plans() {
        use PowerOperation::{Cycle, Off, On};
        for operation in [On, Off, Cycle] {
            assert_eq!(plan(PowerKind::None, operation), []);
        }
        assert_eq!(plan(PowerKind::WithConnection, Cycle), [Step::Disconnect, Step::Connect]);
        assert_eq!(
            plan(PowerKind::Commands { has_cycle: true }, Cycle),
            [Step::TryConnect, Step::Switch(Cycle)]
        );
    }

    #[test]
    fn a_cycle_waits_for_silence() {
        let mut run = PowerRun::new(&spec(COMMANDS), PowerOperation::Cycle, true);
        assert_eq!(run.poll_step(at(0)), Some(Step::Switch(PowerOperation::Off)));
        assert_eq!(run.poll_step(at(1)), None);
        run.handle_power(Ok(()));
        assert_eq!(run.poll_step(at(10)), None);
        run.handle_text(at(300));
        run.handle_timeout(at(510));
        assert_eq!(run.poll_step(at(510)), None);
        assert_eq!(run.poll_timeout(), Some(at(800)));
        run.handle_timeout(at(800));
        assert_eq!(run.poll_step(at(800)), Some(Step::Switch(PowerOperation::On)));
        run.handle_power(Ok(()));
        assert_eq!(run.progress(), Progress::Done);
    }

    #[test]
    fn a_board_that_goes_on_talking_is_not_off() {
        let mut run = PowerRun::new(&spec(COMMANDS), PowerOperation::Off, true);
        run.poll_step(at(0));
        run.handle_power(Ok(()));
        run.poll_step(at(0));
        for ms in (0..10_000).step_by(100) {
            run.handle_text(at(ms));
            run.handle_timeout(at(ms));
        }
        assert!(
            matches!(run.progress(), Progress::Failed(why) if why.contains("still sends text"))
        );
    }

    #[test]
    fn a_missing_adapter_does_not_keep_a_board_off() {
        let mut run = PowerRun::new(&spec(COMMANDS), PowerOperation::On, false);
        assert_eq!(run.poll_step(at(0)), Some(Step::TryConnect));
        run.handle_disconnected("no such device");
        assert_eq!(run.poll_step(at(0)), Some(Step::Switch(PowerOperation::On)));
        run.handle_power(Err("exit status 1".into()));
        assert_eq!(run.progress(), Progress::Failed("the power command failed: exit status 1"));
    }

    #[test]
    fn an_emulator_that_does_not_start_is_a_failure() {
        let mut run = PowerRun::new(&spec(PowerKind::WithConnection), PowerOperation::Cycle, false);
        assert_eq!(run.poll_step(at(0)), Some(Step::Connect));
        run.handle_timeout(at(9_999));
        assert_eq!(run.progress(), Progress::Running);
        run.handle_timeout(at(10_000));
        assert!(matches!(run.progress(), Progress::Failed(_)));
        assert_eq!(run.poll_timeout(), None);
    }
}
