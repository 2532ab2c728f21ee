//! Files, plans and hashes on their way: get, list, file-hash and block-tree read, put and block-plan write.
//!
//! A transfer that writes takes bytes only as fast as they are written, and grants credit for what it has written.
//! One that reads asks for as many bytes as its stream has room for, or, packed, for the next piece once the last one
//! has gone.

use super::AgentLink;
use super::deploy::Limits;
use super::effect::Op;
use super::pack::{PIECE_MAX, Packer};
use super::queue::Queued;
use crate::wire::codec::Body;
use crate::wire::record::split_counted;
use crate::wire::response::{BlockTree, Got, Hash, Listed, Written};
use crate::wire::{Failure, FailureKind, Method, response};
use sha2::{Digest, Sha256};

/// Bytes that the dispatcher may send ahead of what is written: as much as the board's tty layer holds while a write
/// to a slow card takes its time (a kernel's flip buffers hold 640 KiB, of old ones 64 KiB).
pub const WRITE_WINDOW: usize = 32 * 1024;

/// Least room for which a read is asked: smaller ones cost more than they bring.
const READ_MIN: usize = 1024;

/// Bytes read at once for a hash, which go nowhere else.
pub const HASH_READ: usize = 64 * 1024;

/// A transfer in progress.
#[derive(Clone, Debug)]
pub(super) enum Transfer {
    /// A file to the dispatcher, packed or not.
    Get { stream: u8, is_packed: bool, offset: u64, start: u64, mode: u32, hash: Sha256 },
    /// A directory's entries to the dispatcher.
    List { stream: u8, entries: u32 },
    /// A file from the dispatcher.
    Put { stream: u8, size: u64, received: u64, sha256: Option<[u8; 32]>, hash: Sha256 },
    /// A plan from the dispatcher.
    Plan {
        stream: u8,
        written: Written,
        /// Whether there is something to work on.
        has_work: bool,
        /// Whether all of its bytes have come.
        has_all: bool,
    },
    /// Hashes to the dispatcher.
    Tree { stream: u8, width: u8, size: u64, nodes: u32 },
    /// A digest of a piece of a file.
    Hash { offset: u64, left: u64, hash: Sha256 },
}

/// Where a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Waits for its file, or what a plan names.
    Opening,
    /// Waits for it, and everything has come already.
    Ended,
    /// Bytes move.
    Moving,
    /// A read is under way.
    Reading,
    /// Waits until it is durable.
    Committing,
}

/// What a transfer came to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Done<'h> {
    /// Answer with this.
    Got(Got<'h>),
    /// Answer with this.
    Listed(Listed),
    /// Answer with this.
    Hash(Hash<'h>),
    /// Answer with this.
    Tree(BlockTree),
}

impl Transfer {
    /// The stream that belongs to it.
    pub(super) fn stream(&self) -> Option<u8> {
        match self {
            Self::Get { stream, .. }
            | Self::List { stream, .. }
            | Self::Put { stream, .. }
            | Self::Plan { stream, .. }
            | Self::Tree { stream, .. } => Some(*stream),
            Self::Hash { .. } => None,
        }
    }

    /// The method that it answers.
    pub(super) fn method(&self) -> Method {
        match self {
            Self::Get { is_packed: true, .. } => Method::GET_PACKED,
            Self::Get { .. } => Method::GET,
            Self::List { .. } => Method::LIST,
            Self::Put { .. } => Method::PUT,
            Self::Plan { .. } => Method::BLOCK_PLAN,
            Self::Tree { .. } => Method::BLOCK_TREE,
            Self::Hash { .. } => Method::FILE_HASH,
        }
    }

    /// Whether it takes bytes from the dispatcher.
    pub(super) fn is_writing(&self) -> bool {
        matches!(self, Self::Put { .. } | Self::Plan { .. })
    }

    /// It is open.
    pub(super) fn handle_opened(
        &mut self,
        size: u64,
        file_mode: u32,
        link: &mut AgentLink,
    ) -> Result<(), Failure<'static>> {
        match self {
            Self::Get { mode, .. } => *mode = file_mode,
            Self::Tree { size: all, .. } => *all = size,
            Self::Put { stream, .. } | Self::Plan { stream, .. } => {
                link.grant(*stream, WRITE_WINDOW);
            }
            Self::Hash { offset, left, .. } => {
                if offset.checked_add(*left).is_none_or(|end| end > size) {
                    return Err(failure(FailureKind::TOO_LARGE, "beyond its end"));
                }
            }
            Self::List { .. } => {}
        }
        Ok(())
    }

    /// The next read to ask for, if there is room for it.
    pub(super) fn read(&mut self, op: Op, link: &AgentLink) -> Option<Queued> {
        let room = |stream: &u8| Some(link.room(*stream)).filter(|room| *room >= READ_MIN);
        match self {
            Self::Get { is_packed: true, offset, .. } => {
                Some(Queued::Read { op, offset: *offset, max: PIECE_MAX })
            }
            Self::Get { stream, offset, .. } => {
                room(stream).map(|max| Queued::Read { op, offset: *offset, max })
            }
            Self::List { stream, .. } => {
                room(stream).map(|max| Queued::Read { op, offset: 0, max })
            }
            Self::Hash { offset, left, .. } => {
                let max = usize::try_from(*left).unwrap_or(HASH_READ).min(HASH_READ);
                Some(Queued::Read { op, offset: *offset, max })
            }
            Self::Plan { has_work, .. } => {
                core::mem::take(has_work).then_some(Queued::Work { op, max: 0 })
            }
            Self::Tree { stream, .. } => room(stream).map(|max| Queued::Work { op, max }),
            Self::Put { .. } => None,
        }
    }

    /// What came of work: bytes of the input that were taken, hashes, whether there is more to do. Returns the answer
    /// when it is complete.
    pub(super) fn handle_worked(
        &mut self,
        taken: usize,
        bytes: &[u8],
        has_more: bool,
        so_far: Written,
        link: &mut AgentLink,
        limits: Limits,
    ) -> Option<Done<'static>> {
        match self {
            Self::Plan { stream, written, has_work, .. } => {
                link.grant(*stream, taken);
                *written = so_far;
                *has_work |= has_more;
                None
            }
            Self::Tree { stream, width, size, nodes } => {
                link.write(*stream, bytes);
                *nodes += (bytes.len() / usize::from(*width).max(1)) as u32;
                if has_more {
                    return None;
                }
                link.finish(*stream);
                let Limits { bin_max, dictionary_max } = limits;
                let (size, nodes) = (*size, *nodes);
                Some(Done::Tree(BlockTree { size, nodes, bin_max, dictionary_max }))
            }
            _ => None,
        }
    }

    /// Whether all that there is to write has come, and been dealt with.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(self, Self::Plan { has_work: true, .. } | Self::Plan { has_all: false, .. })
    }

    /// Bytes that were read; none at the end. Returns the answer when it is complete.
    pub(super) fn handle_bytes<'h>(
        &mut self,
        bytes: &[u8],
        link: &mut AgentLink,
        packer: &mut Packer,
        digest: &'h mut [u8; 32],
    ) -> Result<Option<Done<'h>>, Failure<'static>> {
        match self {
            Self::Get { stream, is_packed, offset, start, mode, hash } => {
                if !bytes.is_empty() {
                    hash.update(bytes);
                    if *is_packed {
                        packer.pack(bytes);
                        *offset += bytes.len() as u64;
                    } else {
                        *offset += link.write(*stream, bytes) as u64;
                    }
                    return Ok(None);
                }
                link.finish(*stream);
                *digest = hash.finalize_reset().into();
                let bytes = *offset - *start;
                Ok(Some(Done::Got(Got { bytes, mode: *mode, sha256: digest })))
            }
            Self::List { stream, entries } => {
                if !bytes.is_empty() {
                    let mut rest = bytes;
                    while let Some(entry) = split_counted(rest) {
                        *entries += 1;
                        rest = &rest[entry.len() + 2..];
                    }
                    link.write(*stream, bytes);
                    return Ok(None);
                }
                link.finish(*stream);
                Ok(Some(Done::Listed(Listed { entries: *entries })))
            }
            Self::Hash { offset, left, hash, .. } => {
                if bytes.is_empty() && *left > 0 {
                    return Err(failure(FailureKind::TOO_LARGE, "it ended early"));
                }
                hash.update(bytes);
                *offset += bytes.len() as u64;
                *left = left.saturating_sub(bytes.len() as u64);
                if *left > 0 {
                    return Ok(None);
                }
                *digest = hash.finalize_reset().into();
                Ok(Some(Done::Hash(Hash { sha256: digest })))
            }
            Self::Put { .. } | Self::Plan { .. } | Self::Tree { .. } => Ok(None),
        }
    }

    /// The stream has ended: whether everything came that was promised.
    pub(super) fn handle_finished(&mut self) -> Result<(), Failure<'static>> {
        match self {
            Self::Put { size, received, sha256, hash, .. } => {
                if received != size {
                    return Err(failure(FailureKind::DIGEST, "not as many bytes as announced"));
                }
                if sha256.is_some_and(|wanted| wanted != <[u8; 32]>::from(hash.finalize_reset())) {
                    return Err(failure(FailureKind::DIGEST, ""));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What it answers when everything is durable.
    pub(super) fn written(&self) -> Option<Written> {
        match self {
            Self::Plan { written, .. } => Some(*written),
            _ => None,
        }
    }
}

/// A failure of the core's own.
pub(super) fn failure(kind: FailureKind, text: &'static str) -> Failure<'static> {
    Failure { kind, os_error: 0, text }
}

impl Done<'_> {
    /// Sends it as the answer to a request of that method.
    pub(super) fn send(self, method: Method, request: u32, link: &mut AgentLink) {
        let body: &dyn Body = match &self {
            Self::Got(body) => body,
            Self::Listed(body) => body,
            Self::Hash(body) => body,
            Self::Tree(body) => body,
        };
        super::send(link, method, request, body);
    }
}

/// The answer to a transfer that wrote.
pub(super) fn send_written(transfer: &Transfer, request: u32, link: &mut AgentLink) {
    match transfer.written() {
        Some(written) => super::send(link, transfer.method(), request, &written),
        None => super::send(link, transfer.method(), request, &response::Done {}),
    }
}
