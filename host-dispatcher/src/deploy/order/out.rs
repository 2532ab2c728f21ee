//! The steps in their order, as they are found: runs of copies become one step, and a sync comes after every 4 MiB.

use agent_core::wire::steps::Extent;

use super::super::plan::{Bin, Blocks, PlanStep};

/// Steps as they come: copies that go on where the last one ended are one.
#[derive(Debug, Default)]
pub(super) struct Out {
    is_in_place: bool,
    pub(super) dictionary_blocks: usize,
    steps: Vec<PlanStep>,
    bins: Vec<Bin>,
    pub(super) ids: Vec<u32>,
    run: Option<Run>,
    unsynced: u32,
    pub(super) blocks: Blocks,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    source: u8,
    from: u32,
    to: Extent,
}

impl Out {
    pub(super) fn new(is_in_place: bool, dictionary_blocks: usize) -> Self {
        Self { is_in_place, dictionary_blocks, ..Self::default() }
    }

    pub(super) fn copy(&mut self, source: u8, from: u32, block: u32) {
        if let Some(run) = &mut self.run {
            // What the run has written it would read as it was before.
            let is_own = source == 0
                && self.is_in_place
                && (run.to.first..run.to.first + run.to.count).contains(&from);
            if run.source == source && !is_own && run.to.count < SYNC_BLOCKS {
                if from == run.from + run.to.count && block == run.to.first + run.to.count {
                    run.to.count += 1;
                    return;
                }
                if from + 1 == run.from && block + 1 == run.to.first {
                    run.from -= 1;
                    run.to.first -= 1;
                    run.to.count += 1;
                    return;
                }
            }
        }
        self.end_run();
        self.run = Some(Run { source, from, to: Extent { first: block, count: 1 } });
    }

    /// Where a copy of this block would have to come from to go on with the last one.
    pub(super) fn next_from(&self, block: u32) -> Option<(u8, u32)> {
        let run = self.run.filter(|run| run.to.first + run.to.count == block)?;
        Some((run.source, run.from + run.to.count))
    }

    pub(super) fn bin(&mut self, bin: Bin) {
        self.end_run();
        self.blocks.literal += bin.literal_ids.len() as u32;
        self.blocks.dictionary += bin.dictionary_ids.len() as u32;
        let written = bin.literal_ids.len() as u32;
        self.steps.push(PlanStep::Bin(self.bins.len() as u32));
        self.bins.push(bin);
        self.wrote(written);
    }

    pub(super) fn zero(&mut self, run: Extent) {
        self.end_run();
        self.steps.push(PlanStep::Zero(run));
        self.wrote(run.count);
    }

    fn end_run(&mut self) {
        if let Some(Run { source, from, to }) = self.run.take() {
            self.steps.push(PlanStep::Copy { source, from, to });
            self.wrote(to.count);
        }
    }

    fn wrote(&mut self, blocks: u32) {
        self.unsynced += blocks;
        if self.unsynced >= SYNC_BLOCKS {
            self.steps.push(PlanStep::Sync);
            self.unsynced = 0;
        }
    }

    pub(super) fn finish(mut self) -> (Vec<PlanStep>, Vec<Bin>, Vec<u32>, Blocks) {
        self.end_run();
        if self.unsynced > 0 {
            self.steps.push(PlanStep::Sync);
        }
        (self.steps, self.bins, self.ids, self.blocks)
    }
}

/// A sync for every 4 MiB that were written.
const SYNC_BLOCKS: u32 = 1024;
