//! The two forms of a frame on the line.
//!
//! *Text-safe*: 0x1E, the content as 7-bit groups with the top bit set, 0x1F. Every byte between the marks is 0x80 or
//! above, so whatever text falls into the middle of a frame is told apart byte by byte. Costs 8/7.
//!
//! *Binary*: 0x00, COBS (Cheshire and Baker, 1999), 0x00. Costs 1/254, but text that falls in damages the frame.

use super::frame::CONTENT_MAX;

/// Which form an end sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// 7-bit groups: for a UART that others write text to.
    TextSafe,
    /// COBS: towards the board, and both ways on a UART of our own.
    Binary,
}

/// Opens a text-safe frame. Not in the default special characters of a tty, nor an escape of telnet, screen, picocom,
/// minicom or QEMU.
pub const OPEN: u8 = 0x1E;

/// Closes a text-safe frame.
pub const CLOSE: u8 = 0x1F;

/// Stands before and after a binary frame, and nowhere inside.
pub const ZERO: u8 = 0x00;

/// Bytes of the longest frame on the line in either form.
pub const LINE_MAX: usize = (CONTENT_MAX * 8).div_ceil(7) + 2;

/// Symbols of the longest text-safe frame.
pub const SYMBOLS_MAX: usize = LINE_MAX - 2;

/// Bytes of the longest binary frame, without its marks.
pub const COBS_MAX: usize = CONTENT_MAX + CONTENT_MAX.div_ceil(254);

/// Writes `content` (at most [`CONTENT_MAX`] bytes) with its marks and returns the bytes used, 0 if `out` is shorter
/// than [`LINE_MAX`].
pub fn encode(coding: Coding, content: &[u8], out: &mut [u8]) -> usize {
    if out.len() < LINE_MAX || content.len() > CONTENT_MAX {
        return 0;
    }
    match coding {
        Coding::TextSafe => encode_text_safe(content, out),
        Coding::Binary => encode_binary(content, out),
    }
}

fn encode_text_safe(content: &[u8], out: &mut [u8]) -> usize {
    out[0] = OPEN;
    let mut at = 1;
    let (mut bits, mut count) = (0u32, 0);
    for byte in content {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 7 {
            count -= 7;
            out[at] = 0x80 | (bits >> count) as u8;
            at += 1;
        }
    }
    if count > 0 {
        out[at] = 0x80 | (bits << (7 - count)) as u8;
        at += 1;
    }
    out[at] = CLOSE;
    at + 1
}

fn encode_binary(content: &[u8], out: &mut [u8]) -> usize {
    out[0] = ZERO;
    let (mut code_at, mut at) = (1, 2);
    for byte in content {
        if *byte == 0 {
            out[code_at] = (at - code_at) as u8;
            code_at = at;
        } else {
            out[at] = *byte;
            if at - code_at == 254 {
                out[code_at] = 255;
                code_at = at + 1;
                at += 1;
            }
        }
        at += 1;
    }
    out[code_at] = (at - code_at) as u8;
    out[at] = ZERO;
    at + 1
}

/// Decodes the symbols of a text-safe frame one by one.
#[derive(Clone, Copy, Debug, Default)]
pub struct SymbolReader {
    bits: u32,
    count: u8,
    symbols: u16,
}

impl SymbolReader {
    /// Takes a symbol (0x80 or above) and returns the byte that it completes.
    pub fn push(&mut self, symbol: u8) -> Option<u8> {
        self.symbols += 1;
        self.bits = self.bits << 7 | u32::from(symbol & 0x7F);
        self.count += 7;
        if self.count < 8 {
            return None;
        }
        self.count -= 8;
        Some((self.bits >> self.count) as u8)
    }

    /// Whether a frame may end here: the last symbol is needed, and the bits that fill it up are zero.
    pub fn is_complete(&self) -> bool {
        self.symbols > 0 && self.count < 7 && self.bits & ((1 << self.count) - 1) == 0
    }
}

/// Decodes COBS in place and returns the content's length, or `None` when the chain does not land on the end.
pub fn decode_cobs(bytes: &mut [u8]) -> Option<usize> {
    let (mut read, mut written) = (0, 0);
    while read < bytes.len() {
        let code = usize::from(bytes[read]);
        if code == 0 || read + code > bytes.len() {
            return None;
        }
        bytes.copy_within(read + 1..read + code, written);
        written += code - 1;
        read += code;
        if code < 255 && read < bytes.len() {
            bytes[written] = 0;
            written += 1;
        }
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(coding: Coding, line: &[u8]) -> Option<heapless::Vec<u8, CONTENT_MAX>> {
        let inner = &line[1..line.len() - 1];
        match coding {
            Coding::TextSafe => {
                let mut reader = SymbolReader::default();
                let bytes = inner.iter().filter_map(|symbol| reader.push(*symbol)).collect();
                reader.is_complete().then_some(bytes)
            }
            Coding::Binary => {
                let mut bytes: heapless::Vec<u8, COBS_MAX> = inner.iter().copied().collect();
                let length = decode_cobs(&mut bytes)?;
                Some(bytes[..length].iter().copied().collect())
            }
        }
    }

    #[test]
    fn text_safe_bytes_are_frozen() {
        let mut out = [0; LINE_MAX];
        let length = encode(Coding::TextSafe, &[0x00, 0xFF, 0x55], &mut out);
        assert_eq!(out[..length], [0x1E, 0x80, 0xBF, 0xEA, 0xD0, 0x1F]);
    }

    #[test]
    fn binary_bytes_are_frozen() {
        let mut out = [0; LINE_MAX];
        let length = encode(Coding::Binary, &[0x11, 0x00, 0x00, 0x22], &mut out);
        assert_eq!(out[..length], [0x00, 0x02, 0x11, 0x01, 0x02, 0x22, 0x00]);
    }

    #[test]
    fn the_longest_content_fits_in_either_form() {
        for fill in [0x00, 0x01, 0xFF] {
            for coding in [Coding::TextSafe, Coding::Binary] {
                for length in [0, 1, 253, 254, 255, 508, 509, CONTENT_MAX] {
                    let content = [fill; CONTENT_MAX];
                    let mut out = [0; LINE_MAX];
                    let used = encode(coding, &content[..length], &mut out);
                    if length > 0 {
                        assert_eq!(decode(coding, &out[..used]).unwrap(), content[..length]);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn content_comes_back(content in proptest::collection::vec(any::<u8>(), 1..=CONTENT_MAX)) {
            for coding in [Coding::TextSafe, Coding::Binary] {
                let mut out = [0; LINE_MAX];
                let used = encode(coding, &content, &mut out);
                let decoded = decode(coding, &out[..used]).unwrap();
                prop_assert_eq!(decoded.as_slice(), content.as_slice());
                let inner = &out[1..used - 1];
                match coding {
                    Coding::TextSafe => prop_assert!(inner.iter().all(|byte| *byte >= 0x80)),
                    Coding::Binary => prop_assert!(!inner.contains(&0)),
                }
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            if let Some(length) = decode_cobs(&mut bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
