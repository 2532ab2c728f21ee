//! A lab of many boards: which job is begun on which board, and when; who may use a board; how healthy it is.
//!
//! Pure: what happened and the time go in, what is to be done comes out. Knows nothing of lines, files and sockets. Its
//! time is the wall clock's, because leases and health checks outlive the dispatcher; when that jumps, they are due
//! earlier or later, and nothing else happens.

pub mod board;
mod group;
pub mod queue;
mod schedule;
pub mod view;

#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

use crate::config::lab::BoardWish;
use crate::job::verdict::{ErrorClass, Tally, Verdict};
use board::{HealthCheck, Kept, Standing};
use queue::Turns;
use view::{BoardState, Health, JobId, JobState, JobView, Lease};

/// The lab.
#[derive(Clone, Debug, Default)]
pub struct Lab {
    boards: BTreeMap<String, Standing>,
    /// Those that have not ended.
    jobs: BTreeMap<JobId, JobView>,
    next_id: JobId,
    turns: Turns,
    /// The first job of the group for which free boards are held until there are enough.
    holder: Option<JobId>,
    /// These boards.
    held: BTreeSet<String>,
    paused: String,
    steps: VecDeque<Step>,
    /// Something happened that may let a job begin.
    is_stale: bool,
}

/// What the owner is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Begin a run of a job on a board.
    Begin {
        /// The job; its attempt and its board stand in it.
        job: Box<JobView>,
        /// The definition, where it is the health check of the board's type.
        check: Option<HealthCheck>,
    },
    /// End the run on a board, because its job was cancelled.
    Stop {
        /// The board.
        board: String,
    },
    /// A job is different now, or all those of a group: keep all of them or none, and show them.
    Jobs(Vec<JobView>),
    /// What a job waits for, or what it has counted so far, is different now: show it. It need not outlive the dispatcher,
    /// and may change for thousands of jobs at once.
    Show(Box<JobView>),
    /// A board is different now: keep it and show it.
    Board(String),
    /// A board is not in the lab any more.
    BoardGone(String),
}

/// A board as the lab file describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct BoardEntry {
    /// Its name.
    pub name: String,
    /// Its type.
    pub board_type: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// The health check of its type.
    pub check: Option<HealthCheck>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEnd {
    /// The run's name; empty if there was none.
    pub run: String,
    /// What it came to.
    pub verdict: Verdict,
    /// What stopped it, in a line.
    pub error: String,
    /// Its results, counted.
    pub tally: Tally,
    /// The dispatcher died during it: what came of that says nothing of the board.
    pub was_interrupted: bool,
    /// Another board of its job was not there: what came of that says nothing of this one.
    pub is_others: bool,
}

impl RunEnd {
    /// The lab is to blame.
    pub fn of_lab(error: impl Into<String>) -> Self {
        Self {
            run: String::new(),
            verdict: Verdict::Error(ErrorClass::InfrastructureError),
            error: error.into(),
            tally: Tally::default(),
            was_interrupted: false,
            is_others: false,
        }
    }
}

/// Why the lab does not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabError {
    /// It has no such board.
    NoBoard(String),
    /// It has no such job, or it has ended long ago.
    NoJob(JobId),
    /// No board of the lab is what the job asks for.
    NoSuchBoard(BoardWish),
    /// It has not enough of them for all boards of a job, of which there are so many; there is none left for this one.
    TooFew(usize, BoardWish),
    /// So many jobs wait already.
    QueueFull,
    /// The board is used.
    InUse(String, BoardState),
    /// Somebody else has it.
    NotYours(String, String),
    /// Nobody has acquired it.
    NotAcquired(String),
    /// Only a health check says that a board is bad.
    NotSaid,
}

impl Lab {
    /// A lab whose next job gets this number, with the jobs that had not ended and the boards as they were.
    pub fn new(now: Timestamp, next_id: JobId, jobs: impl IntoIterator<Item = JobView>) -> Self {
        let jobs: BTreeMap<JobId, JobView> = jobs.into_iter().map(|job| (job.id, job)).collect();
        let next_id = jobs.keys().next_back().map_or(1, |last| last + 1).max(next_id).max(1);
        let mut lab = Self { jobs, next_id, is_stale: true, ..Self::default() };
        lab.end_torn_groups(now);
        lab
    }

    /// The boards are these now. One that runs a job or is acquired stays until that has ended. `kept` says what was
    /// known of a board before.
    pub fn set_boards(
        &mut self,
        entries: impl IntoIterator<Item = BoardEntry>,
        mut kept: impl FnMut(&str) -> Kept,
    ) {
        let mut left: BTreeSet<String> = self.boards.keys().cloned().collect();
        for BoardEntry { name, board_type, tags, check } in entries {
            left.remove(&name);
            match self.boards.get_mut(&name) {
                Some(board) => {
                    (board.board_type, board.tags, board.check) = (board_type, tags, check);
                    board.is_leaving = false;
                }
                None => {
                    let mut board = Standing::new(board_type, tags, check);
                    board.kept = kept(&name);
                    let on_it = |job: &&JobView| {
                        let is_on_board = job.state == JobState::Running && job.verdict.is_none();
                        is_on_board && job.board.as_ref() == Some(&name)
                    };
                    board.job = self.jobs.values().find(on_it).map(|job| job.id);
                    self.boards.insert(name.clone(), board);
                }
            }
            self.steps.push_back(Step::Board(name));
        }
        for name in left {
            if let Some(board) = self.boards.get_mut(&name) {
                board.is_leaving = true;
            }
            self.drop_if_leaving(&name);
        }
        self.is_stale = true;
    }

    /// A job that was accepted could not be kept: it never was.
    pub fn forget(&mut self, id: JobId) {
        self.jobs.remove(&id);
        self.is_stale = true;
    }

    /// A board is to be somebody's for so long; again by the same one, from now.
    ///
    /// # Errors
    /// There is no such board, or it is used.
    pub fn acquire(
        &mut self,
        now: Timestamp,
        name: &str,
        holder: &str,
        reason: &str,
        minutes: u32,
    ) -> Result<(), LabError> {
        let board = self.board_mut(name)?;
        let is_mine = board.kept.lease.as_ref().is_some_and(|lease| lease.holder == holder);
        if board.state() != BoardState::Idle && !(board.job.is_none() && is_mine) {
            return Err(LabError::InUse(name.to_owned(), board.state()));
        }
        let minutes = SignedDuration::from_mins(i64::from(minutes.clamp(1, LEASE_MINUTES_MAX)));
        let until = now.checked_add(minutes).unwrap_or(Timestamp::MAX);
        let (holder, reason) = (holder.to_owned(), reason.to_owned());
        board.kept.lease = Some(Lease { holder, reason, until });
        self.is_stale = true;
        self.steps.push_back(Step::Board(name.to_owned()));
        Ok(())
    }

    /// A board is free again; `holder` is nothing for one who may release what others have.
    ///
    /// # Errors
    /// There is no such board, nobody has it, or somebody else.
    pub fn release(&mut self, name: &str, holder: Option<&str>) -> Result<(), LabError> {
        let board = self.board_mut(name)?;
        let Some(lease) = &board.kept.lease else {
            return Err(LabError::NotAcquired(name.to_owned()));
        };
        if holder.is_some_and(|holder| holder != lease.holder) {
            return Err(LabError::NotYours(name.to_owned(), lease.holder.clone()));
        }
        board.kept.lease = None;
        self.is_stale = true;
        self.steps.push_back(Step::Board(name.to_owned()));
        self.drop_if_leaving(name);
        Ok(())
    }

    /// A person says how healthy a board is.
    ///
    /// # Errors
    /// There is no such board, or only a health check says that.
    pub fn set_health(
        &mut self,
        now: Timestamp,
        name: &str,
        health: Health,
        reason: &str,
    ) -> Result<(), LabError> {
        if health == Health::Bad {
            return Err(LabError::NotSaid);
        }
        self.board_mut(name)?.set_health(now, health, reason);
        self.is_stale = true;
        self.steps.push_back(Step::Board(name.to_owned()));
        Ok(())
    }

    /// Whether, and why, something cannot be begun on a board at the moment; empty when it can.
    pub fn set_obstacle(&mut self, name: &str, obstacle: impl Into<String>) {
        let obstacle = obstacle.into();
        if let Some(board) = self.boards.get_mut(name)
            && board.obstacle != obstacle
        {
            board.obstacle = obstacle;
            self.is_stale = true;
        }
    }

    /// No job is begun while there is a reason; empty: jobs are begun.
    pub fn set_paused(&mut self, reason: impl Into<String>) {
        self.paused = reason.into();
        self.is_stale = true;
    }

    /// The run of a job has begun, in this directory.
    pub fn handle_run_began(&mut self, id: JobId, run: &str) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.run = Some(run.to_owned());
            self.tell(&[id]);
        }
    }

    /// The results of a job that runs, counted so far.
    pub fn handle_tally(&mut self, id: JobId, tally: Tally) {
        if let Some(job) = self.jobs.get_mut(&id)
            && job.tally != tally
            && job.verdict.is_none()
        {
            job.tally = tally;
            self.steps.push_back(Step::Show(Box::new(job.clone())));
        }
    }

    /// The run of a job has ended. Where the lab is to blame, the job waits again, up to a bound.
    pub fn handle_run_ended(&mut self, now: Timestamp, id: JobId, end: RunEnd) {
        self.is_stale = true;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let is_check = job.is_health_check;
        let board = job.board.clone().unwrap_or_default();
        group::note_end(job, &end);
        self.settle(now, id);
        if let Some(standing) = self.boards.get_mut(&board) {
            standing.job = None;
            let is_labs = end.verdict == Verdict::Error(ErrorClass::InfrastructureError);
            let says_nothing = end.is_others || (end.was_interrupted && is_labs);
            standing.note_run(now, &end.run, end.verdict, is_check, says_nothing);
            self.steps.push_back(Step::Board(board.clone()));
        }
        self.drop_if_leaving(&board);
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let is_over =
            |board: &Standing| board.kept.lease.as_ref().is_some_and(|lease| lease.until <= now);
        let over: Vec<String> = self
            .boards
            .iter()
            .filter(|(_, board)| is_over(board))
            .map(|(name, _)| name.clone())
            .collect();
        for name in over {
            // It cannot be refused: it is acquired, and everybody may.
            let _ = self.release(&name, None);
        }
        self.is_stale |= self.boards.values().any(|board| board.is_check_due(now));
    }

    /// The next thing to do.
    pub fn poll_step(&mut self, now: Timestamp) -> Option<Step> {
        if std::mem::take(&mut self.is_stale) {
            self.schedule(now);
        }
        self.steps.pop_front()
    }

    /// When [`Self::handle_timeout`] is due: a lease ends, or a health check is due by its age.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let leases =
            self.boards.values().filter_map(|board| Some(board.kept.lease.as_ref()?.until));
        let checks = self.boards.values().filter(|board| board.is_free());
        leases.chain(checks.filter_map(Standing::check_due_at)).min()
    }

    /// A board.
    pub fn board(&self, name: &str) -> Option<&Standing> {
        self.boards.get(name)
    }

    /// Whether somebody has a board for himself.
    pub fn is_acquired(&self, name: &str) -> bool {
        self.boards.get(name).is_some_and(|board| board.kept.lease.is_some())
    }

    /// All boards by name.
    pub fn boards(&self) -> impl Iterator<Item = (&str, &Standing)> {
        self.boards.iter().map(|(name, board)| (name.as_str(), board))
    }

    /// A job that has not ended.
    pub fn job(&self, id: JobId) -> Option<&JobView> {
        self.jobs.get(&id)
    }

    /// Those that have not ended.
    pub fn jobs(&self) -> impl Iterator<Item = &JobView> {
        self.jobs.values()
    }

    /// Why no job is begun; empty when jobs are.
    pub fn paused(&self) -> &str {
        &self.paused
    }

    fn number(&mut self, now: Timestamp, job: NewJob, is_health_check: bool) -> JobView {
        let id = self.next_id;
        self.next_id += 1;
        JobView { is_health_check, ..job.numbered(id, now) }
    }

    fn board_mut(&mut self, name: &str) -> Result<&mut Standing, LabError> {
        self.boards.get_mut(name).ok_or_else(|| LabError::NoBoard(name.to_owned()))
    }

    fn drop_if_leaving(&mut self, name: &str) {
        let is_over = self
            .boards
            .get(name)
            .is_some_and(|board| board.is_leaving && board.state() == BoardState::Idle);
        if is_over {
            self.boards.remove(name);
            self.steps.push_back(Step::BoardGone(name.to_owned()));
        }
    }
}

/// A job as it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Its name.
    pub name: String,
    /// Who submits it.
    pub submitter: String,
    /// 0 to 100.
    pub priority: u8,
    /// The board that it asks for.
    pub board_wish: BoardWish,
    /// The folder of its file among the files that came with it.
    pub folder: String,
    /// Which of the job's boards it is for, where these are several.
    pub node: Option<NewNode>,
}

/// One of a job's boards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNode {
    /// What tells it from the others.
    pub label: String,
    /// Its role.
    pub role: String,
}

impl NewJob {
    /// As it stands in the queue.
    pub fn numbered(self, id: JobId, now: Timestamp) -> JobView {
        JobView {
            id,
            name: self.name,
            submitter: self.submitter,
            priority: self.priority.min(100),
            board_wish: self.board_wish,
            folder: self.folder,
            group: None,
            is_health_check: false,
            is_canceled: false,
            state: JobState::Queued,
            waits_for: String::new(),
            submitted: now,
            started: None,
            ended: None,
            board: None,
            run: None,
            attempt: 0,
            verdict: None,
            error: String::new(),
            tally: Tally::default(),
        }
    }
}

/// The submitter of health checks.
pub const HEALTH_SUBMITTER: &str = "lab";
/// More than a lab runs in a week; each is a kilobyte.
const JOBS_MAX: usize = 10_000;
/// A job that the lab has failed so often is not tried again.
pub const ATTEMPTS_MAX: u32 = 3;
/// A week. Who needs a board for longer puts it into maintenance.
pub const LEASE_MINUTES_MAX: u32 = 7 * 24 * 60;

impl std::fmt::Display for LabError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoBoard(name) => write!(f, "the lab has no board \"{name}\""),
            Self::NoJob(id) => write!(f, "no job {id} is queued or running"),
            Self::NoSuchBoard(wish) => {
                write!(f, "no board of the lab is what the job asks for: {}", wish.describe())
            }
            Self::TooFew(boards, wish) => f.write_str(
                format!(
                    "the job needs {boards} boards at once, and the lab has not enough for it: there is none left {}",
                    wish.describe()
                )
                .trim_end(),
            ),
            Self::QueueFull => write!(f, "{JOBS_MAX} jobs wait already"),
            Self::InUse(name, BoardState::Running) => write!(f, "{name} runs a job"),
            Self::InUse(name, _) => write!(f, "somebody else has {name}"),
            Self::NotYours(name, holder) => write!(f, "{name} is {holder}'s"),
            Self::NotAcquired(name) => write!(f, "nobody has acquired {name}"),
            Self::NotSaid => {
                f.write_str("only a health check says that a board is bad: use maintenance")
            }
        }
    }
}

impl std::error::Error for LabError {}
