//! How worker threads wake the event loop.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use mio::Waker;

#[cfg(doc)]
use super::event::BoardEvent;

/// Wakes the loop from a worker thread.
#[derive(Clone, Debug)]
pub struct WorkerWaker {
    workers: Arc<Workers>,
    board: usize,
}

/// The boards whose workers have something: one waker for all, because a poll can have but one.
#[derive(Debug)]
pub(super) struct Workers {
    waker: Waker,
    woken: Mutex<BTreeSet<usize>>,
}

impl WorkerWaker {
    pub(super) fn new(workers: Arc<Workers>, board: usize) -> Self {
        Self { workers, board }
    }

    /// Has the loop return [`BoardEvent::Worker`]. Many calls before that are one.
    pub fn wake(&self) {
        let mut woken = self.workers.woken.lock().unwrap_or_else(PoisonError::into_inner);
        if woken.insert(self.board) {
            // Fails only without a loop to wake.
            let _ = self.workers.waker.wake();
        }
    }
}

impl Workers {
    pub(super) fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self { waker, woken: Mutex::default() })
    }

    pub(super) fn take(&self) -> BTreeSet<usize> {
        std::mem::take(&mut self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
