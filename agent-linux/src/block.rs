//! Writing an image to a partition: bins and zeros, never beyond the partition's end, durable when it says so.

use crate::files;
use crate::problem::{Outcome, Problem, about};
use crate::sys::disk;
use agent_core::agent::unpack::Unpacker;
use agent_core::wire::FailureKind;
use agent_core::wire::block::{BIN_MAX, Codec};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// A partition that is being written.
pub(crate) struct Writer {
    file: File,
    is_device: bool,
    size: u64,
    bin: Option<Bin>,
    packed: Vec<u8>,
    unpacked: Vec<u8>,
    unpacker: Unpacker,
    /// Bytes written since the last sync.
    unsynced: u64,
}

/// The bin whose packed bytes are arriving.
#[derive(Clone, Copy)]
struct Bin {
    codec: Codec,
    packed: usize,
    offset: u64,
    length: usize,
}

impl Writer {
    /// Of an open partition of `size` bytes.
    pub(crate) fn new(file: File, size: u64) -> Self {
        let is_device = file.metadata().is_ok_and(|metadata| files::is_device(&metadata));
        Self {
            file,
            is_device,
            size,
            bin: None,
            packed: Vec::with_capacity(BIN_MAX),
            unpacked: vec![0; BIN_MAX],
            unpacker: Unpacker::new(),
            unsynced: 0,
        }
    }

    /// A bin begins.
    pub(crate) fn begin(
        &mut self,
        codec: Codec,
        packed: u32,
        offset: u64,
        length: u32,
    ) -> Outcome<()> {
        self.check(offset, u64::from(length))?;
        let bin = Bin { codec, packed: packed as usize, offset, length: length as usize };
        if bin.packed > BIN_MAX || bin.length > BIN_MAX || self.bin.is_some() {
            return Err(Problem::new(FailureKind::BAD_MESSAGE, "bin"));
        }
        self.packed.clear();
        self.bin = Some(bin);
        Ok(())
    }

    /// Packed bytes of it; with the last of them it is unpacked and written.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Outcome<()> {
        let Some(bin) = self.bin else {
            return Err(Problem::new(FailureKind::BAD_MESSAGE, "bytes without a bin"));
        };
        if self.packed.len() + bytes.len() > bin.packed {
            return Err(Problem::new(FailureKind::BAD_MESSAGE, "bytes behind the bin"));
        }
        self.packed.extend_from_slice(bytes);
        if self.packed.len() < bin.packed {
            return Ok(());
        }
        self.bin = None;
        let data = match bin.codec {
            Codec::Raw if self.packed.len() == bin.length => &self.packed[..],
            Codec::Lzma => {
                let out = &mut self.unpacked[..bin.length];
                if !self.unpacker.unpack(&self.packed, out, 0) {
                    return Err(Problem::new(FailureKind::DIGEST, "bin"));
                }
                out
            }
            Codec::Raw => return Err(Problem::new(FailureKind::DIGEST, "bin")),
        };
        self.file.write_all_at(data, bin.offset).map_err(about("partition"))?;
        self.wrote(bin.length as u64)
    }

    /// Makes a range read as zeros.
    pub(crate) fn zero(&mut self, offset: u64, length: u64) -> Outcome<()> {
        self.check(offset, length)?;
        if length == 0 {
            return Ok(());
        }
        disk::zero(&self.file, self.is_device, offset, length).map_err(about("partition"))
    }

    /// Makes all of it durable, and forgets what the page cache has of it, so that it is read back from the device.
    pub(crate) fn commit(&mut self) -> Outcome<()> {
        if self.bin.is_some() {
            return Err(Problem::new(FailureKind::BAD_MESSAGE, "a bin is not complete"));
        }
        self.file.sync_all().map_err(about("partition"))?;
        disk::drop_cache(&self.file, self.is_device);
        Ok(())
    }

    fn check(&self, offset: u64, length: u64) -> Outcome<()> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(Problem::new(FailureKind::TOO_LARGE, "partition")),
        }
    }

    /// Syncs from time to time, so that memory does not fill with what a slow card has not taken, and the commit at
    /// the end is short.
    fn wrote(&mut self, bytes: u64) -> Outcome<()> {
        self.unsynced += bytes;
        if self.unsynced < SYNC_AFTER {
            return Ok(());
        }
        self.unsynced = 0;
        self.file.sync_data().map_err(about("partition"))
    }
}

/// Bytes that may be written and not yet durable: a third of a second of a slow SD card.
const SYNC_AFTER: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use lzma_rust2::{EncodeMode, LzmaOptions, LzmaWriter};
    use std::fs;
    use std::io::Write as _;
    use std::path::PathBuf;

    /// A file full of 0xEE as a partition.
    fn partition(test: &str, size: usize) -> (PathBuf, Writer) {
        let path = files::tests::directory(test).join("disk");
        fs::write(&path, vec![0xEE; size]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        (path, Writer::new(file, size as u64))
    }

    pub(super) fn pack(data: &[u8]) -> Vec<u8> {
        let mut options = LzmaOptions::with_preset(6);
        options.dict_size = BIN_MAX as u32;
        options.mode = EncodeMode::Normal;
        let mut writer = LzmaWriter::new_no_header(Vec::new(), &options, false).unwrap();
        writer.write_all(data).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn bins_and_zeros_go_where_they_belong() {
        let (path, mut writer) = partition("block", 200_000);
        let data: Vec<u8> = (0..60_000u32).map(|number| (number / 7) as u8).collect();
        let packed = pack(&data);
        writer.begin(Codec::Lzma, packed.len() as u32, 1000, 60_000).unwrap();
        for piece in packed.chunks(100) {
            writer.append(piece).unwrap();
        }
        writer.begin(Codec::Raw, 3, 199_997, 3).unwrap();
        writer.append(b"end").unwrap();
        writer.zero(100_000, 90_001).unwrap();
        writer.commit().unwrap();
        let disk = fs::read(&path).unwrap();
        assert_eq!(&disk[1000..61_000], data);
        assert!(disk[..1000].iter().chain(&disk[61_000..100_000]).all(|byte| *byte == 0xEE));
        assert!(disk[100_000..190_001].iter().all(|byte| *byte == 0));
        assert_eq!(&disk[190_001..199_997], vec![0xEE; 9996]);
        assert_eq!(&disk[199_997..], b"end");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn the_end_of_the_partition_is_the_end() {
        let (path, mut writer) = partition("end", 1000);
        let kind = |outcome: Outcome<()>| outcome.unwrap_err().kind;
        assert_eq!(kind(writer.begin(Codec::Raw, 9, 992, 9)), FailureKind::TOO_LARGE);
        assert_eq!(kind(writer.begin(Codec::Raw, 9, u64::MAX, 9)), FailureKind::TOO_LARGE);
        assert_eq!(kind(writer.zero(0, 1001)), FailureKind::TOO_LARGE);
        assert_eq!(kind(writer.append(b"x")), FailureKind::BAD_MESSAGE);
        writer.begin(Codec::Raw, 2, 0, 2).unwrap();
        assert_eq!(kind(writer.append(b"xyz")), FailureKind::BAD_MESSAGE);
        assert_eq!(kind(writer.commit()), FailureKind::BAD_MESSAGE);
        assert_eq!(fs::read(&path).unwrap(), vec![0xEE; 1000]);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_bin_that_unpacks_to_something_else_is_refused() {
        let (path, mut writer) = partition("bad-bin", 100_000);
        let packed = pack(&[7; 5000]);
        for (packed, length) in [
            (packed.clone(), 4999),
            (packed.clone(), 5001),
            (vec![0xFF; 100], 5000),
            (vec![0; 1], 1),
            (packed[..packed.len() - 1].to_vec(), 5000),
        ] {
            writer.begin(Codec::Lzma, packed.len() as u32, 0, length).unwrap();
            assert_eq!(writer.append(&packed).unwrap_err().kind, FailureKind::DIGEST, "{length}");
        }
        assert_eq!(fs::read(&path).unwrap(), vec![0xEE; 100_000]);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
