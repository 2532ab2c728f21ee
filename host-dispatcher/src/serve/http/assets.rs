//! The page, which is in this program.

use axum::extract::State;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::error::ApiError;
use super::input::At;
use super::{Asset, state};
use crate::store::hexadecimal;

/// The files of the page with what tells one version of them from another.
#[derive(Debug)]
pub(super) struct Assets(Vec<(&'static Asset, String)>);

impl Assets {
    pub(super) fn new(assets: &'static [Asset]) -> Self {
        let tagged = |asset: &'static Asset| {
            let digest = hexadecimal(&Sha256::digest(asset.bytes));
            (asset, format!("\"{}\"", digest.get(..16).unwrap_or_default()))
        };
        Self(assets.iter().map(tagged).collect())
    }

    /// Only names of the table: nothing is made a path.
    fn answer(&self, name: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
        let known = self.0.iter().find(|(asset, _)| asset.name == name);
        let Some((asset, tag)) = known else {
            return Err(ApiError::not_found("there is no such file of the page"));
        };
        let mut answer = HeaderMap::new();
        let mut set = |name: HeaderName, value: &str| {
            HeaderValue::from_str(value).map(|value| answer.insert(name, value)).is_ok()
        };
        set(header::CONTENT_TYPE, asset.media_type);
        set(header::ETAG, tag);
        // Asked for again each time: another version of the dispatcher has another page.
        set(header::CACHE_CONTROL, "no-cache");
        let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value == tag);
        if is_known {
            return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
        }
        Ok((answer, asset.bytes).into_response())
    }
}

pub(super) async fn index(
    State(shared): state::State,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    shared.assets.answer("index.html", &headers)
}

pub(super) async fn one(
    State(shared): state::State,
    At(name): At<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    shared.assets.answer(&name, &headers)
}
