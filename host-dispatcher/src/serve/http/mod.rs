//! The HTTP interface of the lab; `docs/http.md` is its description.
//!
//! It has a thread with a runtime of its own, and a few more for what waits for disks. Boards notice nothing of it: it
//! asks the loop through [`Control`], which never waits for it, and reads what the loop tells in the [`Feed`].
//! Whoever connects is bounded: in number, bytes and time. What a client sends becomes a path in `paths` and nowhere
//! else; who may do what is decided in `guard` and by the table in `routes`.

mod access;
mod assets;
mod boards;
mod connection;
mod console;
mod download;
mod error;
mod events;
mod guard;
mod input;
mod jobs;
mod line;
mod log;
mod metrics;
mod openapi;
mod paths;
mod routes;
mod runs;
mod state;
mod submit;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "clients are threads that wait by themselves")]
mod tests;
mod upload;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::Backlog;
use tokio::sync::watch;

use super::control::Control;
use super::feed::Feed;
use super::history::History;
pub use crate::report::page::Asset;
use crate::store::tokens::Tokens;
use state::Shared;

/// What the interface is given.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens. Any address but a loopback one needs tokens.
    pub listen: SocketAddr,
    /// The store: its folders `files` and `jobs/incoming` and the file `tokens.json` are used.
    pub store: PathBuf,
    /// The folder with run directories.
    pub runs: PathBuf,
    /// Names by which the lab is reached, beside addresses, `localhost` and the name of this host.
    pub hosts: Vec<String>,
    /// Tokens are needed on a loopback address too: a reverse proxy stands in front.
    pub tokens_required: bool,
    /// Folders of this host whose files submitted jobs may name.
    pub job_folders: Vec<PathBuf>,
    /// The page.
    pub assets: &'static [Asset],
    /// Bounds.
    pub limits: Limits,
}

/// What clients may take of this host.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time. One more takes the place of the one that has been idle the longest.
    pub connections: usize,
    /// For a request's head, also for the first byte of the next one on the same connection.
    pub head: Duration,
    /// For the next piece of a request's body, and for a client to take the next piece of an answer.
    pub stall: Duration,
    /// For an answer to begin.
    pub answer: Duration,
    /// For a submitted job to be checked, repositories fetched.
    pub submit: Duration,
    /// Streams of events at a time.
    pub streams: usize,
    /// Consoles at a time.
    pub consoles: usize,
    /// Uploads at a time.
    pub uploads: usize,
    /// An uploaded file.
    pub file_bytes: u64,
    /// All uploaded files; those that were used the longest ago go first.
    pub files_bytes: u64,
    /// What must stay free of the store's disk.
    pub free_bytes: u64,
    /// How much of the disk at a path is free.
    pub free_of: fn(&Path) -> io::Result<u64>,
    /// Memory for the indexes of logs.
    pub index_bytes: usize,
}

/// The interface; it ends when this is dropped.
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the interface.
///
/// # Errors
/// The address cannot be listened on, or needs tokens and there are none: the text says what to do.
pub fn start(
    options: Options,
    control: Control,
    feed: Feed,
    history: Arc<dyn History>,
) -> io::Result<Server> {
    let tokens = Tokens::load(&options.store).map_err(io::Error::other)?;
    let needs_tokens = options.tokens_required || !options.listen.ip().is_loopback();
    if needs_tokens && tokens.all().is_empty() {
        return Err(io::Error::other(no_tokens(&options)));
    }
    let listener = TcpListener::bind(options.listen).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {}: {error}", options.listen))
    })?;
    listener.set_nonblocking(true)?;
    // Those who come while others are being taken. The kernel lets more than fit wait for a second each.
    nix::sys::socket::listen(&listener, Backlog::new(BACKLOG)?)?;
    let address = listener.local_addr()?;
    submit::sweep(&options.store);
    upload::sweep(&options.store);
    let (stop, stopped) = watch::channel(false);
    let shared = Shared::new(options, address, needs_tokens, control, feed, history, stopped)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let thread = std::thread::Builder::new().name("http".into()).spawn(move || {
        runtime.block_on(connection::serve(listener, shared));
        // What still works for a client that is gone is not waited for.
        runtime.shutdown_timeout(Duration::from_millis(100));
    })?;
    Ok(Server { address, stop, thread: Some(thread) })
}

impl Server {
    /// Where it listens, with the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, lets answers come to their end for some seconds, and ends.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            head: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            answer: Duration::from_secs(60),
            submit: Duration::from_secs(600),
            streams: 128,
            consoles: 64,
            uploads: 8,
            file_bytes: 64 << 30,
            files_bytes: 64 << 30,
            free_bytes: 1 << 30,
            free_of: super::disk::free_bytes,
            index_bytes: 256 << 20,
        }
    }
}

fn no_tokens(options: &Options) -> String {
    let why = if options.tokens_required {
        "tokens are required".to_owned()
    } else {
        format!("{} can be reached from other hosts", options.listen)
    };
    format!(
        "{why}, and there is no token in {}: make one with \"pumice token add NAME --role admin\"{}",
        options.store.join("tokens.json").display(),
        if options.tokens_required { "" } else { ", or listen on 127.0.0.1" }
    )
}

const BACKLOG: i32 = 1024;
/// Threads that wait for disks.
const BLOCKING_THREADS: usize = 8;
