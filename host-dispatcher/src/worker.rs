//! A thread that does one piece of work for an owner who must not wait, and tells of it in events, as fast as they are
//! taken and no faster. Dropping the [`Worker`] ends it where it tells something next.

use std::fmt;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// The owner's end of the thread.
#[derive(Debug)]
pub struct Worker<E> {
    events: Receiver<E>,
}

/// The thread's end.
pub struct Teller<E> {
    events: SyncSender<E>,
    wake: Box<dyn Fn() + Send>,
}

impl<E: Send + 'static> Worker<E> {
    /// Starts the thread. What `work` returns is its last event, or `stopped` if it panics: decoders do, on what they are
    /// given. At most `ahead` events wait. `wake` is called on the thread whenever [`Worker::poll`] has something.
    ///
    /// # Errors
    /// The system has no thread to spare.
    pub(crate) fn spawn(
        name: &str,
        ahead: usize,
        wake: impl Fn() + Send + 'static,
        stopped: E,
        work: impl FnOnce(&Teller<E>) -> E + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, events) = sync_channel(ahead);
        let teller = Teller { events: sender, wake: Box::new(wake) };
        thread::Builder::new().name(name.into()).spawn(move || {
            // What it has worked on is gone with it: nobody sees it half done.
            let last = catch_unwind(AssertUnwindSafe(|| work(&teller)));
            // Nobody may be left to hear it.
            let _ = teller.tell(last.unwrap_or(stopped));
        })?;
        Ok(Self { events })
    }
}

impl<E> Worker<E> {
    /// The next event, if there is one. After the last there is none.
    pub fn poll(&mut self) -> Option<E> {
        self.events.try_recv().ok()
    }
}

impl<E> Teller<E> {
    /// Waits for room.
    ///
    /// # Errors
    /// `BrokenPipe`: the owner is gone.
    pub fn tell(&self, event: E) -> io::Result<()> {
        let told = self.events.send(event);
        (self.wake)();
        told.map_err(|_| ErrorKind::BrokenPipe.into())
    }
}

impl<E> fmt::Debug for Teller<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    /// A worker, and what it wakes: until the thread has ended.
    fn start(
        work: impl FnOnce(&Teller<u32>) -> u32 + Send + 'static,
    ) -> (Worker<u32>, Receiver<()>) {
        let (wake, woken) = channel();
        let wake = move || wake.send(()).unwrap_or_default();
        (Worker::spawn("test", AHEAD, wake, u32::MAX, work).unwrap(), woken)
    }

    fn all(worker: &mut Worker<u32>, woken: &Receiver<()>) -> Vec<u32> {
        woken.iter().flat_map(|()| worker.poll()).collect()
    }

    #[test]
    fn the_owner_is_woken_for_every_event_up_to_the_last() {
        let (mut worker, woken) = start(|teller| {
            (0..100).for_each(|number| teller.tell(number).unwrap());
            100
        });
        assert_eq!(all(&mut worker, &woken), (0..=100).collect::<Vec<_>>());
        assert_eq!(worker.poll(), None);
    }

    #[test]
    fn a_panic_is_told() {
        let (mut worker, woken) = start(|teller| {
            teller.tell(1).unwrap();
            panic!("as a decoder may")
        });
        assert_eq!(all(&mut worker, &woken), [1, u32::MAX]);
    }

    #[test]
    fn nobody_takes_and_little_waits_until_the_worker_is_dropped() {
        let told = Arc::new(AtomicU32::new(0));
        let count = told.clone();
        let (worker, woken) = start(move |teller| {
            while teller.tell(7).is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
            0
        });
        assert_eq!(woken.iter().take(AHEAD).count(), AHEAD);
        drop(worker);
        // The thread ends, and with it the other end.
        while woken.recv().is_ok() {}
        assert_eq!(told.load(Ordering::Relaxed), AHEAD as u32);
    }

    const AHEAD: usize = 4;
}
