//! Images on their way to a board: opened and unpacked ([`source`]), turned into steps ([`steps`]), on a thread of their
//! own so that the event loop never waits for a disk or a compressor ([`worker`]).

pub mod bmap;
pub mod error;
pub mod packing;
pub mod source;
mod sparse;
pub mod steps;
pub mod worker;
mod zip;
mod zstd;

#[cfg(test)]
mod model;
#[cfg(test)]
mod worker_tests;
