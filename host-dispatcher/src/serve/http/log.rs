//! The log of a run, in pages.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::input::{At, Params};
use super::state;
use crate::job::event::LogRecord;
use crate::report::log_filter::{self, Filter};
use crate::store::log_index::Start;
use crate::store::reader::RunState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    from: Option<i64>,
    count: Option<usize>,
    around: Option<String>,
    source: Option<String>,
    level: Option<String>,
    test: Option<String>,
    grep: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Page {
    generation: u64,
    is_growing: bool,
    /// Whether all lines were looked at; if not, the same question finds more.
    is_complete: bool,
    lines: u64,
    matched: u64,
    from: u64,
    records: Vec<Numbered>,
}

#[derive(Serialize)]
struct Numbered {
    n: u64,
    #[serde(flatten)]
    record: LogRecord,
}

pub(super) async fn page(
    State(shared): state::State,
    At(run): At<String>,
    Params(query): Params<Query>,
) -> Result<Json<Page>, ApiError> {
    let filter = filter(&query)?;
    let start = match (&query.around, query.from) {
        (Some(_), Some(_)) => return Err(ApiError::bad_request("from and around: one of them")),
        (Some(text), None) => Start::Around(time("around", text)?),
        (None, from) => Start::Number(from.unwrap_or(0)),
    };
    let count = query.count.unwrap_or(COUNT).min(COUNT_MAX);
    shared
        .blocking(move |shared| {
            let directory = shared.runs.directory(&run)?;
            // Asked for before the file is read: what comes after the run's end is nothing.
            let is_growing = RunState::of(&directory)? == RunState::Running;
            let page = shared.indexes.page(&directory, &filter, start, count)?;
            let records = page.records.into_iter();
            Ok(Json(Page {
                generation: page.generation,
                // More comes, of whatever reason.
                is_growing: is_growing || !page.is_complete,
                is_complete: page.is_complete,
                lines: page.lines,
                matched: page.matched,
                from: page.from,
                records: records.map(|(n, record)| Numbered { n, record }).collect(),
            }))
        })
        .await
}

fn filter(query: &Query) -> Result<Filter, ApiError> {
    let wrong = |name: &str, why: String| ApiError::bad_request(format!("{name}: {why}"));
    let mut sources = Vec::new();
    let words = query.source.as_deref().unwrap_or_default().split(',');
    for word in words.filter(|word| !word.is_empty()) {
        let source =
            log_filter::source(word).map_err(|error| wrong("source", error.to_string()))?;
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    let level = query.level.as_deref().filter(|level| !level.is_empty()).map(str::parse);
    let grep = query.grep.as_deref().filter(|grep| !grep.is_empty()).map(log_filter::regex);
    Ok(Filter {
        sources,
        level: level
            .transpose()
            .map_err(|error: log_filter::NotUnderstood| wrong("level", error.to_string()))?,
        test: query.test.clone().filter(|test| !test.is_empty()),
        since: query.since.as_deref().map(|text| time("since", text)).transpose()?,
        until: query.until.as_deref().map(|text| time("until", text)).transpose()?,
        grep: grep.transpose().map_err(|error| wrong("grep", error))?,
    })
}

fn time(name: &str, text: &str) -> Result<Timestamp, ApiError> {
    text.parse().map_err(|_| {
        ApiError::bad_request(format!("{name}: a time like 2026-03-01T12:00:00Z is expected"))
    })
}

/// A screen, and some more.
const COUNT: usize = 200;
const COUNT_MAX: usize = 5000;
