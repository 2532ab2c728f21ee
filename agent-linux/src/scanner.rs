//! The background scan's partitions: which there are, and reading them when nothing else is to be done.

use crate::partitions::Partitions;
use crate::sys::clock;
use crate::sys::file::File;
use agent_core::agent::deploy::{HASHES_MAX, Known, Nothing, PIECE_MAX, REGIONS, Scan};
use agent_core::time::{Duration, Instant};
use agent_core::tree::{HASH_LEN, Hash};

/// See the module.
pub(crate) struct Scanner {
    scan: Scan<Box<[Hash]>>,
    has_begun: bool,
    /// The region that is being read.
    file: Option<(usize, File)>,
    /// Not before, or never.
    begin_at: Option<Instant>,
}

impl Scanner {
    /// One that begins when the agent has had some time; a test agent (`is_master` false) never does.
    pub(crate) fn new(now: Instant, is_master: bool) -> Self {
        let begin_at = is_master.then_some(now + BEGIN_AFTER);
        Self { scan: Scan::new(), has_begun: false, file: None, begin_at }
    }

    /// When [`Self::work`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.has_begun { self.scan.poll_timeout() } else { self.begin_at }
    }

    /// Reads and hashes the piece that is due, if there is one.
    pub(crate) fn work(&mut self, begun: Instant, partitions: &Partitions, buffer: &mut [u8]) {
        if !self.has_begun {
            if self.begin_at.is_some_and(|at| at <= begun) {
                self.has_begun = true;
                self.begin(partitions);
            }
            return;
        }
        let Some(piece) = self.scan.piece(begun) else { return };
        if piece.is_first() || self.file.as_ref().is_none_or(|(region, _)| *region != piece.region)
        {
            // From time to time: it may have been mounted by a command since.
            self.file = None;
            let found = partitions.find(LABELS[piece.region]).ok();
            let is_busy = found.as_ref().is_some_and(|found| found.is_mounted);
            if is_busy {
                self.scan.forget(piece.region);
                self.scan.rest_until(begun + BUSY_WAIT);
                return;
            }
            let opened = found.and_then(|found| found.open_to_read().ok());
            self.file = opened.map(|(file, _)| (piece.region, file));
        }
        let length = buffer.len().min(PIECE_MAX);
        let buffer = &mut buffer[..length];
        let file = self.file.as_ref().map(|(_, file)| file);
        let read = file.and_then(|file| file.read_at(buffer, piece.offset).ok());
        let bytes = read.map(|read| &buffer[..read]);
        // The hashing is most of the time, and is done in there.
        self.scan.handle_piece(bytes);
        self.scan.rest_after(begun, clock::now());
        if self.scan.poll_timeout().is_none() {
            self.file = None;
        }
    }

    /// A partition is going to change, or may have changed; all of them without a label.
    pub(crate) fn forget(&mut self, label: Option<&str>) {
        self.file = None;
        for (region, name) in LABELS.into_iter().enumerate() {
            if label.is_none_or(|label| label == name) {
                self.scan.forget(region);
            }
        }
    }

    /// What [`Self::known`] needs to know of a walk that begins over a partition.
    pub(crate) fn epoch(&self, label: &str) -> Option<(usize, u32)> {
        let region = LABELS.into_iter().position(|name| name == label)?;
        Some((region, self.scan.epoch(region)))
    }

    /// Calls `f` with what is known for a walk.
    pub(crate) fn known<T>(
        &mut self,
        walk: Option<(usize, u32)>,
        f: impl FnOnce(&mut dyn Known) -> T,
    ) -> T {
        match walk {
            Some((region, epoch)) => f(&mut self.scan.known(region, epoch)),
            None => f(&mut Nothing),
        }
    }

    fn begin(&mut self, partitions: &Partitions) {
        let mut left = HASHES_MAX;
        for (region, label) in LABELS.into_iter().enumerate() {
            let Ok(size) = partitions.find(label).and_then(|found| found.size()) else { continue };
            let count = Scan::<Box<[Hash]>>::nodes_of(size, left);
            left -= count;
            self.scan.begin(region, vec![[0; HASH_LEN]; count].into_boxed_slice());
        }
    }
}

/// What is scanned, by role, in this order: never the master's own.
const LABELS: [&str; REGIONS] = ["testrootfs", "testboot"];

/// A board that has just come up has something else to do.
const BEGIN_AFTER: Duration = Duration::from_secs(2);

/// What is mounted is looked at again so often.
const BUSY_WAIT: Duration = Duration::from_secs(5);
