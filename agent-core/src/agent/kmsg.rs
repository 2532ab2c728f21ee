//! Records of /dev/kmsg (the kernel's Documentation/ABI/testing/dev-kmsg):
//! `priority,sequence,microseconds,flags[,…];text` and, on lines that begin with a space, a dictionary.

/// One record, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelRecord<'a> {
    /// Facility << 3 | level, cut to a byte: no facility in use is above 31.
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
        let head = core::str::from_utf8(&record[..semicolon]).ok()?;
        let mut fields = head.split(',');
        let priority: u64 = fields.next()?.parse().ok()?;
        let sequence = fields.next()?.parse().ok()?;
        let us = fields.next()?.parse().ok()?;
        let text = &record[semicolon + 1..];
        let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
        Some(Self { priority: priority as u8, sequence, us, text: &text[..end] })
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
        for bad in [&b""[..], b"6,1,2", b"x,1,2,-;text", b"6;text", b"\xff,1,2;t"] {
            assert_eq!(KernelRecord::parse(bad), None);
        }
    }
}
