//! A serial line in virtual time, with faults from a seed.
//!
//! A [`Line`] is one direction of a UART: [`Line::send`] queues bytes, which leave at the pace of the baud rate, meet
//! the faults that [`Options`] asks for, and are handed over by [`Line::receive`] when an adapter would. Text of
//! others (a kernel's) cuts in anywhere, and is recorded, so that a test can ask for it byte by byte.
//!
//! It knows nothing of frames, sessions or clocks: bytes go in and come out, time is a number of µs that the caller
//! advances and that never goes back. Two lines with the same options, seed and calls do the same.
//!
//! ```
//! use serial_sim::{Line, Options, Rng};
//!
//! let mut line = Line::new(Options::clean(115_200), Rng::new(1));
//! line.send(0, b"hello");
//! assert_eq!(line.next_arrival(), Some(1_000));
//! assert_eq!(line.receive(1_000), b"hello");
//! ```

mod line;
mod options;
mod rng;

pub use line::{Counts, Line};
pub use options::{Options, Text};
pub use rng::Rng;
