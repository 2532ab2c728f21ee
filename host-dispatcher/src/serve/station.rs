//! One board in the lab's loop: what is done with it at the moment, from its beginning to the free line.
//!
//! ```text
//!   Idle ──▶ Busy (script) ──▶ Leaving (goodbye) ──▶ Closing (line, processes) ──▶ Finishing (run directory) ──▶ Idle
//!     ├────▶ Typing (a person on the raw line) ─────────┤
//!     └────▶ Lent (a dispatcher elsewhere) ─────────────┘
//! ```

use std::cell::RefCell;
use std::rc::Rc;

use agent_core::time::{Duration, Instant};
use serde_json::Value;
use tokio::sync::mpsc;

use super::control::{LinePiece, Refusal, Reply};
use super::shown::Shown;
use crate::board::raw_line::RawLine;
use crate::config::connection::{LineRole, PowerOperation};
use crate::config::lab::Board;
use crate::io::clock;
use crate::io::drive::{Drive, Wiring};
use crate::io::emulator::BoardFolder;
use crate::io::event::BoardEvent;
use crate::io::event_loop::Reactor;
use crate::io::power::Switcher;
use crate::lab::RunEnd;
use crate::lab::view::JobId;
use crate::script::observer::Recorder;
use crate::script::{Fault, Script};
use crate::store::run_dir::RunDir;
use crate::worker::{Teller, Worker};

/// One board.
pub(super) struct Station {
    /// Its number in the reactor.
    pub(super) index: usize,
    /// As the lab file describes it.
    pub(super) board: Board,
    /// What makes it ours; nothing while somebody has acquired it, or another process uses it.
    pub(super) folder: Option<BoardFolder>,
    /// What is shown of it.
    pub(super) shown: Rc<RefCell<Shown>>,
    /// The first job of the group whose job is on it.
    pub(super) group: Option<JobId>,
    /// The quality of its line, in a word, as the last run saw it.
    pub(super) line: String,
    seat: Seat,
    /// When it is due.
    due: Option<Instant>,
}

/// What is done with a board.
enum Seat {
    Idle,
    Busy(Box<Busy>),
    Leaving(Box<Busy>, Instant, Result<Value, Fault>),
    Closing(Option<Box<Done>>),
    Finishing(Worker<Box<Finished>>, JobId),
    Typing(RawLine),
    Lent(Box<Lent>),
}

/// A line that is lent.
struct Lent {
    switcher: Switcher,
    output: mpsc::Sender<LinePiece>,
    /// Who waits for the power to be switched.
    switching: Option<Reply<()>>,
}

/// A script on a board.
pub(super) struct Busy {
    pub(super) drive: Drive,
    pub(super) script: Script<'static, Result<Value, Fault>>,
    pub(super) work: Work,
}

/// Whom a script is for.
pub(super) enum Work {
    /// A job.
    Job {
        /// Its number.
        id: JobId,
        /// Its record.
        recorder: Rc<RefCell<Recorder>>,
        /// When the run began, or was gone on with.
        started: Instant,
        /// Another dispatcher began it, and died.
        was_interrupted: bool,
    },
    /// A person.
    Hands(Reply<()>),
}

/// What is left when the line is free.
struct Done {
    id: JobId,
    /// Nothing only if somebody still held it, which nobody does.
    recorder: Option<Recorder>,
    started: Instant,
    was_interrupted: bool,
    link: Value,
}

/// A run whose directory is complete.
pub(super) struct Finished {
    pub(super) dir: Option<RunDir>,
    pub(super) end: RunEnd,
}

/// What became of a station in a turn.
pub(super) enum Outcome {
    /// It goes on.
    Same,
    /// It is idle again.
    Idle,
    /// The run of this job has ended, and it is idle again.
    Ended(JobId, Box<Finished>),
}

impl Lent {
    /// Tells who waits for it what the switch said, if it has.
    fn end_switching(&mut self, outcome: Option<Result<(), String>>) {
        if let Some(outcome) = outcome
            && let Some(reply) = self.switching.take()
        {
            let _ = reply.send(outcome.map_err(Refusal::unavailable));
        }
    }
}

impl Station {
    /// An idle one.
    pub(super) fn new(index: usize, board: Board) -> Self {
        let (shown, line) = (Rc::default(), String::new());
        Self { index, board, folder: None, shown, group: None, line, seat: Seat::Idle, due: None }
    }

    /// Whether nothing is done with it.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.seat, Seat::Idle)
    }

    /// The phase of the board, for people.
    pub(super) fn phase(&self) -> String {
        match &self.seat {
            Seat::Busy(busy) | Seat::Leaving(busy, ..) => {
                busy.drive.bench().board(|board, _| board.phase()).to_string()
            }
            Seat::Typing(_) => "console".to_owned(),
            Seat::Lent(_) => "lent".to_owned(),
            Seat::Closing(_) | Seat::Finishing(..) => "closing".to_owned(),
            Seat::Idle => "idle".to_owned(),
        }
    }

    /// A script begins.
    pub(super) fn begin(&mut self, busy: Busy) {
        self.seat = Seat::Busy(Box::new(busy));
        self.due = Some(clock::now());
    }

    /// A person gets the raw line.
    pub(super) fn begin_typing(&mut self, reactor: &mut Reactor, wiring: &Wiring) {
        let line = RawLine::new(&self.board.board_type.line);
        reactor.connect(self.index, wiring.endpoint.clone());
        self.seat = Seat::Typing(line);
        self.due = Some(clock::now() + VIEWED_EVERY);
    }

    /// Somebody elsewhere gets the line.
    pub(super) fn begin_lending(
        &mut self,
        reactor: &mut Reactor,
        wiring: Wiring,
        output: mpsc::Sender<LinePiece>,
    ) {
        reactor.connect(self.index, wiring.endpoint.clone());
        let switcher = Switcher::new(wiring.power, wiring.values);
        self.seat = Seat::Lent(Box::new(Lent { switcher, output, switching: None }));
        self.due = Some(clock::now() + VIEWED_EVERY);
    }

    /// Switches the power of a board whose line is lent. The reply comes back where that cannot be.
    pub(super) fn switch_lent(
        &mut self,
        reactor: &mut Reactor,
        operation: PowerOperation,
        reply: Reply<()>,
    ) -> Result<(), (Refusal, Reply<()>)> {
        let Seat::Lent(lent) = &mut self.seat else {
            return Err((Refusal::conflict("the line is not lent"), reply));
        };
        if lent.switching.is_some() {
            return Err((Refusal::conflict("the power is being switched already"), reply));
        }
        match lent.switcher.begin(reactor, self.index, operation) {
            Ok(()) => lent.switching = Some(reply),
            Err(why) => return Err((Refusal::conflict(why), reply)),
        }
        Ok(())
    }

    /// Whether a person may type.
    pub(super) fn is_typing(&self) -> bool {
        matches!(self.seat, Seat::Typing(_))
    }

    /// Whether its line is lent.
    pub(super) fn is_lent(&self) -> bool {
        matches!(self.seat, Seat::Lent(_))
    }

    /// Whether somebody writes to the line by hand.
    pub(super) fn is_in_hand(&self) -> bool {
        self.is_typing() || self.is_lent()
    }

    /// The script is to come to an end.
    pub(super) fn interrupt(&mut self) {
        if let Seat::Busy(busy) = &self.seat {
            busy.drive.bench().interrupt();
            self.due = Some(clock::now());
        }
    }

    /// Something happened that may let its script go on.
    pub(super) fn wake(&mut self) {
        if matches!(self.seat, Seat::Busy(_)) {
            self.due = Some(clock::now());
        }
    }

    /// Something happened, on this line if it is about one.
    pub(super) fn handle(&mut self, line: LineRole, event: BoardEvent) {
        match (&mut self.seat, event) {
            (Seat::Busy(busy) | Seat::Leaving(busy, ..), event) => {
                busy.drive.set_time();
                busy.drive.handle(line, event);
            }
            (Seat::Typing(line), BoardEvent::Bytes(bytes)) => {
                let text = line.text(clock::now(), &bytes);
                self.shown.borrow_mut().console(&text);
            }
            (Seat::Typing(_), BoardEvent::Disconnected(why)) => {
                self.shown.borrow_mut().console(format!("\r\n[{why}]\r\n").as_bytes());
            }
            (Seat::Lent(lent), BoardEvent::Bytes(bytes)) => {
                self.shown.borrow_mut().received_bytes += bytes.len() as u64;
                let _ = lent.output.try_send(LinePiece::Bytes(bytes));
            }
            (Seat::Lent(lent), BoardEvent::CommandDone(outcome)) => {
                let outcome = lent.switcher.handle_command(outcome);
                lent.end_switching(Some(outcome));
            }
            (Seat::Lent(lent), BoardEvent::Held(outcome)) => lent.end_switching(Some(outcome)),
            (Seat::Lent(lent), BoardEvent::Worker) => {
                let outcome = lent.switcher.poll_request();
                lent.end_switching(outcome);
            }
            (Seat::Lent(lent), BoardEvent::Disconnected(why)) => {
                let _ = lent.output.try_send(LinePiece::End(why));
                self.seat = Seat::Closing(None);
                self.due = Some(clock::now());
            }
            _ => {}
        }
    }

    /// When [`Self::go_on`] is due without an event.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A little time has passed.
    pub(super) fn tick(&mut self, reactor: &Reactor) {
        if let Seat::Busy(busy) = &mut self.seat {
            busy.drive.tick(reactor);
        }
    }

    /// Does what there is to do.
    pub(super) fn go_on(&mut self, reactor: &mut Reactor) -> Outcome {
        let now = clock::now();
        self.due = None;
        match std::mem::replace(&mut self.seat, Seat::Idle) {
            Seat::Idle => return Outcome::Same,
            Seat::Busy(mut busy) => {
                busy.drive.set_time();
                busy.drive.handle_timeout(reactor);
                self.seat = match busy.drive.go_on(reactor, &mut busy.script) {
                    None => {
                        self.due = busy.drive.poll_timeout(reactor);
                        Seat::Busy(busy)
                    }
                    Some(outcome) => {
                        let until = busy.drive.begin_leave(reactor);
                        self.due = Some(now);
                        Seat::Leaving(busy, until, outcome)
                    }
                };
            }
            Seat::Leaving(mut busy, until, outcome) => {
                busy.drive.set_time();
                if busy.drive.has_left(reactor, until) {
                    reactor.disconnect_board(self.index);
                    self.seat = Seat::Closing(self.left(*busy, outcome));
                    self.due = Some(now);
                } else {
                    self.seat = Seat::Leaving(busy, until, outcome);
                    self.due = Some(now + SOON);
                }
            }
            Seat::Closing(done) if !reactor.is_board_idle(self.index) => {
                self.seat = Seat::Closing(done);
                self.due = Some(now + SOON);
            }
            Seat::Closing(None) => return Outcome::Idle,
            Seat::Closing(Some(done)) => {
                let id = done.id;
                let error = self.shown.borrow().errors.first().cloned().unwrap_or_default();
                match finish(reactor, self.index, *done, error) {
                    Ok(worker) => self.seat = Seat::Finishing(worker, id),
                    Err(finished) => return Outcome::Ended(id, finished),
                }
            }
            Seat::Finishing(mut worker, id) => match worker.poll() {
                None => self.seat = Seat::Finishing(worker, id),
                Some(finished) => return Outcome::Ended(id, finished),
            },
            Seat::Lent(lent) => {
                if lent.output.is_closed() {
                    reactor.disconnect(self.index);
                    self.seat = Seat::Closing(None);
                    self.due = Some(now);
                } else {
                    self.seat = Seat::Lent(lent);
                    self.due = Some(now + VIEWED_EVERY);
                }
            }
            Seat::Typing(line) => {
                if self.shown.borrow_mut().is_viewed() {
                    self.seat = Seat::Typing(line);
                    self.due = Some(now + VIEWED_EVERY);
                } else {
                    reactor.disconnect(self.index);
                    self.seat = Seat::Closing(None);
                    self.due = Some(now);
                }
            }
        }
        Outcome::Same
    }

    /// Ends the use of the line by hand.
    pub(super) fn end_use_by_hand(&mut self, reactor: &mut Reactor, why: &str) {
        if let Seat::Lent(lent) = &self.seat {
            let _ = lent.output.try_send(LinePiece::End(why.to_owned()));
        }
        if self.is_in_hand() {
            reactor.disconnect(self.index);
            self.seat = Seat::Closing(None);
            self.due = Some(clock::now());
        }
    }

    /// The agent of a session is told that this dispatcher leaves; what was written down stays as it is.
    pub(super) fn abandon(&mut self, reactor: &mut Reactor) {
        if let Seat::Busy(busy) = &mut self.seat {
            busy.drive.set_time();
            busy.drive.begin_leave(reactor);
        }
    }

    /// A run that had ended when the dispatcher died is completed.
    pub(super) fn begin_completing(
        &mut self,
        reactor: &Reactor,
        id: JobId,
        dir: RunDir,
        end: RunEnd,
    ) -> Outcome {
        match complete(reactor, self.index, dir, end, None, Value::Null) {
            Ok(worker) => {
                self.seat = Seat::Finishing(worker, id);
                Outcome::Same
            }
            Err(finished) => Outcome::Ended(id, finished),
        }
    }

    fn left(&mut self, busy: Busy, outcome: Result<Value, Fault>) -> Option<Box<Done>> {
        let Busy { drive, script, work } = busy;
        self.line = drive.bench().line_report().verdict.to_string();
        // Both hold the recorder.
        drop(script);
        drop(drive);
        match work {
            Work::Hands(reply) => {
                let outcome =
                    outcome.map(drop).map_err(|fault| Refusal::unavailable(fault.message));
                // Who asked may be gone.
                let _ = reply.send(outcome);
                None
            }
            Work::Job { id, recorder, started, was_interrupted } => {
                let link = outcome.unwrap_or(Value::Null);
                let recorder = Rc::try_unwrap(recorder).ok().map(RefCell::into_inner);
                Some(Box::new(Done { id, recorder, started, was_interrupted, link }))
            }
        }
    }
}

/// Puts the end on record, and completes the directory on a thread: it sorts what may be a million lines.
fn finish(
    reactor: &Reactor,
    index: usize,
    done: Done,
    error: String,
) -> Result<Worker<Box<Finished>>, Box<Finished>> {
    let Some(mut recorder) = done.recorder else {
        let end = RunEnd::of_lab("the record of the run could not be completed");
        return Err(Box::new(Finished { dir: None, end }));
    };
    let seconds = clock::now().since(done.started).as_micros() as f64 / 1e6;
    let verdict = recorder.end(clock::wall(), seconds);
    let (dir, failure) = recorder.into_dir();
    let end = RunEnd {
        run: dir.name().to_owned(),
        verdict,
        error,
        tally: dir.summary().tally,
        was_interrupted: done.was_interrupted,
        is_others: false,
    };
    complete(reactor, index, dir, end, failure.map(|error| error.to_string()), done.link)
}

/// Completes a run directory on a thread.
fn complete(
    reactor: &Reactor,
    index: usize,
    mut dir: RunDir,
    end: RunEnd,
    failure: Option<String>,
    link: Value,
) -> Result<Worker<Box<Finished>>, Box<Finished>> {
    let waker = reactor.worker_waker(index);
    let incomplete = |end: RunEnd, why: &str| {
        let of_lab = RunEnd::of_lab(format!("the record of the run is incomplete: {why}"));
        RunEnd { verdict: of_lab.verdict, error: of_lab.error, ..end }
    };
    let stopped = incomplete(end.clone(), "what completes it stopped");
    let unstarted = stopped.clone();
    let work = move |_: &Teller<Box<Finished>>| {
        let finished = dir.finish(&link).err().map(|error| error.to_string());
        let end = match failure.or(finished) {
            Some(why) => incomplete(end, &why),
            None => end,
        };
        Box::new(Finished { dir: Some(dir), end })
    };
    let stopped = Box::new(Finished { dir: None, end: stopped });
    Worker::spawn("finish", 1, move || waker.wake(), stopped, work)
        .map_err(|_| Box::new(Finished { dir: None, end: unstarted }))
}

impl std::fmt::Debug for Station {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Station").field("board", &self.board.name).finish_non_exhaustive()
    }
}

/// A line that is closing, or a goodbye on its way, is looked at so often.
const SOON: Duration = Duration::from_millis(10);
/// Whether anybody still looks at the raw line is asked so often.
const VIEWED_EVERY: Duration = Duration::from_secs(1);
