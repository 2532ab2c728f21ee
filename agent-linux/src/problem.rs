//! Why something could not be done: an owned [`Failure`], and how an operating system's error becomes one.

use crate::sys::errno::Errno;
use agent_core::wire::{Failure, FailureKind};

/// Result of whatever can fail on the board's side.
pub(crate) type Outcome<T> = Result<T, Problem>;

/// A failure with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What kind.
    pub(crate) kind: FailureKind,
    /// `errno`, 0 if none.
    pub(crate) os_error: i32,
    /// What it was about.
    pub(crate) text: String,
}

impl Problem {
    /// One that no system call reported.
    pub(crate) fn new(kind: FailureKind, text: &str) -> Self {
        Self { kind, os_error: 0, text: text.to_owned() }
    }

    /// A refusal with its reason.
    pub(crate) fn refused(text: &str) -> Self {
        Self::new(FailureKind::REFUSED, text)
    }

    /// The operating system's word on `text`. What has a kind of its own gets it.
    pub(crate) fn os(error: Errno, text: &str) -> Self {
        let kind = match error {
            Errno::ENOENT => FailureKind::NOT_FOUND,
            Errno::EBUSY => FailureKind::BUSY,
            Errno::ENOSPC => FailureKind::TOO_LARGE,
            _ => FailureKind::OS,
        };
        Self { kind, os_error: error.number(), text: text.to_owned() }
    }

    /// As it travels. The text is cut so that a message with it always fits.
    pub(crate) fn failure(&self) -> Failure<'_> {
        let mut end = self.text.len().min(TEXT_MAX);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        Failure { kind: self.kind, os_error: self.os_error, text: &self.text[..end] }
    }
}

/// For `map_err`: the operating system's word on `text`.
pub(crate) fn about(text: &str) -> impl Fn(Errno) -> Problem + '_ {
    move |error| Problem::os(error, text)
}

/// Longest text in bytes: a path is longer only when somebody means it.
const TEXT_MAX: usize = 512;
