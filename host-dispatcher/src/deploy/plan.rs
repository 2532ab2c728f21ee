//! A plan: the steps that make a partition, or a file, of which much is known, an image.

use std::fmt;
use std::io;
use std::ops::Range;

use agent_core::wire::steps::{BIN_MAX, BLOCK, DICTIONARY_MAX, Extent};

use super::content::{block_len, blocks};
pub use super::index::Held;
use super::index::{Index, UNKNOWN, ZERO, is_real};
use super::order::{Bins, Order};
use super::sketch::{Reference, rank};
use super::state::State;

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The image that shall stand there.
    pub target: Held<'a>,
    /// Whether the steps write what they read as source 0: a partition does, a file is written beside the old one.
    pub is_in_place: bool,
    /// What is known of the board's sources, 0 first, at most [`SOURCES_MAX`](agent_core::wire::steps::SOURCES_MAX).
    pub sources: &'a [&'a State],
    /// Images that the host holds the bytes of. What the board has and none of them (nor the target) is of no use.
    pub library: &'a [Held<'a>],
    /// What the agent has memory for.
    pub limits: Limits,
}

/// What the agent has memory for, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a bin, at least a block.
    pub bin_max: usize,
    /// Of a bin's dictionary.
    pub dictionary_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bin_max: BIN_MAX, dictionary_max: DICTIONARY_MAX }
    }
}

/// What becomes of the image's blocks, and what it costs to do it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    /// Stand there already; zeros among them may hold stashed blocks meanwhile.
    pub kept: u32,
    /// Are made of nothing.
    pub zero: u32,
    /// Are copied on the board.
    pub copied: u32,
    /// Are sent.
    pub literal: u32,
    /// Copied aside, into what becomes zeros at the end, because they are needed later than their place.
    pub stashed: u32,
    /// In dictionaries, each time.
    pub dictionary: u32,
}

/// Steps in their order. The packed bytes come with [`encode`](super::encode).
pub struct Plan<'a> {
    pub(super) index: Index<'a>,
    pub(super) steps: Vec<PlanStep>,
    pub(super) bins: Vec<Bin>,
    /// Block ids of all bins: literals, then dictionary.
    pub(super) ids: Vec<u32>,
    pub(super) blocks: Blocks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlanStep {
    Zero(Extent),
    Copy {
        source: u8,
        from: u32,
        to: Extent,
    },
    /// Number of the bin.
    Bin(u32),
    Sync,
}

#[derive(Clone, Debug)]
pub(super) struct Bin {
    pub(super) targets: Vec<Extent>,
    pub(super) dictionary: Vec<(u8, Extent)>,
    pub(super) literal_ids: Range<usize>,
    pub(super) dictionary_ids: Range<usize>,
}

impl<'a> Plan<'a> {
    /// Plans.
    ///
    /// # Errors
    /// Those of reading; `InvalidInput` if the target or a source has more than 2³² − 2 blocks, if there are more sources
    /// than a step can name, or none for a target in place, or no memory for a bin of one block.
    pub fn new(task: &Task<'a>) -> io::Result<Self> {
        let bad = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        let bin_blocks = (task.limits.bin_max / BLOCK).min(BIN_BLOCKS_MAX);
        let dictionary_blocks = task.limits.dictionary_max / BLOCK;
        if bin_blocks == 0 {
            return Err(bad("no memory for a bin"));
        }
        if task.sources.len() > agent_core::wire::steps::SOURCES_MAX
            || (task.is_in_place && task.sources.is_empty())
        {
            return Err(bad("no such number of sources"));
        }
        let sizes = task.sources.iter().map(|source| source.bytes());
        if sizes
            .chain([task.target.tree.bytes()])
            .any(|bytes| blocks(bytes).is_none_or(|n| n >= ZERO))
        {
            return Err(bad("too large"));
        }
        let index = Index::new(task.target, task.library);
        let want: Vec<u32> = (0..task.target.tree.blocks())
            .map(|block| {
                if task.target.tree.is_zero(block) {
                    ZERO
                } else {
                    index.find(&task.target.tree.leaves()[block as usize])
                }
            })
            .collect();
        let sources: Vec<Vec<u32>> = task.sources.iter().map(|state| ids(&index, state)).collect();
        let mut order = Order::new(&index, task, &want, sources);
        let literals = order.literals();
        let bins = Bins::new(&literals, bin_blocks);
        let on_board = order.on_board();
        let mut references: Vec<Reference> =
            on_board.into_iter().map(|id| Reference { id, bin: None }).collect();
        if task.is_in_place {
            for (at, bin) in bins.bin_of_each() {
                let id = want[literals[at] as usize];
                references.push(Reference { id, bin: Some(bin) });
            }
        }
        references.sort_unstable_by_key(|one| index.place(one.id));
        let literal_ids: Vec<u32> = literals.iter().map(|block| want[*block as usize]).collect();
        let most = dictionary_blocks + dictionary_blocks / 2;
        let ranked = rank(&index, &literal_ids, &bins.ends, &references, most)?;
        drop(references);
        order.run(&literals, &bins, &ranked);
        let late = order.late();
        if !late.is_empty() {
            let bins = Bins::new(&late, bin_blocks);
            let mut references: Vec<Reference> =
                order.on_board().into_iter().map(|id| Reference { id, bin: None }).collect();
            references.sort_unstable_by_key(|one| index.place(one.id));
            let ids: Vec<u32> = late.iter().map(|block| want[*block as usize]).collect();
            let ranked = rank(&index, &ids, &bins.ends, &references, most)?;
            order.run_late(&late, &bins, &ranked);
        }
        let (steps, bins, ids, blocks) = order.finish();
        Ok(Self { index, steps, bins, ids, blocks })
    }

    /// What becomes of the blocks.
    pub const fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl fmt::Debug for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("steps", &self.steps.len())
            .field("bins", &self.bins.len())
            .field("blocks", &self.blocks)
            .finish_non_exhaustive()
    }
}

/// A bin's step must fit a group, and so must a bin's targets, each of up to 10 bytes.
const BIN_BLOCKS_MAX: usize = 4096;

/// Block ids of a source. A short last block has none: what an agent would find behind it is not agreed.
fn ids(index: &Index<'_>, state: &State) -> Vec<u32> {
    (0..state.blocks())
        .map(|block| {
            if block_len(state.bytes(), block) == BLOCK {
                let id = index.find(state.hash(block));
                if is_real(id) && !index.is_whole(id) { UNKNOWN } else { id }
            } else {
                UNKNOWN
            }
        })
        .collect()
}
