//! Carries out what the phase table says: steps, tries, deadlines, and what a failure leads to. The steps that switch
//! the power are in `switching`.

use super::boot_loader::Want;
use super::event::BoardEvent;
use super::phase::{Action, Cause, Goal, Phase, Slot, next};
use super::power::PowerOperation;
use super::spec::PowerKind;
use super::{Board, RequestId};
use agent_core::time::{Duration, Instant};
use agent_core::wire::response::Exit;
use agent_core::wire::{Method, codec, request};

/// What broke a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breakage {
    /// In one word.
    pub cause: Cause,
    /// In a sentence.
    pub text: String,
    /// The last text of the line before it.
    pub console_tail: String,
}

/// What the agent was asked for on the way to another image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    /// To choose the image that boots next. The command may restart the board itself (kexec).
    Choose(RequestId),
    /// To restart.
    Restart(RequestId),
}

/// The way to the current goal.
#[derive(Clone, Debug, Default)]
pub(super) struct Journey {
    /// Starts so far.
    tries: u32,
    /// The goal was reached.
    is_reached: bool,
    /// The goal was set after the last failure, which it overrules.
    is_ordered: bool,
    /// The first failure.
    first: Option<Breakage>,
    /// Ways out of broken since an agent was up.
    recoveries: u32,
}

impl Journey {
    pub(super) fn begin(&mut self) {
        (self.tries, self.is_reached, self.is_ordered) = (0, false, true);
    }

    /// The board left its goal by restarting: it is brought back, with all its tries.
    pub(super) fn begin_again(&mut self) {
        (self.tries, self.is_reached, self.first) = (0, false, None);
    }

    /// Counts a start, if one is left.
    pub(super) fn start(&mut self, tries_max: u32) -> bool {
        let has_try = self.tries < tries_max;
        self.tries += u32::from(has_try);
        has_try
    }

    pub(super) fn is_reached(&self) -> bool {
        self.is_reached
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// What happened overrules the goal.
    pub(super) fn overrule(&mut self) {
        self.is_ordered = false;
    }

    pub(super) fn breakage(&self) -> Option<&Breakage> {
        self.first.as_ref()
    }
}

impl Board {
    /// Follows the goal until there is something to wait for.
    pub(super) fn steer(&mut self, now: Instant) {
        // Each turn changes the phase or begins something; the table has no way longer than its test allows.
        for _ in 0..TURNS_MAX {
            self.run_power(now);
            self.keep_connected();
            if self.is_deaf() || self.panic.is_some() {
                break;
            }
            let Some(goal) = self.goal else { break };
            if matches!(self.phase, Phase::Broken(_)) {
                if !self.recover(goal) {
                    break;
                }
                if self.boot.is_held && matches!(goal, Goal::Up(_) | Goal::BootLoader) {
                    self.enter(now, Phase::PoweringOn, "it restarted by itself");
                }
            }
            let phase = self.phase;
            self.carry_out(now, self.next_action(phase, goal), goal);
            self.read_driver(now);
            if self.phase == phase {
                break;
            }
        }
        self.read_client(now);
        self.advance_speed(now);
        self.advance_lane(now);
        self.link.set_answering(self.is_answering());
    }

    /// What the table says. An agent that is to choose the image must come up first: also in the wrong one.
    fn next_action(&self, phase: Phase, goal: Goal) -> Action {
        match (phase, goal) {
            (Phase::Booting(_), Goal::Up(_)) if self.spec.next_slot.is_some() => Action::Listen,
            _ => next(phase, goal),
        }
    }

    /// Whether beacons are answered.
    pub(super) fn is_answering(&self) -> bool {
        let is_wanted = !matches!(self.goal, None | Some(Goal::Off));
        let is_known = !self.boot.is_ending && !self.is_deaf() && self.panic.is_none();
        let is_broken = matches!(self.phase, Phase::Broken(_) | Phase::Off);
        is_wanted && is_known && !is_broken
    }

    fn carry_out(&mut self, now: Instant, action: Action, goal: Goal) {
        match action {
            Action::Rest => {
                self.deadline = None;
                (self.journey.is_reached, self.journey.tries, self.journey.first) = (true, 0, None);
                if self.is_up() {
                    self.journey.recoveries = 0;
                }
            }
            Action::Listen => self.listen(now),
            Action::PowerOn => self.switch(now, PowerOperation::On, goal),
            Action::PowerOff => self.switch(now, PowerOperation::Off, goal),
            Action::PowerCycle => self.switch(now, PowerOperation::Cycle, goal),
            Action::Interrupt => self.ask_boot_loader(now, Want::Prompt),
            Action::Boot(slot) => self.ask_boot_loader(now, Want::Boot(slot)),
            Action::Restart => self.ask_restart(now),
        }
    }

    fn listen(&mut self, now: Instant) {
        self.ask_boot_loader(now, Want::Nothing);
        if let Some(duration) = self.phase.deadline(&self.spec.deadlines) {
            self.deadline.get_or_insert(now + duration);
        }
    }

    pub(super) fn ask_boot_loader(&mut self, now: Instant, want: Want) {
        if self.is_driving()
            && let Some(driver) = &mut self.driver
        {
            driver.ask(now, want);
        }
    }

    fn ask_restart(&mut self, now: Instant) {
        if self.restart.is_some() {
            return;
        }
        if !self.journey.start(self.spec.tries) {
            let text = format!(
                "{} starts did not lead to the goal; the phase is {}",
                self.spec.tries, self.phase
            );
            return self.break_down(now, Cause::WrongImage, text);
        }
        let command = match (&self.spec.next_slot, self.goal) {
            (Some(next_slot), Some(Goal::Up(Slot::Master))) => &next_slot.master,
            (Some(next_slot), Some(Goal::Up(Slot::Test))) => &next_slot.test,
            _ => return self.request_restart(now),
        };
        let argv = format!("sh\0-c\0{command}\0");
        let body = request::Exec {
            argv: argv.as_bytes(),
            env: b"",
            cwd: "",
            stdin: 0,
            stdout: 0,
            stderr: 0,
            timeout_ms: CHOICE_MS,
        };
        // The agent kills it in time; this is for an agent that does not.
        let deadline = Duration::from_millis(u64::from(CHOICE_MS)).times(2);
        let id = self.client.request(now, &mut self.link, Method::EXEC, &body, &[], deadline);
        self.restart = Some(Restart::Choose(id));
    }

    fn request_restart(&mut self, now: Instant) {
        let body = request::Reboot { how: request::Reboot::RESTART };
        let id =
            self.client.request(now, &mut self.link, Method::REBOOT, &body, &[], RESTART_DEADLINE);
        self.restart = Some(Restart::Restart(id));
    }

    /// What became of the request to restart, if `event` is about it.
    pub(super) fn is_about_restart(&mut self, now: Instant, event: &BoardEvent) -> bool {
        let Some(restart) = self.restart else { return false };
        let (Restart::Choose(asked) | Restart::Restart(asked)) = restart;
        let is_it = |id: &RequestId| asked == *id;
        let failure = match event {
            BoardEvent::Answer { request, body, .. }
                if is_it(request) && matches!(restart, Restart::Choose(_)) =>
            {
                match refusal(body) {
                    None => {
                        self.request_restart(now);
                        return true;
                    }
                    refusal => refusal,
                }
            }
            BoardEvent::Answer { request, .. } if is_it(request) => None,
            // The answer was lost on the way, or the board was too fast. Or the request was: then the deadline helps.
            BoardEvent::Lost { request } if is_it(request) => {
                if !self.is_up() {
                    self.restart = None;
                    return true;
                }
                None
            }
            BoardEvent::Failed { request, text, kind, .. } if is_it(request) => {
                Some(format!("the agent said: {text}: {}", kind.phrase()))
            }
            BoardEvent::Expired { request } if is_it(request) => {
                Some("the agent gave no answer".to_owned())
            }
            _ => return false,
        };
        self.restart = None;
        match failure {
            None => {
                self.end_boot(now, "the board restarts");
                self.boot.is_ending = true;
                self.boot.switched = None;
                self.enter(now, Phase::PoweringOn, "the agent restarts the board");
                self.deadline = self.deadline.map(|deadline| deadline + SHUTDOWN);
            }
            Some(text) => self.fail(now, Cause::RestartFailed, text),
        }
        true
    }

    /// A step failed: the board is started again if that can be done, else it is broken. Not while a power operation
    /// is under way.
    pub(super) fn fail(&mut self, now: Instant, cause: Cause, mut text: String) {
        if is_of_line(cause)
            && let Some(suspicion) = self.suspicion(now)
        {
            text = format!("{text}; {suspicion}");
        }
        let can_switch = self.spec.power.kind != PowerKind::None;
        let has_tries = self.journey.tries < self.spec.tries && !self.journey.is_reached;
        let Some(goal) = self.goal.filter(|_| can_switch && has_tries && cause != Cause::Panic)
        else {
            return self.break_down(now, cause, text);
        };
        self.note_failure(cause, text.clone());
        let operation = match (goal, self.phase) {
            (Goal::Off, _) => PowerOperation::Off,
            // Nothing is known to be wrong with a board that was only listened to: it may just be off.
            (Goal::AnyUp, Phase::Unknown) if self.journey.tries == 0 => PowerOperation::On,
            _ => PowerOperation::Cycle,
        };
        let tries_left = self.spec.tries - self.journey.tries - 1;
        self.events.push(BoardEvent::Retry { cause, text, tries_left });
        self.switch(now, operation, goal);
    }

    /// Nothing more is tried. The first failure is the cause.
    pub(super) fn break_down(&mut self, now: Instant, cause: Cause, text: String) {
        if self.journey.is_reached {
            self.journey.first = None;
        }
        self.note_failure(cause, text);
        let tries = self.journey.tries;
        if let Some(first) = self.journey.first.as_mut().filter(|first| first.cause != Cause::Panic)
            && tries > 1
            && !matches!(self.phase, Phase::Broken(_))
        {
            first.text += &format!(" (started {tries} times)");
        }
        let first = self.journey.first.as_ref().map_or(cause, |first| first.cause);
        let why = self.journey.first.as_ref().map_or_else(String::new, |first| first.text.clone());
        self.journey.overrule();
        self.enter(now, Phase::Broken(first), &why);
        self.end_boot(now, "the board is given up");
    }

    fn note_failure(&mut self, cause: Cause, text: String) {
        let console_tail = self.console.tail();
        self.journey.first.get_or_insert(Breakage { cause, text, console_tail });
    }

    /// Whether the goal leads out of broken.
    fn recover(&mut self, goal: Goal) -> bool {
        if !self.journey.is_ordered {
            return false;
        }
        self.journey.is_ordered = false;
        if goal != Goal::Off {
            if self.journey.recoveries >= RECOVERIES_MAX {
                return false;
            }
            self.journey.recoveries += 1;
        }
        self.journey.first = None;
        true
    }

    /// Goes to another phase and starts its deadline.
    pub(super) fn enter(&mut self, now: Instant, to: Phase, why: &str) {
        let from = std::mem::replace(&mut self.phase, to);
        if from == to {
            return;
        }
        self.events.push(BoardEvent::Phase { from, to, why: why.to_owned() });
        self.shell.handle_phase(now);
        self.set_deadline(now);
        let was_held = std::mem::take(&mut self.boot.is_held);
        if to == Phase::PoweringOn
            && !was_held
            && let Some(driver) = &mut self.driver
        {
            driver.reset();
        }
    }

    pub(super) fn set_deadline(&mut self, now: Instant) {
        let mut duration = self.phase.deadline(&self.spec.deadlines);
        if self.phase == Phase::PoweringOn && self.driver.is_none() {
            // Its boot loader and its kernel may both be silent.
            duration = duration.map(|duration| duration + self.spec.deadlines.beacon);
        }
        // Nothing is expected of an unknown board before somebody listens to it.
        self.deadline =
            duration.filter(|_| self.phase != Phase::Unknown).map(|duration| now + duration);
    }

    /// The phase's deadline, where it counts.
    pub(super) fn phase_deadline(&self) -> Option<Instant> {
        let is_waited = self.power.is_none() && self.panic.is_none() && self.goal.is_some();
        // A bootstrap knows itself when it takes too long.
        let counts = is_waited && !self.shell.is_active();
        self.deadline.filter(|_| counts)
    }

    /// Time has passed.
    pub(super) fn handle_deadlines(&mut self, now: Instant) {
        self.connection.handle_timeout(now);
        if let Some(connection) = &mut self.agent_connection {
            connection.handle_timeout(now);
        }
        self.settle_doubt(now);
        self.settle_panic(now);
        if self.phase_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        self.deadline = None;
        if let Some(why) = self.missing_line() {
            return self.fail(now, Cause::NoConnection, why);
        }
        let (cause, text) = match self.phase {
            Phase::Unknown if self.goal != Some(Goal::AnyUp) => (
                Cause::NoPower,
                "the board has no power switch, and its agent did not come by itself".into(),
            ),
            Phase::Unknown => (Cause::Silent, "no beacon came, and no banner".into()),
            Phase::Booting(_) if self.boot.had_session => {
                (Cause::AgentLost, "the session ended, and no beacon came after it".into())
            }
            Phase::Booting(slot) => {
                let astray = if self.boot.is_astray { ASTRAY } else { "" };
                let slot = slot.as_str();
                (Cause::NoAgent, format!("no agent of the {slot} image opened a session{astray}"))
            }
            Phase::BootLoader => (
                Cause::NoPower,
                "the board waits at its boot loader, and has no power switch".into(),
            ),
            _ => match self.boot.switched {
                Some(switched) if switched.is_outlived => (
                    Cause::PowerFailed,
                    "the agent from before still beacons: the power command ended well, and the power was not switched"
                        .into(),
                ),
                Some(switched) if !switched.is_heard => (
                    Cause::Silent,
                    "the power was switched on, and not a byte came from the board".into(),
                ),
                _ => (
                    Cause::Silent,
                    "no boot loader's prompt, no kernel's banner and no beacon came".into(),
                ),
            },
        };
        self.fail(now, cause, text);
    }
}

/// Why the command that was to choose the next image has not, if so.
fn refusal(answer: &[u8]) -> Option<String> {
    let why = match codec::decode::<Exit>(answer) {
        Ok(Exit { end: Exit::EXITED, code: 0, .. }) => return None,
        Ok(Exit { end: Exit::EXITED, code, .. }) => format!("ended with status {code}"),
        Ok(Exit { end: Exit::SIGNALED, code, .. }) => format!("was killed by signal {code}"),
        Ok(Exit { end: Exit::TIMED_OUT, .. }) => {
            format!("did not end within {} s", CHOICE_MS / 1000)
        }
        _ => "cannot be started: is there a shell in the image?".to_owned(),
    };
    Some(format!("next_slot: the command of the board type {why}"))
}

/// Whether something may have gone wrong because nobody can read the line.
fn is_of_line(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::NoPower
            | Cause::Silent
            | Cause::BootLoader
            | Cause::NoKernel
            | Cause::NoAgent
            | Cause::AgentLost
    )
}

/// What helps when an agent speaks on the wrong one of two lines.
const ASTRAY: &str =
    ": its beacons come on the console line; start it with --line and the device of its own";

/// Choosing an image writes some bytes to a disk, or loads a kernel into memory.
const CHOICE_MS: u32 = 60_000;

/// From asking an agent for a restart to its answer: it syncs its file systems first.
const RESTART_DEADLINE: Duration = Duration::from_secs(60);

/// What a shutdown may take before the boot loader speaks: systemd kills what does not end after 90 s.
const SHUTDOWN: Duration = Duration::from_secs(120);

/// Ways out of broken before an agent was up again.
const RECOVERIES_MAX: u32 = 3;

/// More than the longest way through the table.
const TURNS_MAX: usize = 16;
