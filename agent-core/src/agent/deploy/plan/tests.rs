extern crate std;

use super::*;
use crate::wire::FailureKind;
use crate::wire::steps::{BIN_MAX, LZMA_LC_LP_PB, StepWriter};
use crate::xorshift::Xorshift32;
use core::num::NonZeroU32;
use lzma_rust2::{LzmaOptions, LzmaWriter};
use proptest::prelude::*;
use std::boxed::Box;
use std::io::Write as _;
use std::vec;
use std::vec::Vec;

/// A stream that is being made: steps of a group, and its bins.
#[derive(Default)]
struct Stream {
    writer: StepWriter,
    steps: Vec<u8>,
    bins: Vec<u8>,
    bytes: Vec<u8>,
}

impl Stream {
    fn step(&mut self, write: impl FnOnce(&mut StepWriter, &mut dyn FnMut(u8))) {
        let Self { writer, steps, .. } = self;
        write(writer, &mut |byte| steps.push(byte));
    }

    fn bin(&mut self, dictionary: &[(u8, Extent)], targets: &[Extent], packed: &[u8], crc: u32) {
        let packing = if dictionary.is_empty() { Packing::Raw } else { Packing::Lzma };
        self.pack_bin(packing, dictionary, targets, packed, crc);
    }

    fn pack_bin(
        &mut self,
        packing: Packing,
        dictionary: &[(u8, Extent)],
        targets: &[Extent],
        packed: &[u8],
        crc: u32,
    ) {
        self.step(|writer, mut put| {
            writer.bin(packing, packed.len() as u32, crc, dictionary, targets, &mut put);
        });
        self.bins.extend(packed);
    }

    /// Ends the group.
    fn group(&mut self, is_packed: bool) {
        let steps = core::mem::take(&mut self.steps);
        if steps.is_empty() {
            return;
        }
        let packed = if is_packed { pack(&[], &steps) } else { steps.clone() };
        self.bytes.push(u8::from(is_packed));
        self.bytes.extend((packed.len() as u16).to_le_bytes());
        self.bytes.extend((steps.len() as u16).to_le_bytes());
        self.bytes.extend(packed);
        self.bytes.append(&mut self.bins);
    }

    fn end(mut self) -> Vec<u8> {
        self.step(|writer, mut put| writer.end(&mut put));
        self.group(false);
        self.bytes
    }
}

fn pack(dictionary: &[u8], data: &[u8]) -> Vec<u8> {
    let mut options = LzmaOptions::with_preset(1);
    let (lc, lp, pb) = LZMA_LC_LP_PB;
    (options.lc, options.lp, options.pb) = (lc.into(), lp.into(), pb.into());
    options.dict_size = (dictionary.len() + data.len()).max(4096) as u32;
    options.preset_dict = (!dictionary.is_empty()).then(|| dictionary.to_vec());
    let mut writer = LzmaWriter::new_no_header(Vec::new(), &options, false).unwrap();
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

/// Disks in memory that check what they are asked.
#[derive(Clone, Default)]
struct Disks {
    target: Vec<u8>,
    /// Source 0 of a file.
    old: Option<Vec<u8>>,
    sources: Vec<Vec<u8>>,
    image_bytes: usize,
    bad_source: Option<(u8, u32)>,
    bad_target: Option<u32>,
    syncs: u32,
}

impl Storage for Disks {
    fn read(&mut self, source: u8, offset: u64, out: &mut [u8]) -> Result<(), i32> {
        let (offset, end) = (offset as usize, offset as usize + out.len());
        let from = match source {
            0 => self.old.as_ref().unwrap_or(&self.target),
            _ => &self.sources[usize::from(source) - 1],
        };
        out.copy_from_slice(&from[offset..end]);
        match self.bad_source {
            Some((bad, block))
                if bad == source && (offset..end).contains(&(block as usize * BLOCK)) =>
            {
                Err(5)
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), i32> {
        let (offset, end) = (offset as usize, offset as usize + bytes.len());
        assert!(end <= self.image_bytes, "beyond the image");
        if self.bad_target.is_some_and(|block| (offset..end).contains(&(block as usize * BLOCK))) {
            return Err(28);
        }
        self.target[offset..end].copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&mut self, offset: u64, length: u64) -> Result<(), i32> {
        let end = (offset + length) as usize;
        assert!(end <= self.image_bytes, "beyond the image");
        self.target[offset as usize..end].fill(0);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), i32> {
        self.syncs += 1;
        Ok(())
    }
}

impl Disks {
    fn sizes(&self) -> Vec<u64> {
        let first = self.old.as_ref().unwrap_or(&self.target);
        let all = core::iter::once(first).chain(&self.sources);
        all.map(|bytes| bytes.len() as u64).collect()
    }

    fn begin(&self) -> Result<Plan<Box<[u8]>, Box<Unpacker>>, Trouble> {
        let memory = vec![0xAA; Limits::STANDARD.memory()].into_boxed_slice();
        let is_in_place = self.old.is_none();
        let bytes = self.image_bytes as u64;
        Plan::new(memory, Box::default(), Limits::STANDARD, bytes, &self.sizes(), is_in_place)
    }

    /// Carries out a stream that comes in pieces of this size, never more ahead than was granted.
    fn run(&mut self, stream: &[u8], piece: usize) -> Result<(Written, bool), Trouble> {
        let mut plan = self.begin()?;
        let mut ahead = 0;
        for piece in stream.chunks(piece) {
            plan.push(piece)?;
            ahead += piece.len();
            loop {
                let (taken, has_more) = plan.work(self)?;
                ahead -= taken;
                if !has_more {
                    break;
                }
            }
            assert!(ahead < BIN_MAX, "input is taken when it can be");
        }
        Ok((plan.written(), plan.has_ended() && ahead == 0))
    }

    /// Blocks of a source as a plan sees them: the last filled up with zeros.
    fn blocks(&self, source: u8, extent: Extent) -> Vec<u8> {
        let from = match source {
            0 => self.old.as_ref().unwrap_or(&self.target),
            _ => &self.sources[usize::from(source) - 1],
        };
        let (start, end) =
            (extent.first as usize * BLOCK, (extent.first + extent.count) as usize * BLOCK);
        let mut bytes = from[start..end.min(from.len())].to_vec();
        bytes.resize(end - start, 0);
        bytes
    }

    fn put(&mut self, first: u32, bytes: &[u8]) {
        let start = first as usize * BLOCK;
        let end = (start + bytes.len()).min(self.image_bytes);
        self.target[start..end].copy_from_slice(&bytes[..end - start]);
    }
}

struct Random(Xorshift32);

impl Random {
    fn new(seed: u32) -> Self {
        Self(Xorshift32::new(NonZeroU32::new(seed).unwrap()))
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.0.next() % bound
    }

    fn extent(&mut self, blocks: u32, most: u32) -> Extent {
        let count = 1 + self.below(most.min(blocks));
        Extent { first: self.below(blocks - count + 1), count }
    }

    fn disk(&mut self, bytes: usize) -> Vec<u8> {
        let mut disk = Vec::new();
        while disk.len() < bytes {
            let (byte, is_noise) = (self.0.next() as u8, self.below(4) == 0);
            disk.extend(
                (0..1 + self.below(9000))
                    .map(|at| if is_noise { self.0.next() as u8 } else { byte ^ (at / 50) as u8 }),
            );
        }
        disk.truncate(bytes);
        disk
    }

    fn disks(&mut self) -> Disks {
        let image_bytes = 1 + self.below(600_000) as usize;
        let target_bytes = image_bytes + self.below(100_000) as usize;
        let source_bytes = 1 + self.below(400_000) as usize;
        let sources = vec![self.disk(source_bytes), self.disk(5)];
        let mut disks =
            Disks { target: self.disk(target_bytes), sources, image_bytes, ..Disks::default() };
        if self.below(3) == 0 {
            let old_bytes = self.below(300_000) as usize;
            disks.old = Some(self.disk(old_bytes));
        }
        disks
    }
}

/// Makes a random plan, and does it to the model `disks` as it goes.
fn random_plan(random: &mut Random, disks: &mut Disks) -> Vec<u8> {
    let mut stream = Stream::default();
    let blocks = disks.image_bytes.div_ceil(BLOCK) as u32;
    let sizes: Vec<u32> =
        disks.sizes().iter().map(|bytes| bytes.div_ceil(BLOCK as u64) as u32).collect();
    for _ in 0..random.below(40) {
        let mut source = random.below(3) as u8;
        if sizes[usize::from(source)] == 0 {
            source = 2;
        }
        let source_blocks = sizes[usize::from(source)];
        match random.below(6) {
            0 => {
                let to = random.extent(blocks, 40);
                stream.step(|writer, mut put| writer.zero(to, &mut put));
                disks.put(to.first, &vec![0; to.count as usize * BLOCK]);
            }
            1 | 2 => {
                let to = random.extent(blocks.min(source_blocks), 60);
                let first = random.below(blocks - to.count + 1);
                let (from, to) = (to, Extent { first, ..to });
                stream.step(|writer, mut put| writer.copy(source, from.first, to, &mut put));
                let bytes = disks.blocks(source, from);
                disks.put(to.first, &bytes);
            }
            3 => stream.step(|writer, mut put| writer.sync(&mut put)),
            kind => {
                let mut dictionary = vec![];
                while kind == 5 && dictionary.len() < 3 {
                    dictionary.push((source, random.extent(source_blocks, 10)));
                }
                let mut targets = vec![];
                while targets.is_empty() || random.below(2) == 0 && targets.len() < 4 {
                    targets.push(random.extent(blocks, 4));
                }
                let known: Vec<u8> = dictionary
                    .iter()
                    .flat_map(|(source, extent)| disks.blocks(*source, *extent))
                    .collect();
                let length = targets.iter().map(|extent| extent.count as usize * BLOCK).sum();
                let mut data = random.disk(length);
                // Something of it is like the dictionary.
                let alike = known.len().min(length) / 2;
                data[..alike].copy_from_slice(&known[..alike]);
                let packed = if kind == 5 { pack(&known, &data) } else { data.clone() };
                stream.bin(&dictionary, &targets, &packed, crc32c(&data));
                let mut at = 0;
                for extent in targets {
                    let end = at + extent.count as usize * BLOCK;
                    disks.put(extent.first, &data[at..end]);
                    at = end;
                }
            }
        }
        if stream.steps.len() > 3000 || random.below(5) == 0 {
            stream.group(random.below(2) == 0);
        }
    }
    stream.end()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_plan_does_what_its_steps_say(seed in 1..u32::MAX, piece in 1..3000_usize) {
        let mut random = Random::new(seed);
        let before = random.disks();
        let (mut model, mut disks) = (before.clone(), before);
        let stream = random_plan(&mut random, &mut model);
        let (_, has_ended) = disks.run(&stream, piece).map_err(|trouble| TestCaseError::fail(std::format!("{trouble:?}")))?;
        prop_assert!(has_ended);
        prop_assert!(disks.target == model.target);
    }

    /// Neither a panic, nor a byte beyond the image (which the disks check), nor an end that was not sent.
    #[test]
    fn damaged_streams_are_refused_or_done(
        seed in 1..u32::MAX,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        piece in 1..3000_usize,
    ) {
        let mut random = Random::new(seed);
        let mut disks = random.disks();
        let mut stream = random_plan(&mut random, &mut disks.clone());
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let _ = disks.run(&stream, piece);
    }

    #[test]
    fn noise_is_refused_or_done(stream in prop::collection::vec(any::<u8>(), 0..5000), steps in prop::collection::vec(0..9_u8, 1..400)) {
        let mut disks = Random::new(7).disks();
        let _ = disks.run(&stream, 100);
        let mut bytes = vec![0];
        bytes.extend([(steps.len() as u16).to_le_bytes(); 2].as_flattened());
        bytes.extend(steps);
        bytes.extend(stream);
        let _ = disks.run(&bytes, 100);
    }
}

fn extent(first: u32, count: u32) -> Extent {
    Extent { first, count }
}

/// 100 blocks, of which the image is 99 and a half; a source of 10.
fn plain() -> Disks {
    let numbered = |blocks: usize| (0..blocks * BLOCK).map(|at| (at / BLOCK) as u8).collect();
    let image_bytes = 99 * BLOCK + BLOCK / 2;
    Disks { target: numbered(100), sources: vec![numbered(10)], image_bytes, ..Disks::default() }
}

#[test]
fn copies_that_overlap_are_as_if_read_before() {
    for (from, to) in [(0, 1), (1, 0), (0, 40), (40, 0), (3, 20), (20, 3)] {
        let mut stream = Stream::default();
        stream.step(|writer, mut put| writer.copy(0, from, extent(to, 59), &mut put));
        let mut disks = plain();
        let (written, has_ended) = disks.run(&stream.end(), 7).unwrap();
        assert!(has_ended);
        for block in 0..59_u32 {
            let at = (to + block) as usize * BLOCK;
            if at < disks.image_bytes {
                assert_eq!(u32::from(disks.target[at]), from + block, "{from} {to}");
            }
        }
        assert_eq!(written.copied_bytes, 59 * BLOCK as u64);
    }
}

#[test]
fn the_short_last_block_is_clipped() {
    let mut stream = Stream::default();
    stream.step(|writer, mut put| writer.copy(1, 8, extent(98, 2), &mut put));
    let mut disks = plain();
    let (written, _) = disks.run(&stream.end(), 1000).unwrap();
    assert_eq!(written.copied_bytes as usize, BLOCK + BLOCK / 2);
    assert_eq!((disks.target[98 * BLOCK], disks.target[99 * BLOCK]), (8, 9));
    assert_eq!(disks.target[disks.image_bytes], 99, "what is behind the image stays");
}

#[test]
fn what_is_written_becomes_durable_as_it_goes() {
    let mut stream = Stream::default();
    for _ in 0..25 {
        stream.step(|writer, mut put| writer.copy(0, 0, extent(40, 50), &mut put));
    }
    stream.step(|writer, mut put| writer.sync(&mut put));
    let mut disks = plain();
    disks.run(&stream.end(), 1000).unwrap();
    assert_eq!(disks.syncs, 2, "5 MB and one that was asked for");
}

/// Runs a stream of one group, and what follows it.
fn refused(disks: &mut Disks, make: impl FnOnce(&mut Stream), behind: &[u8]) -> Trouble {
    let (mut stream, before) = (Stream::default(), disks.target.clone());
    make(&mut stream);
    stream.group(false);
    let trouble = disks.run(&[&stream.bytes, behind].concat(), 5000).unwrap_err();
    assert!(disks.target == before, "nothing was written");
    trouble
}

#[test]
fn what_goes_wrong_is_named() {
    let mut disks = plain();
    disks.bad_source = Some((1, 7));
    disks.bad_target = Some(61);
    let copy = |source, from, to| {
        move |stream: &mut Stream| {
            stream.step(|writer, mut put| writer.copy(source, from, to, &mut put));
        }
    };
    let bin = |dictionary: Vec<(u8, Extent)>, target, packed: Vec<u8>, crc| {
        move |stream: &mut Stream| stream.bin(&dictionary, &[target], &packed, crc)
    };
    let data = vec![2; BLOCK];
    let known = disks.blocks(1, extent(0, 3));
    let packed = pack(&known, &data);
    let dictionary = vec![(1, extent(0, 3))];
    let crc = crc32c(&data);
    for (trouble, kind, text) in [
        (
            refused(&mut disks, copy(1, 2, extent(0, 7)), b""),
            FailureKind::OS,
            "reading source 1 block 7",
        ),
        (
            refused(&mut disks, copy(0, 0, extent(61, 1)), b""),
            FailureKind::OS,
            "writing target block 61",
        ),
        (
            refused(&mut disks, copy(1, 9, extent(0, 2)), b""),
            FailureKind::TOO_LARGE,
            "beyond its end: source 1 block 9",
        ),
        (
            refused(&mut disks, copy(2, 0, extent(0, 1)), b""),
            FailureKind::TOO_LARGE,
            "beyond its end: source 2 block 0",
        ),
        (
            refused(&mut disks, copy(0, 0, extent(99, 2)), b""),
            FailureKind::TOO_LARGE,
            "beyond the image: target block 99",
        ),
        (
            refused(
                &mut disks,
                bin(dictionary.clone(), extent(5, 1), packed.clone(), crc ^ 1),
                b"",
            ),
            FailureKind::DIGEST,
            "bin for target block 5",
        ),
        (
            refused(
                &mut disks,
                bin(vec![(1, extent(3, 3))], extent(5, 1), packed.clone(), crc),
                b"",
            ),
            FailureKind::DIGEST,
            "bin for target block 5",
        ),
        (
            refused(
                &mut disks,
                bin(vec![(1, extent(5, 3))], extent(5, 1), packed.clone(), crc),
                b"",
            ),
            FailureKind::OS,
            "reading source 1 block 7",
        ),
        (
            refused(&mut disks, bin(dictionary, extent(4, 2), packed, crc), b""),
            FailureKind::DIGEST,
            "bin for target block 4",
        ),
        (
            refused(&mut disks, bin(vec![], extent(4, 1), vec![0; 9], crc), b""),
            FailureKind::BAD_MESSAGE,
            "not a step of a plan",
        ),
        (
            refused(&mut disks, bin(vec![(0, extent(0, 33))], extent(4, 1), vec![0; 9], crc), b""),
            FailureKind::TOO_LARGE,
            "bin",
        ),
        (
            refused(&mut disks, bin(vec![(0, extent(0, 1))], extent(4, 17), vec![0; 9], crc), b""),
            FailureKind::TOO_LARGE,
            "bin",
        ),
        (
            refused(&mut disks, bin(vec![], extent(4, 17), vec![0; BIN_MAX + BLOCK], crc), b""),
            FailureKind::TOO_LARGE,
            "bin",
        ),
        (
            refused(&mut disks, |stream| stream.step(|writer, mut put| writer.end(&mut put)), b"x"),
            FailureKind::BAD_MESSAGE,
            "bytes behind the end",
        ),
        (
            refused(&mut disks, |_| {}, b"\0\x01\0\x02\0xxx"),
            FailureKind::BAD_MESSAGE,
            "not a group of steps",
        ),
        (
            refused(&mut disks, |_| {}, b"\0\x01\x10\x01\x10xxx"),
            FailureKind::BAD_MESSAGE,
            "not a group of steps",
        ),
        (
            refused(&mut disks, |_| {}, b"\x01\x03\0\x02\0xxx"),
            FailureKind::BAD_MESSAGE,
            "not a group of steps",
        ),
        (
            refused(&mut disks, |_| {}, b"\x02\x01\0\x01\0xxx"),
            FailureKind::BAD_MESSAGE,
            "not a group of steps",
        ),
        (
            refused(&mut disks, |_| {}, b"\0\x02\0\x02\0\0\x05"),
            FailureKind::BAD_MESSAGE,
            "not a step of a plan",
        ),
    ] {
        assert_eq!((trouble.kind, trouble.text().as_str()), (kind, text));
    }
    let io = refused(&mut disks, copy(1, 2, extent(0, 7)), b"");
    assert_eq!(io.os_error, 5);
}

#[test]
fn an_image_larger_than_its_partition_is_refused() {
    let mut disks = plain();
    disks.image_bytes = disks.target.len() + 1;
    assert_eq!(disks.begin().unwrap_err().kind, FailureKind::TOO_LARGE);
    disks.old = Some(vec![]);
    assert!(disks.begin().is_ok(), "a file grows");
}

#[test]
fn more_than_was_granted_is_refused() {
    let mut plan = plain().begin().unwrap();
    plan.push(&vec![0; INPUT_MAX]).unwrap();
    assert_eq!(plan.push(&[0]).unwrap_err().kind, FailureKind::BAD_MESSAGE);
}
