//! Carries out the [`steps`](crate::wire::steps) of a plan in their order, a little at a time, in memory that its owner
//! gives.

use super::{Storage, Trouble};
use crate::agent::transfer::WRITE_WINDOW;
use crate::agent::unpack::Unpacker;
use crate::link::INITIAL_CREDIT;
use crate::link::crc::crc32c;
use crate::wire::FailureKind;
use crate::wire::response::Written;
use crate::wire::steps::{
    BLOCK, Extent, GROUP_HEADER_LEN, GROUP_MAX, Packing, SOURCES_MAX, Step, StepReader,
};
use core::ops::DerefMut;
use heapless::Vec;

/// Bytes of the stream that a plan keeps until it comes to them: all that the dispatcher may send ahead.
pub const INPUT_MAX: usize = WRITE_WINDOW + INITIAL_CREDIT;

/// Bytes that are read, written or unpacked before somebody else has a turn.
const WORK_MAX: usize = 64 * 1024;

/// Zeros written at once: a device that cannot discard writes them one by one.
const ZEROS_AT_ONCE: u32 = (4 << 20) / BLOCK as u32;

/// Bytes that may be written and not yet durable: a third of a second of a slow SD card.
const SYNC_AFTER: u64 = 4 << 20;

/// What bins an agent has memory for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a bin, packed and unpacked alike.
    pub bin_max: u32,
    /// Most bytes of its dictionary.
    pub dictionary_max: u32,
}

impl Limits {
    /// Those of every agent.
    pub const STANDARD: Self = Self {
        bin_max: crate::wire::steps::BIN_MAX as u32,
        dictionary_max: crate::wire::steps::DICTIONARY_MAX as u32,
    };

    /// Those of one that need not save memory.
    pub const LARGE: Self = Self { bin_max: 256 * 1024, dictionary_max: 512 * 1024 };

    /// Bytes of memory that a plan with these needs.
    pub const fn memory(self) -> usize {
        (self.dictionary_max + 2 * self.bin_max) as usize + GROUP_MAX + INPUT_MAX
    }
}

/// A plan that is being carried out, in the memory `M`, with an unpacker that stands somewhere else (`U`): it has 16 KiB, and
/// whoever makes a plan and puts it away would have it on its stack several times.
///
/// ```text
/// memory: dictionary and behind it a bin's output │ packed bytes │ steps of the group │ input
/// ```
#[derive(Debug)]
pub struct Plan<M, U> {
    memory: M,
    limits: Limits,
    image_bytes: u64,
    /// Bytes of each source.
    sources: Vec<u64, SOURCES_MAX>,
    /// Whether source 0 changes as the plan writes.
    is_in_place: bool,
    unpacker: U,
    state: State,
    reader: StepReader,
    /// Bytes of the group's steps, and how many of them have been carried out.
    group: (usize, usize),
    /// Input that waits: from, to.
    input: (usize, usize),
    /// Packed bytes that are together, of those that the state waits for.
    collected: usize,
    written: Written,
    /// Bytes written since the last sync, and the last block.
    unsynced: u64,
    last: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before a group's header.
    Between,
    /// The group's packed steps are coming.
    Group {
        packing: Packing,
        packed: usize,
        length: usize,
    },
    /// Its steps are carried out.
    Steps,
    Zero(Extent),
    Copy {
        source: u8,
        from: u32,
        to: Extent,
    },
    /// The bin's dictionary is being read: so much there is.
    Dictionary {
        bin: Bin,
        length: usize,
    },
    /// The packed bytes of a bin are coming.
    Packed(Bin),
    /// Its output, which stands at `at` in the window, is written.
    Output {
        at: usize,
    },
    Ended,
}

/// Where the reading of a group goes on: how steps are understood, and bytes that were read.
type Reading = (StepReader, usize);

#[derive(Clone, Copy, Debug)]
struct Bin {
    packing: Packing,
    packed: usize,
    crc: u32,
    /// Bytes of the dictionary and of the output; known when the packed bytes come.
    dictionary: usize,
    length: usize,
    /// First block that it writes.
    first: u32,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// There is more that can be done.
    Again,
    /// So many bytes were read, written or unpacked.
    Worked(usize),
    /// Nothing can be done without more input.
    Hungry,
}

impl<M: DerefMut<Target = [u8]>, U: DerefMut<Target = Unpacker>> Plan<M, U> {
    /// One that has not begun, in at least [`Limits::memory`] bytes. The sources are their sizes in bytes, the target's
    /// own first; `is_in_place` when that one is what the plan writes to.
    ///
    /// # Errors
    /// [`Trouble`]: too little memory, or an image of more than 2³² blocks.
    pub fn new(
        memory: M,
        unpacker: U,
        limits: Limits,
        image_bytes: u64,
        sources: &[u64],
        is_in_place: bool,
    ) -> Result<Self, Trouble> {
        let has_room = memory.len() >= limits.memory();
        let sources = Vec::from_slice(sources).map_err(|()| Trouble::bad("sources"))?;
        if is_in_place && image_bytes > sources.first().copied().unwrap_or(0) {
            return Err(Trouble::of(
                FailureKind::TOO_LARGE,
                "the partition is smaller than the image",
            ));
        }
        if !has_room || image_bytes.div_ceil(BLOCK as u64) > u64::from(u32::MAX) {
            return Err(Trouble::of(FailureKind::TOO_LARGE, "image"));
        }
        Ok(Self {
            memory,
            limits,
            image_bytes,
            sources,
            is_in_place,
            unpacker,
            state: State::Between,
            reader: StepReader::new(),
            group: (0, 0),
            input: (0, 0),
            written: Written { data_bytes: 0, zero_bytes: 0, copied_bytes: 0 },
            collected: 0,
            unsynced: 0,
            last: 0,
        })
    }

    /// Bytes of the stream. No dispatcher sends more than [`INPUT_MAX`] ahead of what [`Self::work`] took.
    ///
    /// # Errors
    /// [`Trouble`]: it did.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let (mut from, mut to) = self.input;
        let input = self.parts().input;
        if to + bytes.len() > INPUT_MAX {
            input.copy_within(from..to, 0);
            (from, to) = (0, to - from);
        }
        let place = input.get_mut(to..to + bytes.len());
        place.ok_or(Trouble::bad("more than was granted"))?.copy_from_slice(bytes);
        self.input = (from, to + bytes.len());
        Ok(())
    }

    /// Works on, for as long as it takes to move 64 KiB or so. Returns how many bytes of the input it took, and whether
    /// there is more to do without more of it.
    ///
    /// # Errors
    /// [`Trouble`]: the plan has failed, and must not go on.
    pub fn work(&mut self, storage: &mut dyn Storage) -> Result<(usize, bool), Trouble> {
        let (mut taken, mut worked) = (0, 0);
        while worked < WORK_MAX {
            let before = self.input.1 - self.input.0;
            let turn = self.turn(storage)?;
            taken += before - (self.input.1 - self.input.0);
            match turn {
                Turn::Again => {}
                Turn::Worked(bytes) => worked += bytes,
                Turn::Hungry => return Ok((taken, false)),
            }
        }
        Ok((taken, true))
    }

    /// Whether the plan has come to its last step.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// What was written so far.
    pub fn written(&self) -> Written {
        self.written
    }

    fn turn(&mut self, storage: &mut dyn Storage) -> Result<Turn, Trouble> {
        match self.state {
            State::Between => self.begin_group(),
            State::Group { packing, packed, length } => self.unpack_group(packing, packed, length),
            State::Steps => match self.peek()? {
                Some((step, next)) => {
                    (self.reader, self.group.1) = next;
                    self.begin_step(step, storage)
                }
                None => {
                    self.state = State::Between;
                    Ok(Turn::Again)
                }
            },
            State::Zero(extent) => self.zero(extent, storage),
            State::Copy { source, from, to } => self.copy(source, from, to, storage),
            State::Dictionary { bin, length } => self.read_dictionary(bin, length, storage),
            State::Packed(bin) => self.unpack_bin(bin),
            State::Output { at } => self.write_output(at, storage),
            State::Ended if self.input.0 < self.input.1 => {
                Err(Trouble::bad("bytes behind the end"))
            }
            State::Ended => Ok(Turn::Hungry),
        }
    }

    fn begin_group(&mut self) -> Result<Turn, Trouble> {
        let (from, to) = self.input;
        let Some(header) = self.parts().input[from..to].first_chunk::<GROUP_HEADER_LEN>() else {
            return Ok(Turn::Hungry);
        };
        let [codec, rest @ ..] = *header;
        let [packed, length] = [[rest[0], rest[1]], [rest[2], rest[3]]]
            .map(|size| usize::from(u16::from_le_bytes(size)));
        let packing = match codec {
            0 if packed == length => Packing::Raw,
            1 => Packing::Lzma,
            _ => return Err(BAD_GROUP),
        };
        if ![packed, length].iter().all(|size| (1..=GROUP_MAX).contains(size)) {
            return Err(BAD_GROUP);
        }
        self.input.0 += GROUP_HEADER_LEN;
        self.state = State::Group { packing, packed, length };
        Ok(Turn::Again)
    }

    fn unpack_group(
        &mut self,
        packing: Packing,
        packed: usize,
        length: usize,
    ) -> Result<Turn, Trouble> {
        if !self.collect(packed) {
            return Ok(Turn::Hungry);
        }
        let Parts { packed: all, group, .. } = parts(&mut self.memory, self.limits);
        let (all, group) = (&all[..packed], &mut group[..length]);
        match packing {
            Packing::Raw => group.copy_from_slice(all),
            Packing::Lzma if self.unpacker.unpack(all, group, 0) => {}
            Packing::Lzma => return Err(BAD_GROUP),
        }
        self.group = (length, 0);
        self.state = State::Steps;
        Ok(Turn::Again)
    }

    /// The next step, and where the reading goes on behind it; `None` at the end of the group.
    fn peek(&mut self) -> Result<Option<(Step, Reading)>, Trouble> {
        let (length, read) = self.group;
        let mut reader = self.reader;
        let rest = &self.parts().group[read..length];
        let found = reader.next(rest).map_err(|_| BAD_STEP)?;
        Ok(found.map(|(step, behind)| (step, (reader, length - behind.len()))))
    }

    /// The step has been read; what it does not do at once it leaves to a state.
    fn begin_step(&mut self, step: Step, storage: &mut dyn Storage) -> Result<Turn, Trouble> {
        self.state = match step {
            Step::End if self.group.0 == self.group.1 => State::Ended,
            Step::Zero(extent) => {
                self.check_target(extent)?;
                State::Zero(extent)
            }
            Step::Copy { source, from, to } => {
                self.check_target(to)?;
                self.check_source(source, Extent { first: from, count: to.count })?;
                State::Copy { source, from, to }
            }
            Step::Bin { packing, packed, crc } => {
                let packed = self.in_bounds(packed, self.limits.bin_max)?;
                let bin = Bin { packing, packed, crc, dictionary: 0, length: 0, first: 0 };
                State::Dictionary { bin: self.look_through(bin)?, length: 0 }
            }
            Step::Sync => {
                self.sync(self.last, storage)?;
                return Ok(Turn::Worked(WORK_MAX));
            }
            // Those of a bin are read with it.
            Step::End | Step::Dictionary { .. } | Step::Target { .. } => return Err(BAD_STEP),
        };
        Ok(Turn::Again)
    }

    /// Checks all that belongs to a bin, before anything of it is done.
    fn look_through(&mut self, mut bin: Bin) -> Result<Bin, Trouble> {
        let begin = (self.reader, self.group.1);
        let (mut dictionary, mut length) = (0_u32, 0_u32);
        loop {
            let Some((step, next)) = self.peek()? else { return Err(BAD_STEP) };
            (self.reader, self.group.1) = next;
            match step {
                Step::Dictionary { source, extent } => {
                    self.check_source(source, extent)?;
                    dictionary = dictionary.saturating_add(extent.count);
                }
                Step::Target { extent, is_last } => {
                    self.check_target(extent)?;
                    if length == 0 {
                        bin.first = extent.first;
                    }
                    length = length.saturating_add(extent.count);
                    if is_last {
                        break;
                    }
                }
                _ => return Err(BAD_STEP),
            }
        }
        let bytes = |blocks: u32| blocks.saturating_mul(BLOCK as u32);
        bin.dictionary = self.in_bounds(bytes(dictionary), self.limits.dictionary_max)?;
        bin.length = self.in_bounds(bytes(length), self.limits.bin_max)?;
        if bin.packing == Packing::Raw && bin.packed != bin.length {
            return Err(BAD_STEP);
        }
        (self.reader, self.group.1) = begin;
        Ok(bin)
    }

    fn zero(&mut self, extent: Extent, storage: &mut dyn Storage) -> Result<Turn, Trouble> {
        let Extent { first, count } = extent;
        let now = count.min(ZEROS_AT_ONCE);
        let (offset, length) = self.bytes_of(first, now);
        let done = storage.zero(offset, length as u64);
        done.map_err(|os_error| Trouble::write(WRITING, first, os_error))?;
        self.written.zero_bytes += length as u64;
        self.last = first + now - 1;
        self.state = match count - now {
            0 => State::Steps,
            left => State::Zero(Extent { first: first + now, count: left }),
        };
        Ok(Turn::Worked(WORK_MAX))
    }

    fn copy(
        &mut self,
        source: u8,
        from: u32,
        to: Extent,
        storage: &mut dyn Storage,
    ) -> Result<Turn, Trouble> {
        let count = to.count.min((WORK_MAX / BLOCK) as u32);
        let left = to.count - count;
        // What is still to be read must not have been written over: up the disk the end goes first.
        let is_up = source == 0 && self.is_in_place && from < to.first;
        let skipped = if is_up { left } else { 0 };
        let (read, write) = (from + skipped, to.first + skipped);
        self.read(source, Extent { first: read, count }, 0, storage)?;
        let bytes = self.write(0, Extent { first: write, count }, storage)?;
        self.written.copied_bytes += bytes as u64;
        let next = if is_up { 0 } else { count };
        self.state = match left {
            0 => State::Steps,
            _ => {
                let to = Extent { first: to.first + next, count: left };
                State::Copy { source, from: from + next, to }
            }
        };
        Ok(Turn::Worked(bytes))
    }

    fn read_dictionary(
        &mut self,
        bin: Bin,
        length: usize,
        storage: &mut dyn Storage,
    ) -> Result<Turn, Trouble> {
        let Some((Step::Dictionary { source, extent }, next)) = self.peek()? else {
            self.state = State::Packed(bin);
            return Ok(Turn::Again);
        };
        (self.reader, self.group.1) = next;
        self.read(source, extent, length, storage)?;
        let bytes = extent.count as usize * BLOCK;
        self.state = State::Dictionary { bin, length: length + bytes };
        Ok(Turn::Worked(bytes))
    }

    fn unpack_bin(&mut self, bin: Bin) -> Result<Turn, Trouble> {
        if !self.collect(bin.packed) {
            return Ok(Turn::Hungry);
        }
        let Parts { window, packed, .. } = parts(&mut self.memory, self.limits);
        let window = &mut window[..bin.dictionary + bin.length];
        let packed = &packed[..bin.packed];
        let is_right = match bin.packing {
            Packing::Raw => {
                window.copy_from_slice(packed);
                true
            }
            Packing::Lzma => self.unpacker.unpack(packed, window, bin.dictionary),
        };
        if !is_right || crc32c(&window[bin.dictionary..]) != bin.crc {
            return Err(Trouble::digest(bin.first));
        }
        self.state = State::Output { at: bin.dictionary };
        Ok(Turn::Worked(bin.length))
    }

    fn write_output(&mut self, at: usize, storage: &mut dyn Storage) -> Result<Turn, Trouble> {
        let Some((Step::Target { extent, is_last }, next)) = self.peek()? else {
            return Err(BAD_STEP);
        };
        (self.reader, self.group.1) = next;
        let bytes = self.write(at, extent, storage)?;
        self.written.data_bytes += bytes as u64;
        let at = at + extent.count as usize * BLOCK;
        self.state = if is_last { State::Steps } else { State::Output { at } };
        Ok(Turn::Worked(bytes))
    }

    /// Takes input until `wanted` packed bytes are together.
    fn collect(&mut self, wanted: usize) -> bool {
        let (from, have) = (self.input.0, self.collected);
        let count = (wanted - have).min(self.input.1 - from);
        let Parts { packed, input, .. } = self.parts();
        packed[have..have + count].copy_from_slice(&input[from..from + count]);
        self.input.0 += count;
        self.collected = have + count;
        let is_whole = self.collected == wanted;
        if is_whole {
            self.collected = 0;
        }
        is_whole
    }

    /// Reads blocks of a source to `at` in the window. When that fails the first of them that cannot be read is found.
    fn read(
        &mut self,
        source: u8,
        blocks: Extent,
        at: usize,
        storage: &mut dyn Storage,
    ) -> Result<(), Trouble> {
        let size = self.sources.get(usize::from(source)).copied().unwrap_or(0);
        let window = self.parts().window.get_mut(at..).unwrap_or_default();
        let mut read = |first: u32, out: &mut [u8]| {
            let offset = u64::from(first) * BLOCK as u64;
            let there = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
            let (out, behind) = out.split_at_mut(there.min(out.len()));
            behind.fill(0);
            storage.read(source, offset, out)
        };
        let out = &mut window[..blocks.count as usize * BLOCK];
        if read(blocks.first, out).is_ok() {
            return Ok(());
        }
        for (block, out) in (blocks.first..).zip(out.chunks_exact_mut(BLOCK)) {
            read(block, out).map_err(|os_error| Trouble::read(source, block, os_error))?;
        }
        Ok(())
    }

    /// Writes what stands at `at` in the window, and returns how many bytes of it the image has.
    fn write(
        &mut self,
        at: usize,
        blocks: Extent,
        storage: &mut dyn Storage,
    ) -> Result<usize, Trouble> {
        let (offset, length) = self.bytes_of(blocks.first, blocks.count);
        let bytes = &self.parts().window[at..at + length];
        let done = storage.write(offset, bytes);
        done.map_err(|os_error| Trouble::write(WRITING, blocks.first, os_error))?;
        self.last = blocks.first + blocks.count - 1;
        self.unsynced += length as u64;
        if self.unsynced >= SYNC_AFTER {
            self.sync(self.last, storage)?;
        }
        Ok(length)
    }

    fn sync(&mut self, last: u32, storage: &mut dyn Storage) -> Result<(), Trouble> {
        self.unsynced = 0;
        storage.sync().map_err(|os_error| Trouble::write(SYNCING, last, os_error))
    }

    /// First byte and number of bytes of blocks of the target, the last of which the image may have only the front of.
    fn bytes_of(&self, first: u32, count: u32) -> (u64, usize) {
        let offset = u64::from(first) * BLOCK as u64;
        let length = u64::from(count) * BLOCK as u64;
        (offset, length.min(self.image_bytes.saturating_sub(offset)) as usize)
    }

    fn check_target(&self, Extent { first, count }: Extent) -> Result<(), Trouble> {
        let end = u64::from(first) + u64::from(count);
        if end > self.image_bytes.div_ceil(BLOCK as u64) {
            return Err(Trouble::too_large("beyond the image: target", first));
        }
        Ok(())
    }

    fn check_source(&self, source: u8, Extent { first, count }: Extent) -> Result<(), Trouble> {
        let end = u64::from(first) + u64::from(count);
        let size = self.sources.get(usize::from(source)).copied().unwrap_or(0);
        if end > size.div_ceil(BLOCK as u64) {
            return Err(Trouble::beyond(source, first));
        }
        Ok(())
    }

    fn in_bounds(&self, bytes: u32, most: u32) -> Result<usize, Trouble> {
        if bytes <= most {
            Ok(bytes as usize)
        } else {
            Err(Trouble::of(FailureKind::TOO_LARGE, "bin"))
        }
    }

    fn parts(&mut self) -> Parts<'_> {
        parts(&mut self.memory, self.limits)
    }
}

/// What the memory is for; see [`Plan`].
struct Parts<'m> {
    window: &'m mut [u8],
    packed: &'m mut [u8],
    group: &'m mut [u8],
    input: &'m mut [u8],
}

fn parts(memory: &mut [u8], limits: Limits) -> Parts<'_> {
    let bin_max = limits.bin_max as usize;
    let (window, rest) = memory.split_at_mut(limits.dictionary_max as usize + bin_max);
    let (packed, rest) = rest.split_at_mut(bin_max);
    let (group, input) = rest.split_at_mut(GROUP_MAX);
    Parts { window, packed, group, input }
}

#[cfg(test)]
mod tests;

const BAD_GROUP: Trouble = Trouble::bad("not a group of steps");
const BAD_STEP: Trouble = Trouble::bad("not a step of a plan");
const WRITING: &str = "writing target";
const SYNCING: &str = "syncing, last written target";
