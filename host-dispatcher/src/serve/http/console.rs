//! A board's console: a WebSocket with bytes in both directions.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request, State};
use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
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
    let (upgrade, permit) = upgrade(&shared, request, &board, "a console").await?;
    let (output, bytes) = mpsc::channel(OUTPUT_QUEUE);
    let holder = (who.role >= Role::Submitter).then_some(who.name);
    let ask = |reply| Command::Console { board, holder, output, reply };
    let number = shared.control.ask(ask).await?;
    Ok(upgrade.on_upgrade(move |socket| async move {
        let _permit = permit;
        carry(&shared, socket, number, bytes, Ok).await;
    }))
}

/// A request that becomes a WebSocket of a board, and the permit for one.
pub(super) async fn upgrade(
    shared: &Arc<Shared>,
    request: Request,
    board: &str,
    what: &str,
) -> Result<(WebSocketUpgrade, OwnedSemaphorePermit), ApiError> {
    if shared.feed.board(board).is_none() {
        return Err(no_board(board));
    }
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, shared).await;
    let upgrade = upgrade.map_err(|error| {
        ApiError::bad_request(error.body_text()).mend(format!("{what} is a WebSocket"))
    })?;
    let Ok(permit) = Arc::clone(&shared.consoles).try_acquire_owned() else {
        return Err(ApiError::busy("too many consoles are open already"));
    };
    let upgrade = upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BYTES_MAX);
    Ok((upgrade, permit))
}

/// Carries bytes until one of both is gone. `read` gives those of a piece, or why there are no more. The loop notices when
/// `pieces` is dropped.
pub(super) async fn carry<P>(
    shared: &Shared,
    socket: WebSocket,
    number: u64,
    mut pieces: mpsc::Receiver<P>,
    read: fn(P) -> Result<Vec<u8>, String>,
) {
    let (mut sink, mut source) = socket.split();
    let mut ping = tokio::time::interval(PING_EVERY);
    let mut heard = Instant::now();
    let reason = loop {
        let message = tokio::select! {
            piece = pieces.recv() => match piece.map(read) {
                Some(Ok(bytes)) => Message::Binary(bytes.into()),
                Some(Err(why)) => break why,
                None => break "the board is gone".to_owned(),
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
                if !type_patiently(shared, number, typed).await {
                    break "the lab is busy".to_owned();
                }
                continue;
            }
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE_MAX {
                    return;
                }
                Message::Ping(Bytes::new())
            }
            () = shared.ended() => break "the lab is shutting down".to_owned(),
        };
        // A client that takes nothing makes its connection fail; meanwhile the loop drops what has no room.
        if sink.send(message).await.is_err() {
            return;
        }
    };
    let frame = CloseFrame { code: CLOSE_AWAY, reason: shorten(&reason, REASON_BYTES_MAX).into() };
    let _ = tokio::time::timeout(CLOSE, sink.send(Message::Close(Some(frame)))).await;
}

/// Hands over what was typed, when the loop has room for it.
async fn type_patiently(shared: &Shared, number: u64, typed: Vec<u8>) -> bool {
    for _ in 0..BUSY_TRIES {
        if shared.control.send(Command::Type(number, typed.clone())).is_ok() {
            return true;
        }
        tokio::time::sleep(BUSY_PAUSE).await;
    }
    false
}

/// The longest beginning of a text that has so many bytes at most.
fn shorten(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// So often, and with this pause, a busy loop is asked: some turns of a thousand boards.
const BUSY_TRIES: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// A close frame carries 125 bytes, two of them its code: RFC 6455 §5.5.
const REASON_BYTES_MAX: usize = 123;
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
