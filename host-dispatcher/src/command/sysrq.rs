//! `pumice break` and `pumice sysrq`: a BREAK on a board's line, and what its kernel says to the key behind it.
//!
//! Nothing of the board is driven: no agent is answered, no power is switched.

use std::io::Write;

use agent_core::time::{Duration, Instant};

use super::hands_on::{Claimed, claim, fail};
use crate::board::raw_line::RawLine;
use crate::cli::Global;
use crate::config::lab::BoardWish;
use crate::io::clock;
use crate::io::event::{BoardEvent, IoEvent};
use crate::io::signals::Signal;
use crate::script::Fault;

/// Sends a BREAK.
pub fn send_break(global: &Global, board: &str) -> u8 {
    status(run(global, board, None))
}

/// Sends a BREAK and this key, and shows what the line says then until it is silent.
pub fn sysrq(global: &Global, board: &str, key: u8) -> u8 {
    status(run(global, board, Some(key)))
}

fn status(outcome: Result<(), Fault>) -> u8 {
    match outcome {
        Ok(()) => 0,
        Err(fault) => fail(&fault),
    }
}

fn run(global: &Global, name: &str, key: Option<u8>) -> Result<(), Fault> {
    let mut claimed = claim(global, &BoardWish::named(name))?;
    let connection = &claimed.board.connection;
    // Before it is opened: an emulator would be started for nothing.
    if !connection.has_break() {
        return Err(Fault::job(format!(
            "the line of {name} ({connection}) carries bytes and no BREAK: a connection by serial:, rfc2217:// or \
             telnet:// does"
        )));
    }
    let heard = send(&mut claimed, key)?;
    if key.is_some() && !heard {
        let _ = writeln!(
            std::io::stderr(),
            "pumice: the board said nothing: its kernel.sysrq may forbid this key, or its console is elsewhere"
        );
    }
    Ok(())
}

/// Whether the board said anything after the key.
fn send(claimed: &mut Claimed, key: Option<u8>) -> Result<bool, Fault> {
    let mut line = RawLine::new(&claimed.board.board_type.line);
    let (board, endpoint) = claimed.line();
    let reactor = claimed.reactor();
    let mut out = std::io::stdout();
    let mut answer: Option<Answer> = None;
    reactor.connect(board, endpoint);
    loop {
        let until = answer.as_ref().map(|answer| answer.quiet_at.min(answer.end_at));
        let events =
            reactor.turn(until).map_err(|error| Fault::infrastructure(error.to_string()))?;
        let now = clock::now();
        for event in events {
            match event {
                IoEvent::Board(_, BoardEvent::Connected) => reactor.send_break(board),
                IoEvent::Board(_, BoardEvent::Disconnected(why)) => {
                    return Err(Fault::infrastructure(why));
                }
                IoEvent::Board(_, BoardEvent::BreakDone(outcome)) => {
                    outcome.map_err(Fault::infrastructure)?;
                    // Without a key the end of the BREAK still has to leave.
                    reactor.write(board, key.as_slice());
                    answer = Some(Answer::begin(now, key.is_some()));
                }
                IoEvent::Board(_, BoardEvent::Bytes(bytes)) => {
                    let text = line.text(now, &bytes);
                    if let Some(answer) = &mut answer
                        && key.is_some()
                        && !text.is_empty()
                    {
                        answer.heard(now);
                        if out.write_all(&text).and_then(|()| out.flush()).is_err() {
                            return Ok(true);
                        }
                    }
                }
                IoEvent::Signal(Signal::Interrupt | Signal::Terminate | Signal::Hangup) => {
                    return Ok(true);
                }
                _ => {}
            }
        }
        if let Some(answer) = &answer
            && (now >= answer.quiet_at || now >= answer.end_at)
        {
            return Ok(answer.has_text);
        }
    }
}

/// What the board says after the key.
struct Answer {
    has_text: bool,
    quiet_at: Instant,
    end_at: Instant,
}

impl Answer {
    fn begin(now: Instant, is_expected: bool) -> Self {
        let quiet = if is_expected { QUIET } else { LEAVING };
        Self { has_text: false, quiet_at: now + quiet, end_at: now + LISTEN_MAX }
    }

    fn heard(&mut self, now: Instant) {
        self.has_text = true;
        self.quiet_at = now + QUIET;
    }
}

/// A kernel answers within a line's time; one that writes all its tasks makes no pause as long.
const QUIET: Duration = Duration::from_secs(1);
/// 700 kB at 115200 baud; of all tasks of a big system there are some hundred.
const LISTEN_MAX: Duration = Duration::from_secs(60);
/// For the last bytes to a server on the network.
const LEAVING: Duration = Duration::from_millis(100);
