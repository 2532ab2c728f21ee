//! The Debian package that `cross/build-deb` makes of the built `pumice`: what is in it, what lintian and systemd say to it,
//! and that it can be installed, run and removed, below a folder instead of `/`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::program::built;
use tempfile::TempDir;

/// What somebody looks for, by the documents or by habit.
const FILES: [&str; 14] = [
    "etc/pumice/lab.yaml",
    "lib/systemd/system/pumice.service",
    "lib/systemd/system/pumice-lava-worker.service",
    "usr/bin/pumice",
    "usr/share/bash-completion/completions/pumice",
    "usr/share/doc/pumice/changelog.Debian.gz",
    "usr/share/doc/pumice/changelog.gz",
    "usr/share/doc/pumice/copyright",
    "usr/share/doc/pumice/docs/lab.md",
    "usr/share/doc/pumice/examples/smoke.yaml",
    "usr/share/doc/pumice/examples/suite/kernel.yaml",
    "usr/share/fish/vendor_completions.d/pumice.fish",
    "usr/share/man/man1/pumice.1.gz",
    "usr/share/zsh/vendor-completions/_pumice",
];

#[test]
fn it_is_as_debian_wants_it_and_can_be_installed_run_and_removed() {
    let folder = tempfile::Builder::new().prefix("pumice-package-").tempdir().unwrap();
    let package = build(folder.path());
    says_what_it_is(&package);
    lintian_finds_no_error(&package);

    let root = Root::new();
    let adduser = root.run(&["--install", package.to_str().unwrap()]);
    let expected = "adduser --quiet --system --group --home /var/lib/pumice --no-create-home --gecos Pumice lab pumice\n";
    assert_eq!(adduser, expected, "what the unit's User= needs is made, and nothing else is done");
    for file in FILES {
        assert!(root.path(file).is_file(), "{file} is there");
    }
    let program = root.path("usr/bin/pumice");
    let version = done(Command::new(&program).arg("--version"));
    assert_eq!(version, done(Command::new(built("pumice")).arg("--version")));
    done(Command::new(&program).arg("check").arg(root.path("etc/pumice/lab.yaml")));
    units_are_good(&root);
    checksums_are_true(&root);

    // What somebody wrote stays, also when the program goes.
    let lab = root.path("etc/pumice/lab.yaml");
    fs::write(&lab, "boards: []\n").unwrap();
    root.run(&["--install", package.to_str().unwrap()]);
    root.run(&["--remove", "pumice"]);
    assert_eq!(fs::read_to_string(lab).unwrap(), "boards: []\n");
    for file in FILES.into_iter().filter(|file| !file.starts_with("etc/")) {
        assert!(!root.path(file).exists(), "{file} is gone");
    }
}

#[test]
fn what_is_no_program_is_refused() {
    let folder = tempfile::Builder::new().prefix("pumice-package-").tempdir().unwrap();
    let script = folder.path().join("pumice");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    let output = build_deb(&script, folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("is no program"), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no package is left");
}

fn build_deb(program: &Path, out: &Path) -> Command {
    let mut command =
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cross/build-deb"));
    command.arg(program).arg("--fast").arg("--out").arg(out);
    command
}

fn build(out: &Path) -> PathBuf {
    let said = done(&mut build_deb(&built("pumice"), out));
    let package = PathBuf::from(said.trim());
    assert!(package.starts_with(out) && package.is_file(), "{said}");
    package
}

/// Its fields, with all that it needs to run.
fn says_what_it_is(package: &Path) {
    let field = |name| done(Command::new("dpkg-deb").arg("--field").arg(package).arg(name));
    assert_eq!(field("Package").trim(), "pumice");
    let here = done(Command::new("dpkg").arg("--print-architecture"));
    assert_eq!(field("Architecture"), here);
    let version = done(Command::new(built("pumice")).arg("--version"));
    let version = version.trim().rsplit(' ').next().unwrap();
    assert_eq!(field("Version").trim(), format!("{}-1", version.replacen('-', "~", 1)));
    let depends = field("Depends");
    // adduser is its scripts' need; a libc that is older than the program's symbols would end it at its start.
    assert!(depends.contains("adduser") && depends.contains("libc6 (>= 2."), "{depends}");
    // 1 MiB is less than any pumice, 1 GiB more than any.
    let kib: u32 = field("Installed-Size").trim().parse().unwrap();
    assert!((1 << 10..1 << 20).contains(&kib), "{kib} KiB");
}

fn lintian_finds_no_error(package: &Path) {
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error", "--allow-root", "--no-cfg"]).arg(package);
    // Warnings are shown when something else fails.
    println!("{}", done(&mut lintian));
}

/// The units name files that are there, and no word that systemd does not know.
fn units_are_good(root: &Root) {
    for unit in ["pumice.service", "pumice-lava-worker.service"] {
        let mut verify = Command::new("systemd-analyze");
        verify.arg("--root").arg(root.folder.path()).args([
            "--recursive-errors=no",
            "verify",
            unit,
        ]);
        let output = verify.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let about_it: Vec<&str> = said.lines().filter(|line| line.contains("pumice")).collect();
        assert!(output.status.success() && about_it.is_empty(), "{unit}: {said}");
    }
}

fn checksums_are_true(root: &Root) {
    let list = root.path("var/lib/dpkg/info/pumice.md5sums");
    done(
        Command::new("md5sum")
            .current_dir(root.folder.path())
            .args(["--check", "--strict"])
            .arg(list),
    );
}

/// In place of `/`, with a dpkg of its own, whose packages' scripts find programs that only write down how they were called.
struct Root {
    folder: TempDir,
}

impl Root {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("pumice-root-").tempdir().unwrap();
        let root = Self { folder };
        for path in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "stubs", "usr/bin", "etc"] {
            fs::create_dir_all(root.path(path)).unwrap();
        }
        fs::write(root.path("var/lib/dpkg/status"), "").unwrap();
        for name in ["adduser", "systemctl"] {
            let stub = root.path("stubs").join(name);
            let calls = root.path("calls");
            fs::write(&stub, format!("#!/bin/sh\necho {name} \"$@\" >>{}\n", calls.display()))
                .unwrap();
            fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).unwrap();
        }
        // Where the units say that the programs that they call are.
        symlink("usr/bin", root.path("bin")).unwrap();
        fs::copy("/bin/kill", root.path("usr/bin/kill")).unwrap();
        root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Runs dpkg; what the package's scripts called.
    fn run(&self, words: &[&str]) -> String {
        let _ = fs::remove_file(self.path("calls"));
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}:/usr/sbin:/sbin", self.path("stubs").display());
        let mut dpkg = Command::new("dpkg");
        dpkg.env("PATH", path)
            .arg("--root")
            .arg(self.folder.path())
            // The scripts are this machine's to run, and what is needed is not in there.
            .args(["--force-script-chrootless", "--force-not-root", "--force-depends"])
            .args(words);
        done(&mut dpkg);
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }
}

/// Runs a command to a good end; its output.
#[track_caller]
fn done(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; run ci/setup"));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {out}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    out
}
