//! What it means for bytes to be frozen.

use agent_core::link::coding::{self, Coding, LINE_MAX, SymbolReader, decode_cobs};
use agent_core::link::frame::{CONTENT_MAX, Frame};
use agent_core::wire::codec;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// `body` has these bytes, one slice a field, and they mean `body`. What an older peer sends (fewer fields) reads as
/// zeros behind what is there, and what a newer one appends is ignored.
#[track_caller]
pub(crate) fn assert_bytes<T>(body: &T, fields: &[&[u8]])
where
    T: Debug + PartialEq + Serialize + Deserialize<'static>,
{
    // Leaked, so that what is decoded may borrow from it as long as `T` likes.
    let bytes: &'static [u8] = fields.concat().leak();
    let mut buffer = [0; 4096];
    assert_eq!(codec::encode(body, &mut buffer).unwrap(), bytes, "bytes of {body:?}");
    assert_eq!(codec::decode::<T>(bytes).unwrap(), *body);
    let longer: &'static [u8] = [bytes, &[0xA5; 9]].concat().leak();
    assert_eq!(codec::decode::<T>(longer).unwrap(), *body);
    for count in 0..fields.len() {
        let shorter: &'static [u8] = fields[..count].concat().leak();
        let read = codec::decode::<T>(shorter).unwrap();
        let again = codec::encode(&read, &mut buffer).unwrap();
        let (same, missing) = again.split_at(shorter.len());
        assert_eq!(same, shorter, "{count} fields of {body:?}");
        assert!(missing.iter().all(|byte| *byte == 0), "{count} fields of {body:?}: {read:?}");
    }
}

/// `frame` has this content, one slice a field, and looks so on the line in either coding.
#[track_caller]
pub(crate) fn assert_frame(frame: &Frame<'_>, fields: &[&[u8]], text_safe: &[u8], binary: &[u8]) {
    let content = fields.concat();
    let mut out = [0; CONTENT_MAX];
    let length = frame.emit(&mut out);
    assert_eq!(out[..length], content, "content of {frame:?}");
    assert_eq!(Frame::parse(&content), Ok(*frame));
    for (coding, line) in [(Coding::TextSafe, text_safe), (Coding::Binary, binary)] {
        let mut out = [0; LINE_MAX];
        let length = coding::encode(coding, &content, &mut out);
        assert_eq!(&out[..length], line, "{coding:?}");
        assert_eq!(decode(coding, line), content);
    }
}

/// The content of a frame on the line.
pub(crate) fn decode(coding: Coding, line: &[u8]) -> Vec<u8> {
    let mut inner = line[1..line.len() - 1].to_vec();
    match coding {
        Coding::TextSafe => {
            let mut reader = SymbolReader::default();
            let content = inner.iter().filter_map(|symbol| reader.push(*symbol)).collect();
            assert!(reader.is_complete());
            content
        }
        Coding::Binary => {
            let length = decode_cobs(&mut inner).unwrap();
            inner.truncate(length);
            inner
        }
    }
}
