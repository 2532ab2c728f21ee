//! What happens in the lab, as it happens: server-sent events.
//!
//! Nothing is kept for a client: it has a number of the feed, and gets what came after it when it can take it. One that was
//! away for too long begins anew.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::error::ApiError;
use super::input::Params;
use super::state::{self, Shared};
use crate::serve::feed::Change;
use crate::store::reader::RunState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    after: Option<String>,
    run: Option<String>,
}

pub(super) async fn events(
    State(shared): state::State,
    Params(query): Params<Query>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Ok(permit) = Arc::clone(&shared.streams).try_acquire_owned() else {
        return Err(ApiError::busy("too many watch the lab already"));
    };
    // What the browser says of itself is newer than the address that it was given.
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let after = last.or(query.after.as_deref()).and_then(|text| number_of(text, &shared.instance));
    let run = match query.run {
        None => None,
        Some(name) => {
            let wanted = name.clone();
            let directory = shared.blocking(move |shared| shared.runs.directory(&wanted)).await?;
            Some(Watched { name, directory, seen: None })
        }
    };
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let _permit = permit;
        // A client comes back, and says again who it is.
        let _ = tokio::time::timeout(LIFE, tell(&shared, after, run, &sender)).await;
    });
    let events = stream::poll_fn(move |context| receiver.poll_recv(context));
    let events = futures_util::StreamExt::map(events, Ok::<Event, std::convert::Infallible>);
    let mut response = Sse::new(events)
        .keep_alive(KeepAlive::new().interval(HEARTBEAT).text("alive"))
        .into_response();
    // nginx would keep events until it has some kilobytes of them.
    let name = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(name, HeaderValue::from_static("no"));
    Ok(response)
}

/// Tells what happens until the client is gone or the interface ends.
async fn tell(
    shared: &Arc<Shared>,
    after: Option<u64>,
    mut run: Option<Watched>,
    sender: &mpsc::Sender<Event>,
) -> Option<()> {
    let mut newest = shared.feed.subscribe();
    let mut look = tokio::time::interval_at(Instant::now(), LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut after = after;
    loop {
        // Marked as seen before the changes are read: none is missed.
        let number = *newest.borrow_and_update();
        match after.and_then(|after| shared.feed.since(after)) {
            Some(changes) => {
                for (number, change) in changes {
                    sender.send(of_change(id(shared, number), &change)).await.ok()?;
                    after = Some(number);
                }
            }
            None => {
                let event = Event::default().event("reset").id(id(shared, number)).data("{}");
                sender.send(event).await.ok()?;
                after = Some(number);
            }
        }
        tokio::select! {
            changed = newest.changed() => changed.ok()?,
            _ = look.tick(), if run.is_some() => {
                if let Some(event) = watch(shared, &mut run).await {
                    sender.send(event).await.ok()?;
                }
            }
            () = sender.closed() => return None,
            () = shared.ended() => return None,
        }
    }
}

/// A number of the feed means nothing to the dispatcher that is started next: it counts anew.
fn id(shared: &Shared, number: u64) -> String {
    format!("{}-{number}", shared.instance)
}

/// The number in an id of this dispatcher's; nothing in one of another's. A bare number is one of this one's.
fn number_of(text: &str, instance: &str) -> Option<u64> {
    let (of, number) = text.rsplit_once('-').unwrap_or((instance, text));
    number.parse().ok().filter(|_| of == instance)
}

fn of_change(id: String, change: &Change) -> Event {
    #[derive(Serialize)]
    struct Gone<'a> {
        name: &'a str,
    }
    let event = Event::default().id(id);
    let (name, event) = match change {
        Change::Lab(lab) => ("lab", event.json_data(lab)),
        Change::Board(board) => ("board", event.json_data(board)),
        Change::BoardGone { name } => ("board_gone", event.json_data(Gone { name })),
        Change::Job(job) => ("job", event.json_data(job)),
    };
    // Views are maps with texts as keys, which cannot fail to be JSON.
    event.unwrap_or_default().event(name)
}

/// A run that somebody watches.
struct Watched {
    name: String,
    directory: PathBuf,
    /// What tells that something is different: inode and length of the timeline, and whether the run has ended.
    seen: Option<(u64, u64, RunState)>,
}

#[derive(Serialize)]
struct Grown<'a> {
    run: &'a str,
    lines: u64,
    generation: u64,
    state: RunState,
}

/// An event if the run has grown. A run that is over is not looked at again.
async fn watch(shared: &Arc<Shared>, run: &mut Option<Watched>) -> Option<Event> {
    let mut watched = run.take()?;
    let looked = shared
        .blocking(move |shared| {
            let state = RunState::of(&watched.directory)?;
            let file = std::fs::metadata(watched.directory.join("timeline.ndjson"));
            let (inode, length) = file.map_or((0, 0), |file| (file.ino(), file.len()));
            let seen = Some((inode, length, state));
            if seen == watched.seen {
                return Ok((watched, None));
            }
            let (lines, generation, is_complete) = shared.indexes.size(&watched.directory)?;
            watched.seen = seen.filter(|_| is_complete);
            let grown = Grown { run: &watched.name, lines, generation, state };
            let event = Event::default().event("run").json_data(grown).ok();
            Ok((watched, event))
        })
        .await;
    // A directory that was removed is watched no longer.
    let (watched, event) = looked.ok()?;
    let is_over = watched.seen.is_some_and(|(_, _, state)| state == RunState::Ended);
    *run = (!is_over).then_some(watched);
    event
}

/// A proxy takes a silent connection for a dead one, and so do we a client that takes none of these.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A person sees no delay.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LIFE: Duration = Duration::from_secs(3600);
/// What waits for a client beside what the kernel holds for it; the rest waits in the feed.
const QUEUE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_one_dispatcher() {
        assert_eq!(number_of("5f-12", "5f"), Some(12));
        assert_eq!(number_of("12", "5f"), Some(12));
        for other in ["5e-12", "5f-", "5f-x", "", "-12", "5f--12"] {
            assert_eq!(number_of(other, "5f"), None, "{other}");
        }
    }
}
