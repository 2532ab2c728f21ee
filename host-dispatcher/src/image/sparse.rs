//! Android's sparse images: chunks of raw blocks, filled blocks, and blocks that do not matter, which become zeros.
//!
//! The form is that of `system/core/libsparse/sparse_format.h`, version 1. What a header claims is checked against what
//! follows, and nothing is set aside for it: memory does not depend on it.

use std::io::{ErrorKind, Read};

use crc32fast::Hasher;

use super::error::Cause;
use super::packing::Stream;
use super::source::{IMAGE_BYTES_MAX, Piece};

/// The first bytes of a sparse image.
pub(super) const MAGIC: [u8; 4] = 0xed26_ff3a_u32.to_le_bytes();

/// A sparse image as the image that it stands for.
pub(super) struct SparseImage {
    stream: Stream,
    block_bytes: u32,
    blocks: u32,
    chunks: u32,
    chunk_header_bytes: u16,
    /// Of the whole image, where the file says it.
    crc_expected: Option<u32>,
    blocks_done: u32,
    chunks_done: u32,
    chunk: Chunk,
    crc: Hasher,
}

/// What is left of the chunk at hand.
#[derive(Clone, Copy, Debug)]
enum Chunk {
    Raw(u64),
    Fill([u8; 4], u64),
    Hole(u64),
}

impl SparseImage {
    pub(super) fn new(mut stream: Stream) -> Result<Self, Cause> {
        let mut header = [0; 28];
        exact(&mut stream, &mut header)?;
        let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        if header[..4] != MAGIC {
            return Err(damaged("it does not begin like one"));
        }
        if half(4) != 1 {
            let why = format!("it is a sparse image of version {}", half(4));
            return Err(Cause::unusable(why, "make it with img2simg, or give the raw image"));
        }
        let (header_bytes, chunk_header_bytes) = (half(8), half(10));
        let (block_bytes, blocks, chunks, crc) = (word(12), word(16), word(20), word(24));
        if header_bytes < 28 || !(12..=4096).contains(&chunk_header_bytes) {
            return Err(damaged("its header has an impossible size"));
        }
        if block_bytes == 0 || !block_bytes.is_multiple_of(4) || block_bytes > BLOCK_BYTES_MAX {
            return Err(damaged(&format!("blocks of {block_bytes} bytes")));
        }
        let bytes = u64::from(block_bytes) * u64::from(blocks);
        if bytes > IMAGE_BYTES_MAX {
            return Err(Cause::TooLarge(bytes));
        }
        skip(&mut stream, u64::from(header_bytes) - 28)?;
        Ok(Self {
            stream,
            block_bytes,
            blocks,
            chunks,
            chunk_header_bytes,
            crc_expected: (crc != 0).then_some(crc),
            blocks_done: 0,
            chunks_done: 0,
            chunk: Chunk::Hole(0),
            crc: Hasher::new(),
        })
    }

    /// The next piece, of `most` bytes at most.
    pub(super) fn read(&mut self, buffer: &mut [u8], most: u64) -> Result<Piece, Cause> {
        loop {
            match self.chunk {
                Chunk::Raw(0) | Chunk::Fill(_, 0) | Chunk::Hole(0) => {
                    if self.chunks_done == self.chunks {
                        return self.end();
                    }
                    self.next_chunk()?;
                }
                Chunk::Raw(left) => {
                    let wanted = left.min(most).min(buffer.len() as u64) as usize;
                    let bytes = match self.stream.read(&mut buffer[..wanted]) {
                        Ok(0) => return Err(cut()),
                        Ok(bytes) => bytes,
                        Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                        Err(error) => return Err(damaged(&error.to_string())),
                    };
                    self.chunk = Chunk::Raw(left - bytes as u64);
                    self.crc.update(&buffer[..bytes]);
                    return Ok(Piece::Data(bytes));
                }
                Chunk::Fill(pattern, left) => {
                    // A block is a multiple of the pattern; a limit may cut one, so the pattern turns.
                    let wanted = left.min(most).min(buffer.len() as u64) as usize;
                    for (at, byte) in buffer[..wanted].iter_mut().enumerate() {
                        *byte = pattern[at % 4];
                    }
                    let mut turned = pattern;
                    turned.rotate_left(wanted % 4);
                    self.chunk = Chunk::Fill(turned, left - wanted as u64);
                    self.crc.update(&buffer[..wanted]);
                    return Ok(Piece::Data(wanted));
                }
                Chunk::Hole(left) => {
                    let wanted = left.min(most);
                    self.chunk = Chunk::Hole(left - wanted);
                    add_zeros(&mut self.crc, wanted);
                    return Ok(Piece::Hole(wanted));
                }
            }
        }
    }

    fn next_chunk(&mut self) -> Result<(), Cause> {
        let mut header = [0; 12];
        exact(&mut self.stream, &mut header)?;
        self.chunks_done += 1;
        let kind = u16::from_le_bytes([header[0], header[1]]);
        let blocks = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let total = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        let header_bytes = self.chunk_header_bytes;
        skip(&mut self.stream, u64::from(header_bytes) - 12)?;
        let bytes = u64::from(blocks) * u64::from(self.block_bytes);
        let payload = u64::from(total)
            .checked_sub(header_bytes.into())
            .ok_or_else(|| damaged("a chunk is smaller than its header"))?;
        let expected = match kind {
            RAW => bytes,
            FILL | CRC32 => 4,
            DONT_CARE => 0,
            _ => return Err(damaged(&format!("a chunk of the unknown kind {kind:#06x}"))),
        };
        if payload != expected {
            return Err(damaged("a chunk's sizes do not agree"));
        }
        let mut value = [0; 4];
        if matches!(kind, FILL | CRC32) {
            exact(&mut self.stream, &mut value)?;
        }
        if kind == CRC32 {
            return self.check_crc(u32::from_le_bytes(value));
        }
        self.blocks_done = self
            .blocks_done
            .checked_add(blocks)
            .filter(|done| *done <= self.blocks)
            .ok_or_else(|| damaged("its chunks hold more blocks than its header says"))?;
        self.chunk = match kind {
            RAW => Chunk::Raw(bytes),
            FILL if value != [0; 4] => Chunk::Fill(value, bytes),
            _ => Chunk::Hole(bytes),
        };
        Ok(())
    }

    fn end(&mut self) -> Result<Piece, Cause> {
        if self.blocks_done != self.blocks {
            return Err(damaged("its chunks hold fewer blocks than its header says"));
        }
        if let Some(expected) = self.crc_expected {
            self.check_crc(expected)?;
        }
        Ok(Piece::End)
    }

    fn check_crc(&self, expected: u32) -> Result<(), Cause> {
        if self.crc.clone().finalize() == expected {
            Ok(())
        } else {
            Err(damaged("a check value is wrong"))
        }
    }
}

/// Zeros cost as many steps as their number has bits.
fn add_zeros(crc: &mut Hasher, bytes: u64) {
    let mut power = Hasher::new();
    power.update(&[0]);
    let mut left = bytes;
    while left > 0 {
        if left & 1 == 1 {
            crc.combine(&power);
        }
        left >>= 1;
        let twice = power.clone();
        power.combine(&twice);
    }
}

fn exact(stream: &mut Stream, buffer: &mut [u8]) -> Result<(), Cause> {
    stream.read_exact(buffer).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => cut(),
        _ => damaged(&error.to_string()),
    })
}

fn skip(stream: &mut Stream, bytes: u64) -> Result<(), Cause> {
    let skipped = std::io::copy(&mut stream.by_ref().take(bytes), &mut std::io::sink())
        .map_err(|error| damaged(&error.to_string()))?;
    if skipped == bytes { Ok(()) } else { Err(cut()) }
}

fn damaged(why: &str) -> Cause {
    Cause::Damaged("sparse image", why.to_owned())
}

fn cut() -> Cause {
    damaged("it ends too early")
}

const RAW: u16 = 0xcac1;
const FILL: u16 = 0xcac2;
const DONT_CARE: u16 = 0xcac3;
const CRC32: u16 = 0xcac4;
const BLOCK_BYTES_MAX: u32 = 16 << 20;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One chunk of a test's image.
    pub(in crate::image) enum Part {
        Raw(Vec<u8>),
        Fill([u8; 4], u32),
        Hole(u32),
        Crc(u32),
    }

    /// A sparse image with blocks of 4096 bytes.
    pub(in crate::image) fn sparse(parts: &[Part]) -> Vec<u8> {
        let (mut body, mut blocks) = (Vec::new(), 0);
        for part in parts {
            let (kind, count, payload) = match part {
                Part::Raw(bytes) => (RAW, (bytes.len() / 4096) as u32, bytes.clone()),
                Part::Fill(value, count) => (FILL, *count, value.to_vec()),
                Part::Hole(count) => (DONT_CARE, *count, vec![]),
                Part::Crc(value) => (CRC32, 0, value.to_le_bytes().to_vec()),
            };
            blocks += count;
            body.extend(kind.to_le_bytes());
            body.extend([0, 0]);
            body.extend(count.to_le_bytes());
            body.extend((12 + payload.len() as u32).to_le_bytes());
            body.extend(payload);
        }
        let mut file = MAGIC.to_vec();
        for half in [1_u16, 0, 28, 12] {
            file.extend(half.to_le_bytes());
        }
        for word in [4096, blocks, parts.len() as u32, 0] {
            file.extend(word.to_le_bytes());
        }
        [file, body].concat()
    }

    fn read(file: Vec<u8>, most: u64) -> Result<Vec<u8>, Cause> {
        let mut image = SparseImage::new(Box::new(std::io::Cursor::new(file)))?;
        let (mut all, mut buffer) = (Vec::new(), vec![0; 1000]);
        loop {
            match image.read(&mut buffer, most)? {
                Piece::Data(bytes) => all.extend(&buffer[..bytes]),
                Piece::Hole(bytes) => all.resize(all.len() + bytes as usize, 0),
                Piece::End => return Ok(all),
            }
        }
    }

    fn text(cause: Cause) -> String {
        super::super::error::ImageError::new(std::path::Path::new("x"), cause).to_string()
    }

    #[test]
    fn every_kind_of_chunk() {
        let block: Vec<u8> = (0..8192).map(|at| (at * 7 % 251) as u8).collect();
        let mut image = block.clone();
        image.extend([1, 2, 3, 4].repeat(2048));
        image.resize(image.len() + 3 * 4096, 0);
        let mut crc = Hasher::new();
        crc.update(&image);
        let crc = crc.finalize();
        let parts = |crc| {
            [Part::Raw(block.clone()), Part::Fill([1, 2, 3, 4], 2), Part::Hole(3), Part::Crc(crc)]
        };
        for most in [u64::MAX, 3, 4097] {
            assert!(read(sparse(&parts(crc)), most).unwrap() == image, "{most}");
        }
        let error = text(read(sparse(&parts(crc ^ 1)), u64::MAX).unwrap_err());
        assert!(error.contains("a check value is wrong"), "{error}");
    }

    #[test]
    fn lies_and_cuts_are_errors() {
        let whole = sparse(&[Part::Raw(vec![7; 4096]), Part::Hole(2)]);
        for end in 0..whole.len() {
            let error = text(read(whole[..end].to_vec(), u64::MAX).unwrap_err());
            assert!(error.contains("ends too early"), "{end}: {error}");
        }
        let changed = |at: usize, value: u32| {
            let mut file = whole.clone();
            file[at..at + 4].copy_from_slice(&value.to_le_bytes());
            text(read(file, u64::MAX).unwrap_err())
        };
        assert!(changed(12, 0).contains("blocks of 0 bytes"));
        assert!(changed(12, u32::MAX).contains("blocks of"));
        assert!(changed(16, u32::MAX).contains("at most"), "{}", changed(16, u32::MAX));
        assert!(changed(16, 2).contains("more blocks"));
        assert!(changed(16, 4).contains("fewer blocks"));
        assert!(changed(32, 2).contains("do not agree"));
        assert!(changed(36, 3).contains("smaller than its header"));
        assert!(changed(28, 5).contains("unknown kind"));
        assert!(changed(4, 2).contains("version 2"));
    }
}
