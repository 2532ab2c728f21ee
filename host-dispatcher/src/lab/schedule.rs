//! What is begun now, on which board, and why the rest waits.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::board::{HealthCheck, Standing};
use super::view::{BoardState, JobId, JobState};
use super::{HEALTH_SUBMITTER, Lab, NewJob, Step};
use crate::config::lab::BoardWish;

impl Lab {
    pub(super) fn schedule(&mut self, now: Timestamp) {
        if self.paused.is_empty() {
            self.begin_checks(now);
            self.begin_jobs(now);
        }
        self.explain();
    }

    fn begin_checks(&mut self, now: Timestamp) {
        let due: Vec<(String, HealthCheck)> = self
            .boards
            .iter()
            .filter(|(_, board)| board.is_free() && board.is_check_due(now))
            .filter_map(|(name, board)| Some((name.clone(), board.check.clone()?)))
            .collect();
        for (name, check) in due {
            let job = NewJob {
                name: check.name.clone(),
                submitter: HEALTH_SUBMITTER.to_owned(),
                priority: 100,
                board_wish: BoardWish::named(&name),
                folder: String::new(),
            };
            let job = self.number(now, job, true);
            let id = job.id;
            self.jobs.insert(id, job);
            self.begin(now, id, &name, Some(check));
        }
    }

    fn begin_jobs(&mut self, now: Timestamp) {
        let mut free: BTreeSet<String> = self
            .boards
            .iter()
            .filter(|(_, board)| board.is_free() && board.takes_jobs())
            .map(|(name, _)| name.clone())
            .collect();
        for id in self.turns.order(self.jobs.values()) {
            if free.is_empty() {
                return;
            }
            let Some(job) = self.jobs.get(&id) else { continue };
            let fits = |name: &&String| {
                self.boards.get(*name).is_some_and(|board| board.meets(name, &job.board_wish))
            };
            // A job that failed on a board through no fault of its own has better chances on another.
            let other = |name: &&String| job.board.as_ref() != Some(*name);
            let chosen = free.iter().filter(fits).find(other).or_else(|| free.iter().find(fits));
            let Some(name) = chosen.cloned() else { continue };
            free.remove(&name);
            let submitter = job.submitter.clone();
            self.turns.note(&submitter);
            self.begin(now, id, &name, None);
        }
    }

    fn begin(&mut self, now: Timestamp, id: JobId, name: &str, check: Option<HealthCheck>) {
        let (Some(job), Some(board)) = (self.jobs.get_mut(&id), self.boards.get_mut(name)) else {
            return;
        };
        job.state = JobState::Running;
        job.board = Some(name.to_owned());
        job.started = Some(now);
        job.run = None;
        job.attempt += 1;
        job.error.clear();
        job.waits_for.clear();
        board.job = Some(id);
        let job = Box::new(job.clone());
        self.steps.push_back(Step::Job(job.clone()));
        self.steps.push_back(Step::Board(name.to_owned()));
        self.steps.push_back(Step::Begin { job, check });
    }

    /// Says of each job that waits why it does.
    fn explain(&mut self) {
        let boards = &self.boards;
        for job in self.jobs.values_mut().filter(|job| job.state == JobState::Queued) {
            let waits_for = if self.paused.is_empty() {
                why_waiting(boards, &job.board_wish)
            } else {
                self.paused.clone()
            };
            if job.waits_for != waits_for {
                job.waits_for = waits_for;
                self.steps.push_back(Step::Show(Box::new(job.clone())));
            }
        }
    }
}

fn why_waiting(boards: &BTreeMap<String, Standing>, wish: &BoardWish) -> String {
    let mut fitting = boards.iter().filter(|(name, board)| board.meets(name, wish)).peekable();
    if fitting.peek().is_none() {
        return "no board of the lab is what it asks for".to_owned();
    }
    let mut obstacle = "";
    let mut takes_jobs = false;
    for (_, board) in fitting {
        takes_jobs |= board.takes_jobs();
        if board.state() == BoardState::Idle && board.takes_jobs() && !board.obstacle.is_empty() {
            obstacle = &board.obstacle;
        }
    }
    match (takes_jobs, obstacle) {
        (false, _) => "every board that it could have is bad or in maintenance".to_owned(),
        (true, "") => "a free board".to_owned(),
        (true, obstacle) => obstacle.to_owned(),
    }
}
