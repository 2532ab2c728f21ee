//! An agent on a board that has none: through the shell on its console.
//!
//! ```text
//!  Finder        newline, login, password, a marker that only a shell can compute
//!    ▼
//!  Bootstrap     which digests the shell has · a loop that takes checked lines, and nothing else from here on
//!    ▼           which decoder, which unpacker, which folder · what of the program is there · the program · its digest
//!  exec          the agent has the line, and the shell is gone
//! ```
//!
//! [`Bootstrap`] is a pure state machine: text and time in, text out. What the board prints in between does no harm: an
//! answer is framed and said twice, and what has no answer is typed again. A damaged line is never executed, once the
//! loop is there; before it only lines that do no harm when characters of them are missing are typed. The password goes
//! to the line and nowhere else. `docs/bootstrap.md` has the whole of it for people.

mod dialogue;
mod finder;
mod machine;
mod program;
mod receiver;
mod tools;
mod typist;

#[cfg(test)]
mod tests;

pub use machine::{Bootstrap, Progress, Request};
pub use program::Program;

use std::fmt;

/// How to get at a shell.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Whom to log in; nobody where the console is a shell already.
    pub user: Option<String>,
    /// ... and with what.
    pub password: Option<String>,
    /// The text that asks for the user, at the end of a line.
    pub login_prompt: String,
    /// The text that asks for the password, at the end of a line.
    pub password_prompt: String,
    /// Texts that say that it was the wrong one.
    pub refused: Vec<String>,
}

/// By hand, as a password is no text to be shown.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What the owner must do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The shell is found: [`Bootstrap::give_program`] is wanted for this machine, as `uname -m` calls it; empty where
    /// the shell cannot say.
    Machine(String),
    /// There is nothing of it on the board, as far as that could be done.
    CleanedUp,
    /// It cannot be done.
    Failed(Failure),
}

/// Why there is no agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing on the line computed the marker; the line's last text.
    NoShell(String),
    /// A login prompt, and no user to give it.
    NoUser,
    /// A password is asked for, and there is none.
    NoPassword(String),
    /// User and password were refused.
    Refused(String),
    /// The shell can check nothing.
    NoDigest,
    /// The shell does not take the loop that receives the program.
    NoLoop,
    /// What was typed is not answered, or not as it should be.
    Unanswered(&'static str),
    /// No folder can be written to and executed from.
    NoFolder(String),
    /// The program does not fit.
    NoRoom(String),
    /// What arrived is not what was sent, twice.
    Damaged,
    /// The board does not execute it.
    NotForMachine(String),
    /// It was executed, and no agent shows itself.
    NotStarted,
    /// The board was restarted meanwhile.
    Restarted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoShell(last) if last.is_empty() => f.write_str(
                "no shell answers on the line, and nothing is said there: is the board up, and its console on this line?",
            ),
            Self::NoShell(last) => write!(f, "no shell answers on the line; its last text is \"{last}\""),
            Self::NoUser => f.write_str("the board asks who logs in: give the user with shell: {login: …} or --login"),
            Self::NoPassword(user) => write!(
                f,
                "the board asks for the password of {user}: give it with shell: {{password_file: …}} or --password-file"
            ),
            Self::Refused(user) => write!(f, "the board refused to log in {user}: user or password is wrong"),
            Self::NoDigest => f.write_str(
                "the shell has none of cksum, md5sum and sha256sum, so nothing that is sent could be checked",
            ),
            Self::NoLoop => f.write_str("the shell does not take what is typed: is it one that POSIX describes?"),
            Self::Unanswered(what) => write!(f, "the shell did not answer as it should ({what})"),
            Self::NoFolder(tried) => {
                write!(f, "no folder can be written to and executed from: tried {tried}; name another in shell: {{folders: …}}")
            }
            Self::NoRoom(folder) => write!(f, "the agent could not be written to {folder}: is it full?"),
            Self::Damaged => f.write_str("what arrived on the board is not the agent that was sent, twice"),
            Self::NotForMachine(machine) => {
                write!(f, "the board ({machine}) does not execute this agent: give one that was built for it")
            }
            Self::NotStarted => f.write_str("the agent was executed, and did not show itself on the line"),
            Self::Restarted => f.write_str("the board was restarted while the agent was put there"),
        }
    }
}
