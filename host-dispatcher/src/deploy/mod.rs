//! Deploy plans: what a board must be told, and sent, to make its partition an image. Pure, except that images are read.
//!
//! The board's blocks are compared with what they are expected to be ([`compare`]); what it then is known to hold
//! ([`state`]), wherever the host has those bytes too (`index`), is what the image is made from ([`plan`]): blocks that
//! are there already are kept or copied, the others travel in bins, compressed against old blocks that resemble them
//! (`sketch`). The steps are in an order in which nothing is overwritten that is still to be read (`order`), and go
//! over the line as a stream ([`encode`]). `agent_core::wire::steps` says what the board does with it.

pub mod compare;
pub mod content;
pub mod effort;
pub mod encode;
mod index;
mod order;
pub mod plan;
mod sketch;
pub mod state;
pub mod tree;
pub mod worker;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
