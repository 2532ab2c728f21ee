//! What the lab shows of itself: boards, jobs, the queue. What the HTTP interface, the page and the commands speak of.
//!
//! Data only; `docs/lab.md` is its description. Names are only ever added.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::lab::BoardWish;
use crate::job::verdict::{Tally, Verdict};

/// The number of a job in its lab: 1, 2, 3, … in the order in which they were accepted.
pub type JobId = u64;

/// A board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoardView {
    /// Its name in the lab.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub board_type: String,
    /// What jobs may ask for beside the type.
    pub tags: Vec<String>,
    /// What it is used for at the moment.
    pub state: BoardState,
    /// Whether jobs are given to it.
    pub health: Health,
    /// Why its health is what it is; empty where nothing was said.
    pub health_reason: String,
    /// Since when.
    pub health_since: Option<Timestamp>,
    /// The phase, as in docs/board-lifecycle.md: `off`, `boot loader`, `booting test`, `up master`, …
    pub phase: String,
    /// The job that runs on it.
    pub job: Option<JobId>,
    /// The run of that job.
    pub run: Option<String>,
    /// The step of the job that is being done.
    pub action: String,
    /// How far that is, from 0 to 1, where this is known.
    pub progress: Option<f64>,
    /// Who has it for himself.
    pub lease: Option<Lease>,
    /// The last line on its console; at most 200 characters, none of them a control character.
    pub last_line: String,
    /// How good its line is, in a word: `good`, or what is wrong with it.
    pub line: String,
    /// Bytes that came on its line since the dispatcher began.
    pub received_bytes: u64,
    /// Its last runs, the newest last; at most 20.
    pub recent: Vec<RecentRun>,
}

/// What a board is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoardState {
    /// Nothing.
    Idle,
    /// A job.
    Running,
    /// A person has acquired it.
    Acquired,
}

/// Whether jobs are given to a board; LAVA's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Its last health check passed: it gets jobs.
    Good,
    /// Nobody knows: it gets jobs, after a health check where its type has one.
    #[default]
    Unknown,
    /// Its health check runs on it again and again, until a person says otherwise. No jobs.
    Looping,
    /// Its health check failed. No jobs, until one passes or a person says otherwise.
    Bad,
    /// A person works on it. No jobs, no health checks.
    Maintenance,
    /// It will not come back.
    Retired,
}

/// Who has a board for himself, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who.
    pub holder: String,
    /// What for; may be empty.
    pub reason: String,
    /// Until when, if nobody releases it before.
    pub until: Timestamp,
}

/// How one run on a board ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentRun {
    /// The run.
    pub run: String,
    /// What it came to.
    pub verdict: Verdict,
}

/// A job: queued, running or ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Its number.
    pub id: JobId,
    /// The name that its file gives it.
    pub name: String,
    /// Who submitted it.
    pub submitter: String,
    /// 0 to 100; a larger one is begun earlier.
    pub priority: u8,
    /// The board that it asks for.
    pub board_wish: BoardWish,
    /// The folder of its file among the files that came with it; empty where these lie beside it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub folder: String,
    /// Its place among the jobs that one of several boards became; nothing for a job of one board.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupView>,
    /// Whether it is the health check of the board that it asks for.
    pub is_health_check: bool,
    /// Somebody wants its run to end for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_canceled: bool,
    /// How far it is.
    pub state: JobState,
    /// Why it still waits; empty when it does not.
    pub waits_for: String,
    /// When it was accepted.
    pub submitted: Timestamp,
    /// When its last run began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The board of its last run.
    pub board: Option<String>,
    /// Its last run.
    pub run: Option<String>,
    /// How often it was begun; more than once where the lab failed and it was tried again.
    pub attempt: u32,
    /// What it came to, once it has ended; of one in a group already when its own run is over and it waits for the others'.
    pub verdict: Option<Verdict>,
    /// What stopped it, in a line.
    pub error: String,
    /// Its results, counted; as far as they are known.
    pub tally: Tally,
}

/// The place of a job among those that one job of several boards became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// The number of the first of them; the others' follow it.
    pub first: JobId,
    /// How many there are.
    pub boards: u32,
    /// Which of them it is: its role, and where several boards have that, a number: `client-2`.
    pub node: String,
    /// Its role.
    pub role: String,
}

impl GroupView {
    /// The numbers of all of them.
    pub fn ids(&self) -> impl Iterator<Item = JobId> + use<> {
        self.first..self.first.saturating_add(u64::from(self.boards))
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits for a board.
    Queued,
    /// It is on a board.
    Running,
    /// It is over.
    Ended,
}

/// The lab as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabView {
    /// The dispatcher's version.
    pub version: String,
    /// Since when it runs.
    pub started: Option<Timestamp>,
    /// Why no job is begun at the moment; empty when jobs are.
    pub paused: String,
    /// Boards.
    pub boards: u64,
    /// Jobs that wait.
    pub queued: u64,
    /// Jobs that run.
    pub running: u64,
}

impl JobState {
    /// The word, as it stands everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Ended => "ended",
        }
    }
}

impl BoardState {
    /// The word, as it stands everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Acquired => "acquired",
        }
    }
}

impl Health {
    /// The word, as it stands everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Looping => "looping",
            Self::Bad => "bad",
            Self::Maintenance => "maintenance",
            Self::Retired => "retired",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_json() {
        let is_json = |word: &str, value: serde_json::Value| assert_eq!(value, word);
        for state in [JobState::Queued, JobState::Running, JobState::Ended] {
            is_json(state.as_str(), serde_json::json!(state));
        }
        for state in [BoardState::Idle, BoardState::Running, BoardState::Acquired] {
            is_json(state.as_str(), serde_json::json!(state));
        }
        for health in [
            Health::Good,
            Health::Unknown,
            Health::Looping,
            Health::Bad,
            Health::Maintenance,
            Health::Retired,
        ] {
            is_json(health.as_str(), serde_json::json!(health));
        }
    }
}
