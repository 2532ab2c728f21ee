//! The half of Pumice that both ends of a serial line share.
//!
//! Three layers, top down:
//!
//! * [`agent`]: the services of the agent on a board (exec, files, block devices, test plans, logs) as state
//!   machines: Events in, Effects out. It knows the messages, and no operating system.
//! * [`link`]: a reliable, ordered, multiplexed connection over a line that loses, damages and inserts bytes.
//!   Symmetric: the same [`link::Link`] runs on the board and on the host. It knows nothing about messages.
//! * [`wire`]: the messages and their bytes. It knows nothing about lines.
//!
//! Nothing here reads a clock, allocates, or calls an operating system: bytes and [`time::Instant`]s are arguments,
//! work is the return value. The contract of all state machines is in ARCHITECTURE.md: one input, drain every
//! `poll_*`, then wait.
#![no_std]
#![forbid(unsafe_code)]

pub mod agent;
pub mod link;
pub mod text;
pub mod time;
pub mod tree;
pub mod wire;
pub mod xorshift;
