//! A board's console: a WebSocket with bytes in both directions.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request, State};
use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::access::Identity;
use super::boards::no_board;
use super::error::ApiError;
use super::input::At;
use super::state::{self, Shared};
use crate::serve::control::Command;
use crate::store::tokens::Role;

pub(super) async fn console(
    State(shared): state::State,
    Extension(who): Extension<Identity>,
    At(board): At<String>,
    request: Request,
) -> Result<Response, ApiError> {
    if shared.feed.board(&board).is_none() {
        return Err(no_board(&board));
    }
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &shared).await;
    let upgrade = upgrade.map_err(|error| {
        ApiError::bad_request(error.body_text()).mend("a console is a WebSocket")
    })?;
    let Ok(permit) = Arc::clone(&shared.consoles).try_acquire_owned() else {
        return Err(ApiError::busy("too many consoles are open already"));
    };
    let (output, bytes) = mpsc::channel(OUTPUT_QUEUE);
    let holder = (who.role >= Role::Submitter).then_some(who.name);
    let ask = |reply| Command::Console { board, holder, output, reply };
    let number = shared.control.ask(ask).await?;
    Ok(upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            let _permit = permit;
            carry(&shared, socket, number, bytes).await;
        }))
}

/// Carries bytes until one of both is gone. The loop notices when `bytes` is dropped.
async fn carry(
    shared: &Shared,
    socket: WebSocket,
    number: u64,
    mut bytes: mpsc::Receiver<Vec<u8>>,
) {
    let (mut sink, mut source) = socket.split();
    let mut ping = tokio::time::interval(PING_EVERY);
    let mut heard = Instant::now();
    let reason = loop {
        let message = tokio::select! {
            piece = bytes.recv() => match piece {
                Some(piece) => Message::Binary(piece.into()),
                None => break "the board is gone",
            },
            message = source.next() => {
                let Some(Ok(message)) = message else { return };
                heard = Instant::now();
                let typed = match message {
                    Message::Binary(bytes) => bytes.to_vec(),
                    Message::Text(text) => text.as_bytes().to_vec(),
                    Message::Close(_) => return,
                    Message::Ping(_) | Message::Pong(_) => continue,
                };
                // What is typed is not dropped silently.
                if shared.control.send(Command::Type(number, typed)).is_err() {
                    break "the lab is busy";
                }
                continue;
            }
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE_MAX {
                    return;
                }
                Message::Ping(Bytes::new())
            }
            () = shared.ended() => break "the lab is shutting down",
        };
        // A client that takes nothing makes its connection fail; meanwhile the loop drops what has no room.
        if sink.send(message).await.is_err() {
            return;
        }
    };
    let frame = CloseFrame { code: CLOSE_AWAY, reason: reason.into() };
    let _ = tokio::time::timeout(CLOSE, sink.send(Message::Close(Some(frame)))).await;
}

/// Reads of a line that wait for a viewer.
const OUTPUT_QUEUE: usize = 64;
/// A person pastes a page, not a book.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
const WRITE_BYTES_MAX: usize = 1 << 20;
const PING_EVERY: Duration = Duration::from_secs(20);
/// Some pings without an answer.
const SILENCE_MAX: Duration = Duration::from_secs(70);
const CLOSE: Duration = Duration::from_secs(1);
/// "Going away", RFC 6455.
const CLOSE_AWAY: u16 = 1001;
