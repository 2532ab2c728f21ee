//! Who is told what happens on a bench: the recorder of a run, or the narrator of a command.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;

use crate::board::side_lane::LaneState;
use crate::board::{BoardEvent, ConsoleSource, PowerState};
use crate::job::event::{Event, LogRecord, OperationState, Source, Stamped};
use crate::job::verdict::Verdict;
use crate::redact::{Patterns, Redactor};
use crate::report::Reporter;
use crate::script::Fault;
use crate::store::run_dir::RunDir;
use crate::store::{StoreError, hexadecimal};

/// Is told everything that is no answer to a request.
pub trait Observer {
    /// Something happened on the board.
    fn board_event(&mut self, wall: Timestamp, event: &BoardEvent);

    /// Something happened in the job.
    fn event(&mut self, wall: Timestamp, event: Event);

    /// A line of a log.
    fn log(&mut self, record: &LogRecord);

    /// A little time has passed: what moves may move.
    fn tick(&mut self) {}

    /// Others write on the terminal now: what moves is taken away.
    fn pause(&mut self) {}

    /// Does something with the run directory, where there is one.
    fn with_run_dir(&mut self, _work: &mut dyn FnMut(&mut RunDir)) {}

    /// From here on nobody sees any of this, wherever it is told.
    fn hide(&mut self, _hidden: &Arc<Patterns>) {}
}

/// One that somebody else holds too: the bench while it lives, its maker after it.
impl<T: Observer> Observer for Rc<RefCell<T>> {
    fn board_event(&mut self, wall: Timestamp, event: &BoardEvent) {
        self.borrow_mut().board_event(wall, event);
    }

    fn event(&mut self, wall: Timestamp, event: Event) {
        self.borrow_mut().event(wall, event);
    }

    fn log(&mut self, record: &LogRecord) {
        self.borrow_mut().log(record);
    }

    fn tick(&mut self) {
        self.borrow_mut().tick();
    }

    fn pause(&mut self) {
        self.borrow_mut().pause();
    }

    fn with_run_dir(&mut self, work: &mut dyn FnMut(&mut RunDir)) {
        self.borrow_mut().with_run_dir(work);
    }

    fn hide(&mut self, hidden: &Arc<Patterns>) {
        self.borrow_mut().hide(hidden);
    }
}

/// Writes a run down and shows it.
#[expect(missing_debug_implementations, reason = "a reporter has none")]
pub struct Recorder {
    dir: RunDir,
    reporter: Box<dyn Reporter>,
    console: LineText,
    /// Of the agent's own line.
    agents: LineText,
    /// The first failure to write; the run goes on, and its end says so.
    failure: Option<StoreError>,
    hidden: Arc<Patterns>,
}

/// What came on a line and is not a whole line of text.
struct LineText {
    text: Vec<u8>,
    /// It belongs to the source that ends it: a kernel's banner is known for one in the middle of its line.
    source: Source,
    redactor: Redactor,
}

impl Recorder {
    /// Writes into `dir`, shows through `reporter`.
    pub fn new(dir: RunDir, reporter: Box<dyn Reporter>) -> Self {
        Self {
            dir,
            reporter,
            console: LineText::new(Source::Console),
            agents: LineText::new(Source::AgentLine),
            failure: None,
            hidden: Arc::default(),
        }
    }

    /// Ends the run: verdict, summary, the completed directory. Returns the exit status.
    ///
    /// # Errors
    /// Something of the run could not be written down.
    pub fn finish(
        &mut self,
        wall: Timestamp,
        seconds: f64,
        link: &serde_json::Value,
    ) -> Result<u8, Fault> {
        let exit_status = self.end(wall, seconds).exit_status();
        let outcome = self.dir.finish(link);
        self.keep(outcome);
        self.reporter.finish(self.dir.summary(), self.dir.path());
        match &self.failure {
            Some(error) => {
                Err(Fault::infrastructure(format!("the record of the run is incomplete: {error}")))
            }
            None => Ok(exit_status),
        }
    }

    /// Puts the run's end on record; its directory is still to be completed.
    pub fn end(&mut self, wall: Timestamp, seconds: f64) -> Verdict {
        let held = self.console.redactor.finish();
        self.console_text(wall, &held);
        let held = self.agents.redactor.finish();
        let ended = self.agents.lines(wall, &held);
        self.log_all(ended);
        let ended = [self.console.end(wall), self.agents.end(wall)];
        self.log_all(ended.into_iter().flatten());
        let verdict = self.dir.summary().decide();
        let exit_status = verdict.exit_status();
        self.event(wall, Event::RunEnded { verdict, exit_status, seconds });
        verdict
    }

    /// The run directory.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// The run directory, and the first failure to write into it.
    pub fn into_dir(self) -> (RunDir, Option<StoreError>) {
        (self.dir, self.failure)
    }

    fn keep<T>(&mut self, outcome: Result<T, StoreError>) {
        if let Err(error) = outcome {
            self.failure.get_or_insert(error);
        }
    }

    /// Console text becomes lines of the timeline when they end.
    fn console(&mut self, wall: Timestamp, source: ConsoleSource, bytes: &[u8]) {
        let source = match source {
            // What was typed comes back as an echo; the raw file holds what the board sent.
            ConsoleSource::Typed => return,
            ConsoleSource::BootLoader => Source::BootLoader,
            ConsoleSource::Console => Source::Console,
            ConsoleSource::AgentLine => {
                let mut text = bytes.to_vec();
                self.agents.redactor.push(&mut text);
                let ended = self.agents.lines(wall, &text);
                return self.log_all(ended);
            }
        };
        self.console.source = source;
        let mut text = bytes.to_vec();
        self.console.redactor.push(&mut text);
        self.console_text(wall, &text);
    }

    fn console_text(&mut self, wall: Timestamp, text: &[u8]) {
        let outcome = self.dir.console(text);
        self.keep(outcome);
        let ended = self.console.lines(wall, text);
        self.log_all(ended);
    }

    fn log_all(&mut self, lines: impl IntoIterator<Item = LogRecord>) {
        lines.into_iter().for_each(|line| self.log(&line));
    }
}

impl LineText {
    fn new(source: Source) -> Self {
        Self { text: Vec::new(), source, redactor: Redactor::default() }
    }

    /// Takes text; the lines that end in it.
    fn lines(&mut self, wall: Timestamp, text: &[u8]) -> Vec<LogRecord> {
        let mut ended = Vec::new();
        for byte in text {
            if *byte == b'\n' || self.text.len() >= LINE_MAX {
                ended.extend(self.end(wall));
            }
            if *byte != b'\n' {
                self.text.push(*byte);
            }
        }
        ended
    }

    /// The line ends here.
    fn end(&mut self, wall: Timestamp) -> Option<LogRecord> {
        // A zero stands between the frames of a binary line.
        let text = String::from_utf8_lossy(&self.text);
        let text = text.trim_start_matches('\0').trim_end_matches('\r').to_owned();
        self.text.clear();
        // An agent makes itself known with a line of its own, between empty ones.
        (!text.is_empty()).then(|| line_of(wall, self.source, text))
    }
}

impl Observer for Recorder {
    fn board_event(&mut self, wall: Timestamp, event: &BoardEvent) {
        if let BoardEvent::Console { source, bytes } = event {
            self.console(wall, *source, bytes);
        } else if let Some(event) = event_of(event) {
            self.event(wall, event);
        }
    }

    fn event(&mut self, wall: Timestamp, mut event: Event) {
        if !self.hidden.is_empty() {
            event.each_text(&mut |text| self.hidden.redact(text));
        }
        let stamped = Stamped { time: wall, event };
        let outcome = self.dir.event(&stamped);
        self.keep(outcome);
        if let Some(text) = said_by_dispatcher(&stamped.event) {
            let level = Some(level_of(&stamped.event));
            self.log(&LogRecord { level, ..line_of(wall, Source::Dispatcher, text) });
        }
        self.reporter.event(&stamped);
    }

    fn log(&mut self, record: &LogRecord) {
        let outcome = if self.hidden.is_empty() {
            self.dir.log(record)
        } else {
            let mut record = record.clone();
            record.each_text(&mut |text| self.hidden.redact(text));
            self.dir.log(&record)
        };
        self.keep(outcome);
    }

    fn hide(&mut self, hidden: &Arc<Patterns>) {
        self.dir.hide(Arc::clone(hidden));
        self.hidden = Arc::clone(hidden);
        self.console.redactor.hide(hidden);
        self.agents.redactor.hide(hidden);
    }

    fn tick(&mut self) {
        self.reporter.tick();
    }

    fn with_run_dir(&mut self, work: &mut dyn FnMut(&mut RunDir)) {
        work(&mut self.dir);
    }
}

/// Shows what a hands-on command waits for: to a person who watches all of it, elsewhere only what is wrong.
#[expect(missing_debug_implementations, reason = "a reporter has none")]
pub struct Narrator {
    reporter: Box<dyn Reporter>,
    is_watched: bool,
}

impl Narrator {
    /// Shows through `reporter`; `is_watched` where that moves a line on a terminal.
    pub fn new(reporter: Box<dyn Reporter>, is_watched: bool) -> Self {
        Self { reporter, is_watched }
    }
}

impl Observer for Narrator {
    fn board_event(&mut self, wall: Timestamp, event: &BoardEvent) {
        if let Some(event) = event_of(event) {
            self.event(wall, event);
        }
    }

    fn event(&mut self, wall: Timestamp, event: Event) {
        let is_wrong = matches!(event, Event::Warning { .. } | Event::Error { .. });
        let moves = matches!(
            event,
            Event::Phase { .. } | Event::ActionStarted { .. } | Event::ActionProgress { .. }
        );
        if is_wrong || moves && self.is_watched {
            self.reporter.event(&Stamped { time: wall, event });
        }
    }

    fn pause(&mut self) {
        self.reporter.pause();
    }

    fn log(&mut self, _record: &LogRecord) {}

    fn tick(&mut self) {
        self.reporter.tick();
    }
}

/// A board's event as one of the run.
fn event_of(event: &BoardEvent) -> Option<Event> {
    Some(match event {
        BoardEvent::Phase { from, to, why } => {
            Event::Phase { from: from.to_string(), to: to.to_string(), cause: why.clone() }
        }
        BoardEvent::Retry { cause, text, tries_left } => {
            let text = if text.is_empty() { cause.to_string() } else { text.clone() };
            Event::Warning { text: format!("{text}; starting again ({tries_left} tries left)") }
        }
        BoardEvent::SessionOpened { slot, peer } => Event::SessionOpened {
            slot: *slot,
            boot_id: hexadecimal(&peer.boot_id),
            link: serde_json::json!({"version": peer.version, "capabilities": peer.capabilities}),
        },
        BoardEvent::SessionClosed { reason } => Event::SessionClosed { reason: reason.clone() },
        BoardEvent::Power { operation, state } => {
            let state = match state {
                PowerState::Started => OperationState::Started,
                PowerState::Done => OperationState::Done,
                PowerState::Failed(_) => OperationState::Failed,
            };
            Event::Power { operation: *operation, state }
        }
        BoardEvent::PowerNote { text } => Event::Warning { text: text.clone() },
        BoardEvent::Baud { baud, problem: None } => {
            Event::Note { text: format!("the line runs at {baud} baud in this session") }
        }
        BoardEvent::Baud { baud, problem: Some(why) } => {
            Event::Warning { text: format!("the line stays at {baud} baud: {why}") }
        }
        BoardEvent::Lane { state: LaneState::Open } => {
            Event::Note { text: "bulk goes over the side lane from now on".to_owned() }
        }
        BoardEvent::Lane { state: LaneState::Refused(why) } => {
            Event::Warning { text: format!("there is no side lane, bulk stays on the line: {why}") }
        }
        BoardEvent::Lane { state: LaneState::Ended { why, was_used: true } } => Event::Warning {
            text: format!("the side lane has ended, bulk goes over the line again: {why}"),
        },
        BoardEvent::Lane { state: LaneState::Ended { why, was_used: false } } => {
            Event::Note { text: format!("the side lane has ended: {why}") }
        }
        BoardEvent::Panic { text } => Event::Warning { text: format!("kernel panic: {text}") },
        BoardEvent::Printed { what } => Event::Note {
            text: format!("text on the line that looks like {what} was a print: the agent lives"),
        },
        BoardEvent::Suspicion { line: None, found } => Event::Warning { text: found.to_string() },
        BoardEvent::Suspicion { line: Some(line), found } => {
            Event::Warning { text: format!("{line}: {found}") }
        }
        BoardEvent::Line { line, problem: Some(why) } => {
            Event::Warning { text: format!("{line} is away: {why}") }
        }
        BoardEvent::Line { line, problem: None } => Event::Note { text: format!("{line} is back") },
        BoardEvent::Rebooted { evidence } => {
            Event::Warning { text: format!("the board was restarted: {evidence}") }
        }
        _ => return None,
    })
}

/// What the dispatcher's own log says of an event.
fn said_by_dispatcher(event: &Event) -> Option<String> {
    Some(match event {
        Event::Note { text } => text.clone(),
        Event::Job { id, attempt, submitter } => {
            format!("job {id} of {submitter}, attempt {attempt}")
        }
        Event::Warning { text } => format!("warning: {text}"),
        Event::Error { class, message, .. } => format!("{}: {message}", class.as_str()),
        Event::Phase { from, to, cause } => format!("board: {from} -> {to} ({cause})"),
        Event::ActionStarted { action } => format!("{action}: started"),
        Event::ActionEnded { action, seconds, .. } => {
            format!("{action}: ended after {seconds:.1} s")
        }
        Event::SessionOpened { slot, .. } => format!("session with the {} agent", slot.as_str()),
        Event::SessionClosed { reason } => format!("session closed: {reason}"),
        Event::TestStarted { suite } => format!("test {suite}: started"),
        Event::TestEnded { suite, end, .. } => {
            format!("test {suite}: {end}")
        }
        Event::KernelReport(report) => format!("kernel {}: {}", report.kind, report.title),
        _ => return None,
    })
}

/// How grave that is: a syslog level.
fn level_of(event: &Event) -> u8 {
    match event {
        Event::Error { .. } => 3,
        Event::Warning { .. } => 4,
        _ => 6,
    }
}

fn line_of(wall: Timestamp, source: Source, text: String) -> LogRecord {
    LogRecord::new(wall, source, text)
}

/// A line of the console that is longer is cut; the raw file has it whole.
const LINE_MAX: usize = 4096;
