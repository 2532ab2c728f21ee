//! One board: its power, its boot loader, its console and the session with its agent.
//!
//! ```text
//!   owner (job)     set_goal, request, write ──▶ ┌───────┐ ──▶ poll_action    connect, switch   ┐
//!                   poll_event ◀──────────────── │ Board │ ──▶ poll_transmit  bytes            ├ shell (io)
//!                                                └───────┘ ◀── handle_*       bytes, outcomes   ┘
//! ```
//!
//! [`Board`] follows its goal by the table in [`phase`], and owns everything that happens on one line. It reads no
//! clock and opens nothing. What it sends is decided by evidence: nothing before a beacon of this boot, except at the
//! boot loader what a goal needs there. docs/board-lifecycle.md is its specification.
//!
//! * [`phase`], [`power`]: tables · `engine`, `switching`: carry their steps out, count tries · `evidence`: what the
//!   line shows
//! * `lines`: which of a board's lines carries what
//! * [`line_quality`]: what the counters of both ends say · `line_sense`: what the bytes of a useless line say
//! * `doubt`: what a session shows that may be somebody's print
//! * `shell`: an agent is put there through the console's shell
//! * `baud`: the line's speed in a session · `side_lane`: the second way for bulk
//! * [`boot_loader`], [`console`], [`expect`]: text · `loading`, [`ymodem`]: files for a boot loader · [`client`]: requests · [`event`]: what goes out · [`spec`]: what goes in

mod baud;
pub mod boot_loader;
pub mod client;
pub mod console;
mod doubt;
mod engine;
pub mod event;
mod evidence;
pub mod expect;
pub mod line_quality;
mod line_sense;
mod lines;
pub mod link_memory;
mod loader_command;
mod loading;
pub mod phase;
pub mod power;
pub mod raw_line;
mod shell;
pub mod side_lane;
pub mod spec;
mod switching;
pub mod ymodem;

#[cfg(test)]
mod tests;

pub use client::{Direction, RequestId};
pub use console::ConsoleSource;
pub use engine::Breakage;
pub use event::{BoardAction, BoardEvent, Dropped, PowerState};
pub use evidence::{AgentStart, Comeback};
pub use line_sense::Suspicion;
pub use loader_command::{Ran, RanEnd};
pub use loading::Upload;
pub use phase::{Action, Cause, Goal, Phase, Slot};
pub use power::PowerOperation;
pub use spec::BoardSpec;

pub use crate::config::connection::LineRole;

use std::collections::VecDeque;

use serde::Serialize;

use agent_core::link::{LINE_MAX, Priority, Stats};
use agent_core::time::{Duration, Instant};
use agent_core::wire::Method;
use baud::Speed;
use boot_loader::Driver;
use client::Client;
use console::Console;
use engine::Journey;
use event::Events;
use line_sense::LineSense;
use link_memory::HostLink;
use power::PowerRun;
use shell::Shell;
use side_lane::SideLane;
use switching::Connection;

/// One board.
#[derive(Debug)]
pub struct Board {
    spec: BoardSpec,
    goal: Option<Goal>,
    phase: Phase,
    /// When the phase has lasted too long.
    deadline: Option<Instant>,
    journey: Journey,
    /// The console line's.
    connection: Connection,
    /// The agent's own line's, where it has one.
    agent_connection: Option<Connection>,
    power: Option<PowerRun>,
    /// The agent has been asked to restart the board.
    restart: Option<engine::Restart>,
    panic: Option<doubt::Panic>,
    doubt: Option<doubt::Doubt>,
    boot: evidence::Boot,
    console: Console,
    /// Of the line that carries the agent's frames, ...
    sense: LineSense,
    /// ... and of the console line, where that is another.
    console_sense: Option<LineSense>,
    driver: Option<Driver>,
    shell: Shell,
    link: Box<HostLink>,
    speed: Speed,
    lane: SideLane,
    client: Client,
    actions: VecDeque<BoardAction>,
    events: Events,
    text: Vec<u8>,
}

impl Board {
    /// A board of which nothing is known, without a goal: nothing is done before [`Self::set_goal`]. `seed` makes
    /// the link's nonces and the first request's id, and should differ every time.
    pub fn new(spec: BoardSpec, seed: u64) -> Self {
        let is_off = spec.power.kind.ends_with_us();
        let mut link = Box::new(HostLink::host(spec.line, (seed ^ seed >> 32) as u32));
        link.set_answering(false);
        Self {
            goal: None,
            phase: if is_off { Phase::Off } else { Phase::Unknown },
            deadline: None,
            journey: Journey::default(),
            connection: Connection::default(),
            agent_connection: spec.has_agent_line.then(Connection::default),
            power: None,
            restart: None,
            panic: None,
            doubt: None,
            boot: evidence::Boot::default(),
            console: Console::new(&spec),
            sense: LineSense::default(),
            console_sense: spec.has_agent_line.then(LineSense::default),
            driver: spec.boot_loader.clone().map(|loader| Driver::new(loader, spec.deadlines)),
            shell: Shell::default(),
            link,
            speed: Speed::new(spec.line.baud, spec.session_baud),
            lane: SideLane::default(),
            client: Client::new(seed),
            actions: VecDeque::new(),
            events: Events::default(),
            text: Vec::new(),
            spec,
        }
    }

    /// A line is open.
    pub fn handle_connected(&mut self, now: Instant, line: LineRole) {
        match line {
            LineRole::Console => self.open_connection(now),
            LineRole::Agent => self.open_agents_line(now),
        }
        self.steer(now);
    }

    /// A line is closed, or could not be opened; `why` is for people.
    pub fn handle_disconnected(&mut self, now: Instant, line: LineRole, why: &str) {
        match line {
            LineRole::Console => self.lose_connection(now, why),
            LineRole::Agent => self.lose_agents_line(now, why),
        }
        self.steer(now);
    }

    /// Bytes came from a line.
    pub fn handle_bytes(&mut self, now: Instant, line: LineRole, bytes: &[u8]) {
        if let Some(run) = &mut self.power {
            run.handle_bytes(now);
        }
        if let Some(switched) = &mut self.boot.switched {
            switched.is_heard |= !bytes.is_empty();
        }
        let has_frames = line == self.agents_line();
        if has_frames {
            self.sense.handle_bytes(bytes);
            self.speed.handle_traffic(now);
        } else if let Some(sense) = &mut self.console_sense {
            sense.handle_bytes(bytes);
        }
        if line == LineRole::Console {
            self.shell.handle_bytes(now);
        }
        for piece in bytes.chunks(PIECE_BYTES) {
            let text = &mut self.text;
            if has_frames {
                self.link.handle_input(now, piece, &mut |bytes| text.extend_from_slice(bytes));
            } else {
                text.extend_from_slice(piece);
            }
            match line {
                LineRole::Console => self.read_text(now),
                LineRole::Agent => self.read_agents_text(),
            }
            self.read_link(now);
        }
        self.tell_suspicion(now);
        self.steer(now);
    }

    /// The power command has ended, or the person who was asked has answered.
    pub fn handle_power(&mut self, now: Instant, result: Result<(), String>) {
        if let Some(run) = &mut self.power {
            run.handle_power(now, result);
        }
        self.steer(now);
    }

    /// The process that holds the power has ended by itself; `why` is for people.
    pub fn handle_power_lost(&mut self, now: Instant, why: &str) {
        self.lose_power(now, why);
        self.steer(now);
    }

    /// Whether the power is being switched.
    pub fn is_switching(&self) -> bool {
        self.power.is_some()
    }

    /// The time of [`Self::poll_timeout`] has come (or some other; that does no harm).
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.speed.is_trying() {
            self.link.handle_timeout(now);
        }
        self.read_link(now);
        if let Some(run) = &mut self.power {
            run.handle_timeout(now);
        }
        if let Some(driver) = &mut self.driver {
            driver.handle_timeout(now);
        }
        if let Some(bootstrap) = self.shell.active() {
            bootstrap.handle_timeout(now);
        }
        self.client.handle_timeout(now, &mut self.link);
        self.read_driver(now);
        self.handle_deadlines(now);
        self.steer(now);
    }

    /// Says where the board shall be, from now on. Out of [`Phase::Broken`] only this leads.
    pub fn set_goal(&mut self, now: Instant, goal: Goal) {
        self.goal = Some(goal);
        self.journey.begin();
        if self.phase == Phase::Unknown {
            self.deadline = None;
        }
        self.steer(now);
    }

    /// What is typed at the boot loader for an image from now on; the last command boots it.
    pub fn set_boot_script(&mut self, slot: Slot, commands: Vec<String>) {
        if let Some(driver) = &mut self.driver {
            driver.set_script(slot, commands);
        }
    }

    /// The command by which the agent chooses an image from now on, where nobody types at a boot loader.
    pub fn set_next_slot(&mut self, slot: Slot, command: String) {
        if let Some(next_slot) = &mut self.spec.next_slot {
            match slot {
                Slot::Master => next_slot.master = command,
                Slot::Test => next_slot.test = command,
            }
        }
    }

    /// Types a command at the boot loader's prompt, if the board waits there: whether it does.
    pub fn run_in_boot_loader(&mut self, now: Instant, command: &str) -> bool {
        let driver = self.driver.as_mut().filter(|_| self.phase == Phase::BootLoader);
        driver.is_some_and(|driver| driver.run(now, command))
    }

    /// What came of the last such command, once.
    pub fn take_ran(&mut self) -> Option<Ran> {
        self.driver.as_mut()?.poll_ran()
    }

    /// What is typed for the master image from now on, with files that its commands receive over the line, at another
    /// speed if that is given.
    pub fn set_revival(&mut self, commands: Vec<String>, uploads: Vec<Upload>, baud: Option<u32>) {
        if let Some(driver) = &mut self.driver {
            driver.set_revival(commands, uploads, baud);
        }
    }

    /// Bytes of these files that have arrived, while one is under way.
    pub fn sent_bytes(&self) -> Option<u64> {
        self.driver.as_ref()?.sent_bytes()
    }

    /// Whether a file is under way to the boot loader, or being given up.
    pub fn is_loading(&self) -> bool {
        self.is_driving() && self.driver.as_ref().is_some_and(Driver::is_loading)
    }

    /// Gives up a file that is under way: the boot loader shall wait for commands.
    pub fn drop_file(&mut self, now: Instant) {
        if self.is_loading()
            && let Some(driver) = &mut self.driver
        {
            driver.drop_file(now);
        }
    }

    /// What it was made from.
    pub fn spec(&self) -> &BoardSpec {
        &self.spec
    }

    /// Where the board is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Where it shall be.
    pub fn goal(&self) -> Option<Goal> {
        self.goal
    }

    /// Whether it is where it shall be.
    pub fn is_at_goal(&self) -> bool {
        let is_steady = self.power.is_none() && self.panic.is_none();
        is_steady && self.goal.is_some_and(|goal| phase::next(self.phase, goal) == Action::Rest)
    }

    /// What broke the board, while it is broken.
    pub fn breakage(&self) -> Option<&Breakage> {
        self.journey.breakage().filter(|_| matches!(self.phase, Phase::Broken(_)))
    }

    /// The last text of the line, at most 4 KiB.
    pub fn console_tail(&self) -> String {
        self.console.tail()
    }

    /// Whether an agent has a session.
    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_))
    }

    /// The owner leaves: the agent is told, with the next transmission, so that it waits for the next one at once.
    pub fn say_goodbye(&mut self, now: Instant) {
        self.link.say_goodbye(now);
        self.read_link(now);
    }

    /// A stream for the next request; `None` when all 16 are in use or there is no session.
    pub fn open_stream(
        &mut self,
        now: Instant,
        priority: Priority,
        direction: Direction,
    ) -> Option<u8> {
        if !self.link.is_open() {
            return None;
        }
        if priority == Priority::Bulk {
            self.want_lane(now);
        }
        self.client.open_stream(now, priority, direction)
    }

    /// Asks the agent something. `streams` are those that `body` names. Ends in exactly one event: `Answer`, `Failed`,
    /// `Lost` or `Expired`.
    pub fn request<T: Serialize>(
        &mut self,
        now: Instant,
        method: Method,
        body: &T,
        streams: &[u8],
        deadline: Duration,
    ) -> RequestId {
        let id = self.client.request(now, &mut self.link, method, body, streams, deadline);
        self.read_client(now);
        id
    }

    /// Hands over bytes of a stream to the board and returns how many were taken; none before its request was sent.
    pub fn write(&mut self, stream: u8, bytes: &[u8]) -> usize {
        if self.client.is_live(stream) { self.link.write(stream, bytes) } else { 0 }
    }

    /// Bytes that [`Self::write`] would take.
    pub fn room(&self, stream: u8) -> usize {
        if self.client.is_live(stream) { self.link.room(stream) } else { 0 }
    }

    /// Bytes of a stream that have not been put into a frame.
    pub fn unsent(&self, stream: u8) -> usize {
        self.link.unsent(stream)
    }

    /// Tells the agent that nothing more comes on a stream; `false` while its request has not been sent.
    pub fn finish(&mut self, stream: u8) -> bool {
        let is_live = self.client.is_live(stream);
        if is_live {
            self.link.finish(stream);
        }
        is_live
    }

    /// Gives a stream up, whichever its direction.
    pub fn reset(&mut self, now: Instant, stream: u8) {
        if self.client.is_live(stream) {
            self.link.reset(stream);
        }
        self.client.handle_own_reset(now, stream);
    }

    /// The owner has consumed so many bytes of a stream from the board.
    pub fn grant(&mut self, stream: u8, bytes: usize) {
        self.link.grant(stream, bytes);
    }

    /// The next bytes for a line: typing, or one frame. The caller keeps at most two frames in the queues below.
    pub fn poll_transmit(&mut self, now: Instant, line: LineRole) -> Option<Vec<u8>> {
        if !self.is_line_open(line) {
            return None;
        }
        let is_typed_at = line == LineRole::Console;
        match self.phase {
            _ if self.is_driving() => {
                if !is_typed_at {
                    return None;
                }
                let driver = self.driver.as_mut()?;
                // A file is no typing, and nothing that anybody wants to read again.
                if let Some(block) = driver.poll_block() {
                    return Some(block);
                }
                let bytes = driver.poll_transmit(now)?;
                self.events.push_console(ConsoleSource::Typed, &bytes);
                Some(bytes)
            }
            // Not on record: it is long, or secret, and what the board makes of it stands there.
            _ if is_typed_at && self.is_shell_typed_at() => self.shell.active()?.poll_transmit(now),
            Phase::Unknown | Phase::Booting(_) | Phase::Up(_) if line == self.agents_line() => {
                if !self.may_transmit() || !self.may_ask() {
                    return None;
                }
                let mut frame = [0; LINE_MAX];
                self.client.pump(&mut self.link);
                let length = self.link.poll_transmit(now, &mut frame);
                self.read_link(now);
                self.speed.handle_traffic(now);
                Some(frame[..length?].to_vec())
            }
            _ => None,
        }
    }

    /// The next thing for the shell to do.
    pub fn poll_action(&mut self) -> Option<BoardAction> {
        self.actions.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<BoardEvent> {
        self.events.pop()
    }

    /// When [`Self::handle_timeout`] and [`Self::poll_transmit`] must be called at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let driver =
            self.driver.as_ref().filter(|_| self.is_driving() && self.connection.is_open());
        [
            self.phase_deadline(),
            self.link_timeout(),
            self.speed.poll_timeout(),
            self.client.poll_timeout(),
            self.connection.retry_at(),
            self.agent_connection.as_ref().and_then(Connection::retry_at),
            self.panic.as_ref().map(|panic| panic.at),
            self.doubt_timeout(),
            self.power.as_ref().and_then(PowerRun::poll_timeout),
            driver.and_then(Driver::poll_timeout),
            self.shell.poll_timeout().filter(|_| self.is_shell_typed_at()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The link's counters.
    pub fn stats(&self) -> &Stats {
        self.link.stats()
    }

    /// The link's round trip, once it was measured in this session.
    pub fn round_trip(&self) -> Option<Duration> {
        self.link.round_trip()
    }

    /// What was lost because the owner did not fetch it.
    pub fn dropped(&self) -> Dropped {
        self.events.dropped()
    }

    /// Messages from the agent that answered nothing that was asked.
    pub fn stray_messages(&self) -> u64 {
        self.client.strays()
    }

    /// Whether the boot loader has the line.
    fn is_driving(&self) -> bool {
        match self.phase {
            Phase::PoweringOn | Phase::BootLoader => true,
            Phase::Broken(_) => self.boot.is_held,
            _ => false,
        }
    }
}

/// Text and frames of one piece are handled one after the other, so their order is exact to so many bytes.
const PIECE_BYTES: usize = 512;
