//! Whole frames and beacons made by an input: what mutation alone would need a check value for.

use agent_core::link::frame::{BODY_MAX, CONTENT_MAX, Frame, Kind};
use agent_core::link::{Beacon, Coding, Hello, HelloAck, LINE_MAX, coding};
use agent_core::wire::codec;
use arbitrary::{Result, Unstructured};

/// A frame as an input describes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forged<'i> {
    pub(crate) frame: Frame<'i>,
    pub(crate) coding: Coding,
}

impl<'i> Forged<'i> {
    pub(crate) fn new(input: &mut Unstructured<'i>) -> Result<Self> {
        let [flags, kind, tag, ack, seq]: [u8; 5] = input.arbitrary()?;
        let kinds = [Kind::Data, Kind::Ack, Kind::Hello, Kind::HelloAck, Kind::Ping, Kind::Reset];
        let kind = kinds[usize::from(kind) % kinds.len()];
        let sack = if flags & 4 != 0 { Some(input.arbitrary()?) } else { None };
        let frame = Frame {
            kind,
            from_board: flags & 1 != 0,
            tag,
            ack,
            sack,
            seq: if kind == Kind::Data { seq } else { 0 },
            body: bytes(input, BODY_MAX)?,
        };
        let coding = if flags & 2 != 0 { Coding::Binary } else { Coding::TextSafe };
        Ok(Self { frame, coding })
    }

    /// As it is on the line.
    pub(crate) fn line(&self) -> Vec<u8> {
        let (mut content, mut out) = ([0; CONTENT_MAX], [0; LINE_MAX]);
        let length = self.frame.emit(&mut content);
        let used = coding::encode(self.coding, &content[..length], &mut out);
        out[..used].to_vec()
    }
}

/// A frame or a beacon of somebody whom this end does not know, or bytes that are neither.
pub(crate) fn piece(input: &mut Unstructured<'_>, tag: Option<u8>) -> Result<Vec<u8>> {
    let what: u8 = input.arbitrary()?;
    Ok(match what % 8 {
        0..4 => bytes(input, 255)?.to_vec(),
        4 => {
            let mut forged = Forged::new(input)?;
            // A line brings frames of other sessions, in an old log for example. One of this session with a right
            // check value, which nobody sent, it does not bring.
            if Some(forged.frame.tag) == tag && forged.frame.kind != Kind::Reset {
                forged.frame.tag ^= 0x55;
            }
            forged.line()
        }
        5 => beacon(input)?.to_line().as_bytes().to_vec(),
        6 => {
            let nonce = input.arbitrary()?;
            let [version_min, version_max, window]: [u8; 3] = input.arbitrary()?;
            let hello = Hello { version_min, version_max, nonce, window, capabilities: 0 };
            bare(Kind::Hello, what, &hello)
        }
        _ => {
            let Beacon { boot_id, nonce, role, .. } = beacon(input)?;
            let [version, window]: [u8; 2] = input.arbitrary()?;
            let host_nonce = input.arbitrary()?;
            let answer =
                HelloAck { version, boot_id, nonce, host_nonce, role, window, capabilities: 0 };
            bare(Kind::HelloAck, what, &answer)
        }
    })
}

/// As many bytes as the next one says, at most `max`.
pub(crate) fn bytes<'i>(input: &mut Unstructured<'i>, max: usize) -> Result<&'i [u8]> {
    let count = usize::from(input.arbitrary::<u8>()?);
    input.bytes(count.min(max).min(input.len()))
}

fn beacon(input: &mut Unstructured<'_>) -> Result<Beacon> {
    let [flags, boot]: [u8; 2] = input.arbitrary()?;
    let coding = if flags & 2 != 0 { Coding::Binary } else { Coding::TextSafe };
    let nonce = u32::from(input.arbitrary::<u8>()?);
    Ok(Beacon { boot_id: [boot; 16], nonce, role: flags & 1, coding })
}

fn bare(kind: Kind, what: u8, body: &impl serde::Serialize) -> Vec<u8> {
    let mut buffer = [0; 96];
    let body = codec::encode(body, &mut buffer).expect("room");
    let from_board = kind == Kind::HelloAck;
    let frame = Frame { kind, from_board, tag: 0, ack: 0, sack: None, seq: 0, body };
    let coding = if what & 8 != 0 { Coding::Binary } else { Coding::TextSafe };
    Forged { frame, coding }.line()
}
