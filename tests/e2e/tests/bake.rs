//! `cross/bake-agent` on small images of each kind: what it puts in, that twice is once, and that it can be undone.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const INITTAB: &str = "# who comes first\n::sysinit:/etc/init.d/rcS\nttyS0::respawn:/sbin/getty 115200 ttyS0\n\
    ttyAMA0::askfirst:/bin/sh\ntty1::askfirst:/bin/sh\n::ctrlaltdel:/sbin/reboot\n";

/// A folder for images, and a small root file system in it.
fn rootfs() -> (TempDir, PathBuf) {
    let folder = tempfile::Builder::new().prefix("pumice-bake-").tempdir().unwrap();
    let root = folder.path().join("rootfs");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::create_dir_all(root.join("usr/sbin")).unwrap();
    symlink("usr/sbin", root.join("sbin")).unwrap();
    fs::write(root.join("usr/sbin/init"), "the real one").unwrap();
    fs::write(root.join("etc/inittab"), INITTAB).unwrap();
    (folder, root)
}

/// Runs a command to a good end; its output.
#[track_caller]
fn done(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[track_caller]
fn bake(target: &Path, words: &[&str]) {
    done(bake_command(target).arg("--agent").arg(agent_beside(target)).arg("--start").args(words));
}

/// A file beside an image that is a program as far as anybody looks.
fn agent_beside(image: &Path) -> PathBuf {
    let path = image.with_file_name("agent");
    fs::write(&path, agent()).unwrap();
    path
}

/// Of a real one's size.
fn agent() -> Vec<u8> {
    [&b"\x7fELF"[..], &(0..36_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()].concat()
}

#[track_caller]
fn undo(target: &Path) {
    done(bake_command(target).arg("--undo"));
}

fn bake_command(target: &Path) -> Command {
    let mut command =
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cross/bake-agent"));
    command.arg(target);
    command
}

/// Names and contents of everything in a folder.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let shown = done(
        Command::new("find").current_dir(folder).args([".", "-type", "f", "-o", "-type", "l"]),
    );
    let mut names: Vec<String> =
        String::from_utf8(shown).unwrap().lines().map(str::to_owned).collect();
    names.sort_unstable();
    let read = |name: &String| {
        let path = folder.join(name);
        let link = fs::read_link(&path).map(|to| to.into_os_string().into_encoded_bytes());
        link.unwrap_or_else(|_| fs::read(&path).unwrap())
    };
    names.iter().map(|name| (name.clone(), read(name))).collect()
}

fn file(files: &[(String, Vec<u8>)], name: &str) -> String {
    let found = files.iter().find(|(found, _)| found == name);
    String::from_utf8_lossy(&found.unwrap_or_else(|| panic!("no {name}")).1).into_owned()
}

/// What every kind of image must have after `words`, as a folder.
#[track_caller]
fn is_baked(folder: &Path, start: &str) {
    let files = contents(folder);
    let agent = folder.join("usr/sbin/pumice-agent");
    assert!(fs::read(&agent).unwrap() == self::agent());
    assert_eq!(fs::metadata(&agent).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_link(folder.join("sbin")).unwrap(), Path::new("usr/sbin"), "still a link");
    match start {
        "systemd" => {
            let unit = file(&files, "./etc/systemd/system/pumice-agent.service");
            assert!(unit.contains("ExecStart=@/sbin/pumice-agent @pumice-agent\n"), "{unit}");
            let wanted = "./etc/systemd/system/multi-user.target.wants/pumice-agent.service";
            assert_eq!(file(&files, wanted), "../pumice-agent.service");
            file(&files, "./etc/systemd/system/serial-getty@.service.d/pumice.conf");
        }
        "busybox-init" => {
            let inittab = file(&files, "./etc/inittab");
            assert_eq!(
                inittab.matches("null::respawn:/sbin/pumice-agent\n").count(),
                1,
                "{inittab}"
            );
            assert!(
                inittab.contains("\n#pumice# ttyS0::respawn:/sbin/getty 115200 ttyS0\n"),
                "{inittab}"
            );
            assert!(
                inittab.contains("\ntty1::askfirst:/bin/sh\n"),
                "a screen is no line: {inittab}"
            );
        }
        _ => assert_eq!(file(&files, "./etc/inittab"), INITTAB),
    }
}

#[test]
fn a_folder() {
    let (_folder, root) = rootfs();
    let before = contents(&root);
    for start in ["init", "systemd", "busybox-init"] {
        bake(&root, &[start]);
        is_baked(&root, start);
        let once = contents(&root);
        bake(&root, &[start]);
        assert!(contents(&root) == once, "{start}: twice is once");
        undo(&root);
        assert!(contents(&root) == before, "{start}");
    }
    // Of another kind than before.
    bake(&root, &["busybox-init"]);
    bake(&root, &["systemd", "--line", "/dev/ttyS0"]);
    let files = contents(&root);
    assert_eq!(file(&files, "./etc/inittab"), INITTAB);
    assert!(
        file(&files, "./etc/systemd/system/pumice-agent.service")
            .contains("@pumice-agent --line /dev/ttyS0\n")
    );
    file(&files, "./etc/systemd/system/serial-getty@ttyS0.service.d/pumice.conf");
    undo(&root);
    assert!(contents(&root) == before);
}

#[test]
fn systemd_understands_the_unit() {
    let (_folder, root) = rootfs();
    bake(&root, &["systemd"]);
    let verify = Command::new("systemd-analyze")
        .arg("verify")
        .arg(format!("--root={}", root.display()))
        .args(["--recursive-errors=no", "pumice-agent.service"])
        .output();
    let Ok(output) = verify else {
        eprintln!("no systemd-analyze here: not checked");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let about_it: Vec<&str> =
        said.lines().filter(|line| line.contains("pumice-agent.service:")).collect();
    assert!(about_it.is_empty(), "{said}");
}

#[test]
fn archives() {
    for name in ["rootfs.tar", "rootfs.tar.gz", "rootfs.tar.xz"] {
        for names in [".", "etc usr sbin"] {
            let (folder, root) = rootfs();
            let archive = folder.path().join(name);
            done(
                Command::new("tar")
                    .arg("-C")
                    .arg(&root)
                    .arg("-caf")
                    .arg(&archive)
                    .args(names.split(' ')),
            );
            for start in ["systemd", "busybox-init"] {
                bake(&archive, &[start]);
                bake(&archive, &[start]);
                let out = folder.path().join("out");
                fs::create_dir(&out).unwrap();
                done(Command::new("tar").arg("-C").arg(&out).arg("-xf").arg(&archive));
                is_baked(&out, start);
                fs::remove_dir_all(&out).unwrap();
                undo(&archive);
            }
            let out = folder.path().join("out");
            fs::create_dir(&out).unwrap();
            done(Command::new("tar").arg("-C").arg(&out).arg("-xf").arg(&archive));
            assert!(contents(&out) == contents(&root), "{name} {names}");
        }
    }
}

#[test]
fn an_ext4_image() {
    let (folder, root) = rootfs();
    let image = folder.path().join("rootfs.ext4");
    fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    done(Command::new("/usr/sbin/mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(&root).arg(&image));
    let out = folder.path().join("out");
    let unpack = || {
        let _ = fs::remove_dir_all(&out);
        fs::create_dir(&out).unwrap();
        done(
            Command::new("/usr/sbin/debugfs")
                .arg("-R")
                .arg(format!("rdump / {}", out.display()))
                .arg(&image),
        );
        done(Command::new("/usr/sbin/e2fsck").arg("-fn").arg(&image));
    };
    for start in ["init", "systemd", "busybox-init"] {
        bake(&image, &[start]);
        bake(&image, &[start]);
        unpack();
        is_baked(&out, start);
        undo(&image);
        unpack();
        assert!(contents(&out) == contents(&root), "{start}");
    }
}

#[test]
fn an_initramfs() {
    let (folder, root) = rootfs();
    symlink("usr/sbin/init", root.join("init")).unwrap();
    for packing in ["cat", "gzip", "xz --check=crc32"] {
        let image = folder.path().join("initrd.cpio.packed");
        let script = format!("find . | cpio -o -H newc --quiet | {packing} >'{}'", image.display());
        done(Command::new("sh").current_dir(&root).args(["-c", &script]));
        let before = fs::read(&image).unwrap();
        bake(&image, &["initramfs"]);
        let once = fs::read(&image).unwrap();
        bake(&image, &["initramfs"]);
        assert_eq!(fs::read(&image).unwrap().len(), once.len());
        // What the kernel does: one archive, zeros, the next.
        assert!(once.starts_with(&before));
        let start = before.len().next_multiple_of(512);
        assert!(once[before.len()..start].iter().all(|byte| *byte == 0));
        let added = folder.path().join("added");
        fs::write(&added, &once[start..]).unwrap();
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        let script = format!("cpio -id --quiet <'{}'", added.display());
        done(Command::new("sh").current_dir(&out).args(["-c", &script]));
        assert!(fs::read(out.join("init")).unwrap() == agent());
        assert_eq!(
            fs::read_link(out.join("init.without-pumice")).unwrap(),
            Path::new("usr/sbin/init")
        );
        fs::remove_dir_all(&out).unwrap();
        undo(&image);
        assert!(fs::read(&image).unwrap() == before, "{packing}");
    }
}

#[test]
fn what_cannot_be_meant_is_said() {
    let (folder, root) = rootfs();
    let text = folder.path().join("notes");
    fs::write(&text, "no image").unwrap();
    fs::remove_file(root.join("etc/inittab")).unwrap();
    let agent = agent_beside(&root).display().to_string();
    let text_path = text.display().to_string();
    for (target, words, expected) in [
        (&text, ["--agent", agent.as_str(), "--start", "init"], "is neither a folder, nor a .tar"),
        (&root, ["--agent", agent.as_str(), "--start", "upstart"], "is none of init, systemd"),
        (&root, ["--agent", text_path.as_str(), "--start", "init"], "is not a program"),
        (&root, ["--agent", agent.as_str(), "--start", "busybox-init"], "has no /etc/inittab"),
        (&root, ["--agent", agent.as_str(), "--start", "initramfs"], "is for a .cpio"),
    ] {
        let output = bake_command(target).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{said}");
    }
}
