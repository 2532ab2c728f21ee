//! The streams of a session: what is taken out of the frames that came, and put into the next one.

use super::super::Event;
use super::super::chunk::{
    CREDIT, Chunk, ChunkKind, RESET, STREAM_ID_MAX, VARINT_MAX, push_head, push_stream, push_varint,
};
use super::super::lane::Way;
use super::super::memory::{Body, Memory, Queue};
use super::super::stats::Stats;
use super::super::stream::{BULK_FLOOR, End, Priority, Stream};
use super::Session;

impl<const WINDOW: usize, const STREAMS: usize, const SEND: usize, M: Memory>
    Session<WINDOW, STREAMS, SEND, M>
{
    /// The next bytes or the end of a stream: what [`Self::event`] tells the owner.
    pub(in crate::link) fn next_chunk(&mut self, stats: &mut Stats) -> Option<Chunk> {
        while !self.is_broken {
            let body = self.receiver.front()?;
            if self.cursor >= body.len() {
                self.receiver.pop();
                self.cursor = 0;
                continue;
            }
            let Some((chunk, next)) = Chunk::parse(body, self.cursor) else {
                self.is_broken = true;
                return None;
            };
            self.cursor = next;
            if self.handle_chunk(chunk, stats) {
                return Some(chunk);
            }
        }
        None
    }

    /// The event of a chunk just taken.
    pub(in crate::link) fn event(&self, chunk: Chunk) -> Event<'_> {
        let stream = chunk.stream;
        match chunk.kind {
            ChunkKind::Data { start, end } => {
                let body = self.receiver.front().unwrap_or_default();
                Event::Data { stream, bytes: body.get(start..end).unwrap_or_default() }
            }
            ChunkKind::End => Event::Finished { stream },
            ChunkKind::Credit(_) | ChunkKind::Reset => Event::Reset { stream },
        }
    }

    pub(in crate::link) fn open_stream(&mut self, id: u8, priority: Priority) -> bool {
        if !self.is_open || id == 0 || id > STREAM_ID_MAX {
            return false;
        }
        self.close_stream(id);
        if self.streams.is_full() {
            // What has been sent to its end needs no slot any more: repetitions come from the frames.
            if let Some(index) = self.streams.iter().position(|stream| stream.end == End::Sent) {
                self.streams.remove(index);
            }
        }
        self.streams.push(Stream::new(id, priority)).is_ok()
    }

    pub(in crate::link) fn close_stream(&mut self, id: u8) {
        self.streams.retain(|stream| stream.id != id);
    }

    pub(in crate::link) fn write(&mut self, id: u8, bytes: &[u8]) -> usize {
        let behind = self.control.written();
        if !self.is_open {
            return 0;
        }
        self.stream_mut(id).map_or(0, |stream| {
            stream.behind.get_or_insert(behind);
            stream.write(bytes)
        })
    }

    pub(in crate::link) fn room(&self, id: u8) -> usize {
        if self.is_open {
            self.stream(id).map_or(0, |stream| SEND - stream.waiting.len())
        } else {
            0
        }
    }

    pub(in crate::link) fn unsent(&self, id: u8) -> usize {
        self.stream(id).map_or(0, |stream| stream.waiting.len())
    }

    pub(in crate::link) fn finish(&mut self, id: u8) {
        let behind = self.control.written();
        if let Some(stream) = self.stream_mut(id) {
            stream.behind.get_or_insert(behind);
            if stream.end == End::No {
                stream.end = End::Asked;
            }
        }
    }

    pub(in crate::link) fn reset_stream(&mut self, id: u8) {
        let written = self.control.written();
        if let Some(stream) = self.stream_mut(id) {
            stream.waiting.clear();
            stream.end = End::Sent;
            self.resets_due |= 1 << id;
            self.resets_behind = written;
        }
    }

    pub(in crate::link) fn grant(&mut self, id: u8, bytes: usize) {
        let behind = self.control.written();
        if let Some(stream) = self.stream_mut(id) {
            stream.behind.get_or_insert(behind);
            stream.grant(bytes);
        }
    }

    /// Does what the link itself must do for a chunk, and returns whether the owner must know.
    fn handle_chunk(&mut self, chunk: Chunk, stats: &mut Stats) -> bool {
        let Some(stream) = self.stream_mut(chunk.stream) else {
            if let ChunkKind::Data { start, end } = chunk.kind {
                stats.unclaimed_bytes += (end - start) as u64;
            }
            return false;
        };
        match chunk.kind {
            ChunkKind::Credit(offset) => {
                stream.handle_credit(offset);
                return false;
            }
            ChunkKind::Data { start, end } => {
                if !stream.handle_data(end - start) {
                    self.is_broken = true;
                    return false;
                }
            }
            ChunkKind::Reset => {
                stream.waiting.clear();
                stream.end = End::Sent;
                stream.is_ended = true;
            }
            ChunkKind::End => stream.is_ended = true,
        }
        true
    }

    /// Fills the next body with chunks that go this way; `false` when there is nothing to send.
    #[inline(never)] // Two copies would cost the agent more than a call does.
    pub(super) fn fill(&mut self, way: Way) -> bool {
        let bulk_way = if self.lane.carries_bulk() { Way::Lane } else { Way::Line };
        let goes = |priority| way == if priority == Priority::Bulk { bulk_way } else { Way::Line };
        let body = self.sender.vacant();
        // On the lane, too: the line may have to carry it in the end.
        let limit = self.body_now;
        let control_sent = self.control.sent();
        for stream in core::iter::once(&mut self.control).chain(&mut self.streams) {
            let is_behind = stream.behind.is_some_and(|written| control_sent < written);
            if stream.id != 0 && is_behind || !goes(stream.priority) {
                continue;
            }
            if let Some(offset) = stream.credit_due() {
                if body.len() + 1 + VARINT_MAX <= limit {
                    push_head(body, CREDIT, false, stream.id);
                    push_varint(body, offset);
                    stream.credit_told();
                }
            }
        }
        let may_reset = way == Way::Line && control_sent >= self.resets_behind;
        while self.resets_due != 0 && may_reset && body.len() < limit {
            push_head(body, RESET, false, self.resets_due.trailing_zeros() as u8);
            self.resets_due &= self.resets_due - 1;
        }
        let bulk_first = self.since_bulk + 1 >= BULK_FLOOR;
        let order: &[Priority] = if bulk_first {
            &[Priority::Bulk, Priority::Control, Priority::Interactive]
        } else {
            &[Priority::Control, Priority::Interactive, Priority::Bulk]
        };
        self.turn += 1;
        let mut has_bulk = false;
        for priority in order.iter().filter(|priority| goes(**priority)) {
            if *priority == Priority::Control {
                push_stream(body, limit, &mut self.control);
            }
            let control_sent = self.control.sent();
            // Streams of one class take turns: who had none for longest is first. Everyone is asked once.
            let mut asked = 0u32;
            loop {
                let next = self
                    .streams
                    .iter_mut()
                    .filter(|stream| stream.priority == *priority && asked >> stream.id & 1 == 0)
                    .min_by_key(|stream| stream.turn);
                let Some(stream) = next else { break };
                asked |= 1 << stream.id;
                let is_behind = stream.behind.is_some_and(|written| control_sent < written);
                if !is_behind && push_stream(body, limit, stream) {
                    stream.turn = self.turn;
                    has_bulk |= *priority == Priority::Bulk;
                }
            }
        }
        if way == Way::Line {
            self.since_bulk = if has_bulk { 0 } else { (self.since_bulk + 1).min(BULK_FLOOR) };
        }
        !body.is_empty()
    }

    fn stream(&self, id: u8) -> Option<&Stream<SEND, M>> {
        if id == 0 {
            Some(&self.control)
        } else {
            self.streams.iter().find(|stream| stream.id == id)
        }
    }

    fn stream_mut(&mut self, id: u8) -> Option<&mut Stream<SEND, M>> {
        if id == 0 {
            Some(&mut self.control)
        } else {
            self.streams.iter_mut().find(|stream| stream.id == id)
        }
    }
}
