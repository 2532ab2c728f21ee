//! Another speed of the line for a session: asked for at the base speed, tried at the new one, and given up by the
//! clock when nothing comes. docs/protocol.md, "Another speed", has the table; the agent's half is
//! `agent_core::agent::baud`.

use super::Board;
use super::boot_loader::Driver;
use super::client::RequestId;
use super::event::{BoardAction, BoardEvent};
use agent_core::link::LINE_MAX;
use agent_core::time::{Duration, Instant};
use agent_core::wire::{FailureKind, Method, request};

/// How fast the line is, and what it shall become.
#[derive(Clone, Debug)]
pub(super) struct Speed {
    base: u32,
    /// The boot loader's, while it has another.
    loading: Option<u32>,
    /// What sessions shall have.
    wanted: Option<u32>,
    current: u32,
    state: State,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Steady,
    Asked(RequestId, Instant),
    /// The agent has agreed. Nothing is sent but acknowledgements, until the line is idle.
    Settling {
        idle_at: Instant,
        until: Instant,
    },
    /// At the new speed, until the first whole frame.
    Trying {
        frames_in: u64,
        ask_at: Instant,
        is_asking: bool,
        until: Instant,
    },
}

impl Speed {
    pub(super) fn new(base: u32, wanted: Option<u32>) -> Self {
        let wanted = wanted.filter(|wanted| *wanted != base);
        Self { base, loading: None, wanted, current: base, state: State::Steady, failures: 0 }
    }

    pub(super) fn current(&self) -> u32 {
        self.current
    }

    pub(super) fn is_steady(&self) -> bool {
        self.state == State::Steady
    }

    /// Whether the new speed is tried: the link's clock stands still.
    pub(super) fn is_trying(&self) -> bool {
        matches!(self.state, State::Trying { .. })
    }

    /// When [`Board::advance_speed`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Steady | State::Asked(..) => None,
            State::Settling { idle_at, until } => Some(idle_at.min(until)),
            State::Trying { ask_at, until, .. } => Some(ask_at.min(until)),
        }
    }

    /// The line is used: it is idle only from here on.
    pub(super) fn handle_traffic(&mut self, now: Instant) {
        if let State::Settling { idle_at, .. } = &mut self.state {
            *idle_at = now + IDLE;
        }
    }
}

impl Board {
    /// Bits per second of the line now.
    pub fn baud(&self) -> u32 {
        self.speed.current()
    }

    /// Whether the line's speed is being changed; requests wait until that is over.
    pub fn is_changing_baud(&self) -> bool {
        !self.speed.is_steady()
    }

    /// The shell could not set the speed of [`BoardAction::SetBaud`]; `why` is for people.
    pub fn handle_baud_failed(&mut self, now: Instant, why: &str) {
        if self.speed.is_trying() {
            self.give_up_speed(why);
        } else if let Some(driver) = self.driver.as_mut().filter(|driver| driver.baud().is_some()) {
            driver.handle_baud_failed(why);
            self.read_driver(now);
            self.steer(now);
        }
    }

    /// A session begins, at the base speed.
    pub(super) fn begin_speed(&mut self, now: Instant) {
        let Some(baud) = self.speed.wanted.filter(|_| self.speed.failures < FAILURES_MAX) else {
            return;
        };
        let confirm_ms = CONFIRM.as_millis_ceil() as u32;
        let body = request::Baud { baud, confirm_ms };
        let id = self.client.request(now, &mut self.link, Method::BAUD, &body, &[], ANSWER_WITHIN);
        self.speed.state = State::Asked(id, now);
    }

    /// What became of the request, if `event` is about it.
    pub(super) fn is_about_speed(&mut self, now: Instant, event: &BoardEvent) -> bool {
        let State::Asked(id, asked_at) = self.speed.state else { return false };
        match event {
            BoardEvent::Answer { request, .. } if *request == id && now >= asked_at + CONFIRM => {
                // It was lost at first: the agent has tried alone meanwhile, and is back.
                self.speed.state = State::Steady;
                self.tell_kept("the agent's answer came too late");
            }
            BoardEvent::Answer { request, .. } if *request == id => {
                // The agent waits for the acknowledgement of its answer, then sends what it has begun.
                let frames = frame_time(self.speed.base).times(2);
                let until = now + AGENT_WAIT + frames + IDLE;
                self.speed.state = State::Settling { idle_at: now + IDLE, until };
            }
            BoardEvent::Failed { request, kind, text, .. } if *request == id => {
                let why = match (*kind, text.as_str()) {
                    (FailureKind::UNSUPPORTED, _) => {
                        "the agent is too old to change its speed".to_owned()
                    }
                    (kind, "") => format!("the agent said: {}", kind.phrase()),
                    (kind, text) => format!("the agent said: {text}: {}", kind.phrase()),
                };
                self.speed.state = State::Steady;
                self.tell_kept(&why);
            }
            BoardEvent::Expired { request } if *request == id => {
                self.speed.state = State::Steady;
                self.tell_kept("the agent gave no answer");
            }
            BoardEvent::Lost { request } if *request == id => self.speed.state = State::Steady,
            _ => return false,
        }
        true
    }

    /// The session ended because nothing was heard in it; at the new speed, that speaks against the speed.
    pub(super) fn handle_silence(&mut self) {
        if self.speed.current != self.speed.base {
            let why = format!("the agent fell silent at {} baud", self.speed.current);
            self.tell_kept(&why);
        }
    }

    /// Goes on as far as it can.
    pub(super) fn advance_speed(&mut self, now: Instant) {
        let driver = self.driver.as_ref().filter(|_| self.is_driving());
        self.speed.loading = driver.and_then(Driver::baud);
        if !self.link.is_open() {
            return self.rest_speed();
        }
        match self.speed.state {
            State::Steady | State::Asked(..) => {}
            State::Settling { idle_at, until } => {
                let is_idle = now >= idle_at && !self.link.owes_acknowledgement();
                if let Some(wanted) = self.speed.wanted
                    && (is_idle || now >= until)
                {
                    let frames_in = self.link.stats().frames_in;
                    // The agent's clock may have begun so much later, and its last answer takes a moment.
                    let until = now + CONFIRM + AGENT_WAIT + frame_time(self.speed.base).times(3);
                    self.speed.state =
                        State::Trying { frames_in, ask_at: now, is_asking: false, until };
                    self.turn_to(wanted);
                }
            }
            State::Trying { frames_in, .. } if self.link.stats().frames_in > frames_in => {
                self.speed.state = State::Steady;
                self.events.push(BoardEvent::Baud { baud: self.speed.current, problem: None });
            }
            State::Trying { until, .. } if now >= until => {
                self.give_up_speed("the agent did not answer at the new speed");
            }
            State::Trying { .. } => {}
        }
        if let State::Trying { ask_at, is_asking, .. } = &mut self.speed.state
            && now >= *ask_at
        {
            (*ask_at, *is_asking) = (now + ASK_EVERY, true);
            self.link.ping();
        }
    }

    /// Whether a frame may be sent now. While the speeds may differ: only what the change itself needs.
    pub(super) fn may_transmit(&mut self) -> bool {
        match &mut self.speed.state {
            State::Steady | State::Asked(..) => true,
            State::Settling { .. } => self.link.owes_acknowledgement(),
            State::Trying { is_asking, .. } => std::mem::take(is_asking),
        }
    }

    /// The link's deadlines, as far as it may do anything about them.
    pub(super) fn link_timeout(&self) -> Option<Instant> {
        let may_act = match self.speed.state {
            State::Steady | State::Asked(..) => true,
            State::Settling { .. } => self.link.owes_acknowledgement(),
            State::Trying { .. } => false,
        };
        self.link.poll_timeout().filter(|_| may_act)
    }

    /// The connection was closed: the next one begins at the base speed by itself.
    pub(super) fn forget_speed(&mut self) {
        self.speed.state = State::Steady;
        self.speed.current = self.speed.base;
        self.link.set_baud(self.speed.base);
    }

    /// There is no session: the agent is found at the base speed, as the boot loader is but for its files.
    fn rest_speed(&mut self) {
        if self.speed.is_trying() {
            self.tell_kept("the session ended meanwhile");
        }
        self.speed.state = State::Steady;
        self.turn_to(self.speed.loading.unwrap_or(self.speed.base));
    }

    fn give_up_speed(&mut self, why: &str) {
        self.speed.state = State::Steady;
        self.turn_to(self.speed.base);
        self.tell_kept(why);
        // The agent is back, or will be in a moment: it shall hear of us before it believes in silence.
        self.link.ping();
    }

    fn tell_kept(&mut self, why: &str) {
        self.speed.failures += 1;
        let last = if self.speed.failures >= FAILURES_MAX { "; not tried again" } else { "" };
        let problem = Some(format!("{why}{last}"));
        self.events.push(BoardEvent::Baud { baud: self.speed.base, problem });
    }

    fn turn_to(&mut self, baud: u32) {
        if self.speed.current != baud {
            self.speed.current = baud;
            self.link.set_baud(baud);
            self.actions.push_back(BoardAction::SetBaud(baud));
        }
    }
}

/// Time of the longest frame: 10 bits a byte.
fn frame_time(baud: u32) -> Duration {
    Duration::from_micros(LINE_MAX as u64 * 10_000_000 / u64::from(baud.max(1)))
}

/// How long an agent tries. Several questions fit in, also where a terminal server delays them; and both ends' silence,
/// one after the other, stays below the one that ends a session (6.5 s).
const CONFIRM: Duration = Duration::from_secs(3);

/// An agent whose answer is not acknowledged changes all the same after so long.
const AGENT_WAIT: Duration = Duration::from_millis(300);

/// A line on which nothing moved for so long has carried everything: an adapter hands over what it has after 16 ms.
const IDLE: Duration = Duration::from_millis(50);

/// How often the agent is asked at the new speed.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// The agent answers at once; the rest is for a bad line.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A line that failed so often stays as it is as long as this process lives.
const FAILURES_MAX: u32 = 2;
