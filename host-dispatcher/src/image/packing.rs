//! How files are packed, told by their first bytes, and their unpacking as streams.
//!
//! A packed file is hostile input: what unpacking it takes is bounded by [`UNPACK_MEMORY_MAX`].

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use bzip2::bufread::{BzDecoder, MultiBzDecoder};
use flate2::bufread::{GzDecoder, MultiGzDecoder};
use lz4_flex::frame::FrameDecoder;
use lzma_rust2::XzReader;

use super::uboot::Content;
use super::zstd::ZstdReader;

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Raw,
    /// One gzip member or several.
    Gzip,
    /// One xz stream or several.
    Xz,
    /// One zstd frame or several.
    Zstd,
    /// One bzip2 stream or several.
    Bzip2,
    /// One LZ4 frame or several, or the older form of kernels.
    Lz4,
    /// A zip archive, of which one file is taken.
    Zip,
    /// U-Boot's old image, of which the content is taken.
    UBoot,
}

/// The unpacked bytes of a stream.
pub(super) type Stream = Box<dyn Read + Send>;

impl Packing {
    /// By the first bytes of a file. A raw image that begins like a packed file cannot be told from one; no file
    /// system or partition table does.
    pub fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // A frame, or one to be skipped: RFC 8878 §3.1.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => Self::Lz4,
            // A local file header, or the end record of an archive that is empty: APPNOTE §4.3.
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Self::Zip,
            [0x27, 0x05, 0x19, 0x56, ..] => Self::UBoot,
            _ => Self::Raw,
        }
    }

    /// The stream without this packing; `None` for a zip archive, whose directory stands at its end.
    pub(super) fn unpack(self, packed: Stream) -> Option<Stream> {
        let packed = BufReader::with_capacity(READ_BYTES, packed);
        Some(match self {
            Self::Raw => Box::new(packed),
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Xz => {
                let limit_kb = (UNPACK_MEMORY_MAX / 1024) as u32;
                Box::new(XzReader::new_mem_limit(packed, true, limit_kb))
            }
            Self::Zstd => Box::new(ZstdReader::new(packed, UNPACK_MEMORY_MAX)),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(packed)),
            Self::Lz4 => Box::new(Lz4Reader(FrameDecoder::new(packed))),
            Self::Zip => return None,
            Self::UBoot => Box::new(Content::new(packed)),
        })
    }
}

impl Packing {
    /// The stream of the first member, stream or frame alone; what stands behind it is left in `packed`. (Of the older
    /// form of LZ4 there is no end but that of the file.)
    pub(super) fn unpack_one<'p>(self, packed: &'p mut dyn BufRead) -> Box<dyn Read + 'p> {
        match self {
            Self::Raw | Self::Zip | Self::UBoot => Box::new(packed),
            Self::Gzip => Box::new(GzDecoder::new(packed)),
            Self::Xz => {
                let limit_kb = (UNPACK_MEMORY_MAX / 1024) as u32;
                Box::new(XzReader::new_mem_limit(packed, false, limit_kb))
            }
            Self::Zstd => Box::new(ZstdReader::one(packed, UNPACK_MEMORY_MAX)),
            Self::Bzip2 => Box::new(BzDecoder::new(packed)),
            Self::Lz4 => Box::new(FrameDecoder::new(packed)),
        }
    }
}

/// All frames of an LZ4 file: the decoder says "end" after each.
struct Lz4Reader<R: Read>(FrameDecoder<R>);

impl<R: BufRead> Read for Lz4Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer)? {
                0 if buffer.is_empty() || self.0.get_mut().fill_buf()?.is_empty() => return Ok(0),
                0 => {}
                bytes => return Ok(bytes),
            }
        }
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
            Self::Zip => "zip",
            Self::UBoot => "U-Boot",
        })
    }
}

/// The window of `xz -9` is 64 MiB and of `zstd --long` 128 MiB.
pub const UNPACK_MEMORY_MAX: u64 = 136 * 1024 * 1024;
/// A disk gives more at a time than a decompressor asks for.
pub(super) const READ_BYTES: usize = 256 * 1024;
