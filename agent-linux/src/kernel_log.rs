//! Following the kernel log from a record on.

use crate::sys::kmsg::{Found, Kmsg};
use std::os::fd::BorrowedFd;

/// The kernel log, if this process may read it.
pub(crate) struct KernelLog {
    kmsg: Option<Kmsg>,
    /// Records before this one are dropped.
    wanted: u64,
}

impl KernelLog {
    /// Opens it. Without the rights for it there is none, and all else works.
    pub(crate) fn open() -> Self {
        Self { kmsg: Kmsg::open().ok(), wanted: 0 }
    }

    /// For polling.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.kmsg.as_ref().map(Kmsg::fd)
    }

    /// Goes to the record with this sequence number.
    pub(crate) fn seek(&mut self, sequence: u64) {
        self.wanted = sequence;
        // The kernel can seek to the first only; the rest is reading.
        if let Some(kmsg) = &mut self.kmsg {
            kmsg.rewind();
        }
    }

    /// The next record.
    pub(crate) fn next(&mut self, buffer: &mut [u8]) -> Found {
        let Some(kmsg) = &mut self.kmsg else { return Found::Nothing };
        loop {
            match kmsg.read(buffer) {
                Found::Record(length)
                    if sequence(&buffer[..length]).is_some_and(|number| number < self.wanted) => {}
                other => return other,
            }
        }
    }
}

/// The second field of `priority,sequence,µs,flags;text`.
fn sequence(record: &[u8]) -> Option<u64> {
    let field = record.split(|byte| *byte == b',').nth(1)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::sequence;

    #[test]
    fn the_sequence_number_is_the_second_field() {
        assert_eq!(sequence(b"6,339,5140900,-;NET: Registered\n"), Some(339));
        assert_eq!(sequence(b"6,x,5;a,7"), None);
        assert_eq!(sequence(b""), None);
    }
}
