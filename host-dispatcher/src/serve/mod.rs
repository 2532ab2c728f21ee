//! The shell of `pumice serve`: the loop with all boards, and the HTTP interface in a thread of its own.
//!
//! The two meet in [`control`], what is asked of the loop, and [`feed`], what it tells.

pub mod control;
pub mod database;
pub mod feed;
pub mod history;
pub mod log;
