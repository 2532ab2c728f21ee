//! The hashes that a `block-tree` asks for, from what the device holds and from what is known of it.

use super::nodes::{Nodes, bytes_under};
use super::{Known, Trouble};
use crate::tree::{HASH_LEN, Hash, root_level};
use crate::wire::request::BlockTree;
use crate::wire::steps::BLOCK;
use heapless::Vec;

/// Bytes of hashes that one turn makes at most: those of 64 KiB of blocks, of a short last one, and of one above.
pub const OUT_MAX: usize = 18 * HASH_LEN;

/// Bytes read in one turn.
const READ_MAX: usize = 64 * 1024;

/// A level of which hashes of whole nodes may be known; see [`Known`].
pub(super) const KNOWN_LEVEL: u8 = 2;

/// Reads at an offset as many bytes as it can, none at the end; an error is `errno`.
pub type Read<'r> = dyn FnMut(u64, &mut [u8]) -> Result<usize, i32> + 'r;

/// Hashes of nodes, one after the other.
#[derive(Clone, Debug)]
pub struct Walk {
    nodes: Nodes,
    level: u8,
    width: usize,
    /// The next byte to be read, where the last node ends, and where the tree ends.
    at: u64,
    end: u64,
    bytes: u64,
    may_know: bool,
    out: Vec<u8, OUT_MAX>,
}

impl Walk {
    /// For a request to something of `size` bytes.
    ///
    /// # Errors
    /// [`Trouble`]: a level, width or number of nodes that there is not, or bytes beyond the end.
    pub fn new(request: &BlockTree<'_>, size: u64) -> Result<Self, Trouble> {
        let BlockTree { bytes, level, first, count, width, is_fresh, .. } = *request;
        if bytes > size {
            return Err(Trouble::too_large("beyond its end:", (bytes / BLOCK as u64) as u32));
        }
        let bytes = if bytes == 0 { size } else { bytes };
        let blocks = u32::try_from(bytes.div_ceil(BLOCK as u64));
        let is_level = blocks.is_ok_and(|blocks| level <= root_level(blocks));
        if !is_level || !(4..=HASH_LEN).contains(&usize::from(width)) || count == 0 {
            return Err(Trouble::bad("no such nodes"));
        }
        // Level 8 has a single node, of 2⁴⁴ bytes: nothing here comes near 2⁶⁴ but by a `first` that is not there.
        let node = bytes_under(level);
        let at = node.saturating_mul(first.into()).min(bytes);
        let end = at.saturating_add(node.saturating_mul(count.into())).min(bytes);
        Ok(Self {
            nodes: Nodes::new(level),
            level,
            width: width.into(),
            at,
            end,
            bytes,
            may_know: !is_fresh,
            out: Vec::new(),
        })
    }

    /// Works on, for as long as it takes to read 64 KiB through `buffer`, at least a block long, and keeps the hashes that
    /// are whole, at most [`OUT_MAX`] bytes.
    ///
    /// # Errors
    /// [`Trouble`]: what cannot be read.
    pub fn work(
        &mut self,
        buffer: &mut [u8],
        read: &mut Read<'_>,
        known: &mut dyn Known,
    ) -> Result<(), Trouble> {
        self.out.clear();
        let Self { nodes, level, width, at, end, bytes, may_know, out } = self;
        let (mut left, begin) = (READ_MAX, *at);
        // Of nodes under way only the one that ends first can be the one that a hash of that level is of.
        let mut node = (begin >> NODE_BITS) as u32;
        while left > 0 && *at < *end && out.capacity() - out.len() >= 2 * HASH_LEN {
            let is_aligned = *at & (bytes_under(KNOWN_LEVEL) - 1) == 0;
            let whole = *at + bytes_under(KNOWN_LEVEL) <= *bytes;
            if is_aligned && whole && *may_know && *level >= KNOWN_LEVEL {
                if let Some(hash) = known.find((*at >> NODE_BITS) as u32) {
                    nodes.push_known(KNOWN_LEVEL, hash, &mut |of, hash| {
                        put(out, of == *level, &hash, *width);
                    });
                    *at += bytes_under(KNOWN_LEVEL);
                    node += 1;
                    continue;
                }
            }
            let wanted = left.min(buffer.len()).min((*end - *at).min(READ_MAX as u64) as usize);
            let mut length = read(*at, &mut buffer[..wanted]);
            if length.is_err() {
                // Where exactly?
                let block = BLOCK - *at as usize % BLOCK;
                length = read(*at, &mut buffer[..wanted.min(block)]);
            }
            let place = (*at / BLOCK as u64) as u32;
            let length = match length {
                Ok(0) => return Err(Trouble::too_large("it ended early:", place)),
                Ok(length) => length.min(wanted),
                Err(os_error) => return Err(Trouble::write("reading", place, os_error)),
            };
            nodes.push(&buffer[..length], &mut |of, hash| {
                put(out, of == *level, &hash, *width);
                if of == KNOWN_LEVEL {
                    known.learn(node, hash);
                    node += 1;
                }
            });
            *at += length as u64;
            left -= length;
        }
        if *at == *end {
            nodes.end(&mut |of, hash| put(out, of == *level, &hash, *width));
        }
        Ok(())
    }

    /// The hashes of the last [`Self::work`].
    pub fn out(&self) -> &[u8] {
        &self.out
    }

    /// Whether there are more.
    pub fn has_more(&self) -> bool {
        self.at < self.end
    }
}

fn put(out: &mut Vec<u8, OUT_MAX>, is_wanted: bool, hash: &Hash, width: usize) {
    if is_wanted {
        // There is room: that of a turn's blocks, and the hashes of levels above are fewer.
        let _ = out.extend_from_slice(&hash[..width]);
    }
}

/// log₂ of the bytes under a node of [`KNOWN_LEVEL`].
const NODE_BITS: u32 = bytes_under(KNOWN_LEVEL).trailing_zeros();

#[cfg(test)]
mod tests {
    extern crate std;

    use super::super::nodes::tests::level_of;
    use super::super::{HASHES_MAX, Nothing, Scan};
    use super::*;
    use crate::time::Instant;
    use std::boxed::Box;
    use std::vec;
    use std::vec::Vec;

    const MIB: usize = 1 << 20;

    fn disk(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| ((at / 5000) ^ (at / MIB)) as u8).collect()
    }

    fn request(level: u8, first: u32, count: u32) -> BlockTree<'static> {
        let (target, stream, bytes, width, is_fresh) = ("", 1, 0, 16, false);
        BlockTree { target, stream, bytes, level, first, count, width, is_fresh }
    }

    /// The hashes, and how many bytes were read for them.
    fn walk(
        request: &BlockTree<'_>,
        disk: &[u8],
        known: &mut dyn Known,
        most: usize,
    ) -> Result<(Vec<u8>, usize), Trouble> {
        let mut walk = Walk::new(request, disk.len() as u64)?;
        let (mut out, mut bytes_read) = (Vec::new(), 0);
        let mut buffer = vec![0; 40_000];
        loop {
            let mut read = |offset: u64, out: &mut [u8]| {
                let rest = &disk[offset as usize..];
                let count = rest.len().min(out.len()).min(most);
                out[..count].copy_from_slice(&rest[..count]);
                bytes_read += count;
                Ok(count)
            };
            walk.work(&mut buffer, &mut read, known)?;
            assert!(walk.out().len() <= OUT_MAX);
            out.extend(walk.out());
            if !walk.has_more() {
                return Ok((out, bytes_read));
            }
        }
    }

    #[test]
    fn hashes_are_those_of_the_definition_however_they_are_read() {
        let disk = disk(3 * MIB + 5 * BLOCK + 7);
        for (level, first, count) in
            [(0, 0, 10_000), (0, 700, 80), (1, 5, 45), (1, 48, 2), (2, 0, 9), (2, 3, 1), (3, 0, 1)]
        {
            let hashes = level_of(&disk, level);
            let end = hashes.len().min((first + count) as usize);
            let wanted = hashes[first as usize..end].as_flattened();
            for most in [BLOCK - 1, 70_000] {
                let found = walk(&request(level, first, count), &disk, &mut Nothing, most).unwrap();
                assert_eq!(found.0, wanted, "{level} {first} {most}");
            }
        }
    }

    #[test]
    fn what_is_known_is_not_read_again_unless_it_must_be_fresh() {
        let disk = disk(5 * MIB + 100);
        let mut scan: Scan<Box<[Hash]>> = Scan::new();
        let count = Scan::<Box<[Hash]>>::nodes_of(disk.len() as u64, HASHES_MAX);
        assert_eq!(count, 5);
        scan.begin(0, vec![[0; HASH_LEN]; count].into());
        let root = request(3, 0, 1);
        let wanted = level_of(&disk, 3).concat();
        // A walk learns what it reads, and the next one knows it.
        let epoch = scan.epoch(0);
        for bytes_read in [disk.len(), 100] {
            let found = walk(&root, &disk, &mut scan.known(0, epoch), 70_000).unwrap();
            assert_eq!(found, (wanted.clone(), bytes_read));
        }
        assert_eq!(scan.poll_timeout(), None, "nothing is left to scan");
        // Of an image that ends inside of a node the last one is not known.
        let part = BlockTree { bytes: 2 * MIB as u64 + 5, ..root };
        let part = BlockTree { level: 2, count: 9, ..part };
        let found = walk(&part, &disk, &mut scan.known(0, epoch), 70_000).unwrap();
        assert_eq!(found, (level_of(&disk[..2 * MIB + 5], 2).concat(), 5));
        let fresh = BlockTree { is_fresh: true, ..root };
        let found = walk(&fresh, &disk, &mut scan.known(0, epoch), 70_000).unwrap();
        assert_eq!(found.1, disk.len());
        // Another region, and one that was forgotten since.
        assert_eq!(scan.known(1, epoch).find(0), None);
        assert!(scan.known(0, epoch).find(4).is_some());
        scan.forget(0);
        assert!(scan.known(0, epoch).find(0).is_none());
        assert!(scan.piece(Instant::ZERO).is_some_and(|piece| piece.offset == 0));
        scan.known(0, epoch).learn(0, [1; HASH_LEN]);
        let epoch = scan.epoch(0);
        assert_eq!(scan.known(0, epoch).find(0), None, "a walk from before it was forgotten");
    }

    #[test]
    fn a_block_that_cannot_be_read_is_named() {
        let mut walk = Walk::new(&request(2, 0, 1), 3 * MIB as u64).unwrap();
        let bad = 77 * BLOCK as u64;
        let mut read = |offset: u64, out: &mut [u8]| {
            if (offset..offset + out.len() as u64).contains(&bad) { Err(5) } else { Ok(out.len()) }
        };
        let mut buffer = vec![0; 65_536];
        let trouble = loop {
            if let Err(trouble) = walk.work(&mut buffer, &mut read, &mut Nothing) {
                break trouble;
            }
        };
        assert_eq!((trouble.os_error, trouble.text().as_str()), (5, "reading block 77"));
        let mut end = |_: u64, _: &mut [u8]| Ok(0);
        let mut walk = Walk::new(&request(2, 0, 1), 3 * MIB as u64).unwrap();
        let trouble = walk.work(&mut buffer, &mut end, &mut Nothing).unwrap_err();
        assert_eq!(trouble.text(), "it ended early: block 0");
    }
}
