//! Switching the power and keeping the connection, as steps on the way to a goal.

use super::Board;
use super::boot_loader::Want;
use super::event::{BoardAction, BoardEvent, PowerState};
use super::evidence::Switched;
use super::phase::{Cause, Goal, Phase};
use super::power::{PowerOperation, PowerRun, Progress, Step, plan};
use super::spec::PowerKind;
use crate::config::connection::LineRole;
use agent_core::time::{Duration, Instant};

/// The connection, as far as the shell has told.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection {
    state: ConnectionState,
    /// Why it is not open.
    why: String,
    /// Since when it is open.
    opened_at: Option<Instant>,
    /// Times that it was lost or not opened since it held for [`STEADY`].
    losses: u32,
    /// Its owner was told that it is away.
    is_told_away: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ConnectionState {
    #[default]
    Closed,
    Opening,
    Open,
    Retry(Instant),
}

impl Connection {
    pub(super) fn opened(&mut self, now: Instant) {
        self.state = ConnectionState::Open;
        self.opened_at = Some(now);
    }

    /// It is closed. How long to wait before it is opened again: a server that takes a client and drops it at once is
    /// asked less and less often, too.
    fn closed(&mut self, now: Instant, why: &str) -> Duration {
        why.clone_into(&mut self.why);
        if self.opened_at.take().is_some_and(|at| now >= at + STEADY) {
            self.losses = 0;
        }
        let pause = RECONNECT_FIRST.times(1 << self.losses.min(RECONNECT_DOUBLINGS));
        self.losses = self.losses.saturating_add(1);
        pause
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == ConnectionState::Open
    }

    /// Nobody has asked for it to be opened.
    pub(super) fn is_closed(&self) -> bool {
        self.state == ConnectionState::Closed
    }

    /// The shell is asked to open it.
    pub(super) fn ask(&mut self) {
        self.state = ConnectionState::Opening;
    }

    /// It is closed, and opened again after a while.
    pub(super) fn lose(&mut self, now: Instant, why: &str) {
        let pause = self.closed(now, why);
        self.state = ConnectionState::Retry(now + pause);
    }

    /// What it leads to has just been started: it is opened at once.
    fn retry_now(&mut self) {
        if self.retry_at().is_some() {
            (self.state, self.losses) = (ConnectionState::Closed, 0);
        }
    }

    /// Whether it is news for the owner that it is away, or back.
    pub(super) fn note_away(&mut self, is_away: bool) -> bool {
        std::mem::replace(&mut self.is_told_away, is_away) != is_away
    }

    /// Why it is not open.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    /// The time to open it again has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.retry_at().is_some_and(|at| now >= at) {
            self.state = ConnectionState::Closed;
        }
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        match self.state {
            ConnectionState::Retry(at) => Some(at),
            _ => None,
        }
    }
}

impl Board {
    /// Begins a power operation, if there is a switch and a try left.
    pub(super) fn switch(&mut self, now: Instant, operation: PowerOperation, goal: Goal) {
        if self.power.is_some() {
            // Its command has still to end; the board was faster.
            return;
        }
        if plan(self.spec.power.kind, operation).is_empty() {
            if goal == Goal::Off {
                let text = "the board has no power switch; switch it off by hand".to_owned();
                return self.break_down(now, Cause::NoPower, text);
            }
            if matches!(self.phase, Phase::Broken(_)) {
                self.enter(now, Phase::Unknown, "a new goal");
            }
            // Somebody may press its button, and its agent may come by itself.
            self.ask_boot_loader(now, Want::Nothing);
            self.deadline.get_or_insert(now + self.spec.deadlines.listen);
            return;
        }
        if !self.journey.start(self.spec.tries) {
            let text = format!(
                "{} starts did not lead to the goal {goal}; the phase is {}",
                self.spec.tries, self.phase
            );
            return self.break_down(now, Cause::WrongImage, text);
        }
        let may_have_agent = self.boot.id.is_some() || self.phase == Phase::Unknown;
        if self.phase != Phase::Off {
            self.enter(now, Phase::Unknown, "the power is switched");
        }
        if operation != PowerOperation::On {
            self.end_boot(now, "the power is switched off");
            self.boot.is_ending = self.spec.power.kind != PowerKind::WithConnection;
        }
        let is_connected = self.connection.is_open();
        self.power = Some(PowerRun::new(&self.spec.power, operation, is_connected, may_have_agent));
        self.events.push(BoardEvent::Power { operation, state: PowerState::Started });
        self.boot.is_on = false;
        self.run_power(now);
    }

    /// Moves a power operation on.
    pub(super) fn run_power(&mut self, now: Instant) {
        let Some(run) = &mut self.power else { return };
        let operation = run.operation();
        if self.boot.is_on
            && matches!(self.phase, Phase::BootLoader | Phase::Booting(_) | Phase::Up(_))
        {
            run.handle_boot();
        }
        if let Some(text) = run.poll_note() {
            self.events.push(BoardEvent::PowerNote { text });
        }
        if let Some(step) = run.poll_step(now) {
            return self.begin_step(now, operation, step);
        }
        match run.progress() {
            Progress::Running => {}
            Progress::Done => {
                self.power = None;
                self.events.push(BoardEvent::Power { operation, state: PowerState::Done });
                if operation == PowerOperation::Off {
                    self.boot.is_ending = false;
                    self.enter(now, Phase::Off, "the power is off");
                } else if self.phase == Phase::PoweringOn {
                    self.set_deadline(now);
                }
            }
            Progress::Failed(why) => {
                let why = why.to_owned();
                self.power = None;
                self.events
                    .push(BoardEvent::Power { operation, state: PowerState::Failed(why.clone()) });
                if self.spec.power.kind == PowerKind::WithConnection {
                    return self.fail(now, Cause::PowerFailed, why);
                }
                // It was tried as often as the lab wants it.
                self.break_down(now, Cause::PowerFailed, why);
            }
        }
    }

    fn begin_step(&mut self, now: Instant, operation: PowerOperation, step: Step) {
        match step {
            Step::Connect | Step::TryConnect => {
                self.connection.ask();
                self.actions.push_back(BoardAction::Connect(LineRole::Console));
            }
            Step::Disconnect => self.actions.push_back(BoardAction::Disconnect),
            Step::Switch(operation) => {
                self.actions.push_back(BoardAction::Power(operation));
                if self.spec.power.kind == PowerKind::Person {
                    self.events.push(BoardEvent::PowerNote { text: self.question(operation) });
                }
            }
            Step::Settle | Step::Delay => {}
        }
        let is_on = matches!(
            step,
            Step::Connect | Step::Switch(PowerOperation::On | PowerOperation::Cycle)
        );
        if is_on {
            // From here on the board may speak, whenever the switch says that it has switched.
            if operation == PowerOperation::Cycle && step != Step::Switch(operation) {
                self.enter(now, Phase::Off, "the power is off");
            }
            self.boot.is_on = true;
            self.boot.switched = Some(Switched::default());
            self.enter(now, Phase::PoweringOn, "the power is switched on");
        }
    }

    fn question(&self, operation: PowerOperation) -> String {
        let (name, seconds) = (&self.spec.name, self.spec.power.deadline.as_millis_ceil() / 1000);
        let (what, how) = match operation {
            PowerOperation::On => ("on", "; what it says then is answer enough"),
            PowerOperation::Cycle => ("off and on again", "; what it says then is answer enough"),
            PowerOperation::Off => ("off", ""),
        };
        format!("switch the power of {name} {what}, and press Enter within {seconds} s{how}")
    }

    /// What holds the power has ended by itself.
    pub(super) fn lose_power(&mut self, now: Instant, why: &str) {
        if self.power.is_none() {
            self.go_off(now, why);
        }
    }

    fn go_off(&mut self, now: Instant, why: &str) {
        self.end_boot(now, "the board went off");
        match (self.goal, self.phase) {
            (_, Phase::Off | Phase::Broken(_)) => {}
            (None | Some(Goal::Off), _) => self.enter(now, Phase::Off, why),
            _ => self.fail(now, Cause::WentOff, why.to_owned()),
        }
    }

    /// The console line is open.
    pub(super) fn open_connection(&mut self, now: Instant) {
        self.connection.opened(now);
        self.tell_line(LineRole::Console, None);
        self.shell.handle_phase(now);
        if let Some(run) = &mut self.power {
            run.handle_connected();
        }
        if self.spec.power.kind == PowerKind::WithConnection
            && let Some(connection) = &mut self.agent_connection
        {
            connection.retry_now();
        }
    }

    /// The console line is closed, or was not opened.
    pub(super) fn lose_connection(&mut self, now: Instant, why: &str) {
        self.connection.lose(now, why);
        if !self.has_two_lines() {
            self.forget_speed();
        }
        if self.spec.power.kind == PowerKind::WithConnection {
            self.connection.state = ConnectionState::Closed;
        }
        if let Some(run) = &mut self.power {
            return run.handle_disconnected(why);
        }
        if self.spec.power.kind != PowerKind::WithConnection {
            if self.has_two_lines() {
                return self.tell_line(LineRole::Console, Some(why));
            }
            self.lose_session(now, &format!("the connection was lost: {why}"));
            // Nor is a beacon of before answered now.
            return self.link.mute(now);
        }
        self.go_off(now, why);
    }

    /// Lines that are no emulator's are listened to as long as there is a goal, and an agent's while its emulator runs.
    pub(super) fn keep_connected(&mut self) {
        let is_kept = self.goal.is_some() && self.spec.power.kind != PowerKind::WithConnection;
        if is_kept && !self.is_deaf() && self.connection.is_closed() {
            self.connection.ask();
            self.actions.push_back(BoardAction::Connect(LineRole::Console));
        }
        if self.wants_agents_line()
            && let Some(connection) = &mut self.agent_connection
        {
            connection.ask();
            self.actions.push_back(BoardAction::Connect(LineRole::Agent));
        }
    }
}

/// An adapter that was pulled out and in again is back after about a second, and its board's next words count.
const RECONNECT_FIRST: Duration = Duration::from_millis(250);
/// Up to four seconds: a thousand lines behind one dead server ask it 250 times a second.
const RECONNECT_DOUBLINGS: u32 = 4;
/// A line that was open for so long was a good one.
const STEADY: Duration = Duration::from_secs(5);
