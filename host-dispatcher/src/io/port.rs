//! One board's line while it is used: opening, the bytes that wait to be written, closing, the end of its process.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

use agent_core::time::{Duration, Instant};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::connection::{self, Endpoint, Line, Opened};
use super::event::BoardEvent;
use super::first_words::FirstWords;
use super::process::Child;
use crate::board::line_quality::UartErrors;
use crate::telnet::Readiness;

/// One board's line.
#[derive(Debug)]
pub(super) struct Port {
    state: State,
    outbox: VecDeque<u8>,
    /// The process of a line that is closed: it may still hold the board's files.
    leaving: Option<Leaving>,
    line_token: Token,
    output_token: Token,
}

#[derive(Debug)]
enum State {
    Closed,
    /// For the process of the last connection to be gone.
    Waiting(Endpoint),
    Connecting {
        stream: TcpStream,
        endpoint: Endpoint,
        until: Instant,
    },
    Open {
        line: Line,
        child: Option<Child>,
        name: String,
        /// The server at its other end still has to agree, and so long it may take.
        negotiating: Option<Instant>,
        /// The speed to set when everything has left.
        next_baud: Option<u32>,
        pause: Pause,
        /// What came first.
        first: FirstWords,
    },
}

/// A BREAK, during which nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    No,
    /// As soon as everything has left.
    Wanted,
    Until(Instant),
}

#[derive(Debug)]
struct Leaving {
    child: Child,
    /// The line ended by itself: the owner learns why when the process has.
    to_be_told: bool,
}

/// What the loop lends for a call.
pub(super) struct Context<'a> {
    pub(super) registry: &'a Registry,
    pub(super) now: Instant,
    pub(super) events: &'a mut Vec<BoardEvent>,
    pub(super) scratch: &'a mut [u8],
}

/// What is left to do after a line was served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rest {
    /// There may be more to read, and no further edge will say so.
    pub(super) readable: bool,
    /// There is more to write when the kernel's queue has become shorter.
    pub(super) held: bool,
}

impl Port {
    pub(super) fn new(line_token: Token, output_token: Token) -> Self {
        Self {
            state: State::Closed,
            outbox: VecDeque::new(),
            leaving: None,
            line_token,
            output_token,
        }
    }

    pub(super) fn connect(&mut self, endpoint: Endpoint, context: &mut Context<'_>) {
        self.disconnect(context);
        self.state = State::Waiting(endpoint);
        self.open_if_free(context);
    }

    /// Closes the line. Its process is ended and waited for without telling; the owner wanted it.
    pub(super) fn disconnect(&mut self, context: &mut Context<'_>) {
        if let Some(leaving) = &mut self.leaving {
            leaving.to_be_told = false;
            leaving.child.stop(context.now);
        }
        if let Some(mut child) = self.close(context) {
            child.stop(context.now);
            self.leaving = Some(Leaving { child, to_be_told: false });
        }
    }

    /// Takes as much as there is room for, and says how much. Nothing while the line is not open.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.write_room());
        self.outbox.extend(&bytes[..taken]);
        taken
    }

    pub(super) fn write_room(&self) -> usize {
        match &self.state {
            State::Open { negotiating: None, next_baud: None, .. } => {
                WRITE_QUEUE_MAX - self.outbox.len()
            }
            // What would be written now belongs to another speed.
            _ => 0,
        }
    }

    /// Sets the line's speed once what waits has left. True if that is still to come.
    pub(super) fn set_baud(&mut self, baud: u32, context: &mut Context<'_>) -> bool {
        if let State::Open { line, next_baud, .. } = &mut self.state
            && line.has_baud()
        {
            *next_baud = Some(baud);
        }
        self.flush(context)
    }

    /// Sends a BREAK once what waits has left. True if that is still to come.
    pub(super) fn send_break(&mut self, context: &mut Context<'_>) -> bool {
        let refusal = match &mut self.state {
            State::Open { line, pause, negotiating: None, .. } if line.has_break() => {
                if *pause == Pause::No {
                    *pause = Pause::Wanted;
                }
                return self.flush(context);
            }
            State::Open { name, negotiating: None, .. } => format!(
                "{name} carries bytes and no BREAK: a connection by serial:, rfc2217:// or telnet:// does"
            ),
            _ => "the line is not open".to_owned(),
        };
        context.events.push(BoardEvent::BreakDone(Err(refusal)));
        false
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { negotiating: None, .. })
    }

    /// What the host's UART has lost or misread, where one tells.
    pub(super) fn uart_errors(&self) -> Option<UartErrors> {
        match &self.state {
            State::Open { line, .. } => line.uart_errors(),
            _ => None,
        }
    }

    /// No line, and no process of one.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Closed) && self.leaving.is_none()
    }

    /// The line's source became readable or writable.
    pub(super) fn handle_line(&mut self, context: &mut Context<'_>) -> Rest {
        if let State::Connecting { stream, endpoint, .. } = &self.state {
            match connection::connected(stream) {
                Ok(true) => self.finish_connecting(context),
                Ok(false) => {}
                Err(error) => {
                    let why = connection::cannot_connect(endpoint, &error);
                    self.close(context);
                    context.events.push(BoardEvent::Disconnected(why));
                }
            }
        }
        let readable = self.read(context);
        let held = self.flush(context);
        self.settle(context, false);
        Rest { readable, held }
    }

    /// Writes what waits, as far as the kernel's queue should grow. True if the rest is held back.
    pub(super) fn flush(&mut self, context: &mut Context<'_>) -> bool {
        let State::Open { line, next_baud, pause, .. } = &mut self.state else { return false };
        if matches!(pause, Pause::Until(_)) {
            return false;
        }
        let waiting = self.outbox.len();
        let mut held = false;
        let gone = loop {
            let (next, _) = self.outbox.as_slices();
            if next.is_empty() {
                break None;
            }
            let room = line.kernel_room();
            if room == 0 {
                held = true;
                break None;
            }
            match line.write(&next[..next.len().min(room)]) {
                Ok(bytes) => drop(self.outbox.drain(..bytes)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    held = true;
                    break None;
                }
                Err(error) => break Some(error),
            }
        };
        if gone.is_none()
            && self.outbox.is_empty()
            && let Some(baud) = *next_baud
        {
            match line.set_baud(baud, context.now) {
                Ok(false) => held = true,
                Ok(true) => context.events.push(BoardEvent::Room),
                Err(why) => context.events.push(BoardEvent::BaudFailed(why)),
            }
            if !held {
                *next_baud = None;
            }
        }
        if gone.is_none() && self.outbox.is_empty() && !held && *pause == Pause::Wanted {
            match line.start_break() {
                Ok(false) => held = true,
                Ok(true) => *pause = Pause::Until(context.now + BREAK_TIME),
                Err(why) => {
                    *pause = Pause::No;
                    context.events.push(BoardEvent::BreakDone(Err(why)));
                }
            }
        }
        let gone = gone.or_else(|| line.flush().err());
        if let Some(error) = gone {
            self.lose(Some(&error), context);
            return false;
        }
        if waiting >= ROOM_BELOW && self.outbox.len() < ROOM_BELOW {
            context.events.push(BoardEvent::Room);
        }
        if self.outbox.is_empty() {
            self.outbox.shrink_to(ROOM_BELOW);
        }
        held
    }

    /// The process's standard error became readable.
    pub(super) fn handle_output(&mut self) -> bool {
        match (&mut self.state, &mut self.leaving) {
            (State::Open { child: Some(child), .. }, _) => child.handle_output(),
            (_, Some(leaving)) => leaving.child.handle_output(),
            _ => false,
        }
    }

    /// Some process has ended, maybe this one's.
    pub(super) fn handle_child_signal(&mut self, context: &mut Context<'_>) {
        if let State::Open { child: Some(child), .. } = &mut self.state
            && let Some(status) = child.poll_exit()
        {
            let why = Self::farewell(child, status);
            // What it wrote before it ended.
            while self.read(context) {}
            if self.is_open() {
                self.close(context);
                context.events.push(BoardEvent::Disconnected(why));
            }
        }
        if let Some(leaving) = &mut self.leaving
            && let Some(status) = leaving.child.poll_exit()
        {
            let why = leaving.to_be_told.then(|| Self::farewell(&leaving.child, status));
            let _ = context.registry.deregister(leaving.child.output());
            self.leaving = None;
            context.events.extend(why.map(BoardEvent::Disconnected));
            self.open_if_free(context);
        }
    }

    /// True as from [`Port::flush`].
    pub(super) fn handle_timeout(&mut self, context: &mut Context<'_>) -> bool {
        if let Some(leaving) = &mut self.leaving {
            leaving.child.handle_timeout(context.now);
        }
        if let State::Connecting { until, endpoint, .. } = &self.state
            && *until <= context.now
        {
            let why = format!("failed to connect to {endpoint}: no answer");
            self.close(context);
            context.events.push(BoardEvent::Disconnected(why));
        }
        if let State::Open { negotiating: Some(until), .. } = &self.state
            && *until <= context.now
        {
            self.settle(context, true);
        }
        if let State::Open { line, pause, .. } = &mut self.state
            && matches!(pause, Pause::Until(until) if *until <= context.now)
        {
            *pause = Pause::No;
            context.events.push(BoardEvent::BreakDone(line.end_break()));
            return self.flush(context);
        }
        false
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let connecting = match &self.state {
            State::Connecting { until, .. } => Some(*until),
            State::Open { negotiating: Some(until), .. } => Some(*until),
            State::Open { pause: Pause::Until(until), .. } => Some(*until),
            _ => None,
        };
        let leaving = self.leaving.as_ref().and_then(|leaving| leaving.child.poll_timeout());
        [connecting, leaving].into_iter().flatten().min()
    }

    fn open_if_free(&mut self, context: &mut Context<'_>) {
        if self.leaving.is_some() || !matches!(self.state, State::Waiting(_)) {
            return;
        }
        let State::Waiting(endpoint) = std::mem::replace(&mut self.state, State::Closed) else {
            return;
        };
        let opened = connection::open(&endpoint).and_then(|opened| match opened {
            Opened::Line(line, child) => self.begin(line, child, endpoint.to_string(), context),
            Opened::Connecting(mut stream) => {
                let both = Interest::READABLE | Interest::WRITABLE;
                let registered = context.registry.register(&mut stream, self.line_token, both);
                registered.map_err(|error| connection::cannot_connect(&endpoint, &error))?;
                self.state =
                    State::Connecting { stream, endpoint, until: context.now + CONNECT_TIME };
                Ok(())
            }
        });
        if let Err(why) = opened {
            context.events.push(BoardEvent::Disconnected(why));
        }
    }

    fn finish_connecting(&mut self, context: &mut Context<'_>) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Connecting { stream, endpoint, .. } => {
                let line = connection::line_on(stream, &endpoint);
                if let Err(why) = self.begin(line, None, endpoint.to_string(), context) {
                    context.events.push(BoardEvent::Disconnected(why));
                }
            }
            other => self.state = other,
        }
    }

    fn begin(
        &mut self,
        mut line: Line,
        mut child: Option<Child>,
        name: String,
        context: &mut Context<'_>,
    ) -> Result<(), String> {
        let mut register = || -> io::Result<()> {
            line.register(context.registry, self.line_token)?;
            match &mut child {
                Some(child) => {
                    context.registry.register(child.output(), self.output_token, Interest::READABLE)
                }
                None => Ok(()),
            }
        };
        register().map_err(|error| format!("failed to wait for {name}: {error}"))?;
        self.outbox.clear();
        let negotiating =
            (line.readiness(false) == Readiness::Waiting).then(|| context.now + NEGOTIATION_TIME);
        let is_ready = negotiating.is_none();
        self.state = State::Open {
            line,
            child,
            name,
            negotiating,
            next_baud: None,
            pause: Pause::No,
            first: FirstWords::default(),
        };
        if is_ready {
            context.events.push(BoardEvent::Connected);
        }
        Ok(())
    }

    /// Looks whether the server has agreed; or, also later, that it does so no more.
    fn settle(&mut self, context: &mut Context<'_>, is_late: bool) {
        let State::Open { line, name, negotiating, .. } = &mut self.state else { return };
        match line.readiness(is_late) {
            Readiness::Ready if negotiating.take().is_some() => {
                context.events.push(BoardEvent::Connected);
            }
            Readiness::Ready | Readiness::Waiting => {}
            Readiness::Refused(why) => {
                let what = if negotiating.is_some() { "failed to connect to" } else { "lost" };
                let why = format!("{what} {name}: {why}");
                self.close(context);
                context.events.push(BoardEvent::Disconnected(why));
            }
        }
    }

    /// Reads at most the scratch's length; true if there may be more.
    fn read(&mut self, context: &mut Context<'_>) -> bool {
        let State::Open { line, first, .. } = &mut self.state else { return false };
        let mut filled = 0;
        let end = loop {
            if filled == context.scratch.len() {
                break None;
            }
            match line.read(&mut context.scratch[filled..]) {
                Ok(0) => break Some(None),
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break None,
                Err(error) => break Some(Some(error)),
            }
        };
        // A server may not have agreed yet: what the board says meanwhile is not lost.
        let kept = line.decode(&mut context.scratch[..filled]);
        if kept > 0 {
            first.hear(&context.scratch[..kept]);
            context.events.push(BoardEvent::Bytes(context.scratch[..kept].to_vec()));
        }
        if let Some(error) = end {
            self.lose(error.as_ref(), context);
            return false;
        }
        filled == context.scratch.len()
    }

    /// The line ended by itself.
    fn lose(&mut self, error: Option<&io::Error>, context: &mut Context<'_>) {
        let State::Open { name, first, .. } = &mut self.state else { return };
        let name = std::mem::take(name);
        let said = first.sentence().map_or_else(String::new, |text| format!(": \"{text}\""));
        match self.close(context) {
            Some(mut child) => match child.poll_exit() {
                Some(status) => {
                    context.events.push(BoardEvent::Disconnected(Self::farewell(&child, status)));
                }
                None => {
                    child.stop_soon(context.now);
                    self.leaving = Some(Leaving { child, to_be_told: true });
                }
            },
            None => {
                let how = error
                    .map_or_else(|| format!("the other end closed it{said}"), io::Error::to_string);
                context.events.push(BoardEvent::Disconnected(format!("lost {name}: {how}")));
            }
        }
    }

    /// Closes what is open, at once; its process is handed over.
    fn close(&mut self, context: &mut Context<'_>) -> Option<Child> {
        self.outbox = VecDeque::new();
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Open { mut line, child, pause, .. } => {
                if matches!(pause, Pause::Until(_)) {
                    // The board shall hear whoever comes next.
                    let _ = line.end_break();
                    let _ = line.flush();
                }
                line.deregister(context.registry);
                child
            }
            State::Connecting { mut stream, .. } => {
                let _ = context.registry.deregister(&mut stream);
                None
            }
            State::Closed | State::Waiting(_) => None,
        }
    }

    fn farewell(child: &Child, status: Result<(), String>) -> String {
        status.err().unwrap_or_else(|| format!("{} ended", child.program()))
    }
}

/// What may wait for a line: a pasted script, or many frames' worth of a fast line.
pub(super) const WRITE_QUEUE_MAX: usize = 64 * 1024;
/// Less than a frame waits beside the two in the kernel: time to make the next one.
pub(super) const ROOM_BELOW: usize = 768;
/// A serial server on a lab's network answers in milliseconds; one that is switched off never.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// A serial server answers all offers in some round trips, if it does at all.
const NEGOTIATION_TIME: Duration = Duration::from_secs(3);
/// As tcsendbreak(3). The kernel takes what is longer than a byte for a BREAK: 33 ms at 300 baud.
const BREAK_TIME: Duration = Duration::from_millis(250);
