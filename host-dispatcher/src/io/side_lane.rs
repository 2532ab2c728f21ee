//! The network's side of side lanes: for each board that is expected a token and a deadline, and then its connection.
//!
//! It is listened only while a board is expected. Who connects has [`TOKEN_WITHIN`] for the 16 bytes of a token, of which
//! each is good once, for one board; at most [`GUESTS_MAX`] may be at it. Whoever has none is turned away and counted,
//! and whatever happens here costs a board its lane at most: its line does not depend on it. Knows nothing of frames.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use agent_core::time::{Duration, Instant};
use agent_core::wire::request;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use super::event::BoardEvent;
use crate::board::side_lane::LaneOffer;
use crate::config::side_lane::SideLane;

/// The lanes of a loop.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    listeners: BTreeMap<usize, Listener>,
    guests: BTreeMap<usize, Guest>,
    expected: BTreeMap<usize, Expected>,
    open: BTreeMap<usize, Open>,
    /// Of listeners and guests: none is used twice, so that no event of one is taken for another's.
    last_number: usize,
    /// What has more to give, and no edge to say so.
    unfinished: BTreeSet<Token>,
}

#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    wanted: SocketAddr,
}

/// A connection that has not shown a token.
#[derive(Debug)]
struct Guest {
    stream: TcpStream,
    listener: usize,
    shown: Vec<u8>,
    until: Instant,
}

/// A board that is to come.
#[derive(Debug)]
struct Expected {
    token: [u8; TOKEN_LEN],
    listener: usize,
    until: Instant,
    /// Connections without a token at its listener.
    strangers: u32,
}

#[derive(Debug)]
struct Open {
    stream: TcpStream,
    outbox: VecDeque<u8>,
}

/// What the loop lends for a call.
pub(super) struct Context<'a> {
    pub(super) registry: &'a Registry,
    pub(super) now: Instant,
    /// The token of a board's lane.
    pub(super) token: fn(usize) -> Token,
    pub(super) events: Vec<(usize, BoardEvent)>,
    pub(super) scratch: &'a mut [u8],
}

impl Lanes {
    /// Whether a token is one of these.
    pub(super) fn is_own(token: Token) -> bool {
        token.0 >= FIRST_TOKEN
    }

    /// Expects a board, in place of whatever there was of it.
    pub(super) fn offer(
        &mut self,
        registry: &Registry,
        now: Instant,
        board: usize,
        lane: &SideLane,
    ) -> Result<LaneOffer, String> {
        self.close(board);
        let mut token = [0; TOKEN_LEN];
        getrandom::fill(&mut token).map_err(|error| format!("no random numbers: {error}"))?;
        let (listener, port) = self.listen(registry, lane)?;
        let until = now + COME_WITHIN;
        self.expected.insert(board, Expected { token, listener, until, strangers: 0 });
        Ok(LaneOffer { address: lane.address, port: lane.port.unwrap_or(port), token })
    }

    /// Closes a board's lane and expects it no more; no event tells.
    pub(super) fn close(&mut self, board: usize) {
        self.open.remove(&board);
        self.expected.remove(&board);
        self.forget_unused();
    }

    /// Queues bytes for a board's lane.
    pub(super) fn write(&mut self, board: usize, bytes: &[u8], context: &mut Context<'_>) {
        let Some(open) = self.open.get_mut(&board) else { return };
        open.outbox.extend(bytes);
        self.flush(board, context);
    }

    /// A listener or a guest is ready.
    pub(super) fn handle(&mut self, token: Token, context: &mut Context<'_>) {
        let number = token.0 - FIRST_TOKEN;
        if self.listeners.contains_key(&number) {
            self.accept(number, context);
        } else if self.guests.contains_key(&number) {
            self.hear(number, context);
        }
    }

    /// A board's lane is ready.
    pub(super) fn handle_board(&mut self, board: usize, context: &mut Context<'_>) {
        self.flush(board, context);
        let Some(open) = self.open.get_mut(&board) else { return };
        match open.stream.read(context.scratch) {
            Ok(0) => self.lose(board, "the board closed it", context),
            Ok(length) => {
                let bytes = context.scratch[..length].to_vec();
                context.events.push((board, BoardEvent::LaneBytes(bytes)));
                self.unfinished.insert((context.token)(board));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                self.unfinished.insert((context.token)(board));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => self.lose(board, &error.to_string(), context),
        }
    }

    /// Sources that have more to give, once.
    pub(super) fn take_unfinished(&mut self) -> BTreeSet<Token> {
        std::mem::take(&mut self.unfinished)
    }

    /// Whether there is something to do without waiting.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let guests = self.guests.values().map(|guest| guest.until);
        guests.chain(self.expected.values().map(|expected| expected.until)).min()
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let late: Vec<usize> =
            self.guests.iter().filter(|(_, g)| g.until <= now).map(|(number, _)| *number).collect();
        late.into_iter().for_each(|number| self.turn_away(number));
        let is_late = |expected: &Expected| expected.until <= now;
        let late: Vec<usize> =
            self.expected.iter().filter(|(_, e)| is_late(e)).map(|(board, _)| *board).collect();
        for board in late {
            if let Some(expected) = self.expected.remove(&board) {
                let why = format!(
                    "the board did not come within {} s{}",
                    COME_WITHIN.as_millis_ceil() / 1000,
                    others(expected.strangers)
                );
                context.events.push((board, BoardEvent::LaneClosed(why)));
            }
        }
        self.forget_unused();
    }

    /// The listener of an address, and its port.
    fn listen(&mut self, registry: &Registry, lane: &SideLane) -> Result<(usize, u16), String> {
        let wanted = lane.socket();
        let known = self.listeners.iter().find(|(_, listener)| listener.wanted == wanted);
        if let Some((number, listener)) = known {
            let port = listener.socket.local_addr().map(|at| at.port());
            return Ok((*number, port.map_err(|error| error.to_string())?));
        }
        let mut socket = TcpListener::bind(wanted).map_err(|error| cannot_listen(lane, &error))?;
        self.last_number += 1;
        let number = self.last_number;
        let registered =
            registry.register(&mut socket, Token(FIRST_TOKEN + number), Interest::READABLE);
        registered.map_err(|error| cannot_listen(lane, &error))?;
        let port = socket.local_addr().map_err(|error| cannot_listen(lane, &error))?.port();
        self.listeners.insert(number, Listener { socket, wanted });
        Ok((number, port))
    }

    fn accept(&mut self, listener: usize, context: &mut Context<'_>) {
        for _ in 0..ACCEPTED_AT_ONCE {
            let Some(found) = self.listeners.get(&listener) else { return };
            let stream = match found.socket.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // One that was gone before it was taken.
                Err(_) => continue,
            };
            if self.guests.len() >= GUESTS_MAX {
                self.count_stranger(listener);
                continue;
            }
            self.last_number += 1;
            let number = self.last_number;
            let mut guest =
                Guest { stream, listener, shown: Vec::new(), until: context.now + TOKEN_WITHIN };
            let token = Token(FIRST_TOKEN + number);
            let both = Interest::READABLE | Interest::WRITABLE;
            if context.registry.register(&mut guest.stream, token, both).is_ok() {
                self.guests.insert(number, guest);
                self.unfinished.insert(token);
            }
        }
        self.unfinished.insert(Token(FIRST_TOKEN + listener));
    }

    /// Reads a token, and no byte of what follows it.
    fn hear(&mut self, number: usize, context: &mut Context<'_>) {
        let Some(guest) = self.guests.get_mut(&number) else { return };
        while guest.shown.len() < TOKEN_LEN {
            let mut piece = [0; TOKEN_LEN];
            let missing = TOKEN_LEN - guest.shown.len();
            match guest.stream.read(&mut piece[..missing]) {
                Ok(length) if length > 0 => guest.shown.extend(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => return self.turn_away(number),
            }
        }
        let mut found = None;
        for (board, expected) in &self.expected {
            // Both conditions are looked at, whichever holds.
            let is_it = is_same(&expected.token, &guest.shown);
            if is_it & (expected.listener == guest.listener) {
                found = Some(*board);
            }
        }
        let Some(board) = found else { return self.turn_away(number) };
        let Some(guest) = self.guests.remove(&number) else { return };
        self.expected.remove(&board);
        self.welcome(board, guest.stream, context);
        self.forget_unused();
    }

    fn welcome(&mut self, board: usize, mut stream: TcpStream, context: &mut Context<'_>) {
        let token = (context.token)(board);
        let both = Interest::READABLE | Interest::WRITABLE;
        let ready = stream
            .set_nodelay(true)
            .and_then(|()| context.registry.reregister(&mut stream, token, both));
        let event = match ready {
            Ok(()) => {
                self.open.insert(board, Open { stream, outbox: VecDeque::new() });
                self.unfinished.insert(token);
                BoardEvent::LaneOpened
            }
            Err(error) => BoardEvent::LaneClosed(error.to_string()),
        };
        context.events.push((board, event));
    }

    fn flush(&mut self, board: usize, context: &mut Context<'_>) {
        let Some(open) = self.open.get_mut(&board) else { return };
        let mut trouble = None;
        while trouble.is_none() {
            let (next, _) = open.outbox.as_slices();
            if next.is_empty() {
                break;
            }
            match open.stream.write(next) {
                Ok(length) => drop(open.outbox.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => trouble = Some(error.to_string()),
            }
        }
        if open.outbox.len() > OUTBOX_MAX {
            trouble = Some("the board sends and takes nothing".to_owned());
        }
        if let Some(why) = trouble {
            self.lose(board, &why, context);
        }
    }

    fn lose(&mut self, board: usize, why: &str, context: &mut Context<'_>) {
        self.open.remove(&board);
        context.events.push((board, BoardEvent::LaneClosed(why.to_owned())));
    }

    fn turn_away(&mut self, number: usize) {
        if let Some(guest) = self.guests.remove(&number) {
            self.count_stranger(guest.listener);
        }
    }

    /// Which board they wanted to be nobody knows.
    fn count_stranger(&mut self, listener: usize) {
        for expected in self.expected.values_mut().filter(|e| e.listener == listener) {
            expected.strangers = expected.strangers.saturating_add(1);
        }
    }

    /// Listeners at which nobody is expected, and who is there.
    fn forget_unused(&mut self) {
        let used: BTreeSet<usize> = self.expected.values().map(|e| e.listener).collect();
        self.listeners.retain(|number, _| used.contains(number));
        self.guests.retain(|_, guest| used.contains(&guest.listener));
    }
}

/// Looks at every byte, whichever differ.
fn is_same(token: &[u8; TOKEN_LEN], shown: &[u8]) -> bool {
    let differing = token.iter().zip(shown).fold(0, |all, (one, other)| all | (one ^ other));
    std::hint::black_box(differing) == 0 && shown.len() == TOKEN_LEN
}

fn cannot_listen(lane: &SideLane, error: &io::Error) -> String {
    let mend = match error.kind() {
        ErrorKind::AddrNotAvailable => format!(
            ": it is no address of this host; write one that is, or how it is forwarded, as in side_lane: {{address: {}:4000, listen: 0.0.0.0}}",
            lane.address
        ),
        ErrorKind::AddrInUse => ": another program has this port; write another".to_owned(),
        _ => String::new(),
    };
    format!("failed to listen on {}: {error}{mend}", lane.socket())
}

fn others(strangers: u32) -> String {
    match strangers {
        0 => String::new(),
        1 => "; a connection without its token was turned away".to_owned(),
        count => format!("; {count} connections without its token were turned away"),
    }
}

const TOKEN_LEN: usize = request::Lane::TOKEN_LEN;

/// A board that is told where to come does so in some round trips of its line and its network.
const COME_WITHIN: Duration = Duration::from_secs(5);

/// The token is what an agent sends first.
const TOKEN_WITHIN: Duration = Duration::from_secs(2);

/// Connections that may be without a token: boards that come at once, and some that belong to nobody.
const GUESTS_MAX: usize = 32;

/// A flood of connections must not keep the loop from its boards.
const ACCEPTED_AT_ONCE: usize = 64;

/// What waits to be written: the frames of a window (21 KiB), and acknowledgements of what a board sends that reads none.
const OUTBOX_MAX: usize = 64 * 1024;

/// Above those of boards: the upper half of the numbers.
const FIRST_TOKEN: usize = 1 << (usize::BITS - 1);
