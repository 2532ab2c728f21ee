//! Jobs of several boards: accepted, canceled, ended and tried again together.
//!
//! What each board does is a job of its own, with its own number, board and run. One whose run is over while others go
//! on still counts as running: its board is free, its verdict stands in it, and it ends with the last of them, or is
//! tried again with them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::view::{GroupView, JobId, JobState, JobView};
use super::{ATTEMPTS_MAX, JOBS_MAX, Lab, LabError, NewJob, RunEnd, Step};
use crate::config::matching::matching;
use crate::job::verdict::{ErrorClass, Tally, Verdict};

impl Lab {
    /// The jobs of one submission are accepted, all or none, and wait: several are for boards of one group. The owner keeps
    /// them before it tells anybody.
    ///
    /// # Errors
    /// The lab has no board for one of them, or not enough of them for all; or too many wait.
    pub fn submit_group(
        &mut self,
        now: Timestamp,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<JobView>, LabError> {
        if self.jobs.len() + jobs.len() > JOBS_MAX {
            return Err(LabError::QueueFull);
        }
        for NewJob { board_wish: wish, .. } in &jobs {
            if !self.boards.iter().any(|(name, board)| board.meets(name, wish)) {
                return Err(LabError::NoSuchBoard(wish.clone()));
            }
        }
        let boards: Vec<_> = self.boards.iter().collect();
        let meets = |job: usize, board: usize| {
            let (name, board) = boards[board];
            board.meets(name, &jobs[job].board_wish)
        };
        let found = matching(jobs.len(), boards.len(), meets);
        if let Some(job) = found.iter().position(Option::is_none) {
            return Err(LabError::TooFew(jobs.len(), jobs[job].board_wish.clone()));
        }
        let (first, boards) = (self.next_id, jobs.len());
        let mut views = Vec::new();
        for mut job in jobs {
            let node = job.node.take().filter(|_| boards > 1);
            let mut view = self.number(now, job, false);
            view.group = node.map(|node| GroupView {
                first,
                boards: u32::try_from(boards).unwrap_or(u32::MAX),
                node: node.label,
                role: node.role,
            });
            self.jobs.insert(view.id, view.clone());
            views.push(view);
        }
        self.is_stale = true;
        Ok(views)
    }

    /// A job shall end, and those of its group with it. One that waits ends at once.
    ///
    /// # Errors
    /// There is none that has not ended.
    pub fn cancel(&mut self, now: Timestamp, id: JobId) -> Result<JobView, LabError> {
        let job = self.jobs.get(&id).ok_or(LabError::NoJob(id))?;
        let is_running = job.state == JobState::Running;
        let ids = self.group_of(job);
        // What was held for it is free.
        self.is_stale = true;
        let mut views = Vec::new();
        for id in &ids {
            let Some(job) = self.jobs.get_mut(id) else { continue };
            if is_running {
                job.is_canceled = true;
            } else {
                let end = RunEnd {
                    verdict: Verdict::Error(ErrorClass::Canceled),
                    ..RunEnd::of_lab("canceled while it waited")
                };
                note_end(job, &end);
                end_job(job, now);
            }
            views.push(job.clone());
        }
        self.tell(&ids);
        if is_running {
            let on_boards = views.iter().filter(|job| job.verdict.is_none());
            let boards = on_boards.filter_map(|job| job.board.clone());
            self.steps.extend(boards.map(|board| Step::Stop { board }));
        } else {
            ids.iter().for_each(|id| drop(self.jobs.remove(id)));
        }
        views.into_iter().find(|job| job.id == id).ok_or(LabError::NoJob(id))
    }

    /// What the run of a job came to stands in it: it ends, or waits again where the lab is to blame; with all of its
    /// group, when the last of their runs is over.
    pub(super) fn settle(&mut self, now: Timestamp, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let ids = self.group_of(job);
        let jobs = || ids.iter().filter_map(|id| self.jobs.get(id));
        if jobs().any(|job| job.verdict.is_none()) {
            return self.tell(&[id]);
        }
        let infrastructure = Some(Verdict::Error(ErrorClass::InfrastructureError));
        let is_labs = jobs().any(|job| job.verdict == infrastructure);
        // Whatever else went wrong with what is canceled by then: it is not tried again.
        let is_final =
            |job: &JobView| job.is_health_check || job.is_canceled || job.attempt >= ATTEMPTS_MAX;
        let is_tried_again = is_labs && !jobs().any(is_final);
        for id in &ids {
            let Some(job) = self.jobs.get_mut(id) else { continue };
            if is_tried_again {
                job.state = JobState::Queued;
                job.verdict = None;
                job.tally = Tally::default();
            } else {
                end_job(job, now);
            }
        }
        self.tell(&ids);
        if !is_tried_again {
            ids.iter().for_each(|id| drop(self.jobs.remove(id)));
        }
    }

    /// The numbers of a job's group, its own among them; of a job for one board that alone.
    pub(super) fn group_of(&self, job: &JobView) -> Vec<JobId> {
        match &job.group {
            None => vec![job.id],
            Some(group) => group.ids().filter(|id| self.jobs.contains_key(id)).collect(),
        }
    }

    /// These jobs are different now, all at once.
    pub(super) fn tell(&mut self, ids: &[JobId]) {
        let jobs: Vec<JobView> = ids.iter().filter_map(|id| self.jobs.get(id)).cloned().collect();
        self.steps.push_back(Step::Jobs(jobs));
    }

    /// Ends those jobs whose groups are not whole: what was known of the others is lost, and without them nothing can be
    /// done.
    pub(super) fn end_torn_groups(&mut self, now: Timestamp) {
        let mut there: BTreeMap<JobId, u32> = BTreeMap::new();
        for group in self.jobs.values().filter_map(|job| job.group.as_ref()) {
            *there.entry(group.first).or_default() += 1;
        }
        let is_torn = |group: &GroupView| there.get(&group.first) != Some(&group.boards);
        let torn: Vec<JobId> = self
            .jobs
            .values()
            .filter(|job| job.group.as_ref().is_some_and(is_torn))
            .map(|job| job.id)
            .collect();
        for id in torn {
            let Some(mut job) = self.jobs.remove(&id) else { continue };
            if job.verdict.is_none() {
                note_end(&mut job, &RunEnd::of_lab("what was known of its other boards is lost"));
            }
            end_job(&mut job, now);
            self.steps.push_back(Step::Jobs(vec![job]));
        }
    }
}

/// What its run came to.
pub(super) fn note_end(job: &mut JobView, end: &RunEnd) {
    job.verdict = Some(end.verdict);
    job.error.clone_from(&end.error);
    job.tally = end.tally;
}

fn end_job(job: &mut JobView, now: Timestamp) {
    job.state = JobState::Ended;
    job.ended = Some(now);
    job.waits_for.clear();
}
