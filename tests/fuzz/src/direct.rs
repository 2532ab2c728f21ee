//! Two ends without a line between them: what one says the other hears at once, in virtual time.

use agent_core::link::coding::decode_cobs;
use agent_core::link::frame::Frame;
use agent_core::link::{CloseReason, Event, LINE_MAX, Link};
use agent_core::time::{Duration, Instant};
use std::collections::BTreeMap;

/// One end, whatever it is.
pub(crate) trait Speaker {
    /// Takes bytes of the line and does everything that follows from them.
    fn hear(&mut self, now: Instant, bytes: &[u8]);
    /// The next write to the line.
    fn say(&mut self, now: Instant, out: &mut [u8]) -> Option<usize>;
    /// When it must be woken.
    fn due(&self) -> Option<Instant>;
    /// That time has come.
    fn wake(&mut self, now: Instant);
}

/// A link with an owner that reads everything at once.
#[derive(Debug)]
pub(crate) struct Owner<const WINDOW: usize, const STREAMS: usize> {
    pub(crate) link: Box<Link<WINDOW, STREAMS, 4096>>,
    pub(crate) console: Vec<u8>,
    pub(crate) told: Vec<Told>,
    /// What came on each stream of the session.
    pub(crate) received: BTreeMap<u8, Vec<u8>>,
    /// Its last write to the line.
    said: Vec<u8>,
}

/// An event other than bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Beacon,
    Opened,
    Closed(CloseReason),
    Incompatible(u8),
    Finished(u8),
    Reset(u8),
}

impl<const WINDOW: usize, const STREAMS: usize> Owner<WINDOW, STREAMS> {
    pub(crate) fn new(link: Link<WINDOW, STREAMS, 4096>) -> Self {
        let link = Box::new(link);
        let (console, told, said) = (Vec::new(), Vec::new(), Vec::new());
        Self { link, console, told, received: BTreeMap::new(), said }
    }

    /// The tag of the session, if the last thing that it said was a binary frame.
    pub(crate) fn tag(&self) -> Option<u8> {
        let mut content = self.said.get(1..self.said.len().checked_sub(1)?)?.to_vec();
        let length = decode_cobs(&mut content)?;
        Frame::parse(&content[..length]).ok().map(|frame| frame.tag)
    }

    /// Takes bytes without looking at what came of them.
    pub(crate) fn push(&mut self, now: Instant, bytes: &[u8]) {
        let console = &mut self.console;
        self.link.handle_input(now, bytes, &mut |text| console.extend_from_slice(text));
    }

    /// Looks at everything that happened.
    pub(crate) fn drain(&mut self) {
        while let Some(event) = self.link.poll_event() {
            let told = match event {
                Event::Beacon(_) => Told::Beacon,
                Event::Opened(_) => {
                    self.received.clear();
                    Told::Opened
                }
                Event::Incompatible(version) => Told::Incompatible(version),
                Event::Closed(reason) => Told::Closed(reason),
                Event::Data { stream, bytes } => {
                    let count = bytes.len();
                    let received = self.received.entry(stream).or_default();
                    received.extend_from_slice(bytes);
                    // A line test sends for as long as somebody reads, and here bytes take no time.
                    if stream == 0 || received.len() < READ_MAX {
                        self.link.grant(stream, count);
                    }
                    continue;
                }
                Event::Finished { stream } => Told::Finished(stream),
                Event::Reset { stream } => Told::Reset(stream),
            };
            // In a row they are one: the link keeps only the last of those that were not looked at.
            if told != Told::Beacon || self.told.last() != Some(&told) {
                self.told.push(told);
            }
        }
    }
}

impl<const WINDOW: usize, const STREAMS: usize> Speaker for Owner<WINDOW, STREAMS> {
    fn hear(&mut self, now: Instant, bytes: &[u8]) {
        self.push(now, bytes);
        self.drain();
    }

    fn say(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let length = self.link.poll_transmit(now, out)?;
        self.said = out[..length].to_vec();
        Some(length)
    }

    fn due(&self) -> Option<Instant> {
        self.link.poll_timeout()
    }

    fn wake(&mut self, now: Instant) {
        self.link.handle_timeout(now);
        self.drain();
    }
}

/// Bytes of a stream after which its reader has had enough.
const READ_MAX: usize = 64 * 1024;

/// Lets both talk for so long, or until `is_done`, which it returns.
pub(crate) fn talk<A: Speaker, B: Speaker>(
    now: &mut Instant,
    a: &mut A,
    b: &mut B,
    time: Duration,
    mut is_done: impl FnMut(&mut A, &mut B) -> bool,
) -> bool {
    let until = *now + time;
    let mut idle_steps = 0;
    loop {
        let mut writes = 0;
        while carry(*now, a, b) | carry(*now, b, a) {
            writes += 1;
            assert!(writes < 10_000, "they talk without end at {now}");
        }
        if is_done(a, b) {
            return true;
        }
        let Some(next) = [a.due(), b.due()].into_iter().flatten().min().filter(|at| *at <= until)
        else {
            *now = until;
            return false;
        };
        idle_steps = if next > *now { 0 } else { idle_steps + 1 };
        assert!(idle_steps < 100, "a timer spins at {now}");
        *now = next.max(*now);
        a.wake(*now);
        b.wake(*now);
    }
}

/// One write of `from`, if it has one.
fn carry(now: Instant, from: &mut impl Speaker, to: &mut impl Speaker) -> bool {
    let mut out = [0; LINE_MAX];
    let Some(length) = from.say(now, &mut out) else { return false };
    to.hear(now, &out[..length]);
    true
}
