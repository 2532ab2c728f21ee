//! The lab and its boards: what they are, and hands on them.

use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::access::Identity;
use super::error::ApiError;
use super::input::{At, Body};
use super::jobs::Nothing;
use super::state;
use crate::config::connection::PowerOperation;
use crate::lab::LEASE_MINUTES_MAX as MINUTES_MAX;
use crate::lab::view::{BoardView, Health, LabView};
use crate::serve::control::Command;
use crate::store::tokens::Role;

pub(super) async fn lab(State(shared): state::State) -> Json<LabView> {
    Json(shared.feed.lab())
}

#[derive(Serialize)]
pub(super) struct Boards {
    boards: Vec<BoardView>,
}

pub(super) async fn all(State(shared): state::State) -> Json<Boards> {
    Json(Boards { boards: shared.feed.boards() })
}

pub(super) async fn one(
    State(shared): state::State,
    At(board): At<String>,
) -> Result<Json<BoardView>, ApiError> {
    shared.feed.board(&board).map(Json).ok_or_else(|| no_board(&board))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Acquire {
    #[serde(default = "an_hour")]
    minutes: u32,
    #[serde(default)]
    reason: String,
}

pub(super) async fn acquire(
    State(shared): state::State,
    Extension(who): Extension<Identity>,
    At(board): At<String>,
    Body(body): Body<Acquire>,
) -> Result<Json<BoardView>, ApiError> {
    if !(1..=MINUTES_MAX).contains(&body.minutes) {
        return Err(ApiError::invalid(format!("a board is given for 1 to {MINUTES_MAX} minutes")));
    }
    let (minutes, reason) = (body.minutes, for_people(&body.reason)?);
    let ask = |reply| Command::Acquire { board, holder: who.name, reason, minutes, reply };
    Ok(Json(shared.control.ask(ask).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Release {
    #[serde(default)]
    force: bool,
}

pub(super) async fn release(
    State(shared): state::State,
    Extension(who): Extension<Identity>,
    At(board): At<String>,
    Body(body): Body<Release>,
) -> Result<Json<BoardView>, ApiError> {
    if body.force && who.role < Role::Admin {
        return Err(ApiError::forbidden("only an admin takes from others what they hold"));
    }
    let holder = (!body.force).then_some(who.name);
    Ok(Json(shared.control.ask(|reply| Command::Release { board, holder, reply }).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetHealth {
    health: Health,
    #[serde(default)]
    reason: String,
}

pub(super) async fn set_health(
    State(shared): state::State,
    At(board): At<String>,
    Body(body): Body<SetHealth>,
) -> Result<Json<BoardView>, ApiError> {
    let (health, reason) = (body.health, for_people(&body.reason)?);
    if health == Health::Bad {
        return Err(ApiError::invalid("only a health check says that a board is bad")
            .mend("a person says maintenance or retired"));
    }
    let ask = |reply| Command::SetHealth { board, health, reason, reply };
    Ok(Json(shared.control.ask(ask).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Power {
    operation: PowerOperation,
    #[serde(default)]
    force: bool,
}

/// Nothing.
#[derive(Serialize)]
pub(super) struct Done {}

pub(super) async fn power(
    State(shared): state::State,
    Extension(who): Extension<Identity>,
    At(board): At<String>,
    Body(body): Body<Power>,
) -> Result<Json<Done>, ApiError> {
    if body.force && who.role < Role::Admin {
        return Err(ApiError::forbidden("only an admin takes from others what they hold"));
    }
    let view = shared.feed.board(&board).ok_or_else(|| no_board(&board))?;
    // An admin need not acquire what nobody has.
    let is_free = who.role >= Role::Admin && (body.force || view.lease.is_none());
    let (holder, operation) = ((!is_free).then_some(who.name), body.operation);
    shared.control.ask(|reply| Command::Power { board, holder, operation, reply }).await?;
    Ok(Json(Done {}))
}

pub(super) async fn reload(
    State(shared): state::State,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Done>, ApiError> {
    shared.control.ask(Command::Reload).await?;
    Ok(Json(Done {}))
}

pub(super) fn no_board(board: &str) -> ApiError {
    ApiError::not_found(format!("the lab has no board \"{}\"", super::paths::shorten(board)))
}

/// A reason: one line, not too long.
fn for_people(text: &str) -> Result<String, ApiError> {
    if text.chars().count() > REASON_CHARACTERS_MAX || text.chars().any(char::is_control) {
        let message = format!("a reason is one line of at most {REASON_CHARACTERS_MAX} characters");
        return Err(ApiError::invalid(message));
    }
    Ok(text.to_owned())
}

fn an_hour() -> u32 {
    60
}

const REASON_CHARACTERS_MAX: usize = 200;
