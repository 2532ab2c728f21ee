//! A thread that plans and packs, as fast as what comes out is taken and no faster. Dropping the [`Planner`] ends it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use super::effort::Effort;
use super::encode::Encoded;
use super::plan::{Blocks, Held, Limits, Plan, Task};
use super::state::State;
use crate::image::stored::StoredImage;

/// What a plan is made from, owned: see [`Task`].
#[derive(Debug)]
pub struct PlanRequest {
    /// The image that shall stand there.
    pub target: Arc<StoredImage>,
    /// Images that the host holds the bytes of.
    pub library: Vec<Arc<StoredImage>>,
    /// What is known of the board's sources.
    pub sources: Vec<State>,
    /// Whether the steps write what they read as source 0.
    pub is_in_place: bool,
    /// What the agent has memory for.
    pub limits: Limits,
    /// How small to make it.
    pub effort: Effort,
}

/// What comes out, in this order: `Planned`, `Bytes` any number of times, `Ended`; or `Failed` at any point.
#[derive(Debug)]
pub enum PlanEvent {
    /// The plan stands; nothing is packed yet.
    Planned(Blocks),
    /// The next bytes of the stream.
    Bytes {
        /// These.
        bytes: Vec<u8>,
        /// What the whole stream comes to if all is packed as well as what was packed so far.
        stream_bytes: u64,
    },
    /// That was all.
    Ended(Encoded),
    /// Nothing more comes.
    Failed(io::Error),
}

/// The owner's end of the thread.
#[derive(Debug)]
pub struct Planner {
    events: Receiver<PlanEvent>,
    has_ended: bool,
}

impl Planner {
    /// Starts the thread. `wake` is called on it whenever [`Planner::poll`] has something.
    ///
    /// # Errors
    /// The system has no thread to spare.
    pub fn start(request: PlanRequest, wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (sender, events) = sync_channel(PIECES_MAX);
        std::thread::Builder::new().name("plan".into()).spawn(move || {
            let thread = Thread { events: sender, wake: &wake };
            if let Err(error) = thread.work(&request) {
                let _ = thread.send(PlanEvent::Failed(error));
            }
            // The owner learns from the closed channel, too, that a thread has panicked.
            drop(thread);
            wake();
        })?;
        Ok(Self { events, has_ended: false })
    }

    /// The next event, if there is one. After `Ended` or `Failed` there is none.
    pub fn poll(&mut self) -> Option<PlanEvent> {
        if self.has_ended {
            return None;
        }
        let event = match self.events.try_recv() {
            Ok(event) => event,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => {
                PlanEvent::Failed(io::Error::other("planning stopped without a reason"))
            }
        };
        self.has_ended = matches!(event, PlanEvent::Ended(_) | PlanEvent::Failed(_));
        Some(event)
    }
}

struct Thread<'w> {
    events: SyncSender<PlanEvent>,
    wake: &'w dyn Fn(),
}

impl Thread<'_> {
    fn work(&self, request: &PlanRequest) -> io::Result<()> {
        let sources: Vec<&State> = request.sources.iter().collect();
        let library: Vec<Held<'_>> = request.library.iter().map(|image| image.held()).collect();
        let plan = Plan::new(&Task {
            target: request.target.held(),
            is_in_place: request.is_in_place,
            sources: &sources,
            library: &library,
            limits: request.limits,
        })?;
        self.send(PlanEvent::Planned(plan.blocks()))?;
        let threads =
            std::thread::available_parallelism().map_or(1, |count| count.get().min(THREADS_MAX));
        let literal_blocks = u64::from(plan.blocks().literal);
        let encoded = plan.encode(request.effort, threads, &mut |bytes, so_far| {
            let stream_bytes = match u64::from(so_far.literal_blocks) {
                0 => so_far.stream_bytes,
                packed => so_far.stream_bytes.saturating_mul(literal_blocks) / packed,
            };
            bytes.chunks(PIECE_MAX).try_for_each(|piece| {
                self.send(PlanEvent::Bytes { bytes: piece.to_vec(), stream_bytes })
            })
        })?;
        self.send(PlanEvent::Ended(encoded))
    }

    /// Waits for room; an error when the owner is gone.
    fn send(&self, event: PlanEvent) -> io::Result<()> {
        let sent = self.events.send(event);
        (self.wake)();
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

/// Pieces of the stream that wait to be sent, ...
const PIECES_MAX: usize = 16;

/// ... each of so many bytes: together a minute of a slow line, in which packing may fall behind.
const PIECE_MAX: usize = 64 * 1024;

/// Packing takes no more of a lab host than this.
const THREADS_MAX: usize = 4;
