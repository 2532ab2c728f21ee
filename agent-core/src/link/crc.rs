//! The check value of frames and beacons: CRC-32C (Castagnoli), 4 bytes little-endian.
//!
//! Any 5 flipped bits are found in a frame of up to 655 bytes (Hamming distance 6, by exhaustive search; see
//! docs/protocol.md), and of arbitrary damage one case in 2³² passes. The zlib polynomial has distance 5 only up to
//! 371 bytes; 16 bits would let one damaged frame an hour pass on a bad line.

/// The CRC-32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        let crc = crc ^ u32::from(*byte);
        let crc = crc >> 4 ^ TABLE[(crc & 15) as usize];
        crc >> 4 ^ TABLE[(crc & 15) as usize]
    })
}

/// Four bits at a time: a table of 64 bytes, where eight would take 1 KiB. It is fast enough for any line.
static TABLE: [u32; 16] = {
    let mut table = [0; 16];
    let mut index = 0;
    while index < 16 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 4 {
            crc = crc >> 1 ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// Castagnoli's, the lowest bit first.
const POLYNOMIAL: u32 = 0x82F6_3B78;

#[cfg(test)]
mod tests {
    #[test]
    fn check_value_of_the_catalogue() {
        assert_eq!(super::crc32c(b"123456789"), 0xE306_9283);
    }
}
