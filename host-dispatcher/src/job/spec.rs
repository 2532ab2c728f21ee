//! Job files: what to run, on what board, with what images.
//!
//! A [`Job`] that comes out of here has at least one test, names that may stand in paths, and images and definitions that
//! were there when it was read. Everything that is wrong with a job file is one line, before any board is touched. Knows nothing
//! of how a job is done.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::boot::{self, BootWishes, JobDeadlines, JobDeadlinesForm};
use super::boot_loader_test::{self, BootLoaderTest, BootLoaderTestForm};
use super::deploy::{DeployForm, Images, size_of_file};
use super::metadata::{Metadata, MetadataForm};
use super::notify::{self, Callback, NotifyForm};
use super::secret::{Origin as SecretOrigin, Secrets, SecretsForm};
use super::secret_source;
use super::test::{self, TestForm};
use crate::config::lab::BoardWish;
use crate::config::template::{InBootLoader, TextIn};
use crate::config::value::{Name, Period};
use crate::config::yaml::{self, Examples, FileError, Spanned, place};
use crate::definition::fence::Fence;
use crate::definition::fetch::Fetcher;
use crate::definition::variable::{Variable, VariablesForm};
use crate::kernel::Policy;
use crate::kernel::policy::PolicyForm;

pub use super::deploy::{Deploy, DeployOverlay, DiskPartitions, Image};
pub use super::test::{Origin, Test};
pub use roles::{NODES_MAX, Node, Roles};

mod roles;

/// What to run, on what board, with what images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The job's name, 1 to 200 characters, for people: it may hold anything but control characters.
    pub name: String,
    /// The board that the job asks for; empty where the command line must say.
    pub board: BoardWish,
    /// The images to deploy; nothing: test what the partitions hold already.
    pub deploy: Option<Deploy>,
    /// Whose kernel boots the image under test.
    pub boot_with: BootWith,
    /// How it is booted, beside what the board type says.
    pub boot: BootWishes,
    /// How long its phases may take.
    pub deadlines: JobDeadlines,
    /// Where it stands in a lab's queue, 0 to 100, if it says so.
    pub priority: Option<u8>,
    /// The tests, in order; at least one, and no two of one name.
    pub tests: Vec<Test>,
    /// What is tested at the boot loader's prompt before the image under test boots.
    pub boot_loader_tests: Vec<BootLoaderTest>,
    /// The hardware watchdog restarts the board when its agent did not feed it for so long; 1 s to 1 h, in whole seconds.
    pub watchdog: Option<Duration>,
    /// What is to be done about reports of the kernel under test.
    pub kernel: Policy,
    /// What it says of itself for those who read its results.
    pub metadata: Metadata,
    /// Who is told when it has ended.
    pub callbacks: Vec<Callback>,
    /// What the tests need and nobody else may see.
    pub secrets: Secrets,
    /// How long the whole job may take.
    pub timeout: Duration,
    /// The file's text, to be kept with the run; its secrets are in it: see [`Self::shown_source`].
    pub source: String,
}

/// Whose kernel boots the image under test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootWith {
    /// The image's own, or the one that the job deploys.
    #[default]
    Image,
    /// The master image's: nothing of a kernel has to be sent.
    Master,
}

impl Job {
    /// The job in a text. `file` is the name to show in errors, `folder` what relative paths are relative to;
    /// `size_of` says how long a file is. Definitions that do not stand in the text are fetched from this host.
    ///
    /// # Errors
    /// What is wrong, where, and how to mend it.
    pub fn from_str(
        file: &str,
        text: &str,
        folder: &Path,
        size_of: impl Fn(&Path) -> io::Result<u64>,
    ) -> Result<Self, FileError> {
        Self::read(file, text, folder, size_of, None)
    }

    /// The job in a text that somebody submitted from elsewhere: of this host's files it may name only what `fence`
    /// holds, and of repositories only those and what http(s) servers have.
    ///
    /// # Errors
    /// As for [`Self::from_str`].
    pub fn from_str_within(
        file: &str,
        text: &str,
        folder: &Path,
        fence: &Fence,
    ) -> Result<Self, FileError> {
        Self::read(file, text, folder, size_within(fence), Some(fence))
    }

    /// The job in the file of one that was submitted from elsewhere, when it is begun: what it names may have changed since
    /// it was accepted, and is held against `fence` again.
    ///
    /// # Errors
    /// As for [`Self::from_str`].
    pub fn load_within(path: &Path, fence: &Fence) -> Result<Self, FileError> {
        let text = yaml::read(path)?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        Self::from_str_within(&path.display().to_string(), &text, folder, fence)
    }

    fn read(
        file: &str,
        text: &str,
        folder: &Path,
        size_of: impl Fn(&Path) -> io::Result<u64>,
        fence: Option<&Fence>,
    ) -> Result<Self, FileError> {
        let form: JobForm = yaml::from_str(file, text, EXAMPLES)
            .map_err(|error| roles::explain(file, text, error))?;
        Self::of_form(file, text, folder, size_of, fence, form)
    }

    fn of_form(
        file: &str,
        text: &str,
        folder: &Path,
        size_of: impl Fn(&Path) -> io::Result<u64>,
        fence: Option<&Fence>,
        form: JobForm,
    ) -> Result<Self, FileError> {
        let characters = form.name.value.chars().count();
        if !(1..=NAME_CHARACTERS_MAX).contains(&characters)
            || form.name.value.chars().any(char::is_control)
        {
            let message =
                format!("a job's name has 1 to {NAME_CHARACTERS_MAX} characters on one line");
            return Err(FileError::at(file, place(&form.name), message));
        }
        let images = Images { file, folder, size_of };
        let boot_with =
            form.boot_with.as_ref().map_or(BootWith::Image, |boot_with| boot_with.value);
        let has_kernel = form
            .deploy
            .as_ref()
            .is_some_and(|deploy| deploy.value.boot.is_some() || deploy.value.kernel.is_some());
        if let (Some(key), BootWith::Master, true) = (&form.boot_with, boot_with, has_kernel) {
            let message = "the job deploys a kernel, and boots with another";
            return Err(FileError::at(file, place(key), message)
                .mend("remove boot_with:, or boot: and kernel: from deploy:"));
        }
        let environment = form.environment.map(|form| environment_of(file, form)).transpose()?;
        let mut environment = environment.unwrap_or_default();
        let origin =
            fence.map_or(SecretOrigin::Here(folder), |fence| SecretOrigin::Sent(fence.secrets()));
        let secrets = form.secrets.unwrap_or_default().check(file, origin)?;
        if !secrets.is_empty() {
            let (name, value) = (SECRETS_VARIABLE.to_owned(), SECRETS_FILE.to_owned());
            environment.push(Variable { name, value });
        }
        let mut fetcher = Fetcher::new(file, folder).fenced(fence);
        let loader_tests = form.boot_loader_tests.unwrap_or_default();
        let tests = match form.tests {
            Some(forms) => test::tests_of(file, forms, &environment, &mut fetcher)?,
            None if !loader_tests.is_empty() => Vec::new(),
            None => {
                return Err(FileError::at(file, place(&form.name), "missing key \"tests\"")
                    .mend("add \"tests: [{name: uname, run: uname -a}]\""));
            }
        };
        Ok(Self {
            boot_with,
            boot: boot::wishes_of(file, form.kernel_args, form.preboot, form.boot_commands)?,
            deadlines: form.deadlines.map(JobDeadlinesForm::deadlines).unwrap_or_default(),
            priority: form.priority.map(|form| priority_of(file, &form)).transpose()?,
            name: form.name.value,
            board: form.board.map(BoardForm::wish).unwrap_or_default(),
            deploy: form.deploy.map(|deploy| images.deploy(deploy)).transpose()?,
            watchdog: form.watchdog.map(|form| watchdog_of(file, &form)).transpose()?,
            boot_loader_tests: boot_loader_test::tests_of(file, loader_tests, &tests)?,
            tests,
            kernel: form.kernel.unwrap_or_default().policy(),
            metadata: form.metadata.map(|form| form.check(file)).transpose()?.unwrap_or_default(),
            callbacks: form.notify.unwrap_or_default().check(file, origin)?,
            secrets,
            timeout: form.timeout.map_or(JOB_TIMEOUT, Period::duration),
            source: text.to_owned(),
        })
    }

    /// The job in a file.
    ///
    /// # Errors
    /// What is wrong, where, and how to mend it.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        Self::of_text(path, &yaml::read(path)?)
    }

    /// The job in a text that stands for a file: relative paths are relative to its folder.
    ///
    /// # Errors
    /// What is wrong, where, and how to mend it.
    pub fn of_text(path: &Path, text: &str) -> Result<Self, FileError> {
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        Self::from_str(&path.display().to_string(), text, folder, size_of_file)
    }

    /// What nobody but the tests may see.
    pub fn hidden(&self) -> Secrets {
        self.secrets.and(notify::tokens(&self.callbacks))
    }

    /// The file's text with marks in the place of what nobody may see.
    pub fn shown_source(&self) -> String {
        secret_source::masked(&self.source, &self.hidden())
    }
}

/// How long a file is that a job from elsewhere names.
fn size_within(fence: &Fence) -> impl Fn(&Path) -> io::Result<u64> {
    |path| {
        if fence.holds(path) {
            return size_of_file(path);
        }
        Err(io::Error::other("it did not come with the job"))
    }
}

fn environment_of(file: &str, form: VariablesForm) -> Result<Vec<Variable>, FileError> {
    let mut environment = Vec::new();
    for (variable, place) in form.check(file, "variable")? {
        let name = variable.name.as_str();
        let is_agents =
            AGENTS_VARIABLES.contains(&name) || name.starts_with(AGENTS_VARIABLES_BEGIN);
        if is_agents {
            return Err(FileError::at(file, place, format!("{name} is set by the agent"))
                .mend("set it in a step, where it is needed"));
        }
        environment.push(variable);
    }
    Ok(environment)
}

fn watchdog_of(file: &str, form: &Spanned<Period>) -> Result<Duration, FileError> {
    let period = form.value.duration();
    if period.subsec_nanos() != 0 || period > WATCHDOG_MAX {
        return Err(FileError::at(file, place(form), "watchdog is 1s to 1h, in whole seconds"));
    }
    Ok(period)
}

fn priority_of(file: &str, form: &Spanned<u8>) -> Result<u8, FileError> {
    if form.value > PRIORITY_MAX {
        let message = format!("priority is 0 to {PRIORITY_MAX}");
        return Err(FileError::at(file, place(form), message).mend("50 is the middle"));
    }
    Ok(form.value)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobForm {
    name: Spanned<String>,
    board: Option<BoardForm>,
    deploy: Option<Spanned<DeployForm>>,
    boot_with: Option<Spanned<BootWith>>,
    kernel_args: Option<Spanned<String>>,
    preboot: Option<Spanned<Vec<TextIn<InBootLoader>>>>,
    boot_commands: Option<Spanned<Vec<TextIn<InBootLoader>>>>,
    deadlines: Option<JobDeadlinesForm>,
    priority: Option<Spanned<u8>>,
    environment: Option<VariablesForm>,
    boot_loader_tests: Option<Vec<BootLoaderTestForm>>,
    tests: Option<Spanned<Vec<TestForm>>>,
    kernel: Option<PolicyForm>,
    watchdog: Option<Spanned<Period>>,
    metadata: Option<MetadataForm>,
    notify: Option<NotifyForm>,
    secrets: Option<SecretsForm>,
    timeout: Option<Period>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoardForm {
    name: Option<Name>,
    #[serde(rename = "type")]
    board_type: Option<Name>,
    #[serde(default)]
    tags: Vec<Name>,
}

impl BoardForm {
    fn wish(self) -> BoardWish {
        let text = |name: Name| name.as_str().to_owned();
        BoardWish {
            name: self.name.map(text),
            board_type: self.board_type.map(text),
            tags: self.tags.into_iter().map(text).collect(),
        }
    }
}

/// The place in a lab's queue before all others.
pub const PRIORITY_MAX: u8 = 100;
const JOB_TIMEOUT: Duration = Duration::from_secs(3600);
/// One line in every report.
const NAME_CHARACTERS_MAX: usize = 200;
/// As long as a plan can say it, and longer than any watchdog of a board.
const WATCHDOG_MAX: Duration = Duration::from_secs(3600);
/// Without these the helpers are not found, or find nobody.
const AGENTS_VARIABLES: [&str; 3] = ["PATH", "LAVA_RESULT_DIR", "TESTRUN_ID"];
const AGENTS_VARIABLES_BEGIN: &str = "PUMICE_";

/// Where secrets lie on the board, and which variable says so. The folder's name is one of LAVA's, for test definitions
/// that look for `/lava-*/secrets`; the number of a job is never 0 there.
pub const SECRETS_FILE: &str = "/lava-0/secrets";
const SECRETS_VARIABLE: &str = "PUMICE_SECRETS";

const EXAMPLES: Examples = &[
    ("name", "name: smoke"),
    // Of a definition in the job.
    ("metadata", "metadata: {format: Lava-Test Test Definition 1.0, name: smoke}"),
    ("format", "format: Lava-Test Test Definition 1.0"),
    ("run", "run: {steps: [uname -a]}"),
    ("steps", "steps: [uname -a]"),
    ("url", "url: https://…"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Action, Kind};

    fn parse(text: &str) -> Result<Job, String> {
        let size_of = |path: &Path| match path.to_str() {
            Some("jobs/empty.img") => Ok(0),
            Some("jobs/folder") => Err(io::ErrorKind::IsADirectory.into()),
            Some(path) if path.ends_with(".img") => Ok(4096),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        Job::from_str("job.yaml", text, Path::new("jobs"), size_of)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_job() {
        let digest = "00ff".repeat(16);
        let job = parse(&format!(
            "name: smoke on busybox\nboard: {{type: qemu-virt-armv7, tags: [audio]}}\ndeploy:\n  rootfs: a.img\n  rootfs_sha256: \"{digest}\"\n  boot: /b.img\ntests:\n  - name: uname\n    run: |\n      uname -a\n      true\n    timeout: 30s\n  - {{name: two, run: 'false'}}\ntimeout: 5m\n"
        ))
        .unwrap();
        let deploy = job.deploy.unwrap();
        assert_eq!(deploy.rootfs.as_ref().unwrap().path, Path::new("jobs/a.img"));
        assert_eq!(deploy.rootfs.unwrap().sha256.unwrap()[..2], [0, 0xff]);
        assert_eq!(deploy.boot.unwrap().path, Path::new("/b.img"));
        assert_eq!(job.tests[0].run, "uname -a\ntrue\n");
        assert_eq!(
            (job.tests[0].timeout.as_secs(), job.tests[1].timeout.as_secs(), job.timeout.as_secs()),
            (30, 600, 300)
        );
        assert_eq!(job.board.tags, ["audio"]);
    }

    #[test]
    fn what_becomes_an_image() {
        let deploy = |text: &str| {
            let job = parse(&format!("name: x\ndeploy: {text}\ntests: [{{name: a, run: b}}]\n"));
            job.unwrap().deploy.unwrap()
        };
        let folder = deploy("{rootfs: folder, rootfs_size: 512M, boot: 'http://x/boot.xz'}");
        assert_eq!(folder.rootfs.unwrap().path, Path::new("jobs/folder"));
        assert_eq!(folder.rootfs_size, Some(512 << 20));
        assert_eq!(folder.boot.unwrap().path, Path::new("http://x/boot.xz"));
        let disk = deploy("{disk: a.img, partitions: {testrootfs: 2}, bmap: b.img, kernel: k.img}");
        assert_eq!(disk.disk.unwrap().path, Path::new("jobs/a.img"));
        assert_eq!(disk.partitions, DiskPartitions { testboot: None, testrootfs: Some(2) });
        assert_eq!(disk.bmap.unwrap(), Path::new("jobs/b.img"));
        let digest = "00ff".repeat(16);
        let files = deploy(&format!(
            "{{kernel: 'https://x/Image.gz', kernel_sha256: '{digest}', ramdisk: a.img, dtb: 'HTTP://x/b.dtb'}}"
        ));
        let kernel = files.kernel.unwrap();
        assert_eq!(
            (kernel.path.as_path(), kernel.size_bytes),
            (Path::new("https://x/Image.gz"), 0)
        );
        assert_eq!(kernel.sha256.unwrap()[..2], [0, 0xff]);
        assert_eq!(files.dtb.unwrap().path, Path::new("HTTP://x/b.dtb"));
        let laid = deploy(&format!(
            "{{rootfs: folder, modules: a.img, modules_sha256: '{digest}', overlays: [{{archive: 'https://x/k.tar.xz', path: /opt}}, {{file: b.img, path: /usr/bin/}}]}}"
        ));
        let shown = |overlay: &DeployOverlay| {
            let path = overlay.image.path.display().to_string();
            (path, overlay.is_archive, overlay.path.clone())
        };
        let expected = [
            ("jobs/a.img", true, "/"),
            ("https://x/k.tar.xz", true, "/opt"),
            ("jobs/b.img", false, "/usr/bin/"),
        ]
        .map(|(file, is_archive, path)| (file.to_owned(), is_archive, path.to_owned()));
        assert_eq!(laid.overlays.iter().map(shown).collect::<Vec<_>>(), expected);
        assert!(laid.overlays[0].image.sha256.is_some());
    }

    #[test]
    fn a_job_from_elsewhere_deploys_what_came_with_it() {
        let folder = crate::io::test_folder::TestFolder::new();
        let place = folder.path().join("job");
        std::fs::create_dir(&place).unwrap();
        for name in ["job/mine", "other"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let fence = Fence::new(&place, &[]);
        for (deploy, is_good) in [
            ("{rootfs: mine, modules: mine, overlays: [{file: mine, path: /a}]}", true),
            ("{rootfs: mine, overlays: [{archive: 'http://x/a.tar'}]}", true),
            ("{kernel: 'https://x/Image', dtb: mine}", true),
            ("{kernel: mine, ramdisk: ../other}", false),
            ("{rootfs: mine, modules: ../other}", false),
            ("{rootfs: mine, overlays: [{file: ../other, path: /a}]}", false),
            ("{rootfs: mine, overlays: [{archive: 'file:///etc'}]}", false),
        ] {
            let text = format!("name: x\ndeploy: {deploy}\ntests: [{{name: a, run: b}}]\n");
            let job = Job::from_str_within("job.yaml", &text, &place, &fence);
            assert_eq!(job.is_ok(), is_good, "{deploy}: {job:?}");
        }
    }

    #[test]
    fn the_least_job() {
        let job = parse("name: x\ntests: [{name: a, run: 'true'}]").unwrap();
        assert_eq!((job.board, job.deploy), (BoardWish::default(), None));
    }

    #[test]
    fn what_the_kernel_may_do() {
        let job = parse("name: x\nkernel: {warn: fail, oops: abort}\ntests: [{name: a, run: b}]");
        let policy = job.unwrap().kernel;
        let action = |kind| policy.action(kind);
        assert_eq!(
            [action(Kind::Warn), action(Kind::Oops), action(Kind::Panic), action(Kind::Oom)],
            [Action::Fail, Action::Abort, Action::Abort, Action::Record]
        );
    }

    #[test]
    fn environment_and_watchdog() {
        let head = "name: x\nenvironment: {A: it's 1, B: }\nwatchdog: 60s\n";
        let job = parse(&format!("{head}tests: [{{name: a, run: 'true'}}]")).unwrap();
        assert_eq!(job.tests[0].run, "export A='it'\\''s 1'\nexport B=''\ntrue");
        assert_eq!(job.watchdog, Some(Duration::from_secs(60)));
    }

    #[test]
    fn mistakes() {
        let tests = "tests: [{name: a, run: b}]\n";
        for (text, expected) in [
            (
                "name: x\n",
                "job.yaml:1: missing key \"tests\": add \"tests: [{name: uname, run: uname -a}]\"",
            ),
            (
                "name: x\ntests: []\n",
                "job.yaml:2: a job has 1 to 128 tests: add \"- {name: uname, run: uname -a}\"",
            ),
            (
                &format!("name: ''\n{tests}"),
                "job.yaml:1: a job's name has 1 to 200 characters on one line",
            ),
            (
                &format!("name: x\nbord: {{}}\n{tests}"),
                "job.yaml:2: unknown key \"bord\": did you mean \"board\"?",
            ),
            (
                &format!("name: x\nboard: {{typ: y}}\n{tests}"),
                "job.yaml:2: unknown key \"typ\": did you mean \"type\"?",
            ),
            (
                &format!("name: x\ndeploy:\n  rootfs: no.ext4\n{tests}"),
                "job.yaml:3: the image jobs/no.ext4 cannot be read: entity not found: paths are relative to the job file; make the image, or mend the path",
            ),
            (
                &format!("name: x\ndeploy:\n  rootfs: empty.img\n{tests}"),
                "job.yaml:3: the image jobs/empty.img is empty",
            ),
            (
                &format!("name: x\ndeploy:\n  rootfs: ftp://x/a.img\n{tests}"),
                "job.yaml:3: \"ftp://x/a.img\" is a URL that is not fetched: http and https are; download it and name the file",
            ),
            (
                &format!("name: x\ndeploy: {{rootfs: a.img, bmap: 'http://x/a.bmap'}}\n{tests}"),
                "job.yaml:2: a block map is a file of this host: download it and name the file",
            ),
            (
                &format!("name: x\ndeploy: {{kernel: folder}}\n{tests}"),
                "job.yaml:2: the image jobs/folder cannot be read: is a directory: paths are relative to the job file; make the image, or mend the path",
            ),
            (
                &format!("name: x\ndeploy: {{rootfs: a.img, rootfs_sha512: '00'}}\n{tests}"),
                "job.yaml:2: a SHA-512 has 128 hexadecimal digits: write what sha512sum prints, in quotes",
            ),
            (
                &format!(
                    "name: x\ndeploy: {{rootfs: a.img, rootfs_md5: '{}x'}}\n{tests}",
                    "0".repeat(31)
                ),
                "job.yaml:2: an MD5 has 32 hexadecimal digits: write what md5sum prints, in quotes",
            ),
            (
                &format!("name: x\ndeploy: {{rootfs: a.img, disk_md5: '00'}}\n{tests}"),
                "job.yaml:2: disk_md5 without disk: add \"disk: PATH\"",
            ),
            (
                &format!("name: x\ndeploy: {{rootfs: a.img, dtb_sha256: '00'}}\n{tests}"),
                "job.yaml:2: dtb_sha256 without dtb: add \"dtb: PATH\"",
            ),
            (
                &format!("name: x\ndeploy: {{disk: a.img, boot: b.img}}\n{tests}"),
                "job.yaml:2: disk has the images of both partitions already: keep disk, or rootfs and boot",
            ),
            (
                &format!(
                    "name: x\ndeploy: {{rootfs: a.img, partitions: {{testrootfs: 2}}}}\n{tests}"
                ),
                "job.yaml:2: partitions without disk: add \"disk: PATH\"",
            ),
            (
                &format!("name: x\ndeploy: {{disk: a.img, modules: b.img}}\n{tests}"),
                "job.yaml:2: modules and overlays are laid over the files of rootfs: add \"rootfs: PATH\", a folder or an archive",
            ),
            (
                &format!(
                    "name: x\ndeploy:\n  rootfs: folder\n  overlays:\n  - {{path: /}}\n{tests}"
                ),
                "job.yaml:5: an overlay misses the key \"archive\" or \"file\": add \"archive: PATH\"",
            ),
            (
                &format!(
                    "name: x\ndeploy:\n  rootfs: folder\n  overlays:\n  - {{file: a.img}}\n{tests}"
                ),
                "job.yaml:5: a file misses the key \"path\": add \"path: /usr/bin/tool\"",
            ),
            (
                &format!(
                    "name: x\ndeploy:\n  rootfs: folder\n  overlays:\n  - {{archive: a.img, file: b.img}}\n{tests}"
                ),
                "job.yaml:5: an overlay is an archive or a file: keep one of archive: and file:",
            ),
            (
                &format!(
                    "name: x\ndeploy:\n  rootfs: folder\n  overlays:\n  - {{archive: a.img, path: /a/../..}}\n{tests}"
                ),
                "job.yaml:5: an overlay's path is a place on the board, from /, without ..: write it as /usr/share",
            ),
            (
                &format!(
                    "name: x\ndeploy:\n  rootfs: folder\n  overlays:\n  - {{archive: none.tar}}\n{tests}"
                ),
                "job.yaml:5: the image jobs/none.tar cannot be read: entity not found: paths are relative to the job file; make the image, or mend the path",
            ),
            (
                &format!("name: x\ndeploy: {{rootfs: folder, rootfs_size: 5T}}\n{tests}"),
                "job.yaml:2: a size is 1M to 128G: write it as 512M, 4G",
            ),
            (
                &format!("name: x\ndeploy: {{}}\n{tests}"),
                "job.yaml:2: deploy names no image: add \"rootfs: PATH\", or leave deploy out to test what the board holds",
            ),
            (
                &format!("name: x\ndeploy: {{rootfs: a.img, rootfs_sha256: abc}}\n{tests}"),
                "job.yaml:2: a SHA-256 has 64 hexadecimal digits: write what sha256sum prints, in quotes",
            ),
            (
                &format!("name: x\ndeploy: {{boot: a.img, kernel: b.img}}\n{tests}"),
                "job.yaml:2: boot is an image with a kernel already: keep one of boot and kernel",
            ),
            (
                &format!("name: x\ndeploy: {{dtb: a.img}}\n{tests}"),
                "job.yaml:2: a ramdisk or device tree goes with a kernel: add \"kernel: PATH\"",
            ),
            (
                "name: x\ntests:\n - name: a\n",
                "job.yaml:3: a test misses the key \"run\": add \"run: uname -a\"",
            ),
            (
                "name: x\ntests:\n - run: a\n",
                "job.yaml:3: a test misses the key \"name\": add \"name: uname\"",
            ),
            (
                "name: x\ntests:\n - {name: a, run: ' '}\n",
                "job.yaml:3: run is a shell text of 1 to 65536 bytes",
            ),
            (
                "name: x\ntests:\n - {name: a, run: b}\n - {name: A, run: b}\n",
                "job.yaml:4: the test A stands in line 3 already: give each test a name of its own",
            ),
            (
                "name: x\ntests:\n - {name: ../a, run: b}\n",
                "job.yaml:3: \"../a\" cannot be a name: use 1 to 64 letters, digits and . _ -, a letter or digit first",
            ),
            (
                "name: x\ntests:\n - {name: a, run: b, timeout: 3 days}\n",
                "job.yaml:3: \"3 days\" is no period of time: write it as 500ms, 30s, 5m or 1h",
            ),
            (
                &format!("name: x\nkernel: {{ops: fail}}\n{tests}"),
                "job.yaml:2: unknown key \"ops\": did you mean \"oops\"?",
            ),
            (
                &format!("name: x\nkernel: {{oops: abrot}}\n{tests}"),
                "job.yaml:2: unknown word \"abrot\": did you mean \"abort\"?",
            ),
            (
                &format!("name: x\nwatchdog: 500ms\n{tests}"),
                "job.yaml:2: watchdog is 1s to 1h, in whole seconds",
            ),
            (
                &format!("name: x\nwatchdog: 2h\n{tests}"),
                "job.yaml:2: watchdog is 1s to 1h, in whole seconds",
            ),
            (
                &format!("name: x\nenvironment:\n  PATH: /bin\n{tests}"),
                "job.yaml:3: PATH is set by the agent: set it in a step, where it is needed",
            ),
            (
                &format!("name: x\nenvironment:\n  A: 1\n  PUMICE_SOCKET: x\n{tests}"),
                "job.yaml:4: PUMICE_SOCKET is set by the agent: set it in a step, where it is needed",
            ),
            (
                &format!("name: x\nenvironment: {{A.B: 1}}\n{tests}"),
                "job.yaml:2: \"A.B\" cannot be the name of a shell variable: use 1 to 64 letters, digits and _, no digit first",
            ),
            (
                &format!("name: x\ntimeout: 0\n{tests}"),
                "job.yaml:2: a period of time must be more than 0 and at most 7 days",
            ),
            (
                &format!("name: x\ntimeout: -5\n{tests}"),
                "job.yaml:2: a period of time must be more than 0 and at most 7 days",
            ),
            (
                &format!("name: x\ntimeout: [1]\n{tests}"),
                "job.yaml:2: invalid type: sequence, expected a period of time such as 30s, 5m or 1h",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }
}
