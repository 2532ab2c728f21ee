//! The ways to reach a board's line, all of them one `Line` that reads and writes bytes without blocking.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use agent_core::time::Instant;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{setsockopt, sockopt};

use super::process::Child;
use super::serial::SerialPort;
use super::sys;
use super::telnet::TelnetLine;
use crate::board::line_quality::UartErrors;
use crate::config::connection::{Connection, HostPort};
use crate::config::template::{NoValue, Values};
use crate::telnet::Readiness;

/// Where a line is, with nothing left to fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Standard input and output of this program, which is started for it.
    Exec {
        /// Its words.
        argv: Vec<String>,
    },
    /// A Unix stream socket.
    Unix {
        /// Its path.
        path: PathBuf,
    },
    /// A TCP port that carries the line's bytes and nothing else.
    Tcp {
        /// A name or an address. A name is looked up while the loop waits, up to the resolver's own limit (5 s and
        /// more): use an address, `localhost` or a name in `/etc/hosts` in a lab of many boards.
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
        /// The line's rate, which the server is told by RFC 2217; without it the server has its own.
        baud: Option<u32>,
    },
    /// A serial device.
    Serial {
        /// Its path.
        path: PathBuf,
        /// Its rate.
        baud: u32,
    },
}

impl Endpoint {
    /// Where a board's connection leads.
    ///
    /// # Errors
    /// A place in its words for which there is no value.
    pub fn new(connection: &Connection, values: &Values) -> Result<Self, NoValue> {
        Ok(match connection {
            Connection::Exec { .. } => {
                Self::Exec { argv: connection.argv(values)?.unwrap_or_default() }
            }
            Connection::Unix { path } => Self::Unix { path: path.clone() },
            Connection::Tcp { host, port } => Self::Tcp { host: host.clone(), port: *port },
            Connection::Telnet { host, port } => {
                Self::Telnet { host: host.clone(), port: *port, baud: None }
            }
            Connection::Rfc2217 { host, port, baud, .. } => {
                let baud = Some(baud.unwrap_or(BAUD));
                Self::Telnet { host: host.clone(), port: *port, baud }
            }
            Connection::Serial { path, baud, .. } => {
                Self::Serial { path: path.clone(), baud: baud.unwrap_or(BAUD) }
            }
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec { argv } => f.write_str(argv.first().map_or("exec", String::as_str)),
            Self::Unix { path } | Self::Serial { path, .. } => write!(f, "{}", path.display()),
            Self::Tcp { host, port } => write!(f, "tcp://{}", HostPort(host, *port)),
            Self::Telnet { host, port, baud: None } => {
                write!(f, "telnet://{}", HostPort(host, *port))
            }
            Self::Telnet { host, port, .. } => write!(f, "rfc2217://{}", HostPort(host, *port)),
        }
    }
}

/// What opening an endpoint gives.
#[derive(Debug)]
pub(super) enum Opened {
    /// A line that can be used, and the process at its other end if it was started for it.
    Line(Line, Option<Child>),
    /// A line that is usable when [`connected`] says so.
    Connecting(TcpStream),
}

/// Opens an endpoint.
///
/// # Errors
/// A sentence that names it.
pub(super) fn open(endpoint: &Endpoint) -> Result<Opened, String> {
    let failed = |error: &io::Error| cannot_connect(endpoint, error);
    match endpoint {
        Endpoint::Exec { argv } => {
            let (child, line) = Child::spawn_line(argv)?;
            Ok(Opened::Line(Line::Unix(line), Some(child)))
        }
        Endpoint::Unix { path } => {
            let stream = UnixStream::connect(path).map_err(|error| failed(&error))?;
            Ok(Opened::Line(Line::Unix(stream), None))
        }
        Endpoint::Tcp { host, port } | Endpoint::Telnet { host, port, .. } => {
            let addresses: Vec<SocketAddr> =
                (host.as_str(), *port).to_socket_addrs().map_err(|error| failed(&error))?.collect();
            // Serial servers listen on IPv4; of a name with both, the other address is not tried.
            let address =
                addresses.iter().find(|address| address.is_ipv4()).or_else(|| addresses.first());
            let address =
                address.ok_or_else(|| failed(&io::Error::from(ErrorKind::AddrNotAvailable)))?;
            TcpStream::connect(*address).map(Opened::Connecting).map_err(|error| failed(&error))
        }
        Endpoint::Serial { path, baud } => {
            Ok(Opened::Line(Line::Serial(Box::new(SerialPort::open(path, *baud)?)), None))
        }
    }
}

/// The line on a stream that was connected for this endpoint.
pub(super) fn line_on(stream: TcpStream, endpoint: &Endpoint) -> Line {
    match endpoint {
        Endpoint::Telnet { baud, .. } => Line::Telnet(Box::new(TelnetLine::new(stream, *baud))),
        _ => Line::Tcp(stream),
    }
}

/// Whether a stream has been connected. `Ok(false)`: not yet.
pub(super) fn connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => {
            // Frames are small and wait for answers.
            stream.set_nodelay(true)?;
            notice_death(stream)?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Has the kernel ask a peer that is silent, and give one up that does not answer: a server that lost its power says
/// nothing of it, and a dispatcher that only listens would wait for ever.
fn notice_death(stream: &TcpStream) -> io::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE_S)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &KEEPALIVE_EVERY_S)?;
    setsockopt(stream, sockopt::TcpKeepCount, &KEEPALIVE_TRIES)?;
    // For what was sent and is not acknowledged, which keeps the questions above from being asked.
    let until_ms = 1000 * (KEEPALIVE_IDLE_S + KEEPALIVE_EVERY_S * KEEPALIVE_TRIES);
    setsockopt(stream, sockopt::TcpUserTimeout, &until_ms)?;
    Ok(())
}

pub(super) fn cannot_connect(endpoint: &Endpoint, error: &io::Error) -> String {
    let mend = match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            ": is the program that serves it running?"
        }
        _ => "",
    };
    format!("failed to connect to {endpoint}: {error}{mend}")
}

/// An open line.
#[derive(Debug)]
pub(super) enum Line {
    Unix(UnixStream),
    Tcp(TcpStream),
    Telnet(Box<TelnetLine>),
    Serial(Box<SerialPort>),
}

impl Line {
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            // A reader of single bytes, as an emulated UART is, would make an edge of each. Room is asked for by time.
            Self::Unix(stream) => stream.register(registry, token, Interest::READABLE),
            // It was registered to be connected; registering it anew gives the first edge again.
            Self::Tcp(stream) => stream.reregister(registry, token, both),
            Self::Telnet(line) => line.stream().reregister(registry, token, both),
            Self::Serial(port) => {
                SourceFd(&port.file().as_raw_fd()).register(registry, token, both)
            }
        }
    }

    pub(super) fn deregister(&mut self, registry: &Registry) {
        // Closing does the same; a line that is half gone may refuse.
        let _ = match self {
            Self::Unix(stream) => stream.deregister(registry),
            Self::Tcp(stream) => stream.deregister(registry),
            Self::Telnet(line) => line.stream().deregister(registry),
            Self::Serial(port) => SourceFd(&port.file().as_raw_fd()).deregister(registry),
        };
    }

    /// Whether it can be used. `is_late`: what has not been answered by now is not waited for, or refused.
    pub(super) fn readiness(&self, is_late: bool) -> Readiness {
        match self {
            Self::Telnet(line) => line.readiness(is_late),
            Self::Unix(_) | Self::Tcp(_) | Self::Serial(_) => Readiness::Ready,
        }
    }

    /// What the host's UART has lost or misread since the line was opened, where one tells: this host's, or a server's.
    pub(super) fn uart_errors(&self) -> Option<UartErrors> {
        match self {
            Self::Serial(port) => Some(port.errors()),
            Self::Telnet(line) => line.uart_errors(),
            Self::Unix(_) | Self::Tcp(_) => None,
        }
    }

    /// Bytes to write now so that no more than about two frames wait in the kernel, where it shows them: what waits
    /// there can neither be overtaken by something urgent nor taken back.
    pub(super) fn kernel_room(&self) -> usize {
        match self {
            // The kernel counts a socket's memory, overhead included, not its bytes.
            Self::Unix(stream) => match sys::bytes_queued(stream) {
                Some(memory) if memory >= UNIX_MEMORY_MAX => 0,
                _ => TWO_FRAMES,
            },
            // Here only what is on its way is seen; what waits at the serial server is its own business.
            Self::Tcp(_) | Self::Telnet(_) => usize::MAX,
            Self::Serial(port) => match sys::bytes_queued(port) {
                Some(bytes) => TWO_FRAMES.saturating_sub(bytes),
                None => TWO_FRAMES,
            },
        }
    }

    /// Whether its speed can be set: a serial device's, this host's or a server's.
    pub(super) fn has_baud(&self) -> bool {
        match self {
            Self::Serial(_) => true,
            Self::Telnet(line) => line.has_baud(),
            Self::Unix(_) | Self::Tcp(_) => false,
        }
    }

    /// Sets the speed, if what was written has left; else `Ok(false)`, to be tried again.
    ///
    /// # Errors
    /// A sentence that names the device; the speed is as it was.
    pub(super) fn set_baud(&mut self, baud: u32, now: Instant) -> Result<bool, String> {
        match self {
            Self::Serial(port) if is_sending(port) => Ok(false),
            Self::Serial(port) => port.set_baud(baud).map(|()| true),
            Self::Telnet(line) => line.set_baud(baud, now),
            Self::Unix(_) | Self::Tcp(_) => Ok(true),
        }
    }

    /// Whether it has a BREAK.
    pub(super) fn has_break(&self) -> bool {
        matches!(self, Self::Serial(_) | Self::Telnet(_))
    }

    /// Begins a BREAK, if what was written has left; else `Ok(false)`, to be tried again.
    ///
    /// # Errors
    /// A sentence that names the device.
    pub(super) fn start_break(&mut self) -> Result<bool, String> {
        match self {
            Self::Serial(port) if is_sending(port) => Ok(false),
            Self::Serial(port) => port.set_break(true).map(|()| true),
            Self::Telnet(line) => {
                line.start_break();
                Ok(true)
            }
            Self::Unix(_) | Self::Tcp(_) => Ok(true),
        }
    }

    /// Ends a BREAK.
    ///
    /// # Errors
    /// A sentence that names the device.
    pub(super) fn end_break(&mut self) -> Result<(), String> {
        match self {
            Self::Serial(port) => port.set_break(false)?,
            Self::Telnet(line) => line.end_break(),
            Self::Unix(_) | Self::Tcp(_) => {}
        }
        Ok(())
    }

    /// Of what was read, leaves the line's bytes at the beginning and returns how many.
    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> usize {
        match self {
            Self::Telnet(line) => line.decode(bytes),
            Self::Unix(_) | Self::Tcp(_) | Self::Serial(_) => bytes.len(),
        }
    }

    /// Sends what is not of the line's bytes: answers to a server.
    ///
    /// # Errors
    /// The line is gone.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Telnet(line) => line.flush(),
            Self::Unix(_) | Self::Tcp(_) | Self::Serial(_) => Ok(()),
        }
    }

    /// As [`Read::read`]; 0 and any error but `WouldBlock` mean that the line is gone.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
            Self::Telnet(line) => line.read(buffer),
            Self::Serial(port) => port.file().read(buffer),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
            Self::Telnet(line) => line.write(bytes),
            Self::Serial(port) => port.file().write(bytes),
        }
    }
}

/// Whether the kernel still holds something that was written.
fn is_sending(port: &SerialPort) -> bool {
    sys::bytes_queued(port).is_some_and(|bytes| bytes > 0)
}

/// A lab's boards have a rate from their type; this is everybody's default.
const BAUD: u32 = 115_200;
/// A peer is asked after so much silence, ...
const KEEPALIVE_IDLE_S: u32 = 10;
/// ... again and again, ...
const KEEPALIVE_EVERY_S: u32 = 5;
/// ... so often: 25 s, less than a board is waited for.
const KEEPALIVE_TRIES: u32 = 3;
/// Two frames of at most 655 bytes of content (`docs/protocol.md`) with their coding.
pub(super) const TWO_FRAMES: usize = 1536;
/// Two writes of [`TWO_FRAMES`] cost about this much of a Unix socket's memory.
const UNIX_MEMORY_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use nix::sys::socket::getsockopt;

    use super::*;

    #[test]
    fn a_peer_that_is_gone_is_given_up() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = TcpStream::from_std(stream);
        assert!(connected(&stream).unwrap());
        assert!(getsockopt(&stream, sockopt::KeepAlive).unwrap());
        assert_eq!(getsockopt(&stream, sockopt::TcpKeepIdle).unwrap(), 10);
        assert_eq!(getsockopt(&stream, sockopt::TcpUserTimeout).unwrap(), 25_000);
    }
}
