//! The side lane: what goes there, and what becomes of it wherever it is cut, stopped or spoilt.

use crate::pair::{Pair, Stream, Told};
use crate::sweep::{for_each_seed, random_baud, random_coding, random_faults};
use agent_core::link::{LaneEnd, Priority};
use agent_core::time::Instant;
use serial_sim::{Options, Rng};

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
        pair.net.stop(is_down, is_up);
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
