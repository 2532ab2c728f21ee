//! Connections: taken, bounded, and ended.
//!
//! `axum::serve` has no bounds: neither for how long a head may take, nor for how many come, nor for one who takes no
//! bytes. So each connection is served here, by the hyper that axum stands on.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::routes;
use super::state::Shared;
use crate::io::clock;

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Connections {
    held: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    max: usize,
}

#[derive(Debug)]
struct Connection {
    number: u64,
    /// Requests whose answer has not come to its end.
    busy: AtomicUsize,
    /// Since when it is not, in microseconds of the dispatcher's clock.
    idle_since: AtomicU64,
    end: Notify,
}

/// Takes connections until the interface is to end, and then gives them some time.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let router = routes::router(&shared);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.ended() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                if let Some(connection) = shared.connections.add() {
                    tokio::spawn(one(stream, connection, router.clone(), Arc::clone(&shared)));
                }
            }
            // No file descriptor is left, or the peer is gone already: others still work.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    drop(listener);
    let end = tokio::time::Instant::now() + END;
    while shared.connections.count() > 0 && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn one(stream: TcpStream, connection: Arc<Connection>, router: Router, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Stalling::new(stream, shared.limits().stall));
    let service =
        Counting { inner: TowerToHyperService::new(router), connection: Arc::clone(&connection) };
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Also the time between two requests: a connection without one is closed.
        .header_read_timeout(shared.limits().head)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(false);
    let mut serving = pin!(builder.serve_connection(io, service).with_upgrades());
    tokio::select! {
        _ = serving.as_mut() => {}
        () = connection.end.notified() => {}
        () = shared.ended() => {
            serving.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(END, serving).await;
        }
    }
    shared.connections.remove(connection.number);
}

impl Connections {
    pub(super) fn new(max: usize) -> Self {
        Self { held: Mutex::default(), next: AtomicU64::new(0), max }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.held().len()
    }

    /// Takes one more, in the place of the one that has been idle the longest where there are too many. Nothing where all
    /// of them are busy.
    fn add(&self) -> Option<Arc<Connection>> {
        let mut held = self.held();
        if held.len() >= self.max {
            let idle =
                held.values().filter(|connection| connection.busy.load(Ordering::Relaxed) == 0);
            let oldest =
                idle.min_by_key(|connection| connection.idle_since.load(Ordering::Relaxed))?;
            let oldest = Arc::clone(oldest);
            held.remove(&oldest.number);
            oldest.end.notify_one();
        }
        let connection = Arc::new(Connection {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            busy: AtomicUsize::new(0),
            idle_since: AtomicU64::new(clock::now().as_micros()),
            end: Notify::new(),
        });
        held.insert(connection.number, Arc::clone(&connection));
        Some(connection)
    }

    fn remove(&self, number: u64) {
        self.held().remove(&number);
    }

    fn held(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Knows of a connection whether a request is being answered.
#[derive(Clone)]
struct Counting {
    inner: TowerToHyperService<Router>,
    connection: Arc<Connection>,
}

impl Service<Request<Incoming>> for Counting {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let busy = Busy::new(&self.connection);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Body::new(BusyBody { body, _busy: busy })))
        })
    }
}

struct Busy(Arc<Connection>);

impl Busy {
    fn new(connection: &Arc<Connection>) -> Self {
        connection.busy.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connection))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = clock::now().as_micros();
        self.0.idle_since.store(now, Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer's body, which keeps its connection busy.
struct BusyBody {
    body: Body,
    _busy: Busy,
}

impl HttpBody for BusyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that fails when its peer takes nothing for too long: else a client that never reads would hold an answer,
/// and what the answer is made of, for ever.
struct Stalling {
    stream: TcpStream,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Stalling {
    fn new(stream: TcpStream, limit: Duration) -> Self {
        Self { stream, limit, stalled: None }
    }

    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let result = poll(Pin::new(&mut self.stream), context);
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Stalling {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stalling {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.watch(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch(context, |stream, context| stream.poll_shutdown(context))
    }
}

/// How long answers get when the interface ends.
const END: Duration = Duration::from_secs(3);
/// Browsers send some twenty.
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 64 << 10;
