//! The side lane of a session: the shell listens, the agent is told over the line where and with which token, and bulk
//! goes there for as long as it can. Everything works without it; what was on it when it ends comes by the line.
//! docs/protocol.md, "Side lane", has the rules; `agent_core::link` carries them out.

use std::net::IpAddr;

use super::Board;
use super::client::RequestId;
use super::event::{BoardAction, BoardEvent};
use agent_core::link::{LANE_FRAME_MAX, LaneEnd};
use agent_core::time::{Duration, Instant};
use agent_core::wire::{FailureKind, Method, request};

/// Where an agent finds this host, and what it has to say there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LaneOffer {
    /// As the board sees it.
    pub address: IpAddr,
    /// TCP port.
    pub port: u16,
    /// Good for one connection.
    pub token: [u8; request::Lane::TOKEN_LEN],
}

/// How a lane begins and ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneState {
    /// Bulk goes there from now on.
    Open,
    /// It could not be opened, and why.
    Refused(String),
    /// It ended, and why.
    Ended {
        /// That, for people.
        why: String,
        /// There was bulk on its way, which goes over the line now.
        was_used: bool,
    },
}

/// How far the lane is.
#[derive(Clone, Debug)]
pub(super) struct SideLane {
    state: State,
    /// None is asked for before.
    next_at: Instant,
    /// Why the last one was refused or ended.
    problem: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    None,
    /// The shell is asked to listen.
    Wanted,
    /// The agent is asked to come.
    Asked(RequestId),
    Open,
}

impl Default for SideLane {
    fn default() -> Self {
        Self { state: State::None, next_at: Instant::ZERO, problem: None }
    }
}

impl Board {
    /// The shell listens, or cannot and says why. The token must be new.
    pub fn handle_lane_offer(&mut self, now: Instant, offer: Result<LaneOffer, String>) {
        if self.lane.state != State::Wanted || !self.link.is_open() {
            return self.drop_lane();
        }
        let LaneOffer { address, port, token } = match offer {
            Ok(offer) => offer,
            Err(why) => return self.refuse_lane(now, &why),
        };
        let address = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let body = request::Lane { address: &address, port, token: &token };
        let id = self.client.request(now, &mut self.link, Method::LANE, &body, &[], ANSWER_WITHIN);
        self.lane.state = State::Asked(id);
        self.read_client(now);
    }

    /// The agent has come, with the token.
    pub fn handle_lane_opened(&mut self, now: Instant) {
        if !matches!(self.lane.state, State::Asked(_)) || !self.link.open_lane(true) {
            return self.drop_lane();
        }
        self.lane.state = State::Open;
        self.lane.problem = None;
        self.events.push(BoardEvent::Lane { state: LaneState::Open });
        self.steer(now);
    }

    /// Bytes came over the lane.
    pub fn handle_lane_bytes(&mut self, now: Instant, bytes: &[u8]) {
        // What a session leaves unread is nobody's.
        if self.lane.state == State::Open {
            for piece in bytes.chunks(PIECE_BYTES) {
                self.link.handle_lane_input(now, piece);
                self.read_link(now);
            }
        }
        self.steer(now);
    }

    /// The connection has ended, or nobody came; `why` is for people.
    pub fn handle_lane_closed(&mut self, now: Instant, why: &str) {
        match self.lane.state {
            State::None => {}
            State::Wanted | State::Asked(_) => self.refuse_lane(now, why),
            State::Open => self.end_lane(now, why),
        }
        self.steer(now);
    }

    /// The next bytes for the lane: one frame.
    pub fn poll_lane_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.lane.state != State::Open {
            return None;
        }
        let mut frame = [0; LANE_FRAME_MAX];
        let length = self.link.poll_lane_transmit(now, &mut frame)?;
        Some(frame[..length].to_vec())
    }

    /// Whether bulk goes over the lane.
    pub fn has_lane(&self) -> bool {
        self.lane.state == State::Open
    }

    /// Why the last lane was refused or ended; `None` when there is one, or it was not tried.
    pub fn lane_problem(&self) -> Option<&str> {
        self.lane.problem.as_deref()
    }

    /// Whether the lane was asked for, and it is not known yet whether the board comes.
    pub fn is_lane_awaited(&self) -> bool {
        matches!(self.lane.state, State::Wanted | State::Asked(_))
    }

    /// For so long everything goes over the line: it is the line that is measured.
    pub fn keep_to_line(&mut self, now: Instant, period: Duration) {
        self.lane.next_at = self.lane.next_at.max(now + period);
        self.drop_lane();
    }

    /// There is bulk: a lane is of use, where there may be one.
    pub fn want_lane(&mut self, now: Instant) {
        let is_possible = self.spec.has_side_lane && self.link.is_open();
        if is_possible && self.lane.state == State::None && now >= self.lane.next_at {
            self.lane.state = State::Wanted;
            self.actions.push_back(BoardAction::OfferLane);
        }
    }

    /// A session begins: what kept the last one from a lane may be gone.
    pub(super) fn begin_lane(&mut self) {
        self.drop_lane();
        self.lane.next_at = Instant::ZERO;
    }

    /// What became of the request, if `event` is about it.
    pub(super) fn is_about_lane(&mut self, now: Instant, event: &BoardEvent) -> bool {
        let State::Asked(id) = self.lane.state else { return false };
        match event {
            // The connection itself tells when it is there.
            BoardEvent::Answer { request, .. } if *request == id => {}
            BoardEvent::Failed { request, kind, os_error, text } if *request == id => {
                let why = match (*kind, *os_error) {
                    (FailureKind::UNSUPPORTED, _) => "the agent is too old for one".to_owned(),
                    (_, 0) => format!("the agent said: {text}: {}", kind.phrase()),
                    (_, error) => {
                        let error = std::io::Error::from_raw_os_error(error).to_string();
                        let error = error.split(" (os error").next().unwrap_or_default();
                        format!("the board cannot connect to this host: {error}")
                    }
                };
                self.refuse_lane(now, &why);
            }
            BoardEvent::Expired { request } if *request == id => {
                self.refuse_lane(now, "the board could not connect to this host in time");
            }
            BoardEvent::Lost { request } if *request == id => self.drop_lane(),
            _ => return false,
        }
        true
    }

    /// Notices that the link has given the lane up, or that the session is over.
    pub(super) fn advance_lane(&mut self, now: Instant) {
        match self.lane.state {
            State::Open if !self.link.has_lane() => match self.link.lane_end() {
                Some(LaneEnd::Stalled) => self.end_lane(now, "nothing moved on it any more"),
                Some(LaneEnd::Damaged) => {
                    self.end_lane(now, "what came was no frame of the session")
                }
                None => self.drop_lane(),
            },
            State::Wanted | State::Asked(_) if !self.link.is_open() => self.drop_lane(),
            _ => {}
        }
    }

    fn refuse_lane(&mut self, now: Instant, why: &str) {
        self.lane.problem = Some(why.to_owned());
        self.tell_lane_end(now, LaneState::Refused(why.to_owned()));
    }

    fn end_lane(&mut self, now: Instant, why: &str) {
        self.lane.problem = Some(why.to_owned());
        let was_used = self.client.has_bulk();
        self.tell_lane_end(now, LaneState::Ended { why: why.to_owned(), was_used });
    }

    fn tell_lane_end(&mut self, now: Instant, state: LaneState) {
        self.drop_lane();
        self.lane.next_at = self.lane.next_at.max(now + RETRY_AFTER);
        self.events.push(BoardEvent::Lane { state });
    }

    /// Ends whatever there is of a lane; nobody is told.
    fn drop_lane(&mut self) {
        if self.lane.state != State::None {
            self.lane.state = State::None;
            self.link.close_lane();
            self.actions.push_back(BoardAction::CloseLane);
        }
    }
}

impl std::fmt::Debug for LaneOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, port, .. } = self;
        f.debug_struct("LaneOffer")
            .field("address", address)
            .field("port", port)
            .finish_non_exhaustive()
    }
}

/// So much is handled before the board's streams are read: less than an agent may have on its way.
const PIECE_BYTES: usize = 4096;

/// Longer than the shell waits for the connection, which knows better why it did not come.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// A lane that failed is tried again with the next bulk after so long.
const RETRY_AFTER: Duration = Duration::from_secs(60);
