//! The hash tree by which dispatcher and agent compare what a partition holds with what it should hold.
//!
//! Level 0 is the blocks of [`BLOCK`](crate::wire::steps::BLOCK) bytes, the last of which may be short; a node of the
//! next level stands for [`FAN_OUT`] of the level below, the last for what is left. Levels go on until one node is left:
//! the root. A [`Hash`](type@Hash) is the first 16 bytes of SHA-256 (FIPS 180-4): of a block's bytes, or of the hashes of a node's
//! children one after the other. 128 bits are far more than blocks that ever meet need; what a deploy wrote is compared by
//! the root all the same.

use sha2::{Digest, Sha256};

/// Children of a node.
pub const FAN_OUT: usize = 16;

/// Highest level: 4 KiB × 16⁸ are more than block numbers of 32 bits reach.
pub const LEVEL_MAX: u8 = 8;

/// Bytes of a hash; on the line it may be cut shorter.
pub const HASH_LEN: usize = 16;

/// See the module.
pub type Hash = [u8; HASH_LEN];

/// The hash of a block's bytes.
pub fn leaf(block: &[u8]) -> Hash {
    cut(Sha256::digest(block).into())
}

/// The hash of a node with these children, 1 to [`FAN_OUT`].
pub fn node(children: &[Hash]) -> Hash {
    cut(Sha256::digest(children.as_flattened()).into())
}

/// The level of the root over so many blocks.
pub fn root_level(mut blocks: u32) -> u8 {
    let mut level = 0;
    while blocks > 1 {
        blocks = blocks.div_ceil(FAN_OUT as u32);
        level += 1;
    }
    level
}

fn cut(digest: [u8; 32]) -> Hash {
    let mut hash = [0; HASH_LEN];
    hash.copy_from_slice(&digest[..HASH_LEN]);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_end_at_one_node() {
        assert_eq!([0, 1, 2, 16, 17, 256, 257, 131_072].map(root_level), [0, 0, 1, 1, 2, 2, 3, 5]);
        assert_eq!(root_level(u32::MAX), LEVEL_MAX);
    }

    #[test]
    fn a_hash_is_the_front_of_sha_256() {
        // FIPS 180-4's example "abc".
        let abc = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae,
            0x22, 0x23,
        ];
        assert_eq!(leaf(b"abc"), abc);
        assert_eq!(node(&[*b"0123456789abcdef"]), leaf(b"0123456789abcdef"));
    }
}
