//! A thread that takes an image into the store, and opens what a deploy plan needs of the store: its tree, and other images
//! whose parts a board may hold. Dropping the [`Taker`] ends it.

use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::cache::{CachedImage, IMAGE, Images, LIMIT_BYTES};
use super::error::{Cause, ImageError};
use super::take::{ImageSource, Progress};
use crate::deploy::content::FileContent;
use crate::deploy::plan::Held;
use crate::deploy::tree::Tree;
use crate::store::hexadecimal;
use crate::worker::{Teller, Worker};

/// An image of the store: its hashes and its bytes. It stays there while this value does.
#[derive(Debug)]
pub struct StoredImage {
    /// SHA-256 of the raw image in hexadecimal.
    pub sha256: String,
    /// Its hashes.
    pub tree: Tree,
    content: FileContent,
    cached: CachedImage,
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
    /// The same of images that its other partitions hold.
    pub others: Vec<String>,
}

/// An image.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// In the store already, by SHA-256 of the raw image.
    Stored([u8; 32]),
    /// Wherever it is; taken into the store first.
    Source(Box<ImageSource>),
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
pub type Taker = Worker<TakeEvent>;

impl StoredImage {
    /// Where its bytes lie.
    pub fn path(&self) -> PathBuf {
        self.cached.dir.join(IMAGE)
    }

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
        Ok(Self { sha256: hexadecimal(&cached.sha256), tree, content, cached })
    }
}

impl Taker {
    /// Starts the thread. `wake` is called on it whenever [`Taker::poll`] has something.
    ///
    /// # Errors
    /// The system has no thread to spare.
    pub fn start(request: TakeRequest, wake: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let stopped = TakeEvent::Failed(ImageError::new(&request.store, Cause::Stopped));
        Self::spawn("image", PROGRESS_MAX, wake, stopped, move |teller| {
            match request.take(teller) {
                Ok((image, library)) => TakeEvent::Ready(Arc::new(image), library),
                Err(error) => TakeEvent::Failed(error),
            }
        })
    }
}

impl TakeRequest {
    fn take(
        &self,
        teller: &Teller<TakeEvent>,
    ) -> Result<(StoredImage, Vec<Arc<StoredImage>>), ImageError> {
        let mut progress = |progress| match teller.tell(TakeEvent::Progress(progress)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let images = Images::open(&self.store, LIMIT_BYTES)?;
        // Before the image is taken, which may make room by removing the oldest.
        let library = self.open_library(&images)?;
        let cached = match &self.wanted {
            Wanted::Stored(sha256) => images.get(sha256)?.ok_or_else(|| {
                let place = self.store.join("images").join(hexadecimal(sha256));
                ImageError::new(&place, Cause::Open(ErrorKind::NotFound.into()))
            })?,
            Wanted::Source(source) => images.take(source, &mut progress)?,
            Wanted::File(path) => images.take_file(path, &mut progress)?,
        };
        let image = StoredImage::open(cached)?;
        let library: Vec<_> =
            library.into_iter().filter(|held| held.sha256 != image.sha256).map(Arc::new).collect();
        Ok((image, library))
    }

    fn open_library(&self, images: &Images) -> Result<Vec<StoredImage>, ImageError> {
        let mut names = self.library.clone();
        if names.is_empty() {
            let all = images.list()?.into_iter().filter(|entry| !entry.is_material);
            names = all.take(RECENT).map(|entry| entry.sha256).collect();
        }
        let others: Vec<_> =
            self.others.iter().filter(|other| !names.contains(other)).cloned().collect();
        let mut library = Vec::new();
        for name in names.into_iter().chain(others) {
            let Some(sha256) = digest(&name) else { continue };
            if let Some(cached) = images.get(&sha256)? {
                library.push(StoredImage::open(cached)?);
            }
        }
        Ok(library)
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

/// Progress that waits to be shown.
const PROGRESS_MAX: usize = 16;

/// Images that are opened for a partition of which nothing is known.
const RECENT: usize = 4;
