//! The agent as it goes over the line: packed as the shell can unpack it.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use lzma_rust2::{CheckType, XzOptions, XzWriter};

use super::tools::Unpacker;
use crate::store::hexadecimal;
use sha2::{Digest, Sha256};

/// A program file and its packed forms.
#[derive(Clone, PartialEq, Eq)]
pub struct Program {
    raw: Vec<u8>,
    gzip: Vec<u8>,
    xz: Vec<u8>,
    id: String,
}

impl Program {
    /// Packs it, which takes a moment.
    ///
    /// # Errors
    /// An encoder's; none is known for bytes in memory.
    pub fn new(raw: Vec<u8>) -> io::Result<Self> {
        let id = hexadecimal(&Sha256::digest(&raw)[..ID_BYTES]);
        Ok(Self { gzip: gzip(&raw)?, xz: xz(&raw)?, raw, id })
    }

    /// The whole file.
    pub(super) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// What goes over the line for a shell that unpacks with `unpacker`.
    pub(super) fn packed(&self, unpacker: Unpacker) -> &[u8] {
        match unpacker {
            Unpacker::Xz => &self.xz,
            Unpacker::Gzip => &self.gzip,
            Unpacker::None => &self.raw,
        }
    }

    /// By which its files on the board are called: another program has others.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("id", &self.id)
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

pub(super) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    // Without a date, so that equal programs are equal on the line, and what is there of one can be gone on with.
    let mut writer = GzEncoder::new(Vec::new(), Compression::best());
    writer.write_all(bytes)?;
    writer.finish()
}

pub(super) fn xz(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut options = XzOptions::with_preset(XZ_PRESET);
    // busybox's own xz knows CRC-32, and CRC-64 only where it was built with it.
    options.set_check_sum_type(CheckType::Crc32);
    options.lzma_options.dict_size = XZ_DICTIONARY;
    let mut writer = XzWriter::new(Vec::new(), options)?;
    writer.write_all(bytes)?;
    writer.finish()
}

/// 64 bits: what is in one folder of one board is never so much that two agents meet.
const ID_BYTES: usize = 8;
const XZ_PRESET: u32 = 9;
/// More than an agent has, and no more memory than a small board can spare.
const XZ_DICTIONARY: u32 = 1 << 18;
