//! An image file as one stream of bytes: raw, or packed with gzip, xz or zstd, told apart by its first bytes.
//!
//! Blocks on the disk: for a worker thread. Holes of a raw file are skipped without reading them. A packed file is
//! hostile input: what unpacking it takes is bounded by [`UNPACK_MEMORY_MAX`].

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use super::error::{Cause, ImageError};
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
}

/// The next piece of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes are in the buffer.
    Data(usize),
    /// So many zeros, which the file does not hold.
    Hole(u64),
    /// The image is complete.
    End,
}

/// An open image.
pub struct Source {
    path: PathBuf,
    packing: Packing,
    file_bytes: u64,
    read: Arc<AtomicU64>,
    reader: Reader,
}

enum Reader {
    Raw(RawFile),
    Packed(Box<dyn Read + Send>),
}

/// A file with holes.
struct RawFile {
    file: File,
    bytes: u64,
    at: u64,
    /// End of the extent that holds data.
    data_end: u64,
}

/// Counts the bytes that are read of the file, for progress.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Packing {
    /// By the first bytes of a file. A raw image that begins like a packed file cannot be told from one; no file
    /// system or partition table does.
    pub fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // A frame, or one to be skipped: RFC 8878 §3.1.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Raw,
        }
    }
}

impl Source {
    /// Opens an image: a file or a block device.
    ///
    /// # Errors
    /// It cannot be opened or read, or it is empty or something else.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let failed = |error| ImageError::new(path, Cause::Open(error));
        let mut file = File::open(path).map_err(failed)?;
        let kind = file.metadata().map_err(failed)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(ImageError::new(path, Cause::NoFile));
        }
        let file_bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        if file_bytes == 0 {
            return Err(ImageError::new(path, Cause::Empty));
        }
        let mut first = [0; 6];
        let known = file.read_at(&mut first, 0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        let packing = Packing::of(&first[..known]);
        let read = Arc::new(AtomicU64::new(0));
        let counted =
            |file| BufReader::with_capacity(READ_BYTES, Counted { file, read: read.clone() });
        let reader = match packing {
            Packing::Raw => Reader::Raw(RawFile { file, bytes: file_bytes, at: 0, data_end: 0 }),
            Packing::Gzip => Reader::Packed(Box::new(MultiGzDecoder::new(counted(file)))),
            Packing::Xz => {
                let limit_kb = (UNPACK_MEMORY_MAX / 1024) as u32;
                Reader::Packed(Box::new(XzReader::new_mem_limit(counted(file), true, limit_kb)))
            }
            Packing::Zstd => {
                Reader::Packed(Box::new(ZstdReader::new(counted(file), UNPACK_MEMORY_MAX)))
            }
        };
        Ok(Self { path: path.to_owned(), packing, file_bytes, read, reader })
    }

    /// How the file is packed.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// The image's size in bytes, where that is known without unpacking it all.
    pub fn known_bytes(&self) -> Option<u64> {
        (self.packing == Packing::Raw).then_some(self.file_bytes)
    }

    /// The file's size, and how much of it was read so far, for progress.
    pub fn file_progress(&self) -> (u64, Arc<AtomicU64>) {
        (self.file_bytes, self.read.clone())
    }

    /// The next piece. Pieces are as large as they come; `buffer` must not be empty.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or has become shorter.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, ImageError> {
        let piece = match &mut self.reader {
            Reader::Raw(file) => {
                let piece = file.read(buffer);
                self.read.store(file.at, Ordering::Relaxed);
                piece
            }
            Reader::Packed(reader) => match reader.read(buffer) {
                Ok(0) => Ok(Piece::End),
                Ok(bytes) => Ok(Piece::Data(bytes)),
                Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Piece::Data(0)),
                Err(error) => Err(Cause::Unpack(self.packing, error)),
            },
        };
        piece.map_err(|cause| ImageError::new(&self.path, cause))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("path", &self.path)
            .field("packing", &self.packing)
            .finish_non_exhaustive()
    }
}

impl RawFile {
    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, Cause> {
        if self.at == self.bytes {
            return Ok(Piece::End);
        }
        if self.at == self.data_end {
            let data = self.next_data()?;
            if data > self.at {
                let hole = data - self.at;
                self.at = data;
                self.data_end = data;
                return Ok(Piece::Hole(hole));
            }
        }
        let wanted = (self.data_end - self.at).min(buffer.len() as u64) as usize;
        let bytes = loop {
            match self.file.read_at(&mut buffer[..wanted], self.at) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result.map_err(Cause::Read)?,
            }
        };
        if bytes == 0 {
            return Err(Cause::Shorter);
        }
        self.at += bytes as u64;
        Ok(Piece::Data(bytes))
    }

    /// Where the next data begins; the end of it goes into `data_end`.
    fn next_data(&mut self) -> Result<u64, Cause> {
        let seek = |at: u64, whence| match lseek(&self.file, at.cast_signed(), whence) {
            Ok(at) => Ok(Some(at.cast_unsigned().min(self.bytes))),
            // Nothing but a hole up to the end.
            Err(Errno::ENXIO) => Ok(Some(self.bytes)),
            // A block device, or a file system that knows no holes: all of it is data.
            Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(None),
            Err(error) => Err(Cause::Read(error.into())),
        };
        let Some(data) = seek(self.at, Whence::SeekData)? else {
            self.data_end = self.bytes;
            return Ok(self.at);
        };
        self.data_end = seek(data, Whence::SeekHole)?.unwrap_or(self.bytes);
        Ok(data)
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read(buffer)?;
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// The window of `xz -9` is 64 MiB and of `zstd --long` 128 MiB.
pub const UNPACK_MEMORY_MAX: u64 = 136 * 1024 * 1024;
/// A disk gives more at a time than a decompressor asks for.
const READ_BYTES: usize = 256 * 1024;

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::io::test_folder::TestFolder;

    #[test]
    fn holes_are_skipped_and_data_is_whole() {
        let folder = TestFolder::new();
        let path = folder.path().join("sparse.img");
        let file = File::create(&path).unwrap();
        let pieces: [(u64, &[u8]); 2] = [(1 << 20, b"one"), ((1 << 30) - 5, b"two")];
        for (at, bytes) in pieces {
            file.write_all_at(bytes, at).unwrap();
        }
        file.set_len((1 << 30) + 12345).unwrap();
        let mut source = Source::open(&path).unwrap();
        assert_eq!(
            (source.packing(), source.known_bytes()),
            (Packing::Raw, Some((1 << 30) + 12345))
        );
        let (mut at, mut data_bytes, mut found) = (0, 0, Vec::new());
        let mut buffer = vec![0; 10_000];
        loop {
            match source.read(&mut buffer).unwrap() {
                Piece::End => break,
                Piece::Hole(bytes) => at += bytes,
                Piece::Data(bytes) => {
                    for (place, text) in pieces {
                        if (at..at + bytes as u64).contains(&place) {
                            found.push(buffer[(place - at) as usize..][..text.len()].to_vec());
                        }
                    }
                    data_bytes += bytes;
                    at += bytes as u64;
                }
            }
        }
        assert_eq!(at, (1 << 30) + 12345);
        assert_eq!(found, [b"one", b"two"]);
        // On a file system without holes the test is merely slow; the temporary folder's has them.
        assert!(data_bytes <= at as usize);
    }

    #[test]
    fn what_cannot_be_an_image_is_named() {
        let folder = TestFolder::new();
        let path = folder.path().join("image");
        let error = Source::open(&path).unwrap_err().to_string();
        assert_eq!(error, format!("the image {} is missing", path.display()));
        std::fs::write(&path, "").unwrap();
        assert!(Source::open(&path).unwrap_err().to_string().ends_with("is empty"));
        let error = Source::open(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("is neither a file nor a block device"), "{error}");
    }

    #[test]
    fn damaged_files_are_errors() {
        let folder = TestFolder::new();
        let path = folder.path().join("image");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&vec![7; 100_000]).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut xz =
            lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
        xz.write_all(&vec![7; 100_000]).unwrap();
        let xz = xz.finish().unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(
            &vec![7; 100_000][..],
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        for whole in [gzip, xz, zstd] {
            let mut flipped = whole.clone();
            // In the check value at the end, of xz in the index: what is before it may be without a check.
            let place = flipped.len() - 2;
            flipped[place] ^= 0x10;
            for damaged in [&whole[..whole.len() - 3], &whole[..8], &flipped] {
                std::fs::write(&path, damaged).unwrap();
                let result = Source::open(&path).and_then(|mut source| {
                    let mut buffer = vec![0; 4096];
                    while source.read(&mut buffer)? != Piece::End {}
                    Ok(())
                });
                let error = result.expect_err(&format!("{damaged:x?}")).to_string();
                assert!(error.contains("damaged or cut short"), "{error}");
            }
        }
    }

    #[test]
    fn a_header_cannot_take_all_memory() {
        // A valid xz block header that asks for a dictionary of 4 GiB (property 40).
        let mut header = vec![2, 0, 0x21, 1, 40, 0, 0, 0];
        header.extend(crc32(&header).to_le_bytes());
        let mut file = vec![0xfd, b'7', b'z', b'X', b'Z', 0, 0, 1];
        file.extend(crc32(&[0, 1]).to_le_bytes());
        file.extend(header);
        file.extend([1; 64]);
        let folder = TestFolder::new();
        let path = folder.path().join("image.xz");
        std::fs::write(&path, file).unwrap();
        let error = Source::open(&path).unwrap().read(&mut [0; 16]).unwrap_err().to_string();
        assert!(error.contains("memory"), "{error}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum()
    }
}
