//! Ties boards, scripts and the [`Reactor`] together.
//!
//! Every turn: what came goes into the board, the board's events to the script, the script goes on as far as it can,
//! and what the board wants is done. Nothing here decides anything about boards or jobs.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use agent_core::time::{Duration, Instant};

use super::clock;
use super::connection::Endpoint;
use super::event::{BoardEvent, IoEvent, LineId};
use super::event_loop::Reactor;
use super::power::Switcher;
use super::signals::Signal;
use crate::board::BoardAction;
use crate::config::connection::LineRole;
use crate::config::lab::Board;
use crate::config::power::Power;
use crate::config::side_lane::SideLane;
use crate::config::template::{NoValue, Values};
use crate::script::{Bench, Script};

/// The only board of its loop, as the reactor numbers it.
const BOARD: usize = 0;

/// A line that takes nothing is not waited for longer: it is as good as gone.
const LEAVE_LIMIT: Duration = Duration::from_millis(500);

/// Whether a line is closed and its process gone is asked so often.
const CLOSING: Duration = Duration::from_millis(10);

/// What moves on a terminal moves so often.
const TICK: Duration = Duration::from_millis(200);

/// How a board is reached, with nothing left to fill in.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// Its line.
    pub endpoint: Endpoint,
    /// The agent's own line, where it has one.
    pub agent_endpoint: Option<Endpoint>,
    /// Its power.
    pub power: Power,
    /// What stands for the places in its commands.
    pub values: Values,
    /// Where it finds this host on its network, if bulk may go that way.
    pub side_lane: Option<SideLane>,
}

impl Wiring {
    /// Of a board of a lab.
    ///
    /// # Errors
    /// A place in a connection's words for which there is no value.
    pub fn of(board: &Board, values: Values) -> Result<Self, NoValue> {
        let endpoint = |connection| Endpoint::new(connection, &values);
        Ok(Self {
            endpoint: endpoint(&board.connection)?,
            agent_endpoint: board.agent_connection.as_ref().map(endpoint).transpose()?,
            power: board.power.clone(),
            values,
            side_lane: board.side_lane,
        })
    }
}

/// Drives `script` on `bench` to its end, alone in its loop.
///
/// # Errors
/// The event loop itself failed.
pub fn drive<T>(
    reactor: &mut Reactor,
    wiring: Wiring,
    bench: &Bench,
    script: impl Future<Output = T>,
) -> io::Result<T> {
    let drive = Drive::new(reactor, BOARD, wiring, bench.clone());
    let mut boards = [Driven::new(drive, Script::new(script))];
    drive_boards(reactor, &mut boards, &|| 0)?;
    let [board] = boards;
    board.outcome.ok_or_else(|| io::Error::other("a script without an end"))
}

/// Drives several boards in one loop, each with its script, to the end of all. What one script does may let another go on:
/// `version` is a number that changes with it. The outcomes are in the order of the boards.
///
/// # Errors
/// The event loop itself failed.
pub fn drive_all<'s, T>(
    reactor: &mut Reactor,
    boards: Vec<(Wiring, Bench, Script<'s, T>)>,
    version: &dyn Fn() -> u64,
) -> io::Result<Vec<T>> {
    let mut driven: Vec<Driven<'s, T>> = Vec::with_capacity(boards.len());
    for (number, (wiring, bench, script)) in boards.into_iter().enumerate() {
        driven.push(Driven::new(Drive::new(reactor, number, wiring, bench), script));
    }
    drive_boards(reactor, &mut driven, version)?;
    Ok(driven.into_iter().filter_map(|board| board.outcome).collect())
}

/// A board with its script, and how far both are.
struct Driven<'s, T> {
    drive: Drive,
    /// Until it has ended; then the board is left.
    script: Option<Script<'s, T>>,
    outcome: Option<T>,
    /// What is left to be said may take the line so long.
    leaving: Option<Instant>,
}

impl<'s, T> Driven<'s, T> {
    fn new(drive: Drive, script: Script<'s, T>) -> Self {
        Self { drive, script: Some(script), outcome: None, leaving: None }
    }

    /// Goes on as far as it can.
    fn go_on(&mut self, reactor: &mut Reactor) {
        let Some(script) = &mut self.script else { return };
        let outcome = self.drive.go_on(reactor, script);
        self.drive.listen_to_person(reactor);
        if outcome.is_some() {
            (self.script, self.outcome) = (None, outcome);
            self.leaving = Some(self.drive.begin_leave(reactor));
        }
    }

    /// Whether there is nothing left to be done.
    fn is_over(&mut self, reactor: &mut Reactor) -> bool {
        if self.leaving.is_some_and(|until| self.drive.has_left(reactor, until)) {
            self.leaving = None;
        }
        self.script.is_none() && self.leaving.is_none()
    }

    fn poll_timeout(&self, reactor: &Reactor) -> Option<Instant> {
        if self.script.is_none() {
            return self.leaving;
        }
        self.drive.poll_timeout(reactor)
    }
}

fn drive_boards<T>(
    reactor: &mut Reactor,
    boards: &mut [Driven<'_, T>],
    version: &dyn Fn() -> u64,
) -> io::Result<()> {
    let mut tick_at = clock::now() + TICK;
    loop {
        loop {
            let before = version();
            boards.iter_mut().for_each(|board| board.go_on(reactor));
            if version() == before {
                break;
            }
        }
        let left = boards.iter_mut().map(|board| !board.is_over(reactor)).filter(|is| *is).count();
        if left == 0 {
            return Ok(());
        }
        let due = boards.iter().filter_map(|board| board.poll_timeout(reactor)).min();
        let until = due.map_or(tick_at, |due| due.min(tick_at));
        let events = reactor.turn(Some(until))?;
        boards.iter().for_each(|board| board.drive.set_time());
        events.into_iter().for_each(|event| handle(boards, event));
        let is_tick = clock::now() >= tick_at;
        for board in boards.iter_mut().filter(|board| board.script.is_some()) {
            board.drive.handle_timeout(reactor);
            if is_tick {
                board.drive.tick(reactor);
            }
        }
        if is_tick {
            tick_at = clock::now() + TICK;
        }
    }
}

/// What a board tells is its own; the terminal is that of who asks a person, else everybody's, as Ctrl-C is.
fn handle<T>(boards: &mut [Driven<'_, T>], event: IoEvent) {
    match event {
        IoEvent::Board(number, event) => {
            if let Some(board) = boards.get_mut(number) {
                board.drive.handle(LineRole::Console, event);
            }
        }
        IoEvent::AgentLine(number, event) => {
            if let Some(board) = boards.get_mut(number) {
                board.drive.handle(LineRole::Agent, event);
            }
        }
        IoEvent::Stdin(bytes) => match boards.iter_mut().find(|board| board.drive.listens) {
            Some(board) => board.drive.handle_typed(&bytes),
            None => {
                boards.iter().for_each(|board| board.drive.bench.push_stdin(bytes.clone()));
            }
        },
        IoEvent::StdinEnd if boards.iter().any(|board| board.drive.listens) => {}
        IoEvent::StdinEnd => boards.iter().for_each(|board| board.drive.bench.end_stdin()),
        IoEvent::Signal(Signal::WindowChange) => {}
        IoEvent::Signal(_) => boards.iter().for_each(|board| board.drive.bench.interrupt()),
    }
}

/// One board of a loop: carries what happens from the reactor to its bench, and what the bench wants to the reactor.
#[derive(Debug)]
pub struct Drive {
    board: usize,
    wiring: Wiring,
    bench: Bench,
    /// The line was closed on request, and its process is still to end.
    closing: bool,
    switcher: Switcher,
    /// The terminal's input is listened to for the answer of the person who was asked to switch the power.
    listens: bool,
}

impl Drive {
    /// Of the board that `reactor` knows by this number.
    pub fn new(reactor: &Reactor, board: usize, wiring: Wiring, bench: Bench) -> Self {
        let waker = reactor.worker_waker(board);
        bench.set_waker(Arc::new(move || waker.wake()));
        let switcher = Switcher::new(wiring.power.clone(), wiring.values.clone());
        Self { board, wiring, bench, closing: false, switcher, listens: false }
    }

    /// Its bench.
    pub fn bench(&self) -> &Bench {
        &self.bench
    }

    /// Tells the bench the time. To be called before each input.
    pub fn set_time(&self) {
        self.bench.set_time(clock::now(), clock::wall());
    }

    /// Lets the script go on and does what the board wants, until neither has more to do. The script's end, when it has
    /// come to it.
    pub fn go_on<T>(&mut self, reactor: &mut Reactor, script: &mut Script<'_, T>) -> Option<T> {
        self.set_time();
        loop {
            self.bench.drain();
            if let Some(outcome) = script.poll(&self.bench) {
                self.bench.drain();
                return Some(outcome);
            }
            let acted = self.act(reactor);
            let sent = self.transmit(reactor);
            if !acted && !sent && !self.bench.drain() {
                return None;
            }
        }
    }

    /// When [`Self::handle_timeout`] and [`Self::go_on`] are due without an event.
    pub fn poll_timeout(&self, reactor: &Reactor) -> Option<Instant> {
        // What is due and cannot be sent waits for room on the line, of which the reactor tells.
        let lines = LineRole::ALL.map(|role| LineId::new(self.board, role));
        let mut open = lines.into_iter().filter(|line| reactor.is_connected(*line)).peekable();
        let has_room = open.peek().is_some() && open.all(|line| reactor.wants_bytes(line));
        let board =
            self.bench.board(|board, now| board.poll_timeout().filter(|at| has_room || *at > now));
        // No event tells of a line that is closed.
        let closed = self.closing.then(|| clock::now() + CLOSING);
        [board, self.bench.wake_at(), closed].into_iter().flatten().min()
    }

    /// Something happened, on this line if it is about one.
    pub fn handle(&mut self, line: LineRole, event: BoardEvent) {
        let switched = match &event {
            BoardEvent::CommandDone(outcome) => Some(self.switcher.handle_command(outcome.clone())),
            BoardEvent::Held(outcome) => Some(outcome.clone()),
            BoardEvent::Worker => self.switcher.poll_request(),
            _ => None,
        };
        self.bench.board(|board, now| match event {
            BoardEvent::Connected => board.handle_connected(now, line),
            BoardEvent::Disconnected(why) => board.handle_disconnected(now, line, &why),
            BoardEvent::Bytes(bytes) => board.handle_bytes(now, line, &bytes),
            BoardEvent::HolderEnded(why) => board.handle_power_lost(now, &why),
            BoardEvent::BaudFailed(why) => board.handle_baud_failed(now, &why),
            BoardEvent::LaneOpened => board.handle_lane_opened(now),
            BoardEvent::LaneBytes(bytes) => board.handle_lane_bytes(now, &bytes),
            BoardEvent::LaneClosed(why) => board.handle_lane_closed(now, &why),
            BoardEvent::CommandDone(_) | BoardEvent::Held(_) | BoardEvent::Worker => {
                if let Some(outcome) = switched {
                    board.handle_power(now, outcome);
                }
            }
            BoardEvent::Room | BoardEvent::BreakDone(_) => {}
        });
    }

    /// While a person is asked on a terminal, what is typed there is the answer. Several boards ask one after the other.
    fn listen_to_person(&mut self, reactor: &mut Reactor) {
        let is_asking = self.switcher.is_asking();
        if is_asking && !self.listens && !reactor.listens_to_stdin() && io::stdin().is_terminal() {
            // Without it the board's answer remains, and the deadline.
            self.listens = reactor.listen_to_stdin(true).is_ok();
        } else if !is_asking && self.listens {
            self.listens = false;
            let _ = reactor.listen_to_stdin(false);
        }
    }

    /// Enter says that the power was switched.
    fn handle_typed(&mut self, bytes: &[u8]) {
        if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) && self.switcher.is_asking() {
            self.switcher.end_question();
            self.bench.board(|board, now| board.handle_power(now, Ok(())));
        }
    }

    /// Some time has passed.
    pub fn handle_timeout(&mut self, reactor: &Reactor) {
        self.bench.board(|board, now| {
            if board.poll_timeout().is_some_and(|at| at <= now) {
                board.handle_timeout(now);
            }
        });
        self.note_closed(reactor);
    }

    /// A little time has passed: what moves may move.
    pub fn tick(&mut self, reactor: &Reactor) {
        self.bench.observer(|observer| observer.tick());
        if let Some(errors) = reactor.uart_errors(self.agents_line()) {
            self.bench.set_uart(errors);
        }
    }

    /// Tells the agent that this dispatcher leaves: else it would believe in the session for some seconds, in which
    /// nobody else gets one. Returns how long the line may take for that.
    pub fn begin_leave(&mut self, reactor: &mut Reactor) -> Instant {
        self.bench.board(|board, now| board.say_goodbye(now));
        reactor.close_lane(self.board);
        self.transmit(reactor);
        clock::now() + LEAVE_LIMIT
    }

    /// Whether that is said, or the line takes nothing.
    pub fn has_left(&mut self, reactor: &mut Reactor, until: Instant) -> bool {
        self.transmit(reactor);
        !reactor.has_unwritten(self.agents_line()) || clock::now() >= until
    }

    /// Does what the board asks for; whether it asked for anything.
    fn act(&mut self, reactor: &mut Reactor) -> bool {
        let mut any = false;
        while let Some(action) = self.bench.board(|board, _| board.poll_action()) {
            any = true;
            match action {
                BoardAction::Connect(LineRole::Console) => {
                    self.closing = false;
                    reactor.connect(self.board, self.wiring.endpoint.clone());
                }
                BoardAction::Connect(LineRole::Agent) => {
                    if let Some(endpoint) = self.wiring.agent_endpoint.clone() {
                        reactor.connect(LineId::new(self.board, LineRole::Agent), endpoint);
                    }
                }
                BoardAction::Disconnect => {
                    reactor.disconnect(self.board);
                    self.closing = true;
                }
                BoardAction::SetBaud(baud) => reactor.set_baud(self.agents_line(), baud),
                BoardAction::OfferLane => {
                    let lane = self.wiring.side_lane.as_ref();
                    let offer = lane.ok_or_else(|| "this board has none".to_owned());
                    let offer = offer.and_then(|lane| reactor.offer_lane(self.board, lane));
                    self.bench.board(|board, now| board.handle_lane_offer(now, offer));
                }
                BoardAction::CloseLane => reactor.close_lane(self.board),
                BoardAction::Power(operation) => {
                    if let Err(why) = self.switcher.begin(reactor, self.board, operation) {
                        self.bench.board(|board, now| board.handle_power(now, Err(why)));
                    }
                }
            }
        }
        if !self.bench.board(|board, _| board.is_switching()) {
            self.switcher.end_question();
        }
        self.note_closed(reactor) || any
    }

    fn note_closed(&mut self, reactor: &Reactor) -> bool {
        let is_closed = self.closing && reactor.is_idle(self.board);
        if is_closed {
            self.closing = false;
            self.bench
                .board(|board, now| board.handle_disconnected(now, LineRole::Console, "closed"));
        }
        is_closed
    }

    /// Gives the lines what the board has for them; whether there was anything.
    fn transmit(&mut self, reactor: &mut Reactor) -> bool {
        let mut any = false;
        for role in LineRole::ALL {
            let line = LineId::new(self.board, role);
            while reactor.wants_bytes(line) {
                let Some(bytes) = self.bench.board(|board, now| board.poll_transmit(now, role))
                else {
                    break;
                };
                any = true;
                let written = reactor.write(line, &bytes);
                debug_assert_eq!(written, bytes.len(), "there was room for a frame");
            }
        }
        let mut frames = Vec::new();
        while let Some(frame) = self.bench.board(|board, now| board.poll_lane_transmit(now)) {
            frames.extend(frame);
        }
        if !frames.is_empty() {
            any = true;
            reactor.write_lane(self.board, &frames);
        }
        any
    }

    /// The line that carries the agent's frames.
    fn agents_line(&self) -> LineId {
        LineId::new(self.board, self.bench.board(|board, _| board.agents_line()))
    }
}
