//! A reliable, multiplexed connection over a serial line that others also write to.
//!
//! ```text
//!   board                                   host
//!     │  beacon (text, every 2 s)             │   the host says nothing before it has seen one
//!     │ ────────────────────────────────────▶ │
//!     │ ◀──────────────────────────── HELLO   │   versions, nonce, window
//!     │  HELLO_ACK ─────────────────────────▶ │   boot id, both now know the session's tag
//!     │ ◀──────────── DATA, ACK ────────────▶ │   selective repeat, streams with credits
//!     │  PING (idle for 2 s) ───────────────▶ │
//!     │ ◀────────────────────────────── ACK   │   three unanswered: the session is over, beacons again
//!     │ ◀────────────────────────────── BYE   │   the dispatcher leaves: beacons again, at once
//! ```
//!
//! Either end also pings behind a DATA frame that it sends again because nothing was heard: the short frame comes
//! through where the long one may not, and its answer tells at once.
//!
//! [`Link`] runs on both ends. It owns framing, check values, retransmission, sessions, streams, credits, priorities
//! and counters, and knows nothing about messages, clocks or devices. Within a session every byte of a stream
//! arrives once and in order. A session ends with the boot (another boot id), with a new hello, or with silence;
//! nothing of it leaks into the next.

pub mod beacon;
pub mod coding;
pub mod crc;
pub mod frame;

mod arq;
mod chunk;
mod deframer;
mod event;
mod handshake;
mod lane;
mod memory;
mod opening;
mod rtt;
mod session;
mod sizes;
mod stats;
mod stream;

pub use beacon::Beacon;
pub use coding::{Coding, LINE_MAX};
pub use event::{CloseReason, Event, LineConfig, Peer, Progress};
pub use handshake::{GOODBYE, Hello, HelloAck, VERSION, VERSION_MIN, WRAPS};
pub use lane::{LANE_FRAME_MAX, LANE_PATIENCE, LaneEnd};
pub use memory::{Body, Inline, Memory, Queue};
pub use stats::Stats;
pub use stream::{BULK_FLOOR, CONTROL_CREDIT, INITIAL_CREDIT, Priority};

use crate::time::{Duration, Instant};
use deframer::{Deframer, Found, Said};
use frame::{BadFrame, CONTENT_MAX, Frame, Kind};
use handshake::Nonces;
use heapless::Deque;
use lane::Way;
use session::Session;

/// The host's link, for the longest queue that one line needs.
pub type HostLink = HostLinkIn<Inline>;

/// The same with buffers of its owner's.
pub type HostLinkIn<M> = Link<32, 20, 4096, M>;

/// A session is over when nothing valid was heard for so long: three of the board's pings.
pub const SILENT_AFTER: Duration = Duration::from_millis(3 * PING_AFTER.as_millis_ceil() + 500);

/// The board pings when it has sent nothing for so long.
pub const PING_AFTER: Duration = Duration::from_secs(2);

/// A beacon is sent so often until it is answered, ...
pub const BEACON_EVERY: Duration = Duration::from_secs(2);

/// ... after a quick beginning: the first is repeated after so long, and the pause then doubles. The dispatcher's next
/// program may start just now, and the first beacon of a board is the one that is likeliest to be spoilt.
pub const BEACON_SOON: Duration = Duration::from_millis(250);

/// At most one RESET in this time: it answers frames that may come by the dozen.
const RESET_EVERY: Duration = Duration::from_millis(500);

/// Events that wait for the owner. A beacon, a closed and an opened session are the most that one frame makes; more
/// come only when the owner breaks the contract and does not drain.
const EVENTS_MAX: usize = 8;

/// One end of a line. `WINDOW` frames on their way (a power of two, at most 32), `STREAMS` streams at a time besides
/// stream 0, `SEND` bytes waiting in each (at least [`MESSAGE_MAX`](crate::wire::MESSAGE_MAX)).
#[repr(C)]
#[derive(Debug)]
pub struct Link<const WINDOW: usize, const STREAMS: usize, const SEND: usize, M: Memory = Inline> {
    side: Side<WINDOW, STREAMS, SEND, M>,
    line: LineConfig,
    nonces: Nonces,
    is_answering: bool,
    /// The board reboots or is off: not a byte before its beacon (host).
    is_muted: bool,
    /// The board's beacon, the host's hello: when the next is due, how many are left.
    greeting_at: Option<Instant>,
    hellos_left: u8,
    /// The pause behind the board's next beacon.
    beacon_pause: Duration,
    beacon: Option<Beacon>,
    /// A beacon that came in an open session, and since when: it counts when the agent knows nothing of the session, or
    /// says nothing in it (host).
    doubted: Option<(Beacon, Instant)>,
    /// The version that the owner was told it cannot speak (host).
    incompatible: Option<u8>,
    /// The answer to a hello, by its version and nonce (board).
    hello_ack_due: Option<(u8, u32)>,
    reset_due: Option<u8>,
    bye_due: Option<u8>,
    reset_after: Instant,
    lane_end: Option<LaneEnd>,
    stats: Stats,
    events: Deque<Pending, EVENTS_MAX>,
    deframer: Deframer,
    lane_inbox: lane::Inbox,
    session: Session<WINDOW, STREAMS, SEND, M>,
}

#[derive(Clone, Copy, Debug)]
enum Side<const WINDOW: usize, const STREAMS: usize, const SEND: usize, M: Memory> {
    Board(Beacon),
    Host(HostEnd<WINDOW, STREAMS, SEND, M>),
}

/// What only the host's end does, by reference: it is no part of a program that never makes one, the agent.
#[derive(Clone, Copy, Debug)]
struct HostEnd<const WINDOW: usize, const STREAMS: usize, const SEND: usize, M: Memory> {
    handle_said: fn(&mut Link<WINDOW, STREAMS, SEND, M>, Instant, Said),
    read_answer: fn(&[u8]) -> Option<HelloAck>,
    handle_answer: fn(&mut Link<WINDOW, STREAMS, SEND, M>, Instant, HelloAck),
    handle_reset: fn(&mut Link<WINDOW, STREAMS, SEND, M>, Instant),
    greet: fn(&mut Link<WINDOW, STREAMS, SEND, M>, Instant, &mut [u8]) -> Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Pending {
    Beacon(Beacon),
    Opened(Peer),
    Closed(CloseReason),
    Incompatible(u8),
}

impl<const WINDOW: usize, const STREAMS: usize, const SEND: usize, M: Memory>
    Link<WINDOW, STREAMS, SEND, M>
{
    /// The board's end; it sends `beacon` from `now` on until a host answers.
    pub fn board(now: Instant, line: LineConfig, beacon: Beacon) -> Self {
        // Beacons are the host's to find.
        let deframer = Deframer::new(true, false, |_| None);
        let mut link = Self::new(Side::Board(beacon), line, deframer, beacon.nonce);
        link.session.fit_line(line);
        link.greeting_at = Some(now);
        link
    }

    /// The host's end, mute until it has read a beacon. `seed` makes its nonces and should differ every time.
    pub fn host(line: LineConfig, seed: u32) -> Self {
        let is_binary = line.coding == Coding::Binary;
        let host = HostEnd {
            handle_said: Self::handle_said,
            read_answer: HelloAck::parse,
            handle_answer: Self::handle_hello_ack,
            handle_reset: Self::handle_reset,
            greet: Self::say_hello,
        };
        Self::new(Side::Host(host), line, Deframer::new(is_binary, is_binary, Said::find), seed)
    }

    fn new(
        side: Side<WINDOW, STREAMS, SEND, M>,
        line: LineConfig,
        deframer: Deframer,
        seed: u32,
    ) -> Self {
        Self {
            side,
            line,
            deframer,
            session: Session::new(matches!(side, Side::Host(_))),
            nonces: Nonces::new(seed),
            is_answering: true,
            is_muted: false,
            greeting_at: None,
            hellos_left: 0,
            beacon_pause: BEACON_SOON,
            beacon: None,
            doubted: None,
            incompatible: None,
            hello_ack_due: None,
            reset_due: None,
            bye_due: None,
            reset_after: Instant::ZERO,
            lane_inbox: lane::Inbox::new(),
            lane_end: None,
            events: Deque::new(),
            stats: Stats::default(),
        }
    }

    fn is_host(&self) -> bool {
        matches!(self.side, Side::Host(_))
    }

    /// Bytes came from the line. What belongs to no frame is given to `console`, byte for byte and in order.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8], console: &mut dyn FnMut(&[u8])) {
        self.stats.bytes_in += bytes.len() as u64;
        let text_before = self.stats.console_bytes;
        for byte in bytes {
            match self.deframer.push(*byte, &mut self.stats, console) {
                None => {}
                Some(Found::Content) => self.handle_content(now),
                Some(Found::Said(said)) => {
                    if let Side::Host(host) = self.side {
                        (host.handle_said)(self, now, said);
                    }
                }
            }
        }
        self.session.handle_text(now, self.stats.console_bytes - text_before);
    }

    /// The time of [`Self::poll_timeout`] has come (or some other; that does no harm).
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.session.is_open() && self.session.handle_timeout(now, &mut self.stats) {
            self.close(now, CloseReason::Silent);
        }
    }

    /// Opens a stream: bytes that come on it are given to the owner, and it can be written to. Opening one that is
    /// open begins it anew. Returns whether there was a slot for it; ids above 31 have none.
    pub fn open(&mut self, stream: u8, priority: Priority) -> bool {
        self.session.open_stream(stream, priority)
    }

    /// Forgets a stream and what waits on it. What still comes on it is counted and dropped.
    pub fn close_stream(&mut self, stream: u8) {
        self.session.close_stream(stream);
    }

    /// Hands over bytes to send and returns how many were taken; none when the stream is not open.
    pub fn write(&mut self, stream: u8, bytes: &[u8]) -> usize {
        self.session.write(stream, bytes)
    }

    /// Bytes that [`Self::write`] would take.
    pub fn room(&self, stream: u8) -> usize {
        self.session.room(stream)
    }

    /// Bytes that wait to be put into a frame.
    pub fn unsent(&self, stream: u8) -> usize {
        self.session.unsent(stream)
    }

    /// Tells the peer, behind what was written, that there is no more.
    pub fn finish(&mut self, stream: u8) {
        self.session.finish(stream);
    }

    /// Drops what waits on the stream and tells the peer to expect no more, or to send no more.
    pub fn reset(&mut self, stream: u8) {
        self.session.reset_stream(stream);
    }

    /// The owner has room for so many more bytes of this stream. One starts with [`INITIAL_CREDIT`] (stream 0 with
    /// [`CONTROL_CREDIT`]).
    pub fn grant(&mut self, stream: u8, bytes: usize) {
        self.session.grant(stream, bytes);
    }

    /// Whether beacons are answered (host). A passive listener says no.
    pub fn set_answering(&mut self, is_answering: bool) {
        self.is_answering = is_answering;
        if !is_answering {
            self.greeting_at = None;
            self.reset_due = None;
        }
    }

    /// Leaves the session and tells the agent, with the next transmission; beacons are not answered any more (host).
    pub fn say_goodbye(&mut self, now: Instant) {
        self.set_answering(false);
        if self.session.is_open() {
            self.bye_due = Some(self.session.tag()).filter(|_| self.session.has(GOODBYE));
            self.close(now, CloseReason::Goodbye);
        }
    }

    /// Asks whether anybody is there, with the next transmission: any frame that comes then is the answer.
    pub fn ping(&mut self) {
        self.session.ping();
    }

    /// How far the DATA frames of this session have come.
    pub fn progress(&self) -> Progress {
        self.session.progress()
    }

    /// Whether the peer waits for an acknowledgement: [`Self::poll_transmit`] will give a frame with it, at the latest
    /// after 10 ms.
    pub fn owes_acknowledgement(&self) -> bool {
        self.session.owes_acknowledgement()
    }

    /// The line has another speed from now on.
    pub fn set_baud(&mut self, baud: u32) {
        self.line.baud = baud;
        self.session.fit_line(self.sending_line());
    }

    /// The board reboots or was switched off: the session is over, and nothing is said before a new beacon (host).
    pub fn mute(&mut self, now: Instant) {
        self.is_muted = true;
        self.beacon = None;
        self.greeting_at = None;
        self.reset_due = None;
        self.bye_due = None;
        if self.session.is_open() {
            self.close(now, CloseReason::Muted);
        }
    }

    /// The owner cannot make sense of the peer's bytes: the session is over.
    pub fn abandon(&mut self, now: Instant) {
        if self.session.is_open() {
            self.close(now, CloseReason::Protocol);
        }
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event<'_>> {
        if self.events.is_empty() {
            if let Some(chunk) = self.session.next_chunk(&mut self.stats) {
                return Some(self.session.event(chunk));
            }
            if self.session.is_broken() {
                self.close(Instant::ZERO, CloseReason::Protocol);
            }
        }
        self.events.pop_front().map(|event| match event {
            Pending::Beacon(beacon) => Event::Beacon(beacon),
            Pending::Opened(peer) => Event::Opened(peer),
            Pending::Closed(reason) => Event::Closed(reason),
            Pending::Incompatible(version) => Event::Incompatible(version),
        })
    }

    /// Writes the next frame (or beacon) into `out`, which holds at least [`LINE_MAX`] bytes, and returns its length.
    /// The caller keeps at most two frames in the queues below, or priorities mean nothing.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        if out.len() < LINE_MAX {
            return None;
        }
        let length = self.next_transmit(now, out)?;
        self.stats.bytes_out += length as u64;
        Some(length)
    }

    /// When [`Self::handle_timeout`] and [`Self::poll_transmit`] must be called at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let session = if self.session.is_open() { self.session.poll_timeout() } else { None };
        [self.greeting_at, session].into_iter().flatten().min()
    }

    /// Whether a frame has begun to arrive and not ended: more bytes are certain to come.
    pub fn is_mid_frame(&self) -> bool {
        self.deframer.is_mid_frame()
    }

    /// Bytes read that are neither shown nor counted yet: of a frame that has begun. At most 1500.
    pub fn held(&self) -> usize {
        self.deframer.held()
    }

    /// Whether a session is open.
    pub fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The smoothed round trip, once one was measured in this session.
    pub fn round_trip(&self) -> Option<Duration> {
        self.session.round_trip()
    }

    fn handle_content(&mut self, now: Instant) {
        let content = self.deframer.content();
        // Its check value is right; beside a lane it also says whether its acknowledgement is too old to tell anything.
        let parsed = match self.session.lane.was_open {
            true => Frame::parse_in(content, &self.session.numbers()),
            false => Frame::checked(content),
        };
        let frame = match parsed {
            Ok(frame) => frame,
            Err(error) => {
                self.stats.unknown += 1;
                if let (Side::Host(host), BadFrame::Version(major)) = (self.side, error) {
                    // Majors count from 0, versions of the link from 1.
                    (host.handle_said)(self, now, Said::LaterBeacon(major + 1));
                }
                return;
            }
        };
        if frame.from_board != self.is_host() {
            self.stats.echoes += 1;
            return;
        }
        self.stats.frames_in += 1;
        match (self.side, frame.kind) {
            (Side::Board(beacon), Kind::Hello) => {
                if let Some(hello) = Hello::parse(frame.body) {
                    self.handle_hello(now, beacon, hello);
                } else {
                    self.stats.unknown += 1;
                }
            }
            (Side::Host(host), Kind::HelloAck) => match (host.read_answer)(frame.body) {
                Some(answer) => (host.handle_answer)(self, now, answer),
                None => self.stats.unknown += 1,
            },
            (_, Kind::Hello | Kind::HelloAck) => self.stats.unknown += 1,
            (_, Kind::Reset) => {
                if self.session.is_open() && frame.tag == self.session.tag() {
                    match self.side {
                        Side::Board(_) => self.close(now, CloseReason::Replaced),
                        Side::Host(host) => (host.handle_reset)(self, now),
                    }
                }
            }
            (Side::Board(_), Kind::Bye) => {
                if self.session.is_open() && frame.tag == self.session.tag() {
                    self.close(now, CloseReason::Goodbye);
                }
            }
            (Side::Host(_), Kind::Bye) => self.stats.unknown += 1,
            (_, Kind::Data | Kind::Ack | Kind::Ping) => {
                if self.session.is_open() && frame.tag == self.session.tag() {
                    self.session.handle_frame(now, &frame, Way::Line, &mut self.stats);
                    self.deframer.set_numbers(self.session.numbers());
                    if self.session.is_lane_stalled() {
                        self.end_lane(LaneEnd::Stalled);
                    }
                    // Behind its own beacon no frame of an agent's old session comes.
                    if self.doubted.take().is_some() {
                        self.stats.stray_beacons += 1;
                    }
                } else {
                    self.stats.stale += 1;
                    // An agent in a session that this host knows nothing of would stay in it until it notices the
                    // silence. A whole frame of its own is as good a sign of it as a beacon.
                    let may_speak =
                        self.is_answering && !self.is_muted && self.greeting_at.is_none();
                    if (!self.is_host() || may_speak) && now >= self.reset_after {
                        self.reset_due = Some(frame.tag);
                    }
                }
            }
        }
    }

    fn opened(&mut self, peer: Peer) {
        self.stats.sessions += 1;
        self.deframer.set_guarded(true);
        self.deframer.set_numbers(self.session.numbers());
        (self.reset_due, self.bye_due) = (None, None);
        self.push_event(Pending::Opened(peer));
    }

    fn close(&mut self, now: Instant, reason: CloseReason) {
        self.close_lane();
        self.session.close();
        self.deframer.set_guarded(false);
        self.deframer.set_numbers(self.session.numbers());
        self.hello_ack_due = None;
        self.doubted = None;
        self.push_event(Pending::Closed(reason));
        if matches!(self.side, Side::Board(_)) {
            (self.greeting_at, self.beacon_pause) = (Some(now), BEACON_SOON);
        }
    }

    fn push_event(&mut self, event: Pending) {
        // Of beacons in a row, as in an old log that somebody prints, the last one is enough.
        if let (Some(Pending::Beacon(last)), Pending::Beacon(beacon)) =
            (self.events.back_mut(), event)
        {
            *last = beacon;
            return;
        }
        if self.events.is_full() {
            self.events.pop_front();
        }
        let _ = self.events.push_back(event);
    }

    fn next_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        if let Some(tag) = self.reset_due.take() {
            self.reset_after = now + RESET_EVERY;
            return Some(self.emit_bare(Kind::Reset, tag, &[], out));
        }
        if let Some(tag) = self.bye_due.take() {
            return Some(self.emit_bare(Kind::Bye, tag, &[], out));
        }
        if let Some((version, nonce)) = self.hello_ack_due.take() {
            if let Side::Board(beacon) = self.side {
                let mut body = [0; handshake::BODY_MAX];
                let answer = HelloAck::new(version, &beacon, nonce, WINDOW as u8);
                let length = answer.emit(&mut body);
                return Some(self.emit_bare(Kind::HelloAck, 0, &body[..length], out));
            }
        }
        if self.greeting_at.is_some_and(|at| now >= at) {
            return self.greet(now, out);
        }
        if !self.session.is_open() {
            return None;
        }
        let mut content = [0; CONTENT_MAX];
        let length = self.session.poll_transmit(now, &mut content, &mut self.stats)?;
        self.stats.frames_out += 1;
        Some(coding::encode(self.sending_line().coding, &content[..length], out))
    }

    /// How this end sends in a session. Towards the board always binary: nobody else writes there.
    fn sending_line(&self) -> LineConfig {
        match self.side {
            Side::Board(_) => self.line,
            Side::Host(_) => LineConfig { coding: Coding::Binary, ..self.line },
        }
    }

    /// A frame outside of a session. From the host it is text-safe: if it is not an agent that listens, such a frame
    /// is no command to a shell or a boot loader. The zero before it ends a binary frame in whose middle another host
    /// may have been stopped: the agent would take what follows for more of it.
    fn emit_bare(&mut self, kind: Kind, tag: u8, body: &[u8], out: &mut [u8]) -> usize {
        let from_board = !self.is_host();
        let frame = Frame { kind, from_board, tag, ack: 0, sack: None, seq: 0, body };
        let mut content = [0; CONTENT_MAX];
        let length = frame.emit(&mut content);
        self.stats.frames_out += 1;
        let content = &content[..length];
        if from_board {
            return coding::encode(self.line.coding, content, out);
        }
        // A bare content is short: in this form it needs far less than there is.
        out[0] = coding::ZERO;
        let mut line = [0; LINE_MAX];
        let length = coding::encode(Coding::TextSafe, content, &mut line).min(LINE_MAX - 1);
        out[1..=length].copy_from_slice(&line[..length]);
        1 + length
    }
}
