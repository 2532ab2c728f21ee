//! The secrets of submitted jobs, as long as a lab needs them: until the job has ended.
//!
//! What stands in a job's file stays there, and nobody but the lab's owner may read it; what came beside it lies in
//! `<store>/jobs/secrets/<id>.json`, apart from the job's folder, in which a client names files. Nothing of either is served.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::database::job_file;
use super::log;
use crate::job::secret::Secrets;
use crate::job::secret_source::masked;
use crate::lab::view::{JobId, JobView};
use crate::store::{StoreError, write_private};

/// Keeps the values that came with a job.
///
/// # Errors
/// They cannot be written.
pub(super) fn keep(
    store: &Path,
    id: JobId,
    secrets: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    let place = place(store, id);
    if secrets.is_empty() {
        // Of a job of this number that was never acknowledged.
        let _ = fs::remove_file(place);
        return Ok(());
    }
    let folder = folder(store);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(StoreError::of("create", &folder))?;
    let json = serde_json::to_vec(secrets);
    let json = json.map_err(|error| StoreError::of("encode", &place)(io::Error::other(error)))?;
    write_private(&place, &json)
}

/// The values that came with a job; none where that had none.
pub(super) fn read(store: &Path, id: JobId) -> BTreeMap<String, String> {
    let bytes = fs::read(place(store, id)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// The job has ended, and will not be run again: its secrets go, from its file too.
pub(super) fn forget(store: &Path, job: &JobView) {
    let _ = fs::remove_file(place(store, job.id));
    let file = job_file(store, job);
    let Ok(text) = fs::read_to_string(&file) else { return };
    let shown = masked(&text, &Secrets::default());
    if shown != text
        && let Err(error) = write_private(&file, shown.as_bytes())
    {
        log::warn(&format!("the secrets of job {} stay in its file: {error}", job.id));
    }
}

fn folder(store: &Path) -> PathBuf {
    store.join("jobs").join("secrets")
}

fn place(store: &Path, id: JobId) -> PathBuf {
    folder(store).join(format!("{id}.json"))
}
