//! Git repositories, by the `git` program of this host.
//!
//! A checkout lies in a temporary folder, which has bounds in bytes and time. Nothing of a repository is run: no hooks,
//! no submodules, no transports but git's own.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use agent_core::time::Duration;
use nix::poll::{PollFd, PollFlags, poll};

use super::overlay::Kept;
use crate::config::value::shorten;
use crate::io::clock;

/// What of a repository is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// A path, relative to the job's folder, or a URL that git knows.
    pub repository: String,
    /// A branch or a tag.
    pub branch: Option<String>,
    /// A commit, a branch or a tag; wins.
    pub revision: Option<String>,
}

/// A repository's files at a commit.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// The files, and `.git`.
    pub folder: Kept,
    /// The commit's id.
    pub commit: String,
}

/// Checks a repository out. `folder` is what relative paths are relative to.
///
/// # Errors
/// One line: what git said, or which bound was reached.
pub fn checkout(folder: &Path, wanted: &Wanted) -> Result<Checkout, String> {
    let kept = tempfile::Builder::new()
        .prefix("pumice-git-")
        .tempdir()
        .map_err(|error| format!("no temporary folder for git: {error}"))?;
    let tree = kept.path().join("tree");
    let address = address(folder, &wanted.repository);
    let mut clone = git(kept.path());
    clone.args(["clone", "--quiet", "--no-checkout", "--no-recurse-submodules"]);
    if wanted.revision.is_none() && address.contains("://") {
        clone.args(["--depth", "1"]);
    }
    if let Some(branch) = &wanted.branch {
        clone.arg(format!("--branch={branch}"));
    }
    clone.arg("--").arg(&address).arg(&tree);
    let said = |error: String| format!("git cannot clone {}: {error}", shorten(&wanted.repository));
    run(clone, kept.path()).map_err(said)?;
    let commit = match &wanted.revision {
        None => resolve(&tree, "HEAD").ok_or_else(|| said("it has no commit".into()))?,
        Some(revision) => resolve(&tree, revision)
            .or_else(|| resolve(&tree, &format!("refs/remotes/origin/{revision}")))
            .ok_or_else(|| {
                let repository = shorten(&wanted.repository);
                format!("the repository {repository} has no revision {}", shorten(revision))
            })?,
    };
    let mut files = git(&tree);
    files.args(["checkout", "--quiet", "--detach", "--force", &commit]);
    run(files, kept.path())
        .map_err(|error| format!("git cannot check out {}: {error}", shorten(&commit)))?;
    Ok(Checkout { folder: Kept::new(kept), commit })
}

impl Checkout {
    /// Where the files are.
    pub fn tree(&self) -> std::path::PathBuf {
        self.folder.path().join("tree")
    }
}

/// A path as git's own rule tells it from a URL and from `host:path`: no colon before the first slash.
pub(super) fn address(folder: &Path, text: &str) -> String {
    let first = text.split('/').next().unwrap_or_default();
    if first.contains(':') { text.to_owned() } else { folder.join(text).display().to_string() }
}

fn git(folder: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(folder)
        .args(["-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false"])
        .args(["-c", "protocol.ext.allow=never", "-c", "core.fsmonitor=false"])
        // No gc in the background, which would work on after the end.
        .args(["-c", "submodule.recurse=false", "-c", "gc.auto=0", "-c", "maintenance.auto=false"])
        // Nobody is there to answer; what git says is quoted in English.
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_LFS_SKIP_SMUDGE", "1")
        .env("LC_ALL", "C")
        // Set where pumice is run by a hook: they would name another repository.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .stdin(Stdio::null());
    git
}

fn resolve(tree: &Path, revision: &str) -> Option<String> {
    let mut parse = git(tree);
    parse.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
    let output = parse.arg(format!("{revision}^{{commit}}")).output().ok()?;
    let id = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    let is_id = output.status.success() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(id)
}

/// Runs git until it ends, or `folder` or the time has grown too large.
fn run(mut command: Command, folder: &Path) -> Result<(), String> {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "the program git is not installed".to_owned(),
        _ => error.to_string(),
    })?;
    let mut said = Vec::new();
    let ended = wait(&mut child, folder, &mut said);
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    if ended?.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&said);
    // The line that says why; hints stand behind it.
    let fatal = text.lines().find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    let why = fatal.or_else(|| text.lines().last()).unwrap_or("it failed without a word");
    Err(why.chars().filter(|c| !c.is_control()).take(300).collect())
}

/// Waits on git's standard error, which ends with it, and looks at the bounds again and again.
fn wait(child: &mut Child, folder: &Path, said: &mut Vec<u8>) -> Result<ExitStatus, String> {
    let failed = |error: io::Error| error.to_string();
    let deadline = clock::now() + TIME_MAX;
    let mut stderr = child.stderr.take();
    let mut buffer = [0; 4096];
    loop {
        match &mut stderr {
            Some(pipe) => {
                let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
                if poll(&mut fds, LOOK_EVERY_MS).is_ok_and(|ready| ready > 0) {
                    let count = pipe.read(&mut buffer).map_err(failed)?;
                    let left = SAID_BYTES_MAX.saturating_sub(said.len());
                    said.extend_from_slice(&buffer[..count.min(left)]);
                    if count == 0 {
                        stderr = None;
                    }
                }
            }
            // Git closes it by ending.
            None => return child.wait().map_err(failed),
        }
        if clock::now() > deadline {
            return Err(format!("not done after {} minutes", TIME_MAX.as_micros() / 60_000_000));
        }
        if bytes_in(folder, 0) > BYTES_MAX {
            return Err(format!("more than {} MiB", BYTES_MAX >> 20));
        }
    }
}

/// About how much a folder holds; what vanishes meanwhile does not count.
fn bytes_in(folder: &Path, depth: u32) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && depth < 64 => bytes_in(&entry.path(), depth + 1),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// A repository's whole history beside an overlay; more is a kernel tree.
const BYTES_MAX: u64 = 1 << 30;
/// What git says of an error is short.
const SAID_BYTES_MAX: usize = 16 * 1024;
/// Looking costs a walk through the folder.
const LOOK_EVERY_MS: u16 = 250;
/// Longer than any clone of so many bytes.
const TIME_MAX: Duration = Duration::from_secs(600);

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;
    use crate::io::test_folder::TestFolder;

    /// A repository with a history: a branch `main` whose file says "two", a tag `v1` and a branch `old` at "one".
    pub(crate) struct Repository {
        pub(crate) folder: TestFolder,
        pub(crate) first: String,
    }

    impl Repository {
        pub(crate) fn new() -> Self {
            let mut repository = Self { folder: TestFolder::new(), first: String::new() };
            repository.git(&["init", "--quiet", "--initial-branch=main"]);
            repository.commit("file", "one");
            repository.first = repository.git(&["rev-parse", "HEAD"]);
            repository.git(&["tag", "v1"]);
            repository.git(&["branch", "old"]);
            repository.commit("file", "two");
            repository
        }

        pub(crate) fn commit(&self, path: &str, text: &str) {
            let place = self.folder.path().join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, text).unwrap();
            self.git(&["add", "--all"]);
            self.git(&["commit", "--quiet", "--message=x"]);
        }

        pub(crate) fn git(&self, words: &[&str]) -> String {
            let name = ["-c", "user.name=x", "-c", "user.email=x@localhost"];
            let output =
                git(self.folder.path()).args(name).args(words).output().expect("git is installed");
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        }
    }

    fn read(wanted: &Wanted) -> Result<(String, String), String> {
        let checkout = checkout(Path::new("/"), wanted)?;
        Ok((fs::read_to_string(checkout.tree().join("file")).unwrap(), checkout.commit))
    }

    #[test]
    fn branches_tags_and_commits() {
        let repository = Repository::new();
        let path = repository.folder.path().display().to_string();
        let url = format!("file://{path}");
        let last = repository.git(&["rev-parse", "HEAD"]);
        for address in [&path, &url] {
            let wanted = |branch: Option<&str>, revision: Option<&str>| Wanted {
                repository: address.clone(),
                branch: branch.map(str::to_owned),
                revision: revision.map(str::to_owned),
            };
            let (one, two) =
                (("one".into(), repository.first.clone()), ("two".into(), last.clone()));
            assert_eq!(read(&wanted(None, None)), Ok(two));
            assert_eq!(read(&wanted(Some("old"), None)), Ok(one.clone()));
            for revision in ["v1", "old", &repository.first[..10]] {
                assert_eq!(read(&wanted(None, Some(revision))), Ok(one.clone()), "{revision}");
            }
            let none = format!("the repository {} has no revision v2", shorten(address));
            assert_eq!(read(&wanted(None, Some("v2"))), Err(none));
            let error = read(&wanted(Some("none"), None)).unwrap_err();
            assert!(error.contains("Remote branch none not found"), "{error}");
            // An option in the place of a name is none.
            assert!(read(&wanted(None, Some("--help"))).is_err());
        }
    }

    #[test]
    fn what_is_no_repository() {
        let folder = TestFolder::new();
        let repository = folder.path().display().to_string();
        let error = read(&Wanted { repository, ..Wanted::default() }).unwrap_err();
        assert!(error.starts_with("git cannot clone") && error.contains("fatal:"), "{error}");
        let repository = "ext::sh -c touch%20/tmp/x".to_owned();
        let error = read(&Wanted { repository, ..Wanted::default() }).unwrap_err();
        assert!(error.contains("transport 'ext' not allowed"), "{error}");
    }

    #[test]
    fn paths_and_urls() {
        let folder = Path::new("/jobs");
        for (text, expected) in [
            ("../suites", "/jobs/../suites"),
            ("/a/b.git", "/a/b.git"),
            ("-x", "/jobs/-x"),
            ("file:///a", "file:///a"),
            ("git@host:a/b", "git@host:a/b"),
            ("./a:b", "/jobs/./a:b"),
        ] {
            assert_eq!(address(folder, text), expected);
        }
    }
}
