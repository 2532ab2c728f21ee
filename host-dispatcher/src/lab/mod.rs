//! A lab of many boards: which job is begun on which board, and when; who may use a board; how healthy it is.
//!
//! Pure: what happened and the time go in, what is to be done comes out. Knows nothing of lines, files and sockets.

pub mod view;
