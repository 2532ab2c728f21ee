//! Files of a run, as they are: whole, or a range. Never shown by a browser as a page of the lab's.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::error::ApiError;
use super::input::At;
use super::{paths, state};
use crate::store::StoreError;
use crate::store::names;

pub(super) async fn file(
    State(shared): state::State,
    At((run, path)): At<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let opened = shared
        .blocking(move |shared| {
            let directory = shared.runs.directory(&run)?;
            Opened::new(paths::file_of(&directory, &path)?)
        })
        .await?;
    Ok(opened.answer("application/octet-stream", &headers))
}

pub(super) async fn events(
    State(shared): state::State,
    At(run): At<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let opened = shared
        .blocking(move |shared| Opened::new(shared.runs.directory(&run)?.join("events.ndjson")))
        .await?;
    Ok(opened.answer("application/x-ndjson", &headers))
}

struct Opened {
    file: File,
    length: u64,
    name: String,
}

impl Opened {
    fn new(place: PathBuf) -> Result<Self, ApiError> {
        let open = || {
            let file = File::open(&place)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let (file, length) = open().map_err(StoreError::of("read", &place))?;
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        // In a header there is no room for what names may hold.
        Ok(Self { file, length, name: names::component(&name, 100) })
    }

    fn answer(self, media_type: &'static str, headers: &HeaderMap) -> Response {
        let disposition = format!("attachment; filename=\"{}\"", self.name);
        let mut answer = HeaderMap::new();
        let mut set = |name: HeaderName, value: String| {
            HeaderValue::from_str(&value).map(|value| answer.insert(name, value)).is_ok()
        };
        set(header::CONTENT_TYPE, media_type.into());
        set(header::CONTENT_DISPOSITION, disposition);
        set(header::ACCEPT_RANGES, "bytes".into());
        // Whatever a browser makes of it: nothing in it runs.
        set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox".into());
        let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
        let (status, from, to) = match range.map(|range| parse(range, self.length)) {
            None | Some(Range::NotUnderstood) => (StatusCode::OK, 0, self.length),
            Some(Range::Bytes(from, to)) => {
                let shown = format!("bytes {from}-{}/{}", to.saturating_sub(1), self.length);
                set(header::CONTENT_RANGE, shown);
                (StatusCode::PARTIAL_CONTENT, from, to)
            }
            Some(Range::Outside) => {
                set(header::CONTENT_RANGE, format!("bytes */{}", self.length));
                (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0)
            }
        };
        set(header::CONTENT_LENGTH, (to - from).to_string());
        (status, answer, body(self.file, from, to)).into_response()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    /// From, and up to before.
    Bytes(u64, u64),
    /// There is nothing.
    Outside,
    /// The whole file is the answer to several ranges, and to what is none.
    NotUnderstood,
}

fn parse(text: &str, length: u64) -> Range {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-'))
    else {
        return Range::NotUnderstood;
    };
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u64>().ok(),
        false => None,
    };
    match (number(first), number(last)) {
        (Some(first), None) if last.is_empty() && first < length => Range::Bytes(first, length),
        (Some(first), Some(last)) if first <= last && first < length => {
            Range::Bytes(first, last.saturating_add(1).min(length))
        }
        (None, Some(last)) if first.is_empty() && last > 0 && length > 0 => {
            Range::Bytes(length.saturating_sub(last), length)
        }
        (Some(_), None) if last.is_empty() => Range::Outside,
        (Some(first), Some(last)) if first <= last => Range::Outside,
        (None, Some(_)) if first.is_empty() => Range::Outside,
        _ => Range::NotUnderstood,
    }
}

/// A part of a file, read in pieces by a thread that may wait. A file that became shorter ends the connection.
fn body(file: File, from: u64, to: u64) -> Body {
    let file = Arc::new(file);
    Body::from_stream(stream::try_unfold(from, move |at| {
        let file = Arc::clone(&file);
        async move {
            if at >= to {
                return Ok::<_, io::Error>(None);
            }
            let read = move || {
                let length = usize::try_from(to - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, at).map(|()| Bytes::from(bytes))
            };
            let bytes = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
            let next = at + bytes.len() as u64;
            Ok(Some((bytes, next)))
        }
    }))
}

const PIECE_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, expected) in [
            ("bytes=0-0", Range::Bytes(0, 1)),
            ("bytes=10-", Range::Bytes(10, 100)),
            ("bytes=-10", Range::Bytes(90, 100)),
            ("bytes=-1000", Range::Bytes(0, 100)),
            ("bytes=99-18446744073709551615", Range::Bytes(99, 100)),
            ("bytes=100-", Range::Outside),
            ("bytes=100-200", Range::Outside),
            ("bytes=-0", Range::Outside),
            ("bytes=5-4", Range::NotUnderstood),
            ("bytes=0-1,5-6", Range::NotUnderstood),
            ("bytes=+1-2", Range::NotUnderstood),
            ("bytes=-", Range::NotUnderstood),
            ("bytes=18446744073709551616-", Range::NotUnderstood),
            ("lines=1-2", Range::NotUnderstood),
            ("", Range::NotUnderstood),
        ] {
            assert_eq!(parse(text, 100), expected, "{text}");
        }
        assert_eq!(parse("bytes=0-", 0), Range::Outside);
    }
}
