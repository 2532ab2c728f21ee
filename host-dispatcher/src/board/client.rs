//! Requests to an agent: ids, deadlines, the messages of stream 0, and which streams belong to which request.
//!
//! Guarantees that every request ends in exactly one of answer, failure, loss or expiry; that a stream's bytes never
//! overtake its request; and that a stream id is not used again while the agent may still send on its last use. Knows
//! nothing of what methods mean: whether a lost request may be asked again is the owner's decision.

use std::collections::VecDeque;

use serde::Serialize;

use super::event::BoardEvent;
use super::link_memory::HostLink;
use agent_core::link::Priority;
use agent_core::time::{Duration, Instant};
use agent_core::wire::codec;
use agent_core::wire::envelope::{self, BadEnvelope};
use agent_core::wire::{Envelope, Failure, FailureKind, MESSAGE_MAX, Method};

/// A request, unique in the life of its board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);

/// Who sends on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The dispatcher.
    ToBoard,
    /// The agent.
    FromBoard,
}

/// The requests of one board.
#[derive(Clone, Debug)]
pub struct Client {
    last_id: u32,
    waiting: VecDeque<Waiting>,
    open: Vec<Open>,
    streams: [Stream; STREAMS],
    uses: u64,
    incoming: Vec<u8>,
    events: VecDeque<BoardEvent>,
    strays: u64,
}

/// A request that is not, or not all, in the link.
#[derive(Clone, Debug)]
struct Waiting {
    open: Open,
    message: Vec<u8>,
    written: usize,
}

/// A request that has no answer.
#[derive(Clone, Debug)]
struct Open {
    id: RequestId,
    method: Method,
    deadline: Instant,
    /// Its owner has been told that it expired; the answer may still come.
    is_expired: bool,
    streams: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    use_: Use,
    /// When it was last freed, counted in uses, so that the one that rested longest is next.
    freed: u64,
    /// Not to be used before: what the agent sent before it read our reset may still come.
    rests_until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Free,
    Taken {
        priority: Priority,
        direction: Direction,
        is_live: bool,
        is_answered: bool,
        is_ended: bool,
    },
}

impl Client {
    /// No requests. Their ids begin at a number that `seed` gives and go on over sessions, so that an agent that is
    /// asked in a later one knows which was meant.
    pub fn new(seed: u64) -> Self {
        Self {
            // The upper half of Fibonacci hashing: seeds that are close give ids that are not.
            last_id: (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32,
            waiting: VecDeque::new(),
            open: Vec::new(),
            streams: [Stream { use_: Use::Free, freed: 0, rests_until: Instant::ZERO }; STREAMS],
            uses: 0,
            incoming: Vec::new(),
            events: VecDeque::new(),
            strays: 0,
        }
    }

    /// A stream for the next request; `None` when all are in use.
    pub fn open_stream(
        &mut self,
        now: Instant,
        priority: Priority,
        direction: Direction,
    ) -> Option<u8> {
        let rested = |stream: &&mut Stream| stream.use_ == Use::Free && now >= stream.rests_until;
        let (index, stream) = self
            .streams
            .iter_mut()
            .enumerate()
            .filter(|(_, stream)| rested(stream))
            .min_by_key(|(_, stream)| stream.freed)?;
        stream.use_ =
            Use::Taken { priority, direction, is_live: false, is_answered: false, is_ended: false };
        Some(id_of(index))
    }

    /// Asks something. `streams` are those that the body names, from [`Self::open_stream`]. The outcome is an event,
    /// also when there is no session or too much waits already.
    pub fn request<T: Serialize>(
        &mut self,
        now: Instant,
        link: &mut HostLink,
        method: Method,
        body: &T,
        streams: &[u8],
        deadline: Duration,
    ) -> RequestId {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let id = RequestId(self.last_id);
        let open = Open {
            id,
            method,
            deadline: now + deadline,
            is_expired: false,
            streams: streams.to_vec(),
        };
        let mut buffer = [0; MESSAGE_MAX];
        let failure = match envelope::encode(method, id.0, body, &mut buffer) {
            _ if !link.is_open() => Some(BoardEvent::Lost { request: id }),
            Err(_) => {
                Some(failed(id, FailureKind::TOO_LARGE, "the request does not fit into a message"))
            }
            Ok(_) if self.waiting.len() >= WAITING_MAX => {
                Some(failed(id, FailureKind::BUSY, "too many requests wait for this board"))
            }
            Ok(message) => {
                self.waiting.push_back(Waiting {
                    open: open.clone(),
                    message: message.to_vec(),
                    written: 0,
                });
                None
            }
        };
        if let Some(event) = failure {
            self.events.push_back(event);
            self.release(now, link, &open.streams, false);
        }
        self.pump(link);
        id
    }

    /// Moves waiting requests into the link as far as it takes them.
    pub fn pump(&mut self, link: &mut HostLink) {
        while let Some(first) = self.waiting.front_mut() {
            if first.written == 0 {
                if self.open.len() >= OPEN_MAX {
                    return;
                }
                // The agent may answer on them at once.
                for id in &first.open.streams {
                    if let Some(Stream { use_: Use::Taken { priority, .. }, .. }) =
                        slot(&mut self.streams, *id)
                    {
                        link.open(*id, *priority);
                    }
                }
            }
            first.written += link.write(0, &first.message[first.written..]);
            if first.written < first.message.len() {
                return;
            }
            let Some(done) = self.waiting.pop_front() else { return };
            for id in &done.open.streams {
                // From here on: the link keeps a stream's bytes behind what was written to stream 0 before them.
                if let Some(Stream { use_: Use::Taken { is_live, .. }, .. }) =
                    slot(&mut self.streams, *id)
                {
                    *is_live = true;
                }
            }
            self.open.push(done.open);
        }
    }

    /// Whether a stream's request is on its way, so that it can be written to.
    pub fn is_live(&self, stream: u8) -> bool {
        let index = index_of(stream);
        let slot = index.and_then(|index| self.streams.get(index));
        matches!(slot, Some(Stream { use_: Use::Taken { is_live: true, .. }, .. }))
    }

    /// Whether a stream for bulk is in use.
    pub fn has_bulk(&self) -> bool {
        let is_bulk =
            |use_| matches!(use_, Use::Taken { priority: Priority::Bulk, is_ended: false, .. });
        self.streams.iter().any(|stream| is_bulk(stream.use_))
    }

    /// The owner gave a stream up.
    pub fn handle_own_reset(&mut self, now: Instant, stream: u8) {
        self.end(now, stream, true);
    }

    /// The agent has ended a stream, or wants no more of it.
    pub fn handle_ended(&mut self, now: Instant, stream: u8) {
        self.end(now, stream, false);
    }

    /// Bytes of stream 0 came.
    ///
    /// # Errors
    /// [`BadEnvelope`]: the messages behind it cannot be found; the session is of no use any more.
    pub fn handle_messages(
        &mut self,
        now: Instant,
        link: &mut HostLink,
        bytes: &[u8],
    ) -> Result<(), BadEnvelope> {
        self.incoming.extend_from_slice(bytes);
        link.grant(0, bytes.len());
        let incoming = std::mem::take(&mut self.incoming);
        let mut rest = &incoming[..];
        while let Some((envelope, used)) = Envelope::parse(rest)? {
            self.handle_message(now, link, &envelope);
            rest = &rest[used..];
        }
        self.incoming.extend_from_slice(rest);
        self.pump(link);
        Ok(())
    }

    /// The session is over: so is everything in it.
    pub fn handle_closed(&mut self) {
        let waiting = self.waiting.drain(..).map(|waiting| waiting.open);
        for open in self.open.drain(..).chain(waiting).filter(|open| !open.is_expired) {
            self.events.push_back(BoardEvent::Lost { request: open.id });
        }
        for stream in &mut self.streams {
            stream.use_ = Use::Free;
            stream.rests_until = Instant::ZERO;
        }
        self.incoming.clear();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant, link: &mut HostLink) {
        let is_due = |open: &Open| !open.is_expired && now >= open.deadline;
        let waiting = self.waiting.iter_mut().map(|waiting| &mut waiting.open);
        for open in self.open.iter_mut().chain(waiting).filter(|open| is_due(open)) {
            open.is_expired = true;
            self.events.push_back(BoardEvent::Expired { request: open.id });
        }
        // What the link has none of is not asked at all.
        while let Some(index) =
            self.waiting.iter().position(|w| w.open.is_expired && w.written == 0)
        {
            if let Some(gone) = self.waiting.remove(index) {
                self.release(now, link, &gone.open.streams, false);
            }
        }
    }

    /// What became of requests.
    pub fn poll_event(&mut self) -> Option<BoardEvent> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waiting = self.waiting.iter().map(|waiting| &waiting.open);
        self.open
            .iter()
            .chain(waiting)
            .filter(|open| !open.is_expired)
            .map(|open| open.deadline)
            .min()
    }

    /// Messages that answered nothing.
    pub fn strays(&self) -> u64 {
        self.strays
    }

    fn handle_message(&mut self, now: Instant, link: &mut HostLink, envelope: &Envelope<'_>) {
        let id = RequestId(envelope.request);
        let Some(index) = self.open.iter().position(|open| open.id == id) else {
            self.strays += 1;
            return;
        };
        let open = self.open.swap_remove(index);
        let event = if envelope.method == open.method {
            BoardEvent::Answer { request: id, method: open.method, body: envelope.body.to_vec() }
        } else if envelope.method == Method::FAILED {
            match codec::decode::<Failure<'_>>(envelope.body) {
                Ok(Failure { kind, os_error, text }) => {
                    BoardEvent::Failed { request: id, kind, os_error, text: text.to_owned() }
                }
                Err(_) => failed(id, FailureKind::BAD_MESSAGE, "the failure could not be read"),
            }
        } else {
            failed(id, FailureKind::BAD_MESSAGE, "the answer is one to another question")
        };
        let is_answer = matches!(event, BoardEvent::Answer { .. });
        if !open.is_expired {
            self.events.push_back(event);
        }
        self.release(now, link, &open.streams, is_answer);
    }

    /// A request is over. After an answer the agent still ends what it sends; after a failure it need not.
    fn release(&mut self, now: Instant, link: &mut HostLink, streams: &[u8], is_answer: bool) {
        for id in streams {
            let Some(stream) = slot(&mut self.streams, *id) else { continue };
            let Use::Taken { direction, is_live, is_answered, is_ended, .. } = &mut stream.use_
            else {
                continue;
            };
            *is_answered = true;
            if *direction == Direction::ToBoard && *is_live && link.unsent(*id) > 0 {
                link.reset(*id);
            }
            if *direction == Direction::ToBoard || !*is_live {
                *is_ended = true;
            } else if !is_answer && !*is_ended {
                *is_ended = true;
                stream.rests_until = now + REST;
            }
        }
        for id in streams {
            self.free_if_over(*id);
        }
    }

    fn end(&mut self, now: Instant, id: u8, is_own: bool) {
        let Some(stream) = slot(&mut self.streams, id) else { return };
        if let Use::Taken { is_ended, .. } = &mut stream.use_ {
            *is_ended = true;
            if is_own {
                stream.rests_until = now + REST;
            }
        }
        self.free_if_over(id);
    }

    fn free_if_over(&mut self, id: u8) {
        let uses = &mut self.uses;
        if let Some(stream) = slot(&mut self.streams, id)
            && matches!(stream.use_, Use::Taken { is_answered: true, is_ended: true, .. })
        {
            *uses += 1;
            stream.use_ = Use::Free;
            stream.freed = *uses;
        }
    }
}

fn failed(request: RequestId, kind: FailureKind, text: &str) -> BoardEvent {
    BoardEvent::Failed { request, kind, os_error: 0, text: text.to_owned() }
}

/// The dispatcher's ids are the odd ones: 1, 3, … 31.
fn id_of(index: usize) -> u8 {
    index as u8 * 2 + 1
}

fn index_of(id: u8) -> Option<usize> {
    (id % 2 == 1).then_some(usize::from(id / 2))
}

fn slot(streams: &mut [Stream; STREAMS], id: u8) -> Option<&mut Stream> {
    streams.get_mut(index_of(id)?)
}

/// The odd ids below the link's 32 streams.
const STREAMS: usize = 16;

/// An agent has eight slots for operations; one is left for the board's own restart.
const OPEN_MAX: usize = 7;

/// More than a job ever asks ahead; a bound against an owner gone wild.
const WAITING_MAX: usize = 64;

/// In this time at most one credit's worth (2 KiB) of bytes and their retransmissions arrive at 9600 baud.
const REST: Duration = Duration::from_secs(10);
