//! [`Images::take`] on a thread of its own, so that the event loop never waits for a server, a disk or a decompressor.
//!
//! Progress is what is true at the moment and not a queue. Dropping the [`Intake`] cancels; nothing half is left.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::{CachedImage, Images};
use super::error::{Cause, ImageError};
use super::take::{ImageSource, Progress};

/// The owner's end of the thread.
#[derive(Debug)]
pub struct Intake {
    outcome: Receiver<Result<CachedImage, ImageError>>,
    shared: Arc<Shared>,
    role: String,
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    cancelled: AtomicBool,
    progress: Mutex<Option<Progress>>,
}

impl Intake {
    /// Starts the thread. `wake` is called on it at every percent and at the end.
    ///
    /// # Errors
    /// The system has no thread to spare.
    pub fn start(
        images: Images,
        source: ImageSource,
        wake: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, outcome) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let role = source.role.clone();
        let thread = Thread {
            sender: Some(sender),
            shared: shared.clone(),
            wake: Box::new(wake),
            told: None,
        };
        std::thread::Builder::new()
            .name("intake".into())
            .spawn(move || thread.run(&images, &source))?;
        Ok(Self { outcome, shared, role, ended: false })
    }

    /// How far it is; nothing before it began.
    pub fn progress(&self) -> Option<Progress> {
        *self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outcome, once.
    pub fn poll(&mut self) -> Option<Result<CachedImage, ImageError>> {
        if self.ended {
            return None;
        }
        let outcome = match self.outcome.try_recv() {
            Ok(outcome) => outcome,
            Err(TryRecvError::Empty) => return None,
            // A decompressor panicked on what it was given.
            Err(TryRecvError::Disconnected) => {
                Err(ImageError::new(Path::new(&self.role), Cause::Stopped))
            }
        };
        self.ended = true;
        Some(outcome)
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
    }
}

struct Thread {
    sender: Option<SyncSender<Result<CachedImage, ImageError>>>,
    shared: Arc<Shared>,
    wake: Box<dyn Fn() + Send>,
    /// Phase and hundredth of which the owner was told last.
    told: Option<(super::take::Phase, u64)>,
}

impl Thread {
    fn run(mut self, images: &Images, source: &ImageSource) {
        let outcome = images.take(source, &mut |progress| self.tell(progress));
        if let Some(sender) = &self.sender {
            // Nobody may be there any more; the image stays in the store.
            let _ = sender.send(outcome);
        }
    }

    fn tell(&mut self, progress: Progress) -> ControlFlow<()> {
        if self.shared.cancelled.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        *self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
        let step = progress.total.map_or(1 << 20, |total| (total / 100).max(1));
        let now = Some((progress.phase, progress.done / step));
        if self.told != now {
            self.told = now;
            (self.wake)();
        }
        ControlFlow::Continue(())
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // By a panic too. The channel first: who is woken by it finds it closed.
        self.sender = None;
        (self.wake)();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::super::cache::LIMIT_BYTES;
    use super::*;
    use crate::io::test_folder::TestFolder;

    #[test]
    fn an_image_is_taken_and_the_loop_is_woken() {
        let folder = TestFolder::new();
        let images = Images::open(&folder.path().join("store"), LIMIT_BYTES).unwrap();
        let path = folder.path().join("image");
        std::fs::write(&path, vec![7; 3_000_000]).unwrap();
        let (wake, woken) = channel();
        let wake = move || wake.send(()).unwrap_or_default();
        let source = ImageSource::of_path(&path, "testrootfs");
        let mut intake = Intake::start(images.clone(), source, wake).unwrap();
        let image = loop {
            woken.recv().unwrap();
            if let Some(outcome) = intake.poll() {
                break outcome.unwrap();
            }
        };
        assert_eq!(image.bytes, 3_000_000);
        assert_eq!(intake.progress().unwrap().done, 3_000_000);
        assert!(intake.poll().is_none());
        let (wake, woken) = channel();
        let wake = move || wake.send(()).unwrap_or_default();
        let source = ImageSource::of_path(&folder.path().join("none"), "testrootfs");
        let mut intake = Intake::start(images, source, wake).unwrap();
        while woken.recv().is_ok() {}
        assert!(intake.poll().unwrap().unwrap_err().to_string().ends_with("is missing"));
    }
}
