//! Test definitions (`Lava-Test Test Definition 1.0`): read, checked, and turned into the files that a board runs.
//!
//! [`form`], [`install`] and [`script`] are pure. [`fetch`], [`git`], [`server`] and [`overlay`] read this host's disk, or ask servers; they run
//! before a board is touched. What comes out of here can be sent as it is: names are checked, links are followed, sizes are bounded.

pub mod fence;
pub mod fetch;
pub mod form;
pub mod git;
pub mod install;
pub mod overlay;
pub mod script;
pub mod server;
mod step;
pub mod variable;
