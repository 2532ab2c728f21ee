//! What the end-to-end tests stand on: the built programs, started as a user starts them, each test in a lab of its own.
//!
//! * [`Lab`]: a folder with a lab file, and `pumice` in it;
//! * [`program`]: finds, starts and ends the built programs;
//! * [`line`](mod@line): a serial line between `pumice` and a `pumice-agent` on a pseudo-terminal, as good or bad as wanted;
//! * [`shell`]: a real shell at the board's end of such a line, and no agent;
//! * [`released`]: agents as they were released;
//! * [`Record`]: reads a run directory;
//! * [`standing`]: an emulated board that lives on when a `pumice` ends, with every byte of its line;
//! * [`LabServer`]: a `pumice serve` that can be killed and started again, and its clients;
//! * [`Carrier`]: socat or ser2net between `pumice` and a line;
//! * [`Proxy`]: a network between a board and its side lane that breaks when it is told to;
//! * [`LivingBoard`]: a pretended board that lives on when the dispatcher ends;
//! * [`Mount`]: a file system that is mounted for a test;
//! * [`Pdudaemon`]: a real one that switches a living board;
//! * [`emulator`]: what the tests on the emulated board need, and how many run at once.
//!
//! Nothing of ours is linked: what is known here of the dispatcher and the agent is their command line and `docs/`.
//! No timing is a verdict: every wait has a limit that only a hang reaches. `tests/e2e/README.md` says how to run them.

pub mod emulator;
pub mod line;
pub mod program;
pub mod released;
pub mod shell;
pub mod standing;

mod carriers;
mod lab;
mod lab_server;
mod living;
mod mount;
mod noise;
mod pdudaemon;
mod proxy;
mod random;
mod record;

pub use carriers::Carrier;
pub use lab::Lab;
pub use lab_server::{LabServer, until};
pub use living::LivingBoard;
pub use mount::Mount;
pub use noise::Noise;
pub use pdudaemon::Pdudaemon;
pub use program::{Output, Running};
pub use proxy::{Fate, Proxy};
pub use random::random;
pub use record::Record;
