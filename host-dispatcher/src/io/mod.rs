//! The shell: everything of the dispatcher that touches the operating system while boards are driven.
//!
//! [`event_loop::Reactor`] owns every line, child process, signal and the terminal's input behind one `mio::Poll`, and
//! turns them into [`event::IoEvent`]s. It decides nothing: when to connect, what to write and what an event means
//! is the business of the pure modules.

pub mod callback;
pub mod clock;
pub mod connection;
pub mod drive;
pub mod emulator;
pub mod event;
pub mod event_loop;
mod first_words;
pub mod hangup;
mod holder;
mod lock;
mod pdudaemon;
mod port;
pub(crate) mod power;
mod process;
mod serial;
mod side_lane;
pub mod signals;
mod sys;
mod telnet;
pub mod terminal;
pub mod waker;

#[cfg(test)]
mod reactor_tests;
#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod side_lane_tests;
#[cfg(test)]
pub(crate) mod test_folder;
