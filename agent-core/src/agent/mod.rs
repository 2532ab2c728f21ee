//! The agent's services as state machines: bytes of the line and [`Event`]s go in, [`Effect`]s come out.
//!
//! ```text
//!        handle_line ─▶ link ─▶ requests, streams ─▶ operations ─▶ poll_effect
//!   poll_transmit ◀─── link ◀─── answers, streams ◀─ operations ◀─ handle_event
//! ```
//!
//! An [`Agent`] owns the board's end of the link, at most [`OPS_MAX`] operations (commands, transfers, the running
//! test), the test plan and the live log. It knows no operating system: whoever drives it opens, reads, spawns and
//! reboots as the effects say. What the dispatcher started dies with its session; the test plan goes on.

pub mod deploy;
pub mod effect;
pub mod kmsg;
pub mod pack;
pub mod unpack;

mod baud;
mod calls;
mod child;
mod exec;
mod line_test;
mod live;
mod ops;
mod outcomes;
mod queue;
mod resume;
mod runner;
mod signals;
mod transfer;

pub use crate::wire::plan;
pub use baud::ACKNOWLEDGED_WITHIN;
pub use child::{DRAIN_WAIT, KILL_GRACE};
pub use effect::{Call, Command, Effect, Event, Op, Pipe, RunFile, Target};
pub use resume::{JOURNAL_MAX, Journal};
pub use runner::START_WAIT;
pub use transfer::{HASH_READ, WRITE_WINDOW};

use crate::link::frame::CONTENT_MAX;
use crate::link::{self, Beacon, CONTROL_CREDIT, Coding, LineConfig, Link, Priority};
use crate::time::Instant;
use crate::wire::codec::Body;
use crate::wire::node::NodeCall;
use crate::wire::record::Record;
use crate::wire::{Envelope, Failure, FailureKind, Method, codec, envelope, request, response};
use baud::Speed;
use calls::Calls;
use core::ops::{Deref, DerefMut};
use heapless::Vec;
use kmsg::KernelRecord;
use live::Live;
use ops::{Operations, Piece};
use outcomes::Outcomes;
use queue::Queue;
use runner::Runner;

/// Operations at a time, the running test among them.
pub const OPS_MAX: usize = 8;

/// Bytes of standard input that a child need not have taken yet: the credit that a stream begins with.
pub const STDIN_WINDOW: usize = link::INITIAL_CREDIT;

/// Bytes of the user console that are reported at once.
pub const USER_CONSOLE_MAX: usize = 4096;

/// Bytes of the longest frame on the line.
pub const LINE_MAX: usize = link::LINE_MAX;

/// Bytes of the longest frame on a side lane.
pub const LANE_FRAME_MAX: usize = link::LANE_FRAME_MAX;

/// Longest answer in bytes.
pub const ANSWER_MAX: usize = 2048;
const _: () = assert!(ANSWER_MAX <= crate::wire::MESSAGE_MAX);

/// Room that a request must find for its answer before it is read: its own, and a short one of every operation.
const ANSWER_ROOM: usize = ANSWER_MAX + OPS_MAX * 128;

/// Text of an operation's failure, bytes: what is left of its 128 in [`ANSWER_ROOM`] for people to read.
const OP_FAILURE_TEXT_MAX: usize = 96;

/// Text of a call's failure, bytes: a path and what is wrong with it.
const CALL_FAILURE_TEXT_MAX: usize = 512;

/// The board's end of the link (10 KiB of frames either way, streams for every operation, and 4 KiB to send in each),
/// with what became of the requests on it: no answer is sent that is not noted there.
#[derive(Debug)]
pub(crate) struct AgentLink {
    link: Link<16, 20, 4096>,
    outcomes: Outcomes,
}

impl Deref for AgentLink {
    type Target = Link<16, 20, 4096>;

    fn deref(&self) -> &Self::Target {
        &self.link
    }
}

impl DerefMut for AgentLink {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.link
    }
}

/// What an agent is told about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The kernel's boot id.
    pub boot_id: [u8; 16],
    /// A random number of this start.
    pub nonce: u32,
    /// Which image it runs in.
    pub role: Role,
    /// How it sends frames: text-safe on a UART that the kernel also writes to.
    pub coding: Coding,
    /// Bits per second of the line.
    pub baud: u32,
}

/// Which image an agent runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The master image: it deploys.
    Master,
    /// The test image: it runs the test.
    Test,
}

/// See the module. In this order, small things first: what lies more than 4 KiB behind the beginning takes an instruction
/// and a constant more wherever it is used. So in the link.
#[repr(C)]
#[derive(Debug)]
pub struct Agent {
    /// ... of which so many have been read.
    inbox_read: usize,
    /// The kernel record that is due.
    next_kernel: u64,
    speed: Speed,
    /// The session that the operations belong to, by the link's count.
    session: Option<u64>,
    overflows_told: u32,
    /// The piece of a stream that is being worked on.
    piece: Piece<CONTENT_MAX>,
    live: Live,
    calls: Calls,
    queue: Queue,
    /// Bytes of stream 0 not yet read as messages.
    inbox: Vec<u8, CONTROL_CREDIT>,
    ops: Operations,
    runner: Runner,
    link: AgentLink,
}

impl Agent {
    /// An agent that beacons from `now` on. It becomes part of its caller: what is returned is 180 KiB, and each function that
    /// hands it on would have them on its stack, where a board keeps them resident.
    #[inline(always)]
    pub fn new(now: Instant, config: Config) -> Self {
        let Config { boot_id, nonce, role, coding, baud } = config;
        let role = match role {
            Role::Master => response::Info::MASTER,
            Role::Test => response::Info::TEST,
        };
        let beacon = Beacon { boot_id, nonce, role, coding };
        Self {
            link: AgentLink {
                link: Link::board(now, LineConfig { coding, baud }, beacon),
                outcomes: Outcomes::new(),
            },
            inbox: Vec::new(),
            inbox_read: 0,
            piece: Piece::new(),
            ops: Operations::new(),
            queue: Queue::new(),
            live: Live::new(),
            runner: Runner::new(boot_id),
            calls: Calls::new(),
            next_kernel: 0,
            speed: Speed::new(baud),
            session: None,
            overflows_told: 0,
        }
    }

    /// What bins it has memory for, if not the [standard](deploy::Limits::STANDARD): what the dispatcher is told.
    pub fn set_limits(&mut self, limits: deploy::Limits) {
        self.ops.limits = limits;
    }

    /// Gives the test agent its plan, or says why there is none; the dispatcher is told when it asks. The first test
    /// starts when somebody follows the log, or after [`START_WAIT`]; with a `journal` of an earlier start, the first
    /// that was not started then.
    pub fn start_plan(
        &mut self,
        now: Instant,
        plan: Result<&[u8], &str>,
        journal: &Journal,
        run_directory: &str,
    ) {
        self.runner.start(now, plan, journal, run_directory, &mut self.queue, &mut self.live);
        // Which reads the kernel's log from its beginning.
        self.next_kernel = 0;
        self.note(now, "the test plan was read");
    }

    /// Bytes came from the line.
    pub fn handle_line(&mut self, now: Instant, bytes: &[u8]) {
        // Others' text on this end of the line is an echo or a person; the link counts it.
        self.link.handle_input(now, bytes, &mut |_| {});
        // A new session may be open before the end of the old one has been read as an event. No operation of the old
        // one may answer in the new one.
        let current = self.link.is_open().then_some(self.link.stats().sessions);
        if self.session.is_some() && self.session != current {
            self.end_session();
        }
    }

    /// Something happened that an effect asked for.
    pub fn handle_event(&mut self, now: Instant, event: Event<'_>) {
        match event {
            Event::Kernel { record } => self.handle_kernel(now, record),
            Event::UserConsole { offset, bytes } => self.handle_user_console(now, offset, bytes),
            Event::UserConsoleFull => self.note(now, "user-console.log is full"),
            Event::RunFileFailed { os_error } => {
                self.runner.handle_file_failed(os_error);
                // Once: a disk that is full stays so, and this is written to it.
                if self.runner.handle_write_failed() {
                    self.note(now, "a file of the run could not be written");
                }
            }
            Event::Signal { client, packet } if NodeCall::is_one(packet) => {
                self.calls.take(client, packet, self.runner.is_running(), &mut self.queue);
            }
            Event::ClientGone { client } => self.calls.handle_gone(client),
            Event::Signal { client, packet } => {
                self.runner.handle_signal(now, client, packet, &mut self.queue);
            }
            Event::OutputLost { op, bytes } => {
                if self.runner.running(op).is_some() {
                    self.runner.handle_lost(now, bytes);
                }
            }
            Event::WatchdogFailed { os_error } => {
                self.runner.handle_watchdog_failed(now, os_error, &mut self.queue);
                self.note(now, "there is no watchdog, or not of that time");
            }
            Event::BaudSet => self.speed.handle_set(now, &self.link),
            Event::BaudFailed { .. } => {
                self.speed.handle_failed(&mut self.link);
                self.note(now, "the line does not do the speed that was asked for");
            }
            Event::Output { op, pipe, bytes } if self.runner.running(op).is_some() => {
                let record = self.runner.handle_output(now, pipe, bytes, &mut self.queue);
                if let Some(record) = record {
                    self.live.record(&mut self.link, &record);
                }
            }
            Event::Exited { op, exit } if self.runner.running(op).is_some() => {
                self.runner.handle_exit(now, exit);
            }
            Event::Failed { op, failure } if self.runner.running(op).is_some() => {
                self.runner.handle_failed(now, failure.os_error, &mut self.queue, &mut self.live);
                self.ops.free(op);
            }
            event => self.ops.handle_event(now, event, &mut self.link, &mut self.queue),
        }
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.speed.is_trying() {
            self.link.handle_timeout(now);
        }
        self.ops.handle_timeout(now, &mut self.link, &mut self.queue);
    }

    /// The next thing to do. To be called until it says `None`, each effect done before the next call.
    pub fn poll_effect(&mut self, now: Instant) -> Option<Effect<'_>> {
        let next = self.next(now)?;
        match next {
            Next::Ready(effect) => Some(effect),
            Next::Queued(queued) => {
                Some(self.queue.effect(queued, |index| self.runner.suite(index)))
            }
            Next::Piece { op, start, end, kind } => {
                let bytes = self.piece.bytes.get(start..end)?;
                Some(match kind {
                    ops::PieceKind::Write => Effect::Write { op, bytes },
                    ops::PieceKind::Input => Effect::Input { op, bytes },
                })
            }
            Next::Answer { start, end, client } => {
                let (envelope, _) = Envelope::parse(self.inbox.get(start..end)?).ok()??;
                let answer: request::NodeAnswer<'_> = codec::decode(envelope.body).ok()?;
                let request::NodeAnswer { status, data, .. } = answer;
                Some(Effect::AnswerCall { client, status, data })
            }
            Next::Request { start, end, op } => {
                // It has been parsed before; only the borrow is new.
                let (envelope, _) = Envelope::parse(self.inbox.get(start..end)?).ok()??;
                ops::request_effect(&envelope, op)
            }
        }
    }

    /// Writes the next frame into `out` (at least [`LINE_MAX`] bytes) and returns its length.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        if self.speed.is_silent(&self.link) {
            return None;
        }
        self.link.poll_transmit(now, out)
    }

    /// The session that is open, by its number; for whoever answers a [`Call`] later.
    pub fn session(&self) -> Option<u64> {
        self.session
    }

    /// The dispatcher was reached over the network, and its token written. `false`: there is no session to use it.
    pub fn open_lane(&mut self) -> bool {
        self.link.open_lane(false)
    }

    /// That connection is gone.
    pub fn close_lane(&mut self) {
        self.link.close_lane();
    }

    /// Whether the connection is of use; when it is not, it is closed.
    pub fn has_lane(&self) -> bool {
        self.link.has_lane()
    }

    /// Whether bytes of the lane are welcome now; with `false` they stay in the socket.
    pub fn lane_room(&self) -> bool {
        self.link.is_drained()
    }

    /// Bytes came from the lane.
    pub fn handle_lane(&mut self, now: Instant, bytes: &[u8]) {
        self.link.handle_lane_input(now, bytes);
    }

    /// Writes the next frame for the lane into `out` (at least [`LANE_FRAME_MAX`] bytes) and returns its length.
    pub fn poll_lane_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        self.link.poll_lane_transmit(now, out)
    }

    /// When [`Self::handle_timeout`] must be called at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let link = if self.speed.is_trying() { None } else { self.link.poll_timeout() };
        let (ops, runner) = (self.ops.poll_timeout(), self.runner.poll_timeout());
        [link, ops, runner, self.speed.poll_timeout()].into_iter().flatten().min()
    }

    /// How many bytes of a child's output may be reported now; with 0 they stay in the pipe.
    pub fn output_room(&self, op: Op, pipe: Pipe) -> usize {
        if self.runner.running(op).is_some() {
            return TEST_OUTPUT_MAX;
        }
        self.ops.output_room(op, pipe, &self.link)
    }

    /// Whether a signal of the running test is welcome now.
    pub fn signal_room(&self) -> bool {
        self.runner.has_signal_room()
    }

    /// Whether a record of the kernel's log is welcome now.
    pub fn kernel_room(&self) -> bool {
        // With a plan the log goes to a file, and the live log takes what it can. The kernel keeps it for us until
        // somebody watches, or the first test starts without.
        if self.runner.has_plan() {
            return self.live.is_followed() || !self.runner.is_waiting_for_company();
        }
        self.live.room(&self.link) >= live::KERNEL_ROOM
    }

    /// Whether what user space prints to /dev/console is to be taken from the line and reported as
    /// [`Event::UserConsole`]: it goes to a file then, or somebody follows.
    pub fn wants_user_console(&self) -> bool {
        self.runner.has_plan() || self.live.is_followed()
    }

    /// Whether a frame has begun to arrive and not ended: bytes are certain to come, and may be waited for together.
    pub fn is_mid_frame(&self) -> bool {
        self.link.is_mid_frame()
    }

    /// Answers a [`Call`].
    pub fn answer(&mut self, method: Method, request: u32, body: &dyn Body) {
        send(&mut self.link, method, request, body);
    }

    /// Says that a [`Call`] failed.
    pub fn fail(&mut self, request: u32, failure: &Failure<'_>) {
        let failure = shortened(failure, CALL_FAILURE_TEXT_MAX);
        send(&mut self.link, Method::FAILED, request, &failure);
    }

    /// The counters of the link.
    pub fn stats(&self) -> &link::Stats {
        self.link.stats()
    }

    /// Finds the next effect, without borrowing.
    fn next(&mut self, now: Instant) -> Option<Next> {
        loop {
            self.speed.advance(now, &mut self.link);
            if let Some(effect) = self.speed.poll_effect() {
                return Some(Next::Ready(effect));
            }
            if let Some(queued) = self.queue.pop() {
                let is_reboot = matches!(queued, queue::Queued::Reboot { .. });
                if is_reboot && self.speed.rest(&mut self.link) {
                    // The kernel's last words belong to the base speed, as everything does until the next session.
                    self.queue.push(queued);
                    continue;
                }
                return Some(Next::Queued(self.settle_signal(queued)));
            }
            self.advance_plan(now);
            if let Some(next) = self.next_of_piece() {
                match next {
                    PieceStep::Do(next) => return Some(next),
                    PieceStep::Again => continue,
                    PieceStep::Wait => {
                        if self.ops.advance(now, &mut self.link, &mut self.queue) {
                            continue;
                        }
                        return None;
                    }
                }
            }
            if self.ops.advance(now, &mut self.link, &mut self.queue) {
                continue;
            }
            if let Some(next) = self.next_request(now) {
                match next {
                    Some(next) => return Some(next),
                    None => continue,
                }
            }
            if !self.handle_link_event() && self.queue.is_empty() {
                // What waited for all that came to be read, beside a lane.
                if self.link.has_lane() && self.ops.advance(now, &mut self.link, &mut self.queue) {
                    continue;
                }
                return None;
            }
        }
    }

    /// Fills in what a test is answered, which is known only now that its line of the journal has been written.
    fn settle_signal(&mut self, queued: queue::Queued) -> queue::Queued {
        match queued {
            queue::Queued::AnswerSignal { client, os_error: 0 } => {
                let (live, link) = (&mut self.live, &mut self.link);
                let os_error = self.runner.settle_signal(|record| live.record(link, record));
                queue::Queued::AnswerSignal { client, os_error }
            }
            queued => queued,
        }
    }

    fn advance_plan(&mut self, now: Instant) {
        if let Some(op) = self.runner.advance(now, &mut self.queue, &mut self.live) {
            self.queue.push(queue::Queued::Close { op });
            self.ops.free(op);
        }
        if self.runner.is_due(now, self.live.is_followed()) {
            if let Some(op) = self.ops.reserve() {
                if self.runner.next(now, op, &mut self.queue, &mut self.live) {
                    self.note(now, "a test starts");
                } else {
                    self.ops.free(op);
                    self.note(now, "the test plan has ended");
                }
            }
        }
        self.live.flush(&mut self.link, |index| self.runner.suite(index));
        if self.link.room(0) >= ANSWER_ROOM {
            if let Some((request, number, packet)) = self.calls.take_due() {
                send_call(&mut self.link, request, number, packet);
            }
        }
        if self.queue.overflows != self.overflows_told {
            self.overflows_told = self.queue.overflows;
            self.note(now, "effects were lost: a bound of the agent is too small");
        }
    }

    fn next_of_piece(&mut self) -> Option<PieceStep> {
        if self.piece.is_done() {
            return None;
        }
        let step = self.ops.work_on(&mut self.piece, &mut self.link, &mut self.queue);
        Some(match step {
            ops::Work::Wait => PieceStep::Wait,
            ops::Work::Again => PieceStep::Again,
            ops::Work::Effect { op, start, end, kind } => {
                PieceStep::Do(Next::Piece { op, start, end, kind })
            }
        })
    }

    /// Reads the next request. `Some(None)`: one was dealt with without an effect.
    fn next_request(&mut self, now: Instant) -> Option<Option<Next>> {
        if self.inbox_read > 0 {
            self.link.grant(0, self.inbox_read);
            self.inbox.copy_within(self.inbox_read.., 0);
            self.inbox.truncate(self.inbox.len() - self.inbox_read);
            self.inbox_read = 0;
        }
        if self.link.room(0) < ANSWER_ROOM {
            return None;
        }
        let (envelope, length) = match Envelope::parse(&self.inbox) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return None,
            Err(_) => {
                // A dispatcher that sends this will not be understood again in this session.
                self.link.abandon(now);
                self.inbox.clear();
                return None;
            }
        };
        self.inbox_read = length;
        let request = envelope.request;
        self.link.outcomes.begin(envelope.method, request);
        let outcome = match envelope.method {
            Method::FOLLOW => codec::decode::<request::Follow>(envelope.body).map(|follow| {
                let streams = [follow.stream];
                if let Err(failure) =
                    self.ops.claim(&streams, None, Priority::Interactive, &mut self.link)
                {
                    send(&mut self.link, Method::FAILED, request, &failure);
                    return None;
                }
                if let Some(before) = self.live.follow(follow.stream) {
                    self.link.finish(before);
                }
                if !self.runner.has_plan() {
                    let sequence = follow.kernel_from;
                    self.next_kernel = sequence;
                    self.queue.push(queue::Queued::SeekKernel { sequence });
                }
                send(&mut self.link, Method::FOLLOW, request, &response::Done {});
                None
            }),
            Method::TEST_STATUS => {
                send(&mut self.link, Method::TEST_STATUS, request, &self.runner.status());
                Ok(None)
            }
            Method::NODE_CALL => codec::decode::<request::NodeCall>(envelope.body).map(|asked| {
                if let Some(before) = self.calls.ask(request, asked.taken) {
                    let failure = transfer::failure(FailureKind::CANCELED, "");
                    send(&mut self.link, Method::FAILED, before, &failure);
                }
                None
            }),
            Method::NODE_ANSWER => match codec::decode::<request::NodeAnswer<'_>>(envelope.body) {
                Ok(answer) => {
                    let client = self.calls.take_client(answer.number);
                    send(&mut self.link, Method::NODE_ANSWER, request, &response::Done {});
                    if let Some(client) = client {
                        return Some(Some(Next::Answer { start: 0, end: length, client }));
                    }
                    Ok(None)
                }
                Err(bad) => Err(bad),
            },
            Method::OUTCOME => codec::decode::<request::Outcome>(envelope.body).map(|asked| {
                self.tell_outcome(request, asked.request);
                None
            }),
            Method::REBOOT => codec::decode::<request::Reboot>(envelope.body).map(|reboot| {
                send(&mut self.link, Method::REBOOT, request, &response::Done {});
                self.ops.reboot_when_sent(now, reboot.how);
                None
            }),
            Method::BAUD => codec::decode::<request::Baud>(envelope.body).map(|wanted| {
                match self.speed.request(now, wanted) {
                    Ok(()) => send(&mut self.link, Method::BAUD, request, &response::Done {}),
                    Err(failure) => send(&mut self.link, Method::FAILED, request, &failure),
                }
                None
            }),
            Method::SIGNAL => codec::decode::<request::Signal>(envelope.body).map(|signal| {
                self.ops.signal(request, signal, &mut self.link, &mut self.queue);
                None
            }),
            Method::LINE_TEST => codec::decode::<request::LineTest>(envelope.body).map(|test| {
                let kept_free = usize::from(self.runner.needs_operation());
                let (live, link) = (self.live.stream(), &mut self.link);
                if let Err(failure) = self.ops.begin_line_test(request, test, kept_free, live, link)
                {
                    send(&mut self.link, Method::FAILED, request, &failure);
                }
                None
            }),
            _ => {
                let kept_free = usize::from(self.runner.needs_operation());
                let live = self.live.stream();
                match self.ops.begin(now, &envelope, kept_free, live, &mut self.link) {
                    Ok(op) => Ok(Some(op)),
                    Err(failure) => {
                        send(&mut self.link, Method::FAILED, request, &failure);
                        Ok(None)
                    }
                }
            }
        };
        Some(match outcome {
            Ok(Some(op)) => Some(Next::Request { start: 0, end: length, op }),
            Ok(None) => None,
            Err(codec::BadBody) => {
                let failure = transfer::failure(FailureKind::BAD_MESSAGE, "");
                send(&mut self.link, Method::FAILED, request, &failure);
                None
            }
        })
    }

    /// Takes the next event of the link; `false` when there is none.
    fn handle_link_event(&mut self) -> bool {
        let Some(event) = self.link.poll_event() else { return false };
        match event {
            link::Event::Beacon(_) | link::Event::Incompatible(_) => {}
            link::Event::Opened(_) => {
                self.inbox.clear();
                self.inbox_read = 0;
                self.session = Some(self.link.stats().sessions);
                self.queue.push(queue::Queued::QuietConsole(true));
            }
            link::Event::Closed(_) => {
                self.end_session();
                self.queue.push(queue::Queued::QuietConsole(false));
            }
            link::Event::Data { stream: 0, bytes } => {
                // Never more than was granted, and no more was than fits.
                let _ = self.inbox.extend_from_slice(bytes);
            }
            link::Event::Data { stream, bytes } => self.piece.begin(stream, bytes),
            link::Event::Finished { stream } => {
                self.ops.handle_finished(stream, &mut self.link, &mut self.queue);
            }
            link::Event::Reset { stream } if self.live.stream() == Some(stream) => {
                self.live.unfollow();
                self.link.close_stream(stream);
            }
            link::Event::Reset { stream } => {
                self.ops.handle_reset(stream, &mut self.link, &mut self.queue);
            }
        }
        true
    }

    /// What the dispatcher started ends; the test plan goes on.
    fn end_session(&mut self) {
        self.session = None;
        self.calls.asked = None;
        self.speed.rest(&mut self.link);
        self.live.unfollow();
        self.piece.drop_it();
        self.inbox.clear();
        self.inbox_read = 0;
        self.ops.handle_closed(&mut self.link, &mut self.queue);
        self.link.outcomes.stop();
    }

    /// Says what became of a request of an earlier session.
    fn tell_outcome(&mut self, request: u32, of: u32) {
        let mut buffer = [0; outcomes::BODY_MAX];
        match self.link.outcomes.find(of, &mut buffer) {
            Some(outcome) => send(&mut self.link, Method::OUTCOME, request, &outcome),
            None => {
                let failure = transfer::failure(FailureKind::BUSY, "it is under way");
                send(&mut self.link, Method::FAILED, request, &failure);
            }
        }
    }

    fn handle_kernel(&mut self, now: Instant, record: &[u8]) {
        let Some(KernelRecord { priority, sequence, us, text }) = KernelRecord::parse(record)
        else {
            return;
        };
        // What there was before is known to be lost when the next one comes.
        let lost = sequence.saturating_sub(self.next_kernel);
        if lost > 0 {
            self.handle_kernel_gap(us, lost);
        }
        self.next_kernel = sequence.saturating_add(1);
        if self.runner.has_plan() {
            let mut line = self.queue.line(RunFile::KernelLog);
            line.text("<").padded(priority.into(), 0, "").text(">").stamp(us);
            let text = core::str::from_utf8(text).unwrap_or("(a record that is not text)");
            line.text(text).text("\n").end();
            self.runner.handle_kernel(now);
        }
        let source = Record::KERNEL;
        let record = Record { source, priority, test: 0, board_us: us, sequence, text, count: 0 };
        self.live.record(&mut self.link, &record);
    }

    /// The kernel overwrote so many records before this one of `board_us`.
    fn handle_kernel_gap(&mut self, board_us: u64, count: u64) {
        if self.runner.has_plan() {
            let mut line = self.queue.line(RunFile::KernelLog);
            line.text("-- ").padded(count, 0, "").text(" records lost --\n").end();
        }
        let (source, sequence, text) = (Record::KERNEL_GAP, self.next_kernel, &[]);
        let record = Record { source, priority: 0, test: 0, board_us, sequence, text, count };
        self.live.record(&mut self.link, &record);
    }

    /// User space printed this to /dev/console; it stands in its file already.
    fn handle_user_console(&mut self, now: Instant, offset: u64, bytes: &[u8]) {
        let board_us = now.as_micros();
        if self.runner.has_plan() {
            let line = self.queue.line(RunFile::UserConsoleTimes);
            runner::push_times(line, board_us, "user_console", offset, bytes.len());
            self.runner.handle_kernel(now);
        }
        let (source, text) = (Record::USER_CONSOLE, bytes);
        let record =
            Record { source, priority: 0, test: 0, board_us, sequence: offset, text, count: 0 };
        self.live.record(&mut self.link, &record);
    }

    /// A line of the agent's own log.
    fn note(&mut self, now: Instant, text: &'static str) {
        let board_us = now.as_micros();
        if self.runner.has_plan() {
            self.queue.line(RunFile::AgentLog).stamp(board_us).text(text).text("\n").end();
        }
        let source = Record::AGENT;
        let text = text.as_bytes();
        let record = Record { source, priority: 0, test: 0, board_us, sequence: 0, text, count: 0 };
        self.live.record(&mut self.link, &record);
    }
}

/// Bytes of a test's output that are taken at once; they go to a file, whatever the line does.
const TEST_OUTPUT_MAX: usize = 4096;

/// An effect, by position.
#[derive(Clone, Copy, Debug)]
enum Next {
    Ready(Effect<'static>),
    Queued(queue::Queued),
    Piece { op: Op, start: usize, end: usize, kind: ops::PieceKind },
    Request { start: usize, end: usize, op: Option<Op> },
    Answer { start: usize, end: usize, client: u8 },
}

enum PieceStep {
    Wait,
    Again,
    Do(Next),
}

/// The failure with its text cut to `max` bytes.
fn shortened<'a>(failure: &Failure<'a>, max: usize) -> Failure<'a> {
    let mut end = failure.text.len().min(max);
    while !failure.text.is_char_boundary(end) {
        end -= 1;
    }
    Failure { text: failure.text.get(..end).unwrap_or_default(), ..*failure }
}

/// Sends a message to the dispatcher, and notes it where it will be asked for again. [`ANSWER_ROOM`] sees to it that
/// there is room; without, it is dropped whole, for half a message would make all that follow unreadable.
#[inline(never)]
fn send(link: &mut AgentLink, method: Method, request: u32, body: &dyn Body) {
    let mut buffer = [0; ANSWER_MAX];
    let length = codec::encoded(body, &mut buffer[envelope::HEADER_LEN..]);
    send_encoded(link, method, request, &mut buffer, length.ok());
}

/// Sends a call as its helper encoded it, behind its number: a [`response::NodeCall`].
fn send_call(link: &mut AgentLink, request: u32, number: u32, packet: &[u8]) {
    let mut buffer = [0; ANSWER_MAX];
    let (_, body) = buffer.split_at_mut(envelope::HEADER_LEN);
    let length = codec::encoded(&number, body).unwrap_or(0);
    if let Some(place) = body.get_mut(length..length + packet.len()) {
        place.copy_from_slice(packet);
    }
    send_encoded(link, Method::NODE_CALL, request, &mut buffer, Some(length + packet.len()));
}

/// Without a `length` the body was too long.
fn send_encoded(
    link: &mut AgentLink,
    method: Method,
    request: u32,
    buffer: &mut [u8; ANSWER_MAX],
    length: Option<usize>,
) {
    let Some(length) = length else {
        let failure = transfer::failure(FailureKind::TOO_LARGE, "the answer");
        return send(link, Method::FAILED, request, &failure);
    };
    let end = envelope::HEADER_LEN + length;
    buffer[..envelope::HEADER_LEN].copy_from_slice(&envelope::header(method, request, length));
    if link.room(0) >= end {
        link.write(0, &buffer[..end]);
    }
    link.outcomes.answer(method, request, &buffer[envelope::HEADER_LEN..end]);
}
