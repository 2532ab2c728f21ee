//! The one file of a zip archive that is the image.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, RECOMMENDED_BUFFER_SIZE, ZipArchive};

use super::error::Cause;

/// Where the image's packed bytes lie in the archive, and what must come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    at: u64,
    packed_bytes: u64,
    bytes: u64,
    crc: u32,
    deflated: bool,
}

impl Member {
    /// The only file of the archive, or the only one with an image's name.
    pub(super) fn find(file: &File) -> Result<Self, Cause> {
        let damaged = |error: rawzip::Error| Cause::Damaged("zip archive", error.to_string());
        let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
        let file = file.try_clone().map_err(Cause::Read)?;
        let archive = ZipArchive::from_file(file, &mut buffer).map_err(damaged)?;
        let mut entries = archive.entries(&mut buffer);
        let (mut files, mut images) = (Vec::new(), Vec::new());
        let mut count = 0;
        while let Some(entry) = entries.next_entry().map_err(damaged)? {
            count += 1;
            if count > ENTRIES_MAX {
                let why = format!("it holds more than {ENTRIES_MAX} files");
                return Err(Cause::unusable(why, "unpack it, and name the image"));
            }
            if entry.is_dir() || entry.uncompressed_size_hint() == 0 {
                continue;
            }
            let path = entry.file_path();
            let name = String::from_utf8_lossy(path.as_ref()).into_owned();
            let found = (
                name,
                entry.wayfinder(),
                entry.compression_method(),
                entry.flags().is_encrypted(),
                entry.crc32(),
            );
            if looks_like_image(&found.0) {
                images.push(found);
            } else if files.len() < 2 {
                files.push(found);
            }
        }
        let candidates = if images.is_empty() { files } else { images };
        let [(name, wayfinder, method, encrypted, crc)] = &candidates[..] else {
            let names: Vec<&str> =
                candidates.iter().take(8).map(|candidate| candidate.0.as_str()).collect();
            let why = match names.len() {
                0 => "it holds no file".to_owned(),
                _ => format!("several of its files may be the image ({})", names.join(", ")),
            };
            return Err(Cause::unusable(why, "unpack it, and name the image"));
        };
        if *encrypted {
            let why = format!("its file {name} is encrypted");
            return Err(Cause::unusable(why, "unpack it, and name the image"));
        }
        let deflated = match *method {
            CompressionMethod::STORE => false,
            CompressionMethod::DEFLATE => true,
            other => {
                let why = format!("its file {name} is packed by method {other:?}");
                return Err(Cause::unusable(why, "unpack it, and name the image"));
            }
        };
        let entry = archive.get_entry(*wayfinder).map_err(damaged)?;
        let (at, end) = entry.compressed_data_range();
        let bytes = wayfinder.uncompressed_size_hint();
        Ok(Self { at, packed_bytes: end.saturating_sub(at), bytes, crc: *crc, deflated })
    }

    /// The member's bytes, checked at their end. `file` is another opening than the one that others seek in.
    pub(super) fn reader<R: Read + Seek + Send + 'static>(
        self,
        mut file: R,
    ) -> io::Result<Box<dyn Read + Send>> {
        file.seek(SeekFrom::Start(self.at))?;
        let packed =
            io::BufReader::with_capacity(super::packing::READ_BYTES, file).take(self.packed_bytes);
        Ok(if self.deflated {
            Box::new(Checked::new(DeflateDecoder::new(packed), self.bytes, self.crc))
        } else {
            Box::new(Checked::new(packed, self.bytes, self.crc))
        })
    }
}

/// Whether a name is one that images have, packed or not.
fn looks_like_image(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut stem = name.as_str();
    while let Some((rest, ending)) = stem.rsplit_once('.') {
        if IMAGE_ENDINGS.contains(&ending) {
            return true;
        }
        if !PACKING_ENDINGS.contains(&ending) {
            return false;
        }
        stem = rest;
    }
    false
}

/// Reads exactly what was promised: so many bytes, with this check value.
pub(super) struct Checked<R> {
    reader: R,
    left: u64,
    crc: crc32fast::Hasher,
    expected: u32,
}

impl<R: Read> Checked<R> {
    pub(super) fn new(reader: R, left: u64, expected: u32) -> Self {
        Self { reader, left, crc: crc32fast::Hasher::new(), expected }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.reader.read(buffer)?;
        if bytes > 0 {
            self.left = self.left.checked_sub(bytes as u64).ok_or_else(|| {
                io::Error::new(ErrorKind::InvalidData, "more bytes than it says itself")
            })?;
            self.crc.update(&buffer[..bytes]);
        } else if !buffer.is_empty() {
            if self.left > 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if self.crc.clone().finalize() != self.expected {
                return Err(io::Error::new(ErrorKind::InvalidData, "the check value is wrong"));
            }
        }
        Ok(bytes)
    }
}

const ENTRIES_MAX: u32 = 10_000;
const IMAGE_ENDINGS: [&str; 13] = [
    "img", "raw", "wic", "ext2", "ext3", "ext4", "sdcard", "iso", "rootfs", "simg", "sparse",
    "tar", "squashfs",
];
const PACKING_ENDINGS: [&str; 6] = ["gz", "xz", "zst", "bz2", "lz4", "zstd"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images() {
        for (name, expected) in [
            ("a/rootfs.img", true),
            ("x.WIC.xz", true),
            ("x.ext4.tar.gz", true),
            ("readme.txt", false),
            ("img", false),
            ("a.gz", false),
            (".img.sha256", false),
        ] {
            assert_eq!(looks_like_image(name), expected, "{name}");
        }
    }
}
