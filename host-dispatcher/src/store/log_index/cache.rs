//! The indexes of the runs that somebody looks at.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_core::time::Duration;

use super::{LogIndex, Page, Start};
use crate::io::clock;
use crate::report::log_filter::Filter;
use crate::store::StoreError;

/// Indexes by run directory. When they take more memory than the bound, that of the run that nobody looked at for the
/// longest time goes. For any thread; questions about one run wait for each other.
#[derive(Debug)]
pub struct LogIndexes {
    held: Mutex<Held>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Held {
    indexes: HashMap<PathBuf, Slot>,
    clock: u64,
}

#[derive(Debug)]
struct Slot {
    index: Arc<Mutex<LogIndex>>,
    bytes: usize,
    used: u64,
}

impl LogIndexes {
    /// None yet; together at most about so many bytes, but always the one that is used.
    pub fn new(bytes_max: usize) -> Self {
        Self { held: Mutex::default(), bytes_max }
    }

    /// Some lines of the run in `run`, as [`LogIndex::page`] has them. Takes some seconds at most.
    ///
    /// # Errors
    /// The timeline cannot be read.
    pub fn page(
        &self,
        run: &Path,
        filter: &Filter,
        from: Start,
        count: usize,
    ) -> Result<Page, StoreError> {
        self.with(run, |index, is_late| index.page(filter, from, count, is_late))
    }

    /// How many lines the run in `run` has by now, the generation of their numbers, and whether that is all.
    ///
    /// # Errors
    /// The timeline cannot be read.
    pub fn size(&self, run: &Path) -> Result<(u64, u64, bool), StoreError> {
        self.with(run, |index, is_late| {
            let is_complete = index.refresh(is_late)?;
            Ok((index.lines(), index.generation(), is_complete))
        })
    }

    fn with<T>(
        &self,
        run: &Path,
        work: impl FnOnce(&mut LogIndex, &dyn Fn() -> bool) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let index = self.get(run)?;
        let (result, bytes) = {
            let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
            let began = clock::now();
            let result = work(&mut index, &|| clock::now().since(began) >= WORK_MAX);
            (result, index.bytes())
        };
        self.make_room(run, bytes);
        result
    }

    fn get(&self, run: &Path) -> Result<Arc<Mutex<LogIndex>>, StoreError> {
        let mut held = self.held();
        held.clock += 1;
        let used = held.clock;
        if let Some(slot) = held.indexes.get_mut(run) {
            slot.used = used;
            return Ok(Arc::clone(&slot.index));
        }
        let index = Arc::new(Mutex::new(LogIndex::open(run)?));
        let slot = Slot { index: Arc::clone(&index), bytes: 0, used };
        held.indexes.insert(run.to_owned(), slot);
        Ok(index)
    }

    fn make_room(&self, run: &Path, bytes: usize) {
        let mut held = self.held();
        if let Some(slot) = held.indexes.get_mut(run) {
            slot.bytes = bytes;
        }
        loop {
            let total: usize = held.indexes.values().map(|slot| slot.bytes).sum();
            if total <= self.bytes_max && held.indexes.len() <= INDEXES_MAX {
                return;
            }
            let others = held.indexes.iter().filter(|(other, _)| *other != run);
            let Some(oldest) = others.min_by_key(|(_, slot)| slot.used).map(|(run, _)| run.clone())
            else {
                return;
            };
            held.indexes.remove(&oldest);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A person waits for it. More than a million lines take on a small host; what is missing then comes with the next
/// question.
const WORK_MAX: Duration = Duration::from_secs(10);
/// Each holds a file open.
const INDEXES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::tests::write;
    use super::*;
    use crate::io::test_folder::TestFolder;

    #[test]
    fn memory_is_bounded() {
        let folder = TestFolder::new();
        let run = |name: &str| {
            let run = folder.path().join(name);
            std::fs::create_dir(&run).unwrap();
            write(&run, (0..1000).map(|n| (n, "line")));
            run
        };
        let indexes = LogIndexes::new(100 << 10);
        let runs = ["a", "b", "c", "d"].map(run);
        for run in &runs {
            assert_eq!(indexes.size(run).unwrap().0, 1000);
        }
        let held = |run: &PathBuf| indexes.held().indexes.contains_key(run);
        assert!(!held(&runs[0]) && held(&runs[3]));
        let again = indexes.page(&runs[0], &Filter::default(), Start::Number(-1), 5).unwrap();
        assert_eq!((again.records.len(), again.records[0].0), (1, 999));
        assert!(indexes.size(&folder.path().join("none")).is_err());
    }
}
