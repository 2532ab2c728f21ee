//! Jobs of several boards: what their tests say to each other.
//!
//! Pure: calls and times go in, answers come out. How calls come from a board is not its business.

pub mod coordinator;
pub mod group;
#[cfg(test)]
mod simulation;
