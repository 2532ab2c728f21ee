//! Files that people write: labs and board types, and what job files share with them.
//!
//! A value that comes out of here has been checked; a file that cannot be meant so is one line of [`yaml::FileError`].
//! Pure, except for the functions named `load`. Knows nothing of what is done with the values.

pub mod board_type;
pub mod boot_kind;
pub mod boot_loader;
pub mod connection;
mod connection_error;
pub mod kind;
pub mod lab;
pub mod matching;
pub mod next_slot;
pub mod power;
pub mod revive;
pub mod shell;
pub mod shipped;
pub mod side_lane;
pub mod template;
pub mod value;
pub mod yaml;
