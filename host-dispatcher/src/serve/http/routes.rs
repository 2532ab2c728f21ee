//! All routes: what each is for, who may use it, and how long it may take. `openapi.json` is made from the same table.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, head, post, put};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};

use super::access::{COOKIE_NAME, Identity, SESSION};
use super::error::ApiError;
use super::input::Body;
use super::jobs::Nothing;
use super::state::{self, Shared};
use super::{
    assets, boards, console, download, events, guard, jobs, line, log, metrics, openapi, runs,
};
use super::{submit, upload};
use crate::store::tokens::Role;

/// A method on a path.
pub(super) struct Route {
    /// In lower case.
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Who may use it; nothing for anybody.
    pub(super) role: Option<Role>,
    pub(super) summary: &'static str,
    /// Names in the query, each with what it does.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// The schema of the JSON that is sent; a media type where it is something else.
    pub(super) body: Option<&'static str>,
    pub(super) status: u16,
    /// The schema of the JSON that is answered; a media type where it is something else.
    pub(super) answer: &'static str,
    pace: Pace,
    handler: MethodRouter<Arc<Shared>>,
}

/// How long an answer may take to begin.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// A moment.
    Soon,
    /// As long as repositories take to be fetched.
    Submit,
    /// The handler has bounds of its own.
    Own,
}

impl Route {
    fn new(
        method: &'static str,
        path: &'static str,
        summary: &'static str,
        handler: MethodRouter<Arc<Shared>>,
    ) -> Self {
        Self {
            method,
            path,
            role: Some(Role::Viewer),
            summary,
            query: &[],
            body: None,
            status: 200,
            answer: "Done",
            pace: Pace::Soon,
            handler,
        }
    }

    fn takes(self, body: &'static str) -> Self {
        Self { body: Some(body), ..self }
    }

    fn asks(self, query: &'static [(&'static str, &'static str)]) -> Self {
        Self { query, ..self }
    }

    fn gives(self, answer: &'static str) -> Self {
        Self { answer, ..self }
    }

    fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    fn by(self, role: Role) -> Self {
        Self { role: Some(role), ..self }
    }

    fn by_anybody(self) -> Self {
        Self { role: None, ..self }
    }

    fn paced(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }
}

/// The router, ready to be asked.
pub(super) fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let limit = match route.pace {
            Pace::Soon => Some(shared.limits().answer),
            Pace::Submit => Some(shared.limits().submit),
            Pace::Own => None,
        };
        let (role, known) = (route.role, Arc::clone(shared));
        let guarded = route.handler.layer(from_fn(move |request: Request, next: Next| {
            guard::route(Arc::clone(&known), role, limit, request, next)
        }));
        router = router.route(route.path, guarded);
    }
    router
        .fallback(|| async {
            ApiError::not_found("there is nothing here").mend("see /api/v1/openapi.json")
        })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this cannot be done here")
                .mend("see /api/v1/openapi.json")
        })
        .layer(from_fn_with_state(Arc::clone(shared), guard::all))
        .with_state(Arc::clone(shared))
}

/// See above.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new("get", "/", "The page", get(assets::index)).by_anybody().gives("text/html"),
        Route::new("get", "/static/{name}", "A file of the page", get(assets::one))
            .by_anybody()
            .gives("application/octet-stream"),
        Route::new("get", "/metrics", "Numbers for Prometheus", get(metrics::metrics))
            .gives("text/plain"),
        Route::new("get", "/api/v1/openapi.json", "This description", get(openapi::answer))
            .by_anybody()
            .gives("Any"),
        Route::new("post", "/api/v1/login", "Begin a session of the page", post(login))
            .by_anybody()
            .takes("Login")
            .gives("Identity"),
        Route::new("post", "/api/v1/logout", "End the session of the page", post(logout))
            .by_anybody()
            .takes("Nothing"),
        Route::new("get", "/api/v1/me", "Who asks, and what he may do", get(me)).gives("Identity"),
        Route::new("get", "/api/v1/lab", "The lab", get(boards::lab)).gives("LabView"),
        Route::new("post", "/api/v1/reload", "Read the lab file again", post(boards::reload))
            .by(Role::Admin)
            .takes("Nothing"),
        Route::new("get", "/api/v1/boards", "All boards", get(boards::all)).gives("Boards"),
        Route::new("get", "/api/v1/boards/{board}", "A board", get(boards::one)).gives("BoardView"),
        Route::new(
            "post",
            "/api/v1/boards/{board}/acquire",
            "Have a board for oneself, for some time",
            post(boards::acquire),
        )
        .by(Role::Submitter)
        .takes("Acquire")
        .gives("BoardView"),
        Route::new(
            "post",
            "/api/v1/boards/{board}/release",
            "Give a board back",
            post(boards::release),
        )
        .by(Role::Submitter)
        .takes("Release")
        .gives("BoardView"),
        Route::new(
            "post",
            "/api/v1/boards/{board}/health",
            "Say how healthy a board is",
            post(boards::set_health),
        )
        .by(Role::Admin)
        .takes("SetHealth")
        .gives("BoardView"),
        Route::new(
            "post",
            "/api/v1/boards/{board}/power",
            "Switch the power of a board that one has acquired",
            post(boards::power),
        )
        .by(Role::Submitter)
        .takes("Power"),
        Route::new(
            "get",
            "/api/v1/boards/{board}/console",
            "A WebSocket: the board's console, to type on for whom has acquired it",
            get(console::console),
        )
        .with_status(101)
        .gives("application/octet-stream"),
        Route::new(
            "get",
            "/api/v1/boards/{board}/wiring",
            "What a dispatcher elsewhere must know to drive a board",
            get(line::wiring),
        )
        .by(Role::Submitter)
        .gives("Wiring"),
        Route::new(
            "get",
            "/api/v1/boards/{board}/line",
            "A WebSocket: the line of a board that one has acquired, byte for byte",
            get(line::line),
        )
        .by(Role::Submitter)
        .with_status(101)
        .gives("application/octet-stream"),
        Route::new(
            "post",
            "/api/v1/boards/{board}/line/power",
            "Switch the power of a board whose line one has, and nothing else",
            post(line::switch),
        )
        .by(Role::Submitter)
        .takes("Switch"),
        Route::new("get", "/api/v1/jobs", "Jobs, the newest first", get(jobs::all))
            .asks(&[
                ("state", "queued, running or ended"),
                ("board", "on this board"),
                ("submitter", "submitted by this one"),
                ("name", "called so"),
                ("before", "with a number below this one"),
                ("limit", "at most so many, 1 to 500; 50"),
            ])
            .gives("Jobs"),
        Route::new("post", "/api/v1/jobs", "Submit a job", post(submit::submit))
            .by(Role::Submitter)
            .takes("Submit")
            .with_status(201)
            .gives("JobView")
            .paced(Pace::Submit),
        Route::new("get", "/api/v1/jobs/{id}", "A job", get(jobs::one)).gives("JobView"),
        Route::new("get", "/api/v1/jobs/{id}/definition", "A job's file", get(jobs::definition))
            .gives("text/yaml"),
        Route::new("post", "/api/v1/jobs/{id}/cancel", "End a job", post(jobs::cancel))
            .by(Role::Submitter)
            .takes("Nothing")
            .gives("JobView"),
        Route::new(
            "head",
            "/api/v1/files/{sha256}",
            "Whether the lab has a file",
            head(upload::has),
        )
        .by(Role::Submitter)
        .gives("application/octet-stream"),
        Route::new("put", "/api/v1/files/{sha256}", "Upload a file", put(upload::put))
            .by(Role::Submitter)
            .takes("application/octet-stream")
            .with_status(201)
            .gives("application/octet-stream")
            .paced(Pace::Own),
        Route::new("get", "/api/v1/runs", "Runs, the newest first", get(runs::all))
            .asks(&[
                ("board", "on this board"),
                ("job", "of a job called so"),
                ("before", "that began before this one"),
                ("limit", "at most so many, 1 to 500; 50"),
            ])
            .gives("Runs"),
        Route::new("get", "/api/v1/runs/{run}", "A run", get(runs::one)).gives("Run"),
        Route::new("get", "/api/v1/runs/{run}/log", "Lines of a run's log", get(log::page))
            .asks(&[
                (
                    "from",
                    "the number, among the lines that match, of the first; below 0 from the end; 0",
                ),
                ("around", "a time that shall be in the middle, instead of from"),
                ("count", "at most so many, 0 to 5000; 200"),
                ("source", "from these sources, with commas between them"),
                ("level", "of this syslog level or a graver one"),
                ("test", "output of this suite, or SUITE/CASE"),
                ("grep", "with a text that this regular expression matches"),
                ("since", "not before this time (RFC 3339)"),
                ("until", "not after this time"),
            ])
            .gives("Log"),
        Route::new(
            "get",
            "/api/v1/runs/{run}/events",
            "A run's events.ndjson as it is",
            get(download::events),
        )
        .gives("application/x-ndjson"),
        Route::new("get", "/api/v1/runs/{run}/files", "A run's files", get(runs::files))
            .gives("Files"),
        Route::new(
            "get",
            "/api/v1/runs/{run}/files/{*path}",
            "A file of a run, or a range of it",
            get(download::file),
        )
        .gives("application/octet-stream"),
        Route::new("get", "/api/v1/runs/{run}/results", "A run's results", get(runs::results))
            .asks(&[("format", "text, json, junit, tap, csv or lava; json")])
            .gives("Any"),
        Route::new("get", "/api/v1/events", "What happens, as it happens", get(events::events))
            .asks(&[
                ("after", "go on behind the event with this number; Last-Event-ID wins"),
                ("run", "tell also when this run has grown"),
            ])
            .gives("text/event-stream"),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: String,
}

/// Who asks.
#[derive(Serialize)]
struct Me {
    name: String,
    role: Role,
    /// Whether the lab asks for tokens: whether one can log out.
    needs_token: bool,
}

async fn login(
    State(shared): state::State,
    headers: HeaderMap,
    Body(body): Body<Login>,
) -> Result<Response, ApiError> {
    let Some(identity) = shared.access.of_token(body.token.trim()) else {
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "the token is not known")
            .mend("ask who runs the lab for one: pumice token add NAME"));
    };
    let session = shared.access.begin_session(&identity);
    let session = session.map_err(|error| ApiError::internal(error.to_string()))?;
    let cookie = cookie(&session, SESSION.as_micros() / 1_000_000, &headers);
    let me = Json(Me { name: identity.name, role: identity.role, needs_token: true });
    Ok(([(header::SET_COOKIE, cookie)], me).into_response())
}

async fn logout(
    State(shared): state::State,
    headers: HeaderMap,
    Body(Nothing {}): Body<Nothing>,
) -> Response {
    shared.access.end_session(&headers);
    let cookie = cookie("", 0, &headers);
    ([(header::SET_COOKIE, cookie)], Json(serde_json::json!({}))).into_response()
}

async fn me(State(shared): state::State, Extension(who): Extension<Identity>) -> Json<Me> {
    let needs_token = shared.access.needs_tokens();
    Json(Me { name: who.name, role: who.role, needs_token })
}

/// No script reads it, and no other site's page sends it. Behind a proxy with TLS it is sent through TLS only.
fn cookie(value: &str, seconds: u64, headers: &HeaderMap) -> HeaderValue {
    let is_tls = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let secure = if is_tls { "; Secure" } else { "" };
    let text = format!(
        "{COOKIE_NAME}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{secure}"
    );
    // Hexadecimal digits and the words above can stand in a header.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}
