//! The folder of a worker of LAVA's server: for each job that is not over a record, and the hashes of the lines that it told.
//!
//! `ID.json` is there whole or not at all. `ID.told` only grows, 8 bytes a line, and is synced before the record that counts
//! them; what it has beyond that count was never told.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{StoreError, write_json};
use crate::lava_worker::lines::Told;
use crate::lava_worker::protocol::LavaId;
use crate::lava_worker::record::{Record, Stage};

/// A job that was kept, or why it cannot be read.
pub type Kept = Result<(Record, Told), StoreError>;

/// The folder of one worker, which no other process uses.
#[derive(Debug)]
pub struct LavaJobs {
    folder: PathBuf,
    _lock: File,
}

impl LavaJobs {
    /// Opens the folder, and makes it where it is missing.
    ///
    /// # Errors
    /// It cannot be made, or another worker uses it.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        // Tokens and jobs with secrets lie here.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(StoreError::of("create", folder))?;
        let place = folder.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&place);
        let lock = lock.map_err(StoreError::of("create", &place))?;
        lock.try_lock().map_err(|_| {
            StoreError::of("lock", &place)(io::Error::other("another worker uses this folder"))
        })?;
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    /// The jobs that were not over, or why one of them cannot be read; that one is left as it is.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all(&self) -> Result<Vec<Kept>, StoreError> {
        let entries = fs::read_dir(&self.folder).map_err(StoreError::of("read", &self.folder))?;
        let places = entries.flatten().map(|entry| entry.path()).filter(|place| {
            // One that was being written has a point before its name.
            let name = place.file_name().unwrap_or_default().as_encoded_bytes();
            !name.starts_with(b".") && name.ends_with(b".json")
        });
        Ok(places.map(|place| self.read(&place)).collect())
    }

    /// Keeps what is known of a job: on the disk when this returns.
    ///
    /// # Errors
    /// The disk is full, or broken.
    pub fn keep(&self, record: &Record, new_hashes: &[u64]) -> Result<(), StoreError> {
        if !new_hashes.is_empty() {
            let place = self.place(record.id, "told");
            let failed = || StoreError::of("write", &place);
            let file = OpenOptions::new().append(true).create(true).open(&place);
            let mut file = file.map_err(failed())?;
            let bytes: Vec<u8> = new_hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
            file.write_all(&bytes).and_then(|()| file.sync_data()).map_err(failed())?;
        }
        write_json(&self.place(record.id, "json"), record)
    }

    /// Forgets a job.
    pub fn forget(&self, id: LavaId) {
        // The record first: hashes without one are nothing.
        for end in ["json", "told"] {
            let _ = fs::remove_file(self.place(id, end));
        }
    }

    fn read(&self, place: &Path) -> Kept {
        let failed = || StoreError::of("read", place);
        let bytes = fs::read(place).map_err(failed())?;
        let record: Record =
            serde_json::from_slice(&bytes).map_err(|error| failed()(io::Error::other(error)))?;
        let Stage::Submitted(run) = &record.stage else { return Ok((record, Told::default())) };
        let place = self.place(record.id, "told");
        let told = hashes(&place, run.told).map_err(StoreError::of("read", &place))?;
        Ok((record, Told::known(told)))
    }

    fn place(&self, id: LavaId, end: &str) -> PathBuf {
        self.folder.join(format!("{id}.{end}"))
    }
}

/// The first `count` hashes of a file, which has no others after this.
fn hashes(place: &Path, count: u64) -> io::Result<Vec<u64>> {
    if count == 0 && !place.exists() {
        return Ok(Vec::new());
    }
    let mut file = OpenOptions::new().read(true).write(true).open(place)?;
    let known = file.metadata()?.len().min(count.saturating_mul(8)) / 8 * 8;
    file.set_len(known)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let (hashes, _) = bytes.as_chunks::<8>();
    Ok(hashes.iter().map(|hash| u64::from_le_bytes(*hash)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::test_folder::TestFolder;
    use crate::lava_worker::protocol::Order;
    use crate::lava_worker::record::Run;

    #[test]
    fn what_was_kept_is_there_again() {
        let folder = TestFolder::new();
        let jobs = LavaJobs::open(folder.path()).unwrap();
        assert!(LavaJobs::open(folder.path()).unwrap_err().to_string().contains("another worker"));
        let mut record = Record::new(&Order { id: 7, token: "t".into() });
        jobs.keep(&record, &[]).unwrap();
        record.stage = Stage::Submitted(Run { job: 3, told: 2, ..Run::default() });
        jobs.keep(&record, &[1, 2]).unwrap();
        // Killed between the two files: the third line was not told.
        let told = folder.path().join("7.told");
        let mut bytes = fs::read(&told).unwrap();
        bytes.extend([9; 11]);
        fs::write(&told, bytes).unwrap();
        fs::write(folder.path().join("8.json"), "{").unwrap();
        let (all, broken): (Vec<_>, Vec<_>) =
            jobs.all().unwrap().into_iter().partition(Result::is_ok);
        let (kept, known) = all[0].as_ref().unwrap();
        assert_eq!((all.len(), kept, known.count()), (1, &record, 2));
        assert_eq!(fs::metadata(&told).unwrap().len(), 16);
        assert!(broken[0].as_ref().unwrap_err().to_string().contains("8.json"), "{broken:?}");
        jobs.forget(7);
        assert!(jobs.all().unwrap().iter().all(Result::is_err) && !told.exists());
    }
}
