//! The order of a plan's steps. It plays the board: it knows at every step which block stands where, and lets a step read
//! it there.
//!
//! In place, what stands somewhere may only be overwritten when nobody needs it any more or it stands elsewhere, too. So
//! steps wait for each other, as in a topological sort, and a step that makes a block stand elsewhere lets others go on.
//! Where they wait in a circle, a block is *stashed*: copied to where the image has zeros, which are written last. Without
//! such a place it is given up: copies of it become literals, dictionaries do without.
//!
//! [`Order`] leads through it, and does what copies are due; `start` is what is known before, `bins` what is sent, `board`
//! what stands where, `circle` how circles are found and undone, `out` the steps.

mod bins;
mod board;
mod circle;
mod out;
mod start;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use agent_core::wire::steps::Extent;

use super::index::{Index, UNKNOWN, ZERO};
use super::plan::{Bin, Blocks, PlanStep};
use super::sketch::Ranked;
pub(super) use bins::Bins;
use bins::Needs;
use circle::{Stash, Walk};
use out::Out;
use start::Places;

/// See the module. About 60 bytes for each block of the index and of the target.
pub(super) struct Order<'p> {
    index: &'p Index<'p>,
    want: &'p [u32],
    is_in_place: bool,
    /// The target's last block, if it is short: nothing reads it.
    short: Option<u32>,
    is_short_kept: bool,
    /// Which block stands where now. Source 0 changes if the plan is in place.
    sources: Vec<Vec<u32>>,
    /// What makes each block of the target.
    makers: Vec<u32>,
    /// For each block id the places where it stands, in all sources.
    alive: Vec<u32>,
    /// For each block id how many steps that are still to come need it.
    needs: Vec<u32>,
    /// For each block id a place in the target that is as it will stay.
    settled: Vec<u32>,
    /// For each block id a place in a source that does not change.
    fixed: Vec<(u8, u32)>,
    /// Where the blocks stood in source 0 at the start.
    old: Places,
    /// The blocks of the target that are copies.
    copies: Places,
    pending: usize,
    /// Blocks of the target whose maker may have nothing left to wait for.
    ready: BinaryHeap<Reverse<u32>>,
    stash: Stash,
    out: Out,
}

impl<'p> Order<'p> {
    /// Blocks of the target that the board has nowhere, each block id once if it can be copied afterwards.
    pub(super) fn literals(&mut self) -> Vec<u32> {
        let mut literals = Vec::new();
        let mut is_sent = vec![false; self.index.len()];
        for (block, maker) in
            self.makers.iter_mut().enumerate().filter(|(_, maker)| **maker == COPY)
        {
            let id = self.want[block] as usize;
            if self.alive[id] == 0 && !is_sent[id] {
                is_sent[id] = self.is_in_place;
                *maker = LITERAL;
                literals.push(block as u32);
            }
        }
        literals
    }

    /// The different blocks that the board has now.
    pub(super) fn on_board(&self) -> Vec<u32> {
        (0..self.index.len() as u32).filter(|id| self.alive[*id as usize] > 0).collect()
    }

    /// Orders everything but what is given up on the way, and zeros.
    pub(super) fn run(&mut self, literals: &[u32], bins: &Bins, ranked: &Ranked) {
        let is_copy = |block: u32| self.makers[block as usize] == COPY;
        self.copies = Places::new(self.index.len(), self.want, is_copy);
        let mut needs = Needs {
            literals,
            bins,
            ranked,
            dictionary_blocks: self.out.dictionary_blocks,
            users: Vec::new(),
            bringers: HashMap::new(),
        };
        let copies = self.makers.iter().enumerate().filter(|(_, maker)| **maker == COPY);
        for (block, _) in copies {
            self.needs[self.want[block] as usize] += 1;
            self.pending += 1;
            self.ready.push(Reverse(block as u32));
        }
        for bin in 0..bins.ends.len() as u32 {
            self.pending += 1;
            self.ready.push(Reverse(needs.targets(bin)[0]));
            for block in &literals[bins.range(bin)] {
                self.makers[*block as usize] = bin;
                let id = self.want[*block as usize];
                if self.needs[id as usize] > 0 {
                    needs.bringers.insert(id, bin);
                }
            }
        }
        if self.is_in_place {
            for bin in 0..bins.ends.len() as u32 {
                let ids = needs.dictionary(bin).iter();
                let users: Vec<(u32, u32)> = ids.map(|id| (*id, bin)).collect();
                users.iter().for_each(|(id, _)| self.needs[*id as usize] += 1);
                needs.users.extend(users);
            }
            needs.users.sort_unstable();
        }
        let mut walk = Walk::new(self.want.len());
        loop {
            while let Some(Reverse(block)) = self.ready.pop() {
                self.attempt(block, &needs);
            }
            if self.pending == 0 {
                break;
            }
            self.unblock(&mut walk, &needs);
        }
    }

    /// Blocks that were given up and stand nowhere for good, each block id once.
    pub(super) fn late(&self) -> Vec<u32> {
        let is_lost = |block: &u32| {
            let id = self.want[*block as usize] as usize;
            self.makers[*block as usize] == LATE
                && self.settled[id] == UNKNOWN
                && self.fixed[id].1 == UNKNOWN
        };
        let mut late: Vec<u32> = (0..self.want.len() as u32).filter(is_lost).collect();
        late.sort_unstable_by_key(|block| (self.want[*block as usize], *block));
        late.dedup_by_key(|block| self.want[*block as usize]);
        late.sort_unstable();
        late
    }

    /// Brings what was given up. Nothing waits for anything any more.
    pub(super) fn run_late(&mut self, literals: &[u32], bins: &Bins, ranked: &Ranked) {
        for bin in 0..bins.ends.len() as u32 {
            let targets = &literals[bins.range(bin)];
            self.put_bin(targets, ranked.of(bin as usize), &[]);
            targets.iter().for_each(|block| self.makers[*block as usize] = DONE);
        }
        for block in 0..self.want.len() as u32 {
            if self.makers[block as usize] == LATE {
                self.makers[block as usize] = DONE;
                let id = self.want[block as usize];
                if let Some((source, from)) = self.place(id, self.out.next_from(block)) {
                    self.out.copy(source, from, block);
                    self.out.blocks.copied += 1;
                    self.write(block, id, true);
                }
            }
        }
    }

    /// Zeros last: until then they are room for the stash, and what they overwrite can be read.
    pub(super) fn finish(mut self) -> (Vec<PlanStep>, Vec<Bin>, Vec<u32>, Blocks) {
        let mut run: Option<Extent> = None;
        for block in 0..self.want.len() as u32 {
            let is_there = if self.short == Some(block) {
                self.is_short_kept
            } else {
                self.is_in_place && self.sources[0][block as usize] == ZERO
            };
            if self.want[block as usize] != ZERO || is_there {
                continue;
            }
            match &mut run {
                Some(run) if run.first + run.count == block => run.count += 1,
                _ => {
                    let before = run.replace(Extent { first: block, count: 1 });
                    before.into_iter().for_each(|run| self.out.zero(run));
                }
            }
        }
        run.into_iter().for_each(|run| self.out.zero(run));
        self.out.finish()
    }

    fn attempt(&mut self, block: u32, needs: &Needs<'_>) {
        let maker = self.makers[block as usize];
        if maker == COPY {
            self.copy_run(block);
        } else if maker < LITERAL {
            let targets = needs.targets(maker);
            if targets.iter().any(|target| self.is_held(*target, Some(maker), needs)) {
                return;
            }
            self.pending -= 1;
            targets.iter().for_each(|block| self.makers[*block as usize] = DONE);
            let needed = if self.is_in_place { needs.dictionary(maker) } else { &[] };
            self.put_bin(targets, needs.ranked.of(maker as usize), needed);
        }
    }

    fn can_copy(&self, block: u32) -> bool {
        self.alive[self.want[block as usize] as usize] > 0 && !self.is_held_for_others(block)
    }

    /// Copies a block and what goes on there. What moves up begins at its end, as `memmove` does: each block that is
    /// copied lets the one before it go, and all of it is one step.
    fn copy_run(&mut self, mut block: u32) {
        if !self.can_copy(block) {
            return;
        }
        let Some((source, mut from)) = self.place(self.want[block as usize], None) else { return };
        let is_up = self.is_in_place && source == 0 && from < block;
        if is_up {
            while self.goes_on(block + 1, source, from + 1) {
                (block, from) = (block + 1, from + 1);
            }
        }
        loop {
            let id = self.want[block as usize];
            self.makers[block as usize] = DONE;
            self.pending -= 1;
            self.out.copy(source, from, block);
            self.out.blocks.copied += 1;
            self.write(block, id, true);
            self.release(id);
            let next = if is_up {
                block.checked_sub(1).zip(from.checked_sub(1))
            } else {
                block.checked_add(1).zip(from.checked_add(1))
            };
            match next {
                Some(next) if self.goes_on(next.0, source, next.1) => (block, from) = next,
                _ => return,
            }
        }
    }

    /// Whether a block can be copied now, and from there.
    fn goes_on(&self, block: u32, source: u8, from: u32) -> bool {
        self.makers.get(block as usize) == Some(&COPY)
            && self.sources[usize::from(source)].get(from as usize)
                == Some(&self.want[block as usize])
            && self.can_copy(block)
    }
}

/// Makers of a block of the target: below [`LITERAL`] a bin's number.
const COPY: u32 = u32::MAX - 3;
/// A literal that has no bin yet.
const LITERAL: u32 = u32::MAX - 4;
/// A copy that was given up.
const LATE: u32 = u32::MAX - 1;
/// Nothing to do, or done; and zeros.
const DONE: u32 = u32::MAX - 2;
