//! The whole way from a line to an agent, as a state machine.

use std::sync::Arc;

use agent_core::time::{Duration, Instant};

use super::dialogue::{Dialogue, Step};
use super::finder::{Finder, Found, keep_end};
use super::receiver::{self, Answer};
use super::tools::Check;
use super::typist::Typist;
use super::{Failure, Login, Program, Report};

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// How to get at a shell.
    pub login: Login,
    /// Where the agent may be put, best first; absolute paths.
    pub folders: Vec<String>,
    /// Words for the agent behind its `--line`.
    pub arguments: Vec<String>,
    /// The pause after each character, for boards that lose them.
    pub character_delay: Option<Duration>,
    /// Characters a second that the line carries.
    pub characters_per_second: u32,
    /// How long a shell is looked for.
    pub patience: Duration,
}

/// How far the program is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Packed bytes on the board.
    pub done_bytes: u64,
    /// ... of so many; 0 before that is known.
    pub total_bytes: u64,
    /// Of them there were so many before.
    pub found_bytes: u64,
    /// Lines that had to be typed again.
    pub repeats: u64,
}

/// A bootstrap under way.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    state: State,
    typist: Typist,
    dialogue: Dialogue,
    text: String,
    deadline: Option<Instant>,
    report: Option<Report>,
    characters_per_second: u32,
    /// How often the loop was typed.
    definitions: u32,
}

#[derive(Clone, Debug)]
enum State {
    Finding(Box<Finder>),
    /// Whether the shell has this one of [`Check::ALL`].
    Probing {
        check: usize,
        tries: u32,
    },
    /// The loop was typed; whether it is there, its answer to the first line shows.
    Defining,
    /// A line is with the loop; so often it was typed.
    Asking {
        tries: u32,
    },
    /// The owner is asked for the program.
    Waiting,
    Over,
}

impl Bootstrap {
    /// Begins at once.
    pub fn new(now: Instant, request: Request, seed: u64) -> Self {
        let mut typist = Typist::new(request.character_delay);
        let finder = Finder::new(now, request.login, seed, request.patience, &mut typist);
        Self {
            state: State::Finding(Box::new(finder)),
            typist,
            dialogue: Dialogue::new(request.folders, request.arguments),
            text: String::new(),
            deadline: None,
            report: None,
            characters_per_second: request.characters_per_second.max(1),
            definitions: 0,
        }
    }

    /// Text came from the board.
    pub fn handle_text(&mut self, now: Instant, bytes: &[u8]) {
        // What is looked for is ASCII; line ends matter only to prompts.
        let text: String = bytes
            .iter()
            .filter(|byte| byte.is_ascii() && **byte != b'\r')
            .map(|byte| char::from(*byte))
            .collect();
        if let State::Finding(finder) = &mut self.state {
            let found = finder.handle_text(now, &text);
            return self.handle_found(now, found);
        }
        self.text.push_str(&text);
        keep_end(&mut self.text);
        self.read(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let State::Finding(finder) = &mut self.state {
            let found = finder.handle_timeout(now, &mut self.typist);
            return self.handle_found(now, found);
        }
        if self.deadline.is_some_and(|at| now >= at) {
            self.deadline = None;
            self.try_again(now);
        }
    }

    /// The next characters to type.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.typist.poll_transmit(now)
    }

    /// When [`Self::handle_timeout`] or [`Self::poll_transmit`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let finder = match &self.state {
            State::Finding(finder) => finder.poll_timeout(),
            _ => self.deadline,
        };
        [finder, self.typist.poll_timeout()].into_iter().flatten().min()
    }

    /// What the owner must do next; each once.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.report.take()
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.dialogue.progress()
    }

    /// The program, after [`Report::Machine`].
    pub fn give_program(&mut self, now: Instant, program: Arc<Program>) {
        if matches!(self.state, State::Waiting) {
            self.dialogue.begin(program);
            self.ask(now);
        }
    }

    /// Whether it has nothing more to type.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over) && self.typist.poll_timeout().is_none()
    }

    /// An agent shows itself: nothing more is typed.
    pub fn handle_beacon(&mut self) {
        self.typist.clear();
        self.end();
    }

    /// The board was restarted: whatever was typed is gone.
    pub fn handle_restart(&mut self) {
        if !matches!(self.state, State::Over) {
            self.fail(Failure::Restarted);
        }
    }

    /// No agent is wanted any more: what is on the board of it is removed. [`Report::CleanedUp`] says when.
    pub fn cancel(&mut self, now: Instant) {
        self.typist.clear();
        if matches!(self.state, State::Asking { .. } | State::Waiting)
            && self.dialogue.begin_clean_up()
        {
            // Behind what may have been typed of a line.
            self.typist.enter("\n");
            return self.ask(now);
        }
        if matches!(self.state, State::Asking { .. } | State::Waiting | State::Defining) {
            self.typist.enter("\n");
            self.typist.enter(receiver::QUIT);
        }
        self.report = Some(Report::CleanedUp);
        self.end();
    }

    fn handle_found(&mut self, now: Instant, found: Option<Found>) {
        match found {
            None => {}
            Some(Found::Failed(failure)) => self.fail(failure),
            Some(Found::Shell) => {
                // Each of these may be missing or come damaged without harm.
                self.typist.enter("stty -echo;PS1=;PS2=;cd /\n");
                self.probe(now, 0, 1);
            }
        }
    }

    fn probe(&mut self, now: Instant, check: usize, tries: u32) {
        let program = Check::ALL[check].program();
        let words = format!("t={program};echo PU''MICE=$t=$(echo {PROBE}|$t)=\n");
        self.state = State::Probing { check, tries };
        self.enter(now, &words, ANSWER_SLACK);
    }

    fn handle_probed(&mut self, now: Instant, check: usize, has_it: bool) {
        self.dialogue.probed(Check::ALL[check], has_it);
        if check + 1 < Check::ALL.len() {
            return self.probe(now, check + 1, 1);
        }
        match self.dialogue.check() {
            None => self.fail(Failure::NoDigest),
            Some(check) => self.define(now, check),
        }
    }

    /// The whole definition at once: each of its lines is short, and a shell that edits lines takes them as typed.
    fn define(&mut self, now: Instant, check: Check) {
        self.definitions += 1;
        self.dialogue.begin_again();
        self.typist.enter(&receiver::definition(check));
        self.state = State::Defining;
        let line = self.dialogue.line();
        self.enter(now, &line, ANSWER_SLACK);
    }

    /// The dialogue's next line.
    fn ask(&mut self, now: Instant) {
        self.state = State::Asking { tries: 1 };
        let line = self.dialogue.line();
        self.enter(now, &line, self.dialogue.patience());
    }

    /// Types something whose answer is awaited.
    fn enter(&mut self, now: Instant, text: &str, slack: Duration) {
        self.text.clear();
        self.typist.enter(text);
        // Once there and, where it is echoed, once back.
        let on_line = Duration::from_micros(
            1_000_000 * 2 * text.len() as u64 / u64::from(self.characters_per_second),
        );
        self.deadline = Some(now + slack + on_line + self.typist.takes(0));
    }

    fn read(&mut self, now: Instant) {
        match self.state {
            State::Probing { check, .. } => {
                let program = Check::ALL[check].program();
                let said = format!("PUMICE={program}=");
                let text = receiver::without_kernel_lines(&self.text);
                let Some((_, rest)) = text.split_once(&said) else { return };
                let Some((sum, _)) = rest.split_once('=') else { return };
                let wanted = Check::ALL[check].of(format!("{PROBE}\n").as_bytes());
                let is_right = sum.split(' ').next() == Some(&wanted);
                // Neither the right one nor none: text came in between; it is asked again when its time is over.
                if is_right || sum.is_empty() {
                    self.handle_probed(now, check, is_right);
                }
            }
            State::Defining | State::Asking { .. } => {
                let Some(answer) = receiver::answer(&self.text, self.dialogue.number()) else {
                    return;
                };
                match (answer, &self.state) {
                    (Answer::Done(status, output), _) => self.handle_answer(now, status, &output),
                    (Answer::Bad, _) if self.dialogue.wants_refusal() => {
                        self.handle_answer(now, 0, "")
                    }
                    (Answer::Bad | Answer::Unreadable, State::Asking { tries }) => {
                        self.ask_again(now, tries + 1);
                    }
                    // Its first answer is still to come, or is missing when the time is over.
                    (Answer::Bad | Answer::Unreadable, _) => {}
                }
            }
            _ => {}
        }
    }

    fn handle_answer(&mut self, now: Instant, status: i32, output: &str) {
        match self.dialogue.handle_answer(status, output) {
            Step::Next => self.ask(now),
            Step::Machine(machine) => {
                self.state = State::Waiting;
                self.deadline = None;
                self.report = Some(Report::Machine(machine));
            }
            Step::CleanedUp => {
                self.typist.enter(receiver::QUIT);
                self.report = Some(Report::CleanedUp);
                self.end();
            }
            // The loop is not as it should be.
            Step::Redefine => self.leave_definition(now),
            Step::Failed(failure) => {
                self.typist.enter(receiver::QUIT);
                self.fail(failure);
            }
        }
    }

    /// An answer is missing.
    fn try_again(&mut self, now: Instant) {
        match self.state {
            State::Probing { check, tries } if tries < PROBES_MAX => {
                self.typist.enter("\n");
                self.probe(now, check, tries + 1);
            }
            State::Probing { check, .. } => self.handle_probed(now, check, false),
            State::Defining => self.leave_definition(now),
            State::Asking { tries } if self.dialogue.is_starting() && tries >= STARTS_MAX => {
                self.fail(Failure::NotStarted);
            }
            State::Asking { tries } => {
                // What came of a line whose end was lost is thrown away.
                self.typist.enter("\n");
                self.ask_again(now, tries + 1);
            }
            State::Finding(_) | State::Waiting | State::Over => {}
        }
    }

    fn ask_again(&mut self, now: Instant, tries: u32) {
        if self.dialogue.is_trial() && tries > TRIALS_MAX {
            return self.leave_definition(now);
        }
        if tries > LINE_TRIES_MAX {
            let what = self.dialogue.said();
            return self.fail(Failure::Unanswered(what));
        }
        self.dialogue.note_repeat();
        self.state = State::Asking { tries };
        let line = self.dialogue.line();
        self.enter(now, &line, self.dialogue.patience());
    }

    /// Out of what the definition has become, and once more.
    fn leave_definition(&mut self, now: Instant) {
        if self.definitions >= DEFINITIONS_MAX {
            return self.fail(Failure::NoLoop);
        }
        let Some(check) = self.dialogue.check() else { return self.fail(Failure::NoDigest) };
        self.typist.enter("\n");
        self.typist.enter(receiver::QUIT);
        // One at a time: the way out of a quotation leads into one where there was none.
        let way_out = (self.definitions as usize).saturating_sub(1) % receiver::WAYS_OUT.len();
        self.typist.enter(receiver::WAYS_OUT[way_out]);
        self.define(now, check);
    }

    fn fail(&mut self, failure: Failure) {
        self.report = Some(Report::Failed(failure));
        self.end();
    }

    fn end(&mut self) {
        self.state = State::Over;
        self.deadline = None;
    }
}

/// What is given to a program to find out whether it is there.
const PROBE: &str = "PUMICE";
/// The answer to a short line; a board that has just begun may be busy.
const ANSWER_SLACK: Duration = Duration::from_secs(3);
/// What is missing says so at once; only what was damaged is asked again.
const PROBES_MAX: u32 = 8;
/// Of a definition of 300 characters, one in two arrives where one character in 500 is lost.
const DEFINITIONS_MAX: u32 = 12;
/// A loop that does not answer a trial is none.
const TRIALS_MAX: u32 = 3;
/// Of lines of 256 characters, every other one arrives where one character in 400 is lost.
const LINE_TRIES_MAX: u32 = 12;
/// The line that starts the agent has no answer but the agent.
const STARTS_MAX: u32 = 4;
