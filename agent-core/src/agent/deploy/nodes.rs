//! Hashes of a [`tree`](crate::tree)'s nodes from the bytes in their order: of every level one node is under way, as a
//! digest that has taken some of its children.

use crate::tree::{FAN_OUT, HASH_LEN, Hash, LEVEL_MAX};
use crate::wire::steps::BLOCK;
use sha2::{Digest, Sha256};

/// Nodes of one level, from bytes that begin where one of them does.
#[derive(Clone, Debug)]
pub(super) struct Nodes {
    level: u8,
    /// Of the block, and of a node of each level above.
    digests: [Sha256; LEVEL_MAX as usize + 1],
    /// Bytes, or children, that each has taken.
    taken: [usize; LEVEL_MAX as usize + 1],
}

impl Nodes {
    /// At the start of one of `level`, at most [`LEVEL_MAX`].
    pub(super) fn new(level: u8) -> Self {
        let digests = core::array::from_fn(|_| Sha256::new());
        Self { level: level.min(LEVEL_MAX), digests, taken: [0; LEVEL_MAX as usize + 1] }
    }

    /// Bytes go on. `add` gets level and hash of each node that is whole, those below the wanted level too.
    pub(super) fn push(&mut self, mut bytes: &[u8], add: &mut dyn FnMut(u8, Hash)) {
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(BLOCK - self.taken[0]));
            self.digests[0].update(part);
            self.taken[0] += part.len();
            bytes = rest;
            if self.taken[0] == BLOCK {
                self.close(0, add);
            }
        }
    }

    /// A whole node of `level`, which is known already. Nothing below it may be under way.
    pub(super) fn push_known(&mut self, level: u8, hash: Hash, add: &mut dyn FnMut(u8, Hash)) {
        add(level, hash);
        self.put(level, hash, add);
    }

    /// There is nothing behind: what is under way is whole.
    pub(super) fn end(&mut self, add: &mut dyn FnMut(u8, Hash)) {
        for level in 0..=self.level {
            if self.taken[usize::from(level)] > 0 {
                self.close(level, add);
            }
        }
    }

    /// The node of `level` that is under way is whole.
    fn close(&mut self, level: u8, add: &mut dyn FnMut(u8, Hash)) {
        let index = usize::from(level);
        self.taken[index] = 0;
        let mut hash = [0; HASH_LEN];
        hash.copy_from_slice(&self.digests[index].finalize_reset()[..HASH_LEN]);
        add(level, hash);
        self.put(level, hash, add);
    }

    /// Gives a hash of `level` to the node above.
    fn put(&mut self, level: u8, hash: Hash, add: &mut dyn FnMut(u8, Hash)) {
        if level >= self.level {
            return;
        }
        let above = usize::from(level) + 1;
        self.digests[above].update(hash);
        self.taken[above] += 1;
        if self.taken[above] == FAN_OUT {
            self.close(level + 1, add);
        }
    }
}

/// Bytes under a node of `level`.
pub(super) const fn bytes_under(level: u8) -> u64 {
    (BLOCK as u64) << (4 * level)
}

const _: () = assert!(FAN_OUT == 16);

#[cfg(test)]
pub(super) mod tests {
    extern crate std;

    use super::*;
    use crate::tree::{leaf, node, root_level};
    use std::vec::Vec;

    /// The level's hashes, by the definition.
    pub(in super::super) fn level_of(bytes: &[u8], level: u8) -> Vec<Hash> {
        let mut hashes: Vec<Hash> = bytes.chunks(BLOCK).map(leaf).collect();
        for _ in 0..level {
            hashes = hashes.chunks(FAN_OUT).map(node).collect();
        }
        hashes
    }

    #[test]
    fn streamed_nodes_are_those_of_the_definition() {
        for blocks in [1, 2, 15, 16, 17, 255, 256, 257, 300] {
            let mut bytes: Vec<u8> = (0..blocks * BLOCK).map(|at| (at / 999) as u8).collect();
            bytes.truncate(bytes.len() - 100);
            for level in 0..=root_level(blocks as u32) {
                let mut found = Vec::new();
                let mut nodes = Nodes::new(level);
                let mut add = |of, hash| {
                    if of == level {
                        found.push(hash);
                    }
                };
                for piece in bytes.chunks(5000 + blocks) {
                    nodes.push(piece, &mut add);
                }
                nodes.end(&mut add);
                assert_eq!(found, level_of(&bytes, level), "{blocks} {level}");
            }
        }
    }
}
