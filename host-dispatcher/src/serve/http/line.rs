//! A board's line for a dispatcher elsewhere: a WebSocket with bytes in both directions, its wiring, and its power.

use axum::extract::{Request, State};
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;

use super::access::Identity;
use super::boards::Done;
use super::console::{carry, upgrade};
use super::error::ApiError;
use super::input::{At, Body};
use super::state;
use crate::config::connection::PowerOperation;
use crate::serve::control::{Command, LinePiece, WiringView};

pub(super) async fn line(
    State(shared): state::State,
    Extension(who): Extension<Identity>,
    At(board): At<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let (upgrade, permit) = upgrade(&shared, request, &board, "a line").await?;
    let (output, pieces) = tokio::sync::mpsc::channel(OUTPUT_QUEUE);
    let ask = |reply| Command::Line { board, holder: who.name, output, reply };
    let number = shared.control.ask(ask).await?;
    Ok(upgrade.on_upgrade(move |socket| async move {
        let _permit = permit;
        carry(&shared, socket, number, pieces, |piece| match piece {
            LinePiece::Bytes(bytes) => Ok(bytes),
            LinePiece::End(why) => Err(why),
        })
        .await;
        // If the loop is too busy for that, it notices within a second that nobody takes what comes.
        let _ = shared.control.send(Command::EndLine(number));
    }))
}

pub(super) async fn wiring(
    State(shared): state::State,
    Extension(who): Extension<Identity>,
    At(board): At<String>,
) -> Result<Json<WiringView>, ApiError> {
    let ask = |reply| Command::Wiring { board, holder: who.name, reply };
    Ok(Json(shared.control.ask(ask).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Switch {
    operation: PowerOperation,
}

pub(super) async fn switch(
    State(shared): state::State,
    Extension(who): Extension<Identity>,
    At(board): At<String>,
    Body(body): Body<Switch>,
) -> Result<Json<Done>, ApiError> {
    let (holder, operation) = (who.name, body.operation);
    shared.control.ask(|reply| Command::Switch { board, holder, operation, reply }).await?;
    Ok(Json(Done {}))
}

/// Reads of a line that wait for the network: a second of them at 115200 baud. What has no room is lost on the way, as on
/// a line, and sent again.
const OUTPUT_QUEUE: usize = 256;
