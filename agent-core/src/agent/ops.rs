//! The table of operations: which request opened what, which stream belongs to whom.

use super::deploy::Limits;
use super::effect::{Call, Command, Effect, Event, Op, Pipe, Target};
use super::exec::Exec;
use super::line_test::LineTest;
use super::pack::Packer;
use super::queue::{Queue, Queued};
use super::transfer::{self, Stage, Transfer};
use super::{AgentLink, OP_FAILURE_TEXT_MAX, OPS_MAX, send, shortened};
use crate::link::Priority;
use crate::time::{Duration, Instant};
use crate::wire::response::{self, Written};
use crate::wire::{Envelope, Failure, FailureKind, Method, codec, request};
use heapless::Vec;
use sha2::{Digest, Sha256};

/// The answer to a reboot gets so long to reach the dispatcher.
const REBOOT_WAIT: Duration = Duration::from_millis(300);

/// See the module.
#[derive(Debug)]
pub(super) struct Operations {
    slots: [Slot; OPS_MAX],
    /// Of the one transfer that is packed.
    packer: Packer,
    /// Of the bins that a plan may have.
    pub(super) limits: Limits,
    reboot: Option<(Instant, u8)>,
}

#[derive(Clone, Debug)]
enum Slot {
    Free,
    /// The running test's.
    Reserved,
    Exec {
        request: u32,
        exec: Exec,
    },
    Transfer {
        request: u32,
        transfer: Transfer,
        stage: Stage,
    },
    LineTest {
        request: u32,
        test: LineTest,
    },
}

/// A piece of a stream, as it came in one frame.
#[derive(Debug)]
pub(super) struct Piece<const N: usize> {
    stream: u8,
    pub(super) bytes: Vec<u8, N>,
    done: usize,
}

/// What a piece of bytes is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum PieceKind {
    Write,
    Input,
}

/// What became of the front of a piece.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// Its operation is not ready.
    Wait,
    /// Some of it was dealt with.
    Again,
    /// These bytes are for the interpreter.
    Effect { op: Op, start: usize, end: usize, kind: PieceKind },
}

impl<const N: usize> Piece<N> {
    pub(super) fn new() -> Self {
        Self { stream: 0, bytes: Vec::new(), done: 0 }
    }

    pub(super) fn begin(&mut self, stream: u8, bytes: &[u8]) {
        self.stream = stream;
        self.bytes.clear();
        self.done = 0;
        // A frame's body always fits.
        let _ = self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn is_done(&self) -> bool {
        self.done >= self.bytes.len()
    }

    pub(super) fn drop_it(&mut self) {
        self.done = self.bytes.len();
    }

    fn take(&mut self, count: usize) -> (usize, usize) {
        let start = self.done;
        self.done += count;
        (start, self.done)
    }
}

impl Operations {
    pub(super) fn new() -> Self {
        Self {
            slots: core::array::from_fn(|_| Slot::Free),
            packer: Packer::new(),
            limits: Limits::STANDARD,
            reboot: None,
        }
    }

    /// A slot for the running test.
    pub(super) fn reserve(&mut self) -> Option<Op> {
        let index = self.slots.iter().position(|slot| matches!(slot, Slot::Free))?;
        self.slots[index] = Slot::Reserved;
        Some(Op(index as u8))
    }

    /// The slot is free again.
    pub(super) fn free(&mut self, op: Op) {
        if let Some(slot) = self.slots.get_mut(usize::from(op.0)) {
            *slot = Slot::Free;
        }
    }

    /// Begins what a request asks for; `None` when it is a [`Call`] and needs no slot. `kept_free` slots are not for
    /// it, and neither is the `live` log's stream.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        envelope: &Envelope<'_>,
        kept_free: usize,
        live: Option<u8>,
        link: &mut AgentLink,
    ) -> Result<Option<Op>, Failure<'static>> {
        if is_call(envelope)? {
            return Ok(None);
        }
        let request = envelope.request;
        let (index, slot) = match envelope.method {
            Method::EXEC => {
                let body: request::Exec<'_> = body(envelope)?;
                if body.argv.is_empty() || !are_words(body.argv) || !are_words(body.env) {
                    return Err(bad_message());
                }
                let index = self.vacant(kept_free)?;
                let mut streams: Vec<u8, 3> = Vec::new();
                for stream in [body.stdin, body.stdout, body.stderr] {
                    if stream != 0 {
                        let _ = streams.push(stream);
                    }
                }
                self.claim(&streams, live, Priority::Interactive, link)?;
                (index, Slot::Exec { request, exec: Exec::new(now, &body) })
            }
            _ => {
                let transfer = begin_transfer(envelope)?;
                let is_packed =
                    |transfer: &Transfer| matches!(transfer, Transfer::Get { is_packed: true, .. });
                if is_packed(&transfer) {
                    let is_busy = self.slots.iter().any(
                        |slot| matches!(slot, Slot::Transfer { transfer, .. } if is_packed(transfer)),
                    );
                    if is_busy {
                        return Err(transfer::failure(FailureKind::BUSY, "the packer"));
                    }
                    self.packer.clear();
                }
                let is_plan = |transfer: &Transfer| matches!(transfer, Transfer::Plan { .. });
                let is_busy = self.slots.iter().any(
                    |slot| matches!(slot, Slot::Transfer { transfer, .. } if is_plan(transfer)),
                );
                if is_busy && is_plan(&transfer) {
                    return Err(transfer::failure(FailureKind::BUSY, "a plan"));
                }
                let index = self.vacant(kept_free)?;
                if let Some(stream) = transfer.stream() {
                    self.claim(&[stream], live, Priority::Bulk, link)?;
                }
                (index, Slot::Transfer { request, transfer, stage: Stage::Opening })
            }
        };
        self.slots[index] = slot;
        Ok(Some(Op(index as u8)))
    }

    /// Begins a line test, which needs nothing of the interpreter. `kept_free` and `live` as for [`Self::begin`].
    pub(super) fn begin_line_test(
        &mut self,
        request: u32,
        body: request::LineTest,
        kept_free: usize,
        live: Option<u8>,
        link: &mut AgentLink,
    ) -> Result<(), Failure<'static>> {
        let test = LineTest::new(body).ok_or_else(bad_message)?;
        let index = self.vacant(kept_free)?;
        let streams = [body.to_board, body.from_board];
        let named = match streams {
            [0, _] => &streams[1..],
            [_, 0] => &streams[..1],
            _ => &streams,
        };
        self.claim(named, live, Priority::Bulk, link)?;
        test.begin(link);
        self.slots[index] = Slot::LineTest { request, test };
        Ok(())
    }

    /// Opens streams that a request names: none of them 0, in use or named twice.
    pub(super) fn claim(
        &self,
        streams: &[u8],
        live: Option<u8>,
        priority: Priority,
        link: &mut AgentLink,
    ) -> Result<(), Failure<'static>> {
        for (index, stream) in streams.iter().enumerate() {
            if !(1..=STREAM_MAX).contains(stream) || streams[..index].contains(stream) {
                return Err(transfer::failure(FailureKind::BAD_MESSAGE, "no such stream"));
            }
            let is_used = self.slots.iter().any(|slot| slot.has(*stream));
            if is_used || live == Some(*stream) || link.unsent(*stream) > 0 {
                return Err(transfer::failure(FailureKind::BUSY, "a stream"));
            }
        }
        for (index, stream) in streams.iter().enumerate() {
            if !link.open(*stream, priority) {
                for opened in &streams[..index] {
                    link.close_stream(*opened);
                }
                return Err(transfer::failure(FailureKind::BUSY, "all streams"));
            }
        }
        Ok(())
    }

    fn vacant(&self, kept_free: usize) -> Result<usize, Failure<'static>> {
        let mut free = (0..OPS_MAX).filter(|index| matches!(self.slots[*index], Slot::Free));
        let first = free.next();
        let index = first.filter(|_| free.count() >= kept_free);
        index.ok_or_else(|| transfer::failure(FailureKind::BUSY, "all operations"))
    }

    /// Something happened to an operation.
    pub(super) fn handle_event(
        &mut self,
        now: Instant,
        event: Event<'_>,
        link: &mut AgentLink,
        queue: &mut Queue,
    ) {
        let op = match event {
            Event::Opened { op, .. }
            | Event::Bytes { op, .. }
            | Event::Worked { op, .. }
            | Event::Committed { op }
            | Event::Failed { op, .. }
            | Event::Spawned { op }
            | Event::Output { op, .. }
            | Event::InputTaken { op, .. }
            | Event::Exited { op, .. } => op,
            Event::Kernel { .. }
            | Event::UserConsole { .. }
            | Event::UserConsoleFull
            | Event::BaudSet
            | Event::BaudFailed { .. }
            | Event::OutputLost { .. }
            | Event::WatchdogFailed { .. }
            | Event::RunFileFailed { .. }
            | Event::ClientGone { .. }
            | Event::Signal { .. } => return,
        };
        let Some(slot) = self.slots.get_mut(usize::from(op.0)) else { return };
        match (slot, event) {
            (Slot::Exec { exec, .. }, Event::Output { pipe, bytes, .. }) => {
                exec.handle_output(now, pipe, bytes, link);
            }
            (Slot::Exec { exec, .. }, Event::InputTaken { bytes, .. }) => {
                exec.handle_input_taken(bytes, link);
            }
            (Slot::Exec { exec, .. }, Event::Exited { exit, .. }) => exec.handle_exit(now, exit),
            (
                Slot::Transfer { transfer, stage: stage @ (Stage::Opening | Stage::Ended), .. },
                Event::Opened { size, mode, .. },
            ) => {
                let has_ended = *stage == Stage::Ended;
                *stage = Stage::Moving;
                if let Err(failure) = transfer.handle_opened(size, mode, link) {
                    self.fail(op, &failure, link, queue);
                } else if has_ended {
                    self.commit(op, link, queue);
                }
            }
            (
                Slot::Transfer { request, transfer, stage: stage @ Stage::Reading },
                Event::Bytes { bytes, .. },
            ) => {
                *stage = Stage::Moving;
                let mut digest = [0; 32];
                match transfer.handle_bytes(bytes, link, &mut self.packer, &mut digest) {
                    Ok(None) => {}
                    Ok(Some(done)) => {
                        done.send(transfer.method(), *request, link);
                        queue.push(Queued::Close { op });
                        self.free(op);
                    }
                    Err(failure) => self.fail(op, &failure, link, queue),
                }
            }
            (
                Slot::Transfer { request, transfer, stage: stage @ Stage::Reading },
                Event::Worked { taken, bytes, has_more, written, .. },
            ) => {
                *stage = Stage::Moving;
                let limits = self.limits;
                let done = transfer.handle_worked(taken, bytes, has_more, written, link, limits);
                if let Some(done) = done {
                    done.send(transfer.method(), *request, link);
                    queue.push(Queued::Close { op });
                    self.free(op);
                } else if transfer.is_writing() && transfer.is_whole() {
                    self.commit(op, link, queue);
                }
            }
            (
                Slot::Transfer { request, transfer, stage: Stage::Committing },
                Event::Committed { .. },
            ) => {
                transfer::send_written(transfer, *request, link);
                if let Some(stream) = transfer.stream() {
                    link.close_stream(stream);
                }
                queue.push(Queued::Close { op });
                self.free(op);
            }
            (Slot::Exec { .. } | Slot::Transfer { .. }, Event::Failed { failure, .. }) => {
                self.fail(op, &failure, link, queue);
            }
            _ => {}
        }
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant, link: &mut AgentLink, queue: &mut Queue) {
        self.advance(now, link, queue);
    }

    /// Moves on whatever can move; whether anything did.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        link: &mut AgentLink,
        queue: &mut Queue,
    ) -> bool {
        for index in 0..OPS_MAX {
            let op = Op(index as u8);
            match &mut self.slots[index] {
                Slot::Exec { request, exec } => {
                    if let Some(exit) = exec.advance(now, op, link, queue) {
                        send(link, Method::EXEC, *request, &exit);
                        queue.push(Queued::Close { op });
                        self.free(op);
                    }
                }
                // Long work would keep the lane unread, and the dispatcher would think that it leads nowhere.
                Slot::Transfer { stage: Stage::Moving, .. }
                    if link.has_lane() && !link.is_drained() => {}
                Slot::Transfer {
                    transfer: Transfer::Get { stream, is_packed: true, .. },
                    stage: Stage::Moving,
                    ..
                } if !self.packer.send(*stream, link) => {}
                Slot::Transfer { transfer, stage: stage @ Stage::Moving, .. } => {
                    if let Some(read) = transfer.read(op, link) {
                        *stage = Stage::Reading;
                        queue.push(read);
                    }
                }
                Slot::LineTest { request, test } => {
                    if let Some(result) = test.advance(link) {
                        send(link, Method::LINE_TEST, *request, &result);
                        self.free(op);
                    }
                }
                Slot::Transfer { .. } | Slot::Reserved | Slot::Free => {}
            }
        }
        if let Some((_, how)) = self.reboot.take_if(|(at, _)| now >= *at) {
            queue.push(Queued::Reboot { how });
        }
        !queue.is_empty()
    }

    /// Works on the front of a piece of a stream.
    pub(super) fn work_on<const N: usize>(
        &mut self,
        piece: &mut Piece<N>,
        link: &mut AgentLink,
        queue: &mut Queue,
    ) -> Work {
        let stream = piece.stream;
        let Some((op, slot)) = self.of_stream(stream) else {
            piece.drop_it();
            return Work::Again;
        };
        let rest = &piece.bytes[piece.done..];
        let count = rest.len();
        let outcome = match slot {
            Slot::Exec { exec, .. } if exec.is_input(stream) => {
                let (start, end) = piece.take(count);
                return Work::Effect { op, start, end, kind: PieceKind::Input };
            }
            Slot::Transfer { stage: Stage::Opening | Stage::Ended, .. } => return Work::Wait,
            Slot::Transfer { transfer: Transfer::Put { size, received, hash, .. }, .. } => {
                *received += count as u64;
                hash.update(rest);
                if *received > *size {
                    Err(transfer::failure(FailureKind::TOO_LARGE, "more bytes than announced"))
                } else {
                    link.grant(stream, count);
                    let (start, end) = piece.take(count);
                    return Work::Effect { op, start, end, kind: PieceKind::Write };
                }
            }
            Slot::Transfer { transfer: Transfer::Plan { has_work, .. }, .. } => {
                *has_work = true;
                let (start, end) = piece.take(count);
                return Work::Effect { op, start, end, kind: PieceKind::Input };
            }
            Slot::LineTest { test, .. } => {
                test.handle_bytes(stream, rest, link);
                piece.drop_it();
                Ok(())
            }
            _ => {
                piece.drop_it();
                Ok(())
            }
        };
        if let Err(failure) = outcome {
            piece.drop_it();
            self.fail(op, &failure, link, queue);
        }
        Work::Again
    }

    /// The dispatcher has sent everything on a stream.
    pub(super) fn handle_finished(&mut self, stream: u8, link: &mut AgentLink, queue: &mut Queue) {
        let Some((op, slot)) = self.of_stream(stream) else { return };
        match slot {
            Slot::Exec { exec, .. } if exec.is_input(stream) => queue.push(Queued::EndInput { op }),
            Slot::Transfer { transfer, stage, .. } if transfer.is_writing() => {
                if let Transfer::Plan { has_all, .. } = transfer {
                    *has_all = true;
                }
                match stage {
                    // A short file may have come before the place for it is open.
                    Stage::Opening => *stage = Stage::Ended,
                    Stage::Moving if transfer.is_whole() => self.commit(op, link, queue),
                    Stage::Moving | Stage::Ended | Stage::Reading | Stage::Committing => {}
                }
            }
            Slot::LineTest { test, .. } => test.handle_finished(stream, link),
            _ => {}
        }
    }

    /// Everything came: makes it durable, or says what is wrong with it.
    fn commit(&mut self, op: Op, link: &mut AgentLink, queue: &mut Queue) {
        let Some(Slot::Transfer { transfer, stage, .. }) = self.slots.get_mut(usize::from(op.0))
        else {
            return;
        };
        match transfer.handle_finished() {
            Ok(()) => {
                *stage = Stage::Committing;
                queue.push(Queued::Commit { op });
            }
            Err(failure) => self.fail(op, &failure, link, queue),
        }
    }

    /// The dispatcher gave up a stream: the transfer ends, a command's output is dropped.
    pub(super) fn handle_reset(&mut self, stream: u8, link: &mut AgentLink, queue: &mut Queue) {
        let Some((op, slot)) = self.of_stream(stream) else { return };
        match slot {
            Slot::Exec { exec, .. } => {
                if exec.is_input(stream) {
                    queue.push(Queued::EndInput { op });
                }
                exec.handle_reset(stream);
                link.close_stream(stream);
            }
            Slot::LineTest { test, .. } => test.handle_reset(stream, link),
            _ => self.fail(op, &transfer::failure(FailureKind::CANCELED, ""), link, queue),
        }
    }

    /// The session is over: what the dispatcher started ends, the test goes on. Of a command that has ended and whose
    /// output was still on its way, the exit status is noted.
    pub(super) fn handle_closed(&mut self, link: &mut AgentLink, queue: &mut Queue) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if let Slot::Exec { request, exec } = slot {
                if let Some(exit) = exec.exit() {
                    link.outcomes.note(Method::EXEC, *request, &exit);
                }
            }
            if matches!(slot, Slot::Exec { .. } | Slot::Transfer { .. }) {
                *slot = Slot::Free;
                queue.push(Queued::Close { op: Op(index as u8) });
            } else if matches!(slot, Slot::LineTest { .. }) {
                *slot = Slot::Free;
            }
        }
    }

    /// Signals the command that a request started.
    pub(super) fn signal(
        &mut self,
        request: u32,
        signal: request::Signal,
        link: &mut AgentLink,
        queue: &mut Queue,
    ) {
        let found = self.slots.iter().position(
            |slot| matches!(slot, Slot::Exec { request, .. } if *request == signal.request),
        );
        match found {
            Some(index) => {
                queue.push(Queued::Signal { op: Op(index as u8), signal: signal.signal });
                send(link, Method::SIGNAL, request, &response::Done {});
            }
            None => {
                let failure = transfer::failure(FailureKind::NOT_FOUND, "no such command runs");
                send(link, Method::FAILED, request, &failure);
            }
        }
    }

    /// Restarts or stops the board once the answer had its time.
    pub(super) fn reboot_when_sent(&mut self, now: Instant, how: u8) {
        self.reboot = Some((now + REBOOT_WAIT, how));
    }

    pub(super) fn output_room(&self, op: Op, pipe: Pipe, link: &AgentLink) -> usize {
        match self.slots.get(usize::from(op.0)) {
            Some(Slot::Exec { exec, .. }) => match exec.output(pipe) {
                0 => DROPPED_AT_ONCE,
                stream => link.room(stream),
            },
            _ => 0,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let children = self.slots.iter().filter_map(|slot| match slot {
            Slot::Exec { exec, .. } => exec.poll_timeout(),
            _ => None,
        });
        children.chain(self.reboot.map(|(at, _)| at)).min()
    }

    fn fail(&mut self, op: Op, failure: &Failure<'_>, link: &mut AgentLink, queue: &mut Queue) {
        let failure = &shortened(failure, OP_FAILURE_TEXT_MAX);
        let Some(slot) = self.slots.get_mut(usize::from(op.0)) else { return };
        match slot {
            Slot::Exec { request, exec } => {
                send(link, Method::FAILED, *request, failure);
                exec.close_streams(link);
            }
            Slot::Transfer { request, transfer, .. } => {
                send(link, Method::FAILED, *request, failure);
                if let Some(stream) = transfer.stream() {
                    link.reset(stream);
                }
            }
            Slot::LineTest { .. } | Slot::Reserved | Slot::Free => return,
        }
        *slot = Slot::Free;
        queue.push(Queued::Close { op });
    }

    fn of_stream(&mut self, stream: u8) -> Option<(Op, &mut Slot)> {
        self.slots
            .iter_mut()
            .enumerate()
            .find_map(|(index, slot)| slot.has(stream).then_some((Op(index as u8), slot)))
    }
}

impl Slot {
    /// Whether the stream belongs to it.
    fn has(&self, stream: u8) -> bool {
        match self {
            Self::Exec { exec, .. } => exec.has(stream),
            Self::Transfer { transfer, .. } => transfer.stream() == Some(stream),
            Self::LineTest { test, .. } => test.has(stream),
            Self::Reserved | Self::Free => false,
        }
    }
}

/// Ids of streams are 5 bits.
const STREAM_MAX: u8 = 31;

/// Output that nobody wants is read in pieces of this size.
const DROPPED_AT_ONCE: usize = 4096;

/// The effect that a request asks for, once it has begun.
pub(super) fn request_effect<'a>(envelope: &Envelope<'a>, op: Option<Op>) -> Option<Effect<'a>> {
    let Some(op) = op else {
        let call = call(envelope).ok()??;
        return Some(Effect::Call { request: envelope.request, call });
    };
    let target = match envelope.method {
        Method::EXEC => {
            let command = Command::Exec(body(envelope).ok()?);
            return Some(Effect::Spawn { op, command });
        }
        Method::GET | Method::GET_PACKED => {
            Target::Get { path: body::<request::Get<'_>>(envelope).ok()?.path }
        }
        Method::FILE_HASH => {
            Target::Get { path: body::<request::FileHash<'_>>(envelope).ok()?.path }
        }
        Method::PUT => {
            let request::Put { path, mode, size, .. } = body(envelope).ok()?;
            Target::Put { path, mode, size }
        }
        Method::LIST => {
            let request::List { path, recursive, .. } = body(envelope).ok()?;
            Target::List { path, recursive }
        }
        Method::BLOCK_TREE => Target::Tree(body(envelope).ok()?),
        Method::BLOCK_PLAN => Target::Plan(body(envelope).ok()?),
        _ => return None,
    };
    Some(Effect::Open { op, target })
}

fn begin_transfer(envelope: &Envelope<'_>) -> Result<Transfer, Failure<'static>> {
    let hash = Sha256::new();
    Ok(match envelope.method {
        Method::GET | Method::GET_PACKED => {
            let request::Get { stream, offset, .. } = body(envelope)?;
            let is_packed = envelope.method == Method::GET_PACKED;
            Transfer::Get { stream, is_packed, offset, start: offset, mode: 0, hash }
        }
        Method::FILE_HASH => {
            let request::FileHash { offset, length, .. } = body(envelope)?;
            Transfer::Hash { offset, left: length, hash }
        }
        Method::LIST => {
            let request::List { stream, .. } = body(envelope)?;
            Transfer::List { stream, entries: 0 }
        }
        Method::PUT => {
            let request::Put { stream, size, sha256, .. } = body(envelope)?;
            let sha256 = match sha256.len() {
                0 => None,
                _ => Some(sha256.try_into().map_err(|_| bad_message())?),
            };
            Transfer::Put { stream, size, received: 0, sha256, hash }
        }
        Method::BLOCK_PLAN => {
            let request::BlockPlan { stream, sources, .. } = body(envelope)?;
            if !are_words(sources) {
                return Err(bad_message());
            }
            let written = Written { data_bytes: 0, zero_bytes: 0, copied_bytes: 0 };
            Transfer::Plan { stream, written, has_work: false, has_all: false }
        }
        Method::BLOCK_TREE => {
            let request::BlockTree { stream, width, .. } = body(envelope)?;
            Transfer::Tree { stream, width, size: 0, nodes: 0 }
        }
        _ => return Err(transfer::failure(FailureKind::UNSUPPORTED, "")),
    })
}

fn is_call(envelope: &Envelope<'_>) -> Result<bool, Failure<'static>> {
    Ok(call(envelope)?.is_some())
}

fn call<'a>(envelope: &Envelope<'a>) -> Result<Option<Call<'a>>, Failure<'static>> {
    Ok(Some(match envelope.method {
        Method::INFO => Call::Info,
        Method::CLOCK => Call::Clock(body(envelope)?),
        Method::LINE => Call::Line,
        Method::CLOCK_MARK => Call::ClockMark,
        Method::STAT => Call::Stat(body(envelope)?),
        Method::REMOVE => Call::Remove(body(envelope)?),
        Method::PARTITION => Call::Partition(body(envelope)?),
        Method::MOUNT => Call::Mount(body(envelope)?),
        Method::UNMOUNT => Call::Unmount(body(envelope)?),
        Method::INJECT => Call::Inject(body(envelope)?),
        Method::SYNC => Call::Sync,
        Method::LANE => Call::Lane(lane(envelope)?),
        _ => return Ok(None),
    }))
}

fn lane<'a>(envelope: &Envelope<'a>) -> Result<request::Lane<'a>, Failure<'static>> {
    let lane: request::Lane<'a> = body(envelope)?;
    let is_address = matches!(lane.address.len(), 4 | 16);
    if is_address && lane.token.len() == request::Lane::TOKEN_LEN {
        Ok(lane)
    } else {
        Err(bad_message())
    }
}

fn body<'a, T: serde::Deserialize<'a>>(envelope: &Envelope<'a>) -> Result<T, Failure<'static>> {
    codec::decode(envelope.body).map_err(|_| bad_message())
}

/// Whether every word ends with a NUL.
fn are_words(bytes: &[u8]) -> bool {
    bytes.last().is_none_or(|last| *last == 0)
}

fn bad_message() -> Failure<'static> {
    transfer::failure(FailureKind::BAD_MESSAGE, "")
}
