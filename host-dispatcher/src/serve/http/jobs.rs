//! Jobs that were accepted.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::access::Identity;
use super::error::ApiError;
use super::input::{At, Body, Params};
use super::state::{self, Shared};
use crate::job::secret::Secrets;
use crate::job::secret_source::masked;
use crate::lab::view::{JobId, JobState, JobView};
use crate::serve::control::Command;
use crate::serve::history::JobFilter;
use crate::store::tokens::Role;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    state: Option<JobState>,
    board: Option<String>,
    submitter: Option<String>,
    name: Option<String>,
    before: Option<JobId>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct Jobs {
    jobs: Vec<JobView>,
    more: bool,
}

pub(super) async fn all(
    State(shared): state::State,
    Params(query): Params<Query>,
) -> Result<Json<Jobs>, ApiError> {
    let limit = limit(query.limit);
    let (state, board) = (query.state, query.board);
    let filter = JobFilter { state, board, submitter: query.submitter, name: query.name };
    let jobs = shared
        .blocking(move |shared| Ok(shared.history.jobs(&filter, query.before, limit + 1)))
        .await?;
    let more = jobs.len() > limit;
    // What a job waits for, and what it has counted, only the loop says.
    let newest = |job: JobView| shared.feed.job(job.id).unwrap_or(job);
    Ok(Json(Jobs { jobs: jobs.into_iter().take(limit).map(newest).collect(), more }))
}

pub(super) async fn one(
    State(shared): state::State,
    At(id): At<JobId>,
) -> Result<Json<JobView>, ApiError> {
    // What the loop says is newer than what the database does.
    if let Some(job) = shared.feed.job(id) {
        return Ok(Json(job));
    }
    shared.blocking(move |shared| known(shared, id)).await.map(Json)
}

pub(super) async fn definition(
    State(shared): state::State,
    At(id): At<JobId>,
) -> Result<Response, ApiError> {
    let text = shared
        .blocking(move |shared| {
            let text = shared.history.definition(id).ok_or_else(|| no_job(id))?;
            Ok(masked(&text, &Secrets::default()))
        })
        .await?;
    Ok(([(header::CONTENT_TYPE, "text/yaml; charset=utf-8")], text).into_response())
}

pub(super) async fn cancel(
    State(shared): state::State,
    Extension(who): Extension<Identity>,
    At(id): At<JobId>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<JobView>, ApiError> {
    if who.role < Role::Admin {
        let job = match shared.feed.job(id) {
            Some(job) => job,
            None => shared.blocking(move |shared| known(shared, id)).await?,
        };
        if job.submitter != who.name {
            let message = format!("job {id} is {}'s", job.submitter);
            return Err(ApiError::forbidden(message).mend("an admin may cancel it"));
        }
    }
    Ok(Json(shared.control.ask(|reply| Command::Cancel(id, reply)).await?))
}

/// `{}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// How many a client wants of a list, within reason.
pub(super) fn limit(wanted: Option<usize>) -> usize {
    wanted.unwrap_or(LIMIT).clamp(1, LIMIT_MAX)
}

fn known(shared: &Shared, id: JobId) -> Result<JobView, ApiError> {
    shared.history.job(id).ok_or_else(|| no_job(id))
}

fn no_job(id: JobId) -> ApiError {
    ApiError::not_found(format!("there is no job {id}"))
}

/// A page of a list.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 500;
