//! What the line shows, and what it means for the phase: banners, panics, beacons, sessions, the boot loader's answers.

use super::Board;
use super::boot_loader::{Driver, Report, Want};
use super::client::Client;
use super::console::{ConsoleSource, Note};
use super::event::{BoardEvent, close_reason};
use super::phase::{Cause, Goal, Phase, Slot};
use crate::config::connection::LineRole;
use agent_core::link::{Beacon, CloseReason, Coding, Event, Peer, Stats, VERSION, VERSION_MIN};
use agent_core::time::Instant;

/// What is known of the boots of a board.
#[derive(Clone, Debug, Default)]
pub(super) struct Boot {
    /// The boot that runs, once it is known.
    pub(super) id: Option<[u8; 16]>,
    /// The one before it.
    ended_id: Option<[u8; 16]>,
    /// The boot that runs is to end: its beacons count for nothing.
    pub(super) is_ending: bool,
    /// An agent of this boot has had a session.
    pub(super) had_session: bool,
    /// The agent's start that the last beacon told of.
    beacon: Option<AgentStart>,
    /// ... and that the last session was opened with.
    agent: Option<AgentStart>,
    /// The session is open as far as the owner was told.
    is_told_open: bool,
    /// The power operation under way has come to its last step, after which the board may speak.
    pub(super) is_on: bool,
    /// What came since the power was put on, if that began this boot.
    pub(super) switched: Option<Switched>,
    /// The board restarted by itself behind a panic and is held at its boot loader, so that nothing changes what the dead
    /// kernel left in memory.
    pub(super) is_held: bool,
    /// Its agent's beacons come on the console line, and the agent has a line of its own.
    pub(super) is_astray: bool,
    /// How the agent codes its frames, as its last beacon said.
    coding: Option<Coding>,
}

/// What came from a board whose power was switched.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Switched {
    /// Anything.
    pub(super) is_heard: bool,
    /// A beacon of the boot that the switch was to end.
    pub(super) is_outlived: bool,
}

/// One start of an agent: what it remembers of requests is of this start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentStart {
    /// The kernel's boot id.
    pub boot_id: [u8; 16],
    /// The agent's random number.
    pub nonce: u32,
}

/// Whether an agent that had a session has one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comeback {
    /// It has.
    Back,
    /// It may: for all that is known its boot runs on.
    Awaited,
    /// It is gone: the board was restarted, switched off or given up, or another agent runs.
    Gone,
}

/// An event of the link, owned, so that the link is free again.
enum Heard {
    Beacon(Beacon),
    Opened(Peer),
    Closed(CloseReason),
    Incompatible(u8),
    Data(u8, Vec<u8>),
    Finished(u8),
    Reset(u8),
}

impl Board {
    /// Whether what the board says is that of a boot which a power operation is about to end.
    pub(super) fn is_deaf(&self) -> bool {
        self.power.is_some() && !self.boot.is_on
    }

    /// Whether an agent of the boot that runs has shown itself.
    pub(super) fn has_heard_beacon(&self) -> bool {
        self.boot.id.is_some()
    }

    /// The agent of the last session; `None` before the first.
    pub fn agent_start(&self) -> Option<AgentStart> {
        self.boot.agent
    }

    /// How the agent codes its frames.
    pub fn coding(&self) -> Coding {
        self.boot.coding.unwrap_or(self.spec.line.coding)
    }

    /// Whether that agent has a session again, or may have one.
    pub fn comeback(&self, agent: AgentStart) -> Comeback {
        let is_wanted = matches!(self.goal, Some(Goal::Up(_) | Goal::AnyUp));
        let is_running =
            self.boot.id == Some(agent.boot_id) && !self.boot.is_ending && self.panic.is_none();
        match self.phase {
            Phase::Up(_) if self.boot.agent == Some(agent) => Comeback::Back,
            Phase::Booting(_) | Phase::Unknown if is_wanted && is_running && !self.is_deaf() => {
                Comeback::Awaited
            }
            _ => Comeback::Gone,
        }
    }

    /// Hands the text that came to the console, the boot loader's driver and the owner.
    pub(super) fn read_text(&mut self, now: Instant) {
        let mut text = std::mem::take(&mut self.text);
        self.read_shell(now, &text);
        self.shell.redact(&mut text);
        // What acknowledges a file is no text.
        if !self.is_deaf() && !self.is_loading() {
            match &mut self.console_sense {
                Some(sense) => sense.handle_text(&text),
                None if !self.link.is_open() => self.sense.handle_text(&text),
                None => {}
            }
        }
        if !text.is_empty() {
            self.prolong_panic(now);
        }
        if !self.hold_text(now, &text) {
            self.read_lines(now, &text, 0, false);
        }
        self.text = text;
        self.text.clear();
    }

    /// Reads text of which the console has read the first bytes. What a print says has happened has not.
    pub(super) fn read_lines(&mut self, now: Instant, text: &[u8], read: usize, is_print: bool) {
        let mut start = 0;
        for (index, byte) in text.iter().enumerate().skip(read) {
            // Of the line that ends here; its own first line is what begins a panic.
            if *byte == b'\n' {
                self.await_restart(now);
                self.boot.is_astray |=
                    self.has_two_lines() && self.console.line().starts_with(BEACON);
            }
            let Some(note) = self.console.push(*byte).filter(|_| !is_print) else { continue };
            if matches!(note, Note::BootLoader | Note::Kernel) {
                // The whole line is the newcomer's, as far as it came in this piece.
                let line = (index + 1).saturating_sub(self.console.line_bytes()).max(start);
                self.tell_text(now, &text[start..line]);
                start = line;
                if self.doubt_banner(now, &note, text, line, index + 1) {
                    return;
                }
            }
            self.handle_note(now, note);
        }
        self.tell_text(now, &text[start..]);
    }

    fn tell_text(&mut self, now: Instant, text: &[u8]) {
        let source =
            if self.is_driving() { ConsoleSource::BootLoader } else { ConsoleSource::Console };
        self.events.push_console(source, text);
        if self.is_driving() {
            if let Some(driver) = &mut self.driver {
                driver.handle_text(now, text);
            }
            self.read_driver(now);
        }
    }

    pub(super) fn handle_note(&mut self, now: Instant, note: Note) {
        if self.is_deaf() {
            return;
        }
        match note {
            Note::BootLoader => self.handle_boot_loader_banner(now),
            Note::Kernel => self.handle_kernel_banner(now),
            Note::Panic if !matches!(self.phase, Phase::Off | Phase::Broken(_)) => {
                if self.panic.is_none() {
                    self.begin_panic(now);
                }
            }
            Note::Panic => {}
            Note::PanicLine(line) => self.tell_panic(line),
        }
    }

    fn handle_boot_loader_banner(&mut self, now: Instant) {
        const WHY: &str = "the boot loader's banner";
        if self.panic.is_some() {
            self.end_panic(now);
            return self.hold(now);
        }
        match self.phase {
            Phase::BootLoader if self.driver.as_ref().is_some_and(Driver::is_asked) => {}
            Phase::Broken(_) if self.boot.is_held => self.hold(now),
            Phase::Broken(_) => self.end_boot(now, WHY),
            Phase::Unknown | Phase::Off => self.enter(now, Phase::PoweringOn, WHY),
            Phase::PoweringOn => {
                // A first stage has a banner of its own.
                if let Some(driver) = &mut self.driver {
                    driver.reset();
                }
            }
            Phase::BootLoader | Phase::Booting(_) | Phase::Up(_) => {
                let (was_up, was_reached) = (self.is_up(), self.journey.is_reached());
                self.tell_rebooted(now, WHY);
                if self.journey.is_reached() {
                    self.journey.begin_again();
                }
                if was_up || was_reached || self.power.is_some() {
                    self.enter(now, Phase::PoweringOn, WHY);
                } else {
                    let text = format!("the boot loader's banner came in the phase {}", self.phase);
                    self.fail(now, Cause::Reset, text);
                }
            }
        }
        self.boot.is_ending = self.is_deaf();
    }

    fn handle_kernel_banner(&mut self, now: Instant) {
        const WHY: &str = "the kernel's banner";
        match self.phase {
            Phase::Broken(_) => {
                self.boot.is_held = false;
                self.end_boot(now, WHY);
            }
            Phase::Unknown | Phase::Off | Phase::PoweringOn => {
                let slot = self.slot_that_boots();
                self.enter(now, Phase::Booting(slot), WHY);
            }
            Phase::BootLoader => {
                let typed = self.driver.as_ref().and_then(|driver| driver.script_slot());
                let slot = typed.unwrap_or_else(|| self.slot_that_boots());
                self.enter(now, Phase::Booting(slot), WHY);
            }
            Phase::Booting(_) => {}
            Phase::Up(slot) => {
                // What was to choose an image booted it by itself.
                let slot = if self.restart.is_some() { self.slot_that_boots() } else { slot };
                self.tell_rebooted(now, WHY);
                if self.journey.is_reached() {
                    self.journey.begin_again();
                }
                self.enter(now, Phase::Booting(slot), WHY);
            }
        }
        self.boot.is_ending = false;
    }

    /// The image that boots when nobody types: the master image, if another could be chosen; else whatever is wanted,
    /// until its beacon says better.
    fn slot_that_boots(&self) -> Slot {
        match self.goal {
            Some(Goal::Up(slot)) if self.driver.is_none() => slot,
            _ => Slot::Master,
        }
    }

    /// Enough was collected of a panic.
    pub(super) fn end_panic(&mut self, now: Instant) {
        let line = self.console.take_panic_line().unwrap_or_default();
        self.tell_panic(line);
        self.believe_panic();
        let Some(panic) = self.panic.take() else { return };
        let was_ordered = self.journey.is_ordered();
        self.break_down(now, Cause::Panic, panic.line.unwrap_or_default());
        if was_ordered {
            // The owner has heard of the panic and set a goal since.
            self.journey.begin();
        }
    }

    /// The boot loader speaks behind a panic: it shall wait for the owner, where the goal allows that it is typed at.
    fn hold(&mut self, now: Instant) {
        self.boot.is_held = matches!(self.goal, Some(Goal::Up(_) | Goal::BootLoader));
        if self.boot.is_held
            && let Some(driver) = &mut self.driver
        {
            driver.reset();
            driver.expect_rubbish();
            driver.ask(now, Want::Prompt);
        }
    }

    fn tell_rebooted(&mut self, now: Instant, evidence: &str) {
        if self.restart.is_none() {
            self.events.push(BoardEvent::Rebooted { evidence: evidence.to_owned() });
        }
        self.end_boot(now, "the board was restarted");
    }

    /// What ran on the board runs no more.
    pub(super) fn end_boot(&mut self, now: Instant, why: &str) {
        self.end_session(now, why);
        self.link.mute(now);
        if let Some(bootstrap) = self.shell.active() {
            bootstrap.handle_restart();
        }
        if let Some(id) = self.boot.id.take() {
            self.boot.ended_id = Some(id);
        }
        (self.boot.had_session, self.boot.is_astray) = (false, false);
        self.sense.begin_anew(self.link.stats(), false);
    }

    /// There is no session any more: whoever waits for its answers is told.
    pub(super) fn end_session(&mut self, now: Instant, why: &str) {
        if self.link.is_open() {
            self.link.mute(now);
        }
        if !std::mem::take(&mut self.boot.is_told_open) {
            return;
        }
        self.events.push(BoardEvent::SessionClosed { reason: why.to_owned() });
        self.client.handle_closed();
        self.read_client(now);
    }

    /// The session ended by itself; the board may still run.
    pub(super) fn lose_session(&mut self, now: Instant, why: &str) {
        self.end_session(now, why);
        if let Phase::Up(slot) = self.phase {
            self.enter(now, Phase::Booting(slot), why);
        }
    }

    /// Takes what the link has.
    pub(super) fn read_link(&mut self, now: Instant) {
        self.settle_doubt(now);
        while let Some(heard) = self.link.poll_event().map(Heard::from) {
            if let Heard::Closed(_) = heard {
                self.believe_banner(now);
            }
            match heard {
                Heard::Beacon(beacon) => self.handle_beacon(now, &beacon),
                Heard::Opened(peer) => self.handle_opened(now, peer),
                Heard::Closed(reason) => {
                    if reason == CloseReason::Silent {
                        self.handle_silence();
                    }
                    self.lose_session(now, close_reason(reason));
                }
                Heard::Incompatible(theirs) => self.handle_incompatible(now, theirs),
                Heard::Data(0, bytes) => {
                    if self.client.handle_messages(now, &mut self.link, &bytes).is_err() {
                        self.lose_session(now, "the agent's messages cannot be told apart");
                    }
                }
                Heard::Data(stream, bytes) => self.events.push(BoardEvent::Data { stream, bytes }),
                Heard::Finished(stream) => {
                    self.client.handle_ended(now, stream);
                    self.events.push(BoardEvent::Finished { stream });
                }
                Heard::Reset(stream) => {
                    self.client.handle_ended(now, stream);
                    self.events.push(BoardEvent::Reset { stream });
                }
            }
        }
        self.read_client(now);
    }

    fn handle_beacon(&mut self, now: Instant, beacon: &Beacon) {
        let is_old = [self.boot.id, self.boot.ended_id].contains(&Some(beacon.boot_id));
        if self.is_deaf() || self.boot.is_ending && is_old {
            self.boot.ended_id = Some(beacon.boot_id);
            if let Some(switched) = self.boot.switched.as_mut().filter(|_| is_old) {
                switched.is_outlived = true;
            }
            return;
        }
        self.boot.is_ending = false;
        if self.shell.handle_beacon() {
            // What was left of it may be over: a bootstrap takes its own time.
            self.set_deadline(now);
        }
        if self.is_answering() {
            self.sense.handle_beacon(now);
        }
        self.boot.coding = Some(beacon.coding);
        self.boot.beacon = Some(AgentStart { boot_id: beacon.boot_id, nonce: beacon.nonce });
        self.learn_boot(now, beacon.boot_id);
        let slot = slot_of(beacon.role);
        match self.phase {
            Phase::Broken(_) => {}
            Phase::Booting(is) | Phase::Up(is) if is == slot => {}
            _ => self.enter(now, Phase::Booting(slot), "the agent's beacon"),
        }
    }

    fn handle_opened(&mut self, now: Instant, peer: Peer) {
        if self.is_deaf()
            || self.boot.is_ending
            || matches!(self.phase, Phase::Broken(_) | Phase::Off)
        {
            return self.link.mute(now);
        }
        self.learn_boot(now, peer.boot_id);
        self.sense.begin_anew(self.link.stats(), true);
        let slot = slot_of(peer.role);
        (self.boot.had_session, self.boot.is_told_open) = (true, true);
        self.boot.agent = self.boot.beacon.filter(|beacon| beacon.boot_id == peer.boot_id);
        self.enter(now, Phase::Up(slot), "the agent opened a session");
        self.events.push(BoardEvent::SessionOpened { slot, peer });
        self.begin_speed(now);
        self.begin_lane();
    }

    /// There is an agent, and no way to talk with it: another start would not change that.
    fn handle_incompatible(&mut self, now: Instant, theirs: u8) {
        let is_awaited =
            matches!(self.phase, Phase::Unknown | Phase::PoweringOn | Phase::Booting(_));
        if self.is_deaf() || self.boot.is_ending || self.goal.is_none() || !is_awaited {
            return;
        }
        let ours = match (VERSION_MIN, VERSION) {
            (oldest, newest) if oldest == newest => format!("version {newest}"),
            (oldest, newest) => format!("versions {oldest} to {newest}"),
        };
        let mend = if theirs > VERSION { "pumice on this host" } else { "the agent in the image" };
        let text = format!(
            "the agent speaks version {theirs} of the link, and this pumice {ours}: update {mend}"
        );
        self.break_down(now, Cause::Incompatible, text);
    }

    /// A boot has shown its id.
    fn learn_boot(&mut self, now: Instant, id: [u8; 16]) {
        if self.boot.id.is_some_and(|known| known != id) {
            self.events.push(BoardEvent::Rebooted { evidence: "another boot id".to_owned() });
            self.lose_session(now, "the board was restarted");
            self.boot.ended_id = self.boot.id;
            self.boot.had_session = false;
            if self.journey.is_reached() {
                self.journey.begin_again();
            }
        }
        self.boot.id = Some(id);
    }

    /// Says once what the bytes of a line without a session look like.
    pub(super) fn tell_suspicion(&mut self, now: Instant) {
        let is_awaited = self.goal.is_some() && !self.link.is_open() && !self.is_deaf();
        if is_awaited && let Some(found) = self.sense.poll(now, self.link.stats()) {
            let line = self.has_two_lines().then_some(LineRole::Agent);
            self.events.push(BoardEvent::Suspicion { line, found });
        }
        let is_listened_to = self.goal.is_some() && !self.is_deaf();
        if let Some(sense) = self.console_sense.as_mut().filter(|_| is_listened_to)
            && let Some(found) = sense.poll(now, &Stats::default())
        {
            let line = Some(LineRole::Console);
            self.events.push(BoardEvent::Suspicion { line, found });
        }
    }

    /// Takes what became of requests.
    pub(super) fn read_client(&mut self, now: Instant) {
        while let Some(event) = Client::poll_event(&mut self.client) {
            let is_own = self.is_about_restart(now, &event)
                || self.is_about_speed(now, &event)
                || self.is_about_lane(now, &event)
                || self.is_about_panic(&event)
                || self.is_about_banner(now, &event);
            if !is_own {
                self.events.push(event);
            }
        }
    }

    /// Takes what the boot loader's driver found.
    pub(super) fn read_driver(&mut self, now: Instant) {
        let is_broken = matches!(self.phase, Phase::Broken(_));
        let Some(driver) = &mut self.driver else { return };
        // What it says while the board is held counts when that has a goal.
        if is_broken || self.power.is_some() && driver.is_failed() {
            return;
        }
        let Some(report) = driver.poll_report() else { return };
        if !self.is_driving() || self.is_deaf() || self.panic.is_some() {
            return;
        }
        match report {
            Report::AtPrompt => self.enter(now, Phase::BootLoader, "the boot loader's prompt"),
            Report::Failed(cause, text) => match self.problem_of(LineRole::Console) {
                // Nobody heard what it did.
                Some(why) => self.fail(now, Cause::NoConnection, format!("{why}; {text}")),
                None => self.fail(now, cause, text),
            },
        }
    }
}

impl From<Event<'_>> for Heard {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Beacon(beacon) => Self::Beacon(beacon),
            Event::Opened(peer) => Self::Opened(peer),
            Event::Closed(reason) => Self::Closed(reason),
            Event::Incompatible(version) => Self::Incompatible(version),
            Event::Data { stream, bytes } => Self::Data(stream, bytes.to_vec()),
            Event::Finished { stream } => Self::Finished(stream),
            Event::Reset { stream } => Self::Reset(stream),
        }
    }
}

/// How a beacon begins; docs/protocol.md, "Beacon".
const BEACON: &str = "@pumice1 boot=";

/// A role that a newer agent may have is the test image's: never one to deploy from.
fn slot_of(role: u8) -> Slot {
    if role == 0 { Slot::Master } else { Slot::Test }
}
