//! What is wrong with a text that shall be a connection, and what to write instead.

use std::fmt;

use agent_core::wire::request::Baud;

/// Why a text is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionError {
    /// None of the known forms.
    Unknown(String),
    /// None of them, but nearly this one.
    UnknownScheme(String, &'static str),
    /// `exec` that is not a list of at least one word.
    ExecForm,
    /// This one without a host or a port.
    HostForm(&'static str),
    /// `serial` or `unix` without a path.
    NoPath,
    /// A word after `?` that is not `baud=` or `session_baud=`, and the one that may be meant.
    LineOption(String, Option<&'static str>),
    /// An option that stands twice.
    Twice(String),
    /// A rate where nobody can set it.
    NoBaud,
    /// A rate for sessions that no agent tries.
    SessionBaud(String),
    /// A rate that is no number, or none of a line.
    Baud(String),
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(text) => write!(f, "\"{text}\" is no connection: write {FORMS}"),
            Self::UnknownScheme(scheme, known) => {
                write!(f, "\"{scheme}:\" is no connection: did you mean \"{known}:\"?")
            }
            Self::ExecForm => f.write_str(
                "exec needs the words of a command: write {exec: [PROGRAM, ARGUMENT, …]}",
            ),
            Self::HostForm(scheme) => {
                write!(f, "{scheme} needs a host and a port: write {scheme}://HOST:PORT")
            }
            Self::NoPath => {
                f.write_str("a path is missing: write serial:/dev/ttyUSB0?baud=115200 or unix:PATH")
            }
            Self::LineOption(text, None) => {
                write!(f, "unknown option \"{text}\": known are ?baud=RATE and &session_baud=RATE")
            }
            Self::LineOption(text, Some(known)) => {
                write!(f, "unknown option \"{text}\": did you mean \"{known}=\"?")
            }
            Self::Twice(text) => write!(f, "\"{text}\" is the second of its kind: remove one"),
            Self::NoBaud => f.write_str(
                "a rate makes no sense here: only serial: and rfc2217:// can be told one; remove it, or write rfc2217://HOST:PORT?baud=115200",
            ),
            Self::SessionBaud(text) => write!(
                f,
                "\"{text}\" is no rate that an agent can change to: write a number from {} to {}",
                Baud::RATES.start(),
                Baud::RATES.end()
            ),
            Self::Baud(text) => write!(
                f,
                "\"{text}\" is no rate of a line: write a number from {} to {}",
                BAUDS.start(),
                BAUDS.end()
            ),
        }
    }
}

impl std::error::Error for ConnectionError {}

/// From a teletype's rate to what a fast USB adapter does.
pub(super) const BAUDS: std::ops::RangeInclusive<u32> = 300..=12_000_000;
/// Every form, for messages.
pub(super) const FORMS: &str = "serial:PATH?baud=115200, rfc2217://HOST:PORT?baud=115200, telnet://HOST:PORT, tcp://HOST:PORT, unix:PATH or {exec: [PROGRAM, ARGUMENT, …]}";
