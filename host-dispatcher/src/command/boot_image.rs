//! The image of `testboot`: the job's own, or made from its kernel.
//!
//! Made with e2fsprogs, which need no root for it, as a file system of its own, so that a kernel reaches the board the
//! same way as any image: verified, and never half.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::hands_on::configuration;
use crate::config::board_type::BoardType;
use crate::job::event::Slot;
use crate::job::spec::{Image, Job};
use crate::script::Fault;

/// Room in the file system beside the files: its own tables, and growth to whole blocks.
const OVERHEAD_BYTES: u64 = 4 << 20;

/// An image, and what keeps it there.
#[derive(Debug)]
pub(super) struct BootImage {
    pub(super) image: Image,
    _folder: Option<Folder>,
}

/// A folder that is removed with the value.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The image for `testboot`, if the job brings one or a kernel.
pub(super) fn boot_image(job: &Job, board_type: &BoardType) -> Result<Option<BootImage>, Fault> {
    let Some(deploy) = &job.deploy else { return Ok(None) };
    if let Some(image) = &deploy.boot {
        return Ok(Some(BootImage { image: image.clone(), _folder: None }));
    }
    let Some(kernel) = &deploy.kernel else { return Ok(None) };
    let files = [
        ("vmlinuz", Some(kernel)),
        ("initrd.img", deploy.ramdisk.as_ref()),
        ("dtb", deploy.dtb.as_ref()),
    ];
    let wanted = board_type.boot.as_ref().map(|boot| boot.loader.commands.get(Slot::Test));
    let loads = |name: &str| {
        wanted
            .is_some_and(|commands| commands.iter().any(|command| command.source().contains(name)))
    };
    if deploy.ramdisk.is_none() && loads("initrd.img") {
        return Err(configuration(format!(
            "the board type {} boots a kernel with an initial ramdisk: add ramdisk: to deploy:",
            board_type.name
        )));
    }
    let folder = Folder(std::env::temp_dir().join(format!("pumice-boot-{}", std::process::id())));
    let tree = folder.0.join("tree");
    let failed = |what: &Path| {
        let what = what.display().to_string();
        move |error: std::io::Error| Fault::infrastructure(format!("{what}: {error}"))
    };
    fs::create_dir_all(&tree).map_err(failed(&tree))?;
    let mut bytes = OVERHEAD_BYTES;
    for (name, image) in files {
        let Some(image) = image else { continue };
        fs::copy(&image.path, tree.join(name)).map_err(failed(&image.path))?;
        bytes += image.size_bytes;
    }
    let place = folder.0.join("testboot.ext4");
    make_file_system(&tree, &place, bytes)?;
    let image = Image { path: place, size_bytes: bytes, sha256: None };
    Ok(Some(BootImage { image, _folder: Some(folder) }))
}

fn make_file_system(tree: &Path, place: &Path, bytes: u64) -> Result<(), Fault> {
    let kibibytes = (bytes + bytes / 16).div_ceil(1024);
    let output = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-E", "root_owner=0:0", "-d"])
        .arg(tree)
        .arg(place)
        .arg(format!("{kibibytes}k"))
        .env("PATH", path_with_sbin())
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(Fault::infrastructure(format!("mke2fs failed: {}", why.trim())))
        }
        Err(error) => Err(Fault::infrastructure(format!(
            "mke2fs: {error}: install the package e2fsprogs, which makes the image of testboot"
        ))),
    }
}

/// Debian keeps mke2fs where a user's PATH does not reach.
fn path_with_sbin() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}
