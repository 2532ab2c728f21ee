//! What is known before the first step: what is there already, and where blocks stand and are wanted.

use std::collections::BinaryHeap;

use agent_core::wire::steps::BLOCK;

use super::super::content::block_len;
use super::super::index::{Index, UNKNOWN, ZERO, is_real};
use super::super::plan::Task;
use super::circle::Stash;
use super::out::Out;
use super::{COPY, DONE, Order};

impl<'p> Order<'p> {
    pub(in crate::deploy) fn new(
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
        let mut out = Out::new(task.is_in_place, task.limits.dictionary_max / BLOCK);
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
    }
}

/// For each block id places, ascending.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Where those of an id begin in `blocks`; one more at the end.
    starts: Vec<u32>,
    blocks: Vec<u32>,
    /// Places before this are out of the question for good.
    cursors: Vec<u32>,
}

impl Places {
    pub(super) fn new(ids: usize, source: &[u32], is_one: impl Fn(u32) -> bool) -> Self {
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

    pub(super) fn of(&self, id: u32) -> &[u32] {
        match self.starts.get(id as usize..id as usize + 2) {
            Some(&[start, end]) => &self.blocks[start as usize..end as usize],
            _ => &[],
        }
    }

    /// The first that is still one; none before it will be again.
    pub(super) fn first(&mut self, id: u32, is_one: impl Fn(u32) -> bool) -> Option<u32> {
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
