//! Jobs: what to run ([`spec`]), what happens while it runs ([`event`]), and what it comes to ([`verdict`]).

pub mod event;
pub mod plan;
pub mod spec;
pub mod verdict;
