//! Which literals go into which bin, what the bins need, and what is in each once it is written.

use std::collections::HashMap;
use std::ops::Range;

use agent_core::wire::steps::Extent;

use super::super::plan::Bin;
use super::super::sketch::Ranked;
use super::Order;

/// Which literal blocks go into which bin.
#[derive(Debug)]
pub(in crate::deploy) struct Bins {
    /// Ends of the bins' runs in the list of literals.
    pub(in crate::deploy) ends: Vec<usize>,
}

impl Bins {
    /// Cuts literals, in ascending order, into bins.
    pub(in crate::deploy) fn new(literals: &[u32], blocks: usize) -> Self {
        let (mut ends, mut start, mut extents) = (Vec::new(), 0, 0);
        for (at, block) in literals.iter().enumerate() {
            let is_apart = at == start || literals[at - 1] + 1 != *block;
            if at > start && (at - start == blocks || (is_apart && extents == TARGETS_MAX)) {
                ends.push(at);
                (start, extents) = (at, 0);
            }
            extents += usize::from(is_apart || extents == 0);
        }
        if start < literals.len() {
            ends.push(literals.len());
        }
        Self { ends }
    }

    /// For each literal its bin.
    pub(in crate::deploy) fn bin_of_each(&self) -> impl Iterator<Item = (usize, u32)> {
        let mut bin = 0;
        (0..self.ends.last().copied().unwrap_or(0)).map(move |at| {
            bin += u32::from(self.ends[bin as usize] == at);
            (at, bin)
        })
    }

    pub(super) fn range(&self, bin: u32) -> Range<usize> {
        let bin = bin as usize;
        (if bin == 0 { 0 } else { self.ends[bin - 1] })..self.ends[bin]
    }
}

/// What the bins need, and who brings a block that is copied afterwards.
pub(super) struct Needs<'p> {
    pub(super) literals: &'p [u32],
    pub(super) bins: &'p Bins,
    pub(super) ranked: &'p Ranked,
    pub(super) dictionary_blocks: usize,
    /// Pairs of block id and bin.
    pub(super) users: Vec<(u32, u32)>,
    pub(super) bringers: HashMap<u32, u32>,
}

impl Needs<'_> {
    pub(super) fn targets(&self, bin: u32) -> &[u32] {
        &self.literals[self.bins.range(bin)]
    }

    pub(super) fn dictionary(&self, bin: u32) -> &[u32] {
        let ranked = self.ranked.of(bin as usize);
        &ranked[..ranked.len().min(self.dictionary_blocks)]
    }
}

impl Order<'_> {
    pub(super) fn put_bin(&mut self, targets: &[u32], ranked: &[u32], needed: &[u32]) {
        let bin = self.bin(targets, ranked);
        self.out.bin(bin);
        for id in needed {
            self.release(*id);
        }
        for block in targets {
            self.write(*block, self.want[*block as usize], true);
        }
    }

    /// The dictionary is what of the ranked blocks can be read now.
    fn bin(&mut self, targets: &[u32], ranked: &[u32]) -> Bin {
        let mut places = Vec::new();
        for id in ranked {
            if places.len() == self.out.dictionary_blocks {
                break;
            }
            if let Some((source, from)) = self.place(*id, None) {
                places.push((source, from, *id));
            }
        }
        places.sort_unstable();
        let ids = &mut self.out.ids;
        let start = ids.len();
        ids.extend(targets.iter().map(|block| self.want[*block as usize]));
        let middle = ids.len();
        let mut dictionary: Vec<(u8, Extent)> = Vec::new();
        for (source, from, id) in places {
            let extents = dictionary.len();
            match dictionary.last_mut() {
                Some((before, run)) if *before == source && run.first + run.count == from => {
                    run.count += 1;
                }
                _ if extents == EXTENTS_MAX => break,
                _ => dictionary.push((source, Extent { first: from, count: 1 })),
            }
            ids.push(id);
        }
        let mut extents: Vec<Extent> = Vec::new();
        for block in targets {
            match extents.last_mut() {
                Some(run) if run.first + run.count == *block => run.count += 1,
                _ => extents.push(Extent { first: *block, count: 1 }),
            }
        }
        Bin {
            targets: extents,
            dictionary,
            literal_ids: start..middle,
            dictionary_ids: middle..ids.len(),
        }
    }
}

/// Extents of a bin's targets and of its dictionary: with 10 and 11 bytes each they fit a group of steps.
const TARGETS_MAX: usize = 128;
const EXTENTS_MAX: usize = 240;
