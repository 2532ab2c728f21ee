//! The live log: records on the stream that `follow` named, each behind a u16 LE length.
//!
//! Live is a view, not the truth: where the line is slower than the board, records are left out and one of source
//! [`Record::ELIDED`] says how many. What must not be lost stands in the board's files.

use super::codec::{self, BadBody, TooLong};
use serde::{Deserialize, Serialize};

/// Longest text in a record, bytes. Longer kernel lines and output are cut into several records.
pub const TEXT_MAX: usize = 512;

/// Longest record with its length, bytes: the text and 50 for the fields, whose varints are at most 10 bytes each.
pub const RECORD_MAX: usize = TEXT_MAX + 50;

/// One piece of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<'a> {
    /// One of the constants below.
    pub source: u8,
    /// Kernel: the priority byte of /dev/kmsg (facility << 3 | level). Otherwise 0.
    pub priority: u8,
    /// Index of the test in its plan, for output and test records; 0 otherwise.
    pub test: u16,
    /// Board time in µs: the kernel's own stamp for kernel records, CLOCK_MONOTONIC when it was read for others.
    pub board_us: u64,
    /// Kernel: sequence number; for [`Record::KERNEL_GAP`] that of the first record lost. Output and user console: offset
    /// in the file of its first byte. Elided: number of records left out. Test signal: its number in the plan.
    pub sequence: u64,
    /// The text; for [`Record::TEST_STARTED`] the suite's name, for [`Record::TEST_ENDED`] an encoded
    /// [`Exit`](super::response::Exit), for [`Record::TEST_SIGNAL`] an encoded [`Noted`](super::test_signal::Noted).
    #[serde(borrow)]
    pub text: &'a [u8],
    /// Elided: bytes of text left out. Kernel gap: records lost. Otherwise 0.
    pub count: u64,
}

impl<'a> Record<'a> {
    /// A record of /dev/kmsg.
    pub const KERNEL: u8 = 1;
    /// Standard output of a test.
    pub const STDOUT: u8 = 2;
    /// Standard error of a test.
    pub const STDERR: u8 = 3;
    /// The agent itself.
    pub const AGENT: u8 = 4;
    /// A test starts.
    pub const TEST_STARTED: u8 = 5;
    /// A test has ended.
    pub const TEST_ENDED: u8 = 6;
    /// All tests have ended and their files are synced.
    pub const PLAN_ENDED: u8 = 7;
    /// Records were left out.
    pub const ELIDED: u8 = 8;
    /// A test told the agent something: a case began or ended, and the like.
    pub const TEST_SIGNAL: u8 = 9;
    /// What user space printed to /dev/console.
    pub const USER_CONSOLE: u8 = 10;
    /// The kernel overwrote records before they were read.
    pub const KERNEL_GAP: u8 = 11;
    /// The plan goes on, behind the test that a restart of the board or of the agent ended; `test` is the next one.
    pub const PLAN_RESUMED: u8 = 12;

    /// Writes length and record into `out`.
    ///
    /// # Errors
    /// [`TooLong`] when `out` is too short; [`RECORD_MAX`] is enough for any text up to [`TEXT_MAX`].
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], TooLong> {
        encode_counted(self, out)
    }

    /// The first record in `bytes` and the bytes it takes, or `None` while it is not all there.
    ///
    /// # Errors
    /// [`BadBody`] when it is no record.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, BadBody> {
        match split_counted(bytes) {
            Some(body) => Ok(Some((codec::decode(body)?, body.len() + 2))),
            None => Ok(None),
        }
    }
}

/// Writes `item` behind its u16 LE length into `out` and returns the bytes used.
///
/// # Errors
/// [`TooLong`] when `out` is too short.
pub fn encode_counted<'o, T: Serialize>(item: &T, out: &'o mut [u8]) -> Result<&'o [u8], TooLong> {
    let (length, body) = out.split_first_chunk_mut::<2>().ok_or(TooLong)?;
    let used = codec::encoded(item, body)?;
    *length = u16::try_from(used).map_err(|_| TooLong)?.to_le_bytes();
    Ok(&out[..used + 2])
}

/// The first item behind a u16 LE length, without it, or `None` while it is not all there.
pub fn split_counted(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_le_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_record_fits() {
        let text = [b'x'; TEXT_MAX];
        let record = Record {
            source: 255,
            priority: 255,
            test: u16::MAX,
            board_us: u64::MAX,
            sequence: u64::MAX,
            text: &text,
            count: u64::MAX,
        };
        let mut buffer = [0; RECORD_MAX];
        let bytes = record.encode(&mut buffer).unwrap();
        assert_eq!(Record::parse(bytes), Ok(Some((record, bytes.len()))));
        assert_eq!(Record::parse(&bytes[..bytes.len() - 1]), Ok(None));
    }
}
