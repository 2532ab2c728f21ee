//! Gets definitions, and what they bring along, from this host's disk, from git repositories and from servers.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::fence::Fence;
use super::form::Definition;
use super::git::{self, Checkout, Wanted};
use super::install::Repository;
use super::overlay::{Overlay, OverlayError, is_relative};
use super::server::{Download, Served};
use super::variable::Variable;
use crate::config::value::{shorten, visible_path};
use crate::config::yaml::{self, FileError, Place};

/// Where definitions come from, for one job file.
#[derive(Debug)]
pub struct Fetcher<'a> {
    /// The job file's name, for errors.
    file: &'a str,
    /// What relative paths are relative to.
    folder: &'a Path,
    /// What files of this host may be read; any where there is none.
    fence: Option<&'a Fence>,
    /// Several tests of a job are often of one repository.
    checkouts: HashMap<Wanted, Checkout>,
    /// And of one archive.
    downloads: HashMap<Served, Download>,
}

/// A definition with what goes to the board beside it.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The definition.
    pub definition: Definition,
    /// Its text.
    pub text: String,
    /// Where it comes from: the name to show, also in errors.
    pub origin: String,
    /// The commits of the repositories that it comes from, and the digest of a server's file, a sentence each.
    pub commits: Vec<String>,
    /// The files that go with it.
    pub overlay: Overlay,
}

impl<'a> Fetcher<'a> {
    /// A fetcher for the job file `file`; relative paths are relative to `folder`.
    pub fn new(file: &'a str, folder: &'a Path) -> Self {
        Self { file, folder, fence: None, checkouts: HashMap::new(), downloads: HashMap::new() }
    }

    /// The same one, which reads only what `fence` holds.
    #[must_use]
    pub fn fenced(self, fence: Option<&'a Fence>) -> Self {
        Self { fence, ..self }
    }

    /// A definition in a file of its own: nothing goes with it. `at` is where the job names it.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn file(&self, path: &str, at: Place) -> Result<Fetched, FileError> {
        let place = self.folder.join(path);
        self.is_within_fence(&place, path, at)?;
        if !place.is_file() {
            return Err(self.no_definition(&place, at));
        }
        self.read(&place, visible(&place), Overlay::default())
    }

    /// A definition in a folder, which goes with it; of the folder only `include`, if it is not empty.
    ///
    /// # Errors
    /// It cannot be read, or is none, or the folder cannot be an overlay.
    pub fn directory(
        &self,
        directory: &str,
        path: &str,
        include: &[String],
        at: Place,
    ) -> Result<Fetched, FileError> {
        let root = self.folder.join(directory);
        self.is_within_fence(&root, directory, at)?;
        let place = self.within(&root, path, at)?;
        let mut overlay = Overlay::default();
        overlay.add(&root, "", include).map_err(|error| self.no_overlay(&error, at))?;
        self.read(&place, visible(&root.join(path)), overlay)
    }

    /// A definition in a repository, whose files go with it; of them only `include`, if it is not empty.
    ///
    /// # Errors
    /// It cannot be checked out, or as for [`Self::directory`].
    pub fn git(
        &mut self,
        wanted: &Wanted,
        path: &str,
        include: &[String],
        at: Place,
    ) -> Result<Fetched, FileError> {
        let checkout = self.checkout(wanted).map_err(|text| FileError::at(self.file, at, text))?;
        let tree = checkout.tree();
        let origin = format!("{}:{path}", shorten(&wanted.repository));
        let named = |error: FileError| FileError {
            message: error.message.replace(&*tree.to_string_lossy(), &shorten(&wanted.repository)),
            ..error
        };
        let place = self.within(&tree, path, at).map_err(named)?;
        let mut overlay = Overlay::default();
        let added = overlay.add(&tree, "", include);
        added.map_err(|error| named(self.no_overlay(&error, at)))?;
        overlay.kept.push(checkout.folder.clone());
        let mut fetched = self.read(&place, origin, overlay)?;
        fetched.commits.push(commit(wanted, &checkout));
        Ok(fetched)
    }

    /// A definition alone on a server; or with `path` one in an archive, whose files go with it, of them only `include`, if it
    /// is not empty.
    ///
    /// # Errors
    /// It cannot be downloaded or unpacked, or as for [`Self::directory`].
    pub fn url(
        &mut self,
        served: Served,
        path: Option<&str>,
        include: &[String],
        at: Place,
    ) -> Result<Fetched, FileError> {
        let name = served.name();
        let wrong = |text: String| FileError::at(self.file, at, text);
        let download = match self.downloads.get(&served) {
            Some(download) => download.clone(),
            None => served.download().map_err(wrong)?,
        };
        self.downloads.insert(served, download.clone());
        let mut fetched = match path {
            None => self.read(&download.file, name.clone(), Overlay::default())?,
            Some(path) => {
                let tree = download.unpacked(&name).map_err(wrong)?;
                let named = |error: FileError| FileError {
                    message: error.message.replace(&*tree.to_string_lossy(), &name),
                    ..error
                };
                let place = self.within(&tree, path, at).map_err(named)?;
                let mut overlay = Overlay::default();
                let added = overlay.add(&tree, "", include);
                added.map_err(|error| named(self.no_overlay(&error, at)))?;
                overlay.kept.push(download.folder.clone());
                self.read(&place, format!("{name}:{path}"), overlay)?
            }
        };
        fetched.commits.push(format!("{name} with the SHA-256 {}", download.sha256));
        Ok(fetched)
    }

    /// Adds the repositories that a definition wants to its overlay. `overrides` are the job's parameters.
    ///
    /// # Errors
    /// One cannot be checked out, or has no place in the overlay.
    pub fn repositories(
        &mut self,
        fetched: &mut Fetched,
        overrides: &[Variable],
    ) -> Result<(), FileError> {
        let Fetched { definition, origin, overlay, commits, .. } = fetched;
        // A field may be the name of a parameter, as in LAVA.
        let value = |text: &str| {
            let known = overrides.iter().chain(&definition.parameters);
            let found = known.clone().find(|parameter| parameter.name == text);
            found.map_or_else(|| text.to_owned(), |parameter| parameter.value.clone())
        };
        for Repository { url, branch, destination, place } in &definition.install.repositories {
            let wanted = Wanted {
                repository: value(url),
                branch: branch.as_deref().map(value).filter(|branch| !branch.is_empty()),
                revision: None,
            };
            let wrong = |message: String| FileError::at(origin, *place, message);
            let name = destination.as_deref().map_or_else(|| name_of(&wanted.repository), value);
            if !is_relative(&name) || name.contains('/') || name.chars().any(char::is_control) {
                let message = format!("\"{}\" cannot be a folder of the overlay", shorten(&name));
                return Err(wrong(message).mend("add \"destination: NAME\""));
            }
            let checkout = self.checkout(&wanted).map_err(wrong)?;
            overlay.add(&checkout.tree(), &name, &[]).map_err(|error| {
                let tree = checkout.tree();
                let text = error.to_string().replace(&*tree.to_string_lossy(), &name);
                with_mend(wrong(text), &error)
            })?;
            overlay.kept.push(checkout.folder.clone());
            commits.push(commit(&wanted, &checkout));
        }
        Ok(())
    }

    fn checkout(&mut self, wanted: &Wanted) -> Result<Checkout, String> {
        if let Some(checkout) = self.checkouts.get(wanted) {
            return Ok(checkout.clone());
        }
        let address = git::address(self.folder, &wanted.repository);
        if self.fence.is_some_and(|fence| !fence.takes_repository(&address)) {
            let repository = shorten(&wanted.repository);
            return Err(format!("{repository} is no repository of an http or https server"));
        }
        let checkout = git::checkout(self.folder, wanted)?;
        self.checkouts.insert(wanted.clone(), checkout.clone());
        Ok(checkout)
    }

    fn is_within_fence(&self, place: &Path, path: &str, at: Place) -> Result<(), FileError> {
        if self.fence.is_none_or(|fence| fence.holds(place)) {
            return Ok(());
        }
        let message = Fence::refusal(&shorten(path));
        Err(FileError::at(self.file, at, message).mend(Fence::MEND))
    }

    /// A definition's file in a folder, which it must not leave by a link.
    fn within(&self, root: &Path, path: &str, at: Place) -> Result<PathBuf, FileError> {
        if !is_relative(path) {
            let message = format!("\"{}\" is no path within the overlay", shorten(path));
            return Err(FileError::at(self.file, at, message)
                .mend("name the definition relative to its folder, without .."));
        }
        let place = root.join(path);
        let real = |path: &Path| fs::canonicalize(path).ok();
        match (real(root), real(&place)) {
            (Some(_), Some(file)) if !file.is_file() => Err(self.no_definition(&place, at)),
            (Some(root), Some(file)) if file.starts_with(&root) => Ok(file),
            (Some(_), Some(_)) => {
                let message = format!("the definition {} leaves the overlay", visible(&place));
                Err(FileError::at(self.file, at, message))
            }
            _ => Err(self.no_definition(&place, at)),
        }
    }

    fn no_definition(&self, place: &Path, at: Place) -> FileError {
        let why = match fs::metadata(place) {
            Ok(_) => "not a file".to_owned(),
            Err(error) => error.to_string(),
        };
        let message = format!("the definition {} cannot be read: {why}", visible(place));
        FileError::at(self.file, at, message).mend("paths are relative to the job file")
    }

    fn no_overlay(&self, error: &OverlayError, at: Place) -> FileError {
        with_mend(FileError::at(self.file, at, error.to_string()), error)
    }

    fn read(&self, place: &Path, origin: String, overlay: Overlay) -> Result<Fetched, FileError> {
        let named = |error: FileError| FileError { file: origin.clone(), ..error };
        let text = yaml::read(place).map_err(named)?;
        let definition = Definition::from_str(&origin, &text)?;
        Ok(Fetched { definition, text, origin, commits: Vec::new(), overlay })
    }
}

fn with_mend(error: FileError, why: &OverlayError) -> FileError {
    match why.mend() {
        Some(mend) => error.mend(mend),
        None => error,
    }
}

fn commit(wanted: &Wanted, checkout: &Checkout) -> String {
    format!("{} at commit {}", shorten(&wanted.repository), checkout.commit)
}

/// What `git clone` calls the folder.
fn name_of(repository: &str) -> String {
    let path = repository.trim_end_matches('/');
    let name = path.rsplit(['/', ':']).next().unwrap_or_default();
    name.strip_suffix(".git").unwrap_or(name).to_owned()
}

/// A path as a person recognises it: without the `./` and empty parts that joining leaves.
fn visible(path: &Path) -> String {
    visible_path(&path.components().collect::<PathBuf>())
}
