//! An open session: what is on its way, the streams, and the timers.
//!
//! A DATA frame carries chunks. A chunk is a head byte, `kind << 6 | last << 5 | stream`, and then:
//!
//! ```text
//! 0 data    [length varint unless last] bytes
//! 1 end     nothing: all bytes of the stream have been sent
//! 2 credit  offset varint: the peer may send up to this byte
//! 3 reset   nothing: the stream is given up
//! ```

use super::arq::{Acked, Arrival, Receiver, Sender};
use super::coding::Coding;
use super::frame::{BODY_MAX, CONTENT_MAX, Frame, Kind, Numbers, wraps_of};
use super::handshake::session_tag;
use super::rtt::RoundTrip;
use super::stats::Stats;
use super::stream::{BULK_FLOOR, End, Priority, Stream};
use super::{Event, LineConfig, PING_AFTER, Progress, SILENT_AFTER, WRAPS};
use crate::time::{Duration, Instant};
use heapless::Vec;

/// Ids are 5 bits.
const STREAM_ID_MAX: u8 = 31;

/// A ping that is sent so long after its time waited for the line, and not for this end's owner.
const PING_LATE: Duration = Duration::from_millis(200);

/// An acknowledgement waits so long for company.
const ACK_DELAY: Duration = Duration::from_millis(10);

/// ... and for so many frames.
const ACK_EVERY_FRAMES: u8 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Session<const WINDOW: usize, const STREAMS: usize, const SEND: usize> {
    is_open: bool,
    is_host: bool,
    is_broken: bool,
    tag: u8,
    /// What the check values of its frames tell.
    key: u32,
    /// Capabilities that both ends have.
    capabilities: u32,
    /// Longest body on this line, and what the damage on it leaves of that.
    body_max: usize,
    body_now: usize,
    sender: Sender<WINDOW>,
    receiver: Receiver<WINDOW>,
    /// Position in the receiver's front body.
    cursor: usize,
    control: Stream<SEND>,
    streams: Vec<Stream<SEND>, STREAMS>,
    round_trip: RoundTrip,
    unacked_frames: u8,
    ack_at: Option<Instant>,
    ping_at: Instant,
    /// The ping behind a frame that was sent again because nothing was heard.
    asks: Asks,
    /// A ping because the owner wants to know.
    is_ping_due: bool,
    /// Time that a byte takes on the line.
    byte_time: Duration,
    /// When something came last, of whatever kind.
    heard_at: Instant,
    silent_at: Instant,
    since_bulk: u8,
    /// Counts the frames filled, so that streams of one class take turns.
    turn: u64,
    /// Bit n: the peer is to be told that stream n is given up, ...
    resets_due: u32,
    /// ... behind so many written bytes of stream 0, which may have opened it.
    resets_behind: u64,
}

impl<const WINDOW: usize, const STREAMS: usize, const SEND: usize> Session<WINDOW, STREAMS, SEND> {
    pub(super) fn new(is_host: bool) -> Self {
        Self {
            is_open: false,
            is_host,
            is_broken: false,
            tag: 0,
            key: 0,
            capabilities: 0,
            body_max: BODY_MAX,
            body_now: BODY_MAX,
            sender: Sender::new(),
            receiver: Receiver::new(),
            cursor: 0,
            control: Stream::new(0, Priority::Control),
            streams: Vec::new(),
            round_trip: RoundTrip::new(Duration::ZERO),
            unacked_frames: 0,
            ack_at: None,
            ping_at: Instant::ZERO,
            asks: Asks::Nothing,
            is_ping_due: false,
            byte_time: Duration::ZERO,
            heard_at: Instant::ZERO,
            silent_at: Instant::ZERO,
            since_bulk: 0,
            turn: 0,
            resets_due: 0,
            resets_behind: 0,
        }
    }

    /// Begins: everything of an earlier session is gone. `line.coding` is how this end sends, `capabilities` are those
    /// that both have.
    pub(super) fn open(
        &mut self,
        now: Instant,
        key: u32,
        window: u8,
        line: LineConfig,
        capabilities: u32,
    ) {
        (self.is_open, self.is_broken) = (true, false);
        (self.tag, self.key) = (session_tag(key), key);
        self.capabilities = capabilities;
        self.sender.reset(window);
        self.receiver.reset();
        self.cursor = 0;
        self.control = Stream::new(0, Priority::Control);
        self.streams.clear();
        self.fit_line(line);
        (self.unacked_frames, self.ack_at, self.since_bulk) = (0, None, 0);
        (self.turn, self.resets_due, self.resets_behind) = (0, 0, 0);
        self.ping_at = now + PING_AFTER;
        (self.asks, self.is_ping_due) = (Asks::Nothing, false);
        self.heard_at = now;
        self.silent_at = now + SILENT_AFTER;
    }

    /// The line has this speed from now on: frame sizes and timers follow from it.
    pub(super) fn fit_line(&mut self, line: LineConfig) {
        self.body_max = body_max(line.baud, line.coding);
        self.body_now = self.body_max;
        self.byte_time = Duration::from_micros(10_000_000 / u64::from(line.baud.max(1)));
        self.round_trip = RoundTrip::new(frame_time(line.baud).times(3) + ADAPTER_LATENCY);
    }

    pub(super) fn close(&mut self) {
        self.is_open = false;
        self.is_broken = false;
        self.receiver.reset();
        self.streams.clear();
        self.control = Stream::new(0, Priority::Control);
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether the peer broke the protocol.
    pub(super) fn is_broken(&self) -> bool {
        self.is_open && self.is_broken
    }

    pub(super) fn tag(&self) -> u8 {
        self.tag
    }

    /// Where the numbers stand, for reading the peer's frames.
    pub(super) fn numbers(&self) -> Numbers {
        let tag = if self.is_open && self.has(WRAPS) { self.tag } else { 0 };
        Numbers { tag, key: self.key, next: self.receiver.next(), base: self.sender.base() }
    }

    /// How far what was sent has come.
    pub(super) fn progress(&self) -> Progress {
        Progress { sent: self.sender.next(), acknowledged: self.sender.base() }
    }

    /// Whether the peer waits for an acknowledgement.
    pub(super) fn owes_acknowledgement(&self) -> bool {
        self.is_open && self.ack_at.is_some()
    }

    /// Whether both ends have this capability.
    pub(super) fn has(&self, capability: u32) -> bool {
        self.capabilities & capability != 0
    }

    /// Time that a byte takes on the line.
    pub(super) fn byte_time(&self) -> Duration {
        self.byte_time
    }

    /// Asks whether anybody is there.
    pub(super) fn ping(&mut self) {
        self.is_ping_due = true;
    }

    /// Bytes came, of which `text` were text of others. What others took of the line is no silence of the peer's: by
    /// so much longer it is waited for, as far as that much time has really passed.
    pub(super) fn handle_text(&mut self, now: Instant, text: u64) {
        let passed = now.since(self.heard_at);
        self.heard_at = now;
        if text > 0 {
            let taken = self.byte_time.times(text);
            let excused = if taken > passed { passed } else { taken };
            self.silent_at = self.silent_at + excused;
        }
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip.smoothed()
    }

    /// A frame of this session came.
    pub(super) fn handle_frame(&mut self, now: Instant, frame: &Frame<'_>, stats: &mut Stats) {
        self.silent_at = now + SILENT_AFTER;
        // The acknowledgement of a ping may be as old as it likes: nothing in it tells.
        let Acked { frames, lost, sample, is_impossible } =
            if self.has(WRAPS) && frame.kind == Kind::Ping {
                Acked::default()
            } else {
                self.sender.handle_ack(now, frame.ack, frame.sack)
            };
        // Else both would be heard and neither get on: every question of one is answered with the same number.
        self.is_broken |= is_impossible;
        self.fit_body(frames, lost);
        if frames > 0 {
            self.round_trip.progressed();
            self.asks = Asks::Nothing;
        } else if self.asks == Asks::Asked && frame.kind == Kind::Ack {
            // The ping came through and the frame before it did not.
            self.ask_again();
        }
        if let Some(sample) = sample {
            self.round_trip.measured(sample);
        }
        match frame.kind {
            Kind::Ping => self.acknowledge_now(),
            Kind::Data => match self.receiver.handle_frame(frame.seq, frame.body) {
                Arrival::InOrder if self.receiver.sack().is_none() => {
                    self.unacked_frames = self.unacked_frames.saturating_add(1);
                    if self.unacked_frames >= ACK_EVERY_FRAMES {
                        self.acknowledge_now();
                    } else {
                        self.ack_at = Some(self.ack_at.unwrap_or(now + ACK_DELAY));
                    }
                }
                Arrival::InOrder | Arrival::Ahead => self.acknowledge_now(),
                Arrival::Duplicate => {
                    stats.duplicates += 1;
                    self.acknowledge_now();
                }
            },
            _ => {}
        }
    }

    /// Time has passed; `true` when the peer has been silent for too long.
    pub(super) fn handle_timeout(&mut self, now: Instant, stats: &mut Stats) -> bool {
        if self.retransmit_at().is_some_and(|at| now >= at) {
            stats.probes += 1;
            self.round_trip.expired();
            self.ask_again();
        }
        // A ping that is due and not sent found the line taken, or this end asleep: the peer had no chance to answer.
        let has_asked = self.is_host || now < self.ping_at;
        now >= self.silent_at && has_asked
    }

    /// The next deadline of any kind.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let ping_at = (!self.is_host).then_some(self.ping_at);
        [Some(self.silent_at), self.retransmit_at(), self.ack_at, ping_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// An acknowledgement goes out with the next transmission, whenever the line takes one.
    pub(super) fn acknowledge_now(&mut self) {
        self.ack_at = Some(Instant::ZERO);
    }

    /// Writes the next frame's content.
    pub(super) fn poll_transmit(
        &mut self,
        now: Instant,
        out: &mut [u8; CONTENT_MAX],
        stats: &mut Stats,
    ) -> Option<usize> {
        let (from_board, tag) = (!self.is_host, self.tag);
        let (next, sack) = (self.receiver.next(), self.receiver.sack());
        let (has_wraps, key) = (self.has(WRAPS), self.key);
        let mut emit = |kind: Kind, seq: u32, body: &[u8]| {
            let wraps = if has_wraps { wraps_of(kind, key, seq, next) } else { 0 };
            let (seq, ack) = (seq as u8, next as u8);
            Frame { kind, from_board, tag, ack, sack, seq, body }.emit_wrapped(wraps, out)
        };
        let mut has_acked = true;
        let length = if let Some((seq, body)) = self.sender.next_lost(now) {
            stats.retransmits += 1;
            emit(Kind::Data, seq, body)
        } else if self.asks == Asks::Due || self.is_ping_due {
            if self.asks == Asks::Due {
                self.asks = Asks::Asked;
            }
            self.is_ping_due = false;
            has_acked = !has_wraps;
            emit(Kind::Ping, 0, &[])
        } else if self.sender.has_room() && self.fill() {
            let (seq, body) = self.sender.commit(now);
            emit(Kind::Data, seq, body)
        } else if self.ack_at.is_some_and(|at| now >= at) {
            emit(Kind::Ack, 0, &[])
        } else if !self.is_host && now >= self.ping_at {
            has_acked = !has_wraps;
            emit(Kind::Ping, 0, &[])
        } else {
            return None;
        };
        if has_acked {
            self.ack_at = None;
            self.unacked_frames = 0;
        }
        if now >= self.ping_at + PING_LATE {
            // The line had no room for a ping all the time since.
            self.silent_at = self.silent_at.max(now + PING_AFTER);
        }
        self.ping_at = now + PING_AFTER;
        Some(length)
    }

    /// The next bytes or the end of a stream: what [`Self::event`] tells the owner.
    pub(super) fn next_chunk(&mut self, stats: &mut Stats) -> Option<Chunk> {
        while !self.is_broken {
            let body = self.receiver.front()?;
            if self.cursor >= body.len() {
                self.receiver.pop();
                self.cursor = 0;
                continue;
            }
            let Some((chunk, next)) = Chunk::parse(body, self.cursor) else {
                self.is_broken = true;
                return None;
            };
            self.cursor = next;
            if self.handle_chunk(chunk, stats) {
                return Some(chunk);
            }
        }
        None
    }

    /// The event of a chunk just taken.
    pub(super) fn event(&self, chunk: Chunk) -> Event<'_> {
        let stream = chunk.stream;
        match chunk.kind {
            ChunkKind::Data { start, end } => {
                let body = self.receiver.front().unwrap_or_default();
                Event::Data { stream, bytes: body.get(start..end).unwrap_or_default() }
            }
            ChunkKind::End => Event::Finished { stream },
            ChunkKind::Credit(_) | ChunkKind::Reset => Event::Reset { stream },
        }
    }

    pub(super) fn open_stream(&mut self, id: u8, priority: Priority) -> bool {
        if !self.is_open || id == 0 || id > STREAM_ID_MAX {
            return false;
        }
        self.close_stream(id);
        if self.streams.is_full() {
            // What has been sent to its end needs no slot any more: repetitions come from the frames.
            if let Some(index) = self.streams.iter().position(|stream| stream.end == End::Sent) {
                self.streams.remove(index);
            }
        }
        self.streams.push(Stream::new(id, priority)).is_ok()
    }

    pub(super) fn close_stream(&mut self, id: u8) {
        self.streams.retain(|stream| stream.id != id);
    }

    pub(super) fn write(&mut self, id: u8, bytes: &[u8]) -> usize {
        let behind = self.control.written();
        if !self.is_open {
            return 0;
        }
        self.stream_mut(id).map_or(0, |stream| {
            stream.behind.get_or_insert(behind);
            stream.write(bytes)
        })
    }

    pub(super) fn room(&self, id: u8) -> usize {
        if self.is_open {
            self.stream(id).map_or(0, |stream| SEND - stream.waiting.len())
        } else {
            0
        }
    }

    pub(super) fn unsent(&self, id: u8) -> usize {
        self.stream(id).map_or(0, |stream| stream.waiting.len())
    }

    pub(super) fn finish(&mut self, id: u8) {
        let behind = self.control.written();
        if let Some(stream) = self.stream_mut(id) {
            stream.behind.get_or_insert(behind);
            if stream.end == End::No {
                stream.end = End::Asked;
            }
        }
    }

    pub(super) fn reset_stream(&mut self, id: u8) {
        let written = self.control.written();
        if let Some(stream) = self.stream_mut(id) {
            stream.waiting.clear();
            stream.end = End::Sent;
            self.resets_due |= 1 << id;
            self.resets_behind = written;
        }
    }

    pub(super) fn grant(&mut self, id: u8, bytes: usize) {
        let behind = self.control.written();
        if let Some(stream) = self.stream_mut(id) {
            stream.behind.get_or_insert(behind);
            stream.grant(bytes);
        }
    }

    /// Does what the link itself must do for a chunk, and returns whether the owner must know.
    fn handle_chunk(&mut self, chunk: Chunk, stats: &mut Stats) -> bool {
        let Some(stream) = self.stream_mut(chunk.stream) else {
            if let ChunkKind::Data { start, end } = chunk.kind {
                stats.unclaimed_bytes += (end - start) as u64;
            }
            return false;
        };
        match chunk.kind {
            ChunkKind::Credit(offset) => {
                stream.handle_credit(offset);
                return false;
            }
            ChunkKind::Data { start, end } => {
                if !stream.handle_data(end - start) {
                    self.is_broken = true;
                    return false;
                }
            }
            ChunkKind::Reset => {
                stream.waiting.clear();
                stream.end = End::Sent;
                stream.is_ended = true;
            }
            ChunkKind::End => stream.is_ended = true,
        }
        true
    }

    /// Fills the next body with chunks; `false` when there is nothing to send.
    fn fill(&mut self) -> bool {
        let body = self.sender.vacant();
        let limit = self.body_now;
        let control_sent = self.control.sent();
        for stream in core::iter::once(&mut self.control).chain(&mut self.streams) {
            if stream.id != 0 && stream.behind.is_some_and(|written| control_sent < written) {
                continue;
            }
            if let Some(offset) = stream.credit_due() {
                if body.len() + 1 + VARINT_MAX <= limit {
                    push_head(body, CREDIT, false, stream.id);
                    push_varint(body, offset);
                    stream.credit_told();
                }
            }
        }
        while self.resets_due != 0 && control_sent >= self.resets_behind && body.len() < limit {
            push_head(body, RESET, false, self.resets_due.trailing_zeros() as u8);
            self.resets_due &= self.resets_due - 1;
        }
        let bulk_first = self.since_bulk + 1 >= BULK_FLOOR;
        let order: &[Priority] = if bulk_first {
            &[Priority::Bulk, Priority::Control, Priority::Interactive]
        } else {
            &[Priority::Control, Priority::Interactive, Priority::Bulk]
        };
        self.turn += 1;
        let mut has_bulk = false;
        for priority in order {
            if *priority == Priority::Control {
                push_stream(body, limit, &mut self.control);
            }
            let control_sent = self.control.sent();
            // Streams of one class take turns: who had none for longest is first. Everyone is asked once.
            let mut asked = 0u32;
            loop {
                let next = self
                    .streams
                    .iter_mut()
                    .filter(|stream| stream.priority == *priority && asked >> stream.id & 1 == 0)
                    .min_by_key(|stream| stream.turn);
                let Some(stream) = next else { break };
                asked |= 1 << stream.id;
                let is_behind = stream.behind.is_some_and(|written| control_sent < written);
                if !is_behind && push_stream(body, limit, stream) {
                    stream.turn = self.turn;
                    has_bulk |= *priority == Priority::Bulk;
                }
            }
        }
        self.since_bulk = if has_bulk { 0 } else { (self.since_bulk + 1).min(BULK_FLOOR) };
        !body.is_empty()
    }

    /// The damage on a line decides how long the best frames are: with h bytes of overhead and one byte in n damaged,
    /// about √(h·n). When a loss takes 1/8 and an arrival gives h/8 bytes, the length settles there by itself.
    fn fit_body(&mut self, arrived: u32, lost: u32) {
        for _ in 0..lost {
            self.body_now -= self.body_now / 8;
        }
        let longer = self.body_now + arrived as usize * FRAME_OVERHEAD / 8;
        self.body_now = longer.clamp(BODY_MIN.min(self.body_max), self.body_max);
    }

    /// Sends the oldest frame again and a ping behind it. The ping is short, so it comes through where long frames do
    /// not, keeps the session alive, and its answer tells at once whether the frame has to be sent once more.
    fn ask_again(&mut self) {
        self.sender.expire();
        self.fit_body(0, 1);
        self.asks = Asks::Due;
    }

    fn retransmit_at(&self) -> Option<Instant> {
        if self.sender.has_lost() {
            return None;
        }
        self.sender.last_sent_at().map(|sent_at| sent_at + self.round_trip.timeout())
    }

    fn stream(&self, id: u8) -> Option<&Stream<SEND>> {
        if id == 0 {
            Some(&self.control)
        } else {
            self.streams.iter().find(|stream| stream.id == id)
        }
    }

    fn stream_mut(&mut self, id: u8) -> Option<&mut Stream<SEND>> {
        if id == 0 {
            Some(&mut self.control)
        } else {
            self.streams.iter_mut().find(|stream| stream.id == id)
        }
    }
}

/// Moves what a stream may send into the body; `false` when nothing did.
fn push_stream<const SEND: usize>(
    body: &mut Vec<u8, BODY_MAX>,
    limit: usize,
    stream: &mut Stream<SEND>,
) -> bool {
    let before = body.len();
    let sendable = stream.sendable();
    let room = limit.saturating_sub(body.len());
    if sendable > 0 && room > DATA_HEAD_MAX {
        // A chunk that fills the frame needs no length.
        let is_last = sendable >= room - 1;
        let count = if is_last { room - 1 } else { sendable.min(room - DATA_HEAD_MAX) };
        push_head(body, DATA, is_last, stream.id);
        if !is_last {
            push_varint(body, count as u64);
        }
        let start = body.len();
        if body.resize_default(start + count).is_ok() {
            stream.take(&mut body[start..]);
        }
    }
    let is_done = stream.waiting.is_empty() && stream.end == End::Asked;
    if is_done && body.len() < limit {
        push_head(body, END, false, stream.id);
        stream.end = End::Sent;
    }
    body.len() > before
}

fn push_head(body: &mut Vec<u8, BODY_MAX>, kind: u8, is_last: bool, stream: u8) {
    let _ = body.push(kind << 6 | u8::from(is_last) << 5 | stream);
}

fn push_varint(body: &mut Vec<u8, BODY_MAX>, mut number: u64) {
    while number >= 0x80 {
        let _ = body.push(number as u8 | 0x80);
        number >>= 7;
    }
    let _ = body.push(number as u8);
}

/// Longest body that this end sends on a line: long frames carry more, short ones make what is urgent wait less and are
/// hit less often. Text-safe frames of 448 bytes reach 0.854 of the line (the limit of the coding is 0.875) and take
/// 45 ms at 115200; towards the board the longest reach 0.979 and take 57 ms.
fn body_max(baud: u32, coding: Coding) -> usize {
    match coding {
        Coding::TextSafe if baud <= 19_200 => 128,
        Coding::Binary if baud <= 19_200 => 256,
        Coding::TextSafe if baud <= 230_400 => 448,
        Coding::TextSafe | Coding::Binary => BODY_MAX,
    }
}

/// How far the question is whether a frame came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Nothing,
    Due,
    Asked,
}

/// Shortest body that damage leaves: still more payload than overhead.
const BODY_MIN: usize = 64;

/// What a frame costs besides its body: header, check value, head of a chunk, marks; rounded up, for an eighth of it
/// is used.
const FRAME_OVERHEAD: usize = 16;

/// Time of the longest frame that either end sends on the line: 10 bits a byte.
fn frame_time(baud: u32) -> Duration {
    let text_safe = body_max(baud, Coding::TextSafe) * 8 / 7;
    let bytes = text_safe.max(body_max(baud, Coding::Binary)) + 2 * FRAME_OVERHEAD;
    Duration::from_micros(bytes as u64 * 10 * 1_000_000 / u64::from(baud.max(1)))
}

/// What a USB adapter may add before it hands over what it has (FTDI's default latency timer is 16 ms).
const ADAPTER_LATENCY: Duration = Duration::from_millis(40);

const DATA: u8 = 0;
const END: u8 = 1;
const CREDIT: u8 = 2;
const RESET: u8 = 3;

/// Bytes of the longest varint of a u64.
const VARINT_MAX: usize = 10;

/// Head and length of a data chunk that is not the last one, at most.
const DATA_HEAD_MAX: usize = 3;

/// One chunk of a body, by position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    stream: u8,
    kind: ChunkKind,
}

#[derive(Clone, Copy, Debug)]
enum ChunkKind {
    Data { start: usize, end: usize },
    End,
    Credit(u64),
    Reset,
}

impl Chunk {
    /// The chunk at `at` and where the next one begins, or `None` when it is cut short.
    fn parse(body: &[u8], at: usize) -> Option<(Self, usize)> {
        let head = *body.get(at)?;
        let stream = head & STREAM_ID_MAX;
        let at = at + 1;
        let (kind, next) = match head >> 6 {
            DATA => {
                let is_last = head & 1 << 5 != 0;
                let (length, start) =
                    if is_last { ((body.len() - at) as u64, at) } else { varint(body, at)? };
                let end = start.checked_add(usize::try_from(length).ok()?)?;
                if end > body.len() {
                    return None;
                }
                (ChunkKind::Data { start, end }, end)
            }
            END => (ChunkKind::End, at),
            CREDIT => {
                let (offset, next) = varint(body, at)?;
                (ChunkKind::Credit(offset), next)
            }
            _ => (ChunkKind::Reset, at),
        };
        Some((Self { stream, kind }, next))
    }
}

fn varint(body: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *body.get(at)?;
        at += 1;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some((number, at));
        }
    }
    None
}
