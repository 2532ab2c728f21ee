//! What postcard does, in half as many bytes of program: a field that is bad or does not fit is remembered and told at the
//! end, not after each field, and numbers of all widths are one function's. So no kind of field may refuse values by itself: an
//! enum does not compile, and a number that must not be 0 would end the agent.

mod reader;
mod writer;

use super::{BadBody, Read};
use core::fmt;
use reader::Reader;
use serde::Deserialize;
pub use writer::Writer;

pub(super) fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<Read<'de, T>, BadBody> {
    let mut reader = Reader::new(bytes);
    let Ok(body) = T::deserialize(&mut reader);
    let Reader { rest, is_bad, is_short } = reader;
    if is_bad { Err(BadBody) } else { Ok(Read { body, rest, is_short }) }
}

/// The error that reading or writing a field never has.
#[derive(Debug)]
pub enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl core::error::Error for Never {}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::super::whole;
    use super::*;
    use crate::wire::response::{Exit, Info, Outcome};
    use crate::wire::test_signal::{Noted, TestSignal};
    use crate::wire::{Failure, FailureKind};
    use core::fmt::Debug;
    use proptest::prelude::*;
    use serde::Serialize;
    use std::vec::Vec;

    /// The bytes, or nothing when there are more than fit into `room`.
    fn written<T: Serialize>(body: &T, room: usize) -> Option<Vec<u8>> {
        let mut out = [0; 512];
        let mut writer = Writer::new(&mut out[..room]);
        writer.put(body);
        let length = writer.length();
        length.map(|length| out[..length].to_vec())
    }

    /// Returns the bytes.
    fn is_written_as_postcard<T: Serialize>(body: &T) -> Vec<u8> {
        let bytes = postcard::to_allocvec(body).unwrap();
        assert_eq!(written(body, 512).as_ref(), Some(&bytes));
        for room in 0..bytes.len() {
            assert_eq!(written(body, room), None);
        }
        bytes
    }

    /// Also what is bad: cut in the middle, no UTF-8, no number of its kind.
    fn is_read_as_postcard<'de, T: Deserialize<'de> + PartialEq + Debug>(bytes: &'de [u8]) {
        let ours = read::<T>(bytes).map(|read| (read.body, read.rest, read.is_short));
        let theirs = whole::read::<T>(bytes).map(|read| (read.body, read.rest, read.is_short));
        assert_eq!(ours, theirs);
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Kinds<'a> {
        small: (u8, i8, bool, u16, i16),
        wide: (u32, i32, u64, i64, usize),
        maybe: Option<Option<u32>>,
        #[serde(borrow)]
        text: &'a str,
        #[serde(borrow)]
        bytes: &'a [u8],
        array: [u16; 3],
        nothing: (),
    }

    proptest! {
        #[test]
        fn written_as_postcard_writes(
            small: (u8, i8, bool, u16, i16), wide: (u32, i32, u64, i64, usize), maybe: Option<Option<u32>>,
            text in "\\PC{0,24}", bytes in proptest::collection::vec(any::<u8>(), 0..140), array: [u16; 3],
        ) {
            let body = Kinds { small, wide, maybe, text: &text, bytes: &bytes, array, nothing: () };
            let bytes = is_written_as_postcard(&body);
            assert_eq!(read::<Kinds<'_>>(&bytes).unwrap().body, body);
            for length in 0..bytes.len() {
                is_read_as_postcard::<Kinds<'_>>(&bytes[..length]);
            }
            let exit = Exit { end: small.0, elapsed_us: wide.2, ..Exit::default() };
            let signal = TestSignal { name: &text, step: wide.0, exit, ..TestSignal::default() };
            is_written_as_postcard(&Noted { stdout_bytes: wide.2, stderr_bytes: 0, signal });
            is_written_as_postcard(&Failure { kind: FailureKind(small.3), os_error: wide.1, text: &text });
            is_written_as_postcard(&Outcome { state: small.0, method: small.3, body: &bytes });
        }

        #[test]
        fn read_as_postcard_reads(bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), 0..4_u8, Just(0x80), Just(0xFF), Just(b'x')], 0..60,
        )) {
            is_read_as_postcard::<Kinds<'_>>(&bytes);
            is_read_as_postcard::<Noted<'_>>(&bytes);
            is_read_as_postcard::<Info<'_>>(&bytes);
            is_read_as_postcard::<(u16, u32, u64, i32, bool, Option<u8>)>(&bytes);
        }
    }
}
