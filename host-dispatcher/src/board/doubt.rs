//! Text in an open session that says what no living kernel says: a boot loader's or a kernel's banner, a panic.
//!
//! Anybody can print it: a test that shows the log of a boot, say. The agent of a board that really restarted answers no
//! more, so it is asked, as after a beacon (docs/protocol.md). A banner is refuted by any frame of the session behind it:
//! a reset leaves none in the board's UART. A panic is not, since a dying kernel still empties its buffers; only the
//! answer to what was asked behind it refutes that.
//!
//! Where the agent has a line of its own, nothing says in which order what came on both was sent. So there only the answer
//! to what was asked behind a banner refutes it, too; and asking does no harm, for no boot loader reads that line.
//!
//! What comes behind a banner is held back meanwhile: it is either the new boot's, for the boot loader's driver to read
//! from its first byte, or text like any other.

use super::console::Note;
use super::event::BoardEvent;
use super::phase::Goal;
use super::{Board, RequestId};
use agent_core::link::Stats;
use agent_core::time::{Duration, Instant};
use agent_core::wire::{Method, request};

/// A banner that may be a print.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    note: Note,
    /// The text from the banner's line on, and how much of it the console has read.
    held: Vec<u8>,
    read: usize,
    /// Frames of the session before it.
    frames: u64,
    /// It is believed when nothing comes until then, ...
    quiet_at: Instant,
    /// ... and then whatever comes.
    until: Instant,
    /// The question has not been sent.
    may_ask: bool,
    /// What was asked on the agent's own line.
    question: Option<RequestId>,
}

/// A kernel panics.
#[derive(Clone, Debug)]
pub(super) struct Panic {
    /// When enough was collected, if no more comes.
    pub(super) at: Instant,
    /// When enough was collected.
    until: Instant,
    /// Its line, once that is known.
    pub(super) line: Option<String>,
    /// What the agent was asked, that may refute it.
    question: Option<RequestId>,
    /// When the board will have restarted by itself, if the kernel says that it will.
    restarts_by: Option<Instant>,
}

impl Board {
    /// Whether a banner at the end of `text` is one to be doubted, of which the console has read `read` bytes; the text
    /// from its line on, which begins at `line`, is held back then.
    pub(super) fn doubt_banner(
        &mut self,
        now: Instant,
        note: &Note,
        text: &[u8],
        line: usize,
        read: usize,
    ) -> bool {
        // What was asked for is no surprise, and behind a panic it is the end.
        let has_panicked = self.panic.as_ref().is_some_and(|panic| panic.question.is_none());
        let is_expected = self.restart.is_some() || has_panicked || self.is_deaf();
        if !self.link.is_open() || is_expected {
            return false;
        }
        // A question may stop a countdown. Where nobody wants that, nothing may be asked.
        let wants_prompt = matches!(self.goal, Some(Goal::Up(_) | Goal::BootLoader));
        let may_type = self.has_two_lines() || self.driver.is_some() && wants_prompt;
        if *note == Note::BootLoader && !may_type {
            return false;
        }
        let question = self.has_two_lines().then(|| self.ask_time(now));
        if question.is_none() {
            self.link.ping();
        }
        let round_trip = self.link.round_trip().unwrap_or(Duration::ZERO);
        let pause = QUIET + round_trip.times(2);
        self.doubt = Some(Doubt {
            note: note.clone(),
            held: text[line..].to_vec(),
            read: read - line,
            frames: frames_of_session(self.link.stats()),
            quiet_at: now + pause,
            until: now + LONGEST,
            may_ask: true,
            question,
        });
        true
    }

    /// Text comes while a banner is doubted: whether it was taken.
    pub(super) fn hold_text(&mut self, now: Instant, text: &[u8]) -> bool {
        let Some(doubt) = &mut self.doubt else { return false };
        doubt.held.extend_from_slice(text);
        if !text.is_empty() && doubt.question.is_none() {
            // Text of others takes the line from the answer.
            doubt.quiet_at = doubt.quiet_at.max(now + QUIET);
        }
        if doubt.held.len() > HELD_BYTES_MAX {
            self.believe_banner(now);
        }
        true
    }

    /// Whether the link may send: one frame is question enough, and a boot loader would take more for typing.
    pub(super) fn may_ask(&mut self) -> bool {
        let may_ask =
            |doubt: &mut Doubt| doubt.question.is_some() || std::mem::take(&mut doubt.may_ask);
        self.doubt.as_mut().is_none_or(may_ask)
    }

    /// Frames came, or time has passed.
    pub(super) fn settle_doubt(&mut self, now: Instant) {
        let frames = frames_of_session(self.link.stats());
        let Some(doubt) = &mut self.doubt else { return };
        if frames > doubt.frames && doubt.question.is_none() {
            return self.refute_banner(now);
        }
        if frames > doubt.frames {
            // No proof, but whoever sends them may still answer.
            (doubt.frames, doubt.quiet_at) = (frames, doubt.quiet_at.max(now + QUIET));
        }
        if now >= doubt.quiet_at || now >= doubt.until {
            self.believe_banner(now);
        }
    }

    /// It was a print.
    fn refute_banner(&mut self, now: Instant) {
        let Some(doubt) = self.doubt.take() else { return };
        self.read_held(now, &doubt, true);
        let what =
            if doubt.note == Note::Kernel { "a kernel's banner" } else { "a boot loader's banner" };
        self.events.push(BoardEvent::Printed { what: what.to_owned() });
    }

    /// What became of the question, if `event` is about it.
    pub(super) fn is_about_banner(&mut self, now: Instant, event: &BoardEvent) -> bool {
        let Some(question) = self.doubt.as_ref().and_then(|doubt| doubt.question) else {
            return false;
        };
        match event {
            BoardEvent::Answer { request, .. } | BoardEvent::Failed { request, .. }
                if *request == question =>
            {
                self.refute_banner(now);
                true
            }
            BoardEvent::Lost { request } | BoardEvent::Expired { request } => *request == question,
            _ => false,
        }
    }

    fn ask_time(&mut self, now: Instant) -> RequestId {
        let body = request::Clock { host_us: now.as_micros() | 1 };
        self.client.request(now, &mut self.link, Method::CLOCK, &body, &[], LONGEST)
    }

    /// It is true, or will be taken for it.
    pub(super) fn believe_banner(&mut self, now: Instant) {
        let Some(doubt) = self.doubt.take() else { return };
        self.handle_note(now, doubt.note.clone());
        self.read_held(now, &doubt, false);
        if self.is_driving()
            && !doubt.may_ask
            && let Some(driver) = &mut self.driver
        {
            driver.throw_away();
        }
    }

    fn read_held(&mut self, now: Instant, doubt: &Doubt, is_print: bool) {
        self.read_lines(now, &doubt.held, doubt.read, is_print);
    }

    /// When [`Self::settle_doubt`] has something to do.
    pub(super) fn doubt_timeout(&self) -> Option<Instant> {
        self.doubt.as_ref().map(|doubt| doubt.quiet_at.min(doubt.until))
    }

    /// A kernel says that it panics.
    pub(super) fn begin_panic(&mut self, now: Instant) {
        let mut period = COLLECTED;
        let question = self.link.is_open().then(|| {
            period = ANSWER_WITHIN;
            self.ask_time(now)
        });
        let (at, until) = (now + period, now + LONGEST);
        self.panic = Some(Panic { at, until, line: None, question, restarts_by: None });
        self.journey.overrule();
    }

    /// More text of a panic comes.
    pub(super) fn prolong_panic(&mut self, now: Instant) {
        if let Some(panic) = &mut self.panic {
            panic.at = panic.at.max((now + COLLECTED).min(panic.until));
        }
    }

    /// A line of a panic ends: does the kernel say that it will restart the board (`panic=SECONDS`)? Then the panic is over
    /// when the boot loader speaks, and only by that.
    pub(super) fn await_restart(&mut self, now: Instant) {
        let Some(panic) = &mut self.panic else { return };
        if let Some(pause) = restarts_in(self.console.line()) {
            // It counts turns of a loop: on an emulated board under load 5 s took 13 s and more.
            panic.restarts_by = Some(now + pause.times(4) + BANNER_WITHIN);
        }
    }

    /// Enough was collected of a panic: it is over, or the board's restart is waited for.
    pub(super) fn settle_panic(&mut self, now: Instant) {
        let Some(panic) = self.panic.as_mut().filter(|panic| now >= panic.at) else { return };
        let Some(at) = panic.restarts_by.take() else { return self.end_panic(now) };
        (panic.at, panic.until) = (at, at);
        self.believe_panic();
    }

    /// The panic's line is there.
    pub(super) fn tell_panic(&mut self, line: String) {
        let Some(panic) = &mut self.panic else { return };
        if panic.line.is_none() {
            panic.line = Some(line.clone());
            if panic.question.is_none() {
                self.events.push(BoardEvent::Panic { text: line });
            }
        }
    }

    /// Nobody answers: what was doubted is told.
    pub(super) fn believe_panic(&mut self) {
        let Some(panic) = &mut self.panic else { return };
        if panic.question.take().is_some()
            && let Some(text) = panic.line.clone()
        {
            self.events.push(BoardEvent::Panic { text });
        }
    }

    /// What became of the question, if `event` is about it.
    pub(super) fn is_about_panic(&mut self, event: &BoardEvent) -> bool {
        let Some(Panic { question: Some(question), .. }) = &self.panic else { return false };
        match event {
            BoardEvent::Answer { request, .. } | BoardEvent::Failed { request, .. }
                if request == question =>
            {
                self.panic = None;
                self.events.push(BoardEvent::Printed { what: "a kernel panic".to_owned() });
                true
            }
            BoardEvent::Lost { request } | BoardEvent::Expired { request } => request == question,
            _ => false,
        }
    }
}

/// Frames that only the agent of this session can have sent.
fn frames_of_session(stats: &Stats) -> u64 {
    stats.frames_in.saturating_sub(stats.stale).saturating_sub(stats.unknown)
}

/// `Rebooting in 10 seconds..` (kernel/panic.c), up to [`PAUSE_MAX`].
fn restarts_in(line: &str) -> Option<Duration> {
    let (_, rest) = line.split_once("Rebooting in ")?;
    let seconds: u64 = rest.split_once(" seconds")?.0.parse().ok()?;
    Some(Duration::from_secs(seconds)).filter(|pause| *pause <= PAUSE_MAX)
}

/// Nobody waits longer for a board that is dead: it is power cycled.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// From a kernel's restart to the boot loader's banner.
const BANNER_WITHIN: Duration = Duration::from_secs(30);

/// A live agent's answer takes a round trip; U-Boot counts down from 2 s, and is silent then.
const QUIET: Duration = Duration::from_millis(500);

/// Text that goes on for longer is no print that a live agent would be silent behind; and no panic's.
const LONGEST: Duration = Duration::from_secs(10);

/// A panic's registers and call trace take about 4 KiB of text, which is 0.4 s at 115200 baud; then it is silent.
const COLLECTED: Duration = Duration::from_secs(2);

/// The answer behind a panic's line may have to be sent again.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// A boot loader and a kernel print as much until the agent starts.
const HELD_BYTES_MAX: usize = 64 * 1024;
