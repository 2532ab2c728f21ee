//! The order of a plan's steps. It plays the board: it knows at every step which block stands where, and lets a step read
//! it there.
//!
//! In place, what stands somewhere may only be overwritten when nobody needs it any more or it stands elsewhere, too. So
//! steps wait for each other, as in a topological sort, and a step that makes a block stand elsewhere lets others go on.
//! Where they wait in a circle, a block is *stashed*: copied to where the image has zeros, which are written last. Without
//! such a place it is given up: copies of it become literals, dictionaries do without.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use agent_core::wire::steps::{BLOCK, Extent};

use super::content::block_len;
use super::index::{Index, UNKNOWN, ZERO, is_real};
use super::plan::{Bin, Blocks, PlanStep, Task};
use super::sketch::Ranked;

/// Which literal blocks go into which bin.
#[derive(Debug)]
pub(super) struct Bins {
    /// Ends of the bins' runs in the list of literals.
    pub(super) ends: Vec<usize>,
}

impl Bins {
    /// Cuts literals, in ascending order, into bins.
    pub(super) fn new(literals: &[u32], blocks: usize) -> Self {
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
    pub(super) fn bin_of_each(&self) -> impl Iterator<Item = (usize, u32)> {
        let mut bin = 0;
        (0..self.ends.last().copied().unwrap_or(0)).map(move |at| {
            bin += u32::from(self.ends[bin as usize] == at);
            (at, bin)
        })
    }

    fn range(&self, bin: u32) -> std::ops::Range<usize> {
        let bin = bin as usize;
        (if bin == 0 { 0 } else { self.ends[bin - 1] })..self.ends[bin]
    }
}

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

/// What the bins need, and who brings a block that is copied afterwards.
struct Needs<'p> {
    literals: &'p [u32],
    bins: &'p Bins,
    ranked: &'p Ranked,
    dictionary_blocks: usize,
    /// Pairs of block id and bin.
    users: Vec<(u32, u32)>,
    bringers: HashMap<u32, u32>,
}

impl Needs<'_> {
    fn targets(&self, bin: u32) -> &[u32] {
        &self.literals[self.bins.range(bin)]
    }

    fn dictionary(&self, bin: u32) -> &[u32] {
        let ranked = self.ranked.of(bin as usize);
        &ranked[..ranked.len().min(self.dictionary_blocks)]
    }
}

impl<'p> Order<'p> {
    pub(super) fn new(
        index: &'p Index<'p>,
        task: &Task<'_>,
        want: &'p [u32],
        mut sources: Vec<Vec<u32>>,
    ) -> Self {
        let bytes = task.target.tree.bytes();
        let short =
            (want.len() as u32 - 1..want.len() as u32).find(|last| block_len(bytes, *last) < BLOCK);
        if task.is_in_place {
            let blocks = sources[0].len().max(want.len());
            sources[0].resize(blocks, UNKNOWN);
        }
        let first_fixed = usize::from(task.is_in_place);
        let mut alive = vec![0; index.len()];
        let mut fixed = vec![(0, UNKNOWN); index.len()];
        for (number, source) in sources.iter().enumerate() {
            for (id, block) in source.iter().zip(0..).filter(|(id, _)| is_real(**id)) {
                alive[*id as usize] += 1;
                if number >= first_fixed && fixed[*id as usize].1 == UNKNOWN {
                    fixed[*id as usize] = (number as u8, block);
                }
            }
        }
        let mut settled = vec![UNKNOWN; index.len()];
        let mut makers = vec![COPY; want.len()];
        let mut out = Out { is_in_place: task.is_in_place, ..Out::default() };
        let is_short_kept = short.filter(|_| task.is_in_place).is_some_and(|last| {
            task.sources[0].bytes() == bytes
                && !task.sources[0].hash(last).is_empty()
                && task.target.tree.leaves()[last as usize].starts_with(task.sources[0].hash(last))
        });
        for (id, block) in want.iter().zip(0..) {
            let maker = &mut makers[block as usize];
            let is_kept = task.is_in_place
                && (sources[0][block as usize] == *id || (short == Some(block) && is_short_kept));
            if is_kept {
                *maker = DONE;
                out.blocks.kept += 1;
                if is_real(*id) && short != Some(block) {
                    settled[*id as usize] = block;
                }
            } else if *id == ZERO {
                *maker = DONE;
                out.blocks.zero += 1;
            }
        }
        let in_place = if task.is_in_place { sources[0].as_slice() } else { &[] };
        let old = Places::new(index.len(), in_place, |_| true);
        Self {
            index,
            want,
            is_in_place: task.is_in_place,
            short,
            is_short_kept,
            makers,
            alive,
            needs: vec![0; index.len()],
            settled,
            fixed,
            old,
            copies: Places::default(),
            pending: 0,
            ready: BinaryHeap::new(),
            stash: Stash::default(),
            out,
            sources,
        }
        .with_dictionary(task.limits.dictionary_max / BLOCK)
    }

    fn with_dictionary(mut self, blocks: usize) -> Self {
        self.out.dictionary_blocks = blocks;
        self
    }

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
        let mut walk = Walk { seen: vec![0; self.want.len()], epoch: 0, lowest: 0 };
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

    fn put_bin(&mut self, targets: &[u32], ranked: &[u32], needed: &[u32]) {
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

    /// Where a block can be read now.
    fn place(&mut self, id: u32, hint: Option<(u8, u32)>) -> Option<(u8, u32)> {
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

    fn is_held_for_others(&self, block: u32) -> bool {
        if !self.is_in_place {
            return false;
        }
        let id = self.sources[0][block as usize];
        is_real(id) && self.needs[id as usize] > 0 && self.alive[id as usize] < 2
    }

    /// Whether what stands there is still needed by others than this bin, and will stand nowhere else.
    fn is_held(&self, block: u32, bin: Option<u32>, needs: &Needs<'_>) -> bool {
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
    fn release(&mut self, id: u32) {
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

    fn write(&mut self, block: u32, id: u32, is_settled: bool) {
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
    fn give_up(&mut self, id: u32) {
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

    /// Finds a circle, and takes one of its steps out by giving it free places to write to.
    fn unblock(&mut self, walk: &mut Walk, needs: &Needs<'_>) {
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

/// For each block id places, ascending.
#[derive(Debug, Default)]
struct Places {
    /// Where those of an id begin in `blocks`; one more at the end.
    starts: Vec<u32>,
    blocks: Vec<u32>,
    /// Places before this are out of the question for good.
    cursors: Vec<u32>,
}

impl Places {
    fn new(ids: usize, source: &[u32], is_one: impl Fn(u32) -> bool) -> Self {
        let all =
            || source.iter().zip(0_u32..).filter(|(id, block)| is_real(**id) && is_one(*block));
        let mut starts = vec![0_u32; ids + 1];
        all().for_each(|(id, _)| starts[*id as usize + 1] += 1);
        for id in 0..ids {
            starts[id + 1] += starts[id];
        }
        let mut next = starts.clone();
        let mut blocks = vec![0; starts[ids] as usize];
        for (id, block) in all() {
            let at = &mut next[*id as usize];
            blocks[*at as usize] = block;
            *at += 1;
        }
        let cursors = starts[..ids].to_vec();
        Self { starts, blocks, cursors }
    }

    fn of(&self, id: u32) -> &[u32] {
        match self.starts.get(id as usize..id as usize + 2) {
            Some(&[start, end]) => &self.blocks[start as usize..end as usize],
            _ => &[],
        }
    }

    /// The first that is still one; none before it will be again.
    fn first(&mut self, id: u32, is_one: impl Fn(u32) -> bool) -> Option<u32> {
        let end = *self.starts.get(id as usize + 1)?;
        let cursor = &mut self.cursors[id as usize];
        while *cursor < end {
            let block = self.blocks[*cursor as usize];
            if is_one(block) {
                return Some(block);
            }
            *cursor += 1;
        }
        None
    }
}

/// Blocks that wait where the image has zeros.
#[derive(Debug, Default)]
struct Stash {
    places: HashMap<u32, u32>,
    free: Vec<u32>,
    cursor: u32,
    rescans: u32,
}

struct Walk {
    seen: Vec<u32>,
    epoch: u32,
    /// All blocks before are made.
    lowest: u32,
}

/// Steps as they come: copies that go on where the last one ended are one.
#[derive(Debug, Default)]
struct Out {
    is_in_place: bool,
    dictionary_blocks: usize,
    steps: Vec<PlanStep>,
    bins: Vec<Bin>,
    ids: Vec<u32>,
    run: Option<Run>,
    unsynced: u32,
    blocks: Blocks,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    source: u8,
    from: u32,
    to: Extent,
}

impl Out {
    fn copy(&mut self, source: u8, from: u32, block: u32) {
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
    fn next_from(&self, block: u32) -> Option<(u8, u32)> {
        let run = self.run.filter(|run| run.to.first + run.to.count == block)?;
        Some((run.source, run.from + run.to.count))
    }

    fn bin(&mut self, bin: Bin) {
        self.end_run();
        self.blocks.literal += bin.literal_ids.len() as u32;
        self.blocks.dictionary += bin.dictionary_ids.len() as u32;
        let written = bin.literal_ids.len() as u32;
        self.steps.push(PlanStep::Bin(self.bins.len() as u32));
        self.bins.push(bin);
        self.wrote(written);
    }

    fn zero(&mut self, run: Extent) {
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

    fn finish(mut self) -> (Vec<PlanStep>, Vec<Bin>, Vec<u32>, Blocks) {
        self.end_run();
        if self.unsynced > 0 {
            self.steps.push(PlanStep::Sync);
        }
        (self.steps, self.bins, self.ids, self.blocks)
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

/// Extents of a bin's targets and of its dictionary: with 10 and 11 bytes each they fit a group of steps.
const TARGETS_MAX: usize = 128;
const EXTENTS_MAX: usize = 240;

/// A sync for every 4 MiB that were written.
const SYNC_BLOCKS: u32 = 1024;

/// Steps that are followed to find a circle.
const WALK_MAX: usize = 1 << 16;

/// Steps of a circle that are compared for the cheapest.
const CIRCLE_MAX: usize = 64;

/// Times that room is looked for from the start.
const RESCANS_MAX: u32 = 16;
