//! Partitions and the files on them. What was not synced when the board died is gone: of files all of it, of partitions
//! some sectors, as chance has it.

use crate::deploy::EIO;
use agent_core::wire::response::{Entry, Stat};
use agent_core::wire::steps::BLOCK;
use agent_core::wire::{Failure, FailureKind, codec};
use std::collections::{BTreeMap, BTreeSet};

/// All there is on a board's disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    partitions: BTreeMap<String, Vec<u8>>,
    files: BTreeMap<(String, String), File>,
    mounted: BTreeSet<String>,
    /// What stood in sectors that were written since the last sync, by label and number.
    unsynced: BTreeMap<(String, u64), Vec<u8>>,
    /// Blocks that cannot be read, and that cannot be written.
    pub(crate) bad_reads: BTreeSet<(String, u64)>,
    pub(crate) bad_writes: BTreeSet<(String, u64)>,
    /// Partitions that are write-protected.
    pub(crate) protected: BTreeSet<String>,
    /// Bytes that may still be written to partitions until the power goes.
    pub(crate) until_cut: Option<u64>,
    /// Decides which sectors a crash leaves.
    pub(crate) chance: u64,
    /// Bytes that may still be appended; `None`: as many as you like.
    pub(crate) free: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    mode: u32,
    /// Bytes that a crash leaves.
    synced: usize,
}

pub(crate) type Outcome<T> = Result<T, Failure<'static>>;

impl Disk {
    pub(crate) fn new(partitions: &[(String, usize)]) -> Self {
        let partitions =
            partitions.iter().map(|(label, size)| (label.clone(), vec![0; *size])).collect();
        Self { partitions, ..Self::default() }
    }

    pub(crate) fn labels(&self) -> impl Iterator<Item = &str> {
        self.partitions.keys().map(String::as_str)
    }

    pub(crate) fn partition(&self, label: &str) -> Outcome<&[u8]> {
        self.partitions.get(label).map(Vec::as_slice).ok_or(NO_PARTITION)
    }

    pub(crate) fn for_writing(&self, label: &str) -> Outcome<u64> {
        if label == "master" {
            return Err(failure(FailureKind::REFUSED, "the master partition"));
        }
        if self.mounted.contains(label) {
            return Err(failure(FailureKind::BUSY, "the partition is mounted"));
        }
        if self.protected.contains(label) {
            return Err(Failure { kind: FailureKind::OS, os_error: EROFS, text: "/dev/fake" });
        }
        Ok(self.partition(label)?.len() as u64)
    }

    /// Reads at most as much as there is; an error's number for a block that cannot be read.
    pub(crate) fn read(&self, label: &str, offset: u64, out: &mut [u8]) -> Result<usize, i32> {
        let bytes = self.partitions.get(label).ok_or(EIO)?;
        let start = usize::try_from(offset).map_or(bytes.len(), |start| start.min(bytes.len()));
        let count = out.len().min(bytes.len() - start);
        if is_bad(&self.bad_reads, label, offset, count) {
            return Err(EIO);
        }
        out[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    /// Writes, unless a block there cannot be written.
    pub(crate) fn write(&mut self, label: &str, offset: u64, bytes: &[u8]) -> Result<(), i32> {
        if is_bad(&self.bad_writes, label, offset, bytes.len()) {
            return Err(EIO);
        }
        if self.protected.contains(label) {
            return Err(EPERM);
        }
        self.range(label, offset, bytes.len() as u64).map_err(|_| ENOSPC)?;
        self.change(label, offset, bytes);
        Ok(())
    }

    /// Writes durably, whatever is wrong with the blocks.
    pub(crate) fn fill(&mut self, label: &str, offset: u64, bytes: &[u8]) {
        let place = self.range(label, offset, bytes.len() as u64);
        place.expect("within the partition").copy_from_slice(bytes);
    }

    /// Whether the power has gone while something was written.
    pub(crate) fn is_cut(&self) -> bool {
        self.until_cut == Some(0)
    }

    /// What was written to a partition is durable.
    pub(crate) fn sync_partition(&mut self, label: &str) {
        // Without power nothing reaches the disk any more.
        if !self.is_cut() {
            self.unsynced.retain(|(of, _), _| of != label);
        }
    }

    /// Changes what stands there, which is within the partition, as far as there is power.
    fn change(&mut self, label: &str, offset: u64, bytes: &[u8]) {
        let count =
            self.until_cut.map_or(bytes.len(), |left| left.min(bytes.len() as u64) as usize);
        self.until_cut = self.until_cut.map(|left| left - count as u64);
        let Some(partition) = self.partitions.get_mut(label).filter(|_| count > 0) else { return };
        let (first, last) = (offset / SECTOR, (offset + count as u64 - 1) / SECTOR);
        for sector in first..=last {
            let start = (sector * SECTOR) as usize;
            let end = partition.len().min(start + SECTOR as usize);
            let before = || partition[start..end].to_vec();
            self.unsynced.entry((label.to_owned(), sector)).or_insert_with(before);
        }
        partition[offset as usize..][..count].copy_from_slice(&bytes[..count]);
    }

    /// An image was written: what files there were are those of another file system now.
    pub(crate) fn forget_files(&mut self, label: &str) {
        self.files.retain(|(of, _), _| of != label);
    }

    pub(crate) fn mount(&mut self, label: &str) -> Outcome<String> {
        self.partition(label)?;
        self.mounted.insert(label.to_owned());
        Ok(format!("{MOUNTS}{label}"))
    }

    pub(crate) fn unmount(&mut self, label: &str) -> Outcome<()> {
        self.partition(label)?;
        self.sync(|of| of == label);
        self.mounted.remove(label);
        Ok(())
    }

    pub(crate) fn is_mounted(&self, label: &str) -> bool {
        self.mounted.contains(label)
    }

    /// The partition and the path inside it that `path` means while `root` is the root file system.
    pub(crate) fn resolve(&self, root: &str, path: &str) -> Outcome<(String, String)> {
        if !path.starts_with('/') {
            return Err(failure(FailureKind::BAD_MESSAGE, "the path is not absolute"));
        }
        if let Some((label, inner)) =
            path.strip_prefix(MOUNTS).and_then(|rest| rest.split_once('/'))
            && self.mounted.contains(label)
        {
            return Ok((label.to_owned(), format!("/{inner}")));
        }
        Ok((root.to_owned(), path.to_owned()))
    }

    pub(crate) fn file(&self, at: &(String, String)) -> Option<&[u8]> {
        self.files.get(at).map(|file| file.bytes.as_slice())
    }

    pub(crate) fn stat(&self, at: &(String, String)) -> Outcome<Stat> {
        if let Some(file) = self.files.get(at) {
            return Ok(Stat { kind: Stat::FILE, size: file.bytes.len() as u64, mode: file.mode });
        }
        if self.below(at).next().is_some() {
            return Ok(Stat { kind: Stat::DIRECTORY, size: 0, mode: 0o755 });
        }
        Err(failure(FailureKind::NOT_FOUND, "no such file"))
    }

    pub(crate) fn mode(&self, at: &(String, String)) -> Option<u32> {
        self.files.get(at).map(|file| file.mode)
    }

    /// Writes a whole file, durably.
    pub(crate) fn put(&mut self, at: (String, String), bytes: Vec<u8>, mode: u32) {
        let synced = bytes.len();
        self.files.insert(at, File { bytes, mode, synced });
    }

    /// Appends what there is room for, and returns how many bytes that were.
    pub(crate) fn append(&mut self, at: (String, String), bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.free.unwrap_or(usize::MAX));
        self.free = self.free.map(|free| free - count);
        self.append_reserved(at, &bytes[..count]);
        count
    }

    /// Appends into room that was set aside before.
    pub(crate) fn append_reserved(&mut self, at: (String, String), bytes: &[u8]) {
        let file = self.files.entry(at).or_insert_with(|| File { mode: 0o644, ..File::default() });
        file.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn truncate(&mut self, at: &(String, String), length: usize) {
        if let Some(file) = self.files.get_mut(at) {
            file.bytes.truncate(length);
            file.synced = file.synced.min(length);
        }
    }

    pub(crate) fn remove(&mut self, at: &(String, String)) {
        let prefix = format!("{}/", at.1);
        self.files
            .retain(|(of, path), _| *of != at.0 || *path != at.1 && !path.starts_with(&prefix));
    }

    /// Counted entries of a directory's files.
    pub(crate) fn list(&self, at: &(String, String), is_recursive: bool) -> Outcome<Vec<u8>> {
        let (mut out, mut directories) = (Vec::new(), BTreeSet::new());
        let mut is_there = false;
        let mut add = |path: &str, kind, size, mode| {
            let mut buffer = [0; 4096];
            let entry = Entry { path: path.as_bytes(), kind, size, mode };
            let bytes = codec::encode(&entry, &mut buffer).unwrap();
            out.extend((bytes.len() as u16).to_le_bytes());
            out.extend(bytes);
        };
        for (path, file) in self.below(at) {
            is_there = true;
            for (index, _) in path.match_indices('/') {
                if (is_recursive || !path[..index].contains('/'))
                    && directories.insert(path[..index].to_owned())
                {
                    add(&path[..index], Stat::DIRECTORY, 0, 0o755);
                }
            }
            if is_recursive || !path.contains('/') {
                add(path, Stat::FILE, file.bytes.len() as u64, file.mode);
            }
        }
        if is_there { Ok(out) } else { Err(failure(FailureKind::NOT_FOUND, "no such directory")) }
    }

    /// Makes the files of some partitions durable.
    pub(crate) fn sync(&mut self, of: impl Fn(&str) -> bool) {
        for ((label, _), file) in &mut self.files {
            if of(label) {
                file.synced = file.bytes.len();
            }
        }
        if !self.is_cut() {
            self.unsynced.retain(|(label, _), _| !of(label));
        }
    }

    /// The board died.
    pub(crate) fn crash(&mut self) {
        for file in self.files.values_mut() {
            file.bytes.truncate(file.synced);
        }
        for ((label, sector), before) in std::mem::take(&mut self.unsynced) {
            let is_lost = crate::splitmix(&mut self.chance) & 1 == 0;
            if let Some(partition) = self.partitions.get_mut(&label).filter(|_| is_lost) {
                partition[(sector * SECTOR) as usize..][..before.len()].copy_from_slice(&before);
            }
        }
        self.until_cut = None;
        self.mounted.clear();
    }

    /// Files below a directory by their path relative to it.
    fn below<'a>(&'a self, at: &'a (String, String)) -> impl Iterator<Item = (&'a str, &'a File)> {
        let prefix = at.1.trim_end_matches('/');
        self.files.iter().filter(|((of, _), _)| *of == at.0).filter_map(move |((_, path), file)| {
            Some((path.strip_prefix(prefix)?.strip_prefix('/')?, file))
        })
    }

    fn range(&mut self, label: &str, offset: u64, length: u64) -> Outcome<&mut [u8]> {
        let bytes = self.partitions.get_mut(label).ok_or(NO_PARTITION)?;
        let end = offset.checked_add(length).and_then(|end| usize::try_from(end).ok());
        bytes
            .get_mut(offset as usize..end.unwrap_or(usize::MAX))
            .ok_or(failure(FailureKind::TOO_LARGE, "beyond the end of the partition"))
    }
}

fn is_bad(bad: &BTreeSet<(String, u64)>, label: &str, offset: u64, length: usize) -> bool {
    let block = BLOCK as u64;
    let mut blocks = offset / block..(offset + length as u64).div_ceil(block);
    !bad.is_empty() && blocks.any(|block| bad.contains(&(label.to_owned(), block)))
}

pub(crate) const fn failure(kind: FailureKind, text: &'static str) -> Failure<'static> {
    Failure { kind, os_error: 0, text }
}

const NO_PARTITION: Failure<'static> = failure(FailureKind::NOT_FOUND, "no such partition");

/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;

/// What a kernel says to what is behind a disk's end.
const ENOSPC: i32 = 28;

/// What a kernel says to who would write to a write-protected device, and to who opens it for that.
const EPERM: i32 = 1;
const EROFS: i32 = 30;

/// Where partitions are mounted.
const MOUNTS: &str = "/run/pumice/";
