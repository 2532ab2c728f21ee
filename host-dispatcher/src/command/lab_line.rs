//! Boards of a lab elsewhere: with `--server`, the commands that work on a board of this host's lab work on one that was
//! acquired there.
//!
//! The board's line is then a process of this program that carries it (`pumice lab-line`), and its power is switched by
//! another (`pumice lab-switch`); all else is as for a board with such a connection.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tungstenite::{Error, Message, WebSocket};

use super::hands_on::fail;
use super::jobs::encoded;
use super::lab_client::{client, with_lab};
use crate::cli::Global;
use crate::client::Client;
use crate::client::socket::{Refused, connect};
use crate::config::board_type::BoardType;
use crate::config::connection::{Connection, PowerOperation};
use crate::config::lab::Board;
use crate::config::power::{HostCommand, Patience, Power, Switch};
use crate::config::template::Template;
use crate::io::clock;
use crate::script::Fault;
use crate::serve::control::{PowerView, WiringView};

/// A board of the lab elsewhere, as if it were one of this host's.
pub(super) fn board(global: &Global, name: &str) -> Result<Board, Fault> {
    let client = client(global)?;
    let wiring: WiringView = client.get(&format!("/boards/{}/wiring", encoded(name)))?;
    let file = format!("the board type of {name}");
    let board_type = BoardType::from_str(&file, &wiring.board_type)
        .map_err(|error| Fault::configuration(error.to_string()))?;
    let words = |words: &[&str]| words_of(&client, words);
    let power = match wiring.power {
        PowerView::None => Power::None,
        PowerView::WithConnection => Power::WithConnection,
        PowerView::Ask => Power::Switch(Switch::Ask, Patience::of_person()),
        PowerView::Switched {
            has_cycle,
            retries,
            retry_delay_ms,
            deadline_ms,
            settle_ms,
            delay_ms,
        } => {
            let switch = |operation: PowerOperation| {
                words(&["lab-switch", name, operation.as_str()]).map(HostCommand::Argv)
            };
            let switch = Switch::Commands {
                on: switch(PowerOperation::On)?,
                off: switch(PowerOperation::Off)?,
                cycle: has_cycle.then(|| switch(PowerOperation::Cycle)).transpose()?,
            };
            let patience = Patience {
                retries,
                retry_delay: Duration::from_millis(retry_delay_ms),
                deadline: Duration::from_millis(deadline_ms),
                settle: Duration::from_millis(settle_ms),
                delay: Duration::from_millis(delay_ms),
            };
            Power::Switch(switch, patience)
        }
    };
    Ok(Board {
        name: name.to_owned(),
        board_type,
        connection: Connection::Exec { argv: words(&["lab-line", name])?, session_baud: None },
        agent_connection: None,
        power,
        tags: Vec::new(),
        agents: Default::default(),
        persists_agents: false,
        image_files: wiring.image_files,
        // The board may not see this host.
        side_lane: None,
        // Its password is the lab's, and a file there.
        shell: None,
    })
}

/// `pumice lab-line`: standard input and output are the line, until either end is gone.
pub(super) fn line(global: &Global, board: &str) -> u8 {
    let carried = client(global).and_then(|client| {
        let path = format!("/boards/{}/line", encoded(board));
        // The last command's line may be closing still.
        carry(patiently(|| connect(&client, &path))?)
    });
    match carried {
        Ok(()) => 0,
        Err(fault) => fail(&fault),
    }
}

/// `pumice lab-switch`: the power of a board whose line `lab-line` has.
pub(super) fn switch(global: &Global, board: &str, operation: PowerOperation) -> u8 {
    with_lab(global, |client| {
        let body = serde_json::json!({ "operation": operation });
        let path = format!("/boards/{}/line/power", encoded(board));
        // The line is asked for at the same time, and may not be there yet.
        patiently(|| client.try_post::<serde_json::Value>(&path, &body)).map(|_| 0)
    })
}

/// This program with these words, and the lab they are for. Who asks stands in the environment, which is inherited.
fn words_of(client: &Client, words: &[&str]) -> Result<Vec<Template>, Fault> {
    let program = std::env::current_exe()
        .map_err(|error| Fault::configuration(format!("failed to find this program: {error}")))?;
    let program = program.to_str().ok_or_else(|| {
        Fault::configuration("this program's path is no UTF-8: move it elsewhere")
    })?;
    let all = [program, "--server", client.base()].into_iter().chain(words.iter().copied());
    all.map(|word| Template::parse(word, &[]))
        .collect::<Result<_, _>>()
        .map_err(|error| Fault::configuration(error.to_string()))
}

/// Asks again for a while what the lab cannot do just now.
fn patiently<T>(ask: impl Fn() -> Result<T, Refused>) -> Result<T, Fault> {
    let until = clock::now() + BUSY_LIMIT;
    loop {
        match ask() {
            Err(Refused::Busy(_)) if clock::now() < until => {
                std::thread::park_timeout(BUSY_PAUSE);
            }
            outcome => return outcome.map_err(Refused::into_fault),
        }
    }
}

/// Carries bytes between the standard streams, which are one socket, and the lab, until either is gone.
fn carry(socket: WebSocket<std::net::TcpStream>) -> Result<(), Fault> {
    let ours = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let ours = std::os::unix::net::UnixStream::from(ours);
    ours.set_nonblocking(true).map_err(failed)?;
    socket.get_ref().set_nonblocking(true).map_err(failed)?;
    let mut ours = UnixStream::from_std(ours);
    let mut poll = Poll::new().map_err(failed)?;
    let both = Interest::READABLE | Interest::WRITABLE;
    let lab = socket.get_ref().as_raw_fd();
    poll.registry().register(&mut SourceFd(&lab), Token(0), both).map_err(failed)?;
    poll.registry().register(&mut ours, Token(1), both).map_err(failed)?;
    let mut events = Events::with_capacity(2);
    let mut ends = Ends { socket, ours, from_lab: Vec::new() };
    loop {
        // Both are asked until they have nothing: an edge comes once.
        loop {
            let (Some(received), Some(sent)) = (ends.receive()?, ends.send()?) else {
                return Ok(());
            };
            if !received && !sent {
                break;
            }
        }
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(failed(error)),
            _ => {}
        }
    }
}

/// What [`carry`] carries between.
struct Ends {
    socket: WebSocket<std::net::TcpStream>,
    ours: UnixStream,
    /// For this side, which has not taken it yet.
    from_lab: Vec<u8>,
}

impl Ends {
    /// Takes a message of the lab, or hands on what came. Whether it got on; nothing when this side is gone.
    fn receive(&mut self) -> Result<Option<bool>, Fault> {
        let mut has_read = false;
        if self.from_lab.is_empty() {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.from_lab = bytes.to_vec(),
                Ok(Message::Close(frame)) => {
                    let why = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                    return Err(Fault::infrastructure(format!("the lab ended the line: {why}")));
                }
                Ok(_) => {}
                Err(error) if would_block(&error) => return Ok(Some(false)),
                Err(error) => return Err(failed(error)),
            }
            has_read = true;
        }
        if self.from_lab.is_empty() {
            return Ok(Some(has_read));
        }
        match self.ours.write(&self.from_lab) {
            Ok(0) => Ok(None),
            Ok(written) => {
                self.from_lab.drain(..written);
                Ok(Some(true))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Some(has_read)),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Sends the lab a piece, once it has taken the last one: so what waits here is bounded. As [`Self::receive`].
    fn send(&mut self) -> Result<Option<bool>, Fault> {
        match self.socket.flush() {
            Ok(()) => {}
            Err(error) if would_block(&error) => return Ok(Some(false)),
            Err(error) => return Err(failed(error)),
        }
        let mut piece = [0; PIECE_BYTES];
        match self.ours.read(&mut piece) {
            Ok(0) => {
                let _ = self.socket.close(None);
                let _ = self.socket.flush();
                Ok(None)
            }
            Ok(length) => {
                match self.socket.send(Message::Binary(piece[..length].to_vec().into())) {
                    Err(error) if !would_block(&error) => Err(failed(error)),
                    _ => Ok(Some(true)),
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Some(false)),
            Err(error) => Err(failed(error)),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Fault {
    Fault::infrastructure(format!("the line: {error}"))
}

fn would_block(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Two frames.
const PIECE_BYTES: usize = 1536;
/// A board that another command has just left is free so soon, and a line that is asked for is there.
const BUSY_LIMIT: agent_core::time::Duration = agent_core::time::Duration::from_secs(5);
const BUSY_PAUSE: Duration = Duration::from_millis(50);
