//! The check value of frames and beacons: CRC-32C (Castagnoli), 4 bytes little-endian.
//!
//! Any 5 flipped bits are found in a frame of up to 655 bytes (Hamming distance 6, by exhaustive search; see
//! docs/protocol.md), and of arbitrary damage one case in 2³² passes. The zlib polynomial has distance 5 only up to
//! 371 bytes; 16 bits would let one damaged frame an hour pass on a bad line.

use crc::{CRC_32_ISCSI, Crc, Table};

/// The CRC-32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// One table of 1 KiB.
static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

#[cfg(test)]
mod tests {
    #[test]
    fn check_value_of_the_catalogue() {
        assert_eq!(super::crc32c(b"123456789"), 0xE306_9283);
    }
}
