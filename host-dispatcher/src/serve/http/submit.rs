//! Jobs that are submitted: checked here, whole, before the loop hears of them.
//!
//! A job is read in a folder of its own in which there is nothing but the files that came with it. What else it may
//! name is fenced in where files are opened: [`Fence`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;

use super::access::Identity;
use super::error::ApiError;
use super::input::Body;
use super::paths::{is_job_file, shorten};
use super::state::{self, Shared};
use super::upload;
use crate::config::yaml::FileError;
use crate::definition::fence::Fence;
use crate::job::spec::{Job, Node, PRIORITY_MAX, Roles};
use crate::lab::view::JobView;
use crate::lab::{NewJob, NewNode};
use crate::serve::control::{Command, Submission};
use crate::store::hexadecimal;
use crate::store::tokens::random;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    definition: String,
    #[serde(default = "job_yaml")]
    file: String,
    /// Without it the job's own.
    priority: Option<u8>,
    /// The folder of the job file among the files, where it names some by `..`.
    #[serde(default)]
    folder: String,
    /// The SHA-256 of each file by its name.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// Values of secrets that do not stand in the definition, by their names.
    #[serde(default)]
    secrets: BTreeMap<String, String>,
}

pub(super) async fn submit(
    State(shared): state::State,
    Extension(who): Extension<Identity>,
    Body(form): Body<Form, BYTES_MAX>,
) -> Result<(StatusCode, Json<JobView>), ApiError> {
    let Ok(permit) = Arc::clone(&shared.checks).acquire_owned().await else {
        return Err(ApiError::busy("the lab is shutting down"));
    };
    let submission = shared
        .blocking(move |shared| {
            let _permit = permit;
            check(shared, form, who.name)
        })
        .await?;
    let submit = |reply| Command::Submit(Box::new(submission), reply);
    Ok((StatusCode::CREATED, Json(shared.control.ask(submit).await?)))
}

/// Removes what a dispatcher left that died while a job was checked.
pub(super) fn sweep(store: &Path) {
    let _ = fs::remove_dir_all(incoming(store));
}

fn check(shared: &Shared, form: Form, submitter: String) -> Result<Submission, ApiError> {
    if form.priority.is_some_and(|priority| priority > PRIORITY_MAX) {
        return Err(ApiError::invalid("priority is 0 to 100"));
    }
    if form.files.len() > FILES_MAX {
        return Err(ApiError::invalid(format!("a job brings at most {FILES_MAX} files")));
    }
    let file = if form.file.is_empty() { job_yaml() } else { shorten(&form.file) };
    let mut files = BTreeMap::new();
    for (name, sha256) in form.files {
        if !is_job_file(&name) {
            let message = format!("\"{}\" cannot be the name of a job's file", shorten(&name));
            return Err(ApiError::invalid(message)
                .mend("names are relative to the job file, without . and .."));
        }
        let Some(place) = upload::find(&shared.options.store, &sha256) else {
            let message = format!("the lab does not have the file {}", shorten(&name));
            return Err(ApiError::invalid(message).mend("PUT it to /api/v1/files/SHA256 first"));
        };
        files.insert(name, place);
    }
    if !form.folder.is_empty() && !is_job_file(&form.folder) {
        return Err(ApiError::invalid("folder cannot be the folder of a job file"));
    }
    let folder = Folder::new(&shared.options.store)?;
    for (name, place) in &files {
        folder.link(name, place)?;
    }
    let fence = Fence::new(&folder.0, &shared.options.job_folders);
    let fence = fence.with_secrets(form.secrets.clone());
    let base = folder.0.join(&form.folder);
    fs::create_dir_all(&base).map_err(upload::failed)?;
    let wrong = |error| folder.without(error);
    let roles = Roles::from_str_within(&file, &form.definition, &base, &fence).map_err(wrong)?;
    let jobs: Vec<(Job, Option<NewNode>)> = match roles {
        Some(roles) => roles.nodes.into_iter().map(part).collect(),
        None => {
            let job = Job::from_str_within(&file, &form.definition, &base, &fence);
            vec![(job.map_err(wrong)?, None)]
        }
    };
    // What is hidden is so for all boards.
    let hidden = jobs.first().map(|(job, _)| job.hidden()).unwrap_or_default();
    let is_known = |name: &String| hidden.iter().any(|secret| secret.name == *name);
    if let Some(name) = form.secrets.keys().find(|name| !is_known(name)) {
        let message = format!("the job has no secret \"{}\"", shorten(name));
        return Err(ApiError::invalid(message).mend("name it in secrets: of the definition"));
    }
    let new = |(job, node): (Job, Option<NewNode>)| NewJob {
        name: job.name,
        submitter: submitter.clone(),
        priority: form.priority.or(job.priority).unwrap_or(PRIORITY_MIDDLE),
        board_wish: job.board,
        folder: form.folder.clone(),
        node,
    };
    let jobs = jobs.into_iter().map(new).collect();
    Ok(Submission { jobs, definition: form.definition, files, secrets: form.secrets })
}

/// What one of several boards does.
fn part(node: Node) -> (Job, Option<NewNode>) {
    (node.job, Some(NewNode { label: node.label, role: node.role }))
}

/// A job's folder, while it is checked.
struct Folder(PathBuf);

impl Folder {
    fn new(store: &Path) -> Result<Self, ApiError> {
        let name = hexadecimal(&random().map_err(upload::failed)?[..8]);
        let folder = incoming(store).join(name);
        fs::create_dir_all(&folder).map_err(upload::failed)?;
        Ok(Self(fs::canonicalize(&folder).map_err(upload::failed)?))
    }

    fn link(&self, name: &str, file: &Path) -> Result<(), ApiError> {
        let place = self.0.join(name);
        let made = place.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::hard_link(file, &place)).map_err(|error| match error.kind() {
            // One name is a folder of another.
            std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists => {
                ApiError::invalid(format!("\"{}\" is a file and a folder", shorten(name)))
            }
            _ => upload::failed(error),
        })
    }

    /// What was wrong, in the client's words: he knows nothing of this folder.
    fn without(&self, error: FileError) -> FileError {
        let shown = format!("{}/", self.0.display());
        let clean = |text: String| text.replace(&shown, "");
        FileError {
            file: clean(error.file),
            message: clean(error.message),
            mend: error.mend.map(clean),
            ..error
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn incoming(store: &Path) -> PathBuf {
    store.join("jobs").join("incoming")
}

fn job_yaml() -> String {
    "job.yaml".into()
}

/// Of a job that says nothing.
const PRIORITY_MIDDLE: u8 = 50;
/// A job file has at most 1 MiB, and its characters may be escaped.
pub(super) const BYTES_MAX: usize = 4 << 20;
const FILES_MAX: usize = 1000;
