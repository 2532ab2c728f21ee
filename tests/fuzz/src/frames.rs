//! Frames, their two codings, and beacons: what is written is read back, and what is read is written back the same.

use agent_core::link::Beacon;
use agent_core::link::coding::{
    self, COBS_MAX, Coding, LINE_MAX, SYMBOLS_MAX, SymbolReader, decode_cobs,
};
use agent_core::link::crc::crc32c;
use agent_core::link::frame::{CONTENT_MAX, Frame, Kind};

pub(crate) fn run(input: &[u8]) {
    let input = &input[..input.len().min(2 * CONTENT_MAX)];
    // The check value of a content is no secret: with it the rest of the parser is reached.
    parse(input);
    parse(&[input, &crc32c(input).to_le_bytes()].concat());
    emit(input);
    code(&input[..input.len().min(CONTENT_MAX)]);
    symbols(&input[..input.len().min(SYMBOLS_MAX)]);
    cobs(&input[..input.len().min(COBS_MAX)]);
    find(input);
    let said = [b"@pumice1 ", input].concat();
    find(&[&said, format!(" #{:08x}", crc32c(&said)).as_bytes()].concat());
    beacon(input);
}

/// A content that is a frame is the only form of that frame.
fn parse(content: &[u8]) {
    let Ok(frame) = Frame::parse(content) else { return };
    if content.len() <= CONTENT_MAX {
        let mut out = [0; CONTENT_MAX];
        let length = frame.emit(&mut out);
        assert_eq!(&out[..length], content, "{frame:?}");
    }
}

fn emit(input: &[u8]) {
    let [kind, flags, tag, ack, seq, s0, s1, s2, s3, body @ ..] = input else { return };
    let kinds = [Kind::Data, Kind::Ack, Kind::Hello, Kind::HelloAck, Kind::Ping, Kind::Reset];
    let kind = kinds[usize::from(*kind) % kinds.len()];
    let frame = Frame {
        kind,
        from_board: flags & 1 != 0,
        tag: *tag,
        ack: *ack,
        sack: (flags & 2 != 0).then_some(u32::from_le_bytes([*s0, *s1, *s2, *s3])),
        seq: if kind == Kind::Data { *seq } else { 0 },
        body: &body[..body.len().min(agent_core::link::frame::BODY_MAX)],
    };
    let mut out = [0; CONTENT_MAX];
    let length = frame.emit(&mut out);
    assert_eq!(Frame::parse(&out[..length]), Ok(frame));
}

fn code(content: &[u8]) {
    if content.is_empty() {
        return;
    }
    for coding in [Coding::TextSafe, Coding::Binary] {
        let mut out = [0; LINE_MAX];
        let used = coding::encode(coding, content, &mut out);
        let (open, close) = (out[0], out[used - 1]);
        let inner = &mut out[1..used - 1];
        let decoded = match coding {
            Coding::TextSafe => {
                assert_eq!((open, close), (coding::OPEN, coding::CLOSE));
                assert!(inner.iter().all(|byte| *byte >= 0x80));
                read_symbols(inner).expect("its own symbols")
            }
            Coding::Binary => {
                assert_eq!((open, close), (coding::ZERO, coding::ZERO));
                assert!(!inner.contains(&coding::ZERO));
                let length = decode_cobs(inner).expect("its own bytes");
                inner[..length].to_vec()
            }
        };
        assert!(decoded == content, "{coding:?}");
    }
}

/// Symbols that may be a frame are the only ones of their content.
fn symbols(input: &[u8]) {
    let symbols: Vec<u8> = input.iter().map(|byte| byte | 0x80).collect();
    let Some(content) = read_symbols(&symbols) else { return };
    let mut out = [0; LINE_MAX];
    let used = coding::encode(Coding::TextSafe, &content, &mut out);
    assert!(out[1..used - 1] == symbols);
}

fn read_symbols(symbols: &[u8]) -> Option<Vec<u8>> {
    let mut reader = SymbolReader::default();
    let content = symbols.iter().filter_map(|symbol| reader.push(*symbol)).collect();
    reader.is_complete().then_some(content)
}

fn cobs(input: &[u8]) {
    let mut bytes = input.to_vec();
    let Some(length) = decode_cobs(&mut bytes) else { return };
    assert!(length <= input.len());
    if (1..=CONTENT_MAX).contains(&length) {
        code(&bytes[..length]);
    }
}

/// What is read as a beacon means the same when it is written anew.
fn find(line: &[u8]) {
    if let Some(beacon) = Beacon::find(line) {
        assert_eq!(Beacon::find(beacon.to_line().trim().as_bytes()), Some(beacon));
    }
}

fn beacon(input: &[u8]) {
    let Some(([n0, n1, n2, n3, flags, boot_id @ ..], behind)) = input.split_first_chunk::<21>()
    else {
        return;
    };
    let beacon = Beacon {
        boot_id: *boot_id,
        nonce: u32::from_le_bytes([*n0, *n1, *n2, *n3]),
        role: flags & 1,
        coding: if flags & 2 != 0 { Coding::Binary } else { Coding::TextSafe },
    };
    let line = beacon.to_line();
    let line = line.trim().as_bytes();
    assert_eq!(Beacon::find(line), Some(beacon));
    // Whatever stands before it on the line, it is found.
    assert_eq!(Beacon::find(&[behind, line].concat()), Some(beacon));
}
