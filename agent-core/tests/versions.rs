//! The bytes of every released version of the wire, frozen: one file a version, named after it.
//!
//! **A file in `versions/` is never edited once its version is released.** When a test there fails, the change that
//! made it fail breaks every agent in the field: undo it, and append instead (docs/protocol.md, "How it may grow").

mod versions {
    pub(crate) mod assert;
    mod v1;
}
