//! An open session: what is on its way, and the timers. Its streams are in `streams`.

mod streams;

use super::arq::{Acked, Arrival, Receiver, Sender};
use super::frame::{BODY_MAX, CONTENT_MAX, Frame, Kind, Numbers, wraps_of};
use super::handshake::session_tag;
use super::lane::{Lane, Way};
use super::memory::Memory;
use super::rtt::RoundTrip;
use super::sizes::{ADAPTER_LATENCY, BODY_MIN, FRAME_OVERHEAD, body_max, frame_time};
use super::stats::Stats;
use super::stream::{Priority, Stream};
use super::{LineConfig, PING_AFTER, Progress, SILENT_AFTER, WRAPS};
use crate::time::{Duration, Instant};
use heapless::Vec;

/// A ping that is sent so long after its time waited for the line, and not for this end's owner.
const PING_LATE: Duration = Duration::from_millis(200);

/// A frame is sent again at once so often when a ping comes through and it does not; then after the timeout.
const ASKS_IN_ROW_MAX: u8 = 8;

/// An acknowledgement waits so long for company.
const ACK_DELAY: Duration = Duration::from_millis(10);

/// ... and for so many frames.
const ACK_EVERY_FRAMES: u8 = 2;

/// See the module.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Session<const WINDOW: usize, const STREAMS: usize, const SEND: usize, M: Memory> {
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
    /// Position in the receiver's front body.
    cursor: usize,
    round_trip: RoundTrip,
    unacked_frames: u8,
    ack_at: Option<Instant>,
    ping_at: Instant,
    /// The ping behind a frame that was sent again because nothing was heard.
    asks: Asks,
    /// How often it was answered in a row with "not yet".
    asks_in_row: u8,
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
    /// The second way, for bulk.
    pub(super) lane: Lane,
    is_lane_stalled: bool,
    /// Bit n: the peer is to be told that stream n is given up, ...
    resets_due: u32,
    /// ... behind so many written bytes of stream 0, which may have opened it.
    resets_behind: u64,
    control: Stream<SEND, M>,
    receiver: Receiver<WINDOW, M>,
    sender: Sender<WINDOW, M>,
    streams: Vec<Stream<SEND, M>, STREAMS>,
}

impl<const WINDOW: usize, const STREAMS: usize, const SEND: usize, M: Memory>
    Session<WINDOW, STREAMS, SEND, M>
{
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
            asks_in_row: 0,
            is_ping_due: false,
            byte_time: Duration::ZERO,
            heard_at: Instant::ZERO,
            silent_at: Instant::ZERO,
            since_bulk: 0,
            turn: 0,
            lane: Lane::default(),
            is_lane_stalled: false,
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
        self.lane = Lane::default();
        self.ping_at = now + PING_AFTER;
        (self.asks, self.asks_in_row, self.is_ping_due) = (Asks::Nothing, 0, false);
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
        self.lane = Lane::default();
        self.sender.release();
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
        Numbers {
            tag,
            key: self.key,
            next: self.receiver.next(),
            base: self.sender.base(),
            has_lane: self.lane.was_open,
        }
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

    /// The side lane is gone: what was on it goes on the line again.
    pub(super) fn close_lane(&mut self) {
        self.sender.lose_lane();
        self.lane.end();
        self.is_lane_stalled = false;
    }

    /// Whether the side lane leads nowhere, though the peer lives.
    pub(super) fn is_lane_stalled(&self) -> bool {
        self.is_lane_stalled
    }

    /// Whether the owner has read everything that came.
    pub(super) fn is_drained(&self) -> bool {
        self.receiver.is_drained(self.cursor)
    }

    /// A frame of this session came. Only the line shows that the peer is there.
    #[inline(never)] // Two copies would cost the agent more than a call does.
    pub(super) fn handle_frame(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        way: Way,
        stats: &mut Stats,
    ) {
        if way == Way::Line {
            self.silent_at = now + SILENT_AFTER;
        }
        // The acknowledgement of a ping may be as old as it likes: nothing in it tells.
        let Acked { frames, lane_frames, lost, sample, is_impossible } =
            if self.has(WRAPS) && frame.kind == Kind::Ping {
                Acked::default()
            } else {
                self.sender.handle_ack(now, frame.ack, frame.sack)
            };
        // Else both would be heard and neither get on: every question of one is answered with the same number.
        self.is_broken |= is_impossible;
        self.fit_body(frames, lost);
        if lane_frames > 0 {
            self.lane.progressed(now, self.sender.waits_for_lane());
        }
        match way {
            Way::Line => self.is_lane_stalled |= self.lane.heard_on_line(now),
            Way::Lane => self.lane.is_heard = true,
        }
        if frames > 0 {
            self.round_trip.progressed();
            (self.asks, self.asks_in_row) = (Asks::Nothing, 0);
        } else if self.asks == Asks::Asked && frame.kind == Kind::Ack && way == Way::Line {
            // The ping came through and the frame before it did not: it was lost, or the peer has no room for it. Which
            // of the two it is nothing tells, so after some tries in a row the timer has its turn.
            self.asks = Asks::Nothing;
            if self.asks_in_row < ASKS_IN_ROW_MAX {
                self.asks_in_row += 1;
                self.ask_again();
            }
        }
        if let Some(sample) = sample {
            self.round_trip.measured(sample);
        }
        match frame.kind {
            Kind::Ping => self.acknowledge_now(),
            Kind::Data if way == Way::Lane => {
                // What comes together is acknowledged together: the owner reads all of it before it asks for a frame.
                self.lane.owes = true;
                if self.receiver.handle_frame(frame.seq, frame.body) == Arrival::Duplicate {
                    stats.duplicates += 1;
                }
            }
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
            self.asks_in_row = 0;
            self.round_trip.expired();
            self.ask_again();
        }
        self.is_ping_due |= self.lane.handle_timeout(now);
        // A ping that is due and not sent found the line taken, or this end asleep: the peer had no chance to answer.
        let has_asked = self.is_host || now < self.ping_at;
        now >= self.silent_at && has_asked
    }

    /// The next deadline of any kind.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let ping_at = (!self.is_host).then_some(self.ping_at);
        [Some(self.silent_at), self.retransmit_at(), self.ack_at, ping_at, self.lane.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// An acknowledgement goes out with the next transmission, whenever the line takes one.
    pub(super) fn acknowledge_now(&mut self) {
        self.ack_at = Some(Instant::ZERO);
    }

    /// Writes the content of the next frame for the side lane.
    pub(super) fn poll_lane_transmit(
        &mut self,
        now: Instant,
        out: &mut [u8; CONTENT_MAX],
    ) -> Option<usize> {
        if !self.lane.carries_bulk() {
            return None;
        }
        let head = self.head();
        let length = if self.sender.has_room() && self.fill(Way::Lane) {
            let (seq, body) = self.sender.commit(now, Way::Lane);
            self.lane.sent(now);
            head.emit(Kind::Data, seq, body, out)
        } else if self.lane.owes {
            head.emit(Kind::Ack, 0, &[], out)
        } else {
            return None;
        };
        self.lane.owes = false;
        Some(length)
    }

    /// Writes the next frame's content.
    pub(super) fn poll_transmit(
        &mut self,
        now: Instant,
        out: &mut [u8; CONTENT_MAX],
        stats: &mut Stats,
    ) -> Option<usize> {
        let (head, has_wraps) = (self.head(), self.has(WRAPS));
        let mut has_acked = true;
        let length = if let Some((seq, way, body)) = self.sender.next_lost(now) {
            match way {
                Way::Line => stats.retransmits += 1,
                Way::Lane => stats.lane_repeats += 1,
            }
            head.emit(Kind::Data, seq, body, out)
        } else if self.asks == Asks::Due || self.is_ping_due {
            if self.asks == Asks::Due {
                self.asks = Asks::Asked;
            }
            self.is_ping_due = false;
            has_acked = !has_wraps;
            head.emit(Kind::Ping, 0, &[], out)
        } else if self.sender.has_room() && self.fill(Way::Line) {
            let (seq, body) = self.sender.commit(now, Way::Line);
            head.emit(Kind::Data, seq, body, out)
        } else if self.ack_at.is_some_and(|at| now >= at) {
            head.emit(Kind::Ack, 0, &[], out)
        } else if !self.is_host && now >= self.ping_at {
            has_acked = !has_wraps;
            head.emit(Kind::Ping, 0, &[], out)
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

    /// What the frames that are sent now have in common.
    fn head(&self) -> Head {
        Head {
            from_board: !self.is_host,
            tag: self.tag,
            key: self.has(WRAPS).then_some(self.key),
            next: self.receiver.next(),
            sack: self.receiver.sack(),
        }
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
}

/// All of a frame but its kind, number and body.
struct Head {
    from_board: bool,
    tag: u8,
    /// What the check values tell, if they do.
    key: Option<u32>,
    next: u32,
    sack: Option<u32>,
}

impl Head {
    // Else it would be in the agent once for each kind.
    #[inline(never)]
    fn emit(&self, kind: Kind, seq: u32, body: &[u8], out: &mut [u8; CONTENT_MAX]) -> usize {
        let Self { from_board, tag, key, next, sack } = *self;
        let wraps = key.map_or(0, |key| wraps_of(kind, key, seq, next));
        let (seq, ack) = (seq as u8, next as u8);
        Frame { kind, from_board, tag, ack, sack, seq, body }.emit_wrapped(wraps, out)
    }
}

/// How far the question is whether a frame came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Nothing,
    Due,
    Asked,
}
