//! Retired: the steps of a [`block-write`](super::Method::BLOCK_WRITE), by which an image reached a partition before there
//! were deploy plans ([`steps`](super::steps)). No agent of this version takes them; they stay for the frozen bytes.
//!
//! A step is a header of [`STEP_LEN`] bytes and, for a bin, its packed bytes:
//!
//! ```text
//! 0   kind    u8      0 end, 1 zero, 2 bin
//! 1   codec   u8      of a bin: 0 raw, 1 LZMA
//! 2   -       u16     0
//! 4   packed  u32 LE  bytes that follow (bin)
//! 8   offset  u64 LE  first byte in the partition
//! 16  length  u64 LE  bytes written there
//! ```
//!
//! A bin is at most 64 KiB, packed and unpacked alike.

/// Bytes of a step's header.
pub const STEP_LEN: usize = 24;

/// Largest bin in bytes, packed or unpacked.
const BIN_MAX: usize = 64 * 1024;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The image is complete.
    End,
    /// `length` zeros at `offset`.
    Zero {
        /// First byte in the partition.
        offset: u64,
        /// Number of bytes.
        length: u64,
    },
    /// `packed` bytes follow, which unpack to `length` bytes for `offset`.
    Bin {
        /// How it is packed.
        codec: Codec,
        /// Bytes that follow on the stream, 1 to 65536.
        packed: u32,
        /// First byte in the partition.
        offset: u64,
        /// Bytes after unpacking, 1 to 65536.
        length: u32,
    },
}

/// How a bin is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    Raw,
    /// A raw LZMA stream without header and end marker.
    Lzma,
}

impl Step {
    /// Reads a step's header.
    ///
    /// # Errors
    /// [`BadStep`] for a kind, codec or size that no dispatcher sends.
    pub fn parse(bytes: &[u8; STEP_LEN]) -> Result<Self, BadStep> {
        let packed = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let [offset, length] = [8, 16].map(|at| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(number)
        });
        let codec = match bytes[1] {
            0 => Codec::Raw,
            1 => Codec::Lzma,
            _ => return Err(BadStep),
        };
        match bytes[0] {
            0 => Ok(Self::End),
            1 => Ok(Self::Zero { offset, length }),
            2 => {
                let in_bounds = |bytes: u64| (1..=BIN_MAX as u64).contains(&bytes);
                if !in_bounds(length) || !in_bounds(u64::from(packed)) {
                    return Err(BadStep);
                }
                if codec == Codec::Raw && u64::from(packed) != length {
                    return Err(BadStep);
                }
                Ok(Self::Bin { codec, packed, offset, length: length as u32 })
            }
            _ => Err(BadStep),
        }
    }

    /// The step's header.
    pub fn to_bytes(self) -> [u8; STEP_LEN] {
        let (kind, codec, packed, offset, length) = match self {
            Self::End => (0, 0, 0, 0, 0),
            Self::Zero { offset, length } => (1, 0, 0, offset, length),
            Self::Bin { codec, packed, offset, length } => {
                (2, u8::from(codec == Codec::Lzma), packed, offset, u64::from(length))
            }
        };
        let mut bytes = [0; STEP_LEN];
        bytes[0] = kind;
        bytes[1] = codec;
        bytes[4..8].copy_from_slice(&packed.to_le_bytes());
        bytes[8..16].copy_from_slice(&offset.to_le_bytes());
        bytes[16..].copy_from_slice(&length.to_le_bytes());
        bytes
    }
}

/// Not a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadStep;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_back_as_they_went() {
        for step in [
            Step::End,
            Step::Zero { offset: 4096, length: 1 << 40 },
            Step::Bin { codec: Codec::Raw, packed: 9, offset: 7, length: 9 },
            Step::Bin { codec: Codec::Lzma, packed: 100, offset: 1 << 33, length: 65536 },
        ] {
            assert_eq!(Step::parse(&step.to_bytes()), Ok(step));
        }
    }

    #[test]
    fn bins_beyond_the_bound_are_refused() {
        for (packed, length) in [(0, 5), (5, 0), (65537, 65537), (u32::MAX, 1)] {
            let step = Step::Bin { codec: Codec::Lzma, packed, offset: 0, length };
            assert_eq!(Step::parse(&step.to_bytes()), Err(BadStep));
        }
        let unequal = Step::Bin { codec: Codec::Raw, packed: 4, offset: 0, length: 5 };
        assert_eq!(Step::parse(&unequal.to_bytes()), Err(BadStep));
    }
}
