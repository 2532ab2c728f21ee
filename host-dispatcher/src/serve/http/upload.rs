//! Files that jobs bring along: `<store>/files/<SHA-256>`.
//!
//! A file is there whole or not at all: it is written beside its place, compared with its digest, synced, and renamed.
//! A job gets links to its files, so that one that goes here to make room stays where it is needed.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use futures_util::StreamExt;
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::Limits;
use super::error::ApiError;
use super::input::At;
use super::paths::is_digest;
use super::state::{self, Shared};
use crate::store::hexadecimal;
use crate::store::tokens::random;

pub(super) async fn has(
    State(shared): state::State,
    At(sha256): At<String>,
) -> Result<StatusCode, ApiError> {
    shared
        .blocking(move |shared| match find(&shared.options.store, &sha256) {
            Some(_) => Ok(StatusCode::OK),
            None => Err(ApiError::not_found("the lab does not have this file")),
        })
        .await
}

pub(super) async fn put(
    State(shared): state::State,
    At(sha256): At<String>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    if !is_digest(&sha256) {
        return Err(ApiError::bad_request("a file's name is its SHA-256: 64 lower-case digits"));
    }
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let limits = shared.limits();
    if length.is_some_and(|length| length > limits.file_bytes) {
        return Err(too_large(limits));
    }
    let Ok(_permit) = Arc::clone(&shared.uploads).try_acquire_owned() else {
        return Err(ApiError::busy("too many files are being uploaded: try again"));
    };
    let name = sha256.clone();
    let upload = shared
        .blocking(move |shared| {
            if find(&shared.options.store, &name).is_some() {
                return Ok(None);
            }
            Upload::begin(shared, length.unwrap_or(0)).map(Some)
        })
        .await?;
    // Not read: the connection ends with the answer, and the client has no need to send the file.
    let Some(mut upload) = upload else { return Ok(StatusCode::OK) };
    let mut body = request.into_body().into_data_stream();
    let mut piece = Vec::new();
    // A client that drips would hold one of few places for ever.
    let (mut until, mut since) = (Instant::now() + limits.stall, 0);
    loop {
        let next = tokio::time::timeout_at(until, body.next()).await.map_err(|_| {
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "the file did not come in time")
        })?;
        since += next.as_ref().map_or(0, |bytes| bytes.as_ref().map_or(0, Bytes::len));
        if since >= FLOOR_BYTES {
            (until, since) = (Instant::now() + limits.stall, 0);
        }
        let is_end = next.is_none();
        if let Some(bytes) = next {
            piece.extend_from_slice(&bytes.map_err(|error| {
                ApiError::bad_request(format!("the file did not come whole: {error}"))
            })?);
        }
        if piece.len() >= PIECE_BYTES || is_end {
            let bytes = std::mem::take(&mut piece);
            upload = shared.blocking(move |shared| upload.write(&bytes, shared)).await?;
        }
        if is_end {
            break;
        }
    }
    shared.blocking(move |shared| upload.end(&sha256, shared)).await?;
    Ok(StatusCode::CREATED)
}

/// An uploaded file, which is now one that was just used.
pub(super) fn find(store: &Path, sha256: &str) -> Option<PathBuf> {
    if !is_digest(sha256) {
        return None;
    }
    let place = folder(store).join(sha256);
    let file = File::open(&place).ok()?;
    let _ = futimens(&file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW);
    Some(place)
}

/// Removes what a dispatcher left that died while files came.
pub(super) fn sweep(store: &Path) {
    let Ok(entries) = fs::read_dir(folder(store)) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(NEW.as_bytes()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A file on its way; removed if it does not come to its end.
struct Upload {
    file: File,
    place: PathBuf,
    digest: Sha256,
    bytes: u64,
    is_whole: bool,
}

impl Upload {
    fn begin(shared: &Shared, length: u64) -> Result<Self, ApiError> {
        let folder = folder(&shared.options.store);
        fs::create_dir_all(&folder).map_err(failed)?;
        make_room(&folder, length, shared.limits())?;
        let name = hexadecimal(&random().map_err(failed)?[..8]);
        let place = folder.join(format!("{NEW}{name}"));
        let file = File::create_new(&place).map_err(failed)?;
        Ok(Self { file, place, digest: Sha256::new(), bytes: 0, is_whole: false })
    }

    fn write(mut self, bytes: &[u8], shared: &Shared) -> Result<Self, ApiError> {
        let limits = shared.limits();
        self.bytes += bytes.len() as u64;
        if self.bytes > limits.file_bytes {
            return Err(too_large(limits));
        }
        has_room(&self.place, bytes.len() as u64, limits)?;
        self.digest.update(bytes);
        self.file.write_all(bytes).map_err(failed)?;
        Ok(self)
    }

    fn end(mut self, sha256: &str, shared: &Shared) -> Result<(), ApiError> {
        let found = hexadecimal(&self.digest.finalize_reset());
        if found != sha256 {
            let message = format!("{} bytes came, and their SHA-256 is {found}", self.bytes);
            return Err(ApiError::invalid(message).mend("send the file again"));
        }
        self.file.sync_all().map_err(failed)?;
        let folder = folder(&shared.options.store);
        fs::rename(&self.place, folder.join(sha256)).map_err(failed)?;
        self.is_whole = true;
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.is_whole {
            let _ = fs::remove_file(&self.place);
        }
    }
}

/// Removes files that nobody used for long, until one of `length` bytes has room.
fn make_room(folder: &Path, length: u64, limits: &Limits) -> Result<(), ApiError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)?.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let is_whole = entry.file_name().to_str().is_some_and(is_digest);
        files.push((used, metadata.len(), is_whole.then(|| entry.path())));
    }
    files.sort();
    let mut total = files.iter().map(|(_, bytes, _)| bytes).sum::<u64>().saturating_add(length);
    for (used, bytes, place) in files {
        let is_enough = total <= limits.files_bytes && has_room(folder, length, limits).is_ok();
        // Who uploads some files submits his job when he has sent the last one.
        let is_fresh = used.elapsed().unwrap_or_default() < FRESH;
        let (Some(place), false, false) = (place, is_enough, is_fresh) else { continue };
        if fs::remove_file(place).is_ok() {
            total = total.saturating_sub(bytes);
        }
    }
    if total > limits.files_bytes {
        let message = format!("uploaded files take at most {} bytes", limits.files_bytes);
        return Err(
            ApiError::full(message).mend("wait for an hour: files that nobody uses go then")
        );
    }
    has_room(folder, length, limits)
}

fn has_room(place: &Path, length: u64, limits: &Limits) -> Result<(), ApiError> {
    let folder = if place.is_dir() { place } else { place.parent().unwrap_or(place) };
    let free = (limits.free_of)(folder).map_err(failed)?;
    if free < limits.free_bytes.saturating_add(length) {
        return Err(ApiError::full("the store's disk is full")
            .mend("make room: pumice images prune, or remove old runs"));
    }
    Ok(())
}

fn too_large(limits: &Limits) -> ApiError {
    let message = format!("a file has at most {} bytes", limits.file_bytes);
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

/// The disk failed, or is full.
pub(super) fn failed(error: io::Error) -> ApiError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            ApiError::full("the store's disk is full")
        }
        _ => ApiError::internal(format!("the store cannot be written: {error}")),
    }
}

fn folder(store: &Path) -> PathBuf {
    store.join("files")
}

const NEW: &str = ".new-";
/// So much has to come in the time of [`Limits::stall`]: 2 KiB/s.
const FLOOR_BYTES: usize = 64 << 10;
/// A thread is asked for each of these.
const PIECE_BYTES: usize = 1 << 20;
const FRESH: Duration = Duration::from_secs(3600);
