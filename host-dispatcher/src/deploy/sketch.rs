//! Which blocks of a board resemble those that must be sent: found by their content, wherever it stands and however it is
//! shifted.
//!
//! Of every 24 bytes in a row a hash is taken, and of 32 of them, by its value, one is kept: the same bytes keep the same
//! ones. The windows of the bins go into a table, then every block that the board has is run through it. A bin's
//! dictionary is then chosen greedily: each time the block that has most windows of the bin that no chosen one has.

use std::collections::BinaryHeap;
use std::io;

use agent_core::wire::steps::BLOCK;

use super::index::Index;

/// A block that may be in dictionaries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    /// Which.
    pub(super) id: u32,
    /// The bin that brings it to the board, if it is not there: only later bins can use it.
    pub(super) bin: Option<u32>,
}

/// Block ids for every bin, the most useful first.
#[derive(Debug, Default)]
pub(super) struct Ranked {
    ids: Vec<u32>,
    ends: Vec<usize>,
}

impl Ranked {
    /// Those of a bin.
    pub(super) fn of(&self, bin: usize) -> &[u32] {
        let start = if bin == 0 { 0 } else { self.ends[bin - 1] };
        &self.ids[start..self.ends[bin]]
    }
}

/// Chooses up to `most` blocks for each bin: `bins` are the ends of their runs in `literals`. `references` are read in
/// their order.
///
/// Memory: at most about 150 MB, whatever the sizes, because only [`BINS_BLOCKS`] are looked after in one run through
/// the references.
///
/// # Errors
/// Those of reading.
pub(super) fn rank(
    index: &Index<'_>,
    literals: &[u32],
    bins: &[usize],
    references: &[Reference],
    most: usize,
) -> io::Result<Ranked> {
    let mut ranked = Ranked::default();
    let mut first = 0;
    while first < bins.len() {
        let start = if first == 0 { 0 } else { bins[first - 1] };
        let count = bins[first..].partition_point(|end| end - start <= BINS_BLOCKS).max(1);
        let part = Part::new(index, literals, start, &bins[first..first + count], first as u32)?;
        let hits = part.hits(index, references)?;
        let (near, far) = (first..first + count).partition::<Vec<_>, _>(|bin| bin % 2 == 0);
        let choose = |bins: Vec<usize>| -> Vec<(usize, Vec<u32>)> {
            bins.into_iter()
                .map(|bin| (bin, part.choose(bin as u32, &hits, index, references, most)))
                .collect()
        };
        let mut chosen =
            both(|| choose(near), || choose(far)).into_iter().flatten().collect::<Vec<_>>();
        chosen.sort_unstable_by_key(|(bin, _)| *bin);
        for (_, ids) in chosen {
            ranked.ids.extend(ids);
            ranked.ends.push(ranked.ids.len());
        }
        first += count;
    }
    Ok(ranked)
}

/// The windows of some bins.
struct Part {
    /// Different ones, in order.
    windows: Vec<u32>,
    /// Where in `windows` those begin whose upper bits are at least the place here.
    starts: Vec<u32>,
    /// For each bin its windows, as places in `windows`.
    of_bins: Vec<u32>,
    ends: Vec<usize>,
    first_bin: u32,
}

impl Part {
    fn new(
        index: &Index<'_>,
        literals: &[u32],
        start: usize,
        bins: &[usize],
        first_bin: u32,
    ) -> io::Result<Self> {
        let end = bins.last().copied().unwrap_or(start);
        let middle = start + (end - start) / 2;
        let collect = |from: usize, to: usize| -> io::Result<Vec<u64>> {
            let mut found = Vec::new();
            let mut bin = bins.partition_point(|end| *end <= from);
            for (number, block) in (from..to).zip(Blocks::new(index, &literals[from..to])) {
                while bins[bin] <= number {
                    bin += 1;
                }
                for_windows(&block?, |window| found.push(u64::from(window) << 32 | bin as u64));
            }
            Ok(found)
        };
        let [mut pairs, more] =
            both(|| collect(start, middle), || collect(middle, end)).transpose()?;
        pairs.extend(more);
        pairs.sort_unstable();
        pairs.dedup();
        let mut windows: Vec<u32> = Vec::new();
        let mut counts = vec![0; bins.len()];
        let mut numbered = Vec::with_capacity(pairs.len());
        for same in pairs.chunk_by(|one, other| one >> 32 == other >> 32) {
            // What stands in many bins is filling or a table's head, and says nothing.
            if same.len() > COMMON_BINS {
                continue;
            }
            for pair in same {
                let bin = *pair as u32;
                counts[bin as usize] += 1;
                numbered.push(u64::from(bin) << 32 | windows.len() as u64);
            }
            windows.push((same[0] >> 32) as u32);
        }
        drop(pairs);
        numbered.sort_unstable();
        let of_bins = numbered.iter().map(|pair| *pair as u32).collect();
        let ends = counts
            .iter()
            .scan(0, |end, count: &usize| {
                *end += count;
                Some(*end)
            })
            .collect();
        let mut starts = Vec::with_capacity((1 << STARTS_BITS) + 1);
        for upper in 0..=1_u64 << STARTS_BITS {
            let least = upper << (32 - STARTS_BITS);
            starts.push(windows.partition_point(|window| u64::from(*window) < least) as u32);
        }
        Ok(Self { windows, starts, of_bins, ends, first_bin })
    }

    fn find(&self, window: u32) -> Option<u32> {
        let upper = (window >> (32 - STARTS_BITS)) as usize;
        let (start, end) = (self.starts[upper], self.starts[upper + 1]);
        let found = self.windows[start as usize..end as usize].binary_search(&window).ok()?;
        Some(start + found as u32)
    }

    /// Where the windows stand, as pairs of a window's place and a reference's, in order.
    fn hits(&self, index: &Index<'_>, references: &[Reference]) -> io::Result<Vec<u64>> {
        let last_bin = self.first_bin + self.ends.len() as u32;
        let scan = |from: usize, to: usize| -> io::Result<Vec<u64>> {
            let (mut hits, mut counts) = (Vec::new(), vec![0_u8; self.windows.len()]);
            let wanted: Vec<u32> = (from as u32..to as u32)
                .filter(|at| references[*at as usize].bin.is_none_or(|bin| bin < last_bin))
                .collect();
            let ids: Vec<u32> = wanted.iter().map(|at| references[*at as usize].id).collect();
            for (at, block) in wanted.iter().zip(Blocks::new(index, &ids)) {
                for_windows(&block?, |window| {
                    let Some(place) = self.find(window) else { return };
                    if counts[place as usize] < PLACES_MAX {
                        counts[place as usize] += 1;
                        hits.push(u64::from(place) << 32 | u64::from(*at));
                    }
                });
            }
            Ok(hits)
        };
        let middle = references.len() / 2;
        let [mut hits, more] =
            both(|| scan(0, middle), || scan(middle, references.len())).transpose()?;
        hits.extend(more);
        hits.sort_unstable();
        hits.dedup();
        Ok(hits)
    }

    fn choose(
        &self,
        bin: u32,
        hits: &[u64],
        index: &Index<'_>,
        references: &[Reference],
        most: usize,
    ) -> Vec<u32> {
        let number = (bin - self.first_bin) as usize;
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        let windows = &self.of_bins[start..self.ends[number]];
        let mut pairs = Vec::new();
        for (window, own) in windows.iter().zip(0_u64..) {
            let from = hits.partition_point(|hit| hit >> 32 < u64::from(*window));
            for hit in hits[from..].iter().take_while(|hit| *hit >> 32 == u64::from(*window)) {
                let reference = u64::from(*hit as u32);
                if references[reference as usize].bin.is_none_or(|from| from < bin) {
                    pairs.push(reference << 32 | own);
                }
            }
        }
        pairs.sort_unstable();
        let mut is_covered = vec![false; windows.len()];
        // Greedy with old bids: a gain only shrinks, so the best old bid that is still as good is the best.
        let mut bids = BinaryHeap::new();
        let mut from = 0;
        for same in pairs.chunk_by(|one, other| one >> 32 == other >> 32) {
            bids.push((same.len(), std::cmp::Reverse(from)));
            from += same.len();
        }
        let mut chosen: Vec<u32> = Vec::new();
        while let Some((gain, std::cmp::Reverse(from))) = bids.pop() {
            if gain == 0 || chosen.len() == most {
                break;
            }
            let reference = pairs[from] >> 32;
            let own = pairs[from..].iter().take_while(|pair| *pair >> 32 == reference);
            let now = own.clone().filter(|pair| !is_covered[**pair as u32 as usize]).count();
            if now < gain {
                bids.push((now, std::cmp::Reverse(from)));
                continue;
            }
            own.for_each(|pair| is_covered[*pair as u32 as usize] = true);
            chosen.push(reference as u32);
        }
        add_neighbours(&mut chosen, bin, index, references, most);
        chosen.into_iter().map(|at| references[at as usize].id).collect()
    }
}

/// Fills up with the blocks around the chosen ones: what resembles often goes on where no window told it. With this, and
/// a single window being enough, an update is 2.4 % smaller than with one neighbour and two windows.
fn add_neighbours(
    chosen: &mut Vec<u32>,
    bin: u32,
    index: &Index<'_>,
    references: &[Reference],
    most: usize,
) {
    let picks = chosen.len();
    for delta in [1_i64, -1, 2, -2, 3, -3] {
        for pick in 0..picks {
            let at = i64::from(chosen[pick]) + delta;
            let Some(next) = usize::try_from(at).ok().and_then(|at| references.get(at)) else {
                continue;
            };
            let (item, block) = index.place(references[chosen[pick] as usize].id);
            let is_next = index.place(next.id) == (item, block.wrapping_add(delta as u32));
            let is_there = next.bin.is_none_or(|from| from < bin);
            if chosen.len() < most && is_next && is_there && !chosen.contains(&(at as u32)) {
                chosen.push(at as u32);
            }
        }
    }
}

/// Literal blocks, 32 MiB, whose windows are in the table at a time.
const BINS_BLOCKS: usize = 8192;

/// A window in more bins says nothing.
const COMMON_BINS: usize = 64;

/// Places of a window that are noted in each half of the references.
const PLACES_MAX: u8 = 6;

const STARTS_BITS: u32 = 16;

/// Bytes of a window.
const WINDOW: usize = 24;

/// One window of so many is kept, as a power of two.
const SAMPLED_BITS: u32 = 5;

/// Gives the kept windows of a block, a run of equal ones once.
fn for_windows(block: &[u8], mut keep: impl FnMut(u32)) {
    let (mut hash, mut last) = (0_u64, None);
    for byte in &block[..WINDOW.min(block.len())] {
        hash = hash.rotate_left(1) ^ BYTES[usize::from(*byte)];
    }
    for at in WINDOW..=block.len() {
        let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        if mixed >> (64 - SAMPLED_BITS) == 0 {
            let window = (mixed >> 20) as u32;
            if last != Some(window) {
                keep(window);
                last = Some(window);
            }
        }
        if let Some(byte) = block.get(at) {
            let out = BYTES[usize::from(block[at - WINDOW])].rotate_left(WINDOW as u32);
            hash = hash.rotate_left(1) ^ out ^ BYTES[usize::from(*byte)];
        }
    }
}

/// A random number for each byte (`SplitMix64`).
const BYTES: [u64; 256] = {
    let mut numbers = [0; 256];
    let (mut state, mut at) = (0_u64, 0);
    while at < 256 {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        numbers[at] = mixed ^ mixed >> 31;
        at += 1;
    }
    numbers
};

/// Blocks one after the other.
struct Blocks<'a> {
    index: &'a Index<'a>,
    ids: &'a [u32],
}

impl<'a> Blocks<'a> {
    fn new(index: &'a Index<'a>, ids: &'a [u32]) -> Self {
        Self { index, ids }
    }
}

impl Iterator for Blocks<'_> {
    type Item = io::Result<[u8; BLOCK]>;

    fn next(&mut self) -> Option<Self::Item> {
        let (id, rest) = self.ids.split_first()?;
        self.ids = rest;
        let mut block = [0; BLOCK];
        Some(self.index.read(*id, &mut block).map(|()| block))
    }
}

/// Runs both at the same time.
fn both<T: Send>(one: impl FnOnce() -> T + Send, other: impl FnOnce() -> T + Send) -> [T; 2] {
    std::thread::scope(|scope| {
        let other = scope.spawn(other);
        let one = one();
        [one, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
    })
}

trait Transpose<T> {
    fn transpose(self) -> io::Result<[T; 2]>;
}

impl<T> Transpose<T> for [io::Result<T>; 2] {
    fn transpose(self) -> io::Result<[T; 2]> {
        let [one, other] = self;
        Ok([one?, other?])
    }
}
