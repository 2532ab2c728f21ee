//! Where a link keeps the bytes that wait: in itself, or in what its owner brings.
//!
//! An agent has one link and no allocator; a dispatcher has a thousand, most of which have nothing waiting. So the two
//! kinds of buffers a link needs are types of its [`Memory`], and whoever makes the link chooses.

use core::fmt::Debug;
use heapless::{Deque, Vec};

use super::frame::BODY_MAX;

/// The buffers of a link.
pub trait Memory: Copy + Debug {
    /// The body of a frame on its way.
    type Body: Body;
    /// What waits on a stream; holds `SEND` bytes.
    type Queue<const SEND: usize>: Queue;
}

/// The body of a frame: at most [`BODY_MAX`] bytes.
pub trait Body: Debug + Default {
    /// What is in it.
    fn as_slice(&self) -> &[u8];

    /// Adds `count` zeros and returns them, to be filled; nothing when they do not fit.
    fn extend_zeroed(&mut self, count: usize) -> Option<&mut [u8]>;

    /// Empties it: the frame has arrived, or has been read.
    fn clear(&mut self);

    /// Its length in bytes.
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether nothing is in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes that wait, first in, first out.
pub trait Queue: Debug + Default {
    /// How many wait.
    fn len(&self) -> usize;

    /// Adds bytes; the caller has seen to it that they fit.
    fn push(&mut self, bytes: &[u8]);

    /// Moves the first bytes into `out`, zeros where there are none.
    fn take(&mut self, out: &mut [u8]);

    /// Drops all.
    fn clear(&mut self);

    /// Whether nothing waits.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All of it inside of the link.
#[derive(Clone, Copy, Debug)]
pub struct Inline;

impl Memory for Inline {
    type Body = Vec<u8, BODY_MAX>;
    type Queue<const SEND: usize> = Deque<u8, SEND>;
}

impl Body for Vec<u8, BODY_MAX> {
    fn as_slice(&self) -> &[u8] {
        self
    }

    fn extend_zeroed(&mut self, count: usize) -> Option<&mut [u8]> {
        let start = (**self).len();
        self.resize_default(start + count).ok()?;
        self.get_mut(start..)
    }

    fn clear(&mut self) {
        Self::clear(self);
    }
}

impl<const SEND: usize> Queue for Deque<u8, SEND> {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let _ = self.push_back(*byte);
        }
    }

    fn take(&mut self, out: &mut [u8]) {
        for byte in out {
            *byte = self.pop_front().unwrap_or(0);
        }
    }

    fn clear(&mut self) {
        Self::clear(self);
    }
}
