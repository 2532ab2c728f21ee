//! How a board's line is reached.
//!
//! In files a connection is a word (`serial:/dev/ttyUSB0?baud=115200`, `tcp://host:port`, `rfc2217://host:port`,
//! `unix:PATH`) or, for a child process, a map (`exec: [argv…]`). Nothing is opened here.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use agent_core::wire::request::Baud;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

pub use super::connection_error::ConnectionError;
use super::connection_error::{BAUDS, FORMS};
use super::template::{NoValue, OnHost, Template, TextIn, Values};
use super::value::shorten;
use super::yaml::suggestion;

/// Where the bytes of a board's line come from and go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Standard input and output of a child process: an emulator, or a program that reaches the line.
    Exec {
        /// Its words, at least one.
        argv: Vec<Template>,
        /// The line's rate in sessions: for emulators, which take any.
        session_baud: Option<u32>,
    },
    /// A Unix stream socket.
    Unix {
        /// Its path.
        path: PathBuf,
    },
    /// A TCP port that carries the line's bytes and nothing else.
    Tcp {
        /// A name or an address; an IPv6 address without its brackets.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A TCP port of a serial server that speaks Telnet.
    Telnet {
        /// As in `Tcp`.
        host: String,
        /// Its port.
        port: u16,
    },
    /// The same with RFC 2217: the server is told the line's settings.
    Rfc2217 {
        /// As in `Tcp`.
        host: String,
        /// Its port.
        port: u16,
        /// As in `Serial`.
        baud: Option<u32>,
        /// As in `Serial`.
        session_baud: Option<u32>,
    },
    /// A serial device of this host, or a pseudo-terminal.
    Serial {
        /// The device; `/dev/serial/by-path/…` stays the same over restarts.
        path: PathBuf,
        /// Its rate; in a [`Board`](super::lab::Board) always some (else the board type's).
        baud: Option<u32>,
        /// The rate that a session changes to, if that is another.
        session_baud: Option<u32>,
    },
}

/// Which of a board's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineRole {
    /// The boot loader's, the kernel's and everybody's text, and what is typed; the agent's frames too, where they have no
    /// line of their own.
    Console,
    /// The agent's frames and nothing else.
    Agent,
}

/// What can be asked of a board's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerOperation {
    /// Switch on.
    On,
    /// Switch off.
    Off,
    /// Off, wait, on.
    Cycle,
}

impl Connection {
    /// The words of a child process with their places filled in; nothing for other connections.
    ///
    /// # Errors
    /// A place for which there is no value.
    pub fn argv(&self, values: &Values) -> Result<Option<Vec<String>>, NoValue> {
        match self {
            Self::Exec { argv, .. } => {
                argv.iter().map(|word| word.expand(values)).collect::<Result<_, _>>().map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The rate that is said here.
    pub fn baud(&self) -> Option<u32> {
        match self {
            Self::Serial { baud, .. } | Self::Rfc2217 { baud, .. } => *baud,
            _ => None,
        }
    }

    /// The rate that sessions shall have.
    pub fn session_baud(&self) -> Option<u32> {
        match self {
            Self::Serial { session_baud, .. }
            | Self::Rfc2217 { session_baud, .. }
            | Self::Exec { session_baud, .. } => *session_baud,
            _ => None,
        }
    }

    /// Whether two connections lead to one line. A child process may lead anywhere.
    pub fn is_same_line(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix { path }, Self::Unix { path: other })
            | (Self::Serial { path, .. }, Self::Serial { path: other, .. }) => path == other,
            (Self::Exec { .. } | Self::Unix { .. } | Self::Serial { .. }, _) => false,
            _ => self.host_and_port().is_some_and(|place| other.host_and_port() == Some(place)),
        }
    }

    fn host_and_port(&self) -> Option<(&str, u16)> {
        match self {
            Self::Tcp { host, port }
            | Self::Telnet { host, port }
            | Self::Rfc2217 { host, port, .. } => Some((host, *port)),
            _ => None,
        }
    }

    /// Whether its rate can be changed while it is open. Of a program that is so where it says what sessions have.
    pub fn can_change_baud(&self) -> bool {
        match self {
            Self::Serial { .. } | Self::Rfc2217 { .. } => true,
            Self::Exec { session_baud, .. } => session_baud.is_some(),
            _ => false,
        }
    }

    /// Whether a BREAK can be sent on it.
    pub fn has_break(&self) -> bool {
        matches!(self, Self::Serial { .. } | Self::Telnet { .. } | Self::Rfc2217 { .. })
    }

    /// The same connection; a serial line without a rate gets this one.
    #[must_use]
    pub fn with_default_baud(mut self, default: u32) -> Self {
        if let Self::Serial { baud, .. } | Self::Rfc2217 { baud, .. } = &mut self {
            baud.get_or_insert(default);
        }
        self
    }
}

impl FromStr for Connection {
    type Err = ConnectionError;

    fn from_str(text: &str) -> Result<Self, ConnectionError> {
        use ConnectionError as E;
        let (scheme, rest) = text.split_once(':').ok_or_else(|| E::Unknown(shorten(text)))?;
        let split = |text: &str| match text.split_once('?') {
            Some((place, query)) => (place.to_owned(), Some(query.to_owned())),
            None => (text.to_owned(), None),
        };
        if matches!(scheme, "unix" | "tcp" | "telnet")
            && ["?baud=", "session_baud="].iter().any(|option| text.contains(option))
        {
            return Err(E::NoBaud);
        }
        match scheme {
            "serial" => {
                let (path, query) = split(rest);
                let (baud, session_baud) = query.as_deref().map_or(Ok((None, None)), rates_of)?;
                Ok(Self::Serial { path: some_path(&path)?, baud, session_baud })
            }
            "unix" => Ok(Self::Unix { path: some_path(rest.strip_prefix("//").unwrap_or(rest))? }),
            "tcp" => {
                let (host, port) = host_and_port(rest).ok_or(E::HostForm("tcp"))?;
                Ok(Self::Tcp { host, port })
            }
            "telnet" => {
                let (host, port) = host_and_port(rest).ok_or(E::HostForm("telnet"))?;
                Ok(Self::Telnet { host, port })
            }
            "rfc2217" => {
                let (place, query) = split(rest);
                let (host, port) = host_and_port(&place).ok_or(E::HostForm("rfc2217"))?;
                let (baud, session_baud) = query.as_deref().map_or(Ok((None, None)), rates_of)?;
                Ok(Self::Rfc2217 { host, port, baud, session_baud })
            }
            "exec" => Err(E::ExecForm),
            _ => match suggestion(scheme, SCHEMES) {
                Some(known) => Err(E::UnknownScheme(shorten(scheme), known)),
                None => Err(E::Unknown(shorten(text))),
            },
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec { argv, .. } => {
                write!(f, "exec:{}", argv.first().map_or("", |word| word.source()))
            }
            Self::Unix { path } => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } => write!(f, "tcp://{}", HostPort(host, *port)),
            Self::Telnet { host, port } => write!(f, "telnet://{}", HostPort(host, *port)),
            Self::Rfc2217 { host, port, baud, session_baud } => {
                write!(f, "rfc2217://{}", HostPort(host, *port))?;
                write_rates(f, *baud, *session_baud)
            }
            Self::Serial { path, baud, session_baud } => {
                write!(f, "serial:{}", path.display())?;
                write_rates(f, *baud, *session_baud)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Connection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ConnectionVisitor;

        impl<'de> Visitor<'de> for ConnectionVisitor {
            type Value = Connection;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a connection: {FORMS}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Connection, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Connection, M::Error> {
                let ExecForm { exec, session_baud } =
                    ExecForm::deserialize(de::value::MapAccessDeserializer::new(map))?;
                if exec.is_empty() || exec.len() > ARGV_WORDS_MAX {
                    return Err(de::Error::custom(ConnectionError::ExecForm));
                }
                if let Some(baud) = session_baud.filter(|baud| !Baud::RATES.contains(baud)) {
                    return Err(de::Error::custom(ConnectionError::SessionBaud(baud.to_string())));
                }
                let argv = exec.into_iter().map(|word| word.template).collect();
                Ok(Connection::Exec { argv, session_baud })
            }
        }

        deserializer.deserialize_any(ConnectionVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExecForm {
    exec: Vec<TextIn<OnHost>>,
    session_baud: Option<u32>,
}

impl LineRole {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Console, Self::Agent];
}

impl fmt::Display for LineRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Console => "the console line",
            Self::Agent => "the agent's line",
        })
    }
}

impl PowerOperation {
    /// Every operation.
    pub const ALL: [Self; 3] = [Self::On, Self::Off, Self::Cycle];

    /// The word, as it stands on the command line and in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Cycle => "cycle",
        }
    }
}

impl fmt::Display for PowerOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A host and its port as they stand in a connection: an IPv6 address in brackets.
#[derive(Clone, Copy, Debug)]
pub struct HostPort<'a>(pub &'a str, pub u16);

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, port) = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Whether the rate that a driver or a server tells is near enough to the one that was wanted: some tell the divided
/// clock's true rate, and a UART bears about 2 % for each side.
pub fn is_rate(set: u32, wanted: u32) -> bool {
    set.abs_diff(wanted) <= wanted / 50
}

fn write_rates(
    f: &mut fmt::Formatter<'_>,
    baud: Option<u32>,
    session_baud: Option<u32>,
) -> fmt::Result {
    if let Some(baud) = baud {
        write!(f, "?baud={baud}")?;
    }
    if let Some(session_baud) = session_baud {
        let mark = if baud.is_some() { '&' } else { '?' };
        write!(f, "{mark}session_baud={session_baud}")?;
    }
    Ok(())
}

/// `//HOST:PORT`, also without the slashes, or with one behind it.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let text = text.strip_prefix("//").unwrap_or(text);
    let (host, port) = text.trim_end_matches('/').rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "/@[]?".contains(c);
    let fits = !host.is_empty() && host.len() <= HOST_LENGTH_MAX && !host.contains(is_odd);
    fits.then(|| (host.to_owned(), port))
}

fn some_path(text: &str) -> Result<PathBuf, ConnectionError> {
    if text.is_empty() || text.contains('\0') {
        Err(ConnectionError::NoPath)
    } else {
        Ok(PathBuf::from(text))
    }
}

/// `baud` and `session_baud` of what stands behind the `?`.
fn rates_of(query: &str) -> Result<(Option<u32>, Option<u32>), ConnectionError> {
    use ConnectionError as E;
    let (mut base, mut session) = (None, None);
    for option in query.split('&') {
        let (rate, number) = match option.split_once('=') {
            Some(("baud", number)) => (&mut base, number),
            Some(("session_baud", number)) => (&mut session, number),
            _ => return Err(E::LineOption(shorten(option), nearest_option(option))),
        };
        if rate.is_some() {
            return Err(E::Twice(shorten(option)));
        }
        let baud = number.parse().map_err(|_| E::Baud(shorten(number)))?;
        if !BAUDS.contains(&baud) {
            return Err(E::Baud(shorten(number)));
        }
        *rate = Some(baud);
    }
    match session {
        Some(baud) if !Baud::RATES.contains(&baud) => Err(E::SessionBaud(baud.to_string())),
        _ => Ok((base, session)),
    }
}

fn nearest_option(option: &str) -> Option<&'static str> {
    let name = option.split('=').next().unwrap_or_default();
    suggestion(name, OPTIONS).filter(|known| *known != name)
}

/// A host name's length, RFC 1035 §2.3.4.
const HOST_LENGTH_MAX: usize = 255;
/// The longest emulator commands have some hundred words.
const ARGV_WORDS_MAX: usize = 1024;
/// What may stand before the first colon.
const SCHEMES: [&str; 6] = ["serial", "rfc2217", "telnet", "tcp", "unix", "exec"];
/// What may stand behind a `?`.
const OPTIONS: [&str; 2] = ["baud", "session_baud"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for text in [
            "serial:/dev/ttyUSB0?baud=115200",
            "serial:/dev/ttyUSB0?baud=115200&session_baud=921600",
            "serial:/dev/ttyUSB0?session_baud=921600",
            "serial:/dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0",
            "tcp://farm.example:2001",
            "tcp://[::1]:2001",
            "telnet://farm.example:2001",
            "rfc2217://[::1]:2001",
            "rfc2217://farm:2001?baud=9600",
            "rfc2217://farm:2001?baud=115200&session_baud=921600",
            "unix:/run/line.sock",
        ] {
            assert_eq!(text.parse::<Connection>().unwrap().to_string(), text);
        }
        let serial: Connection = "serial:/dev/ttyS0".parse().unwrap();
        let with_rate =
            Connection::Serial { path: "/dev/ttyS0".into(), baud: Some(9600), session_baud: None };
        assert_eq!(serial.with_default_baud(9600), with_rate);
        let server: Connection = "rfc2217:farm:1/".parse().unwrap();
        assert_eq!(server.with_default_baud(9600).to_string(), "rfc2217://farm:1?baud=9600");
    }

    #[test]
    fn mistakes() {
        for (text, expected) in [
            ("telnet://farm", "telnet needs a host and a port: write telnet://HOST:PORT"),
            ("telnet://farm:1?x", "telnet needs a host and a port: write telnet://HOST:PORT"),
            ("rfc2217://farm", "rfc2217 needs a host and a port: write rfc2217://HOST:PORT"),
            ("rfc2271://farm:1", "\"rfc2271:\" is no connection: did you mean \"rfc2217:\"?"),
            ("telent:farm:1", "\"telent:\" is no connection: did you mean \"telnet:\"?"),
            (
                "rfc2217://farm:1?session-baud=921600",
                "unknown option \"session-baud=921600\": did you mean \"session_baud=\"?",
            ),
            (
                "rfc2217://farm:1?baud=10",
                "\"10\" is no rate of a line: write a number from 300 to 12000000",
            ),
            ("tcp://farm", "tcp needs a host and a port: write tcp://HOST:PORT"),
            ("tcp://farm:0", "tcp needs a host and a port: write tcp://HOST:PORT"),
            ("tcp://:80", "tcp needs a host and a port: write tcp://HOST:PORT"),
            ("unix:", "a path is missing: write serial:/dev/ttyUSB0?baud=115200 or unix:PATH"),
            (
                "serial:/dev/x?baud=fast",
                "\"fast\" is no rate of a line: write a number from 300 to 12000000",
            ),
            (
                "serial:/dev/x?parity=n",
                "unknown option \"parity=n\": known are ?baud=RATE and &session_baud=RATE",
            ),
            (
                "serial:/dev/x?baud=9600&baud=19200",
                "\"baud=19200\" is the second of its kind: remove one",
            ),
            (
                "serial:/dev/x?session_baud=12000000",
                "\"12000000\" is no rate that an agent can change to: write a number from 1200 to 4000000",
            ),
            (
                "tcp://farm:2001?session_baud=921600",
                "a rate makes no sense here: only serial: and rfc2217:// can be told one; remove it, or write rfc2217://HOST:PORT?baud=115200",
            ),
            (
                "telnet://farm:2001?baud=9600",
                "a rate makes no sense here: only serial: and rfc2217:// can be told one; remove it, or write rfc2217://HOST:PORT?baud=115200",
            ),
            (
                "unix:/run/line?session_baud=921600",
                "a rate makes no sense here: only serial: and rfc2217:// can be told one; remove it, or write rfc2217://HOST:PORT?baud=115200",
            ),
            (
                "/dev/ttyUSB0",
                "\"/dev/ttyUSB0\" is no connection: write serial:PATH?baud=115200, rfc2217://HOST:PORT?baud=115200, telnet://HOST:PORT, tcp://HOST:PORT, unix:PATH or {exec: [PROGRAM, ARGUMENT, …]}",
            ),
        ] {
            assert_eq!(text.parse::<Connection>().unwrap_err().to_string(), expected);
        }
    }
}
