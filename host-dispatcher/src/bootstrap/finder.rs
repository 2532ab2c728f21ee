//! Finds a shell: wakes the console, logs in where that is asked for, and asks for what only a shell can compute.

use agent_core::time::{Duration, Instant};

use super::receiver;
use super::typist::Typist;
use super::{Failure, Login};
use crate::board::console::LineBuffer;

/// The dialogue before there is a shell.
#[derive(Clone, Debug)]
pub(super) struct Finder {
    login: Login,
    /// Two factors; only a shell makes their product of what is typed.
    factors: (u32, u32),
    state: State,
    line: LineBuffer,
    text: String,
    /// Nothing came for so long: what stands there is a prompt, or nothing.
    quiet_at: Option<Instant>,
    give_up_at: Instant,
    /// Passwords typed.
    logins: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// An empty line was typed; whoever is there shows it.
    Woken,
    /// The marker was typed.
    Asked,
    UserTyped,
    PasswordTyped,
    /// Enter was typed where somebody else's password was asked for: a refusal comes, and then the question for a user.
    Dismissed,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A shell answers.
    Shell,
    /// None does, or none lets anybody in.
    Failed(Failure),
}

impl Finder {
    /// Begins at once. `seed` makes the marker, so that no text of another attempt is taken for its answer.
    pub(super) fn new(
        now: Instant,
        login: Login,
        seed: u64,
        patience: Duration,
        typist: &mut Typist,
    ) -> Self {
        let factor = |bits: u64| 1000 + (bits % 9000) as u32;
        let mut finder = Self {
            login,
            factors: (factor(seed), factor(seed >> 20)),
            state: State::Woken,
            line: LineBuffer::new(),
            text: String::new(),
            quiet_at: None,
            give_up_at: now + patience,
            logins: 0,
        };
        finder.enter(now, State::Woken, "\n", typist);
        finder
    }

    pub(super) fn handle_text(&mut self, now: Instant, text: &str) -> Option<Found> {
        for byte in text.bytes() {
            self.line.push(byte);
        }
        self.text.push_str(text);
        keep_end(&mut self.text);
        let product = self.factors.0 * self.factors.1;
        if receiver::without_kernel_lines(&self.text).contains(&format!("PUMICE-{product}")) {
            return Some(Found::Shell);
        }
        let quiet = match self.state {
            State::Dismissed if !self.is_asked_for_something() => ANSWER_WAIT,
            State::PasswordTyped => VERDICT_QUIET,
            _ => PROMPT_QUIET,
        };
        // The marker's answer may take longer than a pause between two texts.
        if self.state != State::Asked || self.is_asked_for_something() {
            self.quiet_at = Some(now + quiet);
        }
        None
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, typist: &mut Typist) -> Option<Found> {
        if self.quiet_at.is_none_or(|at| now < at) {
            return None;
        }
        if now >= self.give_up_at {
            let line = if self.line.text().trim().is_empty() {
                self.line.last()
            } else {
                self.line.text()
            };
            let last: String = line.trim().chars().take(QUOTED_MAX).collect();
            return Some(Found::Failed(match self.logins {
                0 => Failure::NoShell(last),
                _ => Failure::Refused(self.user().to_owned()),
            }));
        }
        self.look(now, typist).map(Found::Failed)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.quiet_at
    }

    fn user(&self) -> &str {
        self.login.user.as_deref().unwrap_or_default()
    }

    /// The line is quiet: something waits, or nobody is there.
    fn look(&mut self, now: Instant, typist: &mut Typist) -> Option<Failure> {
        let refused = self.login.refused.iter().any(|text| self.text.contains(text.as_str()));
        if self.logins >= LOGINS_MAX && (refused || self.is_at_login()) {
            return Some(Failure::Refused(self.user().to_owned()));
        }
        if receiver::is_running(&self.text) {
            // A dispatcher before this one has died in the middle of it.
            self.enter(now, State::Woken, receiver::QUIT, typist);
        } else if self.is_at_login() {
            let Some(user) = self.login.user.clone() else { return Some(Failure::NoUser) };
            self.enter(now, State::UserTyped, &format!("{user}\n"), typist);
        } else if self.is_at_password() {
            if self.state != State::UserTyped {
                // For whomever somebody else has typed, or for the empty line that woke it.
                self.enter(now, State::Dismissed, "\n", typist);
                return None;
            }
            let Some(password) = self.login.password.clone() else {
                return Some(Failure::NoPassword(self.user().to_owned()));
            };
            self.logins += 1;
            self.enter(now, State::PasswordTyped, &format!("{password}\n"), typist);
        } else if self.state == State::Asked {
            self.enter(now, State::Woken, "\n", typist);
        } else {
            let (a, b) = self.factors;
            self.enter(now, State::Asked, &format!("echo PU''MICE-$(({a}*{b}))\n"), typist);
        }
        None
    }

    fn is_asked_for_something(&self) -> bool {
        self.is_at_login() || self.is_at_password()
    }

    fn is_at_login(&self) -> bool {
        let line = self.line.text().trim_end();
        // What login says of the time before is no question.
        line.ends_with(self.login.login_prompt.trim_end()) && !line.ends_with("Last login:")
    }

    fn is_at_password(&self) -> bool {
        self.line.text().trim_end().ends_with(self.login.password_prompt.trim_end())
    }

    fn enter(&mut self, now: Instant, state: State, text: &str, typist: &mut Typist) {
        self.state = state;
        self.line.clear();
        self.text.clear();
        typist.enter(text);
        let wait = if state == State::Woken { WAKE_WAIT } else { ANSWER_WAIT };
        self.quiet_at = Some(now + wait + typist.takes(0));
    }
}

/// Keeps the last text, so much that nothing that is looked for is cut.
pub(super) fn keep_end(text: &mut String) {
    if text.len() > TEXT_MAX {
        text.drain(..text.len() - TEXT_MAX / 2);
    }
}

/// A prompt stands still for so long; 300 ms are 3,456 characters at 115200 baud.
const PROMPT_QUIET: Duration = Duration::from_millis(300);
/// Behind a password the log-in program thinks, and says something else before it says what it thinks.
const VERDICT_QUIET: Duration = Duration::from_millis(1500);
/// Whoever is woken answers in so long.
const WAKE_WAIT: Duration = Duration::from_millis(1500);
/// A shell that has just begun, or a refusal, which PAM delays by some 2 s.
const ANSWER_WAIT: Duration = Duration::from_secs(4);
/// One may have been damaged on the line; more would lock the account of who has a wrong password.
const LOGINS_MAX: u32 = 2;
/// Characters of the line that a failure quotes.
const QUOTED_MAX: usize = 120;
/// What is kept of the text; ASCII.
const TEXT_MAX: usize = 8192;
