//! The side lane in virtual time: a pair of byte queues beside the lines, which can be cut, stopped and spoilt at any byte.

use crate::pair::Pair;
use agent_core::link::{LANE_FRAME_MAX, Link};
use agent_core::time::Instant;
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
    /// Whether what is given to each way is taken and never comes.
    pub(crate) fn stop(&mut self, is_down: bool, is_up: bool) {
        (self.down.is_stopped, self.up.is_stopped) = (is_down, is_up);
    }

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
    pub(crate) fn open_lane(&mut self, latency_us: u64, cut_after: Option<usize>) {
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
