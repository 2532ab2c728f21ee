//! Deploying, apart from the line: carrying out a [`Plan`] of a `block-plan`, and the hashes of a `block-tree`
//! ([`Walk`]), with those of them that a [`Scan`] in the background has found already.
//!
//! An interpreter of effects has one of these for each operation that it opened, gives it the stream's bytes
//! ([`Effect::Input`](super::Effect::Input)) and has it work a little each time the core says so
//! ([`Effect::Work`](super::Effect::Work)). What stores the bytes is its business ([`Storage`]), and so is the memory.

mod nodes;
mod plan;
mod scan;
mod trouble;
mod walk;

pub use plan::{INPUT_MAX, Limits, Plan};
pub use scan::{HASHES_MAX, PIECE_MAX, Piece, REGIONS, Scan};
pub use trouble::{TEXT_MAX, Trouble};
pub use walk::{OUT_MAX, Read, Walk};

use crate::tree::Hash;

/// What a plan reads and writes. Errors are numbers of the board's kernel (`errno`).
pub trait Storage {
    /// Fills `out` with what stands at `offset` of a source, never beyond its end. Source 0 is what stands where the
    /// plan writes to.
    ///
    /// # Errors
    /// `errno`; then `out` holds anything.
    fn read(&mut self, source: u8, offset: u64, out: &mut [u8]) -> Result<(), i32>;

    /// Writes to the target, never beyond the image's end.
    ///
    /// # Errors
    /// `errno`.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), i32>;

    /// Makes `length` bytes of the target read as zeros.
    ///
    /// # Errors
    /// `errno`.
    fn zero(&mut self, offset: u64, length: u64) -> Result<(), i32>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// `errno`.
    fn sync(&mut self) -> Result<(), i32>;
}

/// Hashes of whole nodes of 1 MiB (level 2) that were found before.
pub trait Known {
    /// That of a node, if it is known and the node cannot have changed.
    fn find(&self, node: u32) -> Option<Hash>;

    /// That of a node, as it was read just now.
    fn learn(&mut self, node: u32, hash: Hash);
}

/// Nothing is known, and nothing kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nothing;

impl Known for Nothing {
    fn find(&self, _: u32) -> Option<Hash> {
        None
    }

    fn learn(&mut self, _: u32, _: Hash) {}
}
