//! Where the bytes of an image come from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use agent_core::wire::steps::BLOCK;

/// Bytes that can be read anywhere, by several threads at once, and do not change.
pub trait Content: Sync {
    /// Number of bytes, not 0.
    fn bytes(&self) -> u64;

    /// Fills `out`, which is whole blocks, from block `first` on; with zeros beyond the end.
    ///
    /// # Errors
    /// What reading gives; an end before [`bytes`](Self::bytes) is `UnexpectedEof`.
    fn read(&self, first: u32, out: &mut [u8]) -> io::Result<()>;
}

/// A file, plain and of the length that it had when it was opened.
#[derive(Debug)]
pub struct FileContent {
    file: File,
    bytes: u64,
}

impl FileContent {
    /// The whole of an open file or block device of `bytes` bytes.
    pub const fn new(file: File, bytes: u64) -> Self {
        Self { file, bytes }
    }
}

impl Content for FileContent {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    // Holes are read like everything else: the page cache gives their zeros as fast as SHA-256 could be told of them.
    fn read(&self, first: u32, out: &mut [u8]) -> io::Result<()> {
        let (data, beyond) = split(self.bytes, first, out);
        beyond.fill(0);
        self.file.read_exact_at(data, offset(first))
    }
}

impl Content for [u8] {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, first: u32, out: &mut [u8]) -> io::Result<()> {
        let (data, beyond) = split(self.len() as u64, first, out);
        beyond.fill(0);
        if !data.is_empty() {
            data.copy_from_slice(&self[offset(first) as usize..][..data.len()]);
        }
        Ok(())
    }
}

impl Content for Vec<u8> {
    fn bytes(&self) -> u64 {
        self.as_slice().bytes()
    }

    fn read(&self, first: u32, out: &mut [u8]) -> io::Result<()> {
        self.as_slice().read(first, out)
    }
}

/// Blocks of so many bytes, the last of which may be short; `None` if they have no numbers of 32 bits.
pub fn blocks(bytes: u64) -> Option<u32> {
    u32::try_from(bytes.div_ceil(BLOCK as u64)).ok()
}

/// Where a block begins.
pub fn offset(block: u32) -> u64 {
    u64::from(block) * BLOCK as u64
}

/// Bytes of a block of a whole of so many bytes: [`BLOCK`], fewer for a short last one, 0 beyond it.
pub fn block_len(bytes: u64, block: u32) -> usize {
    bytes.saturating_sub(offset(block)).min(BLOCK as u64) as usize
}

fn split(bytes: u64, first: u32, out: &mut [u8]) -> (&mut [u8], &mut [u8]) {
    let there = bytes.saturating_sub(offset(first)).min(out.len() as u64) as usize;
    out.split_at_mut(there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    #[test]
    fn beyond_the_end_are_zeros() {
        let bytes: Vec<u8> = (0..5000_u32).map(|at| at as u8 | 1).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file.rewind().unwrap();
        let file = FileContent::new(file, 5000);
        for content in [&file as &dyn Content, &bytes] {
            for first in [0, 1, 2, u32::MAX] {
                let mut out = vec![7; 2 * BLOCK];
                content.read(first, &mut out).unwrap();
                let mut padded = bytes.get(offset(first) as usize..).unwrap_or_default().to_vec();
                padded.resize(2 * BLOCK, 0);
                assert!(out == padded, "{first}");
            }
        }
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 5000]).unwrap();
        let content = FileContent::new(file, 9000);
        let error = content.read(1, &mut [0; BLOCK]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_last_block_may_be_short() {
        assert_eq!([1, 4096, 4097].map(blocks), [Some(1), Some(1), Some(2)]);
        assert_eq!(blocks(1 << 45), None);
        assert_eq!([0, 1, 2].map(|block| block_len(5000, block)), [4096, 904, 0]);
    }
}
