//! What is begun now, on which board, and why the rest waits.
//!
//! The jobs of a group begin all at once or not at all. The first group that has to wait for boards which jobs use now
//! holds those that are free until they are enough: what it holds is a part of a matching of its jobs and boards, so each
//! board that it needs and that becomes free makes it larger. Only one group holds boards, so groups cannot wait for each
//! other's; and it goes on holding them while others of its priority come, so that none waits for ever.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::board::{HealthCheck, Standing};
use super::view::{BoardState, JobId, JobState, JobView};
use super::{HEALTH_SUBMITTER, Lab, NewJob, Step};
use crate::config::lab::BoardWish;
use crate::config::matching::matching;

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
                node: None,
            };
            let job = self.number(now, job, true);
            let id = job.id;
            self.jobs.insert(id, job);
            self.begin(now, &[(id, name)], Some(check));
        }
    }

    fn begin_jobs(&mut self, now: Timestamp) {
        let mut free: BTreeSet<String> = self
            .boards
            .iter()
            .filter(|(_, board)| board.is_free() && board.takes_jobs())
            .map(|(name, _)| name.clone())
            .collect();
        let is_queued =
            |id: &JobId| self.jobs.get(id).is_some_and(|job| job.state == JobState::Queued);
        let holder = self.holder.filter(is_queued);
        self.holder = None;
        self.held.clear();
        for id in self.order(holder) {
            // Without a free board it only remains to be said which group gets the next one.
            if free.is_empty() && self.holder.is_some() {
                break;
            }
            let Some(job) = self.jobs.get(&id) else { continue };
            let ids = self.group_of(job);
            // Those of a group have one turn, that of the first.
            if ids.first() != Some(&id) || (free.is_empty() && ids.len() == 1) {
                continue;
            }
            let found = self.boards_for(&ids, &free);
            let submitter = job.submitter.clone();
            if found.len() == ids.len() {
                free.retain(|name| !found.iter().any(|(_, taken)| taken == name));
                self.turns.note(&submitter);
                self.begin(now, &found, None);
            } else if self.holder.is_none() && ids.len() > 1 && self.will_have_boards(&ids) {
                free.retain(|name| !found.iter().any(|(_, taken)| taken == name));
                self.held = found.into_iter().map(|(_, name)| name).collect();
                self.holder = Some(id);
            }
        }
    }

    /// The jobs that wait in the order of their turns; `holder` before all others of its priority.
    fn order(&self, holder: Option<JobId>) -> Vec<JobId> {
        let mut order = self.turns.order(self.jobs.values());
        if let Some(holder) = holder.and_then(|id| self.jobs.get(&id)) {
            order.retain(|id| *id != holder.id);
            let is_behind =
                |id: &JobId| self.jobs.get(id).is_some_and(|job| job.priority <= holder.priority);
            let place = order.iter().position(is_behind).unwrap_or(order.len());
            order.insert(place, holder.id);
        }
        order
    }

    /// A board for each of these jobs, or for as many as possible.
    fn boards_for(&self, ids: &[JobId], free: &BTreeSet<String>) -> Vec<(JobId, String)> {
        let jobs: Vec<&JobView> = ids.iter().filter_map(|id| self.jobs.get(id)).collect();
        // A job that failed on a board through no fault of its own has better chances on another.
        let is_last = |name: &&String| jobs.iter().any(|job| job.board.as_ref() == Some(*name));
        let (last, others): (Vec<&String>, Vec<&String>) = free.iter().partition(is_last);
        let names: Vec<&String> = others.into_iter().chain(last).collect();
        let meets = |job: usize, name: usize| {
            let name = names[name];
            self.boards.get(name).is_some_and(|board| board.meets(name, &jobs[job].board_wish))
        };
        let found = matching(jobs.len(), names.len(), meets);
        let found = jobs.iter().zip(found);
        found.filter_map(|(job, name)| Some((job.id, names[name?].clone()))).collect()
    }

    /// Whether there are boards for all of these once the jobs that run now have ended.
    fn will_have_boards(&self, ids: &[JobId]) -> bool {
        let is_coming = |board: &Standing| {
            board.takes_jobs() && board.kept.lease.is_none() && board.obstacle.is_empty()
        };
        let coming = self.boards.iter().filter(|(_, board)| is_coming(board));
        let coming: BTreeSet<String> = coming.map(|(name, _)| name.clone()).collect();
        self.boards_for(ids, &coming).len() == ids.len()
    }

    /// Begins these jobs, each on its board.
    fn begin(&mut self, now: Timestamp, places: &[(JobId, String)], check: Option<HealthCheck>) {
        let mut begun = Vec::new();
        for (id, name) in places {
            let (Some(job), Some(board)) = (self.jobs.get_mut(id), self.boards.get_mut(name))
            else {
                continue;
            };
            job.state = JobState::Running;
            job.board = Some(name.to_owned());
            job.started = Some(now);
            job.run = None;
            job.attempt += 1;
            job.error.clear();
            job.waits_for.clear();
            board.job = Some(*id);
            begun.push(job.clone());
        }
        self.steps.push_back(Step::Jobs(begun.clone()));
        self.steps.extend(places.iter().map(|(_, name)| Step::Board(name.clone())));
        let begin = |job| Step::Begin { job: Box::new(job), check: check.clone() };
        self.steps.extend(begun.into_iter().map(begin));
    }

    /// Says of each job that waits why it does.
    fn explain(&mut self) {
        let mut groups: BTreeMap<JobId, String> = BTreeMap::new();
        let mut said: Vec<(JobId, String)> = Vec::new();
        for job in self.jobs.values() {
            let waits_for = match (job.state, &job.group) {
                (JobState::Running, Some(_)) if job.verdict.is_some() => OTHERS.to_owned(),
                (JobState::Queued, _) if !self.paused.is_empty() => self.paused.clone(),
                (JobState::Queued, None) => self.why_waiting(&job.board_wish),
                (JobState::Queued, Some(group)) => groups
                    .entry(group.first)
                    .or_insert_with(|| self.why_group_waits(&self.group_of(job)))
                    .clone(),
                _ => continue,
            };
            if job.waits_for != waits_for {
                said.push((job.id, waits_for));
            }
        }
        for (id, waits_for) in said {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.waits_for = waits_for;
                self.steps.push_back(Step::Show(Box::new(job.clone())));
            }
        }
    }

    fn why_group_waits(&self, ids: &[JobId]) -> String {
        let jobs = ids.iter().filter_map(|id| self.jobs.get(id));
        let whys = jobs.map(|job| self.why_waiting(&job.board_wish));
        if let Some(why) = whys.into_iter().find(|why| !why.starts_with(FREE_BOARD)) {
            return why;
        }
        let boards = ids.len();
        if !self.will_have_boards(ids) {
            return format!("{boards} boards at once, of which some are not given to jobs now");
        }
        if self.held.is_empty() || self.holder.as_ref() != ids.first() {
            return format!("{boards} free boards at once");
        }
        let held: Vec<&str> = self.held.iter().map(String::as_str).collect();
        format!("{boards} free boards at once; held for it: {}", held.join(", "))
    }

    fn why_waiting(&self, wish: &BoardWish) -> String {
        let fitting = self.boards.iter().filter(|(name, board)| board.meets(name, wish));
        let mut fitting = fitting.peekable();
        if fitting.peek().is_none() {
            return "no board of the lab is what it asks for".to_owned();
        }
        let (mut obstacle, mut held) = ("", None);
        let mut takes_jobs = false;
        for (name, board) in fitting {
            takes_jobs |= board.takes_jobs();
            if board.state() == BoardState::Idle && board.takes_jobs() {
                if !board.obstacle.is_empty() {
                    obstacle = &board.obstacle;
                }
                held = held.or_else(|| self.held.get(name).zip(self.holder));
            }
        }
        match (takes_jobs, obstacle, held) {
            (false, ..) => "every board that it could have is bad or in maintenance".to_owned(),
            (true, "", None) => FREE_BOARD.to_owned(),
            (true, "", Some((name, holder))) => {
                format!(
                    "{FREE_BOARD}; {name} is held for job {holder}, which needs several at once"
                )
            }
            (true, obstacle, _) => obstacle.to_owned(),
        }
    }
}

const FREE_BOARD: &str = "a free board";
const OTHERS: &str = "the job's other boards";
