//! Following the kernel log from a record on, and marking a time in it.

use crate::problem::{Outcome, Problem, about};
use crate::sys::clock;
use crate::sys::kmsg::{Found, Kmsg};
use crate::text;
use agent_core::wire::{FailureKind, response};
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

/// Writes a line to the kernel's log, and reads back which time the kernel gave it.
///
/// # Errors
/// The log cannot be opened or written to, or the kernel does not show the line: `printk.devkmsg=off` drops it without
/// a word.
pub(crate) fn mark(buffer: &mut [u8]) -> Outcome<response::ClockMark> {
    let mut kmsg = Kmsg::open_at_end().map_err(about(MARK_FAILED))?;
    // The time makes it one of its kind.
    let text = ["pumice: clock mark ", &text::number(clock::now().as_micros())].concat();
    let record = ["<7>", &text, "\n"].concat();
    let before_us = clock::now().as_micros();
    kmsg.write(record.as_bytes()).map_err(about(MARK_FAILED))?;
    let after_us = clock::now().as_micros();
    for _ in 0..MARK_READS {
        match kmsg.read(buffer) {
            Found::Record(length) => {
                if let Some(kernel_us) = time_of(&buffer[..length], text.as_bytes()) {
                    return Ok(response::ClockMark { before_us, after_us, kernel_us });
                }
            }
            Found::Gap => {}
            Found::Nothing => break,
        }
    }
    Err(Problem::new(FailureKind::NOT_FOUND, MARK_FAILED))
}

/// The third field of `priority,sequence,µs,flags;text`, if that is its text.
fn time_of(record: &[u8], text: &[u8]) -> Option<u64> {
    let head = record.iter().position(|byte| *byte == b';')?;
    let line = record[head + 1..].split(|byte| *byte == b'\n').next()?;
    if line != text {
        return None;
    }
    let field = record[..head].split(|byte| *byte == b',').nth(2)?;
    text::parse(field)
}

const MARK_FAILED: &str = "a marker in /dev/kmsg";

/// Records that may come between the marker and its reading back.
const MARK_READS: usize = 64;

/// The second field of `priority,sequence,µs,flags;text`.
fn sequence(record: &[u8]) -> Option<u64> {
    let field = record.split(|byte| *byte == b',').nth(1)?;
    text::parse(field)
}

#[cfg(test)]
mod tests {
    use super::{mark, sequence, time_of};
    use crate::sys::kmsg::RECORD_MAX;

    #[test]
    fn the_sequence_number_is_the_second_field() {
        assert_eq!(sequence(b"6,339,5140900,-;NET: Registered\n"), Some(339));
        assert_eq!(sequence(b"6,x,5;a,7"), None);
        assert_eq!(sequence(b""), None);
    }

    #[test]
    fn the_time_is_the_third_field_of_the_record_with_the_text() {
        let record = b"15,339,5140900,-,caller=T1;pumice: clock mark 7\n SUBSYSTEM=x\n";
        assert_eq!(time_of(record, b"pumice: clock mark 7"), Some(5_140_900));
        for (record, text) in [
            (&record[..], &b"pumice: clock mark"[..]),
            (b"15,339,x,-;a\n", b"a"),
            (b"15,339;a\n", b"a"),
            (b"15,339,5,-", b""),
            (b"", b""),
        ] {
            assert_eq!(time_of(record, text), None);
        }
    }

    #[test]
    fn a_marker_comes_back_where_this_kernel_lets_us_write_to_its_log() {
        let mut buffer = [0; RECORD_MAX];
        match mark(&mut buffer) {
            Ok(mark) => {
                assert!(mark.before_us <= mark.after_us);
                let again = super::mark(&mut buffer).unwrap();
                assert!(again.kernel_us >= mark.kernel_us && again.before_us >= mark.after_us);
            }
            Err(problem) => {
                println!("not tested here: {} (errno {})", problem.text, problem.os_error);
            }
        }
    }
}
