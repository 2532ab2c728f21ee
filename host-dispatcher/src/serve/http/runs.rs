//! Runs: what they came to, and their results.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ApiError;
use super::input::{At, Params};
use super::jobs::limit;
use super::{paths, state};
use crate::report::results_form::{self, Form};
use crate::report::summary::Summary;
use crate::report::text::Color;
use crate::report::timeline_spans::{Span, TimelineSpans};
use crate::serve::history::{RunFilter, RunRow};
use crate::store::reader::{self, RunState};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    board: Option<String>,
    /// The name of a job.
    job: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct Runs {
    runs: Vec<RunRow>,
    more: bool,
}

pub(super) async fn all(
    State(shared): state::State,
    Params(query): Params<Query>,
) -> Result<Json<Runs>, ApiError> {
    let limit = limit(query.limit);
    let filter = RunFilter { board: query.board, job: query.job };
    let before = query.before;
    let runs = shared
        .blocking(move |shared| Ok(shared.history.runs(&filter, before.as_deref(), limit + 1)))
        .await?;
    let more = runs.len() > limit;
    Ok(Json(Runs { runs: runs.into_iter().take(limit).collect(), more }))
}

#[derive(Serialize)]
pub(super) struct Run {
    state: RunState,
    summary: Value,
    spans: Vec<Span>,
    previous: Option<String>,
}

pub(super) async fn one(
    State(shared): state::State,
    At(run): At<String>,
) -> Result<Json<Run>, ApiError> {
    shared
        .blocking(move |shared| {
            let directory = shared.runs.directory(&run)?;
            let state = RunState::of(&directory)?;
            let (mut summary, mut spans) = (Summary::default(), TimelineSpans::default());
            reader::each(&directory, |event| {
                summary.handle_event(event);
                spans.handle_event(event);
            })?;
            let filter = RunFilter { job: Some(summary.job.clone()), board: None };
            let previous = shared.history.runs(&filter, Some(&run), 1).into_iter().next();
            let whole = summary.with_cases();
            let mut whole = whole.map_err(|error| ApiError::internal(error.to_string()))?;
            if let (Value::Object(whole), Some(Value::Object(kept))) =
                (&mut whole, run_json(&directory))
            {
                // What the file knows more than the events do.
                for (key, value) in kept {
                    whole.entry(key).or_insert(value);
                }
            }
            let previous = previous.map(|row| row.run);
            Ok(Json(Run { state, summary: whole, spans: spans.spans(), previous }))
        })
        .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultsQuery {
    #[serde(default)]
    format: Format,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    Text,
    #[default]
    Json,
    Junit,
    Tap,
    Csv,
    Lava,
}

pub(super) async fn results(
    State(shared): state::State,
    At(run): At<String>,
    Params(query): Params<ResultsQuery>,
) -> Result<Response, ApiError> {
    let (form, media_type) = match query.format {
        Format::Text => (Form::Text(Color::None), "text/plain; charset=utf-8"),
        Format::Json => (Form::Json, "application/json"),
        Format::Junit => (Form::Junit, "application/xml"),
        Format::Tap => (Form::Tap, "text/plain; charset=utf-8"),
        Format::Csv => (Form::Csv, "text/csv; charset=utf-8"),
        Format::Lava => (Form::Lava, "text/yaml; charset=utf-8"),
    };
    let bytes = shared
        .blocking(move |shared| {
            let directory = shared.runs.directory(&run)?;
            let summary = reader::summary(&directory)?;
            // Where the store lies is nobody's business; the text names the run.
            let shown = if matches!(form, Form::Text(_)) { Path::new(&run) } else { &directory };
            results_form::bytes(form, &summary, shown)
                .map_err(|error| ApiError::internal(error.to_string()))
        })
        .await?;
    Ok(([(header::CONTENT_TYPE, media_type)], bytes).into_response())
}

#[derive(Serialize)]
pub(super) struct Files {
    files: Vec<ListedFile>,
}

#[derive(Serialize)]
pub(super) struct ListedFile {
    path: String,
    bytes: u64,
}

pub(super) async fn files(
    State(shared): state::State,
    At(run): At<String>,
) -> Result<Json<Files>, ApiError> {
    shared
        .blocking(move |shared| {
            let directory = shared.runs.directory(&run)?;
            let files = paths::listed(&directory).into_iter();
            let files = files.map(|(path, bytes)| ListedFile { path, bytes }).collect();
            Ok(Json(Files { files }))
        })
        .await
}

fn run_json(directory: &Path) -> Option<Value> {
    let mut bytes = Vec::new();
    let file = File::open(directory.join("run.json")).ok()?;
    file.take(RUN_JSON_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// A summary lists what it has bounds for.
const RUN_JSON_BYTES_MAX: u64 = 64 << 20;
