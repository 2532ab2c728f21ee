//! The language of these tests: two links, two lines, one virtual clock (after quinn's `Pair`).

use crate::net::Net;
use agent_core::link::{
    Beacon, CloseReason, Coding, Event, INITIAL_CREDIT, LINE_MAX, LineConfig, Link, Priority,
};
use agent_core::time::Instant;
use serial_sim::{Line, Options, Rng};
use std::collections::BTreeMap;

/// The dispatcher's link; fewer and shorter streams than the real one, the same window.
pub(crate) type HostLink = Link<32, 16, 4096>;

/// The board's.
pub(crate) type BoardLink = Link<16, 16, 4096>;

/// Two links and what is between them.
pub(crate) struct Pair {
    pub(crate) now: u64,
    pub(crate) host: End<32>,
    pub(crate) board: End<16>,
    /// Host → board.
    pub(crate) down: Line,
    /// Board → host.
    pub(crate) up: Line,
    /// The side lane between the two, once there is one.
    pub(crate) net: Net,
    baud: u32,
    coding: Coding,
    rng: Rng,
    /// Steps in a row in which the clock stood still.
    idle_steps: u32,
}

/// One link and its owner.
pub(crate) struct End<const WINDOW: usize> {
    pub(crate) link: Box<Link<WINDOW, 16, 4096>>,
    /// Console text that came out of it.
    pub(crate) console: Vec<u8>,
    /// What it told its owner, except the bytes of streams.
    pub(crate) events: Vec<Told>,
    pub(crate) streams: BTreeMap<u8, Stream>,
    /// Nothing happens here: the process hangs or is gone.
    pub(crate) is_dead: bool,
    /// Everything that it ever put on the line, in bytes.
    pub(crate) said: u64,
    /// Everything that ever came from the line.
    pub(crate) heard: Vec<u8>,
    /// What it does with every session that opens, if anything by itself.
    pub(crate) owner: Option<Box<dyn Owner>>,
    /// The queue below was full when it last looked.
    is_blocked: bool,
    /// A session is open, as far as the owner was told; and how many were.
    is_told_open: bool,
    told_sessions: u64,
}

/// An event, without borrowed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Beacon,
    Opened,
    Incompatible,
    Closed(CloseReason),
}

/// Who uses a link, in tests where sessions come and go.
pub(crate) trait Owner {
    /// A session is open: its streams.
    fn opened(&mut self) -> BTreeMap<u8, Stream>;

    /// It is over: what became of them.
    fn closed(&mut self, streams: BTreeMap<u8, Stream>);
}

/// A stream as its owner sees it.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) priority: Priority,
    /// To be written; what is in `0..written` has been.
    pub(crate) outgoing: Vec<u8>,
    pub(crate) written: usize,
    pub(crate) finishes: bool,
    pub(crate) is_finish_asked: bool,
    pub(crate) incoming: Vec<u8>,
    pub(crate) is_finished: bool,
    pub(crate) is_reset: bool,
    /// Nothing is granted: the owner does not read.
    pub(crate) is_slow: bool,
    /// More than the initial credit, granted at the begin.
    pub(crate) extra_credit: usize,
    /// When the first and the last byte came.
    pub(crate) first_at: Option<u64>,
    pub(crate) last_at: u64,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            priority: Priority::Interactive,
            outgoing: Vec::new(),
            written: 0,
            finishes: false,
            is_finish_asked: false,
            incoming: Vec::new(),
            is_finished: false,
            is_reset: false,
            is_slow: false,
            extra_credit: 0,
            first_at: None,
            last_at: 0,
        }
    }
}

impl Stream {
    /// One that sends these bytes and ends.
    pub(crate) fn sending(priority: Priority, outgoing: Vec<u8>) -> Self {
        Self { priority, outgoing, finishes: true, ..Self::default() }
    }

    /// One that only receives.
    pub(crate) fn receiving(priority: Priority) -> Self {
        Self { priority, ..Self::default() }
    }
}

impl Pair {
    /// A board that has just started, and a host that listens.
    pub(crate) fn new(seed: u64, coding: Coding, down: Options, up: Options) -> Self {
        let mut rng = Rng::new(seed);
        let baud = up.baud;
        let (down, up) = (Line::new(down, rng.fork()), Line::new(up, rng.fork()));
        let mut pair = Self {
            now: 0,
            host: End::new(Box::new(HostLink::host(line(coding, baud), rng.next_u64() as u32))),
            board: End::new(new_board(0, coding, baud, &mut rng)),
            down,
            up,
            net: Net::default(),
            baud,
            coding,
            rng,
            idle_steps: 0,
        };
        pair.pump();
        pair
    }

    /// Both lines clean, the board's end text-safe.
    pub(crate) fn clean(seed: u64) -> Self {
        Self::new(seed, Coding::TextSafe, Options::clean(115_200), Options::clean(115_200))
    }

    /// ... and the session open.
    pub(crate) fn opened(seed: u64) -> Self {
        let mut pair = Self::clean(seed);
        pair.open();
        pair
    }

    /// Runs until both ends are in a session.
    pub(crate) fn open(&mut self) {
        let limit = self.now + 60_000_000;
        let is_open =
            self.run_until(limit, |pair| pair.host.link.is_open() && pair.board.link.is_open());
        assert!(is_open, "no session in a minute: {}", self.describe());
        self.settle(100_000);
    }

    /// Opens a stream at both ends.
    pub(crate) fn stream(&mut self, id: u8, host: Stream, board: Stream) {
        let now = self.now;
        self.host.add(id, host);
        self.board.add(id, board);
        self.now = now;
        self.pump();
    }

    /// The agent starts anew, in the same boot or after a reset of the board.
    pub(crate) fn restart_board(&mut self) {
        let link = new_board(self.now, self.coding, self.baud, &mut self.rng);
        self.board = self.board.succeeded_by(link);
        self.pump();
    }

    /// The dispatcher starts anew.
    pub(crate) fn restart_host(&mut self) {
        let link = HostLink::host(line(self.coding, self.baud), self.rng.next_u64() as u32);
        self.host = self.host.succeeded_by(Box::new(link));
        self.pump();
    }

    /// Advances to the next thing that happens; `false` when nothing ever will.
    pub(crate) fn step(&mut self, limit: u64) -> bool {
        let lines = [self.up.next_arrival(), self.down.next_arrival()];
        let ends = [
            self.host.wake_at(self.now, &mut self.down),
            self.board.wake_at(self.now, &mut self.up),
        ];
        let net = self.net.next_arrival(self.host.is_dead, self.board.is_dead);
        let due = lines.into_iter().chain(ends).chain([net]).flatten().min();
        let Some(next) = due else { return false };
        if next > limit {
            self.now = self.now.max(limit);
            return false;
        }
        self.idle_steps = if next > self.now { 0 } else { self.idle_steps + 1 };
        assert!(self.idle_steps < 500, "a timer spins: {}", self.describe());
        self.now = self.now.max(next);
        let bytes = self.down.receive(self.now);
        if self.board.handle(self.now, &bytes) {
            self.board.pump(self.now, &mut self.up);
        }
        let bytes = self.up.receive(self.now);
        if self.host.handle(self.now, &bytes) {
            self.host.pump(self.now, &mut self.down);
        }
        self.move_lane();
        true
    }

    /// Steps until `is_done`, which it returns, or until the virtual time `limit`.
    pub(crate) fn run_until(&mut self, limit: u64, mut is_done: impl FnMut(&Self) -> bool) -> bool {
        loop {
            if is_done(self) {
                return true;
            }
            if !self.step(limit) {
                return is_done(self);
            }
        }
    }

    /// So much time passes.
    pub(crate) fn settle(&mut self, us: u64) {
        let limit = self.now + us;
        self.run_until(limit, |_| false);
        self.now = limit;
    }

    /// Until every stream has sent and received everything at both ends.
    pub(crate) fn finish_streams(&mut self, within_us: u64) {
        let limit = self.now + within_us;
        let is_done = self.run_until(limit, |pair| {
            complete(&pair.host.streams, &pair.board.streams)
                && complete(&pair.board.streams, &pair.host.streams)
        });
        assert!(is_done, "not finished in {within_us} µs: {}", self.describe());
    }

    /// Every byte arrived once and in order, and every end that was asked for.
    pub(crate) fn assert_exact(&self) {
        let directions = [
            ("host → board", &self.host.streams, &self.board.streams),
            ("board → host", &self.board.streams, &self.host.streams),
        ];
        for (direction, from, to) in directions {
            for (id, sent) in from {
                let received = &to[id];
                assert!(received.incoming == sent.outgoing, "{direction}: stream {id} differs");
                assert_eq!(received.is_finished, sent.finishes, "{direction}: end of stream {id}");
            }
        }
    }

    pub(crate) fn describe(&self) -> String {
        format!(
            "at {} µs\n  host {:?} open {}: {}\n  board {:?} open {}: {}\n  down {:?}\n  up {:?}\n  {}\n  {}",
            self.now,
            self.host.events,
            self.host.link.is_open(),
            self.host.link.stats(),
            self.board.events,
            self.board.link.is_open(),
            self.board.link.stats(),
            self.down.counts(),
            self.up.counts(),
            progress("host", &self.host.streams),
            progress("board", &self.board.streams),
        )
    }

    /// Lets both owners do what there is to do now.
    pub(crate) fn pump(&mut self) {
        self.host.pump(self.now, &mut self.down);
        self.board.pump(self.now, &mut self.up);
        self.move_lane();
    }
}

impl<const WINDOW: usize> End<WINDOW> {
    fn new(link: Box<Link<WINDOW, 16, 4096>>) -> Self {
        Self {
            link,
            console: Vec::new(),
            events: Vec::new(),
            streams: BTreeMap::new(),
            is_dead: false,
            said: 0,
            heard: Vec::new(),
            owner: None,
            is_blocked: false,
            is_told_open: false,
            told_sessions: 0,
        }
    }

    /// One that starts anew, with the same owner.
    fn succeeded_by(&mut self, link: Box<Link<WINDOW, 16, 4096>>) -> Self {
        let mut owner = self.owner.take();
        if let Some(owner) = &mut owner {
            owner.closed(std::mem::take(&mut self.streams));
        }
        Self { owner, ..Self::new(link) }
    }

    fn add(&mut self, id: u8, stream: Stream) {
        if id != 0 {
            assert!(self.link.open(id, stream.priority), "stream {id} is not opened");
        }
        self.link.grant(id, stream.extra_credit);
        self.streams.insert(id, stream);
    }

    /// These bytes come, wherever from. Returns whether there may be something to do.
    pub(crate) fn handle(&mut self, now: u64, bytes: &[u8]) -> bool {
        if self.is_dead {
            return false;
        }
        let at = Instant::from_micros(now);
        if !bytes.is_empty() {
            self.heard.extend_from_slice(bytes);
            let console = &mut self.console;
            self.link.handle_input(at, bytes, &mut |text| console.extend_from_slice(text));
            self.assert_accounts();
        }
        let is_due = self.link.poll_timeout().is_some_and(|due| at >= due);
        if is_due {
            self.link.handle_timeout(at);
        }
        is_due || !bytes.is_empty() || self.is_blocked
    }

    /// Every byte read is console text, of a frame, damaged, or of a frame that has begun; at any moment.
    fn assert_accounts(&self) {
        let (stats, held) = (self.link.stats(), self.link.held());
        let told = stats.console_bytes + stats.frame_bytes + stats.damaged_bytes + held as u64;
        assert_eq!(stats.bytes_in, told, "bytes are lost without a trace: {stats}, held {held}");
        assert_eq!(stats.console_bytes, self.console.len() as u64);
        assert_eq!(stats.bytes_in, self.heard.len() as u64);
        assert!(held <= 1500, "{held} bytes held back");
    }

    /// The contract: drain everything until there is no more. At most two writes wait in the queue below.
    pub(crate) fn pump(&mut self, now: u64, line: &mut Line) {
        if self.is_dead {
            return;
        }
        loop {
            let mut is_busy = self.drain_events(now);
            is_busy |= self.write();
            let mut out = [0; LINE_MAX];
            while line.queued_writes(now) < QUEUED_WRITES_MAX {
                let at = Instant::from_micros(now);
                let Some(length) = self.link.poll_transmit(at, &mut out) else { break };
                line.send(now, &out[..length]);
                self.said += length as u64;
                is_busy = true;
            }
            if !is_busy {
                self.is_blocked = line.queued_writes(now) >= QUEUED_WRITES_MAX;
                return;
            }
        }
    }

    fn drain_events(&mut self, now: u64) -> bool {
        let mut is_busy = false;
        loop {
            let Some(event) = self.link.poll_event() else {
                // None was dropped on its way: sessions open and close by turns, and each was told.
                let told = (self.is_told_open, self.told_sessions);
                assert_eq!(told, (self.link.is_open(), self.link.stats().sessions));
                return is_busy;
            };
            is_busy = true;
            let (mut grant, mut begun) = (None, None);
            match event {
                Event::Beacon(_) => self.events.push(Told::Beacon),
                Event::Opened(_) => {
                    self.events.push(Told::Opened);
                    assert!(!std::mem::replace(&mut self.is_told_open, true), "opened twice");
                    self.told_sessions += 1;
                    if let Some(owner) = &mut self.owner {
                        begun = Some(owner.opened());
                    }
                }
                Event::Incompatible(_) => self.events.push(Told::Incompatible),
                Event::Closed(reason) => {
                    self.events.push(Told::Closed(reason));
                    assert!(std::mem::replace(&mut self.is_told_open, false), "closed twice");
                    let streams = std::mem::take(&mut self.streams);
                    if let Some(owner) = &mut self.owner {
                        owner.closed(streams);
                    }
                }
                Event::Data { stream: id, bytes } => {
                    if id == 0 {
                        // Open as long as the session.
                        self.streams.entry(id).or_default();
                    }
                    let stream = self.streams.get_mut(&id).expect("data of a stream not opened");
                    assert!(!stream.is_finished, "data behind the end of stream {id}");
                    stream.incoming.extend_from_slice(bytes);
                    stream.first_at.get_or_insert(now);
                    stream.last_at = now;
                    grant = Some((id, bytes.len())).filter(|_| !stream.is_slow);
                }
                Event::Finished { stream: id } => {
                    let stream = self.streams.get_mut(&id).expect("end of a stream not opened");
                    assert!(!stream.is_finished, "stream {id} ends twice");
                    stream.is_finished = true;
                }
                Event::Reset { stream: id } => {
                    self.streams.get_mut(&id).expect("reset of a stream not opened").is_reset =
                        true;
                }
            }
            if let Some((id, count)) = grant {
                self.link.grant(id, count);
            }
            for (id, stream) in begun.into_iter().flatten() {
                self.add(id, stream);
            }
        }
    }

    fn write(&mut self) -> bool {
        let mut is_busy = false;
        // Whoever gave up a stream, nothing more is written to it.
        for (id, stream) in self.streams.iter_mut().filter(|(_, stream)| !stream.is_reset) {
            let rest = &stream.outgoing[stream.written..];
            if !rest.is_empty() {
                let count = self.link.write(*id, rest);
                stream.written += count;
                is_busy |= count > 0;
            }
            let is_written = stream.written == stream.outgoing.len();
            if is_written && stream.finishes && !stream.is_finish_asked {
                self.link.finish(*id);
                stream.is_finish_asked = true;
                is_busy = true;
            }
        }
        is_busy
    }

    /// When this end must be looked at. A deadline that has passed while the queue below is full waits for the queue.
    fn wake_at(&self, now: u64, line: &mut Line) -> Option<u64> {
        if self.is_dead {
            return None;
        }
        let due = self.link.poll_timeout().map(Instant::as_micros);
        if line.queued_writes(now) < QUEUED_WRITES_MAX {
            return due.map(|due| due.max(now));
        }
        let drained = line.next_drained().map(|at| at.max(now + 1));
        [due.filter(|due| *due > now), drained].into_iter().flatten().min()
    }
}

/// Whether all that `from` sends has come to `to`.
pub(crate) fn complete(from: &BTreeMap<u8, Stream>, to: &BTreeMap<u8, Stream>) -> bool {
    from.iter().all(|(id, sent)| {
        let Some(received) = to.get(id) else { return false };
        let due = if received.is_slow {
            sent.outgoing.len().min(INITIAL_CREDIT + received.extra_credit)
        } else {
            sent.outgoing.len()
        };
        let is_ended = !sent.finishes || received.is_finished || due < sent.outgoing.len();
        received.incoming.len() >= due && is_ended
    })
}

fn progress(name: &str, streams: &BTreeMap<u8, Stream>) -> String {
    let each: Vec<String> = streams
        .iter()
        .map(|(id, stream)| {
            let (written, all) = (stream.written, stream.outgoing.len());
            let (received, end) = (stream.incoming.len(), stream.is_finished);
            format!("{id}: wrote {written}/{all}, got {received}, ended {end}")
        })
        .collect();
    format!("{name} streams {{{}}}", each.join("; "))
}

fn new_board(now: u64, coding: Coding, baud: u32, rng: &mut Rng) -> Box<BoardLink> {
    let mut boot_id = [0; 16];
    boot_id.copy_from_slice(&rng.bytes(16));
    let beacon = Beacon { boot_id, nonce: rng.next_u64() as u32, role: 0, coding };
    Box::new(BoardLink::board(Instant::from_micros(now), line(coding, baud), beacon))
}

fn line(coding: Coding, baud: u32) -> LineConfig {
    LineConfig { coding, baud }
}

/// As many as the real shells allow in the queue of the tty.
const QUEUED_WRITES_MAX: usize = 2;
