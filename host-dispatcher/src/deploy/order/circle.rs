//! Steps that wait for each other in a circle: one of them is found and let go, by copying what it would overwrite to
//! where it can wait.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::super::index::ZERO;
use super::bins::Needs;
use super::{COPY, LITERAL, Order};

impl Order<'_> {
    /// Finds a circle, and takes one of its steps out by giving it free places to write to.
    pub(super) fn unblock(&mut self, walk: &mut Walk, needs: &Needs<'_>) {
        while self.makers[walk.lowest as usize] >= LITERAL
            && self.makers[walk.lowest as usize] != COPY
        {
            walk.lowest += 1;
        }
        walk.epoch += 1;
        let (mut path, mut block) = (Vec::new(), walk.lowest);
        let circle = loop {
            block = self.first_of(block, needs);
            let seen = &mut walk.seen[block as usize];
            if *seen == walk.epoch || path.len() == WALK_MAX {
                let start = path.iter().position(|one| *one == block).unwrap_or(path.len() - 1);
                break &path[start..];
            }
            *seen = walk.epoch;
            path.push(block);
            match self.waits_for(block, needs) {
                Some(next) => block = next,
                // It waits for nothing: it was woken too early, or for a block that went meanwhile.
                None => {
                    self.ready.push(Reverse(block));
                    return;
                }
            }
        };
        let held = |block: u32| -> Vec<u32> {
            match self.makers[block as usize] {
                COPY => {
                    [block].into_iter().filter(|block| self.is_held_for_others(*block)).collect()
                }
                bin => needs
                    .targets(bin)
                    .iter()
                    .copied()
                    .filter(|target| self.is_held(*target, Some(bin), needs))
                    .collect(),
            }
        };
        let cheapest = circle
            .iter()
            .take(CIRCLE_MAX)
            .map(|block| (held(*block), *block))
            .filter(|(held, _)| !held.is_empty())
            .min_by_key(|(held, _)| held.len());
        let Some((held, block)) = cheapest else {
            // Only copies of what a bin shall bring: the bin is further on.
            return self.give_up_waiting(circle.to_vec());
        };
        for place in held {
            self.stash(place);
        }
        self.ready.push(Reverse(block));
    }

    fn give_up_waiting(&mut self, blocks: Vec<u32>) {
        for block in blocks {
            if self.makers[block as usize] == COPY {
                self.give_up(self.want[block as usize]);
            }
        }
    }

    /// The block by which a step is known: of a bin its first.
    fn first_of(&self, block: u32, needs: &Needs<'_>) -> u32 {
        match self.makers[block as usize] {
            bin if bin < LITERAL => needs.targets(bin)[0],
            _ => block,
        }
    }

    /// A block whose step must come before this one's.
    fn waits_for(&mut self, block: u32, needs: &Needs<'_>) -> Option<u32> {
        let maker = self.makers[block as usize];
        let held = if maker == COPY {
            Some(block).filter(|block| self.is_held_for_others(*block))
        } else {
            let targets = needs.targets(maker).iter().copied();
            targets.into_iter().find(|target| self.is_held(*target, Some(maker), needs))
        };
        let Some(held) = held else {
            let id = self.want[block as usize];
            let bin = needs.bringers.get(&id).filter(|_| maker == COPY)?;
            return needs.targets(*bin).first().copied();
        };
        let id = self.sources[0][held as usize];
        let makers = &self.makers;
        if let Some(copy) = self.copies.first(id, |copy| makers[copy as usize] == COPY) {
            return Some(copy);
        }
        let at = needs.users.partition_point(|(user, _)| *user < id);
        needs.users[at..]
            .iter()
            .take_while(|(user, _)| *user == id)
            .map(|(_, bin)| needs.targets(*bin)[0])
            .find(|first| makers[*first as usize] < LITERAL && makers[*first as usize] != maker)
    }

    /// Copies what stands at a place to where it can wait; without such a place it is given up.
    fn stash(&mut self, block: u32) {
        let id = self.sources[0][block as usize];
        let Some(room) = self.room() else { return self.give_up(id) };
        self.out.copy(0, block, room);
        self.out.blocks.stashed += 1;
        self.stash.places.insert(id, room);
        self.write(room, id, false);
    }

    fn room(&mut self) -> Option<u32> {
        if let Some(block) = self.stash.free.pop() {
            return Some(block);
        }
        let blocks = self.want.len() as u32;
        while self.stash.cursor < blocks || self.stash.rescans < RESCANS_MAX {
            if self.stash.cursor >= blocks {
                self.stash.cursor = 0;
                self.stash.rescans += 1;
            }
            let block = self.stash.cursor;
            self.stash.cursor += 1;
            let id = self.sources[0][block as usize];
            let is_free = self.want[block as usize] == ZERO
                && self.short != Some(block)
                && !self.is_held_for_others(block)
                && self.stash.places.get(&id) != Some(&block);
            if is_free {
                return Some(block);
            }
        }
        None
    }
}

/// Blocks that wait where the image has zeros.
#[derive(Debug, Default)]
pub(super) struct Stash {
    pub(super) places: HashMap<u32, u32>,
    pub(super) free: Vec<u32>,
    cursor: u32,
    rescans: u32,
}

/// The search for circles.
pub(super) struct Walk {
    seen: Vec<u32>,
    epoch: u32,
    /// All blocks before are made.
    lowest: u32,
}

impl Walk {
    pub(super) fn new(blocks: usize) -> Self {
        Self { seen: vec![0; blocks], epoch: 0, lowest: 0 }
    }
}

/// Steps that are followed to find a circle.
const WALK_MAX: usize = 1 << 16;

/// Steps of a circle that are compared for the cheapest.
const CIRCLE_MAX: usize = 64;

/// Times that room is looked for from the start.
const RESCANS_MAX: u32 = 16;
