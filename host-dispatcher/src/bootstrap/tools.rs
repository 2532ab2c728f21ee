//! What a shell may have to check, decode and unpack with, how each is tried, and what is typed for it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc::{CRC_32_CKSUM, Crc};
use md5::Md5;
use sha2::{Digest, Sha256};

use super::program;
use crate::store::hexadecimal;

/// A program that says what a text comes to. In the order in which lines are checked: the cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Check {
    Cksum,
    Md5,
    Sha256,
}

impl Check {
    pub(super) const ALL: [Self; 3] = [Self::Cksum, Self::Md5, Self::Sha256];

    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Cksum => "cksum",
            Self::Md5 => "md5sum",
            Self::Sha256 => "sha256sum",
        }
    }

    /// The first word of what it says.
    pub(super) fn of(self, bytes: &[u8]) -> String {
        match self {
            Self::Cksum => cksum(bytes).to_string(),
            Self::Md5 => hexadecimal(&Md5::digest(bytes)),
            Self::Sha256 => hexadecimal(&Sha256::digest(bytes)),
        }
    }
}

/// POSIX's: the CRC of the bytes and of their number, its lowest byte first, as far as it has bytes.
fn cksum(bytes: &[u8]) -> u32 {
    static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_CKSUM);
    let mut digest = CRC.digest();
    digest.update(bytes);
    let mut rest = bytes.len();
    while rest > 0 {
        digest.update(&[rest as u8]);
        rest >>= 8;
    }
    digest.finalize()
}

/// A way from printable text to bytes. In the order in which they are tried: the shortest text first. awk is none:
/// those of some boards print no NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoder {
    Base64,
    Uudecode,
    Openssl,
    Xxd,
    /// The shell's own.
    Printf,
}

impl Decoder {
    pub(super) const ALL: [Self; 5] =
        [Self::Base64, Self::Uudecode, Self::Openssl, Self::Xxd, Self::Printf];

    /// What the function `d` does with its argument; the bytes go to its output.
    pub(super) fn function(self) -> &'static str {
        match self {
            Self::Base64 => r#"d(){ printf %s "$1"|base64 -d;}"#,
            Self::Uudecode => {
                r#"d(){ printf 'begin-base64 644 -\n%s\n====\n' "$1"|uudecode -o -;}"#
            }
            Self::Openssl => r#"d(){ printf '%s\n' "$1"|openssl base64 -d -A;}"#,
            Self::Xxd => r#"d(){ printf %s "$1"|xxd -r -p;}"#,
            Self::Printf => r#"d(){ printf %b "$1";}"#,
        }
    }

    /// An argument for `d`, as the shell reads it.
    pub(super) fn argument(self, bytes: &[u8]) -> String {
        match self {
            Self::Base64 | Self::Uudecode | Self::Openssl => BASE64.encode(bytes),
            Self::Xxd => hexadecimal(bytes),
            Self::Printf => octal(bytes),
        }
    }

    /// Bytes that certainly fit into so many characters.
    pub(super) fn bytes_in(self, characters: usize) -> usize {
        let bytes = match self {
            Self::Base64 | Self::Uudecode | Self::Openssl => characters / 4 * 3,
            // xxd takes lines of so many.
            Self::Xxd => (characters / 2).min(XXD_BYTES_MAX),
            Self::Printf => (characters - 2) / 5,
        };
        bytes.max(1)
    }
}

/// Printable characters as they are, but for those that the shell or `printf` takes for something else.
fn octal(bytes: &[u8]) -> String {
    let mut text = String::from("'");
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'.' | b'-' | b'_' | b'/' | b'=' => {
                text.push(char::from(*byte))
            }
            // Always three digits behind the 0: a digit that follows is not theirs.
            _ => text.push_str(&format!("\\0{byte:03o}")),
        }
    }
    text.push('\'');
    text
}

/// How the packed program becomes the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unpacker {
    Xz,
    Gzip,
    None,
}

/// What is tried, best first: a program and what it unpacks. The one behind the last is to unpack nothing.
pub(super) const UNPACKERS: [(Unpacker, &str); 5] = [
    (Unpacker::Xz, "xz -dc"),
    (Unpacker::Xz, "unxz -c"),
    (Unpacker::Gzip, "gzip -dc"),
    (Unpacker::Gzip, "gunzip -c"),
    (Unpacker::Gzip, "zcat"),
];

/// What is packed to try one.
pub(super) const SAMPLE: &str = "PUMICE";

impl Unpacker {
    /// [`SAMPLE`], packed.
    pub(super) fn sample(self) -> Vec<u8> {
        let packed = match self {
            Self::Xz => program::xz(SAMPLE.as_bytes()),
            Self::Gzip => program::gzip(SAMPLE.as_bytes()),
            Self::None => Ok(SAMPLE.into()),
        };
        // An encoder that fails is as good as an unpacker that is missing.
        packed.unwrap_or_default()
    }
}

/// xxd -p reads lines of any length in newer versions only; older ones end at 60 characters.
const XXD_BYTES_MAX: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_of_a_board_say_the_same() {
        // `printf 123456789 | cksum`, and so on, as POSIX and coreutils have them.
        assert_eq!(Check::Cksum.of(b"123456789"), "930766865");
        assert_eq!(Check::Cksum.of(b""), "4294967295");
        assert_eq!(Check::Md5.of(b"123456789"), "25f9e794323b453885f5181f1b624d0b");
        assert!(Check::Sha256.of(b"123456789").starts_with("15e2b0d3c33891ebb0f1ef609ec41942"));
    }

    #[test]
    fn what_is_typed_for_bytes() {
        assert_eq!(Decoder::Base64.argument(b"\x7fELF"), "f0VMRg==");
        assert_eq!(Decoder::Xxd.argument(b"\x7fELF"), "7f454c46");
        assert_eq!(Decoder::Printf.argument(b"\x7fE'\\1\0"), r"'\0177E\0047\0134\0061\0000'");
        for decoder in Decoder::ALL {
            for characters in [100, 1000, 3000] {
                let bytes = vec![0; decoder.bytes_in(characters)];
                assert!(decoder.argument(&bytes).len() <= characters, "{decoder:?} {characters}");
            }
        }
    }
}
