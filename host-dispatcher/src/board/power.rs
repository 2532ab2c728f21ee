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
    /// Have the switch do this, or ask the person.
    Switch(PowerOperation),
    /// Wait until the line has been silent for the settle time.
    Settle,
    /// Stay off for some more time.
    Delay,
}

/// The steps of an operation; empty when it cannot be done.
pub fn plan(kind: PowerKind, operation: PowerOperation) -> &'static [Step] {
    use PowerOperation::{Cycle, Off, On};
    use Step::{Connect, Delay, Disconnect, Settle, Switch, TryConnect};
    match (kind, operation) {
        (PowerKind::None, _) => &[],
        (PowerKind::WithConnection, On) => &[Connect],
        (PowerKind::WithConnection, Off) => &[Disconnect],
        (PowerKind::WithConnection, Cycle) => &[Disconnect, Connect],
        (_, On) => &[TryConnect, Switch(On)],
        (_, Off) => &[TryConnect, Switch(Off), Settle],
        (PowerKind::Switch { has_cycle: true } | PowerKind::Person, Cycle) => {
            &[TryConnect, Switch(Cycle)]
        }
        (PowerKind::Switch { has_cycle: false } | PowerKind::Held, Cycle) => {
            &[TryConnect, Switch(Off), Settle, Delay, Switch(On)]
        }
    }
}

/// An operation under way.
#[derive(Clone, Debug)]
pub struct PowerRun {
    operation: PowerOperation,
    spec: PowerSpec,
    steps: &'static [Step],
    /// The step that is next or under way.
    at: usize,
    is_asked: bool,
    deadline: Option<Instant>,
    /// The silence that shows that the board is off.
    silence: Duration,
    /// When the settling began, and the last that was heard since.
    settling: Option<(Instant, Instant)>,
    is_connected: bool,
    /// Tries of the switch that came to nothing.
    failed_tries: u32,
    retry_at: Option<Instant>,
    note: Option<String>,
    failure: Option<String>,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// It goes on.
    Running,
    /// Everything was done.
    Done,
    /// A step failed; a sentence says which and why, and how often it was tried.
    Failed(&'a str),
}

impl PowerRun {
    /// Begins an operation that [`plan`] has steps for. An agent speaks only now and then: where one may run, only a
    /// silence that is longer than its own shows that the board is off.
    pub fn new(
        spec: &PowerSpec,
        operation: PowerOperation,
        is_connected: bool,
        may_have_agent: bool,
    ) -> Self {
        let silence = if may_have_agent { spec.settle.max(AGENT_SILENCE) } else { spec.settle };
        Self {
            operation,
            spec: *spec,
            steps: plan(spec.kind, operation),
            at: 0,
            is_asked: false,
            deadline: None,
            silence,
            settling: None,
            is_connected,
            failed_tries: 0,
            retry_at: None,
            note: None,
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
            None if self.at >= self.steps.len() => Progress::Done,
            None => Progress::Running,
        }
    }

    /// What a person should hear of it, once: a try that failed, and that there is another one.
    pub fn poll_note(&mut self) -> Option<String> {
        self.note.take()
    }

    /// The step that the shell must begin now; each is given once, or once again when the switch failed. Steps with
    /// nothing to do are stepped over.
    pub fn poll_step(&mut self, now: Instant) -> Option<Step> {
        while !self.is_asked && self.failure.is_none() && self.retry_at.is_none_or(|at| at <= now) {
            let step = *self.steps.get(self.at)?;
            let is_needless = match step {
                Step::Connect | Step::TryConnect => self.is_connected,
                Step::Disconnect => !self.is_connected,
                Step::Delay => self.spec.delay == Duration::ZERO,
                Step::Switch(_) | Step::Settle => false,
            };
            if is_needless {
                self.advance();
                continue;
            }
            self.retry_at = None;
            self.is_asked = true;
            self.deadline = Some(
                now + match step {
                    Step::Connect | Step::Disconnect => CONNECT_DEADLINE,
                    Step::TryConnect => TRY_CONNECT_DEADLINE,
                    Step::Switch(_) if self.spec.kind == PowerKind::Person => self.spec.deadline,
                    // The shell ends what takes too long, and says so; this is for a shell that does not.
                    Step::Switch(_) => self.spec.deadline + SWITCH_SLACK,
                    Step::Settle => self.silence,
                    Step::Delay => self.spec.delay,
                },
            );
            if step == Step::Settle {
                self.settling = Some((now, now));
            }
            if matches!(step, Step::Settle | Step::Delay) {
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

    /// The switch has done it, or has not.
    pub fn handle_power(&mut self, now: Instant, result: Result<(), String>) {
        if matches!(self.asked(), Some(Step::Switch(_))) {
            match result {
                Ok(()) => self.advance(),
                Err(why) => self.fail_try(now, format!("the power command failed: {why}")),
            }
        }
    }

    /// What the board says shows that it starts: a person who was asked for that need not say so, too, and a switch
    /// that failed has done it all the same.
    pub fn handle_boot(&mut self) {
        use PowerOperation::{Cycle, On};
        let is_on = matches!(self.steps.get(self.at), Some(Step::Switch(On | Cycle)));
        let is_awaited = self.is_asked && self.spec.kind == PowerKind::Person;
        if is_on && (is_awaited || self.retry_at.is_some()) {
            self.advance();
        }
    }

    /// Something came from the board.
    pub fn handle_bytes(&mut self, now: Instant) {
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
            Some(Step::TryConnect | Step::Delay) => self.advance(),
            Some(Step::Connect) => {
                self.failure = Some("the connection was not opened in time".into())
            }
            Some(Step::Disconnect) => {
                self.failure = Some("the connection was not closed in time".into())
            }
            Some(Step::Switch(operation)) if self.spec.kind == PowerKind::Person => {
                let what = match operation {
                    PowerOperation::Cycle => "off and on again",
                    PowerOperation::On => "on",
                    PowerOperation::Off => "off",
                };
                let seconds = self.spec.deadline.as_millis_ceil().div_ceil(1000);
                self.failure = Some(format!("nobody switched the power {what} within {seconds} s"))
            }
            Some(Step::Switch(_)) => {
                self.fail_try(now, "the power command did not end in time".into());
            }
            Some(Step::Settle) => {
                let (began, last) = self.settling.unwrap_or((now, now));
                // Capacitors keep a board alive for a moment; what still speaks after several settle times is on.
                if now.since(last) >= self.silence || last == began {
                    self.advance();
                } else if now.since(began) > self.silence.times(SETTLES_MAX) + SETTLE_SLACK {
                    self.at -= 1;
                    self.fail_try(
                        now,
                        "the board still sends text although its power was switched off".into(),
                    );
                } else {
                    self.deadline = Some(last + self.silence);
                }
            }
        }
    }

    /// When [`Self::handle_timeout`] or [`Self::poll_step`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.failure {
            Some(_) => None,
            None if self.is_asked => self.deadline,
            None => self.retry_at,
        }
    }

    fn asked(&self) -> Option<Step> {
        if self.is_asked { self.steps.get(self.at).copied() } else { None }
    }

    fn advance(&mut self) {
        self.at += 1;
        self.retry_at = None;
        self.stop_waiting();
        // That the board is silent belongs to switching it off.
        if self.steps.get(self.at) != Some(&Step::Settle) {
            self.failed_tries = 0;
        }
    }

    /// The switch is tried again, if a try is left.
    fn fail_try(&mut self, now: Instant, why: String) {
        self.stop_waiting();
        self.failed_tries += 1;
        if self.failed_tries <= self.spec.retries {
            self.retry_at = Some(now + self.spec.retry_delay);
            let left = self.spec.retries + 1 - self.failed_tries;
            self.note = Some(format!("{why}; trying again ({left} tries left)"));
            return;
        }
        let tries = self.failed_tries;
        self.failure = Some(if tries > 1 { format!("{why} (tried {tries} times)") } else { why });
    }

    fn stop_waiting(&mut self) {
        self.is_asked = false;
        self.deadline = None;
        self.settling = None;
    }
}

/// To open or close a connection; a name look-up and a child's start at most.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// What the first text of a board is worth waiting for.
const TRY_CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// What a command that is too slow may take to end when it is told to: SIGKILL follows SIGTERM after 2 s.
const SWITCH_SLACK: Duration = Duration::from_secs(5);
/// So many settle times a board may go on sending after it was switched off.
const SETTLES_MAX: u64 = 5;
/// The same for boards with a short settle time.
const SETTLE_SLACK: Duration = Duration::from_secs(1);
/// An agent pings or beacons every 2 s (docs/protocol.md, Timers).
const AGENT_SILENCE: Duration = Duration::from_millis(2_500);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn spec(kind: PowerKind) -> PowerSpec {
        PowerSpec {
            settle: Duration::from_millis(500),
            deadline: Duration::from_secs(10),
            ..PowerSpec::immediate(kind)
        }
    }

    const SWITCH: PowerKind = PowerKind::Switch { has_cycle: false };

    #[test]
    fn plans() {
        use PowerOperation::{Cycle, Off, On};
        for operation in [On, Off, Cycle] {
            assert_eq!(plan(PowerKind::None, operation), []);
        }
        assert_eq!(plan(PowerKind::WithConnection, Cycle), [Step::Disconnect, Step::Connect]);
        assert_eq!(
            plan(PowerKind::Switch { has_cycle: true }, Cycle),
            [Step::TryConnect, Step::Switch(Cycle)]
        );
    }

    #[test]
    fn a_cycle_waits_for_silence() {
        let mut run = PowerRun::new(&spec(SWITCH), PowerOperation::Cycle, true, false);
        assert_eq!(run.poll_step(at(0)), Some(Step::Switch(PowerOperation::Off)));
        assert_eq!(run.poll_step(at(1)), None);
        run.handle_power(at(10), Ok(()));
        assert_eq!(run.poll_step(at(10)), None);
        run.handle_bytes(at(300));
        run.handle_timeout(at(510));
        assert_eq!(run.poll_step(at(510)), None);
        assert_eq!(run.poll_timeout(), Some(at(800)));
        run.handle_timeout(at(800));
        assert_eq!(run.poll_step(at(800)), Some(Step::Switch(PowerOperation::On)));
        run.handle_power(at(10), Ok(()));
        assert_eq!(run.progress(), Progress::Done);
    }

    #[test]
    fn a_board_that_goes_on_talking_is_not_off() {
        let mut run = PowerRun::new(&spec(SWITCH), PowerOperation::Off, true, false);
        run.poll_step(at(0));
        run.handle_power(at(10), Ok(()));
        run.poll_step(at(0));
        for ms in (0..10_000).step_by(100) {
            run.handle_bytes(at(ms));
            run.handle_timeout(at(ms));
        }
        assert!(
            matches!(run.progress(), Progress::Failed(why) if why.contains("still sends text"))
        );
    }

    #[test]
    fn a_missing_adapter_does_not_keep_a_board_off() {
        let mut run = PowerRun::new(&spec(SWITCH), PowerOperation::On, false, false);
        assert_eq!(run.poll_step(at(0)), Some(Step::TryConnect));
        run.handle_disconnected("no such device");
        assert_eq!(run.poll_step(at(0)), Some(Step::Switch(PowerOperation::On)));
        run.handle_power(at(10), Err("exit status 1".into()));
        assert_eq!(run.progress(), Progress::Failed("the power command failed: exit status 1"));
    }

    #[test]
    fn an_emulator_that_does_not_start_is_a_failure() {
        let mut run =
            PowerRun::new(&spec(PowerKind::WithConnection), PowerOperation::Cycle, false, false);
        assert_eq!(run.poll_step(at(0)), Some(Step::Connect));
        run.handle_timeout(at(9_999));
        assert_eq!(run.progress(), Progress::Running);
        run.handle_timeout(at(10_000));
        assert!(matches!(run.progress(), Progress::Failed(_)));
        assert_eq!(run.poll_timeout(), None);
    }
}
