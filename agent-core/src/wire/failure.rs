//! Errors that travel. Their numbers are frozen.

use core::fmt;
use serde::{Deserialize, Serialize};

/// Why a request failed; a number, so that a newer peer's kind is kept as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureKind(pub u16);

impl FailureKind {
    /// The agent does not know the method.
    pub const UNSUPPORTED: Self = Self(1);
    /// The body is not what the method takes.
    pub const BAD_MESSAGE: Self = Self(2);
    /// No such file, partition or command.
    pub const NOT_FOUND: Self = Self(3);
    /// All slots for operations are taken, or the thing is in use.
    pub const BUSY: Self = Self(4);
    /// Larger than what it has to fit into.
    pub const TOO_LARGE: Self = Self(5);
    /// The bytes arrived, and their digest is another.
    pub const DIGEST: Self = Self(6);
    /// The operating system said no; `os_error` has its number.
    pub const OS: Self = Self(7);
    /// Never done by this agent in this role (writing to `master`, for example).
    pub const REFUSED: Self = Self(8);
    /// The other side ended it.
    pub const CANCELED: Self = Self(9);

    /// A lowercase phrase that reads well after "failed: ".
    pub fn phrase(self) -> &'static str {
        match self {
            Self::UNSUPPORTED => "the agent does not know this request",
            Self::BAD_MESSAGE => "the agent could not read the request",
            Self::NOT_FOUND => "not found",
            Self::BUSY => "busy",
            Self::TOO_LARGE => "too large",
            Self::DIGEST => "the digest differs",
            Self::OS => "operating system error",
            Self::REFUSED => "refused",
            Self::CANCELED => "canceled",
            _ => "failed for a reason that a newer agent knows",
        }
    }
}

/// The body of a [`FAILED`](super::Method::FAILED) message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure<'a> {
    /// The kind.
    pub kind: FailureKind,
    /// `errno` of the board's kernel, 0 if none.
    pub os_error: i32,
    /// What it was about, for people: a path, a label.
    #[serde(borrow)]
    pub text: &'a str,
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.text.is_empty() {
            write!(f, "{}: ", self.text)?;
        }
        f.write_str(self.kind.phrase())?;
        if self.os_error != 0 {
            write!(f, " (errno {})", self.os_error)?;
        }
        Ok(())
    }
}
