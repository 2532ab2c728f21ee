//! The steps of a deploy plan, on the stream of a `block-plan`. The dispatcher makes the plan; the agent carries out its
//! steps in their order and never plans.
//!
//! Everything counts in blocks of [`BLOCK`] bytes; the last block of an image may be short. Steps travel in *groups*: a
//! header of [`GROUP_HEADER_LEN`] bytes, the steps, packed, and then the packed bytes of the group's bins in their order.
//!
//! ```text
//! 0   codec   u8      of the steps: 0 raw, 1 LZMA
//! 1   packed  u16 LE  bytes of the steps on the stream
//! 3   length  u16 LE  bytes of the steps, 1 to GROUP_MAX
//! ```
//!
//! A step is a kind and numbers. A *number* is LEB128 of at most 5 bytes (DWARF 5 §7.6); a *place* is a number, zigzag
//! coded, that is added to where the last step of its kind of place ended: `to` for what is written, `from` for what is
//! read, both 0 at the start of the plan and kept from group to group.
//!
//! ```text
//! 0 end
//! 1 zero      to, count
//! 2 copy      source, from, to, count
//! 3 raw bin   packed, crc (u32 LE), targets, then targets × (to, count)
//! 4 LZMA bin  packed, crc (u32 LE), extents, targets, then extents × (source, from, count), targets × (to, count)
//! 5 sync
//! ```

/// Bytes of a block.
pub const BLOCK: usize = 4096;

/// Bytes of a group's header.
pub const GROUP_HEADER_LEN: usize = 5;

/// Most bytes of the steps of a group, packed and unpacked alike.
pub const GROUP_MAX: usize = 4096;

/// Most sources that a plan names, the target itself (source 0) included.
pub const SOURCES_MAX: usize = 5;

/// Most bytes of a bin's output, or of its packed bytes, that every agent has memory for.
pub const BIN_MAX: usize = 64 * 1024;

/// Most bytes of a bin's dictionary that every agent has memory for.
pub const DICTIONARY_MAX: usize = 128 * 1024;

/// LZMA's `lc`, `lp` and `pb` of all that is packed: fixed here so that no bin carries a header. The defaults of the LZMA
/// SDK; changing them would be a new kind of step.
pub const LZMA_LC_LP_PB: (u8, u8, u8) = (3, 0, 2);

/// How something is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Raw,
    /// A raw LZMA stream without header and end marker, parameters [`LZMA_LC_LP_PB`]; its dictionary stands before its
    /// output.
    Lzma,
}

/// Blocks of a source or of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block.
    pub first: u32,
    /// Number of blocks, not 0.
    pub count: u32,
}

/// What [`StepReader`] finds, in the order of the bytes. A bin is its `Bin`, its `Dictionary` extents, its `Target`
/// extents: the agent assembles the dictionary, takes the packed bytes from the stream, unpacks them behind it, and
/// writes the output to the targets one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The plan is complete.
    End,
    /// Zeros.
    Zero(Extent),
    /// Copies from a source, as if everything were read before anything is written.
    Copy {
        /// 0 is the target itself, others those of the request, from 1.
        source: u8,
        /// First block there.
        from: u32,
        /// Where to.
        to: Extent,
    },
    /// A bin begins, whose packed bytes follow the group.
    Bin {
        /// How.
        packing: Packing,
        /// Packed bytes on the stream, 1 to the agent's limit.
        packed: u32,
        /// CRC-32C of the output, all whole blocks.
        crc: u32,
    },
    /// The next blocks of its dictionary.
    Dictionary {
        /// As of `Copy`.
        source: u8,
        /// Which blocks; a short last block is filled up with zeros.
        extent: Extent,
    },
    /// Where the next blocks of its output go.
    Target {
        /// Which blocks.
        extent: Extent,
        /// Whether it was the bin's last.
        is_last: bool,
    },
    /// All that was written so far becomes durable.
    Sync,
}

/// Reads the unpacked steps of group after group.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepReader {
    to: u32,
    from: u32,
    extents: u32,
    targets: u32,
}

impl StepReader {
    /// At the start of a plan.
    pub const fn new() -> Self {
        Self { to: 0, from: 0, extents: 0, targets: 0 }
    }

    /// The next step of a group, and what is left of its bytes; `None` at its end.
    ///
    /// # Errors
    /// [`BadStep`]: a kind that no dispatcher sends, a number that does not fit, no blocks, a place beyond 2³² blocks,
    /// or a step that is cut off by the group's end.
    pub fn next<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<(Step, &'b [u8])>, BadStep> {
        let mut rest = bytes;
        let step = if self.extents > 0 {
            self.extents -= 1;
            let source = byte(&mut rest)?;
            let extent = extent(&mut self.from, &mut rest)?;
            Step::Dictionary { source, extent }
        } else if self.targets > 0 {
            self.targets -= 1;
            let extent = extent(&mut self.to, &mut rest)?;
            Step::Target { extent, is_last: self.targets == 0 }
        } else {
            let Some((&kind, behind)) = bytes.split_first() else { return Ok(None) };
            rest = behind;
            match kind {
                0 => Step::End,
                1 => Step::Zero(extent(&mut self.to, &mut rest)?),
                2 => {
                    let source = byte(&mut rest)?;
                    let from = place(self.from, &mut rest)?;
                    let to = extent(&mut self.to, &mut rest)?;
                    self.from = from.checked_add(to.count).ok_or(BadStep)?;
                    Step::Copy { source, from, to }
                }
                3 | 4 => {
                    let packed = number(&mut rest)?;
                    let (crc, behind) = rest.split_first_chunk().ok_or(BadStep)?;
                    rest = behind;
                    let packing = if kind == 4 { Packing::Lzma } else { Packing::Raw };
                    if packing == Packing::Lzma {
                        self.extents = number(&mut rest)?;
                    }
                    self.targets = number(&mut rest)?;
                    if packed == 0 || self.targets == 0 {
                        return Err(BadStep);
                    }
                    Step::Bin { packing, packed, crc: u32::from_le_bytes(*crc) }
                }
                5 => Step::Sync,
                _ => return Err(BadStep),
            }
        };
        Ok(Some((step, rest)))
    }

    /// Whether a group may end here: not inside of a bin.
    pub const fn is_between_steps(&self) -> bool {
        self.extents == 0 && self.targets == 0
    }
}

/// Writes steps as [`StepReader`] reads them. Its owner ends a group when the next step might not fit.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepWriter {
    to: u32,
    from: u32,
}

impl StepWriter {
    /// At the start of a plan.
    pub const fn new() -> Self {
        Self { to: 0, from: 0 }
    }

    /// The plan is complete.
    pub fn end(&mut self, put: &mut impl FnMut(u8)) {
        put(0);
    }

    /// Zeros.
    pub fn zero(&mut self, to: Extent, put: &mut impl FnMut(u8)) {
        put(1);
        put_extent(&mut self.to, to, put);
    }

    /// A copy of blocks from `from` on.
    pub fn copy(&mut self, source: u8, from: u32, to: Extent, put: &mut impl FnMut(u8)) {
        put(2);
        put(source);
        put_place(self.from, from, put);
        self.from = from.wrapping_add(to.count);
        put_extent(&mut self.to, to, put);
    }

    /// A bin of `packed` bytes: `dictionary` as pairs of source and extent, empty for a raw one.
    pub fn bin(
        &mut self,
        packing: Packing,
        packed: u32,
        crc: u32,
        dictionary: &[(u8, Extent)],
        targets: &[Extent],
        put: &mut impl FnMut(u8),
    ) {
        put(if packing == Packing::Lzma { 4 } else { 3 });
        put_number(packed, put);
        crc.to_le_bytes().into_iter().for_each(&mut *put);
        if packing == Packing::Lzma {
            put_number(dictionary.len() as u32, put);
        }
        put_number(targets.len() as u32, put);
        for (source, extent) in dictionary {
            put(*source);
            put_extent(&mut self.from, *extent, put);
        }
        for extent in targets {
            put_extent(&mut self.to, *extent, put);
        }
    }

    /// What was written becomes durable.
    pub fn sync(&mut self, put: &mut impl FnMut(u8)) {
        put(5);
    }
}

/// Not a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadStep;

fn byte(rest: &mut &[u8]) -> Result<u8, BadStep> {
    let (first, behind) = rest.split_first().ok_or(BadStep)?;
    *rest = behind;
    Ok(*first)
}

fn number(rest: &mut &[u8]) -> Result<u32, BadStep> {
    let mut number = 0;
    for shift in [0, 7, 14, 21, 28] {
        let part = byte(rest)?;
        let bits = u32::from(part & 0x7F);
        if shift == 28 && part > 0x0F {
            return Err(BadStep);
        }
        number |= bits << shift;
        if part & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(BadStep)
}

fn place(base: u32, rest: &mut &[u8]) -> Result<u32, BadStep> {
    let coded = number(rest)?;
    let delta = (coded >> 1) ^ (coded & 1).wrapping_neg();
    Ok(base.wrapping_add(delta))
}

fn extent(base: &mut u32, rest: &mut &[u8]) -> Result<Extent, BadStep> {
    let first = place(*base, rest)?;
    let count = number(rest)?;
    if count == 0 {
        return Err(BadStep);
    }
    *base = first.checked_add(count).ok_or(BadStep)?;
    Ok(Extent { first, count })
}

fn put_number(mut number: u32, put: &mut impl FnMut(u8)) {
    while number > 0x7F {
        put(number as u8 | 0x80);
        number >>= 7;
    }
    put(number as u8);
}

fn put_place(base: u32, place: u32, put: &mut impl FnMut(u8)) {
    // The difference of two places of 32 bits, taken as one of 32 bits with a sign: it wraps, and so does the reader.
    let delta = place.wrapping_sub(base) as i32;
    put_number(((delta << 1) ^ (delta >> 31)) as u32, put);
}

fn put_extent(base: &mut u32, extent: Extent, put: &mut impl FnMut(u8)) {
    put_place(*base, extent.first, put);
    put_number(extent.count, put);
    *base = extent.first.wrapping_add(extent.count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapless::Vec;

    fn extent(first: u32, count: u32) -> Extent {
        Extent { first, count }
    }

    fn read(bytes: &[u8]) -> Result<Vec<Step, 16>, BadStep> {
        let (mut reader, mut rest, mut steps) = (StepReader::new(), bytes, Vec::new());
        while let Some((step, behind)) = reader.next(rest)? {
            steps.push(step).unwrap();
            rest = behind;
        }
        assert!(reader.is_between_steps());
        Ok(steps)
    }

    #[test]
    fn steps_come_back_as_they_went() {
        let mut bytes = Vec::<u8, 256>::new();
        let (mut writer, mut put) = (StepWriter::new(), |byte| bytes.push(byte).unwrap());
        writer.zero(extent(7, 1), &mut put);
        writer.copy(0, 1 << 31, extent(8, 300), &mut put);
        writer.copy(4, 0, extent(0, u32::MAX), &mut put);
        let dictionary = [(0, extent(9, 2)), (1, extent(0, 30))];
        let targets = [extent(4, 1), extent(100, 15)];
        writer.bin(Packing::Lzma, 70_000, 0xDEAD_BEEF, &dictionary, &targets, &mut put);
        writer.bin(Packing::Raw, 4096, 1, &[], &[extent(u32::MAX - 1, 1)], &mut put);
        writer.sync(&mut put);
        writer.end(&mut put);
        assert_eq!(
            read(&bytes).unwrap(),
            [
                Step::Zero(extent(7, 1)),
                Step::Copy { source: 0, from: 1 << 31, to: extent(8, 300) },
                Step::Copy { source: 4, from: 0, to: extent(0, u32::MAX) },
                Step::Bin { packing: Packing::Lzma, packed: 70_000, crc: 0xDEAD_BEEF },
                Step::Dictionary { source: 0, extent: extent(9, 2) },
                Step::Dictionary { source: 1, extent: extent(0, 30) },
                Step::Target { extent: extent(4, 1), is_last: false },
                Step::Target { extent: extent(100, 15), is_last: true },
                Step::Bin { packing: Packing::Raw, packed: 4096, crc: 1 },
                Step::Target { extent: extent(u32::MAX - 1, 1), is_last: true },
                Step::Sync,
                Step::End,
            ]
        );
    }

    #[test]
    fn a_step_that_goes_on_where_the_last_one_ended_is_short() {
        let mut bytes = Vec::<u8, 256>::new();
        let (mut writer, mut put) = (StepWriter::new(), |byte| bytes.push(byte).unwrap());
        writer.copy(0, 0, extent(0, 5), &mut put);
        writer.copy(0, 5, extent(5, 5), &mut put);
        assert_eq!(bytes, [2, 0, 0, 0, 5, 2, 0, 0, 0, 5]);
    }

    #[test]
    fn what_no_dispatcher_sends_is_refused() {
        for bytes in [
            &[6][..],
            &[1, 0, 0],
            &[1, 0],
            &[1, 0, 0x80, 0x80, 0x80, 0x80, 0x10],
            &[1, 1, 1],
            &[2, 0, 1, 0, 1],
            &[3, 0, 0, 0, 0, 0, 1, 0, 1],
            &[3, 1, 0, 0, 0, 0, 0],
            &[4, 1, 0, 0, 0],
        ] {
            assert_eq!(read(bytes), Err(BadStep), "{bytes:?}");
        }
    }
}
