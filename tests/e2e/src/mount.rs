//! File systems that a test mounts.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One that is mounted; unmounted when the value is dropped.
#[derive(Debug)]
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts one of this kind, as root can; says so where that is not who runs the test.
    pub fn new(kind: &str, options: &str, place: &Path) -> Option<Self> {
        let mut command = Command::new("mount");
        command.args(["-t", kind, "-o", options, "pumice-e2e"]).arg(place);
        let is_mounted = command.status().is_ok_and(|status| status.success());
        if !is_mounted {
            eprintln!("SKIPPED: only root can mount; run this test as root");
        }
        is_mounted.then(|| Self(place.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: what a failed test left may still use it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
