//! A plan as the bytes of a `block-plan`'s stream. Bins are packed by several threads, each in its turn, so that the bytes
//! are the same with any number of them.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use agent_core::wire::steps::{BLOCK, Extent, GROUP_MAX, Packing, StepWriter};
use crc::{CRC_32_ISCSI, Crc};
use lzma_rust2::LzmaWriter;

use super::effort::Effort;
use super::plan::{Bin, Plan, PlanStep};

/// What a stream consists of, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// All of it.
    pub stream_bytes: u64,
    /// The bins, packed.
    pub packed_bytes: u64,
    /// The steps, as they would be without packing.
    pub steps_bytes: u64,
    /// Bins that use a dictionary, in number.
    pub dictionary_bins: u32,
    /// Bins without one.
    pub lzma_bins: u32,
    /// Bins that cannot be packed.
    pub raw_bins: u32,
    /// Blocks of all bins.
    pub literal_blocks: u32,
    /// Blocks that all steps write.
    pub written_blocks: u64,
    /// Where bins go that packing hardly makes smaller: what is packed already, or is noise.
    pub unpackable: Vec<Extent>,
}

/// Takes the next bytes of a stream.
pub type Put<'p> = &'p mut dyn FnMut(&[u8], &Encoded) -> io::Result<()>;

impl Plan<'_> {
    /// Gives the stream, piece by piece, to `put`, with what it consists of so far. Memory: for each of the `threads` (at least 1) four bins and an
    /// encoder of some MiB, and at most [`HELD_MAX`] and a bin of bytes that wait for their group.
    ///
    /// # Errors
    /// Those of reading and of `put`.
    pub fn encode(&self, effort: Effort, threads: usize, put: Put<'_>) -> io::Result<Encoded> {
        let threads = threads.clamp(1, self.bins.len().max(1));
        std::thread::scope(|scope| {
            let packers: Vec<Receiver<io::Result<Packed>>> = (0..threads)
                .map(|number| {
                    let (sender, receiver) = sync_channel(AHEAD);
                    let bins = self.bins.iter().skip(number).step_by(threads);
                    scope.spawn(move || self.pack(bins, effort, &sender));
                    receiver
                })
                .collect();
            let mut groups = Groups::new(put);
            for step in &self.steps {
                match step {
                    PlanStep::Zero(to) => {
                        groups.encoded.written_blocks += u64::from(to.count);
                        groups.put_step(|writer, mut put| writer.zero(*to, &mut put))?;
                    }
                    PlanStep::Copy { source, from, to } => {
                        groups.encoded.written_blocks += u64::from(to.count);
                        groups.put_step(|writer, mut put| {
                            writer.copy(*source, *from, *to, &mut put)
                        })?;
                    }
                    PlanStep::Sync => groups.put_step(|writer, mut put| writer.sync(&mut put))?,
                    PlanStep::Bin(number) => {
                        let number = *number as usize;
                        let stopped = |_| io::Error::other("a packing thread stopped");
                        let packed = packers[number % threads].recv().map_err(stopped)??;
                        groups.put_bin(&self.bins[number], packed)?;
                    }
                }
            }
            groups.finish()
        })
    }

    fn pack<'b>(
        &self,
        bins: impl Iterator<Item = &'b Bin>,
        effort: Effort,
        sender: &SyncSender<io::Result<Packed>>,
    ) {
        for bin in bins {
            // Nobody takes it any more: putting failed.
            if sender.send(self.pack_bin(bin, effort)).is_err() {
                return;
            }
        }
    }

    fn pack_bin(&self, bin: &Bin, effort: Effort) -> io::Result<Packed> {
        let read = |range: &std::ops::Range<usize>| -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; range.len() * BLOCK];
            for (id, block) in self.ids[range.clone()].iter().zip(bytes.chunks_mut(BLOCK)) {
                self.index.read(*id, block)?;
            }
            Ok(bytes)
        };
        let bytes = read(&bin.literal_ids)?;
        let crc = CASTAGNOLI.checksum(&bytes);
        let mut packed = Packed { packing: Packing::Raw, has_dictionary: false, bytes, crc };
        let with = if bin.dictionary.is_empty() {
            None
        } else {
            lzma(&packed.bytes, Some(read(&bin.dictionary_ids)?), effort)
        };
        let is_clear = with.as_ref().is_some_and(|with| with.len() * CLEAR <= packed.bytes.len());
        let without = if is_clear { None } else { lzma(&packed.bytes, None, effort) };
        let cost = |bytes: &[u8]| bytes.len() + bin.dictionary.len() * EXTENT_BYTES;
        let least = without.as_ref().map_or(packed.bytes.len(), Vec::len).min(packed.bytes.len());
        if let Some(with) = with.filter(|with| cost(with) < least) {
            (packed.packing, packed.has_dictionary, packed.bytes) = (Packing::Lzma, true, with);
        } else if let Some(without) = without.filter(|without| without.len() < packed.bytes.len()) {
            (packed.packing, packed.bytes) = (Packing::Lzma, without);
        }
        Ok(packed)
    }
}

#[derive(Debug)]
struct Packed {
    packing: Packing,
    has_dictionary: bool,
    bytes: Vec<u8>,
    crc: u32,
}

/// Most packed bytes that wait until their group of steps is complete.
pub const HELD_MAX: usize = 1 << 20;

/// Groups of steps, each with the bins that it names behind it.
struct Groups<'p> {
    put: Put<'p>,
    writer: StepWriter,
    steps: Vec<u8>,
    bins: Vec<u8>,
    /// A group ends with so many bytes of bins: soon at first, because the line is waiting.
    held_max: usize,
    encoded: Encoded,
}

impl<'p> Groups<'p> {
    fn new(put: Put<'p>) -> Self {
        Self {
            put,
            writer: StepWriter::new(),
            steps: Vec::new(),
            bins: Vec::new(),
            held_max: HELD_MAX / 64,
            encoded: Encoded::default(),
        }
    }

    fn put_step(&mut self, write: impl Fn(&mut StepWriter, &mut dyn FnMut(u8))) -> io::Result<()> {
        let mut step = Vec::new();
        write(&mut self.writer, &mut |byte| step.push(byte));
        if self.steps.len() + step.len() > GROUP_MAX {
            self.end_group()?;
        }
        self.steps.extend(step);
        Ok(())
    }

    fn put_bin(&mut self, bin: &Bin, packed: Packed) -> io::Result<()> {
        let dictionary: &[_] = if packed.has_dictionary { &bin.dictionary } else { &[] };
        let count = match packed {
            Packed { has_dictionary: true, .. } => &mut self.encoded.dictionary_bins,
            Packed { packing: Packing::Lzma, .. } => &mut self.encoded.lzma_bins,
            Packed { packing: Packing::Raw, .. } => &mut self.encoded.raw_bins,
        };
        *count += 1;
        self.encoded.literal_blocks += bin.literal_ids.len() as u32;
        self.encoded.written_blocks += bin.literal_ids.len() as u64;
        let literal_bytes = bin.literal_ids.len() * BLOCK;
        if packed.bytes.len() >= literal_bytes - literal_bytes / HARDLY {
            self.encoded.unpackable.extend_from_slice(&bin.targets);
        }
        self.put_step(|writer, mut put| {
            let len = packed.bytes.len() as u32;
            writer.bin(packed.packing, len, packed.crc, dictionary, &bin.targets, &mut put);
        })?;
        self.encoded.packed_bytes += packed.bytes.len() as u64;
        self.bins.extend(packed.bytes);
        if self.bins.len() >= self.held_max {
            self.end_group()?;
            self.held_max = (self.held_max * 2).min(HELD_MAX);
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Encoded> {
        self.put_step(|writer, mut put| writer.end(&mut put))?;
        self.end_group()?;
        Ok(self.encoded)
    }

    fn end_group(&mut self) -> io::Result<()> {
        if self.steps.is_empty() {
            return Ok(());
        }
        let packed = lzma(&self.steps, None, Effort::High);
        let packed = packed.filter(|packed| packed.len() < self.steps.len());
        let payload = packed.as_ref().unwrap_or(&self.steps);
        let mut group = vec![u8::from(packed.is_some())];
        group.extend((payload.len() as u16).to_le_bytes());
        group.extend((self.steps.len() as u16).to_le_bytes());
        group.extend(payload);
        self.encoded.steps_bytes += self.steps.len() as u64;
        self.encoded.stream_bytes += (group.len() + self.bins.len()) as u64;
        (self.put)(&group, &self.encoded)?;
        (self.put)(&self.bins, &self.encoded)?;
        self.steps.clear();
        self.bins.clear();
        Ok(())
    }
}

/// Raw LZMA without header and end marker. `None` if the encoder refuses, which it does for no bytes that it is known to
/// be given here.
fn lzma(bytes: &[u8], dictionary: Option<Vec<u8>>, effort: Effort) -> Option<Vec<u8>> {
    let window = bytes.len() + dictionary.as_ref().map_or(0, Vec::len);
    let mut options = effort.options(window.max(BLOCK) as u32);
    options.preset_dict = dictionary;
    let mut writer =
        LzmaWriter::new_no_header(Vec::with_capacity(bytes.len()), &options, false).ok()?;
    writer.write_all(bytes).ok()?;
    writer.finish().ok()
}

static CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Bins that a thread packs ahead of the line.
const AHEAD: usize = 4;

/// Packed to a part this small with a dictionary, a bin is not tried without.
const CLEAR: usize = 6;

/// Packing that takes less than this part away does hardly anything.
const HARDLY: usize = 8;

/// An extent of a dictionary on the line, packed.
const EXTENT_BYTES: usize = 3;
