//! The link between two simulated lines, in virtual time. See docs/testing.md for how to replay a seed.

mod goodput;
mod lane;
mod life;
mod net;
mod pair;
mod sessions;
mod streams;
mod sweep;
