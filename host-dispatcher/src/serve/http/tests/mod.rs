//! The interface on a loopback connection, spoken to byte by byte: also by clients that no library would be.

mod access;
mod description;
mod hostile;
mod live;
mod runs;
mod submitting;
mod testbed;
