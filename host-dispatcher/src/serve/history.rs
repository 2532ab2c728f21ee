//! What the lab remembers: jobs and runs that are over, asked for page by page.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::job::verdict::{Tally, Verdict};
use crate::lab::view::{JobId, JobState, JobView};

/// Where jobs and runs are asked for: the database of the lab. Called from threads that may wait; what cannot be read is
/// as if it were not there, and is said in the lab's own log.
pub trait History: Send + Sync {
    /// At most `limit` jobs that the filter takes, the newest first; only those with a number below `before`.
    fn jobs(&self, filter: &JobFilter, before: Option<JobId>, limit: usize) -> Vec<JobView>;

    /// A job.
    fn job(&self, id: JobId) -> Option<JobView>;

    /// The text of a job's file.
    fn definition(&self, id: JobId) -> Option<String>;

    /// At most `limit` runs that the filter takes, the newest first; only those that began before the run called
    /// `before`, and none where there is no such run.
    fn runs(&self, filter: &RunFilter, before: Option<&str>, limit: usize) -> Vec<RunRow>;
}

/// Which jobs somebody wants to see; what is not said does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// As far as this.
    pub state: Option<JobState>,
    /// Whose last run was on this board.
    pub board: Option<String>,
    /// Submitted by this one.
    pub submitter: Option<String>,
    /// Called so.
    pub name: Option<String>,
}

/// Which runs somebody wants to see; what is not said does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// On this board.
    pub board: Option<String>,
    /// Of a job called so.
    pub job: Option<String>,
}

/// A run, in a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// Its name: its directory's.
    pub run: String,
    /// The name of its job.
    pub job: String,
    /// The number of its job; nothing for a run that the lab did not begin.
    pub job_id: Option<JobId>,
    /// The board.
    pub board: String,
    /// The board's type.
    pub board_type: String,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What it came to, once it has ended.
    pub verdict: Option<Verdict>,
    /// Its results, counted.
    pub tally: Tally,
    /// How long it took.
    pub seconds: Option<f64>,
}

impl JobFilter {
    /// Whether a job is one of these.
    pub fn takes(&self, job: &JobView) -> bool {
        self.state.is_none_or(|state| state == job.state)
            && self.board.as_ref().is_none_or(|board| job.board.as_ref() == Some(board))
            && self.submitter.as_ref().is_none_or(|submitter| *submitter == job.submitter)
            && self.name.as_ref().is_none_or(|name| *name == job.name)
    }
}

impl RunFilter {
    /// Whether a run is one of these.
    pub fn takes(&self, run: &RunRow) -> bool {
        self.board.as_ref().is_none_or(|board| *board == run.board)
            && self.job.as_ref().is_none_or(|job| *job == run.job)
    }
}

#[cfg(test)]
pub(crate) mod memory {
    //! A history for tests.

    use std::sync::Mutex;

    use super::*;

    /// Jobs with their definitions and runs, the oldest first.
    #[derive(Debug, Default)]
    pub(crate) struct Memory {
        pub(crate) jobs: Mutex<Vec<(JobView, String)>>,
        pub(crate) runs: Mutex<Vec<RunRow>>,
    }

    impl History for Memory {
        fn jobs(&self, filter: &JobFilter, before: Option<JobId>, limit: usize) -> Vec<JobView> {
            let jobs = self.jobs.lock().unwrap();
            let jobs = jobs.iter().rev().map(|(job, _)| job);
            let jobs = jobs.filter(|job| before.is_none_or(|before| job.id < before));
            jobs.filter(|job| filter.takes(job)).take(limit).cloned().collect()
        }

        fn job(&self, id: JobId) -> Option<JobView> {
            let jobs = self.jobs.lock().unwrap();
            jobs.iter().map(|(job, _)| job).find(|job| job.id == id).cloned()
        }

        fn definition(&self, id: JobId) -> Option<String> {
            let jobs = self.jobs.lock().unwrap();
            jobs.iter().find(|(job, _)| job.id == id).map(|(_, text)| text.clone())
        }

        fn runs(&self, filter: &RunFilter, before: Option<&str>, limit: usize) -> Vec<RunRow> {
            let runs = self.runs.lock().unwrap();
            let end = match before {
                Some(before) => runs.iter().position(|run| run.run == before).unwrap_or(0),
                None => runs.len(),
            };
            runs[..end].iter().rev().filter(|run| filter.takes(run)).take(limit).cloned().collect()
        }
    }
}
