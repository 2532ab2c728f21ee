//! Unpacks the bins of a deploy plan: raw LZMA without header and end marker, whole in memory. The dictionary is what stands
//! before in the same buffer: what is already unpacked, and before that what both ends have, if anything.
//!
//! After Igor Pavlov's "LZMA specification" (lzma-specification.txt in the LZMA SDK, public domain). The library that
//! packs on the host unpacks too, but through a dictionary of its own and in two variants of everything, which is twice
//! the program (ARCHITECTURE.md, Size of the agent).

use crate::wire::steps::LZMA_LC_LP_PB;

/// The decoder's tables: 16 KB, which its owner keeps from bin to bin.
#[derive(Clone, Debug)]
pub struct Unpacker {
    /// See [`IS_MATCH`] and those below it: probabilities of a 0 in 1/2048.
    probabilities: [u16; PROBABILITIES],
}

impl Default for Unpacker {
    fn default() -> Self {
        Self::new()
    }
}

impl Unpacker {
    /// One that has unpacked nothing.
    pub const fn new() -> Self {
        Self { probabilities: [EVEN; PROBABILITIES] }
    }

    /// Unpacks `packed` into exactly what of `window` lies behind its first `start` bytes, which were the preset
    /// dictionary of the packer (0: it had none) and stay as they are. `false` when the bytes are not that, as far as
    /// can be told: one of them was changed, one is missing or too many, or it was another dictionary. Then anything
    /// is behind `start`.
    ///
    /// Takes time in proportion to the window's length, whatever the bytes are.
    #[must_use]
    pub fn unpack(&mut self, packed: &[u8], window: &mut [u8], start: usize) -> bool {
        // The encoder's first byte is always 0.
        let Some((&[0, a, b, c, d], rest)) = packed.split_first_chunk() else { return false };
        self.probabilities.fill(EVEN);
        let mut decoder = Decoder {
            probabilities: &mut self.probabilities,
            rest,
            is_short: false,
            range: u32::MAX,
            code: u32::from_be_bytes([a, b, c, d]),
        };
        decoder.unpack(window, start).is_some()
            && decoder.code == 0
            && decoder.rest.is_empty()
            && !decoder.is_short
    }
}

/// The range decoder at work.
struct Decoder<'a> {
    probabilities: &'a mut [u16; PROBABILITIES],
    rest: &'a [u8],
    /// More bytes were wanted than there are; zeros stood in for them.
    is_short: bool,
    range: u32,
    code: u32,
}

impl Decoder<'_> {
    fn unpack(&mut self, out: &mut [u8], start: usize) -> Option<()> {
        // Places are counted from the dictionary's beginning.
        let (mut state, mut at) = (0, start);
        // The last four distances, less one, the newest first.
        let mut distances = [0_usize; 4];
        while at < out.len() {
            let place = at & POSITION_MASK;
            if !self.bit(IS_MATCH + state * 16 + place) {
                let before = if at > 0 { out[at - 1] } else { 0 };
                // Behind a match the byte that would have gone on with it says what this one is not.
                let likely = match state {
                    0..7 => None,
                    _ => Some(*out.get(at.checked_sub(distances[0] + 1)?)?),
                };
                out[at] = self.literal(before, likely);
                at += 1;
                state = match state {
                    0..4 => 0,
                    4..10 => state - 3,
                    _ => state - 6,
                };
                continue;
            }
            let is_late = usize::from(state >= 7);
            let length;
            if self.bit(IS_REPEAT + state) {
                if !self.bit(IS_REPEAT_0 + state) {
                    if !self.bit(IS_REPEAT_0_LONG + state * 16 + place) {
                        out[at] = *out.get(at.checked_sub(distances[0] + 1)?)?;
                        at += 1;
                        state = 9 + 2 * is_late;
                        continue;
                    }
                } else {
                    let which = match () {
                        () if !self.bit(IS_REPEAT_1 + state) => 1,
                        () if !self.bit(IS_REPEAT_2 + state) => 2,
                        () => 3,
                    };
                    let distance = distances[which];
                    distances.copy_within(..which, 1);
                    distances[0] = distance;
                }
                length = self.length(REPEAT_LENGTH, place);
                state = 8 + 3 * is_late;
            } else {
                length = self.length(LENGTH, place);
                state = 7 + 3 * is_late;
                distances.copy_within(..3, 1);
                distances[0] = self.distance(length);
            }
            // Also refuses the end marker, whose distance is the largest.
            let mut from = at.checked_sub(distances[0].checked_add(1)?)?;
            let end = at + length;
            if end > out.len() {
                return None;
            }
            while at < end {
                out[at] = out[from];
                (at, from) = (at + 1, from + 1);
            }
        }
        Some(())
    }

    fn literal(&mut self, before: u8, likely: Option<u8>) -> u8 {
        let base = LITERAL + LITERAL_LEN * usize::from(before >> (8 - LITERAL_BITS));
        let (mut symbol, mut likely) = (1, likely.map(usize::from));
        while symbol < 0x100 {
            let mut offset = 0;
            let expected = likely.as_mut().map(|likely| {
                *likely <<= 1;
                *likely >> 8 & 1
            });
            if let Some(expected) = expected {
                offset = (1 + expected) << 8;
            }
            let bit = usize::from(self.bit(base + offset + symbol));
            symbol = symbol << 1 | bit;
            if expected.is_some_and(|expected| expected != bit) {
                likely = None;
            }
        }
        symbol as u8
    }

    /// Length of a match, 2 to 273.
    fn length(&mut self, base: usize, place: usize) -> usize {
        if !self.bit(base) {
            return 2 + self.tree(base + 2 + place * 8, 3);
        }
        if !self.bit(base + 1) {
            return 10 + self.tree(base + 130 + place * 8, 3);
        }
        18 + self.tree(base + 258, 8)
    }

    /// How far back a match of this length is, less one.
    fn distance(&mut self, length: usize) -> usize {
        let slot = self.tree(DISTANCE_SLOT + (length - 2).min(3) * 64, 6);
        if slot < 4 {
            return slot;
        }
        let bits = (slot >> 1) as u32 - 1;
        let high = (2 | slot & 1) << bits;
        if slot < 14 {
            return high + self.reverse_tree(DISTANCE_SPECIAL + high - slot, bits);
        }
        let mut middle = 0;
        for _ in 4..bits {
            self.range >>= 1;
            let is_one = self.code >= self.range;
            if is_one {
                self.code -= self.range;
            }
            self.normalize();
            middle = middle << 1 | usize::from(is_one);
        }
        high + (middle << 4) + self.reverse_tree(DISTANCE_ALIGN, 4)
    }

    fn tree(&mut self, base: usize, bits: u32) -> usize {
        let mut node = 1;
        for _ in 0..bits {
            node = node << 1 | usize::from(self.bit(base + node));
        }
        node - (1 << bits)
    }

    /// The same, with the lowest bit first.
    fn reverse_tree(&mut self, base: usize, bits: u32) -> usize {
        let (mut node, mut symbol) = (1, 0);
        for index in 0..bits {
            let bit = usize::from(self.bit(base + node));
            node = node << 1 | bit;
            symbol |= bit << index;
        }
        symbol
    }

    /// The next bit, which is as likely as the probability at `index` says.
    #[inline(never)]
    fn bit(&mut self, index: usize) -> bool {
        let probability = &mut self.probabilities[index];
        let bound = (self.range >> 11) * u32::from(*probability);
        let is_one = self.code >= bound;
        if is_one {
            self.code -= bound;
            self.range -= bound;
            *probability -= *probability >> 5;
        } else {
            self.range = bound;
            *probability += (2048 - *probability) >> 5;
        }
        self.normalize();
        is_one
    }

    fn normalize(&mut self) {
        if self.range < 1 << 24 {
            self.range <<= 8;
            let (byte, rest) = self.rest.split_first().unwrap_or((&0, &[]));
            self.is_short |= self.rest.is_empty();
            self.rest = rest;
            self.code = self.code << 8 | u32::from(*byte);
        }
    }
}

/// As likely as not.
const EVEN: u16 = 1024;

/// Bits of the byte before that a literal's probabilities depend on (`lc`).
const LITERAL_BITS: u8 = LZMA_LC_LP_PB.0;

/// Bits of the position that probabilities depend on (`pb`), as a mask. Those of literals do not (`lp` is 0).
const POSITION_MASK: usize = (1 << LZMA_LC_LP_PB.2) - 1;
const _: () = assert!(LZMA_LC_LP_PB.1 == 0 && POSITION_MASK < 16);

// Where the probabilities stand: twelve states, up to sixteen places.
const IS_MATCH: usize = 0;
const IS_REPEAT: usize = IS_MATCH + 12 * 16;
const IS_REPEAT_0: usize = IS_REPEAT + 12;
const IS_REPEAT_1: usize = IS_REPEAT_0 + 12;
const IS_REPEAT_2: usize = IS_REPEAT_1 + 12;
const IS_REPEAT_0_LONG: usize = IS_REPEAT_2 + 12;
const DISTANCE_SLOT: usize = IS_REPEAT_0_LONG + 12 * 16;
const DISTANCE_SPECIAL: usize = DISTANCE_SLOT + 4 * 64;
const DISTANCE_ALIGN: usize = DISTANCE_SPECIAL + 115;
const LENGTH: usize = DISTANCE_ALIGN + 16;
const REPEAT_LENGTH: usize = LENGTH + LENGTH_LEN;
const LITERAL: usize = REPEAT_LENGTH + LENGTH_LEN;
const LENGTH_LEN: usize = 2 + 2 * 16 * 8 + 256;
const LITERAL_LEN: usize = 0x300;
const PROBABILITIES: usize = LITERAL + (LITERAL_LEN << LITERAL_BITS);

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::wire::steps::BIN_MAX;
    use crate::xorshift::Xorshift32;
    use core::num::NonZeroU32;
    use lzma_rust2::{EncodeMode, LzmaOptions, LzmaReader, LzmaWriter};
    use proptest::prelude::*;
    use std::io::{Read as _, Write as _};
    use std::vec;
    use std::vec::Vec;

    /// As the host packs them, behind a dictionary or none.
    fn pack(dictionary: &[u8], data: &[u8], mode: EncodeMode) -> Vec<u8> {
        let mut options = LzmaOptions::with_preset(6);
        let (lc, lp, pb) = LZMA_LC_LP_PB;
        (options.lc, options.lp, options.pb) = (lc.into(), lp.into(), pb.into());
        (options.dict_size, options.mode) = (WINDOW as u32, mode);
        options.preset_dict = (!dictionary.is_empty()).then(|| dictionary.to_vec());
        let mut writer = LzmaWriter::new_no_header(Vec::new(), &options, false).unwrap();
        writer.write_all(data).unwrap();
        writer.finish().unwrap()
    }

    fn unpack(dictionary: &[u8], packed: &[u8], length: usize) -> Option<Vec<u8>> {
        let mut window = [dictionary, &vec![0xAA; length]].concat();
        // Whatever the bin before has left in it.
        let mut unpacker = Unpacker { probabilities: [7; PROBABILITIES] };
        let done = unpacker.unpack(packed, &mut window, dictionary.len());
        assert!(window.starts_with(dictionary));
        done.then(|| window.split_off(dictionary.len()))
    }

    /// The same by the packer's own library.
    fn unpack_theirs(dictionary: &[u8], packed: &[u8], length: usize) -> Option<Vec<u8>> {
        let (lc, lp, pb) = LZMA_LC_LP_PB;
        let (lc, lp, pb) = (lc.into(), lp.into(), pb.into());
        let (window, dictionary) = (WINDOW as u32, Some(dictionary));
        let reader = LzmaReader::new(packed, length as u64, lc, lp, pb, window, dictionary);
        let (mut reader, mut out) = (reader.ok()?, vec![0; length]);
        reader.set_relaxed_end_condition(false);
        reader.read_exact(&mut out).ok()?;
        let (rest, unused) = reader.into_parts();
        (rest.is_empty() && unused.is_empty()).then_some(out)
    }

    /// The longest dictionary, and a bin.
    const WINDOW: usize = 128 * 1024 + BIN_MAX;

    /// Bytes as a disk has them: text, runs, tables, noise, and what was there before, near and far.
    fn bin(seed: u32, length: usize) -> Vec<u8> {
        let mut random = Xorshift32::new(NonZeroU32::new(seed).unwrap());
        let mut data = Vec::new();
        while data.len() < length {
            let (kind, count) = (random.next() % 5, 1 + random.next() as usize % 700);
            let byte = random.next();
            for index in 0..count as u32 {
                data.push(match kind {
                    0 => byte as u8,
                    1 => (index / 4 * (byte & 7)) as u8,
                    2 => random.next() as u8,
                    3 => b"abcdefgh \n"[(random.next() % 10) as usize],
                    _ => match data.len().checked_sub(1 + byte as usize % 60_000) {
                        Some(from) => data[from],
                        None => 0,
                    },
                });
            }
        }
        data.truncate(length);
        data
    }

    #[test]
    fn what_the_host_packs_comes_out_again() {
        for seed in 1..60 {
            let length = [1, 2, 100, 5000, 30_000, BIN_MAX][seed as usize % 6];
            let data = bin(seed, length);
            for mode in [EncodeMode::Normal, EncodeMode::Fast] {
                let packed = pack(&[], &data, mode);
                assert!(unpack(&[], &packed, length).is_some_and(|out| out == data), "{seed}");
            }
        }
        for byte in [0, 255] {
            let data = vec![byte; BIN_MAX];
            assert_eq!(unpack(&[], &pack(&[], &data, EncodeMode::Normal), BIN_MAX), Some(data));
        }
    }

    #[test]
    fn another_length_missing_bytes_and_bytes_behind_are_refused() {
        let data = bin(9, 20_000);
        let packed = pack(&[], &data, EncodeMode::Normal);
        for length in [0, 1, 19_999, 20_001, BIN_MAX] {
            assert_eq!(unpack(&[], &packed, length), None, "{length}");
        }
        for cut in [0, 1, 4, 5, packed.len() / 2, packed.len() - 1] {
            assert_eq!(unpack(&[], &packed[..cut], data.len()), None, "{cut}");
        }
        assert_eq!(unpack(&[], &[&packed[..], b"\0"].concat(), data.len()), None);
    }

    #[test]
    fn a_bit_that_was_changed_is_found_nearly_always() {
        let data = bin(3, 3000);
        let packed = pack(&[], &data, EncodeMode::Normal);
        let mut unnoticed = 0;
        for bit in 0..packed.len() * 8 {
            let mut damaged = packed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            unnoticed += u32::from(unpack(&[], &damaged, data.len()).is_some());
        }
        // The end in the right state is a check of 32 bits, and of the last bytes alone none at all.
        assert!(unnoticed < 8, "{unnoticed}");
    }

    #[test]
    fn a_dictionary_is_reached_into() {
        for seed in 1..40 {
            let before = [1, 2, 3, 700, BIN_MAX, 2 * BIN_MAX][seed as usize % 6];
            let length = [1, 100, 5000, BIN_MAX][seed as usize % 4];
            // The bin is made of what is in its dictionary, near and far, and the reverse.
            let both = bin(seed, before + length);
            let (dictionary, fresh) = both.split_at(before);
            let again = &dictionary[..length.min(before)];
            for (data, mode) in [(fresh, EncodeMode::Normal), (again, EncodeMode::Fast)] {
                let packed = pack(dictionary, data, mode);
                let out = unpack(dictionary, &packed, data.len());
                assert!(out.is_some_and(|out| out == data), "{seed}");
            }
        }
        // The farthest distance there is.
        let mut random = Xorshift32::new(NonZeroU32::MIN);
        let noise: Vec<u8> = (0..2 * BIN_MAX).map(|_| random.next() as u8).collect();
        let packed = pack(&noise, &noise[..BIN_MAX], EncodeMode::Normal);
        assert!(packed.len() < 1000, "{}", packed.len());
        assert!(unpack(&noise, &packed, BIN_MAX).as_deref() == Some(&noise[..BIN_MAX]));
        assert!(unpack(&noise[1..], &packed, BIN_MAX).is_none(), "behind the beginning");
    }

    #[test]
    fn damage_is_taken_as_the_packers_library_takes_it() {
        let mut random = Xorshift32::new(NonZeroU32::MIN);
        let (mut taken, mut refused) = (0, 0);
        for seed in 1..60 {
            let both = bin(seed, 9000);
            let (dictionary, data) = both.split_at(6000 * (seed as usize & 1));
            let packed = pack(dictionary, data, EncodeMode::Normal);
            for _ in 0..40 {
                let mut damaged = packed.clone();
                let (at, kind) = (random.next() as usize % damaged.len(), random.next() % 4);
                match kind {
                    0 => damaged[at] = random.next() as u8,
                    1 => damaged.truncate(at),
                    2 => damaged.extend_from_slice(&packed[at..]),
                    _ => damaged[at..].fill_with(|| random.next() as u8),
                }
                // Another length ends the decoder elsewhere.
                let length = data.len() - random.next() as usize % 2 * (at % 100);
                let ours = unpack(dictionary, &damaged, length);
                let theirs = unpack_theirs(dictionary, &damaged, length);
                assert!(ours == theirs, "{seed} {kind} {at} {length}");
                *(if ours.is_some() { &mut taken } else { &mut refused }) += 1;
            }
        }
        assert!(taken > 0 && refused > 1000, "{taken} {refused}");
    }

    proptest! {
        /// Neither a panic, nor a byte behind the end.
        #[test]
        fn any_bytes_are_unpacked_or_refused(
            mut packed in prop::collection::vec(any::<u8>(), 0..2000),
            dictionary in prop::collection::vec(any::<u8>(), 0..300),
            length in 0..3000_usize,
        ) {
            if let Some(first) = packed.first_mut() {
                *first = 0;
            }
            unpack(&dictionary, &packed, length);
        }
    }
}
