//! Packing of files on their way to the dispatcher: LZ4 blocks (lz4_Block_format.md of the LZ4 project), a piece each.
//!
//! LZ4 because a log shrinks to a third or less for a few hundred bytes of program and 8 KiB of table; what packs better
//! costs the agent more than all of this.

use super::AgentLink;

/// Longest piece in bytes, before packing.
pub const PIECE_MAX: usize = 32 * 1024;

/// Bytes before a piece: its packed length and its length, u16 LE each.
pub const PIECE_HEADER_LEN: usize = 4;

/// A match is looked for at so many places; one of 13 bits finds 2 % more in logs.
const TABLE_BITS: u32 = 12;

/// The shortest match, bytes.
const MATCH_MIN: usize = 4;

/// The last bytes of a block are literals, and no match begins so near to its end (the format's end of block conditions).
const LITERALS_AT_END: usize = 5;
const NO_MATCH_AT_END: usize = 12;

/// A length is told in 4 bits of a token; this value says that more bytes follow.
const LENGTH_IN_TOKEN: usize = 15;

/// Room to remember places in; what stands in it before does not matter.
#[derive(Debug)]
pub struct Table([u16; 1 << TABLE_BITS]);

impl Default for Table {
    fn default() -> Self {
        Self([0; 1 << TABLE_BITS])
    }
}

/// One packed piece, and how far it has been sent.
#[derive(Debug)]
pub(super) struct Packer {
    table: Table,
    piece: [u8; PIECE_HEADER_LEN + PIECE_MAX],
    length: usize,
    sent: usize,
}

impl Packer {
    pub(super) fn new() -> Self {
        let (table, piece) = (Table::default(), [0; PIECE_HEADER_LEN + PIECE_MAX]);
        Self { table, piece, length: 0, sent: 0 }
    }

    /// Takes the next piece, of 1 to [`PIECE_MAX`] bytes; the one before has been sent or given up.
    pub(super) fn pack(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(PIECE_MAX)];
        let (header, room) = self.piece.split_at_mut(PIECE_HEADER_LEN);
        // As many bytes as before are no gain, and mean that nothing is packed.
        let room = &mut room[..bytes.len()];
        let gain = bytes.len().saturating_sub(1);
        let packed = pack(bytes, &mut self.table, &mut room[..gain]);
        let packed = packed.unwrap_or_else(|| {
            room.copy_from_slice(bytes);
            bytes.len()
        });
        header[..2].copy_from_slice(&(packed as u16).to_le_bytes());
        header[2..].copy_from_slice(&(bytes.len() as u16).to_le_bytes());
        (self.length, self.sent) = (PIECE_HEADER_LEN + packed, 0);
    }

    /// Sends what there is room for; whether nothing is left.
    pub(super) fn send(&mut self, stream: u8, link: &mut AgentLink) -> bool {
        self.sent += link.write(stream, &self.piece[self.sent..self.length]);
        self.sent == self.length
    }

    /// Forgets what was not sent.
    pub(super) fn clear(&mut self) {
        (self.length, self.sent) = (0, 0);
    }
}

/// Packs at most [`PIECE_MAX`] bytes into an LZ4 block. `None` when that takes more room than `out` has.
pub fn pack(input: &[u8], table: &mut Table, out: &mut [u8]) -> Option<usize> {
    // The place of the last group of four bytes with this hash; of one that was not seen the first, which is compared
    // like any other.
    let Table(table) = table;
    table.fill(0);
    let mut block = Block { out, length: 0 };
    let (mut anchor, mut at) = (0, 0);
    while at + NO_MATCH_AT_END < input.len() {
        let four = four(input, at)?;
        let slot = &mut table[(four.wrapping_mul(2_654_435_761) >> (32 - TABLE_BITS)) as usize];
        let before = usize::from(core::mem::replace(slot, at as u16));
        if before >= at || self::four(input, before)? != four {
            // Where nothing was found for long, steps become longer: what is packed already costs little time.
            at += 1 + ((at - anchor) >> 6);
            continue;
        }
        let end = input.len() - LITERALS_AT_END;
        let same = input[at..end].iter().zip(&input[before..]).take_while(|(a, b)| a == b).count();
        block.literals(&input[anchor..at], same - MATCH_MIN)?;
        block.bytes(&((at - before) as u16).to_le_bytes())?;
        block.rest_of_length(same - MATCH_MIN)?;
        at += same;
        anchor = at;
    }
    block.literals(&input[anchor..], 0)?;
    Some(block.length)
}

fn four(input: &[u8], at: usize) -> Option<u32> {
    input.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}

struct Block<'o> {
    out: &'o mut [u8],
    length: usize,
}

impl Block<'_> {
    /// A token and the literals before a match.
    fn literals(&mut self, literals: &[u8], match_length: usize) -> Option<()> {
        let count = literals.len();
        let token = count.min(LENGTH_IN_TOKEN) << 4 | match_length.min(LENGTH_IN_TOKEN);
        self.bytes(&[token as u8])?;
        self.rest_of_length(count)?;
        self.bytes(literals)
    }

    fn rest_of_length(&mut self, length: usize) -> Option<()> {
        let Some(mut rest) = length.checked_sub(LENGTH_IN_TOKEN) else { return Some(()) };
        while rest >= 255 {
            self.bytes(&[255])?;
            rest -= 255;
        }
        self.bytes(&[rest as u8])
    }

    fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.length + bytes.len();
        self.out.get_mut(self.length..end)?.copy_from_slice(bytes);
        self.length = end;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The length of the block, or of the input when it is not packed.
    fn round_trip(input: &[u8]) -> usize {
        let mut packer = Packer::new();
        packer.pack(input);
        let number =
            |at: usize| usize::from(u16::from_le_bytes([packer.piece[at], packer.piece[at + 1]]));
        let (packed, length) = (number(0), number(2));
        assert_eq!((packer.length, length), (PIECE_HEADER_LEN + packed, input.len()));
        assert!(packed <= length);
        let block = &packer.piece[PIECE_HEADER_LEN..packer.length];
        if packed == length {
            assert_eq!(block, input);
        } else {
            let mut out = [0; PIECE_MAX];
            let count = lz4_flex::block::decompress_into(block, &mut out).unwrap();
            assert_eq!(&out[..count], input);
        }
        packed
    }

    #[test]
    fn what_repeats_shrinks_and_what_does_not_stays() {
        assert!(round_trip(&[b'x'; PIECE_MAX]) < 200);
        let mut log = heapless::Vec::<u8, PIECE_MAX>::new();
        for line in 0u32.. {
            let mut text = heapless::String::<80>::new();
            use core::fmt::Write;
            writeln!(
                text,
                "[{:5}.{:06}] usb 1-{}: new device",
                line / 7,
                line * 977 % 1_000_000,
                line % 5
            )
            .unwrap();
            if log.extend_from_slice(text.as_bytes()).is_err() {
                break;
            }
        }
        let packed = round_trip(&log);
        assert!(packed < log.len() / 2, "{packed} of {}", log.len());
        let mut random = crate::xorshift::Xorshift32::new(core::num::NonZeroU32::MIN);
        let noise: [u8; 5000] = core::array::from_fn(|_| random.next() as u8);
        assert_eq!(round_trip(&noise), noise.len());
        for length in 1..40 {
            round_trip(&[7; 40][..length]);
        }
    }

    proptest! {
        #[test]
        fn every_piece_is_unpacked_by_another_program(
            words in proptest::collection::vec((0u8..6, 1usize..400), 1..120),
        ) {
            // Few different words, so that there are matches of every kind, near and far.
            let bytes = words.iter().flat_map(|(word, count)| {
                (0..*count).map(move |index| word.wrapping_mul(41).wrapping_add((index % (3 + *word as usize * 50)) as u8))
            });
            let input: heapless::Vec<u8, PIECE_MAX> = bytes.take(PIECE_MAX).collect();
            round_trip(&input);
        }
    }
}
