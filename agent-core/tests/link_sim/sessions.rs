//! How sessions begin, end and never mix.

use crate::pair::{Pair, Stream, Told};
use agent_core::link::{CloseReason, Coding, Priority, SILENT_AFTER};
use agent_core::time::Instant;
use serial_sim::{Options, Rng};

const SECOND: u64 = 1_000_000;

#[test]
fn a_beacon_opens_a_session() {
    let mut pair = Pair::clean(1);
    pair.open();
    assert!(pair.now < SECOND, "{}", pair.describe());
    assert_eq!(pair.host.events, [Told::Beacon, Told::Opened]);
    assert_eq!(pair.board.events, [Told::Opened]);
    assert!(pair.host.console.starts_with(b"\r\n@pumice1 boot="), "a beacon is text, too");
}

#[test]
fn binary_both_ways() {
    let clean = Options::clean(115_200);
    let mut pair = Pair::new(2, Coding::Binary, clean.clone(), clean);
    pair.open();
    let bytes = Rng::new(2).bytes(5_000);
    let stream = Stream::sending(Priority::Bulk, bytes);
    pair.stream(3, stream.clone(), stream);
    pair.finish_streams(5 * SECOND);
    pair.assert_exact();
}

#[test]
fn the_host_says_nothing_before_a_beacon() {
    let mut pair = Pair::clean(3);
    pair.board.is_dead = true;
    pair.up.clear();
    let mut rng = Rng::new(3);
    for _ in 0..100 {
        let garbage = rng.bytes(200);
        pair.up.send(pair.now, &garbage);
        pair.up.send(pair.now, b"\r\nU-Boot 2023.01\r\nHit any key to stop autoboot:  0 \r\n");
        pair.settle(100_000);
    }
    assert_eq!(pair.host.said, 0);
}

#[test]
fn the_host_says_nothing_once_it_is_mute() {
    let mut pair = Pair::opened(4);
    pair.stream(2, Stream::receiving(Priority::Bulk), long(4));
    pair.settle(50_000);
    pair.host.link.mute(Instant::from_micros(pair.now));
    let said = pair.host.said;
    // The board still sends; then it asks whether anybody is there.
    pair.settle(3 * SECOND);
    assert_eq!(pair.host.said, said, "{}", pair.describe());
    assert_eq!(pair.host.events.last(), Some(&Told::Closed(CloseReason::Muted)));
    // It was no reboot after all: the board's beacons begin again when it notices the silence.
    pair.board.streams.clear();
    pair.host.streams.clear();
    pair.open();
}

#[test]
fn a_restarted_board_gets_a_session_of_its_own() {
    for seed in 0..20 {
        let mut pair = Pair::opened(100 + seed);
        pair.stream(5, old(20_000), old(20_000));
        pair.settle(seed * 13_700);
        pair.restart_board();
        assert_a_new_session_without_old_bytes(&mut pair, 5 * SECOND);
        assert!(matches!(
            pair.host.events[..],
            [
                Told::Beacon,
                Told::Opened,
                Told::Closed(CloseReason::Replaced),
                Told::Beacon,
                Told::Opened
            ]
        ));
    }
}

#[test]
fn a_reset_board_gets_a_session_of_its_own() {
    for seed in 0..20 {
        let mut pair = Pair::opened(200 + seed);
        pair.stream(5, old(20_000), old(20_000));
        pair.settle(seed * 13_700);
        pair.board.is_dead = true;
        pair.up.clear();
        pair.up.send(pair.now, b"\r\nU-Boot SPL 2023.01\r\n");
        pair.settle(seed * 700_000);
        pair.restart_board();
        assert_a_new_session_without_old_bytes(&mut pair, 5 * SECOND);
    }
}

#[test]
fn a_restarted_host_gets_a_session_of_its_own() {
    for seed in 0..20 {
        let mut pair = Pair::opened(300 + seed);
        pair.stream(5, old(20_000), old(if seed % 2 == 0 { 20_000 } else { 0 }));
        pair.settle(seed * 13_700);
        pair.restart_host();
        // The board's next frame or ping gives it away.
        assert_a_new_session_without_old_bytes(&mut pair, 4 * SECOND);
        assert_eq!(pair.host.events, [Told::Beacon, Told::Opened]);
    }
}

#[test]
fn silence_closes_both_ends() {
    for (down_cut, up_cut) in [(true, true), (true, false), (false, true)] {
        let mut pair = Pair::opened(6);
        pair.settle(10 * SECOND);
        assert!(pair.host.link.is_open() && pair.board.link.is_open(), "pings keep it alive");
        let clean = Options::clean(115_200);
        pair.down.set_options(pair.now, Options { is_cut: down_cut, ..clean.clone() });
        pair.up.set_options(pair.now, Options { is_cut: up_cut, ..clean.clone() });
        pair.settle(SILENT_AFTER.as_micros() + 2 * SECOND);
        let silent = Told::Closed(CloseReason::Silent);
        assert_eq!(
            pair.host.events.iter().find(|told| matches!(told, Told::Closed(_))),
            Some(&silent)
        );
        assert!(pair.board.events.contains(&silent), "{}", pair.describe());
        pair.down.set_options(pair.now, clean.clone());
        pair.up.set_options(pair.now, clean);
        pair.settle(5 * SECOND);
        assert!(pair.host.link.is_open() && pair.board.link.is_open(), "{}", pair.describe());
    }
}

#[test]
fn a_lost_hello_and_a_lost_answer_are_repeated() {
    for (lost, session_by) in [("hello", 500_000), ("answer", 500_000)] {
        let mut pair = Pair::clean(7);
        pair.run_until(SECOND, |pair| pair.host.events.contains(&Told::Beacon));
        if lost == "answer" {
            pair.run_until(SECOND, |pair| pair.board.link.is_open());
            pair.up.clear();
        } else {
            pair.down.clear();
        }
        let is_open = pair
            .run_until(session_by, |pair| pair.host.link.is_open() && pair.board.link.is_open());
        assert!(is_open, "{lost} lost: {}", pair.describe());
        assert_eq!(pair.board.events, [Told::Opened]);
        let stream = Stream::sending(Priority::Interactive, vec![1; 100]);
        pair.stream(1, stream.clone(), stream);
        pair.finish_streams(SECOND);
        pair.assert_exact();
    }
}

#[test]
fn hellos_end_and_the_next_beacon_begins_anew() {
    let mut pair = Pair::clean(8);
    pair.run_until(SECOND, |pair| pair.host.events.contains(&Told::Beacon));
    pair.board.is_dead = true;
    pair.settle(10 * SECOND);
    let said = pair.host.said;
    assert!((100..1000).contains(&said), "{said}");
    pair.settle(10 * SECOND);
    assert_eq!(pair.host.said, said);
    pair.restart_board();
    pair.open();
}

#[test]
fn the_old_session_s_frames_are_not_those_of_the_new_one() {
    let mut pair = Pair::opened(9);
    pair.stream(5, Stream::receiving(Priority::Bulk), long(9));
    pair.settle(200_000);
    // The host gives up by itself, while the board's frames are on their way.
    pair.restart_host();
    pair.settle(100_000);
    let stats = pair.host.link.stats();
    assert!(stats.stale + stats.damaged_frames > 0, "{}", pair.describe());
    pair.board.streams.clear();
    pair.open();
    assert!(pair.host.streams.is_empty());
}

#[test]
fn an_echo_is_counted_and_harmless() {
    let mut pair = Pair::opened(10);
    let stream = Stream::sending(Priority::Interactive, Rng::new(10).bytes(2_000));
    pair.stream(1, stream.clone(), stream);
    // What goes down comes up, as from a tty that nobody has set to raw.
    let hello = pair.board.heard.clone();
    let from = hello.iter().position(|byte| *byte == 0x1E);
    let to = hello.iter().position(|byte| *byte == 0x1F);
    let (Some(from), Some(to)) = (from, to) else { panic!("no hello in {hello:02x?}") };
    for _ in 0..50 {
        pair.up.insert(pair.now, &hello[from..=to]);
        pair.settle(20_000);
    }
    pair.finish_streams(10 * SECOND);
    pair.assert_exact();
    assert!(pair.host.link.stats().echoes > 30, "{}", pair.describe());
    assert_eq!(pair.host.events, [Told::Beacon, Told::Opened]);
}

#[test]
fn a_session_opens_behind_any_garbage() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let clean = Options::clean(115_200);
        let coding = if seed % 2 == 0 { Coding::TextSafe } else { Coding::Binary };
        let mut pair = Pair::new(seed, coding, clean.clone(), clean);
        pair.board.is_dead = true;
        pair.up.clear();
        for _ in 0..rng.below(20) {
            let garbage = rng.bytes(300);
            pair.up.send(pair.now, &garbage);
            let garbage = rng.bytes(300);
            pair.down.send(pair.now, &garbage);
            pair.settle(30_000);
        }
        pair.restart_board();
        let garbage = rng.bytes(600);
        pair.down.send(pair.now, &garbage);
        pair.board.handle(pair.now, &garbage);
        pair.open();
        let stream = Stream::sending(Priority::Bulk, rng.bytes(2_000));
        pair.stream(1, stream.clone(), stream);
        pair.finish_streams(5 * SECOND);
        pair.assert_exact();
    }
}

#[test]
fn a_session_opens_on_a_hostile_line() {
    for seed in 0..30 {
        let hostile = Options::hostile(115_200, 1_000);
        let mut pair = Pair::new(400 + seed, Coding::TextSafe, hostile.clone(), hostile);
        pair.open();
    }
}

#[test]
fn an_idle_line_is_quiet() {
    let mut pair = Pair::opened(11);
    let before = (pair.host.said, pair.board.said);
    pair.settle(60 * SECOND);
    let said = (pair.host.said - before.0, pair.board.said - before.1);
    // A ping every 2 s and its answer.
    assert!(said.0 <= 31 * 16 && said.1 <= 31 * 16, "{said:?}");
}

#[test]
fn a_peer_that_breaks_the_protocol_is_left() {
    let mut pair = Pair::opened(12);
    // The board grants itself more than the host does: it opens the stream anew and forgets what it has sent.
    let endless = Stream { outgoing: vec![0; 50_000], ..Stream::default() };
    pair.stream(1, Stream { is_slow: true, ..Stream::default() }, endless);
    pair.settle(SECOND);
    pair.board.link.open(1, Priority::Interactive);
    pair.pump();
    pair.settle(SECOND);
    assert!(pair.host.events.contains(&Told::Closed(CloseReason::Protocol)), "{}", pair.describe());
    pair.host.streams.clear();
    pair.board.streams.clear();
    pair.open();
}

/// A new session comes within a bounded time and carries its own bytes, and none of the old ones.
fn assert_a_new_session_without_old_bytes(pair: &mut Pair, within_us: u64) {
    let sessions = pair.host.link.stats().sessions;
    let limit = pair.now + within_us;
    let is_open = pair.run_until(limit, |pair| {
        pair.host.link.stats().sessions > sessions && pair.board.link.is_open()
    });
    assert!(is_open, "no new session: {}", pair.describe());
    // The same stream as before: what the old session still had under way would land in it.
    let stream = Stream::sending(Priority::Bulk, vec![NEW; 6_000]);
    pair.stream(5, stream.clone(), stream);
    pair.finish_streams(10 * SECOND);
    pair.assert_exact();
}

fn old(count: usize) -> Stream {
    Stream::sending(Priority::Bulk, vec![OLD; count])
}

fn long(seed: u64) -> Stream {
    Stream::sending(Priority::Bulk, Rng::new(seed).bytes(100_000))
}

const OLD: u8 = 0x0D;
const NEW: u8 = 0x4E;

#[test]
fn what_the_line_carried_before_can_be_played_back() {
    for (seed, coding) in [(40, Coding::TextSafe), (41, Coding::Binary)] {
        let clean = Options::clean(921_600);
        let mut pair = Pair::new(seed, coding, clean.clone(), clean);
        pair.open();
        // Enough for every number to come again, in both directions.
        let bytes = Rng::new(seed).bytes(400_000);
        pair.stream(
            2,
            Stream::sending(Priority::Bulk, bytes.clone()),
            Stream::sending(Priority::Bulk, bytes),
        );
        pair.settle(2 * SECOND);
        let mut rng = Rng::new(seed);
        let mut replayed = 0;
        while !pair.host.streams[&2].is_finished || !pair.board.streams[&2].is_finished {
            // Beacons, a hello, frames of long ago and of just now: a piece of the line's own log.
            let heard = &pair.host.heard;
            let start = if rng.one_in(4) { 0 } else { rng.below(heard.len() as u64) as usize };
            let end = (start + rng.between(100, 4_000) as usize).min(heard.len());
            let piece = heard[start..end].to_vec();
            replayed += piece.len();
            pair.up.insert(pair.now, &piece);
            pair.settle(100_000);
            assert!(pair.now < 300 * SECOND, "{}", pair.describe());
        }
        assert!(replayed > 50_000);
        pair.finish_streams(SECOND);
        pair.assert_exact();
        assert_eq!(pair.host.events, [Told::Beacon, Told::Opened], "{}", pair.describe());
        assert_eq!(pair.board.events, [Told::Opened], "{}", pair.describe());
        assert!(pair.host.link.stats().stray_beacons > 0, "{}", pair.describe());
    }
}

#[test]
fn frames_of_an_earlier_session_with_the_same_tag_are_none_of_this_one() {
    let mut pair = Pair::clean(44);
    let mut logs: Vec<(u8, Vec<u8>)> = Vec::new();
    // Tags are 8 bits: some dozen sessions, and one comes again.
    for number in 0..400u32 {
        let before = pair.host.heard.len();
        pair.open();
        pair.host.link.ping();
        pair.pump();
        pair.settle(50_000);
        let own = vec![number as u8; 3_000];
        pair.stream(3, Stream::default(), Stream::sending(Priority::Bulk, own));
        let tag = tag_of(&pair.host.heard[before..]);
        if let Some((_, log)) = logs.iter().find(|(of, _)| Some(*of) == tag) {
            // A program prints the log of that other session before this one's first frame comes.
            pair.up.insert(pair.now, log);
            pair.finish_streams(20 * SECOND);
            pair.assert_exact();
            assert!(pair.host.link.stats().damaged_frames > 0, "{}", pair.describe());
            return;
        }
        pair.finish_streams(20 * SECOND);
        logs.extend(tag.map(|tag| (tag, pair.host.heard[before..].to_vec())));
        pair.host.link.say_goodbye(Instant::from_micros(pair.now));
        pair.pump();
        pair.settle(100_000);
        pair.host.link.set_answering(true);
    }
    panic!("no tag came again");
}

/// Of the first acknowledgement or data in a log of the board's text-safe frames.
fn tag_of(log: &[u8]) -> Option<u8> {
    let mut frames = log.split(|byte| *byte == 0x1E).skip(1);
    frames.find_map(|symbols| {
        // The second byte: the last 6 bits of the second symbol, and the first 2 of the third.
        let [first, second, third] = symbols.first_chunk()?.map(|symbol: u8| symbol & 0x7F);
        let kind = first << 1 & 0x0F | second >> 6;
        (kind < 2).then_some(second << 2 | third >> 5)
    })
}

#[test]
fn a_goodbye_ends_the_session_at_once() {
    let mut pair = Pair::opened(42);
    pair.settle(SECOND / 2);
    pair.host.link.say_goodbye(Instant::from_micros(pair.now));
    pair.pump();
    pair.settle(100_000);
    let goodbye = Told::Closed(CloseReason::Goodbye);
    assert_eq!(pair.board.events, [Told::Opened, goodbye]);
    assert_eq!(pair.host.events, [Told::Beacon, Told::Opened, goodbye, Told::Beacon]);
    // The next program need not wait for the agent to notice.
    pair.restart_host();
    let begin = pair.now;
    pair.open();
    assert!(pair.now - begin < SECOND, "{}", pair.describe());
}

#[test]
fn a_host_that_was_stopped_in_the_middle_of_a_frame_is_no_obstacle_to_the_next() {
    for seed in 0..20 {
        let mut pair = Pair::opened(500 + seed);
        pair.stream(
            2,
            Stream::sending(Priority::Bulk, Rng::new(seed).bytes(20_000)),
            Stream::default(),
        );
        pair.settle(100_000 + seed * 3_000);
        pair.down.clear();
        pair.restart_host();
        let begin = pair.now;
        let is_open = pair.run_until(begin + 4 * SECOND, |pair| pair.host.link.is_open());
        assert!(is_open, "{}", pair.describe());
    }
}

#[test]
fn a_line_that_others_fill_for_long_is_not_a_silent_peer() {
    let mut pair = Pair::opened(43);
    let line =
        b"[   12.345678] task:kworker/0:1 state:I stack:0 pid:17 ppid:2 flags:0x00000000\r\n";
    let begin = pair.now;
    // 20 s of text without a gap, as when all tasks are shown.
    pair.up.insert(pair.now, &line.repeat(20 * 11_520 / line.len()));
    pair.settle(25 * SECOND);
    assert!(pair.now - begin > 20 * SECOND);
    assert_eq!(pair.host.events, [Told::Beacon, Told::Opened], "{}", pair.describe());
    assert_eq!(pair.board.events, [Told::Opened], "{}", pair.describe());
    pair.stream(3, Stream::sending(Priority::Control, b"still here".to_vec()), Stream::default());
    pair.finish_streams(SECOND);
}
