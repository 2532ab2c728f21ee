//! The blocks that the host has the bytes of, found by the front of their hash. A *block id* is where a block stands here;
//! blocks of equal bytes have one id.

use std::io;

use agent_core::tree::{Hash, leaf};
use agent_core::wire::steps::BLOCK;

use super::content::{Content, block_len};
use super::state::WIDTH_MIN;
use super::tree::Tree;

/// An image that the host holds.
#[derive(Clone, Copy)]
pub struct Held<'a> {
    /// Its hashes.
    pub tree: &'a Tree,
    /// Its bytes.
    pub content: &'a dyn Content,
}

impl std::fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("bytes", &self.tree.bytes()).finish_non_exhaustive()
    }
}

/// A block whose bytes the host does not have.
pub(super) const UNKNOWN: u32 = u32::MAX;

/// A block of zeros.
pub(super) const ZERO: u32 = u32::MAX - 1;

/// Whether there is such a block in the index.
pub(super) const fn is_real(id: u32) -> bool {
    id < ZERO
}

/// 16 bytes for each different block.
pub(super) struct Index<'a> {
    items: Vec<Held<'a>>,
    blocks: Vec<Entry>,
    zero: Hash,
}

/// Ordered by the front of the hash, then by image, then by block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    front: u64,
    item: u32,
    block: u32,
}

impl<'a> Index<'a> {
    /// Of the target and all other images. A short last block is only indexed of the target.
    pub(super) fn new(target: Held<'a>, library: &[Held<'a>]) -> Self {
        let zero = leaf(&[0; BLOCK]);
        let mut items = vec![target];
        items.extend(library);
        let mut blocks = Vec::with_capacity(items.iter().map(|one| one.tree.leaves().len()).sum());
        for (held, item) in items.iter().zip(0..) {
            for (hash, block) in held.tree.leaves().iter().zip(0..) {
                let is_whole = item == 0 || block_len(held.tree.bytes(), block) == BLOCK;
                if is_whole && *hash != zero {
                    blocks.push(Entry { front: front(hash), item, block });
                }
            }
        }
        blocks.sort_unstable();
        let mut index = Self { items, blocks: Vec::new(), zero };
        blocks.dedup_by(|one, other| index.hash(one) == index.hash(other));
        blocks.shrink_to_fit();
        index.blocks = blocks;
        index
    }

    /// Ids are below this.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The block with a hash that begins like this, if that is long enough and only one has it.
    pub(super) fn find(&self, hash: &[u8]) -> u32 {
        if hash.len() < WIDTH_MIN {
            return UNKNOWN;
        }
        if self.zero.starts_with(hash) {
            return ZERO;
        }
        let front = front(hash);
        let at = self.blocks.partition_point(|entry| entry.front < front);
        let mut found = UNKNOWN;
        for (entry, id) in self.blocks[at..].iter().zip(at as u32..) {
            if entry.front != front {
                break;
            }
            if self.hash(entry).starts_with(hash) {
                if found != UNKNOWN {
                    return UNKNOWN;
                }
                found = id;
            }
        }
        found
    }

    /// Reads a block's bytes; a short one is filled up with zeros.
    pub(super) fn read(&self, id: u32, block: &mut [u8]) -> io::Result<()> {
        let entry = self.blocks[id as usize];
        self.items[entry.item as usize].content.read(entry.block, block)
    }

    /// Whether a block is no short last one.
    pub(super) fn is_whole(&self, id: u32) -> bool {
        let (item, block) = self.place(id);
        block_len(self.items[item as usize].tree.bytes(), block) == BLOCK
    }

    /// Where a block stands, as image and number: neighbours are read fast one after the other.
    pub(super) fn place(&self, id: u32) -> (u32, u32) {
        let entry = self.blocks[id as usize];
        (entry.item, entry.block)
    }

    fn hash(&self, entry: &Entry) -> &Hash {
        &self.items[entry.item as usize].tree.leaves()[entry.block as usize]
    }
}

fn front(hash: &[u8]) -> u64 {
    hash.first_chunk().map_or(0, |front| u64::from_be_bytes(*front))
}
