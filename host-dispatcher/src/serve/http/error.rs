//! What a client is told when something is not done.

use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::config::yaml::FileError;
use crate::serve::control::{Refusal, RefusalKind};
use crate::store::StoreError;

/// `{"error": {"message", "file", "line", "mend"}}`, with a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    error: Told,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Told {
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, error: Told { message: message.into(), file: None, line: None, mend: None } }
    }

    pub(super) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.error.mend = Some(mend.into());
        self
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub(super) fn full(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Form {
            error: Told,
        }
        let mut response = (self.status, axum::Json(Form { error: self.error })).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.kind {
            RefusalKind::NotFound => StatusCode::NOT_FOUND,
            RefusalKind::Conflict => StatusCode::CONFLICT,
            RefusalKind::Forbidden => StatusCode::FORBIDDEN,
            RefusalKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, refusal.message)
    }
}

impl From<FileError> for ApiError {
    fn from(error: FileError) -> Self {
        let FileError { file, line, column: _, message, mend } = error;
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self { status, error: Told { message, file: Some(file), line, mend } }
    }
}

impl From<StoreError> for ApiError {
    /// Says what could not be done, and not where the store lies.
    fn from(error: StoreError) -> Self {
        let name = error.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match error.source.kind() {
            std::io::ErrorKind::NotFound => Self::not_found(format!("there is no {name}")),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::full("the store's disk is full")
            }
            _ => Self::internal(format!("failed to {} {name}: {}", error.action, error.source)),
        }
    }
}
