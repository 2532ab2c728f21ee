//! `pumice console`: a board's raw line on this terminal.
//!
//! Text of the line is shown as it comes, and what is typed goes to the line as it is. Frames of an agent are no text
//! and are not shown; none is answered. Ctrl-] ends it, as in telnet, and Ctrl-^ sends a BREAK.

use std::io::{IsTerminal, Write};

use super::hands_on::{Claimed, claim, fail};
use super::lab_client::with_lab;
use super::lab_console;
use crate::board::raw_line::RawLine;
use crate::cli::Global;
use crate::config::lab::BoardWish;
use crate::io::clock;
use crate::io::event::{BoardEvent, IoEvent};
use crate::io::signals::Signal;
use crate::io::terminal::RawMode;
use crate::script::Fault;

/// Ends the console.
pub(super) const ESCAPE: u8 = 0x1D;

/// Sends a BREAK: Ctrl-^.
const BREAK: u8 = 0x1E;

/// Shows the line until Ctrl-], the end of the line, or, where input is no terminal, a signal.
pub fn console(global: &Global, board: &str) -> u8 {
    if global.server.is_some() {
        return with_lab(global, |client| lab_console::console(client, board));
    }
    match try_console(global, board) {
        Ok(()) => 0,
        Err(fault) => fail(&fault),
    }
}

fn try_console(global: &Global, board: &str) -> Result<(), Fault> {
    let mut claimed = claim(global, &BoardWish::named(board))?;
    let raw =
        RawMode::enter().map_err(|error| Fault::configuration(format!("the terminal: {error}")))?;
    if raw.is_some() {
        let _ = write!(
            std::io::stderr(),
            "pumice: the line of {board}; Ctrl-] ends, Ctrl-^ sends a BREAK\r\n"
        );
    }
    let outcome = show(&mut claimed);
    drop(raw);
    outcome
}

fn show(claimed: &mut Claimed) -> Result<(), Fault> {
    let mut line = RawLine::new(&claimed.board.board_type.line);
    let is_terminal = std::io::stdin().is_terminal();
    let (board, endpoint) = claimed.line();
    let reactor = claimed.reactor();
    // Without a standard input there is nothing to type.
    let _ = reactor.listen_to_stdin(true);
    reactor.connect(board, endpoint);
    let mut out = std::io::stdout();
    loop {
        let events =
            reactor.turn(None).map_err(|error| Fault::infrastructure(error.to_string()))?;
        for event in events {
            match event {
                IoEvent::Board(_, BoardEvent::Bytes(bytes)) => {
                    let text = line.text(clock::now(), &bytes);
                    if out.write_all(&text).and_then(|()| out.flush()).is_err() {
                        return Ok(());
                    }
                }
                IoEvent::Board(_, BoardEvent::Disconnected(why)) => {
                    return Err(Fault::infrastructure(why));
                }
                IoEvent::Stdin(bytes) => {
                    let escape = bytes.iter().position(|byte| *byte == ESCAPE && is_terminal);
                    let typed = &bytes[..escape.unwrap_or(bytes.len())];
                    for (number, piece) in
                        typed.split(|byte| *byte == BREAK && is_terminal).enumerate()
                    {
                        if number > 0 {
                            reactor.send_break(board);
                        }
                        if reactor.write(board, piece) < piece.len() {
                            tell("the line takes no more; dropped");
                        }
                    }
                    if escape.is_some() {
                        return Ok(());
                    }
                }
                IoEvent::Board(_, BoardEvent::BreakDone(Err(why))) => tell(&why),
                IoEvent::Signal(Signal::Interrupt | Signal::Terminate | Signal::Hangup) => {
                    return Ok(());
                }
                _ => {}
            }
        }
    }
}

/// On a terminal in raw mode.
fn tell(text: &str) {
    let _ = write!(std::io::stderr(), "\r\npumice: {text}\r\n");
}
