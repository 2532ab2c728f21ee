//! The side lane in virtual time: a pair of byte queues beside the lines, which can be cut, stopped and spoilt at any byte.

use crate::pair::{Pair, Stream, Told};
use crate::sweep::{for_each_seed, random_baud, random_coding, random_faults};
use agent_core::link::{LANE_FRAME_MAX, LaneEnd, Link, Priority};
use agent_core::time::Instant;
use serial_sim::{Options, Rng};
use std::collections::VecDeque;

/// A connection over a network.
#[derive(Debug, Default)]
pub(crate) struct Net {
    down: Pipe,
    up: Pipe,
    latency_us: u64,
    /// Bytes carried so far, both ways; and after how many the connection breaks.
    pub(crate) carried: usize,
    cut_after: Option<usize>,
}

#[derive(Debug, Default)]
struct Pipe {
    /// With the time of arrival; nothing is the end of the connection.
    flying: VecDeque<(u64, Option<Vec<u8>>)>,
    /// Takes everything and brings nothing.
    is_stopped: bool,
    is_open: bool,
}

impl Net {
    pub(crate) fn next_arrival(&self, is_host_dead: bool, is_board_dead: bool) -> Option<u64> {
        let up = self.up.next_arrival().filter(|_| !is_host_dead);
        let down = self.down.next_arrival().filter(|_| !is_board_dead);
        [up, down].into_iter().flatten().min()
    }
}

impl Pipe {
    fn next_arrival(&self) -> Option<u64> {
        self.flying.front().filter(|_| !self.is_stopped).map(|(at, _)| *at)
    }

    fn receive(&mut self, now: u64) -> Option<Option<Vec<u8>>> {
        self.next_arrival().filter(|at| *at <= now)?;
        self.flying.pop_front().map(|(_, what)| what)
    }
}

impl Pair {
    /// Both ends have a connection now.
    fn open_lane(&mut self, latency_us: u64, cut_after: Option<usize>) {
        let pipe = || Pipe { is_open: true, ..Pipe::default() };
        self.net = Net { down: pipe(), up: pipe(), latency_us, carried: 0, cut_after };
        assert!(self.host.link.open_lane(true) && self.board.link.open_lane(false));
        self.pump();
    }

    /// Carries what is on its way, as the two shells would.
    pub(crate) fn move_lane(&mut self) {
        loop {
            let mut is_busy = send(self.now, &mut self.host.link, &mut self.net, true);
            is_busy |= send(self.now, &mut self.board.link, &mut self.net, false);
            let now = self.now;
            let came = |pipe: &mut Pipe, is_dead: bool| match is_dead {
                true => None,
                false => pipe.receive(now),
            };
            if let Some(what) = came(&mut self.net.down, self.board.is_dead) {
                is_busy |= take(self.now, &mut self.board.link, what);
                self.board.pump(self.now, &mut self.up);
            }
            if let Some(what) = came(&mut self.net.up, self.host.is_dead) {
                is_busy |= take(self.now, &mut self.host.link, what);
                self.host.pump(self.now, &mut self.down);
            }
            if !is_busy {
                return;
            }
        }
    }
}

fn take<const WINDOW: usize>(
    now: u64,
    link: &mut Link<WINDOW, 16, 4096>,
    what: Option<Vec<u8>>,
) -> bool {
    // What is left of an earlier connection is nobody's.
    if link.has_lane() {
        assert!(link.is_drained());
        match what {
            Some(bytes) => link.handle_lane_input(Instant::from_micros(now), &bytes),
            None => link.close_lane(),
        }
    }
    true
}

/// Puts what a link has for the lane on its way; whether there was anything.
fn send<const WINDOW: usize>(
    now: u64,
    link: &mut Link<WINDOW, 16, 4096>,
    net: &mut Net,
    is_down: bool,
) -> bool {
    let mut is_busy = false;
    let mut out = [0; LANE_FRAME_MAX];
    while let Some(length) = link.poll_lane_transmit(Instant::from_micros(now), &mut out) {
        is_busy = true;
        let left = net.cut_after.map_or(length, |cut| cut.saturating_sub(net.carried));
        net.carried += length.min(left);
        let pipe = if is_down { &mut net.down } else { &mut net.up };
        pipe.flying.push_back((now + net.latency_us, Some(out[..length.min(left)].to_vec())));
        if left < length {
            // A reset: this end knows at once, the other one when it comes.
            pipe.flying.push_back((now + net.latency_us, None));
            link.close_lane();
        }
    }
    let pipe = if is_down { &mut net.down } else { &mut net.up };
    if pipe.is_open && !link.has_lane() {
        pipe.is_open = false;
        pipe.flying.push_back((now + net.latency_us, None));
    }
    is_busy
}

fn bulk(rng: &mut Rng, bytes: usize) -> Stream {
    Stream { extra_credit: 32 * 1024, ..Stream::sending(Priority::Bulk, rng.bytes(bytes)) }
}

fn typed(rng: &mut Rng, bytes: usize) -> Stream {
    Stream { extra_credit: 32 * 1024, ..Stream::sending(Priority::Interactive, rng.bytes(bytes)) }
}

fn assert_one_session(pair: &Pair) {
    assert_eq!(pair.host.events, [Told::Beacon, Told::Opened], "host: {}", pair.describe());
    assert_eq!(pair.board.events, [Told::Opened], "board: {}", pair.describe());
}

/// A slow line and a lane that is a thousand times as fast: bulk goes on the one, all else on the other, and what the line
/// carries meanwhile is turns of numbers behind and yet read.
#[test]
fn bulk_goes_on_the_lane_and_nothing_else_does() {
    let mut rng = Rng::new(1);
    let mut pair = Pair::opened(1);
    pair.open_lane(200, None);
    pair.settle(1_000);
    let (said, heard) = (pair.host.said, pair.board.said);
    pair.stream(1, bulk(&mut rng, 1_000_000), bulk(&mut rng, 700_000));
    pair.stream(2, typed(&mut rng, 3_000), typed(&mut rng, 2_000));
    pair.finish_streams(3_000_000);
    pair.assert_exact();
    assert_one_session(&pair);
    assert!(pair.net.carried > 1_700_000, "{}", pair.net.carried);
    // Interactive bytes, their credits and acknowledgements, text-safe from the board.
    assert!(pair.host.said - said < 4_000, "{}", pair.describe());
    assert!(pair.board.said - heard < 3_500, "{}", pair.describe());
    for stats in [pair.host.link.stats(), pair.board.link.stats()] {
        let troubles =
            [stats.damaged_frames, stats.retransmits, stats.duplicates, stats.lane_faults];
        assert_eq!(troubles, [0; 4], "{}", pair.describe());
    }
}

/// Whatever the line does, wherever the lane is cut: what was on it comes by the line, once and in order.
#[test]
fn cut_anywhere() {
    for_each_seed("cut_anywhere", |seed| {
        let mut rng = Rng::new(seed);
        let (baud, coding) = (random_baud(&mut rng), random_coding(&mut rng));
        let clean = || Options::clean(baud);
        let mut pair = Pair::new(rng.next_u64(), coding, clean(), clean());
        pair.open();
        if rng.one_in(2) {
            let faults = random_faults(&mut rng, coding, baud);
            let down = Options { text: serial_sim::Text::None, ..faults.clone() };
            pair.down.set_options(pair.now, down);
            pair.up.set_options(pair.now, faults);
        }
        for id in 1..=3 {
            let count = |rng: &mut Rng| rng.below(30_000) as usize;
            let (down, up) = (count(&mut rng), count(&mut rng));
            pair.stream(id, bulk(&mut rng, down), bulk(&mut rng, up));
        }
        pair.stream(4, typed(&mut rng, 300), typed(&mut rng, 300));
        for _ in 0..3 {
            let cut_after = rng.below(25_000) as usize;
            pair.open_lane(rng.below(20_000), Some(cut_after));
            pair.settle(rng.below(200_000));
        }
        let total = 200_000u64;
        pair.finish_streams(60_000_000 + total * 10 * 1_000_000 / u64::from(baud) * 20);
        pair.assert_exact();
        assert_one_session(&pair);
    });
}

/// Every byte of the first frames is tried as the last one that comes through.
#[test]
fn cut_at_every_byte() {
    for cut_after in 0..2_200 {
        let mut rng = Rng::new(cut_after as u64);
        let mut pair = Pair::opened(7);
        pair.open_lane(300, Some(cut_after));
        pair.stream(1, bulk(&mut rng, 3_000), bulk(&mut rng, 2_000));
        pair.finish_streams(10_000_000);
        pair.assert_exact();
        assert_one_session(&pair);
        assert!(!pair.host.link.has_lane() && !pair.board.link.has_lane());
    }
}

/// The network goes on taking bytes and brings none, in one direction or in both: seconds later all is on the line.
#[test]
fn a_lane_that_leads_nowhere_is_given_up() {
    for (is_down, is_up) in [(true, true), (true, false), (false, true)] {
        let mut rng = Rng::new(3);
        let mut pair = Pair::opened(3);
        pair.open_lane(1_000, None);
        pair.stream(1, bulk(&mut rng, 400_000), bulk(&mut rng, 400_000));
        pair.settle(20_000);
        (pair.net.down.is_stopped, pair.net.up.is_stopped) = (is_down, is_up);
        let stopped_at = pair.now;
        let is_over = pair.run_until(stopped_at + 6_000_000, |pair| !pair.host.link.has_lane());
        assert!(is_over, "{}", pair.describe());
        // 1.5 s; twice that where one end has to find out that the other has given it up.
        assert!(pair.now - stopped_at < 3_300_000, "it took {} µs", pair.now - stopped_at);
        assert_eq!(pair.host.link.lane_end(), Some(LaneEnd::Stalled));
        pair.finish_streams(120_000_000);
        pair.assert_exact();
        assert_one_session(&pair);
        assert!(pair.host.link.stats().lane_faults == 1, "{}", pair.describe());
    }
}

/// A board that waits for its disk says nothing on the line either, so its lane is not blamed.
#[test]
fn a_board_that_is_busy_keeps_its_lane() {
    let mut rng = Rng::new(4);
    let mut pair = Pair::opened(4);
    pair.open_lane(500, None);
    pair.stream(1, bulk(&mut rng, 500_000), Stream::receiving(Priority::Bulk));
    pair.settle(30_000);
    for _ in 0..3 {
        pair.board.is_dead = true;
        pair.settle(5_000_000);
        assert!(pair.host.link.has_lane(), "{}", pair.describe());
        pair.board.is_dead = false;
        pair.pump();
        pair.settle(3_000);
    }
    pair.finish_streams(5_000_000);
    pair.assert_exact();
    assert_one_session(&pair);
    assert!(pair.host.link.has_lane() && pair.board.link.has_lane());
}

/// What is no frame of the session ends the lane at its first byte that cannot be one, and harms nothing else.
#[test]
fn rubbish_on_the_lane() {
    for_each_seed("rubbish_on_the_lane", |seed| {
        let mut rng = Rng::new(seed);
        let mut pair = Pair::opened(seed);
        pair.open_lane(500, None);
        pair.stream(1, bulk(&mut rng, 40_000), bulk(&mut rng, 40_000));
        pair.settle(rng.below(4_000));
        let (now, is_host) = (Instant::from_micros(pair.now), rng.one_in(2));
        let length = rng.between(700, 70_000) as usize;
        let mut rubbish = rng.bytes(length);
        if rng.one_in(2) {
            // A length that is possible.
            rubbish[..2].copy_from_slice(&(rng.between(7, 655) as u16).to_le_bytes());
        }
        let end = if is_host {
            pair.host.link.handle_lane_input(now, &rubbish);
            (pair.host.link.has_lane(), pair.host.link.lane_end())
        } else {
            pair.board.link.handle_lane_input(now, &rubbish);
            (pair.board.link.has_lane(), pair.board.link.lane_end())
        };
        assert_eq!(end, (false, Some(LaneEnd::Damaged)), "{}", pair.describe());
        pair.pump();
        pair.finish_streams(30_000_000);
        pair.assert_exact();
        assert_one_session(&pair);
    });
}
