//! What every request goes through before anything is done for it, and every answer on its way back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::access::{self, Identity};
use super::error::ApiError;
use super::state::Shared;
use crate::store::tokens::Role;

/// The outermost: checks names and origins, finds out who asks, and says to browsers what they must not do with the
/// answer.
pub(super) async fn all(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut response = match check(&shared, &request) {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    let class = usize::from(response.status().as_u16() / 100).saturating_sub(1);
    shared.answers[class.min(shared.answers.len() - 1)].fetch_add(1, Ordering::Relaxed);
    let headers = response.headers_mut();
    for (name, value) in ANSWER_HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// The one of a route: lets those in who have the role, and ends what takes too long to answer.
pub(super) async fn route(
    shared: Arc<Shared>,
    role: Option<Role>,
    limit: Option<Duration>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(role) = role {
        let identity = request.extensions().get::<Option<Identity>>().cloned().flatten();
        match identity {
            None => {
                return ApiError::new(StatusCode::UNAUTHORIZED, "the lab must know who asks")
                    .mend("send \"Authorization: Bearer TOKEN\", or log in on the page")
                    .into_response();
            }
            Some(identity) if identity.role < role => {
                let message =
                    format!("{} may not do this: it takes a {}", identity.name, word(role));
                return ApiError::forbidden(message)
                    .mend("ask who runs the lab for another token")
                    .into_response();
            }
            Some(identity) => {
                let mut request = request;
                request.extensions_mut().insert(identity);
                return in_time(limit, request, next).await;
            }
        }
    }
    let _ = shared;
    in_time(limit, request, next).await
}

async fn in_time(limit: Option<Duration>, request: Request, next: Next) -> Response {
    let Some(limit) = limit else { return next.run(request).await };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "this took the lab too long").into_response()
        }
    }
}

fn check(shared: &Shared, request: &Request) -> Result<Option<Identity>, ApiError> {
    let headers = request.headers();
    let host = access::host_of(headers)
        .ok_or_else(|| ApiError::bad_request("the request needs one Host header"))?;
    if !shared.access.is_served(host) {
        let message = format!("the lab is not called \"{}\"", super::paths::shorten(host));
        return Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, message)
            .mend("name it to pumice serve with --host"));
    }
    let is_upgrade = headers.contains_key(header::UPGRADE);
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if (!is_reading || is_upgrade) && !is_from_our_page(headers, host) {
        return Err(ApiError::forbidden("the request comes from the page of another site"));
    }
    shared.access.identify(headers)
}

/// Whether a browser says that one of our own pages asks, or nobody says that it is a browser. A WebSocket is not held
/// back by the rules for other requests, so that this is all that stands before it.
fn is_from_our_page(headers: &HeaderMap, host: &str) -> bool {
    let is_ours = |origin: &HeaderValue| {
        let origin = origin.to_str().unwrap_or_default();
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        // Behind a proxy the scheme is another; the name must be that of this request.
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    };
    headers.get_all(header::ORIGIN).iter().all(is_ours)
        && headers
            .get_all("sec-fetch-site")
            .iter()
            .all(|site| site == "same-origin" || site == "none")
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Submitter => "submitter",
        Role::Admin => "admin",
    }
}

/// The page takes nothing from anywhere else, runs no script that stands in it, and stands in no other page.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
     style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

const ANSWER_HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];
