//! A thread that plans and packs, as fast as what comes out is taken and no faster. Dropping the [`Planner`] ends it.

use std::io;
use std::sync::Arc;

use agent_core::wire::steps::{BLOCK, Extent};

use super::effort::Effort;
use super::encode::Encoded;
use super::plan::{Blocks, Held, Limits, Plan, Task};
use super::state::State;
use crate::image::owners::{self, FilePart};
use crate::image::stored::StoredImage;
use crate::worker::{Teller, Worker};

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
    Bytes(PlanPiece),
    /// That was all; and which files of the image could not be packed, those with most bytes first.
    Ended(Encoded, Vec<FilePart>),
    /// Nothing more comes.
    Failed(io::Error),
}

/// Some bytes of a plan's stream.
#[derive(Debug)]
pub struct PlanPiece {
    /// These.
    pub bytes: Vec<u8>,
    /// What the whole stream comes to if all is packed as well as what was packed so far.
    pub stream_bytes: u64,
    /// What the board writes for these and all before.
    pub written_bytes: u64,
}

/// The owner's end of the thread.
pub type Planner = Worker<PlanEvent>;

impl Planner {
    /// Starts the thread. `wake` is called on it whenever [`Planner::poll`] has something.
    ///
    /// # Errors
    /// The system has no thread to spare.
    pub fn start(request: PlanRequest, wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let stopped = PlanEvent::Failed(io::Error::other("planning stopped without a reason"));
        Self::spawn("plan", PIECES_MAX, wake, stopped, move |teller| {
            plan(&request, teller).unwrap_or_else(PlanEvent::Failed)
        })
    }
}

fn plan(request: &PlanRequest, teller: &Teller<PlanEvent>) -> io::Result<PlanEvent> {
    let sources: Vec<&State> = request.sources.iter().collect();
    let library: Vec<Held<'_>> = request.library.iter().map(|image| image.held()).collect();
    let plan = Plan::new(&Task {
        target: request.target.held(),
        is_in_place: request.is_in_place,
        sources: &sources,
        library: &library,
        limits: request.limits,
    })?;
    teller.tell(PlanEvent::Planned(plan.blocks()))?;
    let threads =
        std::thread::available_parallelism().map_or(1, |count| count.get().min(THREADS_MAX));
    let literal_blocks = u64::from(plan.blocks().literal);
    let encoded = plan.encode(request.effort, threads, &mut |bytes, so_far| {
        let stream_bytes = match u64::from(so_far.literal_blocks) {
            0 => so_far.stream_bytes,
            packed => so_far.stream_bytes.saturating_mul(literal_blocks) / packed,
        };
        bytes.chunks(PIECE_MAX).try_for_each(|piece| {
            let written_bytes = so_far.written_blocks * BLOCK as u64;
            let bytes = piece.to_vec();
            teller.tell(PlanEvent::Bytes(PlanPiece { bytes, stream_bytes, written_bytes }))
        })
    })?;
    let files = match extents_bytes(&encoded.unpackable) {
        ..UNPACKABLE_MIN => Vec::new(),
        _ => owners::of_blocks(&request.target.path(), &encoded.unpackable),
    };
    Ok(PlanEvent::Ended(encoded, files))
}

/// Bytes of blocks.
pub fn extents_bytes(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| u64::from(extent.count) * BLOCK as u64).sum()
}

/// Of less than this nobody asks which files it was.
const UNPACKABLE_MIN: u64 = 256 * 1024;

/// Pieces of the stream that wait to be sent, ...
const PIECES_MAX: usize = 16;

/// ... each of so many bytes: together a minute of a slow line, in which packing may fall behind.
const PIECE_MAX: usize = 64 * 1024;

/// Packing takes no more of a lab host than this.
const THREADS_MAX: usize = 4;
