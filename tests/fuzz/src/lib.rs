//! What `agent-core` and `host-dispatcher` must do whatever the bytes are: each target reads an input and panics when an
//! invariant is broken.
//!
//! A target is an ordinary function of bytes, without clock, randomness or global state, so an input that failed once
//! fails for ever. libFuzzer looks for such inputs (`ci/fuzz`); `tests/replay.rs` runs those that were found, and
//! the [`seeds`], in every `cargo test`.

mod agent;
mod board_files;
mod definitions;
mod demultiplexer;
mod deploy;
mod direct;
mod forge;
mod frames;
mod kernel_reports;
mod lava;
mod links;
mod messages;
/// The simulated network beside the simulated line.
#[allow(dead_code)]
#[path = "../../../agent-core/tests/link_sim/net.rs"]
mod net;
mod outputs;
mod pack;
pub mod seeds;
mod telnet;

/// The simulation of `agent-core`'s own tests, the same file.
#[allow(dead_code)]
#[path = "../../../agent-core/tests/link_sim/pair.rs"]
mod pair;

/// One thing to fuzz.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Panics when the input breaks an invariant.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "demultiplexer", run: demultiplexer::run },
    Target { name: "frames", run: frames::run },
    Target { name: "messages", run: messages::run },
    Target { name: "links", run: links::run },
    Target { name: "agent", run: agent::run },
    Target { name: "pack", run: pack::run },
    Target { name: "deploy", run: deploy::run },
    Target { name: "definitions", run: definitions::run },
    Target { name: "kernel_reports", run: kernel_reports::run },
    Target { name: "outputs", run: outputs::run },
    Target { name: "board_files", run: board_files::run },
    Target { name: "telnet", run: telnet::run },
    Target { name: "lava", run: lava::run },
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
