//! What the lab knows of one board beside its line: what it is used for, who has it, how healthy it is.

use std::collections::VecDeque;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::view::{BoardState, Health, JobId, Lease, RecentRun};
use crate::config::lab::BoardWish;
use crate::job::verdict::{ErrorClass, Verdict};

/// One board of the lab.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its type.
    pub board_type: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// What its type's health check is, if it has one.
    pub check: Option<HealthCheck>,
    /// The job that runs on it.
    pub job: Option<JobId>,
    /// What outlives the dispatcher.
    pub kept: Kept,
    /// Why no job can be given to it at the moment although it is idle: its folder is in use, its line is closing.
    pub obstacle: String,
    /// It is not in the lab file any more, and goes when it is idle.
    pub is_leaving: bool,
}

/// What of a board outlives the dispatcher.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// How healthy it is.
    pub health: Health,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Who has it for himself.
    pub lease: Option<Lease>,
    /// When its last health check ended.
    pub checked: Option<Timestamp>,
    /// Jobs that ended on it since then.
    pub jobs_since_check: u32,
    /// Jobs in a row that ended with an InfrastructureError.
    pub failures_in_a_row: u32,
    /// Its last runs, the newest last.
    pub recent: VecDeque<RecentRun>,
}

/// A job that shows whether a board works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The job's file.
    pub file: PathBuf,
    /// The name in it.
    pub name: String,
    /// It is due when the last one is so old.
    pub every: Option<std::time::Duration>,
    /// It is due after so many jobs.
    pub every_jobs: Option<u32>,
}

impl Standing {
    /// A board that is new in the lab.
    pub fn new(board_type: String, tags: Vec<String>, check: Option<HealthCheck>) -> Self {
        Self {
            board_type,
            tags,
            check,
            job: None,
            kept: Kept::default(),
            obstacle: String::new(),
            is_leaving: false,
        }
    }

    /// What it is used for.
    pub fn state(&self) -> BoardState {
        match (&self.job, &self.kept.lease) {
            (Some(_), _) => BoardState::Running,
            (None, Some(_)) => BoardState::Acquired,
            (None, None) => BoardState::Idle,
        }
    }

    /// Whether a job may ask for it, now or later.
    pub fn meets(&self, name: &str, wish: &BoardWish) -> bool {
        !self.is_leaving
            && self.kept.health != Health::Retired
            && wish.is_met(name, &self.board_type, &self.tags)
    }

    /// Whether something can be begun on it at this moment.
    pub fn is_free(&self) -> bool {
        self.state() == BoardState::Idle && self.obstacle.is_empty() && !self.is_leaving
    }

    /// Whether jobs that people submit are given to it.
    pub fn takes_jobs(&self) -> bool {
        matches!(self.kept.health, Health::Good | Health::Unknown)
    }

    /// Whether its health check is due.
    pub fn is_check_due(&self, now: Timestamp) -> bool {
        let Some(check) = &self.check else { return false };
        match self.kept.health {
            Health::Looping => true,
            Health::Unknown => true,
            Health::Good => {
                let is_old = self.check_due_at().is_some_and(|due| due <= now);
                is_old || check.every_jobs.is_some_and(|every| self.kept.jobs_since_check >= every)
            }
            Health::Bad | Health::Maintenance | Health::Retired => false,
        }
    }

    /// When the health check of a good board is due by its age.
    pub fn check_due_at(&self) -> Option<Timestamp> {
        let every = self.check.as_ref()?.every?;
        let every = SignedDuration::try_from(every).ok()?;
        match self.kept.checked {
            _ if self.kept.health != Health::Good => None,
            Some(checked) => checked.checked_add(every).ok(),
            None => Some(Timestamp::UNIX_EPOCH),
        }
    }

    /// A person, or the lab, says how healthy it is.
    pub fn set_health(&mut self, now: Timestamp, health: Health, reason: impl Into<String>) {
        let kept = &mut self.kept;
        if kept.health != health {
            kept.since = Some(now);
            kept.failures_in_a_row = 0;
        }
        kept.health = health;
        kept.reason = reason.into();
    }

    /// A run on it ended. With `says_nothing` that is no sign of how healthy it is.
    pub fn note_run(
        &mut self,
        now: Timestamp,
        run: &str,
        verdict: Verdict,
        is_check: bool,
        says_nothing: bool,
    ) {
        let kept = &mut self.kept;
        if !run.is_empty() {
            kept.recent.push_back(RecentRun { run: run.to_owned(), verdict });
            while kept.recent.len() > RECENT_MAX {
                kept.recent.pop_front();
            }
        }
        if says_nothing || verdict.error_class() == Some(ErrorClass::Canceled) {
            return;
        }
        if is_check {
            kept.checked = Some(now);
            kept.jobs_since_check = 0;
            match (kept.health, verdict) {
                // A person looks at what they come to.
                (Health::Looping | Health::Maintenance | Health::Retired, _) => {}
                (_, Verdict::Passed) => {
                    self.set_health(now, Health::Good, "its health check passed")
                }
                (_, verdict) => {
                    let reason = format!("its health check ended with {verdict} in {run}");
                    self.set_health(now, Health::Bad, reason);
                }
            }
            return;
        }
        kept.jobs_since_check = kept.jobs_since_check.saturating_add(1);
        if verdict.error_class() != Some(ErrorClass::InfrastructureError) {
            kept.failures_in_a_row = 0;
            return;
        }
        kept.failures_in_a_row += 1;
        if !matches!(kept.health, Health::Good | Health::Unknown) {
            return;
        }
        if self.check.is_some() {
            let reason = format!("{run} ended with {verdict}");
            self.set_health(now, Health::Unknown, reason);
        } else if kept.failures_in_a_row >= FAILURES_MAX {
            let reason = format!("{FAILURES_MAX} jobs in a row ended with {verdict}");
            self.set_health(now, Health::Bad, reason);
        }
    }
}

/// As many as a page shows side by side.
const RECENT_MAX: usize = 20;
/// Without a health check nobody can tell a bad board from bad luck but by repetition.
const FAILURES_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn board(check: Option<HealthCheck>) -> Standing {
        Standing::new("t".into(), vec!["audio".into()], check)
    }

    fn check(every_s: Option<u64>, every_jobs: Option<u32>) -> HealthCheck {
        HealthCheck {
            file: PathBuf::new(),
            name: "health".into(),
            every: every_s.map(std::time::Duration::from_secs),
            every_jobs,
        }
    }

    const INFRASTRUCTURE: Verdict = Verdict::Error(ErrorClass::InfrastructureError);

    #[test]
    fn a_check_makes_a_board_good_or_bad() {
        let mut board = board(Some(check(Some(100), Some(2))));
        assert!(board.is_check_due(at(0)), "nobody knows");
        board.note_run(at(0), "r1", Verdict::Passed, true, false);
        assert_eq!((board.kept.health, board.is_check_due(at(99))), (Health::Good, false));
        assert!(board.is_check_due(at(100)), "it is old");
        board.note_run(at(1), "r2", Verdict::Failed, false, false);
        assert!(!board.is_check_due(at(2)));
        board.note_run(at(2), "r3", Verdict::Failed, false, false);
        assert!(board.is_check_due(at(2)), "two jobs");
        board.note_run(at(3), "r4", Verdict::Failed, true, false);
        assert_eq!((board.kept.health, board.is_check_due(at(1000))), (Health::Bad, false));
        assert_eq!(board.kept.reason, "its health check ended with failed in r4");
        board.set_health(at(4), Health::Looping, "");
        board.note_run(at(5), "r5", INFRASTRUCTURE, true, false);
        assert_eq!((board.kept.health, board.is_check_due(at(5))), (Health::Looping, true));
    }

    #[test]
    fn failures_of_the_lab_cast_doubt() {
        let mut with_check = board(Some(check(None, None)));
        with_check.note_run(at(0), "r1", Verdict::Passed, true, false);
        with_check.note_run(at(1), "r2", INFRASTRUCTURE, false, false);
        assert_eq!(with_check.kept.health, Health::Unknown);
        assert!(with_check.is_check_due(at(1)));
        let mut without = board(None);
        for (verdict, health) in [
            (INFRASTRUCTURE, Health::Unknown),
            (INFRASTRUCTURE, Health::Unknown),
            (Verdict::Failed, Health::Unknown),
            (INFRASTRUCTURE, Health::Unknown),
            (Verdict::Error(ErrorClass::Canceled), Health::Unknown),
            (INFRASTRUCTURE, Health::Unknown),
            (INFRASTRUCTURE, Health::Bad),
        ] {
            without.note_run(at(2), "r", verdict, false, false);
            assert_eq!(without.kept.health, health);
        }
        assert!(!without.takes_jobs());
    }

    #[test]
    fn wishes() {
        let mut board = board(None);
        let wish = |name: Option<&str>, board_type: Option<&str>, tags: &[&str]| BoardWish {
            name: name.map(str::to_owned),
            board_type: board_type.map(str::to_owned),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        };
        assert!(board.meets("a", &wish(None, None, &[])));
        assert!(board.meets("a", &wish(Some("a"), Some("t"), &["audio"])));
        assert!(!board.meets("a", &wish(Some("b"), None, &[])));
        assert!(!board.meets("a", &wish(None, None, &["audio", "video"])));
        board.set_health(at(0), Health::Retired, "");
        assert!(!board.meets("a", &wish(None, None, &[])));
    }
}
