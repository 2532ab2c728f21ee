//! The event loop: one `mio::Poll` for all boards, the terminal, signals and worker threads.
//!
//! The owner calls [`Reactor::turn`], handles what it returns, drains its state machines into the verbs below, and
//! turns again. Guarantees: nothing blocks but `turn`; a board is read at most [`READ_PER_TURN`] bytes a turn, so that
//! a flood from one does not starve the others; every process is killed and reaped. Knows nothing of frames or phases.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::Arc;

use agent_core::time::{Duration, Instant};
use mio::{Events, Interest, Poll, Token, Waker};

use super::clock;
use super::connection::Endpoint;
use super::event::{BoardEvent, IoEvent, LineId};
use super::holder::Holder;
use super::port::{Context, Port, ROOM_BELOW, Rest, WRITE_QUEUE_MAX};
use super::process::Child;
use super::side_lane::{self, Lanes};
use super::signals::Signals;
use super::terminal::{Input, InputRead};
use super::waker::{WorkerWaker, Workers};
use crate::board::line_quality::UartErrors;
use crate::board::side_lane::LaneOffer;
use crate::config::connection::LineRole;
use crate::config::side_lane::SideLane;

/// The loop and everything that it waits for.
pub struct Reactor {
    poll: Poll,
    ready: Events,
    ports: BTreeMap<LineId, Port>,
    commands: BTreeMap<usize, Command>,
    holders: BTreeMap<usize, Holder>,
    lanes: Lanes,
    signals: Signals,
    input: Option<Input>,
    workers: Arc<Workers>,
    /// Lines with more to read, for which no further edge comes.
    readable: BTreeSet<LineId>,
    /// Lines whose bytes are held back until the kernel's queue is shorter.
    held: BTreeSet<LineId>,
    /// Children that print without a pause.
    noisy: BTreeSet<Token>,
    events: Vec<IoEvent>,
    scratch: Box<[u8]>,
}

#[derive(Debug)]
struct Command {
    child: Child,
    limit: Duration,
    until: Option<Instant>,
}

impl Reactor {
    /// A loop that waits for signals and nothing else yet. From here on Ctrl-C is an event and ends nothing by itself.
    ///
    /// # Errors
    /// The system's, when it has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let signals = Signals::register(poll.registry(), SIGNALS)?;
        let waker = Waker::new(poll.registry(), WORKERS)?;
        Ok(Self {
            poll,
            ready: Events::with_capacity(READY_MAX),
            ports: BTreeMap::new(),
            commands: BTreeMap::new(),
            holders: BTreeMap::new(),
            lanes: Lanes::default(),
            signals,
            input: None,
            workers: Workers::new(waker),
            readable: BTreeSet::new(),
            held: BTreeSet::new(),
            noisy: BTreeSet::new(),
            events: Vec::new(),
            scratch: vec![0; READ_PER_TURN].into(),
        })
    }

    /// Waits until something happens or it is `until`, and returns what happened, in order for each board. May return
    /// nothing before that time.
    ///
    /// # Errors
    /// The poll itself failed; nothing can go on.
    pub fn turn(&mut self, until: Option<Instant>) -> io::Result<Vec<IoEvent>> {
        let ready = self.wait(until)?;
        let mut children_ended = false;
        let (mut lines, mut outputs) =
            (std::mem::take(&mut self.readable), std::mem::take(&mut self.noisy));
        let mut lanes = self.lanes.take_unfinished();
        for token in ready {
            match token {
                SIGNALS => {
                    let arrived = self.signals.take();
                    children_ended |= arrived.child;
                    self.events.extend(arrived.signals.into_iter().map(IoEvent::Signal));
                }
                WORKERS => {
                    let woken = self.workers.take().into_iter();
                    self.events
                        .extend(woken.map(|board| IoEvent::Board(board, BoardEvent::Worker)));
                }
                STDIN => self.input.iter_mut().for_each(Input::mark_ready),
                token if Lanes::is_own(token) || role(token) == LANE => drop(lanes.insert(token)),
                token if role(token) == LINE => {
                    lines.insert(LineId::new(board(token), LineRole::Console));
                }
                token if role(token) == AGENT_LINE => {
                    lines.insert(LineId::new(board(token), LineRole::Agent));
                }
                token => drop(outputs.insert(token)),
            }
        }
        lines.append(&mut std::mem::take(&mut self.held));
        for token in outputs {
            self.serve_output(token);
        }
        for line in lines {
            let rest = self.with_port(line, Port::handle_line);
            self.note_rest(line, rest);
        }
        // Listeners last: who has left makes room for who comes.
        for token in lanes.into_iter().rev() {
            self.with_lanes(|lanes, context| match Lanes::is_own(token) {
                true => lanes.handle(token, context),
                false => lanes.handle_board(board(token), context),
            });
        }
        self.read_input();
        self.handle_timeouts();
        if children_ended {
            self.reap();
        }
        Ok(std::mem::take(&mut self.events))
    }

    /// Opens a board's line, after closing the one it has and when that one's process is gone. The outcome is an event,
    /// [`BoardEvent::Connected`] or [`BoardEvent::Disconnected`]. A board's number may be any below 2⁶⁰, or 2²⁸ on a 32-bit
    /// host; alone it means the console line.
    pub fn connect(&mut self, line: impl Into<LineId>, endpoint: Endpoint) {
        let line = line.into();
        let (role, output) = match line.role {
            LineRole::Console => (LINE, LINE_OUTPUT),
            LineRole::Agent => (AGENT_LINE, AGENT_LINE_OUTPUT),
        };
        self.ports
            .entry(line)
            .or_insert_with(|| Port::new(token(line.board, role), token(line.board, output)));
        self.with_port(line, |port, context| port.connect(endpoint, context));
    }

    /// Closes a board's line at once and ends its process: SIGTERM, and SIGKILL two seconds later. No event tells.
    pub fn disconnect(&mut self, line: impl Into<LineId>) {
        let line = line.into();
        self.with_port(line, Port::disconnect);
        self.forget_line(line);
        self.lanes.close(line.board);
    }

    /// Does that to every line of a board.
    pub fn disconnect_board(&mut self, board: usize) {
        LineRole::ALL.into_iter().for_each(|role| self.disconnect(LineId::new(board, role)));
    }

    /// Whether the line can be used.
    pub fn is_connected(&self, line: impl Into<LineId>) -> bool {
        self.ports.get(&line.into()).is_some_and(Port::is_open)
    }

    /// What the UART at the host's end of a board's line has lost or misread since it was opened; `None` where the line
    /// is no serial device of this host or of a server that tells, or not open.
    pub fn uart_errors(&self, line: impl Into<LineId>) -> Option<UartErrors> {
        self.ports.get(&line.into()).and_then(Port::uart_errors)
    }

    /// Whether a line is neither open nor has a process that is still to end.
    pub fn is_idle(&self, line: impl Into<LineId>) -> bool {
        self.ports.get(&line.into()).is_none_or(Port::is_idle)
    }

    /// Whether that is so of every line of a board.
    pub fn is_board_idle(&self, board: usize) -> bool {
        LineRole::ALL.into_iter().all(|role| self.is_idle(LineId::new(board, role)))
    }

    /// Queues bytes for a board's line and says how many found room; the rest is the caller's. What waits is lost when
    /// the line is.
    pub fn write(&mut self, line: impl Into<LineId>, bytes: &[u8]) -> usize {
        let line = line.into();
        let (written, held) = self.with_port(line, |port, context| {
            let written = port.write(bytes);
            (written, port.flush(context))
        });
        self.note_rest(line, Rest { readable: false, held });
        written
    }

    /// Sets the speed of a board's line to so many bits a second as soon as everything that was written has left; until
    /// then it takes no more. Behind RFC 2217 that is when the server says so. A line that is not open, or has no speed,
    /// is left alone. Only a failure is told: [`BoardEvent::BaudFailed`].
    pub fn set_baud(&mut self, line: impl Into<LineId>, baud: u32) {
        let line = line.into();
        let held = self.with_port(line, |port, context| port.set_baud(baud, context));
        self.note_rest(line, Rest { readable: false, held });
    }

    /// Sends a BREAK on a board's line, behind everything that was written; what is written later comes behind it. The
    /// outcome is [`BoardEvent::BreakDone`].
    pub fn send_break(&mut self, line: impl Into<LineId>) {
        let line = line.into();
        let held = self.with_port(line, Port::send_break);
        self.note_rest(line, Rest { readable: false, held });
    }

    /// Bytes that [`Reactor::write`] would take, at most 64 KiB; 0 while the line is not open.
    pub fn write_room(&self, line: impl Into<LineId>) -> usize {
        self.ports.get(&line.into()).map_or(0, Port::write_room)
    }

    /// Whether something waits to be written to a board's line, which can take it.
    pub fn has_unwritten(&self, line: impl Into<LineId>) -> bool {
        (1..WRITE_QUEUE_MAX).contains(&self.write_room(line))
    }

    /// Whether less than a frame waits to be written: the time to ask a link for its next frame, so that what is urgent
    /// never waits behind much. After `false`, [`BoardEvent::Room`] says when it has become true.
    pub fn wants_bytes(&self, line: impl Into<LineId>) -> bool {
        self.write_room(line) > WRITE_QUEUE_MAX - ROOM_BELOW
    }

    /// Starts a command of a board (to switch its power); one that is still running is killed. It may take `limit`.
    /// The outcome is [`BoardEvent::CommandDone`].
    pub fn run(&mut self, board: usize, argv: &[String], limit: Duration) {
        self.commands.remove(&board);
        match self.listen(Child::spawn_command(argv), token(board, COMMAND_OUTPUT)) {
            Ok(child) => {
                let until = Some(clock::now() + limit);
                self.commands.insert(board, Command { child, limit, until });
            }
            Err(why) => self.events.push(IoEvent::Board(board, BoardEvent::CommandDone(Err(why)))),
        }
    }

    /// Starts the process that holds a board's power, in the place of the one that may run. [`BoardEvent::Held`] tells
    /// whether it runs.
    pub fn hold(&mut self, board: usize, argv: &[String]) {
        self.holders.remove(&board);
        match self.listen(Child::spawn_holder(argv), token(board, HOLDER_OUTPUT)) {
            Ok(child) => drop(self.holders.insert(board, Holder::new(child, clock::now()))),
            Err(why) => self.events.push(IoEvent::Board(board, BoardEvent::Held(Err(why)))),
        }
    }

    /// Hears of the output of a process that was just started.
    fn listen(&self, started: Result<Child, String>, output: Token) -> Result<Child, String> {
        let mut child = started?;
        let registered = self.poll.registry().register(child.output(), output, Interest::READABLE);
        registered.map_err(|error| format!("failed to wait for {}: {error}", child.program()))?;
        Ok(child)
    }

    /// Ends the process that holds a board's power: [`BoardEvent::Held`] when it is gone, with everything it started.
    pub fn let_go(&mut self, board: usize) {
        match self.holders.get_mut(&board) {
            Some(holder) => holder.leave(clock::now()),
            None => self.events.push(IoEvent::Board(board, BoardEvent::Held(Ok(())))),
        }
    }

    /// Listens for a board on the network, as long as it may take to come: [`BoardEvent::LaneOpened`], or
    /// [`BoardEvent::LaneClosed`].
    ///
    /// # Errors
    /// A sentence that says why it cannot be listened.
    pub fn offer_lane(&mut self, board: usize, lane: &SideLane) -> Result<LaneOffer, String> {
        self.lanes.offer(self.poll.registry(), clock::now(), board, lane)
    }

    /// Queues bytes for a board's side lane; without one they are dropped.
    pub fn write_lane(&mut self, board: usize, bytes: &[u8]) {
        self.with_lanes(|lanes, context| lanes.write(board, bytes, context));
    }

    /// Closes a board's side lane, or expects it no more; no event tells.
    pub fn close_lane(&mut self, board: usize) {
        self.lanes.close(board);
    }

    /// Kills a board's command; no event tells.
    pub fn cancel(&mut self, board: usize) {
        self.commands.remove(&board);
    }

    /// Whether the terminal's input is listened to.
    pub fn listens_to_stdin(&self) -> bool {
        self.input.is_some()
    }

    /// Begins or ends to listen to the terminal's input. What was typed while nobody listened is kept by the kernel.
    ///
    /// # Errors
    /// Standard input is closed.
    pub fn listen_to_stdin(&mut self, listen: bool) -> io::Result<()> {
        if let Some(mut input) = self.input.take() {
            input.deregister(self.poll.registry());
        }
        if listen {
            self.input = Some(Input::register(io::stdin(), self.poll.registry(), STDIN)?);
        }
        Ok(())
    }

    /// For a worker thread of a board.
    pub fn worker_waker(&self, board: usize) -> WorkerWaker {
        WorkerWaker::new(self.workers.clone(), board)
    }

    /// Closes every line, kills every command and waits until all processes are gone: at most a little over two seconds.
    /// What else happens meanwhile is dropped. Without it, dropping the reactor kills them hard.
    ///
    /// # Errors
    /// As [`Reactor::turn`].
    pub fn close(&mut self) -> io::Result<()> {
        self.commands.clear();
        let lines: Vec<LineId> = self.ports.keys().copied().collect();
        lines.into_iter().for_each(|line| self.disconnect(line));
        let now = clock::now();
        self.holders.values_mut().for_each(|holder| holder.leave(now));
        while !self.ports.values().all(Port::is_idle) || !self.holders.is_empty() {
            self.turn(None)?;
        }
        Ok(())
    }

    fn wait(&mut self, until: Option<Instant>) -> io::Result<Vec<Token>> {
        let now = clock::now();
        let at_once = !self.events.is_empty()
            || !self.readable.is_empty()
            || !self.noisy.is_empty()
            || self.lanes.is_unfinished()
            || self.input.as_ref().is_some_and(Input::is_ready);
        let held = (!self.held.is_empty()).then(|| now + HELD_RETRY);
        let ports = self.ports.values().filter_map(Port::poll_timeout);
        let commands = self
            .commands
            .values()
            .filter_map(|command| command.until.or_else(|| command.child.poll_timeout()));
        let holders = self.holders.values().filter_map(Holder::poll_timeout);
        let lanes = self.lanes.poll_timeout();
        let until = until.into_iter().chain(held).chain(ports).chain(commands).chain(holders);
        let until = until.chain(lanes).min();
        let timeout = match until {
            _ if at_once => Some(std::time::Duration::ZERO),
            Some(until) => Some(std::time::Duration::from_micros(until.since(now).as_micros())),
            None => None,
        };
        match self.poll.poll(&mut self.ready, timeout) {
            Ok(()) => Ok(self.ready.iter().map(mio::event::Event::token).collect()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn serve_output(&mut self, token: Token) {
        let board = board(token);
        let more = match role(token) {
            LINE_OUTPUT => self.serve_port_output(LineId::new(board, LineRole::Console)),
            AGENT_LINE_OUTPUT => self.serve_port_output(LineId::new(board, LineRole::Agent)),
            HOLDER_OUTPUT => {
                self.holders.get_mut(&board).is_some_and(|holder| holder.child().handle_output())
            }
            _ => self.commands.get_mut(&board).is_some_and(|command| command.child.handle_output()),
        };
        if more {
            self.noisy.insert(token);
        }
    }

    fn serve_port_output(&mut self, line: LineId) -> bool {
        self.ports.get_mut(&line).is_some_and(Port::handle_output)
    }

    fn read_input(&mut self) {
        let Some(input) = &mut self.input else { return };
        match input.read(&mut self.scratch) {
            InputRead::Nothing => {}
            InputRead::Bytes(bytes) => {
                self.events.push(IoEvent::Stdin(self.scratch[..bytes].to_vec()))
            }
            InputRead::End => {
                input.deregister(self.poll.registry());
                self.input = None;
                self.events.push(IoEvent::StdinEnd);
            }
        }
    }

    fn handle_timeouts(&mut self) {
        let now = clock::now();
        for command in self.commands.values_mut() {
            if command.until.is_some_and(|until| until <= now) {
                command.until = None;
                command.child.stop(now);
            }
            command.child.handle_timeout(now);
        }
        for (board, holder) in &mut self.holders {
            let event = holder.handle_timeout(now);
            self.events.extend(event.map(|event| IoEvent::Board(*board, event)));
        }
        if self.lanes.poll_timeout().is_some_and(|at| at <= now) {
            self.with_lanes(Lanes::handle_timeout);
        }
        let due = |port: &Port| port.poll_timeout().is_some_and(|at| at <= now);
        let lines: Vec<LineId> =
            self.ports.iter().filter(|(_, port)| due(port)).map(|(line, _)| *line).collect();
        for line in lines {
            let held = self.with_port(line, Port::handle_timeout);
            self.note_rest(line, Rest { readable: false, held });
        }
    }

    fn reap(&mut self) {
        let lines: Vec<LineId> = self.ports.keys().copied().collect();
        for line in lines {
            self.with_port(line, Port::handle_child_signal);
        }
        self.commands.retain(|board, command| {
            let Some(outcome) = command.child.poll_exit() else { return true };
            let mut outcome = outcome.map(|()| command.child.last_output());
            if command.until.is_none() {
                let limit_s = command.limit.as_millis_ceil().div_ceil(1000);
                outcome =
                    Err(format!("{} did not end within {limit_s} s", command.child.program()));
            }
            self.events.push(IoEvent::Board(*board, BoardEvent::CommandDone(outcome)));
            false
        });
        self.holders.retain(|board, holder| {
            let Some(event) = holder.poll_exit() else { return true };
            self.events.push(IoEvent::Board(*board, event));
            false
        });
    }

    /// Calls a line's port; a default where there is none.
    fn with_port<R: Default>(
        &mut self,
        line: LineId,
        call: impl FnOnce(&mut Port, &mut Context<'_>) -> R,
    ) -> R {
        let Some(port) = self.ports.get_mut(&line) else { return R::default() };
        let mut events = Vec::new();
        let mut context = Context {
            registry: self.poll.registry(),
            now: clock::now(),
            events: &mut events,
            scratch: &mut self.scratch,
        };
        let result = call(port, &mut context);
        self.events.extend(events.into_iter().map(|event| line.event(event)));
        result
    }

    fn with_lanes(&mut self, call: impl FnOnce(&mut Lanes, &mut side_lane::Context<'_>)) {
        let mut context = side_lane::Context {
            registry: self.poll.registry(),
            now: clock::now(),
            token: |board| token(board, LANE),
            events: Vec::new(),
            scratch: &mut self.scratch,
        };
        call(&mut self.lanes, &mut context);
        let events = context.events.into_iter();
        self.events.extend(events.map(|(board, event)| IoEvent::Board(board, event)));
    }

    fn note_rest(&mut self, line: LineId, rest: Rest) {
        if rest.readable {
            self.readable.insert(line);
        }
        if rest.held {
            self.held.insert(line);
        }
    }

    fn forget_line(&mut self, line: LineId) {
        self.readable.remove(&line);
        self.held.remove(&line);
    }
}

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reactor")
            .field("ports", &self.ports)
            .field("commands", &self.commands)
            .field("holders", &self.holders)
            .finish_non_exhaustive()
    }
}

fn token(board: usize, role: usize) -> Token {
    Token(FIRST_BOARD + board * ROLES + role)
}

fn board(token: Token) -> usize {
    (token.0 - FIRST_BOARD) / ROLES
}

fn role(token: Token) -> usize {
    (token.0 - FIRST_BOARD) % ROLES
}

const SIGNALS: Token = Token(0);
const WORKERS: Token = Token(1);
const STDIN: Token = Token(2);
const FIRST_BOARD: usize = 3;

const ROLES: usize = 7;
const LINE: usize = 0;
const LINE_OUTPUT: usize = 1;
const COMMAND_OUTPUT: usize = 2;
const HOLDER_OUTPUT: usize = 3;
const AGENT_LINE: usize = 4;
const AGENT_LINE_OUTPUT: usize = 5;
const LANE: usize = 6;

/// 1.4 s of a line at 115200 baud; an emulated line of 3 MB/s needs 190 turns a second for it.
pub const READ_PER_TURN: usize = 16 * 1024;
/// Sources served in one turn; the kernel hands out the others first in the next.
const READY_MAX: usize = 256;
/// How often a queue that was full is looked at. Most drivers wake the loop when it has become shorter; for a child's
/// line nothing does. Two frames in this time are 370 kB/s.
const HELD_RETRY: Duration = Duration::from_millis(4);
