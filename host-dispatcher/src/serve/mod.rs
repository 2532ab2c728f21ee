//! The shell of `pumice serve`: the loop with all boards, and the HTTP interface in a thread of its own.
//!
//! The two meet in [`control`], what is asked of the loop, and [`feed`], what it tells. `fleet` is the loop, with a
//! `station` for each board; `requests` does what is asked, `lent` lends lines, `groups` knows
//! which boards do one job together, `interrupted` goes on with what a dead dispatcher left.

mod callbacks;
pub mod control;
pub mod database;
mod disk;
pub mod feed;
mod fleet;
mod groups;
pub mod history;
pub mod http;
mod interrupted;
mod lent;
pub mod log;
mod requests;
mod runner;
mod secrets;
mod shown;
mod station;
mod telling;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use crate::config::lab::Lab as LabFile;
use crate::io::clock;
use crate::io::emulator::Folders;
use crate::io::event_loop::Reactor;
use crate::job::spec::Job;
use crate::lab::Lab;
use crate::lab::board::HealthCheck;
use crate::script::Fault;
use callbacks::Sender;
use control::Control;
use database::{Database, Reader};
use feed::Feed;
use fleet::{CONTROL, Fleet, Settings};

/// What a lab is started with.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// The lab file; nothing for the embedded lab.
    pub lab: Option<PathBuf>,
    /// The folder that keeps everything.
    pub store: PathBuf,
}

/// A lab that is ready to run.
pub struct Serve {
    fleet: Fleet,
    control: Control,
    reader: Arc<Reader>,
    job_folders: Vec<PathBuf>,
    _lock: File,
}

impl Serve {
    /// Reads the lab file, opens the store and goes on with what was begun.
    ///
    /// # Errors
    /// The lab file, one of its health checks, the store or the event loop.
    pub fn new(options: &LabOptions) -> Result<Self, Fault> {
        let lab_file = match &options.lab {
            Some(path) => {
                LabFile::load(path).map_err(|error| Fault::configuration(error.to_string()))?
            }
            None => LabFile::embedded(),
        };
        let checks = checks(&lab_file)?;
        let lock = lock(&options.store)?;
        let failed = |error: database::DatabaseError| Fault::infrastructure(error.to_string());
        let (database, mut loaded) = Database::open(&options.store).map_err(failed)?;
        if let Some(why) = &loaded.rebuilt {
            log::warn(&format!("{why}; it was made again from the folders of jobs and runs"));
        }
        let reader = Arc::new(database.reader().map_err(failed)?);
        let reactor = Reactor::new().map_err(|error| {
            Fault::infrastructure(format!("the event loop cannot start: {error}"))
        })?;
        let (sender, commands) = sync_channel(COMMANDS_MAX);
        let waker = reactor.worker_waker(CONTROL);
        let control = Control::new(sender, Arc::new(move || waker.wake()));
        let settings = Settings {
            store: options.store.clone(),
            lab_file: options.lab.clone(),
            job_folders: lab_file.job_folders.clone(),
            folders: Folders::from_environment().map_err(Fault::configuration)?,
            is_on_terminal: std::io::stdin().is_terminal(),
        };
        let lab = Lab::new(clock::wall(), loaded.next_id, std::mem::take(&mut loaded.jobs));
        let feed = Feed::default();
        for job in lab.jobs() {
            feed.tell(feed::Change::Job(job.clone()));
        }
        let callbacks = Sender::start(options.store.clone())
            .map_err(|error| Fault::infrastructure(format!("no thread can be started: {error}")))?;
        let mut fleet = Fleet::new(reactor, settings, database, lab, feed, commands, callbacks);
        fleet.set_boards(&lab_file, &checks, |name| loaded.boards.remove(name).unwrap_or_default());
        Ok(Self { fleet, control, reader, job_folders: lab_file.job_folders, _lock: lock })
    }

    /// For the HTTP interface: what asks, what is told, what is remembered.
    pub fn ends(&self) -> (Control, Feed, Arc<Reader>) {
        (self.control.clone(), self.fleet.feed.clone(), self.reader.clone())
    }

    /// Folders of this host whose files submitted jobs may name.
    pub fn job_folders(&self) -> &[PathBuf] {
        &self.job_folders
    }

    /// Runs until a signal ends it. `alive` is called with every turn of the loop.
    ///
    /// # Errors
    /// The event loop failed.
    pub fn run(mut self, alive: impl FnMut()) -> Result<(), Fault> {
        self.fleet.pick_up();
        self.fleet
            .run(alive)
            .map_err(|error| Fault::infrastructure(format!("the event loop failed: {error}")))
    }
}

/// The health checks of a lab, whose files are read to know that they can be.
fn checks(lab: &LabFile) -> Result<BTreeMap<String, HealthCheck>, Fault> {
    let mut checks = BTreeMap::new();
    for (board_type, check) in &lab.health_checks {
        let job = Job::load(&check.job).map_err(|error| Fault::configuration(error.to_string()))?;
        let check = HealthCheck {
            file: check.job.clone(),
            name: job.name,
            every: check.every.map(crate::config::value::Period::duration),
            every_jobs: check.every_jobs,
        };
        checks.insert(board_type.clone(), check);
    }
    Ok(checks)
}

/// One dispatcher in a store.
fn lock(store: &Path) -> Result<File, Fault> {
    let failed = |error: std::io::Error| {
        Fault::infrastructure(format!("failed to use the store {}: {error}", store.display()))
    };
    fs::create_dir_all(store).map_err(failed)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(store.join("lab.lock"))
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(Fault::infrastructure(format!(
            "another pumice serves the store {}: end it, or name another with --store",
            store.display()
        ))),
        Err(fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

impl std::fmt::Debug for Serve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serve").finish_non_exhaustive()
    }
}

/// More wait for no loop that turns.
const COMMANDS_MAX: usize = 256;
