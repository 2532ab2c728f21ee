//! The bytes of every released version of the wire, frozen: one file a version, named after it; and peers of another age
//! against today's code (`peers.rs`).
//!
//! **A file of a version is never edited once its version is released.** When a test there fails, the change that made it
//! fail breaks every agent in the field: undo it, and append instead (docs/protocol.md, "How it may grow").

mod versions {
    pub(crate) mod assert;
    mod peers;
    mod v1;
}
