//! An image as steps: bins of packed bytes, and runs of zeros that are not sent. Pure.
//!
//! The image is cut at multiples of [`BIN_MAX`]. From each piece the zero blocks are taken out; each run of others that is
//! left is a bin. The steps cover every byte of the image exactly once and in order, so they make the partition the image
//! whatever it held before.

use std::fmt;
use std::io::Write;

use agent_core::wire::block::{BIN_MAX, Codec, LZMA_LC_LP_PB, Step};
use lzma_rust2::{LzmaOptions, LzmaWriter};

/// How much work goes into making the image small: as much as one core does in the time that the line needs.
///
/// Measured on 20 MB of `/usr/bin` in bins (one core of two that were busy otherwise, `lzma-rust2` 0.25; MB = 10⁶ bytes):
///
/// | effort | preset | takes in | gives out | of the image |
/// |---|---|---|---|---|
/// | `Low` | 3 | 12.9 MB/s | 3.4 MB/s | 0.268 |
/// | `Medium` | 4 | 4.5 MB/s | 1.2 MB/s | 0.260 |
/// | `High` | 6 | 2.9 MB/s | 0.7 MB/s | 0.257 |
///
/// Presets 0 to 2 are not faster and pack worse, 7 to 9 differ from 6 only in the dictionary, which here is the bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// For a line that is not slowed down, as an emulator's: 1 MB/s and more.
    Low,
    /// For some megabits a second.
    Medium,
    /// For a serial line.
    #[default]
    High,
}

impl Effort {
    /// For a line of so many bytes a second; `None` is one that nothing slows down. Leaves at least half a core to
    /// the other boards.
    pub fn for_line(bytes_per_second: Option<u64>) -> Self {
        match bytes_per_second {
            Some(..=300_000) => Self::High,
            Some(..=500_000) => Self::Medium,
            _ => Self::Low,
        }
    }

    pub(crate) fn options(self) -> LzmaOptions {
        let mut options = LzmaOptions::with_preset(match self {
            Self::Low => 3,
            Self::Medium => 4,
            Self::High => 6,
        });
        options.dict_size = BIN_MAX as u32;
        let (lc, lp, pb) = LZMA_LC_LP_PB;
        (options.lc, options.lp, options.pb) = (lc.into(), lp.into(), pb.into());
        options
    }
}

/// Turns an image into steps, piece by piece. Holds one bin.
pub struct Packer {
    options: LzmaOptions,
    /// Where in the image `bin` begins; a multiple of [`BIN_MAX`].
    offset: u64,
    bin: Vec<u8>,
    /// Zeros that end where the next step begins.
    zeros: Zeros,
}

#[derive(Clone, Copy, Debug, Default)]
struct Zeros {
    offset: u64,
    length: u64,
}

impl Packer {
    /// At the image's first byte.
    pub fn new(effort: Effort) -> Self {
        Self {
            options: effort.options(),
            offset: 0,
            bin: Vec::with_capacity(BIN_MAX),
            zeros: Zeros::default(),
        }
    }

    /// The next bytes of the image. Steps that are complete go to the end of `steps`: at most the bytes' number, plus
    /// that of a bin and its headers.
    pub fn push(&mut self, mut bytes: &[u8], steps: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BIN_MAX - self.bin.len()));
            self.bin.extend_from_slice(now);
            bytes = later;
            if self.bin.len() == BIN_MAX {
                self.end_bin(steps);
            }
        }
    }

    /// The next bytes are so many zeros.
    pub fn push_hole(&mut self, mut length: u64, steps: &mut Vec<u8>) {
        while length > 0 {
            if self.bin.is_empty() && length >= BIN_MAX as u64 {
                let whole = length - length % BIN_MAX as u64;
                self.add_zeros(self.offset, whole);
                self.offset += whole;
                length -= whole;
            } else {
                let now = length.min((BIN_MAX - self.bin.len()) as u64);
                self.bin.resize(self.bin.len() + now as usize, 0);
                length -= now;
                if self.bin.len() == BIN_MAX {
                    self.end_bin(steps);
                }
            }
        }
    }

    /// The image is complete.
    pub fn finish(mut self, steps: &mut Vec<u8>) {
        self.end_bin(steps);
        self.end_zeros(steps);
        steps.extend(Step::End.to_bytes());
    }

    fn end_bin(&mut self, steps: &mut Vec<u8>) {
        let bin = std::mem::take(&mut self.bin);
        for run in runs(&bin) {
            let offset = self.offset + run.start as u64;
            let bytes = &bin[run.start..run.end];
            if run.is_zero {
                self.add_zeros(offset, bytes.len() as u64);
            } else {
                self.end_zeros(steps);
                self.put_bin(offset, bytes, steps);
            }
        }
        self.offset += bin.len() as u64;
        self.bin = bin;
        self.bin.clear();
    }

    fn put_bin(&self, offset: u64, bytes: &[u8], steps: &mut Vec<u8>) {
        let packed = self.pack(bytes).filter(|packed| packed.len() < bytes.len());
        let (codec, payload) =
            packed.as_deref().map_or((Codec::Raw, bytes), |packed| (Codec::Lzma, packed));
        let step =
            Step::Bin { codec, packed: payload.len() as u32, offset, length: bytes.len() as u32 };
        steps.extend(step.to_bytes());
        steps.extend(payload);
    }

    /// Raw LZMA without header and end marker. `None` if the encoder refuses, which it does for no bytes that it is
    /// known to be given here; raw is then right as well.
    fn pack(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut writer =
            LzmaWriter::new_no_header(Vec::with_capacity(bytes.len()), &self.options, false)
                .ok()?;
        writer.write_all(bytes).ok()?;
        writer.finish().ok()
    }

    fn add_zeros(&mut self, offset: u64, length: u64) {
        if self.zeros.length == 0 {
            self.zeros.offset = offset;
        }
        self.zeros.length += length;
    }

    fn end_zeros(&mut self, steps: &mut Vec<u8>) {
        let Zeros { offset, length } = std::mem::take(&mut self.zeros);
        if length > 0 {
            steps.extend(Step::Zero { offset, length }.to_bytes());
        }
    }
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer")
            .field("offset", &self.offset)
            .field("bin_bytes", &self.bin.len())
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    start: usize,
    end: usize,
    is_zero: bool,
}

/// A bin as alternating runs of zero blocks and others.
fn runs(bin: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (number, block) in bin.chunks(BLOCK).enumerate() {
        let start = number * BLOCK;
        let run =
            Run { start, end: start + block.len(), is_zero: block.iter().all(|byte| *byte == 0) };
        match runs.last_mut() {
            Some(last) if last.is_zero == run.is_zero => last.end = run.end,
            _ => runs.push(run),
        }
    }
    runs
}

/// Zeros are looked for in the blocks of file systems and page caches. Leaving short runs of them in the data instead
/// (LZMA makes some bytes of them, a step has a header) is no gain: on a Debian root file system (ext4, 176 MiB) the
/// steps are 37,067,493 bytes so, and 46 bytes less when runs of up to 1, 3, 7 or 15 blocks stay.
const BLOCK: usize = 4096;

#[cfg(test)]
mod tests {
    use agent_core::wire::block::STEP_LEN;
    use proptest::prelude::*;

    use super::super::model::execute;
    use super::*;

    fn pack(effort: Effort, image: &[u8], piece: usize) -> Vec<u8> {
        let mut packer = Packer::new(effort);
        let mut steps = Vec::new();
        image.chunks(piece).for_each(|piece| packer.push(piece, &mut steps));
        packer.finish(&mut steps);
        steps
    }

    /// Extents of an image: what they hold, and their length in units of a quarter block and some bytes.
    #[derive(Clone, Debug)]
    enum Extent {
        Noise(usize, u64),
        Text(usize),
        Zeros(usize),
        Hole(usize),
    }

    fn extent() -> impl Strategy<Value = Extent> {
        let length = || prop_oneof![Just(BLOCK), Just(BIN_MAX), 1..3 * BLOCK, 1..3 * BIN_MAX];
        prop_oneof![
            (length(), any::<u64>()).prop_map(|(length, seed)| Extent::Noise(length, seed)),
            length().prop_map(Extent::Text),
            length().prop_map(Extent::Zeros),
            length().prop_map(Extent::Hole),
        ]
    }

    fn bytes_of(extent: &Extent) -> Vec<u8> {
        match *extent {
            Extent::Noise(length, seed) => {
                let mut state = seed | 1;
                let mut next = || {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                };
                (0..length).map(|_| next()).collect()
            }
            Extent::Text(length) => {
                b"all work and no play ".iter().copied().cycle().take(length).collect()
            }
            Extent::Zeros(length) | Extent::Hole(length) => vec![0; length],
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn steps_make_the_image(
            extents in prop::collection::vec(extent(), 0..8),
            piece in prop_oneof![Just(1000), Just(BIN_MAX), 1_usize..300_000],
            effort in prop_oneof![Just(Effort::Low), Just(Effort::High)],
        ) {
            let mut packer = Packer::new(effort);
            let (mut steps, mut image) = (Vec::new(), Vec::new());
            for extent in &extents {
                let bytes = bytes_of(extent);
                match extent {
                    Extent::Hole(length) => packer.push_hole(*length as u64, &mut steps),
                    _ => bytes.chunks(piece).for_each(|piece| packer.push(piece, &mut steps)),
                }
                image.extend(bytes);
            }
            packer.finish(&mut steps);
            let mut partition = vec![0xa5; image.len() + 10];
            prop_assert_eq!(execute(&steps, &mut partition), image.len() as u64);
            prop_assert!(partition[..image.len()] == image);
            prop_assert!(partition[image.len()..].iter().all(|byte| *byte == 0xa5));
            prop_assert!(steps.len() <= image.len() + (2 * image.len() / BLOCK + 2) * STEP_LEN);
        }
    }

    #[test]
    fn zeros_of_many_bins_are_one_step() {
        let mut image = vec![0; 10 * BIN_MAX + 5];
        image[3 * BIN_MAX] = 1;
        let steps = pack(Effort::Low, &image, 4096);
        let first = Step::parse(steps.first_chunk().unwrap()).unwrap();
        assert_eq!(first, Step::Zero { offset: 0, length: 3 * BIN_MAX as u64 });
        let last = Step::parse(steps[steps.len() - 2 * STEP_LEN..].first_chunk().unwrap()).unwrap();
        let offset = (3 * BIN_MAX + BLOCK) as u64;
        assert_eq!(last, Step::Zero { offset, length: image.len() as u64 - offset });
    }

    #[test]
    fn a_hole_of_a_terabyte_costs_one_step() {
        let mut packer = Packer::new(Effort::Low);
        let mut steps = Vec::new();
        packer.push_hole((1 << 40) + 7, &mut steps);
        packer.finish(&mut steps);
        assert_eq!(steps.len(), 2 * STEP_LEN);
    }

    #[test]
    fn a_bin_is_split_at_its_zero_blocks() {
        let run = |start: usize, end: usize, is_zero| Run {
            start: start * BLOCK,
            end: end * BLOCK,
            is_zero,
        };
        let bin = |blocks: &str| -> Vec<u8> {
            blocks.bytes().flat_map(|block| vec![u8::from(block == b'x'); BLOCK]).collect()
        };
        assert_eq!(
            runs(&bin("..xx.x")),
            [run(0, 2, true), run(2, 4, false), run(4, 5, true), run(5, 6, false)]
        );
        assert_eq!(runs(&bin("....")), [run(0, 4, true)]);
        assert_eq!(runs(&[]), []);
    }

    #[test]
    fn noise_is_sent_raw() {
        let noise = bytes_of(&Extent::Noise(BIN_MAX, 7));
        let steps = pack(Effort::High, &noise, BIN_MAX);
        assert_eq!(steps.len(), BIN_MAX + 2 * STEP_LEN);
    }

    #[test]
    fn the_slower_the_line_the_more_effort() {
        assert_eq!(Effort::for_line(Some(11_520)), Effort::High);
        assert_eq!(Effort::for_line(Some(400_000)), Effort::Medium);
        assert_eq!(Effort::for_line(None), Effort::Low);
    }
}
