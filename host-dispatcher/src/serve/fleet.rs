//! The loop of the lab: all boards, what is asked from outside, and what the lab decides.
//!
//! One thread owns everything here. A turn: what happened goes to the stations that it concerns, those that are due go
//! on, the lab says what is to begin or to end, and what changed is kept and told.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use agent_core::time::{Duration, Instant};
use jiff::Timestamp;

use super::callbacks::Sender;
use super::control::{Command, Refusal};
use super::database::{Database, job_file, job_folder, row_of, runs_folder};
use super::feed::{Change, Feed};
use super::groups::Together;
use super::log;
use super::runner::{self, Assignment};
use super::secrets;
use super::shown::{LabObserver, LabReporter};
use super::station::{Busy, Finished, Outcome, Station, Work};
use crate::board::{Board, BoardSpec};
use crate::config::connection::LineRole;
use crate::config::{self, yaml};
use crate::definition::fence::Fence;
use crate::io::clock;
use crate::io::drive::{Drive, Wiring};
use crate::io::emulator::Folders;
use crate::io::event::{BoardEvent, IoEvent};
use crate::io::event_loop::Reactor;
use crate::io::signals::Signal;
use crate::job::event::Event;
use crate::job::secret::{self, Origin};
use crate::lab::board::HealthCheck;
use crate::lab::view::{JobId, JobState, JobView};
use crate::lab::{Lab, RunEnd, Step};
use crate::redact::Patterns;
use crate::script::job::Begin;
use crate::script::observer::{Observer, Recorder};
use crate::script::{Bench, Script};
use crate::store::run_dir::RunDir;

/// The board number under which commands wake the loop.
pub(super) const CONTROL: usize = usize::MAX;

/// Everything that the loop's thread owns.
pub(super) struct Fleet {
    pub(super) reactor: Reactor,
    pub(super) lab: Lab,
    pub(super) database: Database,
    pub(super) feed: Feed,
    pub(super) stations: BTreeMap<usize, Station>,
    pub(super) by_name: HashMap<String, usize>,
    pub(super) settings: Settings,
    pub(super) consoles: HashMap<u64, usize>,
    /// Groups whose jobs are on boards, by their first jobs.
    pub(super) groups: HashMap<JobId, Together>,
    commands: Receiver<Command>,
    callbacks: Sender,
    due: BTreeSet<(Instant, usize)>,
    noted_due: HashMap<usize, Instant>,
    next_index: usize,
    pub(super) next_console: u64,
    pub(super) started: Timestamp,
    space_at: Instant,
    claim_at: Instant,
}

/// What does not change while it runs.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The store: database, jobs, runs, images.
    pub(super) store: PathBuf,
    /// The lab file; nothing for the embedded lab.
    pub(super) lab_file: Option<PathBuf>,
    /// Whose files submitted jobs may name.
    pub(super) job_folders: Vec<PathBuf>,
    /// Where boards keep what outlives a run.
    pub(super) folders: Folders,
    /// It was started by hand: a hangup is the end of its terminal, and no wish to read the lab file again.
    pub(super) is_on_terminal: bool,
}

impl Settings {
    /// A job that was submitted names what came with it; a health check is the lab's own.
    fn fence_of(&self, id: JobId, file: &Path) -> Option<Fence> {
        let folder = job_folder(&self.store, id);
        let values = || secrets::read(&self.store, id);
        file.starts_with(&folder)
            .then(|| Fence::new(&folder, &self.job_folders).with_secrets(values()))
    }
}

impl Fleet {
    pub(super) fn new(
        reactor: Reactor,
        settings: Settings,
        database: Database,
        lab: Lab,
        feed: Feed,
        commands: Receiver<Command>,
        callbacks: Sender,
    ) -> Self {
        let now = clock::now();
        Self {
            reactor,
            lab,
            database,
            feed,
            stations: BTreeMap::new(),
            by_name: HashMap::new(),
            settings,
            consoles: HashMap::new(),
            groups: HashMap::new(),
            commands,
            callbacks,
            due: BTreeSet::new(),
            noted_due: HashMap::new(),
            next_index: 0,
            next_console: 1,
            started: clock::wall(),
            space_at: now,
            claim_at: now,
        }
    }

    /// Turns until somebody wants the process to end. `alive` is called with every turn.
    ///
    /// # Errors
    /// The event loop itself failed.
    pub(super) fn run(&mut self, mut alive: impl FnMut()) -> io::Result<()> {
        let mut tick_at = clock::now();
        loop {
            let now = clock::now();
            if now >= tick_at {
                tick_at = now + TICK;
                self.tick(now);
            }
            self.decide();
            alive();
            let until = self.due.first().map_or(tick_at, |(at, _)| (*at).min(tick_at));
            let events = self.reactor.turn(Some(until))?;
            let mut touched = BTreeSet::new();
            for event in events {
                match event {
                    IoEvent::Board(CONTROL, _) => {
                        while let Ok(command) = self.commands.try_recv() {
                            self.handle_command(command);
                        }
                    }
                    IoEvent::Board(index, event) => {
                        touched.insert(index);
                        self.handle_board(index, LineRole::Console, event);
                    }
                    IoEvent::AgentLine(index, event) => {
                        touched.insert(index);
                        self.handle_board(index, LineRole::Agent, event);
                    }
                    IoEvent::Signal(Signal::Interrupt | Signal::Terminate) => {
                        return self.leave();
                    }
                    IoEvent::Signal(Signal::Hangup) if self.settings.is_on_terminal => {
                        return self.leave();
                    }
                    IoEvent::Signal(Signal::Hangup) => {
                        if let Err(refusal) = self.reload() {
                            log::warn(&refusal.message);
                        }
                    }
                    _ => {}
                }
            }
            let now = clock::now();
            touched
                .extend(self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, index)| *index));
            for index in touched {
                self.go_on(index);
            }
        }
    }

    /// The boards of a lab file, in the place of those that there are.
    pub(super) fn set_boards(
        &mut self,
        lab: &config::lab::Lab,
        checks: &BTreeMap<String, HealthCheck>,
        mut kept: impl FnMut(&str) -> crate::lab::board::Kept,
    ) {
        if let Some(images) = &lab.images {
            self.settings.folders.images.clone_from(images);
        }
        for board in &lab.boards {
            match self.by_name.get(&board.name).and_then(|index| self.stations.get_mut(index)) {
                // What is being done with it goes on as it began.
                Some(station) => station.board = board.clone(),
                None => {
                    let index = self.next_index;
                    self.next_index += 1;
                    self.by_name.insert(board.name.clone(), index);
                    self.stations.insert(index, Station::new(index, board.clone()));
                }
            }
        }
        let entries = lab.boards.iter().map(|board| crate::lab::BoardEntry {
            name: board.name.clone(),
            board_type: board.board_type.name.clone(),
            tags: board.tags.clone(),
            check: checks.get(&board.board_type.name).cloned(),
        });
        self.lab.set_boards(entries, &mut kept);
        self.claim_folders();
    }

    /// Begins a run of a job, or goes on with one.
    pub(super) fn begin(&mut self, job: &JobView, file: PathBuf, again: Option<RunDir>) {
        if let Err(why) = self.try_begin(job, file, again) {
            self.end_run(job.id, RunEnd::of_lab(why));
        }
    }

    fn try_begin(
        &mut self,
        job: &JobView,
        file: PathBuf,
        again: Option<RunDir>,
    ) -> Result<(), String> {
        let name = job.board.as_deref().unwrap_or_default();
        let index = *self.by_name.get(name).ok_or("the board is not in the lab any more")?;
        let (wall, now) = (clock::wall(), clock::now());
        let begin = match again {
            None => Begin::AtMaster,
            Some(_) if job.is_canceled => Begin::Canceled,
            Some(_) => Begin::WhereTheBoardIs,
        };
        let place = self.place_of(job);
        let wiring = self.wiring(index)?;
        let station = self.stations.get_mut(&index).ok_or("the board is gone")?;
        let dir = match again {
            Some(dir) => dir,
            None => RunDir::create(
                &runs_folder(&self.settings.store),
                &job.name,
                wall,
                seed(wall, index),
            )
            .map_err(|error| error.to_string())?,
        };
        let run = dir.name().to_owned();
        let spec = BoardSpec::from_lab(&station.board).map_err(|error| error.to_string())?;
        station.shown.borrow_mut().begin("prepare");
        let mut recorder = Recorder::new(dir, Box::new(LabReporter(station.shown.clone())));
        if begin == Begin::AtMaster {
            let board = &station.board;
            let started = Event::run_started(&run, &job.name, &board.name, &board.board_type.name);
            recorder.event(wall, started);
        }
        let recorder = Rc::new(RefCell::new(recorder));
        let mut observer = LabObserver { recorder: recorder.clone(), shown: station.shown.clone() };
        let fence = self.settings.fence_of(job.id, &file);
        // The board may print them before the job has been read: it may run on from a run that was interrupted.
        observer.hide(&Arc::new(hidden_of(&file, fence.as_ref())));
        let board = Board::new(spec, seed(wall, index));
        let bench = Bench::new(board, Box::new(observer), now, wall);
        let drive = Drive::new(&self.reactor, index, wiring, bench.clone());
        let assignment = Assignment {
            id: job.id,
            attempt: job.attempt,
            submitter: job.submitter.clone(),
            fence,
            place,
            file,
            board: station.board.clone(),
            store: self.settings.store.clone(),
            run: run.clone(),
            begin,
        };
        let script = Script::new(runner::run(bench, assignment));
        let was_interrupted = begin != Begin::AtMaster;
        let work = Work::Job { id: job.id, recorder, started: now, was_interrupted };
        station.begin(Busy { drive, script, work });
        station.group = job.group.as_ref().map(|group| group.first);
        self.lab.handle_run_began(job.id, &run);
        self.go_on(index);
        Ok(())
    }

    /// How a board is reached, with nothing left to fill in. Makes the disk of an emulated one.
    pub(super) fn wiring(&self, index: usize) -> Result<Wiring, String> {
        let station = self.stations.get(&index).ok_or("the board is gone")?;
        let folder = station.folder.as_ref().ok_or("the board is in use by another process")?;
        let emulator = station.board.board_type.emulator.as_ref();
        let values = folder.values(&self.settings.folders, emulator)?;
        Wiring::of(&station.board, values).map_err(|error| error.to_string())
    }

    fn handle_board(&mut self, index: usize, line: LineRole, event: BoardEvent) {
        if let Some(station) = self.stations.get_mut(&index) {
            station.handle(line, event);
        }
    }

    /// Lets a station do what there is to do.
    pub(super) fn go_on(&mut self, index: usize) {
        let Some(station) = self.stations.get_mut(&index) else { return };
        let outcome = station.go_on(&mut self.reactor);
        let group = station.group;
        self.note_due(index);
        if let Some(first) = group {
            self.wake_group(first);
        }
        self.handle_outcome(index, outcome);
    }

    pub(super) fn handle_outcome(&mut self, index: usize, outcome: Outcome) {
        match outcome {
            Outcome::Same => {}
            Outcome::Idle => {
                if let Some(name) = self.stations.get(&index).map(|one| one.board.name.clone()) {
                    self.claim_folder(&name);
                }
            }
            Outcome::Ended(id, finished) => {
                let Finished { dir, end } = *finished;
                if let Some(dir) = dir {
                    let kept = self.database.put_run(&row_of(dir.summary()));
                    self.check(kept);
                }
                if let Some(station) = self.stations.get_mut(&index) {
                    station.shown.borrow_mut().begin("");
                    station.group = None;
                }
                self.end_run(id, end);
            }
        }
    }

    pub(super) fn note_due(&mut self, index: usize) {
        let due = self.stations.get(&index).and_then(Station::due);
        if let Some(old) = self.noted_due.remove(&index) {
            self.due.remove(&(old, index));
        }
        if let Some(due) = due {
            self.due.insert((due, index));
            self.noted_due.insert(index, due);
        }
    }

    /// Does what the lab has decided.
    pub(super) fn decide(&mut self) {
        let wall = clock::wall();
        if self.lab.poll_timeout().is_some_and(|at| at <= wall) {
            self.lab.handle_timeout(wall);
        }
        let mut any = false;
        while let Some(step) = self.lab.poll_step(wall) {
            any = true;
            match step {
                Step::Begin { job, check } => {
                    let file = match check {
                        Some(check) => check.file,
                        None => job_file(&self.settings.store, &job),
                    };
                    self.begin(&job, file, None);
                }
                Step::Stop { board } => {
                    if let Some(index) = self.by_name.get(&board).copied() {
                        self.stations.get_mut(&index).map(Station::interrupt);
                        self.note_due(index);
                    }
                }
                Step::Jobs(jobs) => {
                    let kept = self.database.put_jobs(&jobs);
                    self.check(kept);
                    for job in jobs {
                        if job.state == JobState::Ended {
                            self.callbacks.wake();
                            // Of one without a group there is none of this number.
                            self.groups.remove(&job.id);
                        }
                        self.feed.tell(Change::Job(job));
                    }
                }
                Step::Show(job) => self.feed.tell(Change::Job(*job)),
                Step::Board(name) => {
                    if let Some(standing) = self.lab.board(&name) {
                        let kept = self.database.put_board(&name, &standing.kept);
                        self.check(kept);
                    }
                    self.end_typing_without_lease(&name);
                    self.claim_folder(&name);
                    self.show(&name);
                }
                Step::BoardGone(name) => {
                    if let Some(index) = self.by_name.remove(&name) {
                        self.stations.remove(&index);
                        self.note_due(index);
                    }
                    self.feed.tell(Change::BoardGone { name });
                }
            }
        }
        if any {
            self.tell_lab();
        }
    }

    /// A lease has ended, and with it the use of the raw line.
    fn end_typing_without_lease(&mut self, name: &str) {
        let index = self.by_name.get(name).copied();
        let station = index.and_then(|index| self.stations.get_mut(&index));
        if let (false, Some(station)) = (self.lab.is_acquired(name), station) {
            station.end_use_by_hand(&mut self.reactor, "the board is not acquired any more");
            let index = station.index;
            self.note_due(index);
        }
    }

    /// What moves, moves; what is seldom looked at is looked at.
    fn tick(&mut self, now: Instant) {
        for station in self.stations.values_mut() {
            station.tick(&self.reactor);
        }
        if now >= self.space_at {
            self.space_at = now + SPACE_EVERY;
            let why = super::disk::shortage(&self.settings.store).unwrap_or_default();
            if why != self.lab.paused() {
                if !why.is_empty() {
                    log::warn(&format!("no job is begun: {why}"));
                }
                self.lab.set_paused(why);
                self.tell_lab();
            }
        }
        if now >= self.claim_at {
            self.claim_at = now + CLAIM_EVERY;
            self.claim_folders();
        }
        let tallies: Vec<_> = self
            .stations
            .values()
            .filter_map(|station| {
                let id = self.lab.board(&station.board.name)?.job?;
                Some((id, station.shown.borrow().tally))
            })
            .collect();
        for (id, tally) in tallies {
            if !tally.is_empty() {
                self.lab.handle_tally(id, tally);
            }
        }
        self.stations.values().for_each(|station| self.show(&station.board.name));
    }

    /// Somebody wants this process to end. Boards with a session are told; runs stay as they are on the disk, and the
    /// next dispatcher goes on with them.
    fn leave(&mut self) -> io::Result<()> {
        let running = self.stations.values().filter(|station| !station.is_idle()).count();
        if running > 0 {
            log::note(&format!("leaves {running} boards at work; the next dispatcher goes on"));
        }
        for station in self.stations.values_mut() {
            station.abandon(&mut self.reactor);
        }
        self.reactor.close()
    }

    /// A failure to keep something pauses the lab: nothing may happen that is not on record.
    pub(super) fn check<E: std::fmt::Display>(&mut self, kept: Result<(), E>) {
        if let Err(error) = kept {
            log::warn(&error.to_string());
            self.lab.set_paused(error.to_string());
            // Looked at again with the room on the disk.
            self.space_at = clock::now() + SPACE_EVERY;
            self.tell_lab();
        }
    }

    pub(super) fn refuse_if_paused(&self) -> Result<(), Refusal> {
        match self.lab.paused() {
            "" => Ok(()),
            why => Err(Refusal::unavailable(format!("no job is accepted: {why}"))),
        }
    }
}

/// Differs from run to run and board to board.
pub(super) fn seed(wall: Timestamp, index: usize) -> u64 {
    clock::seed(wall).rotate_left((index % 61) as u32)
}

/// What of a job nobody may see; of one that cannot be read nothing is known, and it is not run.
fn hidden_of(file: &Path, fence: Option<&Fence>) -> Patterns {
    let Ok(text) = yaml::read(file) else { return Patterns::default() };
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let origin = fence.map_or(Origin::Here(folder), |fence| Origin::Sent(fence.secrets()));
    secret::of_text(&text, origin).patterns()
}

/// What is shown of boards moves so often.
const TICK: Duration = Duration::from_millis(200);
/// The room on the disk is looked at so often.
const SPACE_EVERY: Duration = Duration::from_secs(10);
/// A board that another process uses is asked for so often.
const CLAIM_EVERY: Duration = Duration::from_secs(2);
