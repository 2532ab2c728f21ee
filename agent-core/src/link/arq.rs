//! Selective repeat: frames that are on their way, and frames that came ahead of a gap.
//!
//! The line is first in, first out. So when a frame is acknowledged, every frame that was sent before it and is not
//! acknowledged has been lost, and is sent again at once; no count of duplicates, no wait. Only the loss of the last
//! frame needs a timer.

use super::frame::near;
use super::lane::Way;
use super::memory::{Body, Memory};
use crate::time::{Duration, Instant};

/// The sending half: at most `WINDOW` (a power of two, at most 32) frames unacknowledged.
#[derive(Debug)]
pub(super) struct Sender<const WINDOW: usize, M: Memory> {
    frames: [Sent<M>; WINDOW],
    /// Oldest sequence number not acknowledged, in full.
    base: u32,
    /// Next sequence number to use, in full.
    next: u32,
    /// Counts transmissions, so that their order is known.
    order: u64,
    /// Frames that the peer can hold.
    window: u8,
}

#[derive(Debug)]
struct Sent<M: Memory> {
    body: M::Body,
    state: State,
    sent_at: Instant,
    order: u64,
    is_first: bool,
    /// Which way it was sent last.
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Sent,
    Lost,
    Arrived,
}

impl<M: Memory> Sent<M> {
    /// Whether it is on its way there.
    fn is_on(&self, way: Way) -> bool {
        self.state == State::Sent && self.way == way
    }
}

/// What an acknowledgement told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Acked {
    /// Frames newly acknowledged that were sent on the line.
    pub(super) frames: u32,
    /// ... and on the side lane.
    pub(super) lane_frames: u32,
    /// Frames found lost by it.
    pub(super) lost: u32,
    /// Round trip of the last of them, if it was sent only once.
    pub(super) sample: Option<Duration>,
    /// It acknowledges what was never sent: the two ends do not count the same frames.
    pub(super) is_impossible: bool,
}

impl<const WINDOW: usize, M: Memory> Sender<WINDOW, M> {
    pub(super) fn new() -> Self {
        const { assert!(WINDOW.is_power_of_two() && WINDOW <= 32) };
        Self {
            frames: core::array::from_fn(|_| Sent {
                body: M::Body::default(),
                state: State::Free,
                sent_at: Instant::ZERO,
                order: 0,
                is_first: true,
                way: Way::Line,
            }),
            base: 0,
            next: 0,
            order: 0,
            window: WINDOW as u8,
        }
    }

    /// Begins anew with a peer that can hold `window` frames.
    pub(super) fn reset(&mut self, window: u8) {
        for frame in &mut self.frames {
            frame.state = State::Free;
        }
        (self.base, self.next, self.order) = (0, 0, 0);
        self.window = window.clamp(1, WINDOW as u8);
    }

    /// The session is over: what is on its way is not sent again.
    pub(super) fn release(&mut self) {
        self.frames.iter_mut().for_each(|frame| frame.body.clear());
    }

    /// Whether another frame may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight() < u32::from(self.window)
    }

    /// The body buffer of the next new frame, empty, to be filled and then sent with [`Self::commit`]. Only when
    /// there is room.
    pub(super) fn vacant(&mut self) -> &mut M::Body {
        let frame = &mut self.frames[index::<WINDOW>(self.next)];
        frame.body.clear();
        &mut frame.body
    }

    /// What was filled in goes out now.
    pub(super) fn commit(&mut self, now: Instant, way: Way) -> (u32, &[u8]) {
        let seq = self.next;
        self.next = self.next.wrapping_add(1);
        let index = index::<WINDOW>(seq);
        self.frames[index].is_first = true;
        self.mark_sent(index, now, way);
        (seq, self.frames[index].body.as_slice())
    }

    /// The oldest lost frame, which goes out again now, on the line; and which way it was lost on.
    pub(super) fn next_lost(&mut self, now: Instant) -> Option<(u32, Way, &[u8])> {
        let seq = self.seqs().find(|seq| self.at(*seq).state == State::Lost)?;
        let index = index::<WINDOW>(seq);
        let way = self.frames[index].way;
        self.frames[index].is_first = false;
        self.mark_sent(index, now, Way::Line);
        Some((seq, way, self.frames[index].body.as_slice()))
    }

    /// The side lane is gone, and with it what was on it.
    pub(super) fn lose_lane(&mut self) {
        for frame in &mut self.frames {
            if frame.is_on(Way::Lane) {
                frame.state = State::Lost;
            }
        }
    }

    /// Whether a frame on the side lane is not acknowledged.
    pub(super) fn waits_for_lane(&self) -> bool {
        self.frames.iter().any(|frame| frame.is_on(Way::Lane))
    }

    /// Whether a frame waits to be sent again.
    pub(super) fn has_lost(&self) -> bool {
        self.seqs().any(|seq| self.at(seq).state == State::Lost)
    }

    /// Takes an acknowledgement.
    pub(super) fn handle_ack(&mut self, now: Instant, ack: u8, sack: Option<u32>) -> Acked {
        let mut acked = Acked::default();
        let ack = near(self.base, ack);
        let ahead = ack.wrapping_sub(self.base);
        if ahead > self.in_flight() {
            // What a line repeats is behind, by no more than it held.
            acked.is_impossible = ahead < 128;
            return acked;
        }
        // Each way keeps its own order, and only the line's round trip is of use.
        let mut last_order = None;
        let mut arrived = |frame: &mut Sent<M>| {
            if frame.state == State::Free || frame.state == State::Arrived {
                return;
            }
            if frame.way == Way::Lane {
                acked.lane_frames += 1;
                frame.state = State::Arrived;
                frame.body.clear();
                return;
            }
            acked.frames += 1;
            if last_order.is_none_or(|order| frame.order > order) {
                last_order = Some(frame.order);
                acked.sample = frame.is_first.then(|| now.since(frame.sent_at));
            }
            frame.state = State::Arrived;
            frame.body.clear();
        };
        while self.base != ack {
            let frame = &mut self.frames[index::<WINDOW>(self.base)];
            arrived(frame);
            frame.state = State::Free;
            self.base = self.base.wrapping_add(1);
        }
        let behind = self.next.wrapping_sub(ack);
        for bit in 0..32u32 {
            if sack.is_some_and(|sack| sack >> bit & 1 == 1) && bit + 1 < behind {
                let seq = ack.wrapping_add(1 + bit);
                arrived(&mut self.frames[index::<WINDOW>(seq)]);
            }
        }
        if let Some(order) = last_order {
            for frame in &mut self.frames {
                if frame.is_on(Way::Line) && frame.order < order {
                    frame.state = State::Lost;
                    acked.lost += 1;
                }
            }
        }
        acked
    }

    /// Nothing was heard for too long: the oldest frame counts as lost. Its acknowledgement tells about the others.
    pub(super) fn expire(&mut self) {
        let oldest = self.seqs().find(|seq| self.at(*seq).is_on(Way::Line));
        if let Some(seq) = oldest {
            self.frames[index::<WINDOW>(seq)].state = State::Lost;
        }
    }

    /// Sequence number of the next new frame, in full: how many there were.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Oldest sequence number not acknowledged, in full.
    pub(super) fn base(&self) -> u32 {
        self.base
    }

    /// When the frame sent last on the line went out, if one waits.
    pub(super) fn last_sent_at(&self) -> Option<Instant> {
        self.seqs()
            .map(|seq| self.at(seq))
            .filter(|frame| frame.is_on(Way::Line))
            .map(|f| f.sent_at)
            .max()
    }

    fn mark_sent(&mut self, index: usize, now: Instant, way: Way) {
        self.order += 1;
        let frame = &mut self.frames[index];
        (frame.state, frame.sent_at, frame.order) = (State::Sent, now, self.order);
        frame.way = way;
    }

    fn in_flight(&self) -> u32 {
        self.next.wrapping_sub(self.base)
    }

    fn seqs(&self) -> impl Iterator<Item = u32> + use<WINDOW, M> {
        let base = self.base;
        (0..self.in_flight()).map(move |distance| base.wrapping_add(distance))
    }

    fn at(&self, seq: u32) -> &Sent<M> {
        &self.frames[index::<WINDOW>(seq)]
    }
}

/// The receiving half: holds up to `WINDOW` frames, those ahead of a gap and those not yet read by the owner.
#[derive(Debug)]
pub(super) struct Receiver<const WINDOW: usize, M: Memory> {
    bodies: [M::Body; WINDOW],
    /// Bit n: `next + n` has arrived.
    present: u32,
    /// Next sequence number expected, in full.
    next: u32,
    /// Next one that the owner reads.
    read: u32,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It was the next one.
    InOrder,
    /// One is missing before it.
    Ahead,
    /// It had arrived before, or lies outside of the window.
    Duplicate,
}

impl<const WINDOW: usize, M: Memory> Receiver<WINDOW, M> {
    pub(super) fn new() -> Self {
        const { assert!(WINDOW.is_power_of_two() && WINDOW <= 32) };
        Self { bodies: core::array::from_fn(|_| M::Body::default()), present: 0, next: 0, read: 0 }
    }

    pub(super) fn reset(&mut self) {
        self.bodies.iter_mut().for_each(Body::clear);
        (self.present, self.next, self.read) = (0, 0, 0);
    }

    /// Keeps a frame's body.
    pub(super) fn handle_frame(&mut self, seq: u8, body: &[u8]) -> Arrival {
        let distance = seq.wrapping_sub(self.next as u8);
        let unread = self.next.wrapping_sub(self.read);
        if u32::from(distance) + unread >= WINDOW as u32 || self.present >> distance & 1 == 1 {
            return Arrival::Duplicate;
        }
        let slot = &mut self.bodies[index::<WINDOW>(u32::from(seq))];
        slot.clear();
        let Some(bytes) = slot.extend_zeroed(body.len()) else { return Arrival::Duplicate };
        bytes.copy_from_slice(body);
        self.present |= 1 << distance;
        let in_order = self.present.trailing_ones();
        self.next = self.next.wrapping_add(in_order);
        self.present = self.present.checked_shr(in_order).unwrap_or(0);
        if in_order > 0 { Arrival::InOrder } else { Arrival::Ahead }
    }

    /// Next sequence number expected, in full.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// What has arrived behind the gap, if there is one.
    pub(super) fn sack(&self) -> Option<u32> {
        (self.present != 0).then_some(self.present >> 1)
    }

    /// Whether the owner has read everything that arrived in order, of the front body `cursor` bytes.
    pub(super) fn is_drained(&self, cursor: usize) -> bool {
        let unread = self.next.wrapping_sub(self.read);
        unread == 0 || unread == 1 && self.front().is_none_or(|body| cursor >= body.len())
    }

    /// The body that the owner reads next.
    pub(super) fn front(&self) -> Option<&[u8]> {
        (self.read != self.next).then(|| self.bodies[index::<WINDOW>(self.read)].as_slice())
    }

    /// The owner has read it.
    pub(super) fn pop(&mut self) {
        if self.read != self.next {
            self.bodies[index::<WINDOW>(self.read)].clear();
            self.read = self.read.wrapping_add(1);
        }
    }
}

/// Where a frame is kept: `WINDOW` divides 256, so the wire's 8 bits say as much as the full number.
fn index<const WINDOW: usize>(seq: u32) -> usize {
    seq as usize % WINDOW
}

#[cfg(test)]
mod tests {
    use super::super::memory::Inline;
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn send(sender: &mut Sender<8, Inline>, now: Instant) -> u32 {
        assert!(sender.has_room());
        sender.vacant().extend_zeroed(1).unwrap();
        sender.commit(now, Way::Line).0
    }

    #[test]
    fn the_first_gap_is_a_loss() {
        let mut sender = Sender::<8, Inline>::new();
        for ms in 0..4 {
            send(&mut sender, at(ms));
        }
        // 0 arrived, 1 did not, 2 did.
        let acked = sender.handle_ack(at(10), 1, Some(0b1));
        assert_eq!((acked.frames, acked.lost), (2, 1));
        assert_eq!(acked.sample, Some(Duration::from_millis(8)));
        assert_eq!(sender.next_lost(at(11)).unwrap().0, 1);
        assert!(sender.next_lost(at(11)).is_none());
        // The repeated 1 and the old 3 arrive.
        let acked = sender.handle_ack(at(20), 4, None);
        assert_eq!((acked.frames, acked.lost, acked.sample), (2, 0, None));
        assert!(sender.last_sent_at().is_none());
    }

    #[test]
    fn a_lost_repetition_is_noticed_by_what_was_sent_after_it() {
        let mut sender = Sender::<8, Inline>::new();
        send(&mut sender, at(0));
        send(&mut sender, at(1));
        sender.handle_ack(at(5), 0, Some(0b1));
        assert_eq!(sender.next_lost(at(6)).unwrap().0, 0);
        send(&mut sender, at(7));
        let acked = sender.handle_ack(at(9), 0, Some(0b11));
        assert_eq!((acked.frames, acked.lost), (1, 1));
        assert_eq!(sender.next_lost(at(10)).unwrap().0, 0);
    }

    #[test]
    fn acknowledgements_of_nothing_are_ignored() {
        let mut sender = Sender::<8, Inline>::new();
        send(&mut sender, at(0));
        for (ack, is_impossible) in [(2, true), (100, true), (200, false), (255, false)] {
            let acked = Acked { is_impossible, ..Acked::default() };
            assert_eq!(sender.handle_ack(at(1), ack, Some(u32::MAX)), acked);
        }
        assert_eq!(sender.handle_ack(at(1), 0, Some(u32::MAX)), Acked::default());
    }

    #[test]
    fn frames_are_read_in_order_whatever_order_they_came_in() {
        let mut receiver = Receiver::<8, Inline>::new();
        assert_eq!(receiver.handle_frame(1, b"1"), Arrival::Ahead);
        assert_eq!(receiver.sack(), Some(0b1));
        assert_eq!(receiver.handle_frame(3, b"3"), Arrival::Ahead);
        assert_eq!((receiver.next(), receiver.sack()), (0, Some(0b101)));
        assert_eq!(receiver.handle_frame(1, b"1"), Arrival::Duplicate);
        assert_eq!(receiver.front(), None);
        assert_eq!(receiver.handle_frame(0, b"0"), Arrival::InOrder);
        assert_eq!((receiver.next(), receiver.sack()), (2, Some(0b1)));
        for body in [b"0", b"1"] {
            assert_eq!(receiver.front(), Some(&body[..]));
            receiver.pop();
        }
        assert_eq!(receiver.front(), None);
        assert_eq!(receiver.handle_frame(0, b"0"), Arrival::Duplicate);
    }

    #[test]
    fn what_the_owner_has_not_read_is_never_overwritten() {
        let mut receiver = Receiver::<8, Inline>::new();
        for seq in 0..8 {
            assert_eq!(receiver.handle_frame(seq, &[seq]), Arrival::InOrder);
        }
        assert_eq!(receiver.handle_frame(8, b"8"), Arrival::Duplicate);
        receiver.pop();
        assert_eq!(receiver.handle_frame(8, b"8"), Arrival::InOrder);
    }
}
