//! Asking an agent: a request and its answer, and the streams that go with it.
//!
//! A request may outlive its session. What may be repeated ([`Method::is_idempotent`]) and has no streams is asked again
//! when the same start of the agent has a new session; of what may not, that agent is asked what became of it. All of it
//! within the request's own deadline, and only while that agent may come back: never after a restart of the board.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use agent_core::link::Priority;
use agent_core::time::{Duration, Instant};
use agent_core::wire::response::Outcome;
use agent_core::wire::{Failure, FailureKind, Method, codec, request};
use serde::{Deserialize, Serialize};

use super::{Bench, Fault, Incoming, Reply};
use crate::board::client::{Direction, RequestId};
use crate::board::{AgentStart, Comeback};
use crate::job::verdict::ErrorClass;

/// An answer's body.
#[derive(Clone, Debug)]
pub struct Answer {
    body: Vec<u8>,
    is_late: bool,
}

impl Answer {
    /// Whether it was heard of only in a session after the request's own: the request's streams have ended before it.
    pub fn is_late(&self) -> bool {
        self.is_late
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is not what the method answers.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Fault> {
        codec::decode(&self.body)
            .map_err(|_| Fault::infrastructure("the agent's answer cannot be read"))
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Asked {
    bench: Bench,
    id: RequestId,
    method: Method,
    /// The agent that was asked.
    agent: Option<AgentStart>,
    deadline: Instant,
}

/// A stream of a request; given back when it is dropped.
#[derive(Debug)]
pub struct Stream {
    bench: Bench,
    /// Its id.
    pub id: u8,
}

impl Bench {
    /// Asks, and waits for the answer; in the agent's next session again if the method allows it.
    ///
    /// # Errors
    /// The agent's failure, the end of the session, or the deadline.
    pub async fn ask<T: Serialize>(
        &self,
        method: Method,
        body: &T,
        deadline: Duration,
    ) -> Result<Answer, Fault> {
        let (asked, reply) = self.ask_again(method, body, deadline).await;
        asked.outcome(reply).await
    }

    /// The same; `None` from an agent that does not know the method.
    ///
    /// # Errors
    /// As for [`Bench::ask`].
    pub async fn ask_if_known<T: Serialize>(
        &self,
        method: Method,
        body: &T,
        deadline: Duration,
    ) -> Result<Option<Answer>, Fault> {
        let (asked, reply) = self.ask_again(method, body, deadline).await;
        asked.outcome_if_known(reply).await
    }

    async fn ask_again<T: Serialize>(
        &self,
        method: Method,
        body: &T,
        deadline: Duration,
    ) -> (Asked, Reply) {
        let mut asked = self.start(method, body, &[], deadline);
        for _ in 0..REPEATS_MAX {
            let reply = asked.reply().await;
            if !matches!(reply, Reply::Lost)
                || !method.is_idempotent()
                || !asked.is_agent_back().await
            {
                return (asked, reply);
            }
            let left = asked.deadline.since(self.now());
            asked = self.start(method, body, &[], left);
        }
        let reply = asked.reply().await;
        (asked, reply)
    }

    /// Asks; the answer is waited for later.
    pub fn start<T: Serialize>(
        &self,
        method: Method,
        body: &T,
        streams: &[&Stream],
        deadline: Duration,
    ) -> Asked {
        let streams: Vec<u8> = streams.iter().map(|stream| stream.id).collect();
        let (id, agent) = self.board(|board, now| {
            (board.request(now, method, body, &streams, deadline), board.agent_start())
        });
        self.inner.wanted.borrow_mut().insert(id);
        Asked { bench: self.clone(), id, method, agent, deadline: self.now() + deadline }
    }

    /// A stream for a request, as soon as one is free.
    ///
    /// # Errors
    /// There is no session.
    pub async fn stream(&self, priority: Priority, direction: Direction) -> Result<Stream, Fault> {
        let id = self
            .until(|| match self.board(|board, now| board.open_stream(now, priority, direction)) {
                Some(id) => Some(Ok(id)),
                None if !self.board(|board, _| board.is_up()) => {
                    Some(Err(Fault::infrastructure("there is no session with an agent")))
                }
                None => None,
            })
            .await?;
        self.inner.incoming.borrow_mut().insert(id, Incoming::default());
        Ok(Stream { bench: self.clone(), id })
    }
}

impl Asked {
    /// The request's id.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Waits for the answer; for that of a request which must not be repeated also in the agent's next session.
    ///
    /// # Errors
    /// As for [`Bench::ask`].
    pub async fn answer(&self) -> Result<Answer, Fault> {
        let reply = self.reply().await;
        self.outcome(reply).await
    }

    async fn reply(&self) -> Reply {
        self.bench.until(|| self.bench.inner.replies.borrow_mut().remove(&self.id)).await
    }

    /// Waits for the answer; `None` from an agent that does not know the method.
    ///
    /// # Errors
    /// As for [`Bench::ask`].
    pub async fn answer_if_known(&self) -> Result<Option<Answer>, Fault> {
        let reply = self.reply().await;
        self.outcome_if_known(reply).await
    }

    async fn outcome_if_known(&self, reply: Reply) -> Result<Option<Answer>, Fault> {
        match reply {
            Reply::Failed { kind: FailureKind::UNSUPPORTED, .. } => Ok(None),
            reply => self.outcome(reply).await.map(Some),
        }
    }

    async fn outcome(&self, reply: Reply) -> Result<Answer, Fault> {
        let name = self.method.row().map_or("request", |row| row.name);
        match reply {
            Reply::Answer(body) => Ok(Answer { body, is_late: false }),
            Reply::Failed { kind, os_error, text } => Err(failed(kind, os_error, &text)),
            Reply::Lost => {
                let lost = || {
                    // Why, if that is known: the board went off, its kernel panicked.
                    let cause = self.bench.board(|board, _| {
                        let text = board.breakage().map(|breakage| format!(": {}", breakage.text));
                        text.unwrap_or_default()
                    });
                    Fault::infrastructure(format!(
                        "the session with the agent ended before it answered ({name}){cause}"
                    ))
                };
                if self.method.is_idempotent() || !self.is_agent_back().await {
                    return Err(lost());
                }
                self.ask_outcome().await.unwrap_or_else(|| Err(lost()))
            }
            Reply::Expired => Err(Fault {
                class: ErrorClass::Timeout,
                message: format!("the agent did not answer in time ({name})"),
            }),
        }
    }

    /// Waits until the agent that was asked has a session again; `false` when it will have none, or not in time.
    pub async fn is_agent_back(&self) -> bool {
        let Some(agent) = self.agent else { return false };
        let comeback =
            self.bench.until(|| match self.bench.board(|board, _| board.comeback(agent)) {
                Comeback::Back => Some(true),
                Comeback::Awaited => None,
                Comeback::Gone => Some(false),
            });
        let left = self.deadline.since(self.bench.now());
        self.bench.within(left, comeback).await.unwrap_or(false)
    }

    /// Asks the agent what became of the request; `None` when it cannot say.
    async fn ask_outcome(&self) -> Option<Result<Answer, Fault>> {
        let name = self.method.row().map_or("request", |row| row.name);
        let body = request::Outcome { request: self.id.0 };
        let left = self.deadline.since(self.bench.now());
        // Not by itself: a future that holds itself would have no size.
        let asked: Pin<Box<dyn Future<Output = _>>> =
            Box::pin(self.bench.ask(Method::OUTCOME, &body, left.min(OUTCOME_DEADLINE)));
        let answer = asked.await.ok()?;
        let outcome: Outcome<'_> = answer.read().ok()?;
        match (outcome.state, Method(outcome.method)) {
            (Outcome::ANSWERED, Method::FAILED) => {
                let Failure { kind, os_error, text } = codec::decode(outcome.body).ok()?;
                Some(Err(failed(kind, os_error, text)))
            }
            (Outcome::ANSWERED, method) if method == self.method => {
                Some(Ok(Answer { body: outcome.body.to_vec(), is_late: true }))
            }
            (Outcome::STOPPED, _) => Some(Err(Fault::infrastructure(format!(
                "the session with the agent was lost, and what it was doing was stopped ({name})"
            )))),
            (Outcome::UNKNOWN, _) => Some(Err(Fault::infrastructure(format!(
                "the session with the agent was lost before the request reached it: nothing was done ({name})"
            )))),
            _ => None,
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.bench.inner.wanted.borrow_mut().remove(&self.id);
        self.bench.inner.replies.borrow_mut().remove(&self.id);
    }
}

impl Stream {
    /// The next bytes; `None` at the end, or when the stream was given up or its session ended.
    pub async fn read(&self) -> Option<Vec<u8>> {
        self.bench.until(|| self.try_read()).await
    }

    /// The next bytes if there are some; `Some(None)` as for [`Self::read`].
    pub fn try_read(&self) -> Option<Option<Vec<u8>>> {
        let bytes = {
            let mut incoming = self.bench.inner.incoming.borrow_mut();
            let stream = incoming.get_mut(&self.id)?;
            match stream.pieces.pop_front() {
                Some(bytes) => bytes,
                None if stream.is_finished || stream.is_reset => return Some(None),
                None => return None,
            }
        };
        // Nothing is granted that was not taken: what waits is bounded by the credit.
        self.bench.board(|board, _| board.grant(self.id, bytes.len()));
        Some(Some(bytes))
    }

    /// Grants credit beyond the first, for a stream that brings much.
    pub fn widen(&self, bytes: usize) {
        self.bench.board(|board, _| board.grant(self.id, bytes));
    }

    /// Writes all of it, as fast as the stream takes it; `false` when the agent wants no more.
    pub async fn write(&self, mut bytes: &[u8]) -> bool {
        self.bench
            .until(|| {
                let incoming = self.bench.inner.incoming.borrow();
                if incoming.get(&self.id).is_none_or(|stream| stream.is_reset) {
                    return Some(false);
                }
                bytes = &bytes[self.bench.board(|board, _| board.write(self.id, bytes))..];
                bytes.is_empty().then_some(true)
            })
            .await
    }

    /// Bytes of it that have not gone over the line yet.
    pub fn unsent(&self) -> usize {
        self.bench.board(|board, _| board.unsent(self.id))
    }

    /// There is no more: told to the agent behind what was written.
    pub async fn finish(&self) {
        self.bench
            .until(|| {
                let is_up = self.bench.board(|board, _| board.is_up());
                (!is_up || self.bench.board(|board, _| board.finish(self.id))).then_some(())
            })
            .await;
    }

    /// Whether its session ended before it did: some of what the agent sent is missing.
    pub fn was_cut(&self) -> bool {
        self.bench.inner.incoming.borrow().get(&self.id).is_none_or(|stream| !stream.is_finished)
    }

    /// Nothing more will come: its request has failed.
    pub fn end(&self) {
        if let Some(incoming) = self.bench.inner.incoming.borrow_mut().get_mut(&self.id) {
            incoming.is_reset = true;
        }
    }

    /// No more is wanted or sent.
    pub fn reset(&self) {
        self.bench.board(|board, now| board.reset(now, self.id));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.bench.inner.incoming.borrow_mut().remove(&self.id);
    }
}

/// Two futures until both have ended.
pub async fn both<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>) -> (A, B) {
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    let (mut a, mut b) = (None, None);
    std::future::poll_fn(move |context| {
        if a.is_none()
            && let Poll::Ready(outcome) = first.as_mut().poll(context)
        {
            a = Some(outcome);
        }
        if b.is_none()
            && let Poll::Ready(outcome) = second.as_mut().poll(context)
        {
            b = Some(outcome);
        }
        match (a.take(), b.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            (first, second) => {
                (a, b) = (first, second);
                Poll::Pending
            }
        }
    })
    .await
}

/// An agent that has a session again is asked the same so often.
const REPEATS_MAX: u32 = 2;

/// What became of a request an agent says at once.
const OUTCOME_DEADLINE: Duration = Duration::from_secs(30);

/// A failure of the agent as a fault: what does not fit is the job's, the rest the lab's.
fn failed(kind: FailureKind, os_error: i32, text: &str) -> Fault {
    let class = match kind {
        FailureKind::TOO_LARGE | FailureKind::NOT_FOUND | FailureKind::REFUSED => {
            ErrorClass::JobError
        }
        _ => ErrorClass::InfrastructureError,
    };
    let mut message = match (kind, text) {
        (FailureKind::OS, "") => String::new(),
        (FailureKind::OS, text) => format!("{text}: "),
        (_, "") => kind.phrase().to_owned(),
        (_, text) => format!("{text}: {}", kind.phrase()),
    };
    if os_error != 0 {
        let name = std::io::Error::from_raw_os_error(os_error).to_string();
        let name = name.split(" (os error").next().unwrap_or_default().to_owned();
        message = if kind == FailureKind::OS {
            format!("{message}{name}")
        } else {
            format!("{message} ({name})")
        };
    }
    if os_error == EROFS {
        message.push_str(": it is write-protected or mounted read-only: end that (a switch of the card, `blockdev --setrw`, a remount), or use another medium");
    }
    Fault { class, message }
}

/// Of the board's Linux: "Read-only file system", and what an agent says of a write-protected device too.
const EROFS: i32 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_becomes_a_sentence_with_the_mend() {
        let said = |kind, os_error, text| failed(kind, os_error, text).message;
        assert_eq!(said(FailureKind::OS, 5, "/dev/vda3"), "/dev/vda3: Input/output error");
        assert_eq!(said(FailureKind::BUSY, 16, "x"), "x: busy (Device or resource busy)");
        assert_eq!(said(FailureKind::REFUSED, 0, ""), "refused");
        let protected = said(FailureKind::OS, 30, "/dev/mmcblk0p3");
        assert!(
            protected
                .starts_with("/dev/mmcblk0p3: Read-only file system: it is write-protected or"),
            "{protected}"
        );
    }
}
