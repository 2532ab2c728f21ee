//! Ties one board, a script and the [`Reactor`] together, until the script has ended.
//!
//! Every turn: what came goes into the board, the board's events to the script, the script goes on as far as it can,
//! and what the board wants is done. Nothing here decides anything about boards or jobs.

use std::io;
use std::sync::Arc;

use agent_core::time::Duration;

use super::clock;
use super::connection::Endpoint;
use super::event::{BoardEvent, IoEvent};
use super::event_loop::Reactor;
use super::signals::Signal;
use crate::board::{BoardAction, PowerOperation};
use crate::config::power::{HostCommand, Power};
use crate::config::template::Values;
use crate::script::{Bench, Script};

/// The only board of this loop, as the reactor numbers it.
const BOARD: usize = 0;

/// A power command may take so long; a relay behind a slow network and its retries.
const POWER_LIMIT: Duration = Duration::from_secs(90);

/// A line that takes nothing is not waited for longer: it is as good as gone.
const LEAVE_LIMIT: Duration = Duration::from_millis(500);

/// What moves on a terminal moves so often.
const TICK: Duration = Duration::from_millis(200);

/// How a board is reached, with nothing left to fill in.
#[derive(Debug)]
pub struct Wiring {
    /// Its line.
    pub endpoint: Endpoint,
    /// Its power.
    pub power: Power,
    /// What stands for the places in its commands.
    pub values: Values,
}

/// Drives `script` on `bench` to its end.
///
/// # Errors
/// The event loop itself failed.
pub fn drive<T>(
    reactor: &mut Reactor,
    wiring: &Wiring,
    bench: &Bench,
    script: impl Future<Output = T>,
) -> io::Result<T> {
    let waker = reactor.worker_waker(BOARD);
    bench.set_waker(Arc::new(move || waker.wake()));
    let mut script = Script::new(script);
    let mut closing = false;
    let mut tick_at = clock::now() + TICK;
    loop {
        bench.set_time(clock::now(), clock::wall());
        loop {
            bench.drain();
            if let Some(outcome) = script.poll(bench) {
                bench.drain();
                take_leave(reactor, bench)?;
                return Ok(outcome);
            }
            let acted = act(reactor, wiring, bench, &mut closing);
            let sent = transmit(reactor, bench);
            if !acted && !sent && !bench.drain() {
                break;
            }
        }
        // What is due and cannot be sent waits for room on the line, of which the reactor tells.
        let has_room = reactor.wants_bytes(BOARD);
        let board_timeout =
            bench.board(|board, now| board.poll_timeout().filter(|at| has_room || *at > now));
        let until = [board_timeout, bench.wake_at(), Some(tick_at)].into_iter().flatten().min();
        let events = reactor.turn(until)?;
        let now = clock::now();
        bench.set_time(now, clock::wall());
        events.into_iter().for_each(|event| handle(bench, event));
        bench.board(|board, now| {
            if board.poll_timeout().is_some_and(|at| at <= now) {
                board.handle_timeout(now);
            }
        });
        if closing && reactor.is_idle(BOARD) {
            closing = false;
            bench.board(|board, now| board.handle_disconnected(now, "closed"));
        }
        if now >= tick_at {
            tick_at = now + TICK;
            bench.observer(|observer| observer.tick());
            if let Some(errors) = reactor.uart_errors(BOARD) {
                bench.set_uart(errors);
            }
        }
    }
}

fn handle(bench: &Bench, event: IoEvent) {
    match event {
        IoEvent::Board(_, event) => bench.board(|board, now| match event {
            BoardEvent::Connected => board.handle_connected(now),
            BoardEvent::Disconnected(why) => board.handle_disconnected(now, &why),
            BoardEvent::Bytes(bytes) => board.handle_bytes(now, &bytes),
            BoardEvent::CommandDone(outcome) => board.handle_power(now, outcome),
            BoardEvent::BaudFailed(why) => board.handle_baud_failed(&why),
            BoardEvent::Room | BoardEvent::Worker => {}
        }),
        IoEvent::Stdin(bytes) => bench.push_stdin(bytes),
        IoEvent::StdinEnd => bench.end_stdin(),
        IoEvent::Signal(Signal::WindowChange) => {}
        IoEvent::Signal(_) => bench.interrupt(),
    }
}

/// Does what the board asks for; whether it asked for anything.
fn act(reactor: &mut Reactor, wiring: &Wiring, bench: &Bench, closing: &mut bool) -> bool {
    let mut any = false;
    while let Some(action) = bench.board(|board, _| board.poll_action()) {
        any = true;
        match action {
            BoardAction::Connect => {
                *closing = false;
                reactor.connect(BOARD, wiring.endpoint.clone());
            }
            BoardAction::Disconnect => {
                reactor.disconnect(BOARD);
                *closing = true;
            }
            BoardAction::SetBaud(baud) => reactor.set_baud(BOARD, baud),
            BoardAction::Power(operation) => match power_argv(wiring, operation) {
                Ok(argv) => reactor.run(BOARD, &argv, POWER_LIMIT),
                Err(why) => bench.board(|board, now| board.handle_power(now, Err(why.clone()))),
            },
        }
    }
    if *closing && reactor.is_idle(BOARD) {
        *closing = false;
        bench.board(|board, now| board.handle_disconnected(now, "closed"));
        any = true;
    }
    any
}

fn power_argv(wiring: &Wiring, operation: PowerOperation) -> Result<Vec<String>, String> {
    let Power::Commands(commands) = &wiring.power else {
        return Err("the power of this board cannot be switched".to_owned());
    };
    let command: Option<&HostCommand> = match operation {
        PowerOperation::On => Some(&commands.on),
        PowerOperation::Off => Some(&commands.off),
        PowerOperation::Cycle => commands.cycle.as_ref(),
    };
    let command = command.ok_or("there is no command for it")?;
    command.argv(&wiring.values).map_err(|error| error.to_string())
}

/// Tells the agent that this dispatcher leaves: else it would believe in the session for some seconds, in which nobody
/// else gets one.
fn take_leave(reactor: &mut Reactor, bench: &Bench) -> io::Result<()> {
    bench.board(|board, now| board.say_goodbye(now));
    let until = clock::now() + LEAVE_LIMIT;
    transmit(reactor, bench);
    while reactor.has_unwritten(BOARD) && clock::now() < until {
        reactor.turn(Some(until))?.into_iter().for_each(|event| handle(bench, event));
        transmit(reactor, bench);
    }
    Ok(())
}

/// Gives the line what the board has for it; whether there was anything.
fn transmit(reactor: &mut Reactor, bench: &Bench) -> bool {
    let mut any = false;
    while reactor.wants_bytes(BOARD) {
        let Some(bytes) = bench.board(|board, now| board.poll_transmit(now)) else { break };
        any = true;
        let written = reactor.write(BOARD, &bytes);
        debug_assert_eq!(written, bytes.len(), "there was room for a frame");
    }
    any
}
