//! Two links on a line that does what the input says: what comes on a stream is what was sent on it in that session,
//! each byte once and in order; and when the faults stop, there is a session that carries bytes again.
//!
//! A byte of a stream follows from the stream's number and its place, and its number stands in its first two bytes. So
//! what came says by itself where it is from.

use crate::pair::{Pair, Stream, Told};
use agent_core::link::{Coding, Priority};
use agent_core::time::Instant;
use arbitrary::{Arbitrary, Unstructured};
use serial_sim::{Options, Rng, Text};
use std::collections::{BTreeMap, BTreeSet};

/// A line and what happens on it.
#[derive(Arbitrary, Debug)]
struct Input {
    seed: u16,
    baud: Baud,
    is_binary: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Baud {
    Slow,
    Usual,
    Fast,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Side {
    Host,
    Board,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    /// Opens a stream at both ends, each with so many bytes to send.
    Open {
        id: u8,
        class: Class,
        host_bytes: u16,
        board_bytes: u16,
        slow: Option<Side>,
    },
    /// So many more bytes are to be sent.
    Send {
        side: Side,
        id: u8,
        bytes: u8,
    },
    Finish {
        side: Side,
        id: u8,
    },
    Reset {
        side: Side,
        id: u8,
    },
    Close {
        side: Side,
        id: u8,
    },
    Grant {
        side: Side,
        id: u8,
        bytes: u16,
    },
    /// The line from that side strikes one byte in so many.
    Fault {
        from: Side,
        fault: Fault,
        one_in: u8,
    },
    /// The line from that side is as it should be.
    Repair {
        from: Side,
    },
    /// Others write to the line from that side.
    Insert {
        from: Side,
        seed: u16,
        bytes: u8,
        is_text: bool,
    },
    /// What is on the line from that side is lost.
    Drop {
        from: Side,
    },
    Restart {
        side: Side,
    },
    Hang {
        side: Side,
        hangs: bool,
    },
    Mute,
    Abandon {
        side: Side,
    },
    Pass {
        tenths_ms: u16,
    },
    Steps {
        count: u8,
    },
    /// A side lane, which breaks behind so many bytes, or carries nothing from one side on.
    Lane {
        cut_after: Option<u16>,
        latency: u8,
    },
    StopLane {
        down: bool,
        up: bool,
    },
    /// That end hears what nobody sent on the lane.
    LaneNoise {
        side: Side,
        seed: u16,
        bytes: u8,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Class {
    Interactive,
    Bulk,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Fault {
    Flip,
    Loss,
    Burst,
    Duplicate,
    Split,
    Text,
    Cut,
}

pub(crate) fn run(input: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let mut world = World::new(&input);
    for step in input.steps.iter().take(STEPS_MAX) {
        world.step(*step);
        world.check();
    }
    world.assert_recovers();
}

struct World {
    pair: Pair,
    options: Options,
    /// Every stream of either end that ever was, by its number.
    streams: Vec<Sent>,
    /// Which numbers belong to the streams that are open now.
    numbers: BTreeMap<(bool, u8), usize>,
    /// Sessions of both ends so far: how often each restarted, and how often it opened one since.
    restarts: [u32; 2],
    used: [(Session, BTreeSet<u8>); 2],
    /// A session of the receiving end and that of the sending one: each belongs to one of the other.
    matched: BTreeMap<(bool, Session), Session>,
    checked: BTreeMap<(bool, u8, Session), usize>,
}

/// Restarts, and sessions opened since.
type Session = (u32, usize);

/// A stream as it was opened at one end.
struct Sent {
    is_host: bool,
    id: u8,
    session: Session,
    bytes: usize,
}

impl World {
    fn new(input: &Input) -> Self {
        let baud = match input.baud {
            Baud::Slow => 9_600,
            Baud::Usual => 115_200,
            Baud::Fast => 1_500_000,
        };
        let coding = if input.is_binary { Coding::Binary } else { Coding::TextSafe };
        let options = Options::clean(baud);
        Self {
            pair: Pair::new(u64::from(input.seed), coding, options.clone(), options.clone()),
            options,
            streams: Vec::new(),
            numbers: BTreeMap::new(),
            restarts: [0; 2],
            used: [((0, 0), BTreeSet::new()), ((0, 0), BTreeSet::new())],
            matched: BTreeMap::new(),
            checked: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: Step) {
        let now = self.pair.now;
        match step {
            Step::Open { id, class, host_bytes, board_bytes, slow } => {
                let priority = match class {
                    Class::Interactive => Priority::Interactive,
                    Class::Bulk => Priority::Bulk,
                };
                let bytes = [host_bytes, board_bytes].map(|bytes| usize::from(bytes) % 5000);
                let slow = slow.map(|side| matches!(side, Side::Host));
                self.open(id % IDS, priority, bytes, slow);
            }
            Step::Send { side, id, bytes } => {
                let (is_host, id) = (is_host(side), id % IDS);
                let Some(number) = self.numbers.get(&(is_host, id)).copied() else { return };
                let Some(stream) = self.stream(is_host, id) else { return };
                if stream.finishes || stream.is_reset {
                    return;
                }
                let from = stream.outgoing.len();
                stream.outgoing.extend(content(number, from, usize::from(bytes)));
                self.streams[number].bytes = from + usize::from(bytes);
                self.pair.pump();
            }
            Step::Finish { side, id } => {
                if let Some(stream) = self.stream(is_host(side), ending(id)) {
                    stream.finishes = !stream.is_reset;
                    self.pair.pump();
                }
            }
            Step::Reset { side, id } => {
                let (is_host, id) = (is_host(side), ending(id));
                let Some(stream) = self.stream(is_host, id) else { return };
                // Who gives a stream up writes no more to it.
                stream.outgoing.truncate(stream.written);
                (stream.is_reset, stream.finishes) = (true, false);
                match side {
                    Side::Host => self.pair.host.link.reset(id),
                    Side::Board => self.pair.board.link.reset(id),
                }
                self.pair.pump();
            }
            Step::Close { side, id } => {
                let id = ending(id);
                match side {
                    Side::Host => {
                        self.pair.host.link.close_stream(id);
                        self.pair.host.streams.remove(&id);
                    }
                    Side::Board => {
                        self.pair.board.link.close_stream(id);
                        self.pair.board.streams.remove(&id);
                    }
                }
            }
            Step::Grant { side, id, bytes } => {
                let (id, bytes) = (id % IDS, usize::from(bytes));
                match side {
                    Side::Host => self.pair.host.link.grant(id, bytes),
                    Side::Board => self.pair.board.link.grant(id, bytes),
                }
                self.pair.pump();
            }
            Step::Fault { from, fault, one_in } => {
                let line = self.line(from);
                let mut options = line.options().clone();
                let one_in = 1 + u64::from(one_in) * 16;
                match fault {
                    Fault::Flip => options.flip_one_in = one_in,
                    Fault::Loss => options.drop_one_in = one_in,
                    Fault::Burst => options.burst_one_in = one_in,
                    Fault::Duplicate => options.duplicate_one_in = 1 + one_in / 16,
                    Fault::Split => options.is_split = true,
                    Fault::Text => options.text = Text::OneIn { bytes: one_in + 100 },
                    Fault::Cut => options.is_cut = true,
                }
                line.set_options(now, options);
            }
            Step::Repair { from } => {
                let options = self.options.clone();
                self.line(from).set_options(now, options);
            }
            Step::Insert { from, seed, bytes, is_text } => {
                // From a seed, so that no input can be a whole frame with its check value.
                let mut bytes = Rng::new(u64::from(seed)).bytes(usize::from(bytes));
                if is_text {
                    bytes.iter_mut().for_each(|byte| *byte &= 0x7F);
                }
                self.line(from).insert(now, &bytes);
            }
            Step::Drop { from } => self.line(from).clear(),
            Step::Restart { side } => {
                self.restarts[usize::from(is_host(side))] += 1;
                match side {
                    Side::Host => self.pair.restart_host(),
                    Side::Board => self.pair.restart_board(),
                }
            }
            Step::Hang { side, hangs } => match side {
                Side::Host => self.pair.host.is_dead = hangs,
                Side::Board => self.pair.board.is_dead = hangs,
            },
            Step::Mute => {
                self.pair.host.link.mute(Instant::from_micros(now));
                self.pair.pump();
            }
            Step::Abandon { side } => {
                let now = Instant::from_micros(now);
                match side {
                    Side::Host => self.pair.host.link.abandon(now),
                    Side::Board => self.pair.board.link.abandon(now),
                }
                self.pair.pump();
            }
            Step::Pass { tenths_ms } => self.pass(u64::from(tenths_ms) * 100),
            Step::Lane { cut_after, latency } => {
                let (host, board) = (&self.pair.host.link, &self.pair.board.link);
                if host.is_open() && board.is_open() && !host.has_lane() && !board.has_lane() {
                    let cut_after = cut_after.map(usize::from);
                    self.pair.open_lane(u64::from(latency) * 100, cut_after);
                }
            }
            Step::StopLane { down, up } => self.pair.net.stop(down, up),
            Step::LaneNoise { side, seed, bytes } => {
                let noise = Rng::new(u64::from(seed)).bytes(usize::from(bytes));
                let at = Instant::from_micros(now);
                match side {
                    Side::Host if self.pair.host.link.has_lane() => {
                        self.pair.host.link.handle_lane_input(at, &noise);
                    }
                    Side::Board if self.pair.board.link.has_lane() => {
                        self.pair.board.link.handle_lane_input(at, &noise);
                    }
                    _ => {}
                }
                self.pair.pump();
            }
            Step::Steps { count } => {
                for _ in 0..count {
                    self.pair.step(now + 10_000_000);
                    self.check();
                }
            }
        }
    }

    fn pass(&mut self, us: u64) {
        let limit = self.pair.now + us;
        while self.pair.step(limit) {
            self.check();
        }
        self.pair.now = self.pair.now.max(limit);
    }

    /// A stream of that id at both ends, if both are in a session and neither has used the id in its own.
    fn open(&mut self, id: u8, priority: Priority, bytes: [usize; 2], slow: Option<bool>) -> bool {
        let is_open = self.pair.host.link.is_open() && self.pair.board.link.is_open();
        if !is_open {
            return false;
        }
        for is_host in [true, false] {
            let session = self.session(is_host);
            let used = &mut self.used[usize::from(is_host)];
            if used.0 != session {
                *used = (session, BTreeSet::new());
            }
        }
        if self.used.iter().any(|(_, used)| used.contains(&id)) {
            return false;
        }
        let [host, board] = [true, false].map(|is_host| {
            let bytes = bytes[usize::from(!is_host)];
            let session = self.session(is_host);
            let number = self.streams.len();
            self.used[usize::from(is_host)].1.insert(id);
            self.numbers.insert((is_host, id), number);
            self.streams.push(Sent { is_host, id, session, bytes });
            let outgoing = content(number, 0, bytes).collect();
            Stream { priority, outgoing, is_slow: slow == Some(is_host), ..Stream::default() }
        });
        self.pair.stream(id, host, board);
        true
    }

    /// The invariants, of all that is new.
    fn check(&mut self) {
        for is_host in [true, false] {
            let session = self.session(is_host);
            let streams = if is_host { &self.pair.host.streams } else { &self.pair.board.streams };
            for (id, stream) in streams {
                let incoming = &stream.incoming;
                let done = self.checked.entry((is_host, *id, session)).or_default();
                if incoming.len() < 2 || *done == incoming.len() && !stream.is_finished {
                    continue;
                }
                let number = usize::from(u16::from_le_bytes([incoming[0], incoming[1]]));
                let sent = self.streams.get(number).expect("bytes of no stream");
                assert_eq!((sent.is_host, sent.id), (!is_host, *id), "bytes of another stream");
                assert!(
                    incoming.len() <= sent.bytes,
                    "more than was sent: {}",
                    self.pair.describe()
                );
                assert!(
                    incoming[*done..].iter().copied().eq(content(
                        number,
                        *done,
                        incoming.len() - *done
                    )),
                    "stream {id} differs behind {done}: {}",
                    self.pair.describe()
                );
                if stream.is_finished {
                    assert_eq!(incoming.len(), sent.bytes, "an end before the end");
                }
                *done = incoming.len();
                for (key, value) in
                    [((is_host, session), sent.session), ((!is_host, sent.session), session)]
                {
                    let matched = *self.matched.entry(key).or_insert(value);
                    assert_eq!(
                        matched,
                        value,
                        "bytes of another session: {}",
                        self.pair.describe()
                    );
                }
            }
        }
    }

    /// Nothing is wrong any more: a session opens by itself, and carries.
    fn assert_recovers(mut self) {
        (self.pair.host.is_dead, self.pair.board.is_dead) = (false, false);
        self.step(Step::Repair { from: Side::Host });
        self.step(Step::Repair { from: Side::Board });
        self.pair.pump();
        self.pass(RECOVERS_WITHIN_US);
        let id = IDS + 1;
        let is_open = self.open(id, Priority::Interactive, [1000; 2], None);
        assert!(is_open, "no session: {}", self.pair.describe());
        let limit = self.pair.now + RECOVERS_WITHIN_US;
        let is_through = self.pair.run_until(limit, |pair| {
            [&pair.host.streams, &pair.board.streams]
                .iter()
                .all(|streams| streams.get(&id).is_some_and(|stream| stream.incoming.len() == 1000))
        });
        assert!(is_through, "a session that carries nothing: {}", self.pair.describe());
        self.check();
    }

    fn session(&self, is_host: bool) -> Session {
        let events = if is_host { &self.pair.host.events } else { &self.pair.board.events };
        let opened = events.iter().filter(|told| **told == Told::Opened).count();
        (self.restarts[usize::from(is_host)], opened)
    }

    fn stream(&mut self, is_host: bool, id: u8) -> Option<&mut Stream> {
        let streams =
            if is_host { &mut self.pair.host.streams } else { &mut self.pair.board.streams };
        streams.get_mut(&id)
    }

    fn line(&mut self, from: Side) -> &mut serial_sim::Line {
        match from {
            Side::Host => &mut self.pair.down,
            Side::Board => &mut self.pair.up,
        }
    }
}

/// A stream that may end before its session: not stream 0.
fn ending(id: u8) -> u8 {
    1 + id % (IDS - 1)
}

fn is_host(side: Side) -> bool {
    matches!(side, Side::Host)
}

/// `count` bytes of a stream from its byte `from` on.
fn content(number: usize, from: usize, count: usize) -> impl Iterator<Item = u8> {
    (from..from + count).map(move |at| match at {
        0 => number as u8,
        1 => (number >> 8) as u8,
        _ => (at * 31 + (at >> 8) * 7 + number * 101) as u8,
    })
}

/// Streams have ids below this; fewer than either end has slots.
const IDS: u8 = 8;

/// Steps of one input, most of them of at most 6.5 s of virtual time.
const STEPS_MAX: usize = 40;

/// Two silences (6.5 s each), two beacons (2 s each), what still waits at 9600 baud, and doubled timeouts.
const RECOVERS_WITHIN_US: u64 = 40_000_000;
