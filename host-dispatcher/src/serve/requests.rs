//! What is asked of the loop from outside, done.

use std::cell::RefCell;
use std::rc::Rc;

use super::control::{Command, Refusal, RefusalKind, Reply, Submission};
use super::feed::Change;
use super::fleet::{Fleet, seed};
use super::shown::HandsObserver;
use super::station::{Busy, Work};
use super::telling::claim;
use super::{checks, log, runner};
use crate::board::{Board, BoardSpec, Goal};
use crate::config::connection::PowerOperation;
use crate::config::lab::Lab as LabFile;
use crate::config::power::{Power, Switch};
use crate::io::clock;
use crate::io::drive::Drive;
use crate::lab::LabError;
use crate::lab::board::Kept;
use crate::lab::view::{BoardView, JobView};
use crate::script::{Bench, Script};

impl Fleet {
    /// Does what is asked, and answers. Whoever asked may be gone.
    pub(super) fn handle_command(&mut self, command: Command) {
        let now = clock::wall();
        match command {
            Command::Submit(submission, reply) => {
                let _ = reply.send(self.submit(&submission));
            }
            Command::Cancel(id, reply) => {
                let canceled = self.lab.cancel(now, id).map_err(refusal);
                // It is on the disk before anybody is told.
                self.decide();
                let _ = reply.send(canceled);
            }
            Command::Acquire { board, holder, reason, minutes, reply } => {
                let done = self.lab.acquire(now, &board, &holder, &reason, minutes);
                self.answer_board(&board, done, reply);
            }
            Command::Release { board, holder, reply } => {
                let done = self.lab.release(&board, holder.as_deref());
                self.answer_board(&board, done, reply);
            }
            Command::SetHealth { board, health, reason, reply } => {
                let done = self.lab.set_health(now, &board, health, &reason);
                self.answer_board(&board, done, reply);
            }
            Command::Power { board, holder, operation, reply } => {
                match self.station_in_hand(&board, holder.as_deref()) {
                    Ok(index) => self.begin_power(index, operation, reply),
                    Err(refusal) => drop(reply.send(Err(refusal))),
                }
            }
            Command::Console { board, holder, output, reply } => {
                let _ = reply.send(self.open_console(&board, holder.as_deref(), output));
            }
            Command::Type(console, bytes) => self.type_on(console, &bytes),
            Command::Reload(reply) => {
                let _ = reply.send(self.reload());
            }
            Command::Line { board, holder, output, reply } => {
                let _ = reply.send(self.lend(&board, &holder, output));
            }
            Command::EndLine(number) => self.take_back(number),
            Command::Switch { board, holder, operation, reply } => {
                if let Err((refusal, reply)) = self.switch_lent(&board, &holder, operation, reply) {
                    let _ = reply.send(Err(refusal));
                }
            }
            Command::Wiring { board, holder, reply } => {
                let _ = reply.send(self.wiring_view(&board, &holder));
            }
        }
    }

    /// Reads the lab file again. What is being done with boards goes on as it began.
    pub(super) fn reload(&mut self) -> Result<(), Refusal> {
        let Some(path) = self.settings.lab_file.clone() else {
            let message = "there is no lab file to read again: start with --lab";
            return Err(Refusal::conflict(message));
        };
        let invalid = |message: String| Refusal::new(RefusalKind::Invalid, message);
        let lab = LabFile::load(&path).map_err(|error| invalid(error.to_string()))?;
        let checks = checks(&lab).map_err(|fault| invalid(fault.message))?;
        self.set_boards(&lab, &checks, |_| Kept::default());
        log::note(&format!("read {} again", path.display()));
        Ok(())
    }

    fn submit(&mut self, submission: &Submission) -> Result<JobView, Refusal> {
        self.refuse_if_paused()?;
        let jobs = submission.jobs.clone();
        let jobs = self.lab.submit_group(clock::wall(), jobs).map_err(refusal)?;
        if let Err(error) = self.database.accept(&jobs, submission) {
            jobs.iter().for_each(|job| self.lab.forget(job.id));
            return Err(Refusal::unavailable(format!("the job cannot be kept: {error}")));
        }
        jobs.iter().for_each(|job| self.feed.tell(Change::Job(job.clone())));
        let first = jobs.into_iter().next();
        first.ok_or_else(|| Refusal::new(RefusalKind::Invalid, "there is no job in it"))
    }

    fn answer_board(&mut self, name: &str, done: Result<(), LabError>, reply: Reply<BoardView>) {
        let view = done.map_err(refusal).and_then(|()| {
            self.claim_folder(name);
            self.show(name);
            self.feed.board(name).ok_or_else(|| refusal(LabError::NoBoard(name.to_owned())))
        });
        let _ = reply.send(view);
    }

    /// The station of a board that `holder` has acquired, ready to be used; without a holder, of any that is not used.
    pub(super) fn station_in_hand(
        &mut self,
        name: &str,
        holder: Option<&str>,
    ) -> Result<usize, Refusal> {
        self.refuse_others(name, holder)?;
        let unknown = || no_board(name);
        let index = *self.by_name.get(name).ok_or_else(unknown)?;
        let station = self.stations.get_mut(&index).ok_or_else(unknown)?;
        if !station.is_idle() && !station.is_typing() {
            return Err(Refusal::unavailable(format!("{name} is busy: try again")));
        }
        if station.folder.is_none() {
            let claimed = claim(&self.settings, name);
            station.folder = Some(claimed.map_err(Refusal::conflict)?);
        }
        Ok(index)
    }

    /// Refuses a board to all but `holder`, who has acquired it; without a holder, one that somebody has or a job uses.
    pub(super) fn refuse_others(&self, name: &str, holder: Option<&str>) -> Result<(), Refusal> {
        let unknown = || no_board(name);
        let standing = self.lab.board(name).ok_or_else(unknown)?;
        match (&standing.kept.lease, holder) {
            (Some(lease), Some(holder)) if lease.holder == holder => {}
            (Some(lease), _) => {
                return Err(refusal(LabError::NotYours(name.to_owned(), lease.holder.clone())));
            }
            (None, Some(_)) => {
                let why = LabError::NotAcquired(name.to_owned());
                return Err(Refusal::conflict(format!("{why}: acquire it first")));
            }
            (None, None) if standing.job.is_some() => {
                return Err(refusal(LabError::InUse(name.to_owned(), standing.state())));
            }
            (None, None) => {}
        }
        Ok(())
    }

    fn begin_power(&mut self, index: usize, operation: PowerOperation, reply: Reply<()>) {
        match self.power_bench(index, operation) {
            Ok((drive, bench, goal)) => {
                let script = Script::new(runner::power(bench, operation, goal));
                if let Some(station) = self.stations.get_mut(&index) {
                    station.shown.borrow_mut().begin("");
                    station.begin(Busy { drive, script, work: Work::Hands(reply) });
                }
                self.go_on(index);
            }
            Err(why) => drop(reply.send(Err(Refusal::conflict(why)))),
        }
    }

    fn power_bench(
        &self,
        index: usize,
        operation: PowerOperation,
    ) -> Result<(Drive, Bench, Goal), String> {
        let wiring = self.wiring(index)?;
        let station = self.stations.get(&index).ok_or("the board is gone")?;
        if !station.is_idle() {
            return Err("its console is in use: close it first".to_owned());
        }
        let name = &station.board.name;
        if station.board.power.ends_with_us() && operation == PowerOperation::On {
            return Err(format!(
                "{name} is on only while it is used: what needs it switches it on"
            ));
        }
        if operation == PowerOperation::Off
            && matches!(station.board.power, Power::Switch(Switch::Ask, _))
        {
            return Err(format!(
                "the power of {name} is switched by a person: switch it off by hand"
            ));
        }
        let goal = Goal::agent(station.board.board_type.boot.is_some());
        let spec = BoardSpec::from_lab(&station.board).map_err(|error| error.to_string())?;
        let (wall, now) = (clock::wall(), clock::now());
        let observer = HandsObserver(Rc::<RefCell<_>>::clone(&station.shown));
        let board = Board::new(spec, seed(wall, index));
        let bench = Bench::new(board, Box::new(observer), now, wall);
        Ok((Drive::new(&self.reactor, index, wiring, bench.clone()), bench, goal))
    }

    fn open_console(
        &mut self,
        name: &str,
        holder: Option<&str>,
        output: tokio::sync::mpsc::Sender<Vec<u8>>,
    ) -> Result<u64, Refusal> {
        let unknown = || no_board(name);
        let mine = holder.is_some_and(|holder| {
            let lease = self.lab.board(name).and_then(|board| board.kept.lease.as_ref());
            lease.is_some_and(|lease| lease.holder == holder)
        });
        let index = *self.by_name.get(name).ok_or_else(unknown)?;
        let is_idle = self.stations.get(&index).is_some_and(|station| station.is_idle());
        if mine && is_idle {
            self.station_in_hand(name, holder)?;
        }
        let station = self.stations.get_mut(&index).ok_or_else(unknown)?;
        if !station.shown.borrow_mut().add_viewer(output) {
            return Err(Refusal::unavailable(format!("too many people look at {name}")));
        }
        if mine && is_idle {
            let wiring = self.wiring(index).map_err(Refusal::conflict)?;
            if let Some(station) = self.stations.get_mut(&index) {
                station.begin_typing(&mut self.reactor, &wiring);
            }
            self.note_due(index);
        }
        Ok(if mine { self.number_console(index) } else { 0 })
    }

    /// The number by which who types is known.
    pub(super) fn number_console(&mut self, index: usize) -> u64 {
        let console = self.next_console;
        self.next_console += 1;
        self.consoles.insert(console, index);
        if self.consoles.len() > CONSOLES_MAX
            && let Some(oldest) = self.consoles.keys().min().copied()
        {
            self.consoles.remove(&oldest);
        }
        console
    }

    fn type_on(&mut self, console: u64, bytes: &[u8]) {
        let index = self.consoles.get(&console).copied();
        let station = index.and_then(|index| self.stations.get(&index));
        if let Some(station) = station.filter(|station| station.is_in_hand()) {
            // What the line has no room for is dropped, as on a terminal; a person sees that.
            self.reactor.write(station.index, bytes);
        }
    }
}

/// There is no such board.
pub(super) fn no_board(name: &str) -> Refusal {
    refusal(LabError::NoBoard(name.to_owned()))
}

/// As the interface says it.
fn refusal(error: LabError) -> Refusal {
    let kind = match error {
        LabError::NoBoard(_) | LabError::NoJob(_) => RefusalKind::NotFound,
        LabError::NoSuchBoard(_) | LabError::TooFew(..) | LabError::NotSaid => RefusalKind::Invalid,
        LabError::QueueFull => RefusalKind::Unavailable,
        LabError::InUse(..) | LabError::NotAcquired(_) => RefusalKind::Conflict,
        LabError::NotYours(..) => RefusalKind::Forbidden,
    };
    Refusal::new(kind, error.to_string())
}

/// Numbers of consoles that nobody uses any more are forgotten beyond this.
const CONSOLES_MAX: usize = 1000;
