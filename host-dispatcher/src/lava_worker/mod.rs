//! Pumice as a worker of LAVA's server: what it says there, and what becomes of a job that the server gives it.
//!
//! The server schedules, shows and stores; the boards are those of a lab (`pumice serve`), whose client this is.
//!
//! | module | what it is |
//! |---|---|
//! | [`protocol`] | requests to LAVA's server and its answers |
//! | [`worker`] | pings, versions, orders |
//! | [`job`] | one job, from its order to its end |
//! | [`record`] | what of it outlives this process |
//! | [`convert`] | LAVA's job becomes the lab's |
//! | [`group`] | its jobs for several boards become one of the lab |
//! | [`lines`] | what a run wrote becomes LAVA's log |
//!
//! All of it is bytes and time in, requests out. What reads and writes is in [`client::lava`](crate::client::lava),
//! [`store::lava_jobs`](crate::store::lava_jobs) and [`command::lava_worker`](crate::command::lava_worker).

pub mod convert;
pub mod group;
pub mod job;
pub mod lines;
pub mod protocol;
pub mod record;
pub mod worker;
