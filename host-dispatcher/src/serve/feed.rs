//! What the loop tells: the lab as it is, and every change of it with a number, so that a viewer who was away for a
//! moment goes on where it was.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::lab::view::{BoardView, JobId, JobView, LabView};

/// Written by the loop, read by anybody. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed {
    state: Arc<Mutex<State>>,
    number: watch::Sender<u64>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// The lab is like this now.
    Lab(LabView),
    /// A board is like this now.
    Board(BoardView),
    /// A board is not in the lab any more.
    BoardGone {
        /// Its name.
        name: String,
    },
    /// A job is like this now.
    Job(JobView),
}

#[derive(Debug, Default)]
struct State {
    lab: LabView,
    boards: BTreeMap<String, BoardView>,
    /// Those that have not ended, and the last [`ENDED_MAX`] of those that have.
    jobs: BTreeMap<JobId, JobView>,
    /// The last changes with their numbers, which count up by one.
    changes: VecDeque<(u64, Arc<Change>)>,
    number: u64,
}

impl Default for Feed {
    fn default() -> Self {
        Self { state: Arc::default(), number: watch::Sender::new(0) }
    }
}

impl Feed {
    /// Puts a change on record, if it is one.
    pub fn tell(&self, change: Change) {
        let number = {
            let mut state = self.state();
            if !state.apply(&change) {
                return;
            }
            state.number += 1;
            let number = state.number;
            state.changes.push_back((number, Arc::new(change)));
            if state.changes.len() > CHANGES_MAX {
                state.changes.pop_front();
            }
            number
        };
        self.number.send_replace(number);
    }

    /// The lab.
    pub fn lab(&self) -> LabView {
        self.state().lab.clone()
    }

    /// All boards by name.
    pub fn boards(&self) -> Vec<BoardView> {
        self.state().boards.values().cloned().collect()
    }

    /// A board.
    pub fn board(&self, name: &str) -> Option<BoardView> {
        self.state().boards.get(name).cloned()
    }

    /// Jobs that have not ended, and some that have; in the order of their numbers.
    pub fn jobs(&self) -> Vec<JobView> {
        self.state().jobs.values().cloned().collect()
    }

    /// One of these.
    pub fn job(&self, id: JobId) -> Option<JobView> {
        self.state().jobs.get(&id).cloned()
    }

    /// Becomes the number of the newest change with each of them.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.number.subscribe()
    }

    /// The changes after number `after`; nothing where some of them are not kept any more: read everything anew then.
    pub fn since(&self, after: u64) -> Option<Vec<(u64, Arc<Change>)>> {
        let state = self.state();
        let oldest = state.changes.front().map_or(state.number + 1, |(number, _)| *number);
        (after <= state.number && after + 1 >= oldest)
            .then(|| state.changes.iter().filter(|(number, _)| *number > after).cloned().collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether anything is different now.
    fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::Lab(lab) => std::mem::replace(&mut self.lab, lab.clone()) != *lab,
            Change::Board(board) => {
                self.boards.insert(board.name.clone(), board.clone()).as_ref() != Some(board)
            }
            Change::BoardGone { name } => self.boards.remove(name).is_some(),
            Change::Job(job) => {
                let is_new = self.jobs.insert(job.id, job.clone()).as_ref() != Some(job);
                let ended = |job: &JobView| job.ended.is_some();
                // Only one that has just ended makes them more: a lab's whole queue is told of at once when it pauses.
                if ended(job) && self.jobs.values().filter(|job| ended(job)).count() > ENDED_MAX {
                    let oldest = self.jobs.values().find(|job| ended(job)).map(|job| job.id);
                    oldest.map(|id| self.jobs.remove(&id));
                }
                is_new
            }
        }
    }
}

/// Some minutes of a busy lab; who was away for longer reads everything.
const CHANGES_MAX: usize = 4096;
/// What a page shows of them at once; the database has all.
const ENDED_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(queued: u64) -> Change {
        Change::Lab(LabView { queued, ..LabView::default() })
    }

    #[test]
    fn who_was_away_goes_on_or_begins_anew() {
        let feed = Feed::default();
        let newest = feed.subscribe();
        feed.tell(lab(0));
        assert_eq!(*newest.borrow(), 0, "nothing is different");
        assert_eq!(feed.since(0), Some(Vec::new()));
        assert_eq!(feed.since(1), None, "a number of another dispatcher");
        (1..=3).for_each(|queued| feed.tell(lab(queued)));
        assert_eq!((*newest.borrow(), feed.lab().queued), (3, 3));
        let numbers = |after| {
            let changes = feed.since(after)?;
            Some(changes.iter().map(|(number, _)| *number).collect::<Vec<_>>())
        };
        assert_eq!(numbers(1), Some(vec![2, 3]));
        (4..=CHANGES_MAX as u64 + 3).for_each(|queued| feed.tell(lab(queued)));
        assert_eq!(numbers(2), None);
        assert_eq!(numbers(3).map(|numbers| numbers.len()), Some(CHANGES_MAX));
    }
}
