//! A board without an agent whose console has a shell: when that is typed at, and by whom.
//!
//! Typing is what a board's owner must ask for ([`Board::begin_bootstrap`]); the phases stay what they are, and an agent
//! that shows itself ends it.

use super::Board;
use super::console::ConsoleSource;
use super::phase::{Goal, Phase, Slot};
use crate::bootstrap::Bootstrap;
use crate::redact::{Patterns, Redactor};
use agent_core::time::{Duration, Instant};

/// A shell in use, and whether one may be looked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Shell {
    bootstrap: Option<Box<Bootstrap>>,
    /// It has led to an agent: the phases are believed again.
    has_agent: bool,
    /// The password is no text for anybody.
    redactor: Redactor,
    /// The last byte came then, ...
    heard_at: Instant,
    /// ... and the phase began then.
    entered_at: Instant,
}

impl Shell {
    pub(super) fn handle_bytes(&mut self, now: Instant) {
        self.heard_at = now;
    }

    pub(super) fn handle_phase(&mut self, now: Instant) {
        self.entered_at = now;
    }

    /// Text as others may see it.
    pub(super) fn redact(&mut self, text: &mut Vec<u8>) {
        self.redactor.push(text);
    }

    pub(super) fn active(&mut self) -> Option<&mut Bootstrap> {
        self.bootstrap.as_deref_mut()
    }

    /// An agent shows itself; whether it is the one that was put there.
    pub(super) fn handle_beacon(&mut self) -> bool {
        if let Some(bootstrap) = &mut self.bootstrap {
            bootstrap.handle_beacon();
        }
        self.bootstrap.is_some() && !std::mem::replace(&mut self.has_agent, true)
    }

    /// Whether it goes on, or has failed and its owner has not ended it yet.
    pub(super) fn is_active(&self) -> bool {
        self.bootstrap.is_some() && !self.has_agent
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.bootstrap.as_ref()?.poll_timeout()
    }
}

impl Board {
    /// Begins to put an agent there. `secret` is kept out of everything that is told from here on.
    pub fn begin_bootstrap(&mut self, bootstrap: Bootstrap, secret: &str) {
        self.shell.bootstrap = Some(Box::new(bootstrap));
        self.shell.has_agent = false;
        let hidden = (secret.as_bytes().to_owned(), PASSWORD_MARK.to_owned());
        self.shell.redactor = Redactor::new(Patterns::new([hidden]).into());
    }

    /// The one under way.
    pub fn bootstrap(&mut self) -> Option<&mut Bootstrap> {
        self.shell.active()
    }

    /// It is over.
    pub fn end_bootstrap(&mut self) {
        self.shell.bootstrap = None;
        let held = std::mem::take(&mut self.shell.redactor).finish();
        self.events.push_console(ConsoleSource::Console, &held);
    }

    /// When a shell may be looked for, for a goal that wants an agent and as far as is known now: not before the line was
    /// quiet for a while, in a phase in which an agent would have shown itself.
    pub fn shell_at(&self) -> Option<Instant> {
        let is_wanted = matches!(self.goal, Some(Goal::AnyUp | Goal::Up(Slot::Master)));
        let is_awaited = matches!(self.phase, Phase::Unknown | Phase::Booting(_));
        let is_free = self.connection.is_open() && !self.is_deaf() && self.panic.is_none();
        if !is_wanted
            || !is_awaited
            || self.link.is_open()
            || !is_free
            || self.shell.bootstrap.is_some()
        {
            return None;
        }
        let quiet_at = self.shell.heard_at.max(self.shell.entered_at) + QUIET;
        // One that had an agent in this boot hears it again, or nothing.
        let is_agent_known = self.has_heard_beacon();
        Some(if is_agent_known {
            quiet_at
        } else {
            quiet_at.min(self.shell.entered_at + QUIET_MAX)
        })
    }

    /// The bootstrap reads what comes before anything is taken out of it.
    pub(super) fn read_shell(&mut self, now: Instant, text: &[u8]) {
        if self.is_shell_typed_at()
            && let Some(bootstrap) = self.shell.active()
        {
            bootstrap.handle_text(now, text);
        }
    }

    /// Whether the line is the shell's.
    pub(super) fn is_shell_typed_at(&self) -> bool {
        self.shell.bootstrap.as_ref().is_some_and(|bootstrap| !bootstrap.is_over())
            && matches!(self.phase, Phase::Unknown | Phase::Booting(_))
            && !self.link.is_open()
    }
}

/// Two beacons of an agent that waits for a dispatcher, which come every 2 s.
const QUIET: Duration = Duration::from_secs(5);
/// A kernel that is never quiet is typed at all the same.
const QUIET_MAX: Duration = Duration::from_secs(20);
/// Of one length, whatever the password's.
const PASSWORD_MARK: &[u8] = b"******";
