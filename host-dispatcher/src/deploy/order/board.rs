//! The board as the steps so far have left it: where a block can be read, what is still needed where it stands, and what
//! may go on once something was written.

use std::cmp::Reverse;

use super::super::index::{UNKNOWN, is_real};
use super::bins::Needs;
use super::{COPY, DONE, LATE, Order};

impl Order<'_> {
    /// Where a block can be read now.
    pub(super) fn place(&mut self, id: u32, hint: Option<(u8, u32)>) -> Option<(u8, u32)> {
        let at = id as usize;
        if !is_real(id) || self.alive[at] == 0 {
            return None;
        }
        let stands = |sources: &[Vec<u32>], (source, block): (u8, u32)| {
            sources.get(usize::from(source)).and_then(|one| one.get(block as usize)) == Some(&id)
        };
        if let Some(hint) = hint.filter(|hint| stands(&self.sources, *hint)) {
            return Some(hint);
        }
        if self.settled[at] != UNKNOWN {
            return Some((0, self.settled[at]));
        }
        if self.fixed[at].1 != UNKNOWN {
            return Some(self.fixed[at]);
        }
        let sources = &self.sources;
        if let Some(block) = self.old.first(id, |block| stands(sources, (0, block))) {
            return Some((0, block));
        }
        self.stash.places.get(&id).map(|block| (0, *block)).filter(|place| stands(sources, *place))
    }

    pub(super) fn is_held_for_others(&self, block: u32) -> bool {
        if !self.is_in_place {
            return false;
        }
        let id = self.sources[0][block as usize];
        is_real(id) && self.needs[id as usize] > 0 && self.alive[id as usize] < 2
    }

    /// Whether what stands there is still needed by others than this bin, and will stand nowhere else.
    pub(super) fn is_held(&self, block: u32, bin: Option<u32>, needs: &Needs<'_>) -> bool {
        let Some(bin) = bin else { return self.is_held_for_others(block) };
        if !self.is_in_place {
            return false;
        }
        let id = self.sources[0][block as usize];
        if !is_real(id) || self.needs[id as usize] == 0 {
            return false;
        }
        let own = needs.targets(bin);
        let lost = own.iter().filter(|target| self.sources[0][**target as usize] == id).count();
        if self.alive[id as usize] as usize > lost {
            return false;
        }
        self.needs[id as usize] > 1 || !needs.dictionary(bin).contains(&id)
    }

    /// A step that needed a block is done.
    pub(super) fn release(&mut self, id: u32) {
        let needs = &mut self.needs[id as usize];
        if *needs > 0 {
            *needs -= 1;
            if *needs == 0 {
                self.let_go(id);
            }
        }
    }

    /// What waits for a block's old places may go on.
    fn let_go(&mut self, id: u32) {
        if !self.is_in_place {
            return;
        }
        for block in self.old.of(id) {
            let is_waiting = self.makers.get(*block as usize).is_some_and(|maker| *maker < DONE);
            if is_waiting && self.sources[0][*block as usize] == id {
                self.ready.push(Reverse(*block));
            }
        }
        if self.needs[id as usize] == 0
            && let Some(block) = self.stash.places.remove(&id)
        {
            self.stash.free.push(block);
        }
    }

    pub(super) fn write(&mut self, block: u32, id: u32, is_settled: bool) {
        if !self.is_in_place {
            return;
        }
        let new = if self.short == Some(block) { UNKNOWN } else { id };
        let old = std::mem::replace(&mut self.sources[0][block as usize], new);
        if is_real(old) {
            self.alive[old as usize] -= 1;
            if self.alive[old as usize] == 0 {
                self.give_up(old);
            }
        }
        if is_real(new) {
            let alive = &mut self.alive[new as usize];
            *alive += 1;
            let alive = *alive;
            if is_settled {
                self.settled[new as usize] = block;
            }
            if alive == 1 {
                for copy in self.copies.of(new) {
                    self.ready.push(Reverse(*copy));
                }
            } else if alive == 2 {
                self.let_go(new);
            }
        }
    }

    /// Nobody gets this block any more where it stands: its copies become literals.
    pub(super) fn give_up(&mut self, id: u32) {
        if self.needs[id as usize] == 0 {
            return;
        }
        self.needs[id as usize] = 0;
        for copy in self.copies.of(id) {
            if self.makers[*copy as usize] == COPY {
                self.makers[*copy as usize] = LATE;
                self.pending -= 1;
            }
        }
        self.let_go(id);
    }
}
