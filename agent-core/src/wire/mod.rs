//! The messages between dispatcher and agent, and their bytes. `docs/protocol.md` is the specification; its hex
//! vectors and the frozen bytes in `tests/versions/` are executed against this module.
//!
//! A message travels on stream 0 as an envelope ([`envelope`]): a length, an append-only method id, a request id,
//! and a postcard body. Bodies grow only at the tail; [`codec`] decodes a longer body (trailing bytes are ignored)
//! and a shorter one (missing fields are zero, which must mean the old behaviour).
//!
//! Bulk data never travels in messages: a request names a stream, and the bytes follow there ([`steps`], [`record`]).

pub mod block;
pub mod codec;
pub mod envelope;
pub mod failure;
pub mod method;
pub mod node;
pub mod plan;
pub mod record;
pub mod request;
pub mod response;
pub mod steps;
pub mod test_signal;

pub use envelope::{Envelope, MESSAGE_MAX};
pub use failure::{Failure, FailureKind};
pub use method::Method;
