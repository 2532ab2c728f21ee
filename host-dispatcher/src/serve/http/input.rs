//! What a client sends, read within bounds, and complained about in our own words.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::state::Shared;

/// A JSON body of at most `LIMIT` bytes. An empty one stands for `{}`.
#[derive(Debug)]
pub(super) struct Body<T, const LIMIT: usize = SMALL>(pub(super) T);

/// The query. What is not known in it is an error: a filter with a slip in its name would show too much.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

/// What stands for the names in a route's path.
#[derive(Debug)]
pub(super) struct At<T>(pub(super) T);

/// For a few words.
pub(super) const SMALL: usize = 64 << 10;

impl<T: DeserializeOwned, const LIMIT: usize> FromRequest<Arc<Shared>> for Body<T, LIMIT> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<Shared>) -> Result<Self, ApiError> {
        let media_type = request.headers().get(header::CONTENT_TYPE).map(|value| {
            let value = value.to_str().unwrap_or_default();
            value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
        });
        // A browser asks the server before it sends this type on behalf of another site's page.
        if media_type.as_deref() != Some("application/json") {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(ApiError::new(status, "the body must be JSON")
                .mend("send \"Content-Type: application/json\""));
        }
        let bytes = read(request, LIMIT, state.limits().stall).await?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        // A list would do for an object too, in the order of names that nobody wrote down.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(ApiError::bad_request("the body is not what is expected: no JSON object"));
        }
        serde_json::from_slice(text).map(Self).map_err(|error| {
            ApiError::bad_request(format!("the body is not what is expected: {error}"))
        })
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Shared>> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Shared>) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => Err(ApiError::bad_request(error.body_text())),
        }
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Shared>> for At<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Shared>) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(path)) => Ok(Self(path)),
            Err(error) => Err(ApiError::not_found(error.body_text())),
        }
    }
}

/// A whole body, as long as pieces of it keep coming.
async fn read(request: Request, limit: usize, stall: Duration) -> Result<Bytes, ApiError> {
    let mut body = request.into_body().into_data_stream();
    let mut bytes = Vec::new();
    // Byte by byte a body would last for ever.
    let whole = async {
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| ApiError::bad_request(error.to_string()))?;
            if bytes.len() + piece.len() > limit {
                let message = format!("the body is larger than {limit} bytes");
                return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(())
    };
    match tokio::time::timeout(stall, whole).await {
        Ok(result) => result.map(|()| bytes.into()),
        Err(_) => Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}
