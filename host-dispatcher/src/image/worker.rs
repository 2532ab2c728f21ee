//! A thread that reads an image and makes steps of it, as fast as they are taken and no faster.
//!
//! Before the first step it says how large the image is: a partition that is too small is refused before a byte is
//! written. A packed image is unpacked once for that alone. So is a raw one that comes with a digest: a wrong image is
//! refused before a byte is written too. Memory is bounded: 16 chunks wait, and the decompressor has its
//! own bound. Dropping the [`ImageReader`] ends the thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use sha2::{Digest, Sha256};

use super::error::{Cause, ImageError, hexadecimal};
use super::source::{Piece, Source};
use super::steps::{Effort, Packer};

/// What to read and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRequest {
    /// The file, packed or not.
    pub path: PathBuf,
    /// The SHA-256 that the unpacked image must have.
    pub sha256: Option<[u8; 32]>,
    /// How small to make it.
    pub effort: Effort,
}

/// What comes out, in this order: `Sized`, `Steps` any number of times, `Complete`; or `Failed` at any point.
#[derive(Debug)]
pub enum ImageEvent {
    /// The image's size in bytes. The digest too where it is known already.
    Sized {
        /// Unpacked bytes.
        bytes: u64,
        /// Of the unpacked bytes.
        sha256: Option<[u8; 32]>,
    },
    /// The next bytes of the stream of a `block-write`, up to some 100 KiB.
    Steps {
        /// The bytes. A step may begin in one event and end in the next.
        bytes: Vec<u8>,
        /// Bytes of the image that these and all earlier steps stand for, for progress.
        image_bytes: u64,
    },
    /// The last step was given out.
    Complete {
        /// Unpacked bytes.
        bytes: u64,
        /// Of the unpacked bytes: what the partition's first `bytes` must have.
        sha256: [u8; 32],
    },
    /// Nothing more comes.
    Failed(ImageError),
}

/// How far the first pass is, in bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counting {
    /// Read so far.
    pub file_bytes: u64,
    /// The file's size; 0 until it is open.
    pub file_size: u64,
}

/// The owner's end of the thread.
#[derive(Debug)]
pub struct ImageReader {
    path: PathBuf,
    events: Receiver<ImageEvent>,
    shared: Arc<Shared>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    cancelled: AtomicBool,
    file_bytes: AtomicU64,
    file_size: AtomicU64,
}

impl ImageReader {
    /// Starts the thread. `wake` is called on it whenever [`ImageReader::poll`] has something.
    ///
    /// # Errors
    /// The system has no thread to spare.
    pub fn start(request: ImageRequest, wake: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let (sender, events) = sync_channel(CHUNKS_MAX);
        let shared = Arc::new(Shared::default());
        let path = request.path.clone();
        let thread =
            Thread { request, events: Some(sender), shared: shared.clone(), wake: Box::new(wake) };
        std::thread::Builder::new().name("image".into()).spawn(move || thread.run())?;
        Ok(Self { path, events, shared, ended: false })
    }

    /// The next event, if there is one. After `Complete` or `Failed` there is none.
    pub fn poll(&mut self) -> Option<ImageEvent> {
        if self.ended {
            return None;
        }
        let event = match self.events.try_recv() {
            Ok(event) => event,
            Err(TryRecvError::Empty) => return None,
            // A decompressor panicked on what it was given.
            Err(TryRecvError::Disconnected) => {
                ImageEvent::Failed(ImageError::new(&self.path, Cause::Stopped))
            }
        };
        self.ended = matches!(event, ImageEvent::Complete { .. } | ImageEvent::Failed(_));
        Some(event)
    }

    /// How far the pass before `Sized` is.
    pub fn counting(&self) -> Counting {
        Counting {
            file_bytes: self.shared.file_bytes.load(Ordering::Relaxed),
            file_size: self.shared.file_size.load(Ordering::Relaxed),
        }
    }
}

impl Drop for ImageReader {
    fn drop(&mut self) {
        // The thread looks at it between two bins; one that waits for room finds the channel closed.
        self.shared.cancelled.store(true, Ordering::Relaxed);
    }
}

struct Thread {
    request: ImageRequest,
    /// Nothing once the thread ends, so that the owner learns of it in time.
    events: Option<SyncSender<ImageEvent>>,
    shared: Arc<Shared>,
    wake: Box<dyn Fn() + Send>,
}

/// Why the work ended early.
enum Stop {
    Cancelled,
    Failed(ImageError),
}

impl From<ImageError> for Stop {
    fn from(error: ImageError) -> Self {
        Self::Failed(error)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    bytes: u64,
    sha256: [u8; 32],
}

impl Thread {
    fn run(self) {
        if let Err(Stop::Failed(error)) = self.work() {
            let _ = self.send(ImageEvent::Failed(error));
        }
    }

    fn work(&self) -> Result<(), Stop> {
        let path = self.request.path.as_path();
        let source = Source::open(path)?;
        let known_bytes = source.known_bytes();
        let counted = match known_bytes {
            Some(_) if self.request.sha256.is_none() => None,
            _ => Some(self.count(source)?),
        };
        if let Some(counted) = counted {
            self.check_digest(path, &counted)?;
        }
        let bytes = counted.map(|counted| counted.bytes).or(known_bytes).unwrap_or(0);
        self.send(ImageEvent::Sized { bytes, sha256: counted.map(|counted| counted.sha256) })?;
        let streamed = self.stream(Source::open(path)?, bytes)?;
        // Somebody may write the file while it is read; then neither pass is worth anything.
        if streamed.bytes != bytes || counted.is_some_and(|counted| counted != streamed) {
            return Err(ImageError::new(path, Cause::Changed).into());
        }
        self.send(ImageEvent::Complete { bytes, sha256: streamed.sha256 })
    }

    /// The first pass: reads all and keeps nothing.
    fn count(&self, mut source: Source) -> Result<Identity, Stop> {
        let (file_size, read) = source.file_progress();
        self.shared.file_size.store(file_size, Ordering::Relaxed);
        let mut hash = Hash::new();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            self.check_cancelled()?;
            match source.read(&mut buffer)? {
                Piece::End => return Ok(hash.identity()),
                Piece::Data(bytes) => hash.add(&buffer[..bytes]),
                Piece::Hole(bytes) => hash.add_zeros(bytes, || self.check_cancelled())?,
            }
            self.shared.file_bytes.store(read.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// The second pass: makes steps. Ends at once if the image is longer than it was said to be.
    fn stream(&self, mut source: Source, expected_bytes: u64) -> Result<Identity, Stop> {
        let mut hash = Hash::new();
        let mut packer = Packer::new(self.request.effort);
        let mut steps = Vec::new();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            self.check_cancelled()?;
            match source.read(&mut buffer)? {
                Piece::End => break,
                Piece::Data(bytes) => {
                    hash.add(&buffer[..bytes]);
                    packer.push(&buffer[..bytes], &mut steps);
                }
                Piece::Hole(bytes) => {
                    hash.add_zeros(bytes, || self.check_cancelled())?;
                    packer.push_hole(bytes, &mut steps);
                }
            }
            if hash.bytes > expected_bytes {
                return Err(ImageError::new(&self.request.path, Cause::Changed).into());
            }
            if steps.len() >= CHUNK_BYTES {
                self.send_steps(&mut steps, hash.bytes)?;
            }
        }
        packer.finish(&mut steps);
        let identity = hash.identity();
        self.send_steps(&mut steps, identity.bytes)?;
        Ok(identity)
    }

    fn check_digest(&self, path: &Path, found: &Identity) -> Result<(), Stop> {
        match &self.request.sha256 {
            Some(expected) if *expected != found.sha256 => {
                let cause = Cause::Digest {
                    expected: hexadecimal(expected),
                    found: hexadecimal(&found.sha256),
                };
                Err(ImageError::new(path, cause).into())
            }
            _ => Ok(()),
        }
    }

    fn send_steps(&self, steps: &mut Vec<u8>, image_bytes: u64) -> Result<(), Stop> {
        self.send(ImageEvent::Steps { bytes: std::mem::take(steps), image_bytes })
    }

    /// Waits for room.
    fn send(&self, event: ImageEvent) -> Result<(), Stop> {
        let sent = self.events.as_ref().is_some_and(|events| events.send(event).is_ok());
        (self.wake)();
        if sent { Ok(()) } else { Err(Stop::Cancelled) }
    }

    fn check_cancelled(&self) -> Result<(), Stop> {
        if self.shared.cancelled.load(Ordering::Relaxed) { Err(Stop::Cancelled) } else { Ok(()) }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // By a panic too. The channel first: who is woken by it finds it closed.
        self.events = None;
        (self.wake)();
    }
}

struct Hash {
    sha256: Sha256,
    bytes: u64,
}

impl Hash {
    fn new() -> Self {
        Self { sha256: Sha256::new(), bytes: 0 }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn add_zeros(&mut self, length: u64, check: impl Fn() -> Result<(), Stop>) -> Result<(), Stop> {
        static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
        let mut left = length;
        while left > 0 {
            let now = left.min(ZEROS.len() as u64);
            self.add(&ZEROS[..now as usize]);
            left -= now;
            check()?;
        }
        Ok(())
    }

    fn identity(self) -> Identity {
        Identity { bytes: self.bytes, sha256: self.sha256.finalize().into() }
    }
}

/// Chunks that wait for the line; with [`CHUNK_BYTES`] and one bin more in each about 1.5 MiB.
const CHUNKS_MAX: usize = 16;
/// Enough that waking the loop costs nothing beside packing.
const CHUNK_BYTES: usize = 32 * 1024;
/// One bin.
const READ_BYTES: usize = 64 * 1024;
