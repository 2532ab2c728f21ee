//! Where a dispatcher's links keep what waits: on the heap, and only while it waits.
//!
//! Inside of the link it would be 120 KiB a board, of which a line at 115200 baud needs some frames at a time.

use std::collections::VecDeque;

use agent_core::link::frame::BODY_MAX;
use agent_core::link::{Body, HostLinkIn, Memory, Queue};

/// The host's link.
pub type HostLink = HostLinkIn<OnHeap>;

/// Buffers that are there while something is in them.
#[derive(Clone, Copy, Debug)]
pub struct OnHeap;

impl Memory for OnHeap {
    type Body = HeapBody;
    type Queue<const SEND: usize> = HeapQueue;
}

/// The body of a frame.
#[derive(Debug, Default)]
pub struct HeapBody(Vec<u8>);

/// What waits on a stream; how much that is the link sees to.
#[derive(Debug, Default)]
pub struct HeapQueue(VecDeque<u8>);

impl Body for HeapBody {
    fn as_slice(&self) -> &[u8] {
        &self.0
    }

    fn extend_zeroed(&mut self, count: usize) -> Option<&mut [u8]> {
        let start = self.0.len();
        let end = start.checked_add(count).filter(|end| *end <= BODY_MAX)?;
        self.0.resize(end, 0);
        self.0.get_mut(start..)
    }

    fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

impl Queue for HeapQueue {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    fn take(&mut self, out: &mut [u8]) {
        let count = out.len().min(self.0.len());
        for (place, byte) in out.iter_mut().zip(self.0.drain(..count)) {
            *place = byte;
        }
        if self.0.is_empty() {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.0 = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_bounded_and_gives_its_memory_back() {
        let mut body = HeapBody::default();
        body.extend_zeroed(2).unwrap().copy_from_slice(b"ab");
        body.extend_zeroed(1).unwrap()[0] = b'c';
        assert_eq!(body.as_slice(), b"abc");
        assert!(body.extend_zeroed(BODY_MAX - 2).is_none());
        assert_eq!(body.len(), 3);
        assert!(body.extend_zeroed(BODY_MAX - 3).is_some());
        body.clear();
        assert_eq!((body.len(), body.0.capacity()), (0, 0));
    }

    #[test]
    fn a_queue_gives_what_it_has_in_order() {
        let mut queue = HeapQueue::default();
        queue.push(b"abc");
        queue.push(b"d");
        let mut out = [0; 3];
        queue.take(&mut out);
        assert_eq!((&out, queue.len()), (b"abc", 1));
        queue.take(&mut out[..1]);
        assert_eq!((out[0], queue.0.capacity()), (b'd', 0));
    }
}
