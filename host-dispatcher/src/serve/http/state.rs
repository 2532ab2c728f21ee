//! What all requests share.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{Semaphore, watch};

use super::access::Access;
use super::assets::Assets;
use super::connection::Connections;
use super::error::ApiError;
use super::paths::Runs;
use super::{Limits, Options};
use crate::serve::control::Control;
use crate::serve::feed::Feed;
use crate::serve::history::History;
use crate::store::hexadecimal;
use crate::store::log_index::LogIndexes;
use crate::store::tokens::random;

/// Cheap to clone.
pub(super) type State = axum::extract::State<Arc<Shared>>;

/// See above.
pub(super) struct Shared {
    pub(super) options: Options,
    /// Tells this dispatcher from the one before.
    pub(super) instance: String,
    pub(super) control: Control,
    pub(super) feed: Feed,
    pub(super) history: Arc<dyn History>,
    pub(super) access: Access,
    pub(super) assets: Assets,
    pub(super) runs: Runs,
    pub(super) indexes: LogIndexes,
    pub(super) connections: Connections,
    pub(super) streams: Arc<Semaphore>,
    pub(super) consoles: Arc<Semaphore>,
    pub(super) uploads: Arc<Semaphore>,
    pub(super) checks: Arc<Semaphore>,
    /// Becomes true when the interface ends.
    stopped: watch::Receiver<bool>,
    /// Answers by the first digit of their status, 1 to 5.
    pub(super) answers: [AtomicU64; 5],
}

impl Shared {
    pub(super) fn new(
        options: Options,
        address: SocketAddr,
        needs_tokens: bool,
        control: Control,
        feed: Feed,
        history: Arc<dyn History>,
        stopped: watch::Receiver<bool>,
    ) -> io::Result<Arc<Self>> {
        let limits = &options.limits;
        Ok(Arc::new(Self {
            access: Access::new(&options, address, needs_tokens)?,
            assets: Assets::new(options.assets),
            runs: Runs::new(&options.runs),
            indexes: LogIndexes::new(limits.index_bytes),
            connections: Connections::new(limits.connections),
            streams: Arc::new(Semaphore::new(limits.streams)),
            consoles: Arc::new(Semaphore::new(limits.consoles)),
            uploads: Arc::new(Semaphore::new(limits.uploads)),
            checks: Arc::new(Semaphore::new(CHECKS_MAX)),
            answers: Default::default(),
            instance: hexadecimal(&random()?[..4]),
            options,
            control,
            feed,
            history,
            stopped,
        }))
    }

    /// Waits until the interface ends.
    pub(super) async fn ended(&self) {
        let mut stopped = self.stopped.clone();
        // Held by a guard that must not live longer; and who would say it gone is an end too.
        let _ = stopped.wait_for(|stopped| *stopped).await.map(drop);
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// Does in another thread what may wait for a disk.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let shared = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(result) => result,
            Err(error) => Err(ApiError::internal(error.to_string())),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Jobs that are checked at a time: each may fetch repositories for minutes, and readers of logs need threads too.
const CHECKS_MAX: usize = 2;
