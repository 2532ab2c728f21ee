//! What becomes of the runs that went on when the dispatcher died.
//!
//! | what is on record | what is done |
//! |---|---|
//! | the run's end | its directory is completed, and its verdict counts |
//! | the test image was to boot, and the board can be used | the board is looked for: it runs on by itself |
//! | the same, of one board of several | what they had said to each other is lost: what the board has kept is fetched, and the run ends with an InfrastructureError |
//! | the same, of a job that was canceled | the board is brought back |
//! | less | the run ends with an InfrastructureError, and the job waits again |

use super::database::{job_file, runs_folder};
use super::fleet::Fleet;
use super::log;
use crate::io::clock;
use crate::job::event::{ActionOutcome, Event, Stamped};
use crate::job::verdict::ErrorClass;
use crate::lab::RunEnd;
use crate::lab::view::{JobState, JobView};
use crate::report::summary::Summary;
use crate::store::run_dir::RunDir;
use crate::store::{StoreError, reader};

impl Fleet {
    /// Goes on with every job that ran when the last dispatcher ended.
    pub(super) fn pick_up(&mut self) {
        let running = |job: &&JobView| job.state == JobState::Running && job.verdict.is_none();
        let jobs: Vec<JobView> = self.lab.jobs().filter(running).cloned().collect();
        for job in jobs {
            if let Err(error) = self.pick_up_job(&job) {
                let why =
                    format!("the dispatcher died, and the run cannot be gone on with: {error}");
                self.end_run(job.id, RunEnd::of_lab(why));
            }
        }
    }

    fn pick_up_job(&mut self, job: &JobView) -> Result<(), StoreError> {
        let Some(run) = &job.run else {
            let end = RunEnd {
                was_interrupted: true,
                ..RunEnd::of_lab("the dispatcher died before the run had begun")
            };
            self.end_run(job.id, end);
            return Ok(());
        };
        let path = runs_folder(&self.settings.store).join(run);
        let (mut summary, mut injected) = (Summary::default(), false);
        reader::each(&path, |event| {
            summary.handle_event(event);
            injected |= is_injected(&event.event);
        })?;
        if let Some(verdict) = summary.verdict {
            log::note(&format!("{run}: had ended; completes its directory"));
            let error = summary.errors.first().map(|error| error.message.clone());
            let end = RunEnd {
                run: run.clone(),
                verdict,
                error: error.unwrap_or_default(),
                tally: summary.tally,
                was_interrupted: true,
                is_others: false,
            };
            return self.complete(job, RunDir::reopen(&path, false)?, end);
        }
        // A board that cannot be used now is not waited for: the run ends, and what is on record stays.
        if injected && self.can_use(job) {
            log::note(&format!("{run}: looks for the board, which may run on by itself"));
            let file = match self.lab.board(job.board.as_deref().unwrap_or_default()) {
                Some(board) if job.is_health_check => board.check.as_ref().map(|c| c.file.clone()),
                _ => None,
            };
            let file = file.unwrap_or_else(|| job_file(&self.settings.store, job));
            let dir = RunDir::reopen(&path, true)?;
            self.begin(job, file, Some(dir));
            return Ok(());
        }
        let mut dir = RunDir::reopen(&path, false)?;
        let (class, message) = match (job.is_canceled, injected) {
            (true, _) => {
                (ErrorClass::Canceled, "canceled by the user; the dispatcher died meanwhile")
            }
            (false, true) => (
                ErrorClass::InfrastructureError,
                "the dispatcher died during this run, and its board cannot be used now",
            ),
            (false, false) => (
                ErrorClass::InfrastructureError,
                "the dispatcher died during this run, before the test image was booted",
            ),
        };
        let time = clock::wall();
        let error =
            Event::Error { class, message: message.to_owned(), console_tail: String::new() };
        dir.event(&Stamped { time, event: error })?;
        let verdict = dir.summary().decide();
        let seconds = dir
            .summary()
            .started
            .map_or(0.0, |started| (time.as_microsecond() - started.as_microsecond()) as f64 / 1e6);
        let exit_status = verdict.exit_status();
        dir.event(&Stamped { time, event: Event::RunEnded { verdict, exit_status, seconds } })?;
        log::note(&format!("{run}: ends, because the dispatcher died during it"));
        let end = RunEnd {
            run: run.clone(),
            verdict,
            error: format!("{class}: {message}"),
            tally: dir.summary().tally,
            was_interrupted: true,
            is_others: false,
        };
        self.complete(job, dir, end)
    }

    fn can_use(&self, job: &JobView) -> bool {
        let index = job.board.as_ref().and_then(|name| self.by_name.get(name));
        index.is_some_and(|index| self.wiring(*index).is_ok())
    }

    fn complete(&mut self, job: &JobView, mut dir: RunDir, end: RunEnd) -> Result<(), StoreError> {
        let index = job.board.as_ref().and_then(|name| self.by_name.get(name)).copied();
        match index.and_then(|index| Some((index, self.stations.get_mut(&index)?))) {
            Some((index, station)) => {
                let outcome = station.begin_completing(&self.reactor, job.id, dir, end);
                self.note_due(index);
                self.handle_outcome(index, outcome);
            }
            // Its board is not in the lab any more; nothing else waits yet.
            None => {
                dir.finish(&serde_json::Value::Null)?;
                self.end_run(job.id, end);
            }
        }
        Ok(())
    }
}

/// Whether the test image has everything that it needs to run the tests by itself, from then on.
fn is_injected(event: &Event) -> bool {
    matches!(event, Event::ActionEnded { action, outcome: ActionOutcome::Done, .. }
        if action == "inject")
}
