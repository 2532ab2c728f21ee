//! How a session begins: what hello and its answer say, and the tag that both make of it.
//!
//! Bodies are postcard and grow only at the tail; a missing field is 0 and means the behaviour of version 1.

use super::beacon::Beacon;
use super::crc::crc32c;
use crate::wire::codec;
use crate::xorshift::Xorshift32;
use core::num::NonZeroU32;
use serde::{Deserialize, Serialize};

/// Version of the link that this code speaks; rises with every change that an older peer must know of.
pub const VERSION: u8 = 1;

/// Oldest version that this code still speaks.
pub const VERSION_MIN: u8 = 1;

/// Capability: the check values of DATA and ACK frames tell of which session they are, and how often their numbers have
/// wrapped in it.
pub const WRAPS: u32 = 1;

/// Capability: the dispatcher says when it leaves, and the agent understands it.
pub const GOODBYE: u32 = 1 << 1;

/// Capability bits of this code. Of both ends' bits, those that both have count.
pub(super) const CAPABILITIES: u32 = WRAPS | GOODBYE;

/// Longest body of either in bytes, with room to grow.
pub(super) const BODY_MAX: usize = 96;

/// The dispatcher opens a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest link version that the dispatcher speaks.
    pub version_min: u8,
    /// Newest one.
    pub version_max: u8,
    /// Random number of this attempt.
    pub nonce: u32,
    /// Frames that the dispatcher can hold.
    pub window: u8,
    /// Capability bits.
    pub capabilities: u32,
}

/// The agent has opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloAck {
    /// The version to speak. One that was not offered: the agent speaks only this, and there is no session.
    pub version: u8,
    /// The board's boot id.
    pub boot_id: [u8; 16],
    /// The agent's random number, as in its beacon.
    pub nonce: u32,
    /// The dispatcher's random number: which hello this answers.
    pub host_nonce: u32,
    /// 0 in the master image, 1 in the test image.
    pub role: u8,
    /// Frames that the agent can hold.
    pub window: u8,
    /// Capability bits.
    pub capabilities: u32,
}

impl Hello {
    pub(super) fn new(nonce: u32, window: u8) -> Self {
        Self {
            version_min: VERSION_MIN,
            version_max: VERSION,
            nonce,
            window,
            capabilities: CAPABILITIES,
        }
    }

    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        codec::decode(body).ok()
    }

    pub(super) fn emit(&self, out: &mut [u8; BODY_MAX]) -> usize {
        codec::encoded(self, out).unwrap_or(0)
    }
}

impl HelloAck {
    /// To a hello of this `host_nonce`. A `version` that the dispatcher did not offer refuses it: there is none that
    /// both speak, and this is the agent's.
    pub(super) fn new(version: u8, beacon: &Beacon, host_nonce: u32, window: u8) -> Self {
        Self {
            version,
            boot_id: beacon.boot_id,
            nonce: beacon.nonce,
            host_nonce,
            role: beacon.role,
            window,
            capabilities: CAPABILITIES,
        }
    }

    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        codec::decode(body).ok()
    }

    pub(super) fn emit(&self, out: &mut [u8; BODY_MAX]) -> usize {
        codec::encoded(self, out).unwrap_or(0)
    }
}

/// The newest version that both speak.
pub(super) fn common_version(hello: &Hello) -> Option<u8> {
    let version = hello.version_max.min(VERSION);
    (version >= hello.version_min.max(VERSION_MIN)).then_some(version)
}

/// What both ends make of the ids and nonces: the check values of a session's frames tell it.
pub(super) fn session_key(boot_id: &[u8; 16], nonce: u32, host_nonce: u32) -> u32 {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(boot_id);
    bytes[16..20].copy_from_slice(&nonce.to_le_bytes());
    bytes[20..].copy_from_slice(&host_nonce.to_le_bytes());
    crc32c(&bytes)
}

/// The tag by which frames of a session are told from those of another at a glance: never 0.
pub(super) fn session_tag(key: u32) -> u8 {
    (key as u8).max(1)
}

/// The random numbers of both ends, and a generator for the host's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nonces {
    random: Xorshift32,
    own: u32,
    peer: u32,
    last_tag: u8,
}

impl Nonces {
    pub(super) fn new(seed: u32) -> Self {
        let random = Xorshift32::new(NonZeroU32::MIN | seed);
        Self { random, own: 0, peer: 0, last_tag: 0 }
    }

    pub(super) fn own(&self) -> u32 {
        self.own
    }

    pub(super) fn peer(&self) -> u32 {
        self.peer
    }

    pub(super) fn set_peer(&mut self, nonce: u32) {
        self.peer = nonce;
    }

    /// A new number for the host, such that the session's tag differs from that of the last one: with 8 bits that
    /// must not be left to chance.
    pub(super) fn renew(&mut self, beacon: &Beacon) {
        loop {
            self.own = self.random.next();
            let key = session_key(&beacon.boot_id, beacon.nonce, self.own);
            if session_tag(key) != self.last_tag {
                return;
            }
        }
    }

    pub(super) fn used(&mut self, tag: u8) {
        self.last_tag = tag;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_agreed_on_or_refused() {
        let hello =
            |version_min, version_max| Hello { version_min, version_max, ..Hello::new(1, 8) };
        assert_eq!(common_version(&hello(1, 1)), Some(1));
        assert_eq!(common_version(&hello(1, 9)), Some(1));
        assert_eq!(common_version(&hello(2, 9)), None);
    }
}
