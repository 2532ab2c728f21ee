//! Records of /dev/kmsg (the kernel's Documentation/ABI/testing/dev-kmsg):
//! `priority,sequence,microseconds,flags[,…];text` and, on lines that begin with a space, a dictionary.

use crate::text::parse_decimal;

/// One record, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelRecord<'a> {
    /// Facility << 3 | level; facilities above 31, which none in use is, are shown as 31.
    pub priority: u8,
    /// Sequence number.
    pub sequence: u64,
    /// The kernel's own time in µs.
    pub us: u64,
    /// The message, without dictionary and line end.
    pub text: &'a [u8],
}

impl<'a> KernelRecord<'a> {
    /// Reads a record, or `None` when it is none.
    pub fn parse(record: &'a [u8]) -> Option<Self> {
        let semicolon = record.iter().position(|byte| *byte == b';')?;
        let mut fields = record[..semicolon].split(|byte| *byte == b',').map(parse_decimal);
        let priority = fields.next()??;
        let sequence = fields.next()??;
        let us = fields.next()??;
        let text = &record[semicolon + 1..];
        let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
        // Cut to a byte, what user space writes as "<256>" would pass for the kernel's own facility 0.
        let priority = u8::try_from(priority).unwrap_or(31 << 3 | (priority & 7) as u8);
        Some(Self { priority, sequence, us, text: &text[..end] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_kernel_are_read() {
        let record =
            b"6,339,5140900,-,caller=T1;NET: Registered protocol family 10\n SUBSYSTEM=net\n";
        assert_eq!(
            KernelRecord::parse(record),
            Some(KernelRecord {
                priority: 6,
                sequence: 339,
                us: 5_140_900,
                text: b"NET: Registered protocol family 10",
            })
        );
        let priority = |record| KernelRecord::parse(record).map(|record| record.priority);
        assert_eq!(priority(b"12,1,2,-;text"), Some(12));
        assert_eq!(priority(b"257,1,2,-;text"), Some(31 << 3 | 1));
        for bad in [&b""[..], b"6,1,2", b"x,1,2,-;text", b"6;text", b"\xff,1,2;t"] {
            assert_eq!(KernelRecord::parse(bad), None);
        }
    }
}
