//! A transfer between two links, recorded once, of which either end can be run again alone: the same bytes at the same
//! times make it do the same.

use agent_core::link::{Beacon, Coding, Event, HostLink, LINE_MAX, LineConfig, Link, Priority};
use agent_core::time::{Duration, Instant};
use serial_sim::Rng;

/// What was said in turn, each turn at its time: by the board, then by the host.
#[derive(Debug)]
pub(crate) struct Recording {
    coding: Coding,
    payload: Vec<u8>,
    turns: Vec<Turn>,
}

#[derive(Debug)]
struct Turn {
    now: Instant,
    board: Vec<u8>,
    host: Vec<u8>,
}

impl Recording {
    /// The board sends so many random bytes on one stream, over a line that takes no time and loses nothing.
    pub(crate) fn of_a_transfer(coding: Coding, bytes: usize) -> Self {
        let payload = Rng::new(2).bytes(bytes);
        let (mut host, mut board) = (Host::new(coding), Board::new(coding));
        let mut turns: Vec<Turn> = Vec::new();
        let mut now = Instant::ZERO;
        while host.received < bytes {
            let heard = turns.last().map_or(&[][..], |turn| &turn.host);
            let said = board.turn(now, heard, &payload);
            let answer = host.turn(now, &said);
            turns.push(Turn { now, board: said, host: answer });
            now = now + TURN;
        }
        Self { coding, payload, turns }
    }

    /// The host's end again.
    ///
    /// # Panics
    /// It does not do what it did.
    pub(crate) fn receive_again(&self) {
        let mut host = Host::new(self.coding);
        for turn in &self.turns {
            assert!(host.turn(turn.now, &turn.board) == turn.host, "the same is answered");
        }
    }

    /// The board's end again.
    ///
    /// # Panics
    /// It does not do what it did.
    pub(crate) fn send_again(&self) {
        let mut board = Board::new(self.coding);
        let mut heard: &[u8] = &[];
        for turn in &self.turns {
            assert!(board.turn(turn.now, heard, &self.payload) == turn.board, "the same is sent");
            heard = &turn.host;
        }
    }
}

/// The end that receives.
struct Host {
    link: Box<HostLink>,
    received: usize,
}

impl Host {
    fn new(coding: Coding) -> Self {
        Self { link: Box::new(HostLink::host(line(coding), 1)), received: 0 }
    }

    fn turn(&mut self, now: Instant, heard: &[u8]) -> Vec<u8> {
        self.link.handle_input(now, heard, &mut |_| {});
        if self.link.poll_timeout().is_some_and(|due| due <= now) {
            self.link.handle_timeout(now);
        }
        loop {
            let count = match self.link.poll_event() {
                None => break,
                Some(Event::Opened(_)) => {
                    self.link.open(STREAM, Priority::Bulk);
                    CREDIT
                }
                Some(Event::Data { bytes, .. }) => {
                    self.received += bytes.len();
                    bytes.len()
                }
                Some(_) => 0,
            };
            self.link.grant(STREAM, count);
        }
        transmit(&mut self.link, now)
    }
}

/// The end that sends.
struct Board {
    link: Box<BoardLink>,
    is_open: bool,
    written: usize,
}

/// As the agent's.
type BoardLink = Link<16, 16, 4096>;

impl Board {
    fn new(coding: Coding) -> Self {
        let beacon = Beacon { boot_id: [1; 16], nonce: 1, role: 0, coding };
        let link = Box::new(BoardLink::board(Instant::ZERO, line(coding), beacon));
        Self { link, is_open: false, written: 0 }
    }

    fn turn(&mut self, now: Instant, heard: &[u8], payload: &[u8]) -> Vec<u8> {
        self.link.handle_input(now, heard, &mut |_| {});
        if self.link.poll_timeout().is_some_and(|due| due <= now) {
            self.link.handle_timeout(now);
        }
        while let Some(event) = self.link.poll_event() {
            if matches!(event, Event::Opened(_)) {
                self.is_open = self.link.open(STREAM, Priority::Bulk);
            }
        }
        let mut said = Vec::new();
        while self.is_open {
            self.written += self.link.write(STREAM, &payload[self.written..]);
            let more = transmit(&mut self.link, now);
            if more.is_empty() {
                break;
            }
            said.extend_from_slice(&more);
        }
        said.extend(transmit(&mut self.link, now));
        said
    }
}

fn transmit<const WINDOW: usize, const STREAMS: usize>(
    link: &mut Link<WINDOW, STREAMS, 4096>,
    now: Instant,
) -> Vec<u8> {
    let mut said = Vec::new();
    let mut out = [0; LINE_MAX];
    while let Some(length) = link.poll_transmit(now, &mut out) {
        said.extend_from_slice(&out[..length]);
    }
    said
}

fn line(coding: Coding) -> LineConfig {
    LineConfig { coding, baud: 3_000_000 }
}

/// The one that carries the payload.
const STREAM: u8 = 1;

/// What the receiver grants beyond the initial credit, in bytes: more than a window.
const CREDIT: usize = 30_000;

/// Time from one turn to the next: a window's at 3 Mbaud, so that no timer runs out.
const TURN: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_end_does_again_what_it_did() {
        for coding in [Coding::TextSafe, Coding::Binary] {
            let recording = Recording::of_a_transfer(coding, 50_000);
            recording.receive_again();
            recording.send_again();
        }
    }
}
