//! What the lab shows of a board while something is done with it, gathered where the bench tells it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::board::BoardEvent;
use crate::job::event::{Event, LogRecord, Stamped};
use crate::job::verdict::Tally;
use crate::redact::{Patterns, Redactor};
use crate::report::Reporter;
use crate::report::summary::Summary;
use crate::script::observer::{Observer, Recorder};
use crate::store::run_dir::RunDir;

/// One board's, as the loop and what it observes share it.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The step that is being done.
    pub(super) action: String,
    /// How far it is.
    pub(super) progress: Option<f64>,
    /// The run's results so far.
    pub(super) tally: Tally,
    /// The errors that stopped the run, in a line each.
    pub(super) errors: Vec<String>,
    /// Bytes that came on the line.
    pub(super) received_bytes: u64,
    line: Vec<u8>,
    last_line: String,
    viewers: Vec<mpsc::Sender<Vec<u8>>>,
    tail: Vec<u8>,
    /// Takes the secrets of the last job out: a board may still print them when it is over.
    redactor: Redactor,
}

impl Shown {
    /// The last line on the console that has text.
    pub(super) fn last_line(&self) -> String {
        let growing = readable(&self.line);
        if growing.is_empty() { self.last_line.clone() } else { growing }
    }

    /// Another viewer of the console; it sees the end of what came before.
    pub(super) fn add_viewer(&mut self, viewer: mpsc::Sender<Vec<u8>>) -> bool {
        self.viewers.retain(|viewer| !viewer.is_closed());
        let has_room = self.viewers.len() < VIEWERS_MAX;
        if has_room {
            let _ = viewer.try_send(self.tail.clone());
            self.viewers.push(viewer);
        }
        has_room
    }

    /// Whether somebody looks at the console.
    pub(super) fn is_viewed(&mut self) -> bool {
        self.viewers.retain(|viewer| !viewer.is_closed());
        !self.viewers.is_empty()
    }

    /// Text on the console.
    pub(super) fn console(&mut self, bytes: &[u8]) {
        self.received_bytes += bytes.len() as u64;
        let mut text = bytes.to_vec();
        self.redactor.push(&mut text);
        for byte in &text {
            if *byte == b'\n' || self.line.len() >= LINE_MAX {
                let line = readable(&self.line);
                self.line.clear();
                if !line.is_empty() {
                    self.last_line = line;
                }
            } else {
                self.line.push(*byte);
            }
        }
        self.tail.extend_from_slice(&text);
        let over = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..over);
        // A viewer that is too slow misses a piece; the run directory has it.
        self.viewers.retain(|viewer| {
            text.is_empty()
                || !matches!(
                    viewer.try_send(text.clone()),
                    Err(mpsc::error::TrySendError::Closed(_))
                )
        });
    }

    /// Something else begins on the board.
    pub(super) fn begin(&mut self, action: &str) {
        self.action = action.to_owned();
        self.progress = None;
        self.tally = Tally::default();
        self.errors.clear();
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::ActionStarted { action } => {
                self.action.clone_from(action);
                self.progress = None;
            }
            Event::ActionProgress { done_bytes, total_bytes, .. } => {
                let total = total_bytes.filter(|total| *total > 0);
                self.progress =
                    total.map(|total| (*done_bytes as f64 / total as f64).clamp(0.0, 1.0));
            }
            Event::ActionEnded { .. } => self.progress = None,
            Event::Error { class, message, .. } if self.errors.len() < ERRORS_MAX => {
                self.errors.push(format!("{}: {message}", class.as_str()));
            }
            _ => {}
        }
    }
}

/// A run's recorder, and beside it what is shown.
pub(super) struct LabObserver {
    pub(super) recorder: Rc<RefCell<Recorder>>,
    pub(super) shown: Rc<RefCell<Shown>>,
}

impl Observer for LabObserver {
    fn board_event(&mut self, wall: Timestamp, event: &BoardEvent) {
        if let BoardEvent::Console { source, bytes } = event
            && source.is_console()
        {
            self.shown.borrow_mut().console(bytes);
        }
        self.recorder.borrow_mut().board_event(wall, event);
    }

    fn event(&mut self, wall: Timestamp, event: Event) {
        let is_result = matches!(
            event,
            Event::TestStarted { .. } | Event::TestEnded { .. } | Event::CaseEnded(_)
        );
        self.recorder.borrow_mut().event(wall, event);
        if is_result {
            self.shown.borrow_mut().tally = self.recorder.borrow().dir().summary().tally;
        }
    }

    fn log(&mut self, record: &LogRecord) {
        self.recorder.borrow_mut().log(record);
    }

    fn with_run_dir(&mut self, work: &mut dyn FnMut(&mut RunDir)) {
        self.recorder.borrow_mut().with_run_dir(work);
    }

    fn hide(&mut self, hidden: &Arc<Patterns>) {
        self.shown.borrow_mut().redactor.hide(hidden);
        self.recorder.borrow_mut().hide(hidden);
    }
}

/// Tells [`Shown`] of every event of a run.
pub(super) struct LabReporter(pub(super) Rc<RefCell<Shown>>);

impl Reporter for LabReporter {
    fn event(&mut self, event: &Stamped) {
        self.0.borrow_mut().event(&event.event);
    }

    fn finish(&mut self, _summary: &Summary, _directory: &std::path::Path) {}
}

/// What is done by hand leaves no record; its console is shown.
pub(super) struct HandsObserver(pub(super) Rc<RefCell<Shown>>);

impl Observer for HandsObserver {
    fn board_event(&mut self, _wall: Timestamp, event: &BoardEvent) {
        if let BoardEvent::Console { source, bytes } = event
            && source.is_console()
        {
            self.0.borrow_mut().console(bytes);
        }
    }

    fn event(&mut self, _wall: Timestamp, event: Event) {
        self.0.borrow_mut().event(&event);
    }

    fn log(&mut self, _record: &LogRecord) {}
}

/// A line for people: no control characters, not too long.
fn readable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut in_escape = false;
    let characters = text.chars().filter(|c| {
        match c {
            '\u{1b}' => in_escape = true,
            // A control sequence ends with a letter: ECMA-48 §5.4.
            c if in_escape && (c.is_ascii_alphabetic() || *c == '~') => in_escape = false,
            _ => return !in_escape && !c.is_control(),
        }
        false
    });
    let shown: String = characters.take(SHOWN_CHARACTERS).collect();
    shown.trim_end().to_owned()
}

/// Of a line so much is kept while it grows.
const LINE_MAX: usize = 1024;
/// What fits beside the other things that are shown of a board.
const SHOWN_CHARACTERS: usize = 200;
/// A screen of text for a viewer who comes late.
const TAIL_BYTES: usize = 8 * 1024;
/// More people do not look at one board.
const VIEWERS_MAX: usize = 32;
/// The first ones say it.
const ERRORS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_has_text_and_no_escapes() {
        let mut shown = Shown::default();
        shown.console(b"U-Boot 2023.01\r\n\r\n\x1b[2Jgrow");
        assert_eq!(shown.last_line(), "grow");
        shown.console(b"\n\r\n");
        assert_eq!(shown.last_line(), "grow");
        shown.console(&b"x".repeat(100_000));
        assert!(shown.line.len() <= LINE_MAX && shown.tail.len() <= TAIL_BYTES);
        assert_eq!(shown.last_line().len(), SHOWN_CHARACTERS);
    }

    #[test]
    fn nobody_sees_a_secret_on_the_console() {
        let mut shown = Shown::default();
        let secret = (b"hunter2-hunter2".to_vec(), b"(secret:A)*****".to_vec());
        shown.redactor.hide(&Arc::new(Patterns::new([secret])));
        let (sender, mut viewer) = mpsc::channel(4);
        assert!(shown.add_viewer(sender));
        shown.console(b"is hunter2-hun");
        shown.console(b"ter2\n");
        viewer.try_recv().unwrap();
        assert_eq!(viewer.try_recv().unwrap(), b"is ");
        assert_eq!(viewer.try_recv().unwrap(), b"(secret:A)*****\n");
        assert_eq!(
            (shown.last_line().as_str(), &shown.tail[..]),
            ("is (secret:A)*****", &b"is (secret:A)*****\n"[..])
        );
        assert_eq!(shown.received_bytes, 19);
    }

    #[test]
    fn viewers_get_the_tail_and_slow_ones_miss_pieces() {
        let mut shown = Shown::default();
        shown.console(b"before ");
        let (sender, mut viewer) = mpsc::channel(2);
        assert!(shown.add_viewer(sender));
        shown.console(b"one");
        shown.console(b"two");
        assert_eq!(viewer.try_recv().unwrap(), b"before ");
        assert_eq!(viewer.try_recv().unwrap(), b"one");
        assert!(viewer.try_recv().is_err());
        assert!(shown.is_viewed());
        drop(viewer);
        assert!(!shown.is_viewed());
    }
}
