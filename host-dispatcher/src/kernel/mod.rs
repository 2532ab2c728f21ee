//! Watching the kernel of an image: its reports of trouble are cut out of its log, of the raw line and of pstore.
//!
//! A report is known by where it stands, not by its words alone: in a record that the kernel itself wrote, or on the raw
//! line behind `printk`'s prefix. What a test prints, or writes to /dev/kmsg, is none. Pure: lines and times come in,
//! [`Found`] reports come out; everything is bounded.
//!
//! * [`patterns`]: how each kind of report begins, and which file of the kernel prints it
//! * [`cutter`]: from lines to whole reports · [`console`]: lines of the raw line · [`pstore`]: what a dead kernel left
//! * [`watch`]: all of them together, each report once · [`policy`]: what a job wants done

pub mod console;
pub mod cutter;
pub mod patterns;
pub mod policy;
pub mod pstore;
pub mod watch;

pub use policy::{Action, Kind, Policy};
pub use watch::{Found, Watch};

#[cfg(test)]
mod samples;
