//! `pumice --server URL console`: a board's console through its lab, on this terminal.
//!
//! Everybody may look; who has acquired the board types. Ctrl-] ends it.

use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use tungstenite::{Error, Message, WebSocket};

use super::console::ESCAPE;
use super::jobs::encoded;
use crate::client::Client;
use crate::client::socket::{Refused, connect};
use crate::io::terminal::RawMode;
use crate::script::Fault;

/// Shows the console until Ctrl-], the end of the connection, or, where input is no terminal, a signal.
pub(super) fn console(client: &Client, board: &str) -> Result<u8, Fault> {
    let mut socket = connect(client, &format!("/boards/{}/console", encoded(board)))
        .map_err(Refused::into_fault)?;
    socket
        .get_ref()
        .set_read_timeout(Some(TYPED_EVERY))
        .map_err(|error| Fault::infrastructure(error.to_string()))?;
    let raw =
        RawMode::enter().map_err(|error| Fault::configuration(format!("the terminal: {error}")))?;
    if raw.is_some() {
        let _ = write!(io::stderr(), "pumice: the console of {board}; Ctrl-] ends\r\n");
    }
    let outcome = carry(&mut socket, &typed());
    drop(raw);
    let _ = socket.close(None);
    outcome.map(|()| 0)
}

/// What is typed, until its end.
fn typed() -> Receiver<Vec<u8>> {
    let (sender, typed) = channel();
    // Ends with the process: nothing interrupts a read of a terminal.
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = io::stdin().read(&mut piece) {
            if sender.send(piece[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    typed
}

fn carry(socket: &mut WebSocket<TcpStream>, typed: &Receiver<Vec<u8>>) -> Result<(), Fault> {
    let is_terminal = io::stdin().is_terminal();
    let mut out = io::stdout();
    let lost = |error: Error| Fault::infrastructure(format!("the connection was lost: {error}"));
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) => {
                if out.write_all(&bytes).and_then(|()| out.flush()).is_err() {
                    return Ok(());
                }
            }
            Ok(Message::Close(frame)) => {
                let why = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                return Err(Fault::infrastructure(format!("the lab ended the console: {why}")));
            }
            Ok(_) => {}
            // Interrupted: it was stopped and goes on.
            Err(Error::Io(error))
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(Error::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(lost(error)),
        }
        while let Ok(bytes) = typed.try_recv() {
            let escape = bytes.iter().position(|byte| *byte == ESCAPE && is_terminal);
            let rest = bytes[..escape.unwrap_or(bytes.len())].to_vec();
            socket.send(Message::Binary(rest.into())).map_err(lost)?;
            if escape.is_some() {
                return Ok(());
            }
        }
    }
}

/// So long a key waits at most for the line to be quiet.
const TYPED_EVERY: Duration = Duration::from_millis(20);
