//! What is known of the blocks of a partition or a file on a board.

use agent_core::tree::{HASH_LEN, Hash};

use super::content::blocks;
use super::tree::Tree;

/// Bytes of a hash by which a block may be taken for one that the host has: with 2²⁷ blocks on the host (512 GiB) and 2¹⁷
/// on the board, one wrong match in a million comparisons; and a bin's check value or the image's root tells it.
pub const WIDTH_MIN: usize = 8;

/// The hashes of all blocks, as far as they are known: 17 bytes a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    bytes: u64,
    blocks: Vec<(Hash, u8)>,
}

impl State {
    /// So many bytes (at most 2³² blocks), of which nothing is known.
    pub fn unknown(bytes: u64) -> Self {
        let blocks = blocks(bytes).unwrap_or(u32::MAX) as usize;
        Self { bytes, blocks: vec![(Hash::default(), 0); blocks] }
    }

    /// Exactly what a tree says.
    pub fn of(tree: &Tree) -> Self {
        let blocks = tree.leaves().iter().map(|hash| (*hash, HASH_LEN as u8)).collect();
        Self { bytes: tree.bytes(), blocks }
    }

    /// Bytes of the partition or file.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of blocks.
    pub fn blocks(&self) -> u32 {
        self.blocks.len() as u32
    }

    /// The front of a block's hash, all of it or at least [`WIDTH_MIN`] bytes; empty while nothing is known.
    pub fn hash(&self, block: u32) -> &[u8] {
        self.blocks.get(block as usize).map_or(&[], |(hash, width)| &hash[..usize::from(*width)])
    }

    /// Blocks of which something is known.
    pub fn known_blocks(&self) -> u32 {
        self.blocks.iter().filter(|(_, width)| *width > 0).count() as u32
    }

    /// A block's hash, or the front of it, of which fewer than [`WIDTH_MIN`] bytes are nothing.
    pub fn set(&mut self, block: u32, hash: &[u8]) {
        let Some((place, width)) = self.blocks.get_mut(block as usize) else { return };
        let front = &hash[..hash.len().min(HASH_LEN)];
        let front = if front.len() < WIDTH_MIN { &[] } else { front };
        *place = Hash::default();
        place[..front.len()].copy_from_slice(front);
        *width = front.len() as u8;
    }
}
