//! Credits, priorities and ends of streams.

use crate::pair::{Pair, Stream};
use agent_core::link::{BULK_FLOOR, INITIAL_CREDIT, Priority};
use serial_sim::Rng;

const SECOND: u64 = 1_000_000;

#[test]
fn a_slow_reader_stalls_only_its_own_stream() {
    let mut pair = Pair::opened(1);
    let bytes = Rng::new(1).bytes(20_000);
    let sending = || Stream::sending(Priority::Bulk, bytes.clone());
    let slow = Stream { is_slow: true, ..Stream::receiving(Priority::Bulk) };
    pair.stream(1, sending(), slow.clone());
    pair.stream(2, slow, sending());
    pair.stream(3, sending(), sending());
    pair.finish_streams(10 * SECOND);
    assert!(pair.board.streams[&3].is_finished && pair.host.streams[&3].is_finished);
    assert_eq!(pair.board.streams[&1].incoming.len(), INITIAL_CREDIT);
    assert_eq!(pair.host.streams[&2].incoming.len(), INITIAL_CREDIT);
    // Then it reads.
    pair.board.streams.get_mut(&1).unwrap().is_slow = false;
    pair.host.streams.get_mut(&2).unwrap().is_slow = false;
    pair.board.link.grant(1, INITIAL_CREDIT);
    pair.host.link.grant(2, INITIAL_CREDIT);
    pair.pump();
    pair.finish_streams(10 * SECOND);
    pair.assert_exact();
}

#[test]
fn bulk_has_its_floor_while_interactive_floods() {
    let mut pair = Pair::opened(2);
    let sending =
        |priority| Stream { extra_credit: 60_000, ..Stream::sending(priority, vec![1; 60_000]) };
    let (flood, bulk) = (|| sending(Priority::Interactive), || sending(Priority::Bulk));
    pair.stream(1, flood(), flood());
    pair.stream(2, bulk(), bulk());
    pair.settle(4 * SECOND);
    for streams in [&pair.host.streams, &pair.board.streams] {
        let (flood, bulk) = (streams[&1].incoming.len(), streams[&2].incoming.len());
        let share = bulk as f64 / (flood + bulk) as f64;
        let floor = 1.0 / f64::from(BULK_FLOOR);
        assert!((0.8 * floor..2.0 * floor).contains(&share), "{share}");
    }
}

#[test]
fn streams_of_one_class_share_alike() {
    for count in 2..=5 {
        let mut pair = Pair::opened(3);
        for id in 1..=count {
            let sending = || Stream {
                extra_credit: 30_000,
                ..Stream::sending(Priority::Bulk, vec![id; 30_000])
            };
            pair.stream(id, sending(), sending());
        }
        pair.settle(2 * SECOND);
        for streams in [&pair.host.streams, &pair.board.streams] {
            let got: Vec<usize> = streams.values().map(|stream| stream.incoming.len()).collect();
            let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
            assert!(most - least <= 6_000, "{got:?}");
        }
    }
}

#[test]
fn control_is_prompt() {
    let mut pair = Pair::opened(4);
    for id in 1..=4 {
        let priority = if id % 2 == 0 { Priority::Bulk } else { Priority::Interactive };
        let flood = || Stream::sending(priority, vec![id; 100_000]);
        pair.stream(id, flood(), flood());
    }
    pair.stream(0, Stream::receiving(Priority::Control), Stream::receiving(Priority::Control));
    pair.settle(SECOND);
    let mut worst = [0; 2];
    for round in 1..=20 {
        let asked_at = pair.now;
        for streams in [&mut pair.host.streams, &mut pair.board.streams] {
            streams.get_mut(&0).unwrap().outgoing.extend([0xC0; 100]);
        }
        pair.pump();
        let limit = pair.now + SECOND;
        let all = round * 100;
        assert!(pair.run_until(limit, |pair| {
            pair.host.streams[&0].incoming.len() == all
                && pair.board.streams[&0].incoming.len() == all
        }));
        worst[0] = worst[0].max(pair.board.streams[&0].last_at - asked_at);
        worst[1] = worst[1].max(pair.host.streams[&0].last_at - asked_at);
        pair.settle(37_000);
    }
    // Two frames in the queue, perhaps one that bulk has begun, and its own: 57 ms each down, 45 ms up.
    assert!(worst[0] < 240_000 && worst[1] < 190_000, "{worst:?} µs");
}

#[test]
fn a_stream_never_overtakes_the_message_that_begins_it() {
    let mut pair = Pair::opened(5);
    for id in 1..=8u8 {
        // What a dispatcher does: opens, writes the request, grants.
        let request = vec![id; 900];
        assert!(pair.host.link.open(id, Priority::Bulk));
        assert_eq!(pair.host.link.write(0, &request), 900);
        pair.host.link.grant(id, 50_000);
        pair.host.streams.insert(id, Stream { is_slow: true, ..Stream::receiving(Priority::Bulk) });
        // The board opens the stream only when it has read the request.
        pair.board.streams.entry(0).or_default();
        pair.pump();
        let limit = pair.now + SECOND;
        let all = usize::from(id) * 900;
        assert!(pair.run_until(limit, |pair| pair.board.streams[&0].incoming.len() >= all));
        let answer = Stream::sending(Priority::Bulk, vec![id; 20_000]);
        assert!(pair.board.link.open(id, Priority::Bulk));
        pair.board.streams.insert(id, answer);
        pair.pump();
        let limit = pair.now + 10 * SECOND;
        let is_done = pair.run_until(limit, |pair| pair.host.streams[&id].is_finished);
        assert!(is_done, "{}", pair.describe());
        assert_eq!(pair.host.streams[&id].incoming.len(), 20_000);
    }
    assert_eq!(pair.board.link.stats().unclaimed_bytes, 0);
}

#[test]
fn a_reset_is_told_even_when_the_stream_is_forgotten_at_once() {
    let mut pair = Pair::opened(6);
    let endless = || Stream { outgoing: vec![1; 100_000], ..Stream::default() };
    pair.stream(1, Stream::default(), endless());
    pair.settle(SECOND);
    pair.host.link.reset(1);
    pair.host.link.close_stream(1);
    pair.host.streams.remove(&1);
    pair.pump();
    pair.settle(SECOND);
    assert!(pair.board.streams[&1].is_reset);
    assert!(pair.host.link.stats().unclaimed_bytes < 10_000);
}

#[test]
fn no_credit_is_sent_for_a_stream_that_has_ended() {
    let mut pair = Pair::opened(7);
    pair.stream(
        1,
        Stream::receiving(Priority::Bulk),
        Stream::sending(Priority::Bulk, vec![1; 300]),
    );
    pair.finish_streams(SECOND);
    pair.settle(100_000);
    let said = pair.host.said;
    pair.host.link.grant(1, 100_000);
    pair.pump();
    pair.settle(100_000);
    assert_eq!(pair.host.said, said);
}
