//! Faults, restarts, mutes and goodbyes of either end at any step: within a session every stream delivers a beginning of
//! what was sent in it, and nothing of any other; and when the faults stop, a session comes and works.

use crate::pair::{Owner, Pair, Stream, complete};
use crate::sweep::{for_each_seed, random_baud, random_coding, random_faults};
use agent_core::link::{Coding, Priority};
use agent_core::time::Instant;
use serial_sim::{Options, Rng, Text};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

#[test]
fn life() {
    for_each_seed("life", |seed| {
        let mut rng = Rng::new(seed);
        let (baud, coding) = (random_baud(&mut rng), random_coding(&mut rng));
        let mut faults = || random_faults(&mut rng, coding, baud);
        let (down, up) = (faults(), faults());
        let mut pair = Pair::new(rng.next_u64(), coding, Options { text: Text::None, ..down }, up);
        let past = Rc::new(RefCell::new(Past::default()));
        pair.host.owner = Some(Box::new(User::new(0, baud, &past)));
        pair.board.owner = Some(Box::new(User::new(1, baud, &past)));
        for _ in 0..rng.between(3, 14) {
            // Any step of any frame, or some seconds in which timers do their part.
            if rng.one_in(4) {
                pair.settle(rng.below(5_000_000));
            } else {
                let limit = pair.now + 2_000_000;
                for _ in 0..rng.below(300) {
                    if !pair.step(limit) {
                        break;
                    }
                }
            }
            strike(&mut rng, &mut pair, coding, baud);
            pair.pump();
        }
        heal(&mut pair, baud);
        // Silence on both sides of a doubt, then a hello, and all that the slow line still holds.
        let limit = pair.now + 60_000_000;
        let works = pair.run_until(limit, |pair| {
            let (host, board) = (&pair.host.streams, &pair.board.streams);
            !host.is_empty() && complete(host, board) && complete(board, host)
        });
        assert!(works, "no session that works: {}", pair.describe());
        pair.assert_exact();
        for end in [&mut pair.host.streams, &mut pair.board.streams] {
            let streams = std::mem::take(end);
            past.borrow_mut().sessions.push(streams);
        }
        past.borrow().assert_nothing_mixed();
    });
}

/// Something happens to either end or to the line.
fn strike(rng: &mut Rng, pair: &mut Pair, coding: Coding, baud: u32) {
    let now = Instant::from_micros(pair.now);
    match rng.below(15) {
        0 => pair.restart_board(),
        1 => {
            // Power: what was on its way is gone, and a boot loader speaks.
            pair.up.clear();
            pair.up.send(pair.now, b"\r\nU-Boot SPL 2023.01\r\n");
            pair.restart_board();
        }
        2 => pair.restart_host(),
        3 => {
            // Ended in the middle of a frame.
            pair.down.flush(pair.now);
            pair.restart_host();
        }
        4 => pair.host.link.mute(now),
        5 => pair.host.link.say_goodbye(now),
        6 => pair.host.link.set_answering(true),
        7 => pair.host.link.abandon(now),
        8 => pair.board.link.abandon(now),
        9 => pair.host.is_dead = !pair.host.is_dead,
        10 => pair.board.is_dead = !pair.board.is_dead,
        11 => {
            let for_us = rng.below(9_000_000);
            if rng.one_in(2) {
                pair.up.stall(pair.now, for_us);
            } else {
                pair.down.stall(pair.now, for_us);
            }
        }
        12 => pair.up.flush(pair.now),
        13 => pair.down.flush(pair.now),
        _ => {
            let mut faults = || random_faults(rng, coding, baud);
            let (down, up) = (faults(), faults());
            let is_cut = (rng.one_in(4), rng.one_in(4));
            let down = Options { text: Text::None, is_cut: is_cut.0, ..down };
            pair.down.set_options(pair.now, down);
            pair.up.set_options(pair.now, Options { is_cut: is_cut.1, ..up });
        }
    }
}

/// The faults stop, and everybody is there.
fn heal(pair: &mut Pair, baud: u32) {
    pair.down.set_options(pair.now, Options::clean(baud));
    pair.up.set_options(pair.now, Options::clean(baud));
    (pair.host.is_dead, pair.board.is_dead) = (false, false);
    pair.host.link.set_answering(true);
    pair.pump();
}

/// Sends in every session bytes that no other session has.
struct User {
    side: u64,
    scale: u64,
    past: Rc<RefCell<Past>>,
}

/// All sessions that were, of both ends.
#[derive(Default)]
struct Past {
    opened: u64,
    sessions: Vec<BTreeMap<u8, Stream>>,
}

impl User {
    fn new(side: u64, baud: u32, past: &Rc<RefCell<Past>>) -> Self {
        let scale = if baud < 20_000 { 4 } else { 1 };
        Self { side, scale, past: past.clone() }
    }
}

impl Owner for User {
    fn opened(&mut self) -> BTreeMap<u8, Stream> {
        let mut past = self.past.borrow_mut();
        past.opened += 1;
        let id = past.opened << 2 | self.side << 1 | u64::from(self.scale > 1);
        let stream = |(stream, priority)| {
            (
                stream,
                Stream { finishes: stream != 0, ..Stream::sending(priority, bytes_of(id, stream)) },
            )
        };
        [(0, Priority::Control), (1, Priority::Interactive), (2, Priority::Bulk)].map(stream).into()
    }

    fn closed(&mut self, streams: BTreeMap<u8, Stream>) {
        self.past.borrow_mut().sessions.push(streams);
    }
}

impl Past {
    /// What came in a session was sent in one session of the other end, from its first byte on, and in no other.
    fn assert_nothing_mixed(&self) {
        let mut seen = BTreeMap::new();
        for (index, session) in self.sessions.iter().enumerate() {
            let peers = session.values().filter_map(|stream| stream.incoming.first_chunk());
            for peer in peers.map(|id| u64::from_le_bytes(*id)) {
                assert_eq!(*seen.entry(peer).or_insert(index), index, "{peer:x} in two sessions");
            }
            let peer = session.values().find_map(|stream| stream.incoming.first_chunk());
            let peer = peer.map(|id| u64::from_le_bytes(*id));
            for (id, stream) in session {
                let Some(peer) = peer else { continue };
                let sent = bytes_of(peer, *id);
                assert!(sent.starts_with(&stream.incoming), "stream {id} of {peer:x} differs");
                assert!(!stream.is_finished || sent == stream.incoming, "{id} of {peer:x} was cut");
                assert!(!stream.is_reset, "nobody gives up a stream here");
            }
        }
    }
}

/// What an end sends on a stream of one of its sessions: that session's number, and bytes that follow from it.
fn bytes_of(session: u64, stream: u8) -> Vec<u8> {
    let mut rng = Rng::new(session << 8 | u64::from(stream));
    let scale = 1 + 3 * (session & 1);
    let count = rng.below(3_000) / scale;
    [&session.to_le_bytes()[..], &rng.bytes(count as usize)].concat()
}
