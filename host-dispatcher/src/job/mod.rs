//! Jobs: what to run ([`spec`]), what happens while it runs ([`event`]), what its output says ([`output`]), and what it
//! comes to ([`verdict`]).

pub mod boot;
pub mod boot_loader_test;
pub mod deploy;
pub mod event;
pub mod metadata;
pub mod notify;
pub mod output;
pub mod plan;
pub mod secret;
pub mod secret_source;
pub mod spec;
pub mod test;
pub mod verdict;
pub mod watch;
pub(crate) mod watcher;

mod event_text;
mod signal_text;
mod tap;
mod tap_line;
