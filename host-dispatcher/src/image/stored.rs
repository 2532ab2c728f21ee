//! A thread that takes an image into the store, and opens what a deploy plan needs of the store: its tree, and other images
//! whose parts a board may hold. Dropping the [`Taker`] ends it.

use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use super::cache::{CachedImage, Images, LIMIT_BYTES};
use super::error::{Cause, ImageError, hexadecimal};
use super::take::{ImageSource, Progress};
use crate::deploy::content::FileContent;
use crate::deploy::plan::Held;
use crate::deploy::tree::Tree;

/// An image of the store: its hashes and its bytes. It stays there while this value does.
#[derive(Debug)]
pub struct StoredImage {
    /// SHA-256 of the raw image in hexadecimal.
    pub sha256: String,
    /// Its hashes.
    pub tree: Tree,
    content: FileContent,
    _cached: CachedImage,
}

/// What to take.
#[derive(Clone, Debug)]
pub struct TakeRequest {
    /// The store.
    pub store: PathBuf,
    /// The image.
    pub wanted: Wanted,
    /// SHA-256, in hexadecimal, of the images whose parts the board may hold. None: the four
    /// that were used last.
    pub library: Vec<String>,
}

/// An image.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// In the store already, by SHA-256 of the raw image.
    Stored([u8; 32]),
    /// Wherever it is; taken into the store first.
    Source(ImageSource),
    /// A file as it is, whatever it holds: for a file of the board. Taken into the store first.
    File(PathBuf),
}

impl Wanted {
    /// What a person calls it, who wants it as `label`.
    pub fn name(&self, label: &str) -> String {
        match self {
            Self::Stored(_) => format!("the image for {label}"),
            Self::Source(source) => source.name(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// What comes out: `Progress` any number of times, then one of the others.
#[derive(Debug)]
pub enum TakeEvent {
    /// How far it is.
    Progress(Progress),
    /// The image, and those of the library that the store has.
    Ready(Arc<StoredImage>, Vec<Arc<StoredImage>>),
    /// Nothing more comes.
    Failed(ImageError),
}

/// The owner's end of the thread.
#[derive(Debug)]
pub struct Taker {
    store: PathBuf,
    events: Receiver<TakeEvent>,
    is_canceled: Arc<AtomicBool>,
    has_ended: bool,
}

impl StoredImage {
    /// For a plan.
    pub fn held(&self) -> Held<'_> {
        Held { tree: &self.tree, content: &self.content }
    }

    /// Reads the tree that is kept beside the image, or makes and keeps it.
    fn open(cached: CachedImage) -> Result<Self, ImageError> {
        let failed = |error| ImageError::new(&cached.dir, Cause::Read(error));
        let content = FileContent::new(cached.file.try_clone().map_err(failed)?, cached.bytes);
        let mut stored = Vec::new();
        let side =
            cached.side(TREE).map_err(|error| ImageError::new(&cached.dir, Cause::Store(error)))?;
        if let Some(mut file) = side {
            file.read_to_end(&mut stored).map_err(failed)?;
        }
        let tree = match Tree::from_bytes(&stored) {
            Ok(tree) if tree.bytes() == cached.bytes => tree,
            // None yet, or no longer one.
            _ => {
                let tree = Tree::of(&content).map_err(failed)?;
                cached
                    .keep_side(TREE, &tree.to_bytes())
                    .map_err(|error| ImageError::new(&cached.dir, Cause::Store(error)))?;
                tree
            }
        };
        Ok(Self { sha256: hexadecimal(&cached.sha256), tree, content, _cached: cached })
    }
}

impl Taker {
    /// Starts the thread. `wake` is called on it whenever [`Taker::poll`] has something.
    ///
    /// # Errors
    /// The system has no thread to spare.
    pub fn start(request: TakeRequest, wake: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let (sender, events) = channel();
        let is_canceled = Arc::new(AtomicBool::new(false));
        let store = request.store.clone();
        let thread =
            Thread { request, sender, is_canceled: is_canceled.clone(), wake: Box::new(wake) };
        std::thread::Builder::new().name("image".into()).spawn(move || thread.run())?;
        Ok(Self { store, events, is_canceled, has_ended: false })
    }

    /// The next event, if there is one.
    pub fn poll(&mut self) -> Option<TakeEvent> {
        if self.has_ended {
            return None;
        }
        let event = match self.events.try_recv() {
            Ok(event) => event,
            Err(TryRecvError::Empty) => return None,
            // A decompressor panicked on what it was given.
            Err(TryRecvError::Disconnected) => {
                TakeEvent::Failed(ImageError::new(&self.store, Cause::Stopped))
            }
        };
        self.has_ended = !matches!(event, TakeEvent::Progress(_));
        Some(event)
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.is_canceled.store(true, Ordering::Relaxed);
    }
}

struct Thread {
    request: TakeRequest,
    sender: Sender<TakeEvent>,
    is_canceled: Arc<AtomicBool>,
    wake: Box<dyn Fn() + Send>,
}

impl Thread {
    fn run(self) {
        let event = match self.take() {
            Ok((image, library)) => TakeEvent::Ready(Arc::new(image), library),
            Err(error) => TakeEvent::Failed(error),
        };
        self.tell(event);
    }

    fn take(&self) -> Result<(StoredImage, Vec<Arc<StoredImage>>), ImageError> {
        let images = Images::open(&self.request.store, LIMIT_BYTES)?;
        // Before the image is taken, which may make room by removing the oldest.
        let library = self.library(&images)?;
        let cached = match &self.request.wanted {
            Wanted::Stored(sha256) => images.get(sha256)?.ok_or_else(|| {
                let place = self.request.store.join("images").join(hexadecimal(sha256));
                ImageError::new(&place, Cause::Open(ErrorKind::NotFound.into()))
            })?,
            Wanted::Source(source) => {
                images.take(source, &mut |progress| self.progress(progress))?
            }
            Wanted::File(path) => {
                images.take_file(path, &mut |progress| self.progress(progress))?
            }
        };
        let image = StoredImage::open(cached)?;
        let library: Vec<_> =
            library.into_iter().filter(|held| held.sha256 != image.sha256).map(Arc::new).collect();
        Ok((image, library))
    }

    fn progress(&self, progress: Progress) -> ControlFlow<()> {
        self.tell(TakeEvent::Progress(progress));
        if self.is_canceled.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn library(&self, images: &Images) -> Result<Vec<StoredImage>, ImageError> {
        let mut names = self.request.library.clone();
        if names.is_empty() {
            names = images.list()?.into_iter().take(RECENT).map(|entry| entry.sha256).collect();
        }
        let mut library = Vec::new();
        for name in names {
            let Some(sha256) = digest(&name) else { continue };
            if let Some(cached) = images.get(&sha256)? {
                library.push(StoredImage::open(cached)?);
            }
        }
        Ok(library)
    }

    fn tell(&self, event: TakeEvent) {
        let _ = self.sender.send(event);
        (self.wake)();
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(digest)
}

/// Name of the tree beside the image; its version in [`Tree::to_bytes`].
const TREE: &str = "tree";

/// Images that are opened for a partition of which nothing is known.
const RECENT: usize = 4;
