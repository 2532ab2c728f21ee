//! In which order jobs that wait are begun.
//!
//! The larger priority first. Among equals the submitter with fewer jobs on boards, then the one whose turn is longer
//! ago, then the job that was accepted first. So nobody waits behind somebody else's thousand jobs.

use std::collections::BTreeMap;

use super::view::{JobId, JobState, JobView};

/// Who had how much lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// The number of the last turn that each submitter had.
    last: BTreeMap<String, u64>,
    count: u64,
}

impl Turns {
    /// A job of this submitter is begun.
    pub fn note(&mut self, submitter: &str) {
        self.count += 1;
        self.last.insert(submitter.to_owned(), self.count);
        if self.last.len() > SUBMITTERS_MAX
            && let Some(oldest) = self.last.iter().min_by_key(|(_, turn)| **turn)
        {
            let oldest = oldest.0.clone();
            self.last.remove(&oldest);
        }
    }

    /// The jobs that wait, in the order in which they would be begun if there were boards for all of them now.
    pub fn order<'j>(&self, jobs: impl Iterator<Item = &'j JobView> + Clone) -> Vec<JobId> {
        let mut running: BTreeMap<&str, u64> = BTreeMap::new();
        for job in jobs.clone().filter(|job| job.state == JobState::Running) {
            *running.entry(&job.submitter).or_default() += 1;
        }
        let mut mine: BTreeMap<(&str, u8), u64> = BTreeMap::new();
        let mut waiting: Vec<_> = jobs
            .filter(|job| job.state == JobState::Queued)
            .map(|job| {
                // Each job of a submitter that is ahead of it counts as if it were running by then.
                let ahead = mine.entry((&job.submitter, job.priority)).or_default();
                let used = running.get(job.submitter.as_str()).copied().unwrap_or(0) + *ahead;
                *ahead += 1;
                let turn = self.last.get(&job.submitter).copied().unwrap_or(0);
                (std::cmp::Reverse(job.priority), used, turn, job.id)
            })
            .collect();
        waiting.sort_unstable();
        waiting.into_iter().map(|(.., id)| id).collect()
    }
}

/// More people than a lab has.
const SUBMITTERS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::super::tests::job;
    use super::*;

    fn queued(id: JobId, submitter: &str, priority: u8) -> JobView {
        JobView { submitter: submitter.into(), priority, ..job(id) }
    }

    #[test]
    fn priority_then_fairness_then_age() {
        let mut jobs = [
            queued(1, "ann", 50),
            queued(2, "ann", 50),
            queued(3, "ann", 50),
            queued(4, "bob", 50),
            queued(5, "cid", 90),
            queued(6, "bob", 50),
        ];
        let mut turns = Turns::default();
        assert_eq!(turns.order(jobs.iter()), [5, 1, 4, 2, 6, 3]);
        turns.note("ann");
        assert_eq!(turns.order(jobs.iter()), [5, 4, 1, 6, 2, 3], "bob's turn is longer ago");
        jobs[3].state = JobState::Running;
        assert_eq!(turns.order(jobs.iter()), [5, 1, 6, 2, 3], "bob has one already");
    }
}
