//! What the tests of one job say to each other over several boards: a helper calls, the dispatcher answers.
//!
//! The words are LAVA's MultiNode API's. A helper (`lava-send` and its like) sends a [`NodeCall`], postcard, one a packet,
//! over the test's socket, and waits for one packet: a status, and behind [`NodeAnswer::DONE`](super::request::NodeAnswer)
//! the text of the cache file, behind `FAILED` a sentence. The agent numbers calls and keeps each until the dispatcher
//! has it; what they mean only the dispatcher knows.

use super::codec::{self, BadBody};
use serde::{Deserialize, Serialize};

/// Longest id of a message, bytes. The case that tells of a call is named after it.
pub const NODE_ID_MAX: usize = 96;

/// Longest data of a call, bytes: some network addresses, not files.
pub const NODE_DATA_MAX: usize = 1024;

/// Longest encoded [`NodeCall`].
pub const NODE_CALL_MAX: usize = NODE_ID_MAX + NODE_DATA_MAX + 8;

/// Longest data of an answer, bytes: what all boards said under one id. It travels in one message.
pub const NODE_ANSWER_MAX: usize = 3072;

/// A call of a helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCall<'a> {
    /// One of the constants below. None is the kind of a [`TestSignal`](super::test_signal::TestSignal): the first byte of
    /// a packet tells which of both it is.
    pub kind: u8,
    /// Which message: 1 to [`NODE_ID_MAX`] bytes without spaces, `=` and control characters.
    #[serde(borrow)]
    pub id: &'a str,
    /// `SEND`: `key=value` words, each ended by a NUL. `WAIT_ALL`: the role, or nothing for all. No control character but
    /// that; whether it is text only the dispatcher looks.
    #[serde(borrow)]
    pub data: &'a [u8],
}

impl<'a> NodeCall<'a> {
    /// Says something to all nodes.
    pub const SEND: u8 = 32;
    /// Waits until some node has sent the message.
    pub const WAIT: u8 = 33;
    /// Waits until all nodes of a role have sent it.
    pub const WAIT_ALL: u8 = 34;
    /// Waits until all nodes are here.
    pub const SYNC: u8 = 35;

    /// Whether a packet on the test's socket is meant as a call.
    pub fn is_one(packet: &[u8]) -> bool {
        packet.first().is_some_and(|kind| (Self::SEND..=Self::SYNC).contains(kind))
    }

    /// Reads a packet of a helper. Anybody on the board may send one.
    ///
    /// # Errors
    /// [`BadBody`] for an unknown kind, and for an id or data that a call cannot have.
    pub fn parse(packet: &'a [u8]) -> Result<Self, BadBody> {
        let call: Self = codec::decode(packet)?;
        let is_control = |byte: &u8| matches!(byte, 1..b' ' | 0x7F);
        let is_id = (1..=NODE_ID_MAX).contains(&call.id.len())
            && !call.id.bytes().any(|byte| matches!(byte, 0..=b' ' | b'=' | 0x7F));
        let is_data = call.data.len() <= NODE_DATA_MAX && !call.data.iter().any(is_control);
        if Self::is_one(packet) && is_id && is_data { Ok(call) } else { Err(BadBody) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_read(call: &NodeCall<'_>) -> bool {
        let mut buffer = [0; 2 * NODE_CALL_MAX];
        NodeCall::parse(codec::encode(call, &mut buffer).unwrap()).is_ok_and(|read| read == *call)
    }

    fn text(bytes: &[u8]) -> &str {
        core::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn calls_are_read_back_or_refused() {
        let send = NodeCall {
            kind: NodeCall::SEND,
            id: "server-ready",
            data: b"ip=10.0.0.1\0b=\xc3\xbc 2\0",
        };
        let (long, long_id) = ([b'x'; NODE_DATA_MAX + 1], text(&[b'x'; NODE_ID_MAX + 1]));
        for good in [
            send,
            NodeCall { data: b"", ..send },
            NodeCall { kind: NodeCall::WAIT, data: b"", ..send },
            NodeCall { kind: NodeCall::WAIT_ALL, data: b"client_1.a-b", ..send },
            NodeCall { kind: NodeCall::SYNC, id: "\u{fc}", data: b"\xff" },
        ] {
            assert!(is_read(&good), "{good:?}");
        }
        for bad in [
            NodeCall { kind: 31, ..send },
            NodeCall { kind: 36, ..send },
            NodeCall { id: "", ..send },
            NodeCall { id: "a=b", ..send },
            NodeCall { id: "a b", ..send },
            NodeCall { id: "a\n", ..send },
            NodeCall { id: long_id, ..send },
            NodeCall { data: b"a=1\nb:c=2\0", ..send },
            NodeCall { data: &long, ..send },
        ] {
            assert!(!is_read(&bad), "{bad:?}");
        }
        assert!(!NodeCall::is_one(&[]) && NodeCall::parse(&[NodeCall::SEND]).is_err());
    }

    #[test]
    fn the_longest_fits() {
        let data = [b'x'; NODE_DATA_MAX];
        let id = text(&[b'x'; NODE_ID_MAX]);
        let call = NodeCall { kind: NodeCall::SEND, id, data: &data };
        assert!(codec::encode(&call, &mut [0; NODE_CALL_MAX]).is_ok());
    }
}
