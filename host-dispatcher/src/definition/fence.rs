//! Which files of this host a job may name that somebody submitted from elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that nothing leads out of: no `..`, and no link; and the values of secrets that came with the job.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fence {
    folders: Vec<PathBuf>,
    secrets: BTreeMap<String, String>,
}

impl Fence {
    /// The folder of a job, and those of `others` that are there.
    pub fn new(folder: &Path, others: &[PathBuf]) -> Self {
        let all = std::iter::once(folder).chain(others.iter().map(PathBuf::as_path));
        let folders = all.filter_map(|folder| fs::canonicalize(folder).ok()).collect();
        Self { folders, secrets: BTreeMap::new() }
    }

    /// The same with the values of secrets, by their names.
    #[must_use]
    pub fn with_secrets(self, secrets: BTreeMap<String, String>) -> Self {
        Self { secrets, ..self }
    }

    /// The values of secrets that came with the job.
    pub fn secrets(&self) -> &BTreeMap<String, String> {
        &self.secrets
    }

    /// Whether what is at a path lies in one of the folders. What is not there does not.
    pub fn holds(&self, path: &Path) -> bool {
        let Ok(real) = fs::canonicalize(path) else { return false };
        self.folders.iter().any(|folder| real.starts_with(folder))
    }

    /// Whether a repository may be cloned: from a server, or from one of the folders. `address` is as git gets it.
    pub fn takes_repository(&self, address: &str) -> bool {
        let is_url = ["https://", "http://"].iter().any(|scheme| address.starts_with(scheme));
        // No colon before the first slash is git's rule for a path.
        let is_path = !address.split('/').next().unwrap_or_default().contains(':');
        is_url || (is_path && self.holds(Path::new(address)))
    }

    /// What is said of a path that is outside.
    pub fn refusal(path: &str) -> String {
        format!("{path} is no file that came with the job")
    }

    /// What to do about it.
    pub const MEND: &'static str = "upload it with the job, name an http(s) URL, or let who runs the lab add its folder to job_folders";
}

/// By hand: no debug output shows a secret.
impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence").field("folders", &self.folders).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::io::test_folder::TestFolder;

    #[test]
    fn nothing_leads_out() {
        let folder = TestFolder::new();
        let place = |path: &str| folder.path().join(path);
        for name in ["job", "shared", "outside"] {
            fs::create_dir(place(name)).unwrap();
            fs::write(place(name).join("file"), "x").unwrap();
        }
        symlink(place("outside/file"), place("job/link")).unwrap();
        let fence = Fence::new(&place("job"), &[place("shared"), place("none")]);
        for (path, is_held) in [
            ("job/file", true),
            ("job", true),
            ("shared/file", true),
            ("job/../shared/file", true),
            ("job/../outside/file", false),
            ("job/link", false),
            ("outside/file", false),
            ("job/none", false),
        ] {
            assert_eq!(fence.holds(&place(path)), is_held, "{path}");
        }
        let shared = place("shared").display().to_string();
        for (address, is_taken) in [
            ("https://example.org/a.git", true),
            (shared.as_str(), true),
            ("ssh://git@example.org/a.git", false),
            ("git@example.org:a.git", false),
            ("file:///etc", false),
            ("ext::sh -c true", false),
            ("/etc", false),
        ] {
            assert_eq!(fence.takes_repository(address), is_taken, "{address}");
        }
        assert!(!Fence::default().holds(&place("job/file")));
    }
}
