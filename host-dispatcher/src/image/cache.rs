//! The images of the store: `<store>/images/<SHA-256 of the raw image>/` with `image.raw`, which is sparse, `source.json`,
//! and files that others keep beside it.
//!
//! An image is there whole or not at all: it is written in a folder of its own, synced, and renamed. Dispatchers that run
//! at the same time are safe: `images/lock` guards what changes the folder, and the `lock` of each image, taken for reading,
//! says that it is in use. When images take more of the disk than the limit, those that were used the longest ago go.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{Cause, ImageError};
use super::source::{ZEROS, hash_zeros};
use crate::store::hexadecimal;
use crate::store::{self, StoreError};

/// 16 GiB of disk.
pub const LIMIT_BYTES: u64 = 16 << 30;

/// The images of a store.
#[derive(Clone, Debug)]
pub struct Images {
    folder: PathBuf,
    limit: u64,
}

/// An image of the store, which stays there while this value does.
#[derive(Debug)]
pub struct CachedImage {
    /// Its folder.
    pub dir: PathBuf,
    /// Its raw bytes, for reading; holes are zeros.
    pub file: File,
    /// Their number.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
    record: Record,
    _lock: File,
}

/// What is known of an image without opening it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageEntry {
    /// SHA-256 of the raw image.
    pub sha256: String,
    /// Size of the raw image.
    pub bytes: u64,
    /// What it takes of the disk, with what is kept beside it.
    pub disk_bytes: u64,
    /// Where it came from.
    pub sources: Vec<String>,
    /// When it was last used, in seconds since 1970.
    pub used: u64,
    /// A file that images are made of, and none that a board gets.
    pub is_material: bool,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Images.
    pub images: u32,
    /// What they took of the disk.
    pub disk_bytes: u64,
}

/// Where an image came from, so that it is known again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// For people: a path, a URL, a partition.
    pub(super) from: String,
    /// What stays the same as long as the source does.
    pub(super) key: String,
    /// SHA-256 of the file as it lay there, where that was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file_sha256: Option<String>,
    /// Of a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    /// Of a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_modified: Option<String>,
    /// Of a file that images are made of, and none that a board gets.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_material: bool,
}

/// `source.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    bytes: u64,
    sha256: String,
    sources: Vec<Origin>,
}

impl Images {
    /// The images of the store in `store`, which is made if it is not there. `limit_bytes` is what they may take of the
    /// disk in all.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(store: &Path, limit_bytes: u64) -> Result<Self, ImageError> {
        let folder = store.join("images");
        let images = Self { folder, limit: limit_bytes };
        fs::create_dir_all(&images.folder).map_err(|error| images.failed("create", error))?;
        let guard = images.guard()?;
        images.sweep(&guard)?;
        Ok(images)
    }

    /// The images, the one used last first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn list(&self) -> Result<Vec<ImageEntry>, ImageError> {
        let guard = self.guard()?;
        let mut entries: Vec<ImageEntry> = self
            .folders(&guard)?
            .into_iter()
            .filter_map(|dir| {
                let record = record_of(&dir).ok()?;
                Some(ImageEntry {
                    is_material: record.sources.iter().all(|origin| origin.is_material),
                    sha256: record.sha256,
                    bytes: record.bytes,
                    disk_bytes: disk_bytes(&dir),
                    sources: record.sources.into_iter().map(|origin| origin.from).collect(),
                    used: seconds(used(&dir)),
                })
            })
            .collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        Ok(entries)
    }

    /// Removes every image that is not in use.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn prune(&self) -> Result<Removed, ImageError> {
        let guard = self.guard()?;
        self.sweep(&guard)?;
        let mut removed = Removed { images: 0, disk_bytes: self.drop_downloads(&guard)? };
        for dir in self.folders(&guard)? {
            if let Some(bytes) = self.remove_unused(&dir, &guard)? {
                removed.images += 1;
                removed.disk_bytes += bytes;
            }
        }
        Ok(removed)
    }

    /// The first image of which `wanted` is true for one of its origins.
    pub(super) fn find(
        &self,
        wanted: impl Fn(&Origin) -> bool,
    ) -> Result<Option<CachedImage>, ImageError> {
        let guard = self.guard()?;
        for dir in self.folders(&guard)? {
            // Who cannot be read is not found; it will be written again.
            if let Ok(record) = record_of(&dir)
                && record.sources.iter().any(&wanted)
                && let Some(image) = self.hold(dir, &guard)?
            {
                return Ok(Some(image));
            }
        }
        Ok(None)
    }

    /// The image with this digest.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn get(&self, sha256: &[u8; 32]) -> Result<Option<CachedImage>, ImageError> {
        let guard = self.guard()?;
        self.hold(self.folder.join(hexadecimal(sha256)), &guard)
    }

    /// A folder for work, removed with the value.
    pub(super) fn workspace(&self) -> Result<Workspace, ImageError> {
        let _guard = self.guard()?;
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = self.folder.join(format!("{NEW}{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).map_err(|error| self.failed("create", error))?;
        let lock = open_lock(&dir).and_then(|lock| lock.lock().map(|()| lock));
        match lock {
            Ok(lock) => Ok(Workspace { dir, lock: Some(lock) }),
            Err(error) => {
                let _ = fs::remove_dir_all(&dir);
                Err(self.failed("lock", error))
            }
        }
    }

    /// Begins a new image.
    pub(super) fn begin(&self) -> Result<NewImage, ImageError> {
        let work = self.workspace()?;
        let place = work.dir.join(IMAGE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&place)
            .map_err(|error| ImageError::new(&place, Cause::from_write(error)))?;
        Ok(NewImage { images: self.clone(), work, writer: SparseWriter::new(file), checked: 0 })
    }

    /// The folder of a store's images.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes images until all take no more than the limit.
    pub(super) fn make_room(&self) -> Result<(), ImageError> {
        let guard = self.guard()?;
        let mut total: u64 = self.every_folder(&guard)?.iter().map(|dir| disk_bytes(dir)).sum();
        if total <= self.limit {
            return Ok(());
        }
        total = total.saturating_sub(self.drop_downloads(&guard)?);
        let mut folders = self.folders(&guard)?;
        folders.sort_by_key(|dir| used(dir));
        for dir in folders {
            if let Some(bytes) = self.remove_unused(&dir, &guard)? {
                total = total.saturating_sub(bytes);
                if total <= self.limit {
                    return Ok(());
                }
            }
        }
        Err(ImageError::new(&self.folder, Cause::OverLimit { taken: total, limit: self.limit }))
    }

    fn guard(&self) -> Result<File, ImageError> {
        let lock = open_lock(&self.folder).and_then(|lock| lock.lock().map(|()| lock));
        lock.map_err(|error| self.failed("lock", error))
    }

    /// Every image's folder.
    fn folders(&self, guard: &File) -> Result<Vec<PathBuf>, ImageError> {
        let mut all = self.every_folder(guard)?;
        all.retain(|dir| {
            dir.file_name().is_some_and(|name| {
                name.len() == 64 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
            })
        });
        all.sort();
        Ok(all)
    }

    fn every_folder(&self, _guard: &File) -> Result<Vec<PathBuf>, ImageError> {
        let read = || -> io::Result<Vec<PathBuf>> {
            let mut all = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    all.push(entry.path());
                }
            }
            Ok(all)
        };
        read().map_err(|error| self.failed("read", error))
    }

    /// What was left by dispatchers that died while they wrote.
    fn sweep(&self, guard: &File) -> Result<(), ImageError> {
        for dir in self.every_folder(guard)? {
            let is_new = dir
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(NEW.as_bytes()));
            if is_new {
                self.remove_unused(&dir, guard)?;
            }
        }
        Ok(())
    }

    /// Downloads that were cut and that nobody goes on with now; what they took of the disk.
    fn drop_downloads(&self, guard: &File) -> Result<u64, ImageError> {
        let Ok(entries) = fs::read_dir(self.folder.join(DOWNLOADS)) else { return Ok(0) };
        let mut bytes = 0;
        for entry in entries.flatten() {
            bytes += self.remove_unused(&entry.path(), guard)?.unwrap_or(0);
        }
        Ok(bytes)
    }

    /// What it took of the disk; `None` if it is in use and stays.
    fn remove_unused(&self, dir: &Path, _guard: &File) -> Result<Option<u64>, ImageError> {
        let lock = match open_lock(dir) {
            Ok(lock) => lock,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("lock", error)),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(self.failed("lock", error)),
        }
        let bytes = disk_bytes(dir);
        fs::remove_dir_all(dir).map_err(|error| self.failed("remove", error))?;
        Ok(Some(bytes))
    }

    fn hold(&self, dir: PathBuf, _guard: &File) -> Result<Option<CachedImage>, ImageError> {
        if !dir.is_dir() {
            return Ok(None);
        }
        let open = || -> io::Result<(File, File, Record)> {
            let lock = open_lock(&dir)?;
            lock.lock_shared()?;
            futimens(&lock, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW)?;
            Ok((lock, File::open(dir.join(IMAGE))?, record_of(&dir)?))
        };
        match open() {
            Ok((lock, file, record)) => {
                let Some(sha256) = digest(&record.sha256) else { return Ok(None) };
                let bytes = record.bytes;
                // A file of another length is none of ours.
                let whole = file.metadata().is_ok_and(|metadata| metadata.len() == bytes);
                Ok(whole.then_some(CachedImage { dir, file, bytes, sha256, record, _lock: lock }))
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => {
                Ok(None)
            }
            Err(error) => Err(self.failed("open", error)),
        }
    }

    fn failed(&self, action: &'static str, error: io::Error) -> ImageError {
        let store = StoreError { action, path: self.folder.clone(), source: error };
        ImageError::new(&self.folder, Cause::Store(store))
    }
}

impl CachedImage {
    /// Opens a file that is kept beside the image.
    ///
    /// # Errors
    /// It is there and cannot be opened.
    pub fn side(&self, name: &str) -> Result<Option<File>, StoreError> {
        let place = self.dir.join(name);
        match File::open(&place) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::of("open", &place)(error)),
        }
    }

    /// Keeps bytes beside the image under a name of the program's own, whole or not at all. What is there already
    /// stays: it was made of the same image.
    ///
    /// # Errors
    /// A failed write.
    pub fn keep_side(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let place = self.dir.join(name);
        let write = || -> io::Result<()> {
            let mut file = tempfile::Builder::new().prefix(".side-").tempfile_in(&self.dir)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            match file.persist_noclobber(&place) {
                Ok(_) => File::open(&self.dir)?.sync_all(),
                Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(()),
                Err(error) => Err(error.error),
            }
        };
        write().map_err(StoreError::of("write", &place))
    }

    pub(super) fn origins(&self) -> &[Origin] {
        &self.record.sources
    }
}

/// A folder for work, removed with the value.
#[derive(Debug)]
pub(super) struct Workspace {
    pub(super) dir: PathBuf,
    /// `None` when the folder has become an image.
    lock: Option<File>,
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if self.lock.is_some() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// An image on its way into the store; dropped before [`NewImage::finish`], nothing of it is left.
#[derive(Debug)]
pub(super) struct NewImage {
    images: Images,
    work: Workspace,
    writer: SparseWriter,
    /// What was written when the limit was last looked at.
    checked: u64,
}

impl NewImage {
    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.writer.data(bytes).map_err(|error| self.failed(error))?;
        if self.writer.stored - self.checked >= ROOM_STEP_BYTES {
            self.checked = self.writer.stored;
            self.images.make_room()?;
        }
        Ok(())
    }

    pub(super) fn hole(&mut self, bytes: u64) -> Result<(), ImageError> {
        self.writer.hole(bytes).map_err(|error| self.failed(error))
    }

    /// Puts it in its place, unless it is there already, and adds where it came from. `check` sees the digest first.
    pub(super) fn finish(
        mut self,
        origin: Origin,
        check: impl FnOnce(&[u8; 32]) -> Result<(), ImageError>,
    ) -> Result<CachedImage, ImageError> {
        let (bytes, sha256) = self.writer.finish().map_err(|error| self.failed(error))?;
        check(&sha256)?;
        if bytes == 0 {
            return Err(ImageError::new(Path::new(&origin.from), Cause::Empty));
        }
        self.images.make_room()?;
        let images = self.images.clone();
        let place = images.folder.join(hexadecimal(&sha256));
        let guard = images.guard()?;
        let mut sources = record_of(&place).map_or_else(|_| Vec::new(), |record| record.sources);
        // As a material and as an image it may come from one place.
        let is_same =
            |known: &Origin| known.from == origin.from && known.is_material == origin.is_material;
        sources.retain(|known| known.key != origin.key && !is_same(known));
        sources.insert(0, origin);
        sources.truncate(SOURCES_MAX);
        let record = Record { bytes, sha256: hexadecimal(&sha256), sources };
        let is_there = images.hold(place.clone(), &guard)?.is_some();
        let dir = if is_there { &place } else { &self.work.dir };
        store::write_json(&dir.join(SOURCE), &record)
            .map_err(|error| ImageError::new(dir, Cause::Store(error)))?;
        if !is_there {
            if place.exists() {
                fs::remove_dir_all(&place).map_err(|error| images.failed("remove", error))?;
            }
            fs::rename(&self.work.dir, &place).map_err(|error| images.failed("rename", error))?;
            // From here on it is an image of the store, and its lock goes with this value.
            self.work.lock = None;
            File::open(&images.folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|error| images.failed("sync", error))?;
        }
        let image = images.hold(place, &guard)?;
        image.ok_or_else(|| images.failed("open", ErrorKind::NotFound.into()))
    }

    fn failed(&self, error: io::Error) -> ImageError {
        ImageError::new(&self.work.dir.join(IMAGE), Cause::from_write(error))
    }
}

/// Writes an image without its blocks of zeros, and hashes all of it.
#[derive(Debug)]
struct SparseWriter {
    file: File,
    buffer: Vec<u8>,
    /// Where the buffer's bytes belong.
    at: u64,
    /// Bytes that are no hole.
    stored: u64,
    hash: Sha256,
}

impl SparseWriter {
    fn new(file: File) -> Self {
        Self {
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            at: 0,
            stored: 0,
            hash: Sha256::new(),
        }
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.push(bytes)
    }

    fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(BUFFER_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = rest;
            if self.buffer.len() == BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn hole(&mut self, bytes: u64) -> io::Result<()> {
        hash_zeros(&mut self.hash, bytes);
        // Up to a block's end, then nothing has to be written.
        let filled = self.buffer.len() % BLOCK_BYTES;
        let filler = if filled == 0 { 0 } else { (BLOCK_BYTES - filled) as u64 }.min(bytes);
        self.push(&ZEROS[..filler as usize])?;
        if bytes > filler {
            self.flush()?;
            self.at += bytes - filler;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut start = None;
        let blocks = self.buffer.len().div_ceil(BLOCK_BYTES);
        for index in 0..=blocks {
            let from = index * BLOCK_BYTES;
            let block = self.buffer.get(from..(from + BLOCK_BYTES).min(self.buffer.len()));
            let is_data = block.is_some_and(|block| *block != ZEROS[..block.len()]);
            match (start, is_data) {
                (None, true) => start = Some(from),
                (Some(first), false) => {
                    let data = &self.buffer[first..from.min(self.buffer.len())];
                    self.file.write_all_at(data, self.at + first as u64)?;
                    self.stored += data.len() as u64;
                    start = None;
                }
                _ => {}
            }
        }
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(&mut self) -> io::Result<(u64, [u8; 32])> {
        self.flush()?;
        self.file.set_len(self.at)?;
        self.file.sync_all()?;
        Ok((self.at, self.hash.finalize_reset().into()))
    }
}

fn open_lock(dir: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join("lock"))
}

fn record_of(dir: &Path) -> io::Result<Record> {
    let file = File::open(dir.join(SOURCE))?;
    let limited = io::Read::take(file, RECORD_BYTES_MAX);
    serde_json::from_reader(limited).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// What a folder's files take of the disk; holes take nothing.
fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let metadata = entry.metadata().ok()?;
            Some(if metadata.is_dir() {
                disk_bytes(&entry.path())
            } else {
                metadata.blocks() * 512
            })
        })
        .sum()
}

fn used(dir: &Path) -> SystemTime {
    let modified = fs::metadata(dir.join("lock")).and_then(|metadata| metadata.modified());
    modified.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn digest(digits: &str) -> Option<[u8; 32]> {
    super::bmap::digest(digits)
}

/// The raw image.
pub const IMAGE: &str = "image.raw";
/// Files on their way from a server, each in a folder with a lock.
pub(super) const DOWNLOADS: &str = "downloads";
const SOURCE: &str = "source.json";
/// Folders that are being written begin so.
const NEW: &str = ".new-";
const SOURCES_MAX: usize = 16;
const RECORD_BYTES_MAX: u64 = 1 << 20;
/// The limit is looked at so often; it may be exceeded by so much for a moment.
const ROOM_STEP_BYTES: u64 = 64 << 20;
const BLOCK_BYTES: usize = 4096;
const BUFFER_BYTES: usize = 256 * 1024;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::test_folder::TestFolder;

    fn add(images: &Images, key: &str, pieces: &[(u64, &[u8])]) -> Result<CachedImage, ImageError> {
        let mut image = images.begin()?;
        for (hole, data) in pieces {
            image.hole(*hole)?;
            image.data(data)?;
        }
        let origin = Origin { from: key.into(), key: key.into(), ..Origin::default() };
        image.finish(origin, |_| Ok(()))
    }

    fn names(images: &Images) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&images.folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "lock")
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_image_is_found_again_and_has_holes() {
        let folder = TestFolder::new();
        let images = Images::open(folder.path(), LIMIT_BYTES).unwrap();
        let text = b"text".repeat(3000);
        let pieces: [(u64, &[u8]); 3] = [(100, &text), (50 << 20, &[0; 10_000]), (5, b"end")];
        let image = add(&images, "a", &pieces).unwrap();
        let mut expected = vec![0; 100];
        expected.extend(&text);
        expected.resize(expected.len() + (50 << 20) + 10_005, 0);
        expected.extend(b"end");
        assert_eq!(image.bytes, expected.len() as u64);
        let sha256: [u8; 32] = Sha256::digest(&expected).into();
        assert_eq!(image.sha256, sha256);
        assert!(fs::read(image.dir.join(IMAGE)).unwrap() == expected);
        assert!(disk_bytes(&image.dir) < 1 << 20);
        let again = images.find(|origin| origin.key == "a").unwrap().unwrap();
        assert_eq!(again.dir, image.dir);
        assert!(images.find(|origin| origin.key == "b").unwrap().is_none());
        // The same bytes from elsewhere are the same image.
        add(&images, "b", &pieces).unwrap();
        assert_eq!(images.list().unwrap()[0].sources, ["b", "a"]);
        assert_eq!(names(&images).len(), 1);
        assert!(images.get(&sha256).unwrap().is_some());
        assert!(images.get(&[0; 32]).unwrap().is_none());
    }

    #[test]
    fn the_oldest_unused_goes_when_room_is_short() {
        let folder = TestFolder::new();
        let images = Images::open(folder.path(), 300_000).unwrap();
        let noise = |seed: u8| {
            (0..100_000_u32)
                .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed)
                .collect::<Vec<_>>()
        };
        let first = add(&images, "1", &[(0, &noise(1))]).unwrap();
        let second = add(&images, "2", &[(0, &noise(2))]).unwrap();
        let old = File::options().write(true).open(second.dir.join("lock")).unwrap();
        old.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        // Both are in use: the third has no room, and nothing of it is left.
        let error = add(&images, "3", &[(0, &noise(3))]).unwrap_err().to_string();
        assert!(error.contains("300000"), "{error}");
        assert_eq!(names(&images).len(), 2);
        drop((first, second));
        add(&images, "3", &[(0, &noise(3))]).unwrap();
        let left: Vec<_> =
            images.list().unwrap().into_iter().flat_map(|entry| entry.sources).collect();
        assert!(left.contains(&"3".to_owned()) && !left.contains(&"2".to_owned()), "{left:?}");
        let held = images.find(|origin| origin.key == "3").unwrap().unwrap();
        assert_eq!(images.prune().unwrap().images, 1);
        assert!(held.dir.is_dir());
    }

    #[test]
    fn what_a_dead_dispatcher_left_is_swept_and_what_a_living_one_writes_is_not() {
        let folder = TestFolder::new();
        let images = Images::open(folder.path(), LIMIT_BYTES).unwrap();
        let mut living = images.begin().unwrap();
        living.data(b"half").unwrap();
        let dead = images.folder.join(".new-1-0");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(IMAGE), "half").unwrap();
        Images::open(folder.path(), LIMIT_BYTES).unwrap();
        assert!(!dead.exists() && living.work.dir.is_dir());
        drop(living);
        assert!(names(&images).is_empty());
    }

    #[test]
    fn damaged_entries_are_not_found_and_written_again() {
        let folder = TestFolder::new();
        let images = Images::open(folder.path(), LIMIT_BYTES).unwrap();
        let dir = add(&images, "a", &[(0, b"bytes")]).unwrap().dir;
        for (name, damage) in [(IMAGE, "byt"), (SOURCE, "{")] {
            fs::write(dir.join(name), damage).unwrap();
            assert!(images.find(|origin| origin.key == "a").unwrap().is_none());
            add(&images, "a", &[(0, b"bytes")]).unwrap();
            assert!(images.find(|origin| origin.key == "a").unwrap().is_some());
        }
    }

    #[test]
    fn a_full_disk_says_what_to_do() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = SparseWriter::new(full).data(&[1; BUFFER_BYTES]).unwrap_err();
        let error = ImageError::new(Path::new("x"), Cause::from_write(error)).to_string();
        assert!(error.contains("disk is full") && error.contains("pumice images prune"), "{error}");
    }

    #[test]
    fn side_files_are_written_once() {
        let folder = TestFolder::new();
        let images = Images::open(folder.path(), LIMIT_BYTES).unwrap();
        let image = add(&images, "a", &[(0, b"bytes")]).unwrap();
        assert!(image.side("tree").unwrap().is_none());
        image.keep_side("tree", b"one").unwrap();
        image.keep_side("tree", b"two").unwrap();
        assert_eq!(io::read_to_string(image.side("tree").unwrap().unwrap()).unwrap(), "one");
        assert_eq!(fs::read_dir(&image.dir).unwrap().count(), 4);
    }
}
