//! The hash tree over an image ([`agent_core::tree`]): made on two threads, kept as bytes, and that of nothing but zeros.

use std::fmt;
use std::io;

use agent_core::tree::{FAN_OUT, HASH_LEN, Hash, LEVEL_MAX, leaf, node, root_level};
use agent_core::wire::steps::BLOCK;

use super::content::{Content, block_len, blocks};

/// All nodes over an image: 17 bytes for each of its blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    bytes: u64,
    /// From the leaves to the root.
    levels: Vec<Vec<Hash>>,
    zeros: ZeroTree,
}

impl Tree {
    /// Reads all of `content`.
    ///
    /// # Errors
    /// Those of reading; `InvalidInput` for no bytes and for more than 2³² blocks.
    pub fn of(content: &dyn Content) -> io::Result<Self> {
        let bytes = content.bytes();
        let blocks = blocks(bytes)
            .filter(|blocks| *blocks > 0)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "empty or too large"))?;
        let mut leaves = vec![Hash::default(); blocks as usize];
        // In pieces in turn, so that both threads read near each other: a disk would have to seek otherwise.
        let (mut even, mut odd) = (Vec::new(), Vec::new());
        for (number, piece) in leaves.chunks_mut(PIECE_BLOCKS).enumerate() {
            let part = (number * PIECE_BLOCKS) as u32;
            if number % 2 == 0 { even.push((part, piece)) } else { odd.push((part, piece)) }
        }
        std::thread::scope(|scope| {
            let other = scope.spawn(|| hash_pieces(content, odd));
            let this = hash_pieces(content, even);
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(this)
        })?;
        Ok(Self::over(bytes, leaves))
    }

    /// What [`to_bytes`](Self::to_bytes) made.
    ///
    /// # Errors
    /// [`BadTree`] for anything else.
    pub fn from_bytes(stored: &[u8]) -> Result<Self, BadTree> {
        let rest = stored.strip_prefix(MAGIC).ok_or(BadTree)?;
        let (bytes, rest) = rest.split_first_chunk().ok_or(BadTree)?;
        let (root, rest) = rest.split_first_chunk::<HASH_LEN>().ok_or(BadTree)?;
        let bytes = u64::from_le_bytes(*bytes);
        let blocks = blocks(bytes).filter(|blocks| *blocks > 0).ok_or(BadTree)?;
        if rest.len() as u64 != u64::from(blocks) * HASH_LEN as u64 {
            return Err(BadTree);
        }
        let (leaves, _) = rest.as_chunks::<HASH_LEN>();
        let tree = Self::over(bytes, leaves.to_vec());
        if tree.root() == *root { Ok(tree) } else { Err(BadTree) }
    }

    /// To be kept: the leaves, and the root, which tells damage.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut stored = Vec::with_capacity(MAGIC.len() + 24 + self.leaves().len() * HASH_LEN);
        stored.extend(MAGIC);
        stored.extend(self.bytes.to_le_bytes());
        stored.extend(self.root());
        stored.extend(self.leaves().as_flattened());
        stored
    }

    /// Bytes of the image.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its blocks, the last of which may be short.
    pub fn blocks(&self) -> u32 {
        self.leaves().len() as u32
    }

    /// Hashes of the blocks.
    pub fn leaves(&self) -> &[Hash] {
        &self.levels[0]
    }

    /// Hashes of a level, 0 for blocks; none above the root.
    pub fn nodes(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// The hash of everything.
    pub fn root(&self) -> Hash {
        self.levels[self.levels.len() - 1][0]
    }

    /// Whether a block is nothing but zeros.
    pub fn is_zero(&self, block: u32) -> bool {
        self.leaves().get(block as usize).is_some_and(|hash| self.zeros.is_zero(0, block, hash))
    }

    fn over(bytes: u64, leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|below| below.len() > 1) {
            let level = below.chunks(FAN_OUT).map(node).collect();
            levels.push(level);
        }
        Self { bytes, levels, zeros: ZeroTree::new(bytes) }
    }
}

/// The nodes over nothing but zeros: on a level they are all the same but the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeroTree {
    full: [Hash; LEVEL_MAX as usize + 1],
    /// The last node of each level up to the root's, and how many nodes the level has.
    last: Vec<(Hash, u32)>,
}

impl ZeroTree {
    /// Over so many bytes, not 0 and at most 2³² blocks.
    pub fn new(bytes: u64) -> Self {
        let mut full = [leaf(&[0; BLOCK]); LEVEL_MAX as usize + 1];
        for level in 1..full.len() {
            full[level] = node(&[full[level - 1]; FAN_OUT]);
        }
        let mut nodes = blocks(bytes).unwrap_or(u32::MAX).max(1);
        let mut last = vec![(leaf(&[0; BLOCK][..block_len(bytes, nodes - 1)]), nodes)];
        for level in 1..=usize::from(root_level(nodes)) {
            let children = (nodes - 1) as usize % FAN_OUT + 1;
            let mut hashes = [full[level - 1]; FAN_OUT];
            hashes[children - 1] = last[level - 1].0;
            nodes = nodes.div_ceil(FAN_OUT as u32);
            last.push((node(&hashes[..children]), nodes));
        }
        Self { full, last }
    }

    /// A node; `None` where the tree has none.
    pub fn node(&self, level: u8, index: u32) -> Option<&Hash> {
        let (last, nodes) = self.last.get(usize::from(level))?;
        match index + 1 {
            after if after == *nodes => Some(last),
            after if after < *nodes => self.full.get(usize::from(level)),
            _ => None,
        }
    }

    /// Whether a node's hash, or the front of one, is that of zeros.
    pub fn is_zero(&self, level: u8, index: u32, hash: &[u8]) -> bool {
        self.node(level, index).is_some_and(|zero| zero.starts_with(hash))
    }
}

/// Not a tree, or a damaged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTree;

impl fmt::Display for BadTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a hash tree, or a damaged one")
    }
}

impl std::error::Error for BadTree {}

const MAGIC: &[u8] = b"pumice tree 1\n";

/// 256 KiB.
const PIECE_BLOCKS: usize = 64;

fn hash_pieces(content: &dyn Content, pieces: Vec<(u32, &mut [Hash])>) -> io::Result<()> {
    let (bytes, zero) = (content.bytes(), leaf(&[0; BLOCK]));
    let mut buffer = vec![0; PIECE_BLOCKS * BLOCK];
    for (first, hashes) in pieces {
        let buffer = &mut buffer[..hashes.len() * BLOCK];
        content.read(first, buffer)?;
        for ((hash, block), number) in hashes.iter_mut().zip(buffer.chunks(BLOCK)).zip(first..) {
            let len = block_len(bytes, number);
            let is_zero = len == BLOCK && *block == [0; BLOCK];
            *hash = if is_zero { zero } else { leaf(&block[..len]) };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at / BLOCK * 31 + at % 7) as u8).collect()
    }

    #[test]
    fn the_tree_is_the_one_that_a_board_makes() {
        for bytes in [1, BLOCK, BLOCK + 1, 16 * BLOCK, 17 * BLOCK - 5, 300 * BLOCK + 9] {
            let image = image(bytes);
            let tree = Tree::of(&image).unwrap();
            let mut level: Vec<Hash> = image.chunks(BLOCK).map(leaf).collect();
            assert_eq!(tree.blocks() as usize, level.len());
            for number in 0..=root_level(tree.blocks()) {
                assert_eq!(tree.nodes(number), level, "{bytes} {number}");
                assert!(number < root_level(tree.blocks()) || tree.root() == level[0]);
                level = level.chunks(FAN_OUT).map(node).collect();
            }
            assert!(tree.nodes(root_level(tree.blocks()) + 1).is_empty());
        }
    }

    #[test]
    fn zeros_are_known_on_every_level() {
        for bytes in [1, BLOCK, 16 * BLOCK, 17 * BLOCK - 5, 256 * BLOCK, 300 * BLOCK + 9] {
            let tree = Tree::of(&vec![0; bytes]).unwrap();
            let zeros = ZeroTree::new(bytes as u64);
            for level in 0..=root_level(tree.blocks()) {
                for (hash, index) in tree.nodes(level).iter().zip(0..) {
                    assert_eq!(zeros.node(level, index), Some(hash), "{bytes} {level} {index}");
                }
                assert_eq!(zeros.node(level, tree.nodes(level).len() as u32), None);
            }
            assert!((0..tree.blocks()).all(|block| tree.is_zero(block)));
            assert!(!tree.is_zero(tree.blocks()));
        }
        let mut bytes = vec![0; 3 * BLOCK];
        bytes[2 * BLOCK - 1] = 1;
        let tree = Tree::of(&bytes).unwrap();
        assert_eq!([0, 1, 2].map(|block| tree.is_zero(block)), [true, false, true]);
    }

    #[test]
    fn a_tree_comes_back_as_it_went() {
        let tree = Tree::of(&image(40 * BLOCK + 3)).unwrap();
        let stored = tree.to_bytes();
        assert_eq!(Tree::from_bytes(&stored).unwrap(), tree);
        for at in 0..stored.len() {
            let mut damaged = stored.clone();
            damaged[at] ^= 1;
            // The last block's length is no part of a hash: its bytes are, and a deploy compares them.
            let is_length = (MAGIC.len()..MAGIC.len() + 2).contains(&at);
            assert!(is_length || Tree::from_bytes(&damaged) == Err(BadTree), "{at}");
        }
        assert_eq!(Tree::from_bytes(&stored[..stored.len() - 1]), Err(BadTree));
        assert_eq!(Tree::from_bytes(&[&stored[..], &[0]].concat()), Err(BadTree));
        let mut huge = stored;
        huge[MAGIC.len()..][..8].fill(0xFF);
        assert_eq!(Tree::from_bytes(&huge), Err(BadTree));
        assert_eq!(Tree::from_bytes(b""), Err(BadTree));
    }

    #[test]
    fn an_empty_image_has_no_tree() {
        assert_eq!(Tree::of(&Vec::new()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
