//! How sessions begin and are taken over: beacons, hellos and their answers, for both ends.

use super::beacon::{BEACON_MAX, Beacon};
use super::deframer::Said;
use super::frame::Kind;
use super::handshake::{self, Hello, HelloAck, session_key};
use super::memory::Memory;
use super::{
    BEACON_EVERY, CloseReason, Coding, Link, Peer, Pending, Side, VERSION, VERSION_MIN, coding,
};
use crate::time::{Duration, Instant};

/// A hello is repeated after so long, at most [`HELLO_TRIES`] times for one beacon.
const HELLO_EVERY: Duration = Duration::from_millis(300);

/// Longer than the time between two beacons, so that the next one takes over.
const HELLO_TRIES: u8 = 8;

/// A beacon in an open session is believed when another one comes so much later, and no frame of the session between:
/// a ping is answered in less.
const DOUBT_MAX: Duration = Duration::from_secs(1);

impl<const WINDOW: usize, const STREAMS: usize, const SEND: usize, M: Memory>
    Link<WINDOW, STREAMS, SEND, M>
{
    pub(super) fn handle_said(&mut self, now: Instant, said: Said) {
        match said {
            Said::Beacon(beacon) => self.handle_beacon(now, beacon),
            Said::LaterBeacon(version) => self.handle_incompatible(version),
        }
    }

    fn handle_beacon(&mut self, now: Instant, beacon: Beacon) {
        self.stats.beacons += 1;
        if self.session.is_open() {
            // An agent that beacons has no session, whatever we believe; but anybody can print an old beacon, with a log
            // of this line. Who sent it, the answer to a ping tells.
            let since = self.doubted.map_or(now, |(_, since)| since);
            if now.since(since) >= DOUBT_MAX {
                return self.begin_anew(now, beacon);
            }
            self.doubted = Some((beacon, since));
            self.session.ping();
            return;
        }
        self.believe_beacon(now, beacon);
    }

    /// The agent has no session: what its beacon said is true.
    fn begin_anew(&mut self, now: Instant, beacon: Beacon) {
        let is_known = self
            .beacon
            .is_some_and(|known| (known.boot_id, known.nonce) == (beacon.boot_id, beacon.nonce));
        self.close(now, if is_known { CloseReason::Silent } else { CloseReason::Replaced });
        self.believe_beacon(now, beacon);
    }

    fn believe_beacon(&mut self, now: Instant, beacon: Beacon) {
        if beacon.coding != self.line.coding {
            self.line.coding = beacon.coding;
            self.deframer.set_binary(beacon.coding == Coding::Binary, &mut self.stats);
        }
        self.incompatible = None;
        self.beacon = Some(beacon);
        self.is_muted = false;
        self.push_event(Pending::Beacon(beacon));
        if self.is_answering {
            self.nonces.renew(&beacon);
            self.greeting_at = Some(now);
            self.hellos_left = HELLO_TRIES;
        }
    }

    /// The agent knows nothing of the session.
    pub(super) fn handle_reset(&mut self, now: Instant) {
        match self.doubted {
            Some((beacon, _)) => self.begin_anew(now, beacon),
            None => self.close(now, CloseReason::Replaced),
        }
    }

    fn handle_incompatible(&mut self, version: u8) {
        if self.incompatible.replace(version) != Some(version) {
            self.push_event(Pending::Incompatible(version));
        }
    }

    pub(super) fn handle_hello(&mut self, now: Instant, beacon: Beacon, hello: Hello) {
        let Some(version) = handshake::common_version(&hello) else {
            self.stats.unknown += 1;
            self.hello_ack_due = Some((VERSION, hello.nonce));
            return;
        };
        if self.nonces.peer() == hello.nonce {
            // Repeated: the answer was late or lost. But a session that is over is never opened again, because the
            // host may believe in it still and go on counting where it was.
            if self.session.is_open() {
                self.hello_ack_due = Some((version, hello.nonce));
            } else {
                self.stats.stale += 1;
            }
            return;
        }
        if self.session.is_open() {
            self.close(now, CloseReason::Replaced);
        }
        self.hello_ack_due = Some((version, hello.nonce));
        self.nonces.set_peer(hello.nonce);
        self.greeting_at = None;
        let key = session_key(&beacon.boot_id, beacon.nonce, hello.nonce);
        let capabilities = hello.capabilities & handshake::CAPABILITIES;
        self.session.open(now, key, hello.window, self.sending_line(), capabilities);
        let Beacon { boot_id, role, .. } = beacon;
        self.opened(Peer { boot_id, role, version, capabilities });
    }

    pub(super) fn handle_hello_ack(&mut self, now: Instant, answer: HelloAck) {
        let is_ours = self.greeting_at.is_some() && answer.host_nonce == self.nonces.own();
        if !is_ours {
            self.stats.stale += 1;
            return;
        }
        self.greeting_at = None;
        if !(VERSION_MIN..=VERSION).contains(&answer.version) {
            return self.handle_incompatible(answer.version);
        }
        let key = session_key(&answer.boot_id, answer.nonce, answer.host_nonce);
        let capabilities = answer.capabilities & handshake::CAPABILITIES;
        self.session.open(now, key, answer.window, self.sending_line(), capabilities);
        self.nonces.used(self.session.tag());
        // At once, so that the board hears from us before its first timeout.
        self.session.acknowledge_now();
        self.opened(Peer {
            boot_id: answer.boot_id,
            role: answer.role,
            version: answer.version,
            capabilities,
        });
    }

    pub(super) fn greet(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        match self.side {
            Side::Board(beacon) => {
                // On a slow line beacons must not be all there is.
                let pause =
                    self.beacon_pause.max(self.session.byte_time().times(4 * BEACON_MAX as u64));
                self.greeting_at = Some(now + pause);
                self.beacon_pause =
                    if pause.times(2) < BEACON_EVERY { pause.times(2) } else { BEACON_EVERY };
                self.stats.beacons += 1;
                let line = beacon.to_line();
                // A zero ends a binary frame that a reset may have cut: else the line would be read as more of it.
                let zero = usize::from(self.line.coding == Coding::Binary);
                out[0] = coding::ZERO;
                out[zero..zero + line.len()].copy_from_slice(line.as_bytes());
                Some(zero + line.len())
            }
            Side::Host(host) => (host.greet)(self, now, out),
        }
    }

    pub(super) fn say_hello(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        if self.hellos_left == 0 {
            self.greeting_at = None;
            return None;
        }
        self.hellos_left -= 1;
        self.greeting_at = Some(now + HELLO_EVERY);
        let mut body = [0; handshake::BODY_MAX];
        let length = Hello::new(self.nonces.own(), WINDOW as u8).emit(&mut body);
        Some(self.emit_bare(Kind::Hello, 0, &body[..length], out))
    }
}
