//! An image file as one stream of pieces: raw, packed in any of [`Packing`], an Android sparse image, and any of these
//! within another; with a block map only what it names.
//!
//! Blocks on the disk: for a worker thread. Holes of a raw file are skipped without reading them. What comes from a file
//! is hostile: unpacking is bounded in memory, in layers and in the bytes that come out.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::unistd::{Whence, lseek64};
use sha2::{Digest, Sha256};

use super::bmap::{BlockMap, MappedRange};
use super::cpio::is_cpio;
use super::error::{Cause, ImageError};
use super::packing::Stream;
pub use super::packing::{Packing, UNPACK_MEMORY_MAX};
use super::sparse::{self, SparseImage};
use super::zip::Member;

/// No image is larger, however small the file: 128 GiB.
pub const IMAGE_BYTES_MAX: u64 = 128 << 30;

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

/// A kind of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    /// POSIX or GNU tar.
    Tar,
    /// An initial ramdisk: one archive or several.
    Cpio,
}

/// An open image.
pub struct Source {
    path: PathBuf,
    layers: Vec<Packing>,
    file_bytes: u64,
    read: Arc<AtomicU64>,
    reader: Reader,
    map: Option<Mapped>,
    given: u64,
    archive: Option<Archive>,
    /// The file once more, and its version when it was opened. Of a device there is none: it changes without telling.
    opened: Option<(File, Version)>,
}

/// Size and time of the last change of a file's content.
type Version = (u64, i64, i64);

enum Reader {
    Raw(RawFile),
    Stream(Packing, Stream),
    Sparse(Box<SparseImage>),
}

/// A block map on its way through the image.
struct Mapped {
    image_bytes: u64,
    ranges: std::vec::IntoIter<MappedRange>,
    range: Option<MappedRange>,
    at: u64,
    hash: Sha256,
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

impl Source {
    /// Opens an image: a file or a block device.
    ///
    /// # Errors
    /// It cannot be opened or read, it is empty or something else, or the beginning of what it packs is damaged.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        Self::open_mapped(path, None)
    }

    /// The same, with a block map of the unpacked image.
    ///
    /// # Errors
    /// As for [`Source::open`].
    pub fn open_mapped(path: &Path, map: Option<BlockMap>) -> Result<Self, ImageError> {
        let failed = |error| ImageError::new(path, Cause::Open(error));
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let kind = metadata.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(ImageError::new(path, Cause::NoFile));
        }
        let file_bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        if file_bytes == 0 {
            return Err(ImageError::new(path, Cause::Empty));
        }
        file.rewind().map_err(failed)?;
        let opened = if kind.is_file() {
            Some((file.try_clone().map_err(failed)?, version(&metadata)))
        } else {
            None
        };
        let read = Arc::new(AtomicU64::new(0));
        let (layers, reader, archive) =
            open_layers(file, file_bytes, &read).map_err(|cause| ImageError::new(path, cause))?;
        let map = map.map(Mapped::new);
        let path = path.to_owned();
        Ok(Self { path, layers, file_bytes, read, reader, map, given: 0, archive, opened })
    }

    /// A part of a raw image, which must lie within it.
    pub(super) fn part(mut self, bytes: std::ops::Range<u64>) -> Self {
        if let Reader::Raw(file) = &mut self.reader {
            file.at = bytes.start.min(file.bytes);
            file.data_end = file.at;
            file.bytes = bytes.end.min(file.bytes);
        }
        self
    }

    /// How the file is packed; of several layers the outermost.
    pub fn packing(&self) -> Packing {
        self.layers.first().copied().unwrap_or(Packing::Raw)
    }

    /// What kind of archive it is: the files of a root file system, and no image.
    pub fn archive(&self) -> Option<Archive> {
        self.archive
    }

    /// The bytes of an archive, unpacked; of a cpio archive the innermost packing is left, because others may stand
    /// behind it.
    ///
    /// # Errors
    /// The file cannot be opened again.
    pub fn into_archive(self) -> Result<Box<dyn Read + Send>, ImageError> {
        let packed = match self.layers[..] {
            [packing] if !matches!(packing, Packing::Zip | Packing::UBoot) => Some(Packing::Raw),
            [Packing::UBoot, _] => Some(Packing::UBoot),
            _ => None,
        };
        if let (Some(Archive::Cpio), Some(outer)) = (self.archive, packed) {
            let file = File::open(&self.path);
            let file = file.map_err(|error| ImageError::new(&self.path, Cause::Open(error)))?;
            let counted = Box::new(Counted { file, read: self.read });
            return Ok(outer.unpack(counted).unwrap_or_else(|| Box::new(io::empty())));
        }
        Ok(match self.reader {
            Reader::Raw(raw) => Box::new(Counted { file: raw.file, read: self.read }),
            Reader::Stream(_, stream) => stream,
            Reader::Sparse(_) => Box::new(io::empty()),
        })
    }

    /// The image's size in bytes, where that is known without reading it all.
    pub fn known_bytes(&self) -> Option<u64> {
        (matches!(self.reader, Reader::Raw(_)) && self.map.is_none()).then_some(self.file_bytes)
    }

    /// The file's size, and how much of it was read so far, for progress.
    pub fn file_progress(&self) -> (u64, Arc<AtomicU64>) {
        (self.file_bytes, self.read.clone())
    }

    /// The next piece. Pieces are as large as they come; `buffer` must not be empty.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or was written to since it was opened, which is known at its end; its block
    /// map does not fit it; more than [`IMAGE_BYTES_MAX`] come out.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, ImageError> {
        let piece = match &mut self.map {
            None => self.reader.read(buffer, u64::MAX),
            Some(map) => map.read(&mut self.reader, buffer),
        };
        if let Reader::Raw(file) = &self.reader {
            self.read.store(file.at, Ordering::Relaxed);
        }
        let piece = piece.and_then(|piece| {
            self.given = self.given.saturating_add(piece.bytes());
            if self.given > IMAGE_BYTES_MAX {
                return Err(Cause::TooLarge(self.given));
            }
            Ok(piece)
        });
        // Whatever else is wrong with a file that somebody writes comes of that.
        let is_end = matches!(piece, Ok(Piece::End) | Err(_));
        let piece = if is_end { self.check_unchanged().and(piece) } else { piece };
        piece.map_err(|cause| ImageError::new(&self.path, cause))
    }

    /// Of a file that somebody writes meanwhile, what was read is neither the old image nor the new one.
    fn check_unchanged(&self) -> Result<(), Cause> {
        let Some((file, before)) = &self.opened else { return Ok(()) };
        let now = version(&file.metadata().map_err(Cause::Read)?);
        if now == *before { Ok(()) } else { Err(Cause::Changed) }
    }
}

fn version(metadata: &Metadata) -> Version {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("path", &self.path)
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}

impl Piece {
    /// How many bytes of the image it is.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Data(bytes) => bytes as u64,
            Self::Hole(bytes) => bytes,
            Self::End => 0,
        }
    }
}

/// Takes off one packing after the other until something else begins.
fn open_layers(
    file: File,
    file_bytes: u64,
    read: &Arc<AtomicU64>,
) -> Result<(Vec<Packing>, Reader, Option<Archive>), Cause> {
    let mut first = [0; FIRST_BYTES];
    let known = read_first(&file, &mut first).map_err(Cause::Open)?;
    let mut head = first[..known].to_vec();
    let mut layers = Vec::new();
    let mut stream: Option<Stream> = None;
    loop {
        let packing = Packing::of(&head);
        if packing == Packing::Raw {
            break;
        }
        if layers.len() == LAYERS_MAX {
            let why = format!("it is packed more than {LAYERS_MAX} times");
            return Err(Cause::unusable(why, "unpack it, and name the image"));
        }
        layers.push(packing);
        let counted = || -> io::Result<Counted> {
            Ok(Counted { file: file.try_clone()?, read: read.clone() })
        };
        let mut unpacked = match (packing, stream) {
            (Packing::Zip, None) => {
                let member = Member::find(&file)?;
                member.reader(counted().map_err(Cause::Open)?).map_err(Cause::Read)?
            }
            (Packing::Zip, Some(_)) => {
                let why = format!("it is a zip archive within {}", layers[layers.len() - 2]);
                return Err(Cause::unusable(why, "unpack it, and name the zip archive"));
            }
            (_, stream) => {
                let packed = match stream {
                    Some(stream) => stream,
                    None => Box::new(counted().map_err(Cause::Open)?),
                };
                packing.unpack(packed).unwrap_or_else(|| Box::new(io::empty()))
            }
        };
        head.clear();
        unpacked
            .by_ref()
            .take(FIRST_BYTES as u64)
            .read_to_end(&mut head)
            .map_err(|error| Cause::Unpack(packing, error))?;
        if head.is_empty() {
            return Err(Cause::Empty);
        }
        stream = Some(Box::new(Cursor::new(head.clone()).chain(unpacked)));
    }
    let archive = if head.get(257..262) == Some(b"ustar") {
        Some(Archive::Tar)
    } else {
        is_cpio(&head).then_some(Archive::Cpio)
    };
    let is_sparse = head.starts_with(&sparse::MAGIC);
    let reader = match (is_sparse, stream) {
        (false, None) if file_bytes > IMAGE_BYTES_MAX => return Err(Cause::TooLarge(file_bytes)),
        (false, None) => Reader::Raw(RawFile { file, bytes: file_bytes, at: 0, data_end: 0 }),
        (false, Some(stream)) => {
            Reader::Stream(layers.last().copied().unwrap_or(Packing::Raw), stream)
        }
        (true, stream) => {
            let stream = match stream {
                Some(stream) => stream,
                None => {
                    let counted = Counted { file, read: read.clone() };
                    Box::new(io::BufReader::with_capacity(super::packing::READ_BYTES, counted))
                }
            };
            Reader::Sparse(Box::new(SparseImage::new(stream)?))
        }
    };
    Ok((layers, reader, archive))
}

/// The beginning of a file, as much as there is and `buffer` holds.
pub(super) fn read_first(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut known = 0;
    while known < buffer.len() {
        match file.read_at(&mut buffer[known..], known as u64) {
            Ok(0) => break,
            Ok(bytes) => known += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(known)
}

impl Reader {
    /// The next piece, of `most` bytes at most.
    fn read(&mut self, buffer: &mut [u8], most: u64) -> Result<Piece, Cause> {
        match self {
            Self::Raw(file) => file.read(buffer, most),
            Self::Sparse(image) => image.read(buffer, most),
            Self::Stream(packing, stream) => {
                let wanted = most.min(buffer.len() as u64) as usize;
                match stream.read(&mut buffer[..wanted]) {
                    Ok(0) => Ok(Piece::End),
                    Ok(bytes) => Ok(Piece::Data(bytes)),
                    Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Piece::Data(0)),
                    Err(error) => Err(Cause::Unpack(*packing, error)),
                }
            }
        }
    }
}

impl Mapped {
    fn new(map: BlockMap) -> Self {
        let mut ranges = map.ranges.into_iter();
        let range = ranges.next();
        Self { image_bytes: map.image_bytes, ranges, range, at: 0, hash: Sha256::new() }
    }

    fn read(&mut self, reader: &mut Reader, buffer: &mut [u8]) -> Result<Piece, Cause> {
        let start = self.range.as_ref().map_or(self.image_bytes, |range| range.bytes.start);
        if self.at < start {
            // What the map leaves out is passed over, in steps so that nobody waits long.
            let hole = (start - self.at).min(SKIP_BYTES);
            self.pass_over(reader, buffer, hole)?;
            return Ok(Piece::Hole(hole));
        }
        let Some(range) = &self.range else {
            return match reader.read(&mut buffer[..1], 1)? {
                Piece::End => Ok(Piece::End),
                _ => Err(self.wrong_size("more")),
            };
        };
        let piece = reader.read(buffer, range.bytes.end - self.at)?;
        match piece {
            Piece::Data(bytes) => self.hash.update(&buffer[..bytes]),
            Piece::Hole(bytes) => hash_zeros(&mut self.hash, bytes),
            Piece::End => return Err(self.wrong_size("fewer")),
        }
        self.at += piece.bytes();
        if self.at == range.bytes.end {
            let found: [u8; 32] = self.hash.finalize_reset().into();
            if range.sha256.is_some_and(|expected| expected != found) {
                let (first, end) = (range.bytes.start, range.bytes.end);
                let why = format!("its bytes {first} to {end} differ from what its block map says");
                return Err(Cause::unusable(
                    why,
                    "get the image again, or the map that belongs to it",
                ));
            }
            self.range = self.ranges.next();
        }
        Ok(piece)
    }

    fn pass_over(
        &mut self,
        reader: &mut Reader,
        buffer: &mut [u8],
        bytes: u64,
    ) -> Result<(), Cause> {
        let end = self.at + bytes;
        if let Reader::Raw(file) = reader {
            if file.bytes < end {
                return Err(self.wrong_size("fewer"));
            }
            file.skip(bytes);
            self.at = end;
        }
        while self.at < end {
            match reader.read(buffer, end - self.at)? {
                Piece::End => return Err(self.wrong_size("fewer")),
                piece => self.at += piece.bytes(),
            }
        }
        Ok(())
    }

    fn wrong_size(&self, how: &str) -> Cause {
        let why =
            format!("it has {how} than the {} bytes that its block map says", self.image_bytes);
        Cause::unusable(why, "get the image again, or the map that belongs to it")
    }
}

impl RawFile {
    fn read(&mut self, buffer: &mut [u8], most: u64) -> Result<Piece, Cause> {
        if self.at == self.bytes {
            return Ok(Piece::End);
        }
        if self.at == self.data_end {
            let data = self.next_data()?;
            if data > self.at {
                let hole = (data - self.at).min(most);
                self.at += hole;
                self.data_end = self.at;
                return Ok(Piece::Hole(hole));
            }
        }
        let wanted = (self.data_end - self.at).min(most).min(buffer.len() as u64) as usize;
        let bytes = loop {
            match self.file.read_at(&mut buffer[..wanted], self.at) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result.map_err(Cause::Read)?,
            }
        };
        if bytes == 0 {
            return Err(Cause::Changed);
        }
        self.at += bytes as u64;
        Ok(Piece::Data(bytes))
    }

    /// Leaves `bytes` out, as far as there are so many.
    fn skip(&mut self, bytes: u64) {
        self.at = (self.at + bytes).min(self.bytes);
        if self.at > self.data_end {
            self.data_end = self.at;
        }
    }

    /// Where the next data begins; the end of it goes into `data_end`.
    fn next_data(&mut self) -> Result<u64, Cause> {
        let seek = |at: u64, whence| match lseek64(&self.file, at.cast_signed(), whence) {
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

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// sparse in xz in zip is three.
const LAYERS_MAX: usize = 4;
/// Enough to tell a packing, a sparse image and an archive.
const FIRST_BYTES: usize = 512;
const SKIP_BYTES: u64 = 4 << 20;
pub(super) static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Adds so many zeros to what is hashed.
pub(super) fn hash_zeros(hash: &mut Sha256, mut bytes: u64) {
    while bytes > 0 {
        let now = bytes.min(ZEROS.len() as u64);
        hash.update(&ZEROS[..now as usize]);
        bytes -= now;
    }
}

#[cfg(test)]
pub(super) mod tests {
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
        let image = vec![7; 100_000];
        for whole in [gzip(&image), xz(&image), zstd(&image)] {
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
        let error = Source::open(&path).unwrap_err().to_string();
        assert!(error.contains("memory"), "{error}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum()
    }

    fn unpacked(path: &Path, map: Option<BlockMap>) -> Result<Vec<u8>, String> {
        let read = || -> Result<Vec<u8>, ImageError> {
            let mut source = Source::open_mapped(path, map)?;
            let (mut image, mut buffer) = (Vec::new(), vec![0; 3000]);
            loop {
                match source.read(&mut buffer)? {
                    Piece::Data(bytes) => image.extend(&buffer[..bytes]),
                    Piece::Hole(bytes) => image.resize(image.len() + bytes as usize, 0),
                    Piece::End => return Ok(image),
                }
            }
        };
        read().map_err(|error| error.to_string())
    }

    pub(in crate::image) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    pub(in crate::image) fn xz(bytes: &[u8]) -> Vec<u8> {
        let options = lzma_rust2::XzOptions::with_preset(1);
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        xz.write_all(bytes).unwrap();
        xz.finish().unwrap()
    }

    pub(in crate::image) fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    pub(in crate::image) fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(bytes).unwrap();
        bzip2.finish().unwrap()
    }

    pub(in crate::image) fn lz4(bytes: &[u8]) -> Vec<u8> {
        let mut info = lz4_flex::frame::FrameInfo::new();
        info.content_checksum = true;
        let mut lz4 = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        lz4.write_all(bytes).unwrap();
        lz4.finish().unwrap()
    }

    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut output = Vec::new();
        let mut archive = rawzip::ZipArchiveWriter::new(&mut output);
        for (name, bytes) in files {
            let (mut entry, config) = archive
                .new_file(name)
                .compression_method(rawzip::CompressionMethod::DEFLATE)
                .start()
                .unwrap();
            let fast = flate2::Compression::fast();
            let encoder = flate2::write::DeflateEncoder::new(&mut entry, fast);
            let mut writer = config.wrap(encoder);
            writer.write_all(bytes).unwrap();
            let (encoder, descriptor) = writer.finish().unwrap();
            encoder.finish().unwrap();
            entry.finish(descriptor).unwrap();
        }
        archive.finish().unwrap();
        output
    }

    fn sample() -> Vec<u8> {
        let mut image = b"some text ".repeat(5000);
        image.resize(80 * 1024, 0);
        image.extend((0..4096).map(|at| (at * 31 % 253) as u8));
        image
    }

    #[test]
    fn every_packing_and_what_lies_within_another_makes_the_same_image() {
        use super::super::sparse::tests::{Part, sparse};
        let folder = TestFolder::new();
        let image = sample();
        let (half, other) = image.split_at(50_000);
        let android =
            sparse(&[Part::Raw(image[..49152].to_vec()), Part::Raw(image[49152..].to_vec())]);
        let readme: (&str, &[u8]) = ("readme.txt", b"read me");
        let skipped = [0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        for (name, bytes) in [
            ("raw", image.clone()),
            ("gz", gzip(&image)),
            ("two.gz", [gzip(half), gzip(other)].concat()),
            ("xz", xz(&image)),
            ("two.xz", [xz(half), xz(other)].concat()),
            ("zst", zstd(&image)),
            ("two.zst", [&skipped[..], &zstd(half), &skipped, &zstd(other)].concat()),
            ("bz2", bzip2(&image)),
            ("two.bz2", [bzip2(half), bzip2(other)].concat()),
            ("lz4", lz4(&image)),
            ("two.lz4", [lz4(half), lz4(other)].concat()),
            ("zip", zip(&[("anything", &image)])),
            ("two.zip", zip(&[readme, ("x/disk.img", &image)])),
            ("simg", android.clone()),
            ("simg.gz", gzip(&android)),
            ("simg.bz2.zip", zip(&[readme, ("system.img.bz2", &bzip2(&android))])),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert!(unpacked(&path, None).unwrap() == image, "{name}");
        }
    }

    #[test]
    fn cut_and_changed_files_are_errors() {
        let folder = TestFolder::new();
        let path = folder.path().join("image");
        let image = sample();
        for (whole, place) in
            [(bzip2(&image), 12), (lz4(&image), lz4(&image).len() - 2), (zip(&[("a", &image)]), 60)]
        {
            let mut changed = whole.clone();
            changed[place] ^= 0x40;
            for damaged in [&whole[..whole.len() - 3], &whole[..whole.len() / 2], &changed] {
                std::fs::write(&path, damaged).unwrap();
                let error = unpacked(&path, None).unwrap_err();
                assert!(error.contains("damaged or cut short"), "{error}");
            }
        }
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_noticed() {
        let folder = TestFolder::new();
        let path = folder.path().join("image");
        let file = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            File::options().append(true).open(&path).unwrap()
        };
        let grow = |mut file: &File| file.write_all(b"more").unwrap();
        let shrink = |file: &File| file.set_len(5).unwrap();
        let rewrite = |file: &File| file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let changes: [&dyn Fn(&File); 3] = [&grow, &shrink, &rewrite];
        let image = sample();
        for bytes in [image.clone(), gzip(&image), [xz(&image), xz(&image)].concat()] {
            for change in changes {
                let file = file(&bytes);
                let mut source = Source::open(&path).unwrap();
                let mut buffer = vec![0; 100];
                source.read(&mut buffer).unwrap();
                change(&file);
                let error = loop {
                    match source.read(&mut buffer) {
                        Ok(Piece::End) => panic!("it has changed"),
                        Ok(_) => {}
                        Err(error) => break error.to_string(),
                    }
                };
                assert!(error.ends_with("changed while it was read"), "{error}");
            }
        }
    }

    #[test]
    fn what_may_be_several_images_is_refused() {
        let folder = TestFolder::new();
        let path = folder.path().join("image");
        let deep = gzip(&gzip(&gzip(&gzip(&gzip(b"x")))));
        for (bytes, expected) in [
            (zip(&[("boot.img", b"1"), ("system.img", b"2")]), "(boot.img, system.img)"),
            (zip(&[("a", b"1"), ("b", b"2")]), "(a, b)"),
            (zip(&[]), "holds no file"),
            (gzip(&zip(&[("a", b"1")])), "a zip archive within gzip"),
            (deep, "packed more than 4 times"),
            (gzip(b""), "is empty"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = unpacked(&path, None).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_block_map_says_what_matters() {
        use super::super::bmap::tests::bmap;
        let folder = TestFolder::new();
        let (raw, packed) = (folder.path().join("raw"), folder.path().join("packed"));
        let mut image = sample();
        let map = |image: &[u8], ranges| BlockMap::parse(&bmap(image, ranges)).unwrap();
        let good = map(&image, &[(0, 2), (20, 20)]);
        // Garbage where the map says nothing.
        image[5 * 4096..7 * 4096].fill(0xaa);
        let mut expected = image.clone();
        expected[3 * 4096..20 * 4096].fill(0);
        let write = |image: &[u8]| {
            std::fs::write(&raw, image).unwrap();
            std::fs::write(&packed, gzip(image)).unwrap();
        };
        write(&image);
        for path in [&raw, &packed] {
            assert!(unpacked(path, Some(good.clone())).unwrap() == expected);
        }
        let short = &image[..image.len() - 1];
        let long = [&image[..], &[0]].concat();
        let mut wrong = image.clone();
        wrong[4096] ^= 1;
        for (image, expected) in
            [(short, "fewer than"), (&long, "more than"), (&wrong, "bytes 0 to 12288 differ")]
        {
            write(image);
            for path in [&raw, &packed] {
                let error = unpacked(path, Some(good.clone())).unwrap_err();
                assert!(error.contains(expected), "{error}");
            }
        }
    }
}
