//! Images on their way to a board: opened and unpacked ([`source`]), turned into steps ([`steps`]), on a thread of their
//! own so that the event loop never waits for a disk or a compressor ([`worker`]).
//!
//! [`take`] brings whatever is named into the store's [`cache`]: unpacked once, named by its digest.

pub mod bmap;
pub mod cache;
pub mod disk;
pub mod error;
pub mod ext4;
pub mod fetch;
pub mod packing;
pub mod source;
mod sparse;
pub mod steps;
pub mod stored;
pub mod take;
mod tree;
pub mod worker;
mod zip;
mod zstd;

#[cfg(test)]
mod model;
#[cfg(test)]
mod worker_tests;
