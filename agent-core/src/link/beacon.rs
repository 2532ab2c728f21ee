//! The beacon: one printable line by which an agent makes itself known, readable for people and for the dispatcher.
//!
//! ```text
//! @pumice1 boot=00112233445566778899aabbccddeeff nonce=0a0b0c0d role=master coding=text-safe #e1f2a3b4
//! ```
//!
//! The number behind `#` is the CRC-32C of everything from `@` to the space before it. Words that a reader does not
//! know are ignored, so a newer agent may add some before the `#`.

use super::coding::Coding;
use super::crc::crc32c;
use crate::text::{hex_digit, parse_decimal};

/// Longest beacon line in bytes, without line ends. A longer line is not one.
pub const BEACON_MAX: usize = 160;

/// What a beacon says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// The kernel's boot id.
    pub boot_id: [u8; 16],
    /// Random number of this start of the agent.
    pub nonce: u32,
    /// 0 in the master image, 1 in the test image.
    pub role: u8,
    /// How the agent will send its frames.
    pub coding: Coding,
}

impl Beacon {
    /// The line with line ends around it: whatever stood before on the line is ended.
    pub fn to_line(&self) -> heapless::String<{ BEACON_MAX + 4 }> {
        let mut line = heapless::String::new();
        // The text is at most 123 bytes long, so nothing here can overflow.
        let _ = line.push_str("\r\n@pumice1 boot=");
        push_hex(&mut line, &self.boot_id);
        let role = ROLES.get(usize::from(self.role)).copied().unwrap_or("unknown");
        let coding = match self.coding {
            Coding::TextSafe => "text-safe",
            Coding::Binary => "binary",
        };
        let _ = line.push_str(" nonce=");
        push_hex(&mut line, &self.nonce.to_be_bytes());
        for text in [" role=", role, " coding=", coding] {
            let _ = line.push_str(text);
        }
        let crc = crc32c(&line.as_bytes()[2..]);
        let _ = line.push_str(" #");
        push_hex(&mut line, &crc.to_be_bytes());
        let _ = line.push_str("\r\n");
        line
    }

    /// The version of a beacon that is none of ours but one of a later version, if the line ends in one.
    pub fn find_later(line: &[u8]) -> Option<u8> {
        checked(line).and_then(version).filter(|version| *version > VERSION)
    }

    /// Finds a beacon in a line of text, wherever in the line it begins.
    pub fn find(line: &[u8]) -> Option<Self> {
        let said = checked(line)?;
        if version(said)? != VERSION {
            return None;
        }
        let word = |key: &str| {
            said.split(' ').find_map(|word| word.split_once('=').filter(|(name, _)| *name == key))
        };
        let boot = word("boot")?.1;
        let mut boot_id = [0; 16];
        if boot.len() != 32 || !boot.is_ascii() {
            return None;
        }
        for (index, byte) in boot_id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&boot[index * 2..index * 2 + 2], 16).ok()?;
        }
        let role = ROLES.iter().position(|role| *role == word("role").map_or("", |word| word.1))?;
        Some(Self {
            boot_id,
            nonce: u32::from_str_radix(word("nonce")?.1, 16).ok()?,
            role: role as u8,
            coding: match word("coding")?.1 {
                "text-safe" => Coding::TextSafe,
                "binary" => Coding::Binary,
                _ => return None,
            },
        })
    }
}

/// What stands between the mark and the check value, if that is right.
fn checked(line: &[u8]) -> Option<&str> {
    let start = line.windows(MARK.len()).rposition(|window| window == MARK.as_bytes())?;
    let (said, crc) = core::str::from_utf8(&line[start..]).ok()?.rsplit_once(" #")?;
    let is_right = crc.len() == 8 && u32::from_str_radix(crc, 16) == Ok(crc32c(said.as_bytes()));
    is_right.then_some(said)
}

/// Two digits a byte. Without room for them the line is cut short, and its check value says so.
fn push_hex<const N: usize>(line: &mut heapless::String<N>, bytes: &[u8]) {
    for digit in bytes.iter().flat_map(|byte| [byte >> 4, *byte]) {
        let _ = line.push(hex_digit(digit).into());
    }
}

/// The number behind the mark.
fn version(said: &str) -> Option<u8> {
    let number = said.get(MARK.len()..)?.split(' ').next()?;
    parse_decimal(number.as_bytes())?.try_into().ok()
}

/// Begins every beacon; its version follows.
const MARK: &str = "@pumice";

/// The beacon's, and with it the link's major version.
const VERSION: u8 = 1;

const ROLES: [&str; 2] = ["master", "test"];

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write as _;

    const BEACON: Beacon = Beacon {
        boot_id: [
            0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee,
            0xff,
        ],
        nonce: 0x0a0b_0c0d,
        role: 1,
        coding: Coding::TextSafe,
    };

    #[test]
    fn the_line_is_frozen() {
        assert_eq!(
            BEACON.to_line(),
            "\r\n@pumice1 boot=00112233445566778899aabbccddeeff nonce=0a0b0c0d role=test \
             coding=text-safe #f837d82a\r\n"
        );
    }

    #[test]
    fn it_is_found_behind_other_text_and_refused_when_damaged() {
        let line = BEACON.to_line();
        let line = line.trim().as_bytes();
        let mut text: heapless::Vec<u8, 256> =
            heapless::Vec::from_slice(b"[    1.2] text").unwrap();
        text.extend_from_slice(line).unwrap();
        assert_eq!(Beacon::find(&text), Some(BEACON));
        for index in 0..line.len() {
            let mut damaged: heapless::Vec<u8, 256> = heapless::Vec::from_slice(line).unwrap();
            damaged[index] ^= 1;
            assert_eq!(Beacon::find(&damaged), None, "byte {index}");
        }
        assert_eq!(Beacon::find(&line[..line.len() - 1]), None);
        assert_eq!(Beacon::find_later(line), None);
    }

    #[test]
    fn a_later_one_is_known_as_such() {
        let said = b"@pumice2 anything=new";
        let mut line: heapless::Vec<u8, 64> = heapless::Vec::from_slice(said).unwrap();
        let mut end = heapless::String::<16>::new();
        write!(end, " #{:08x}", crc32c(said)).unwrap();
        line.extend_from_slice(end.as_bytes()).unwrap();
        assert_eq!((Beacon::find(&line), Beacon::find_later(&line)), (None, Some(2)));
        line[10] ^= 1;
        assert_eq!(Beacon::find_later(&line), None);
    }
}
