//! What the tests on the emulated board need, and how many of them run at once.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which set of images a lab's boards boot from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// `testrootfs` is empty.
    Plain,
    /// `testrootfs` holds Debian with systemd.
    Debian,
}

/// A place for one emulated board. Each takes a processor for itself while it boots.
#[derive(Debug)]
pub struct Slot {
    _lock: File,
}

impl Slot {
    /// Waits for a place, among all tests of this machine.
    ///
    /// # Panics
    /// The lock files cannot be made.
    pub fn take() -> Self {
        loop {
            for number in 0..SLOTS {
                let path = std::env::temp_dir().join(format!("pumice-e2e-slot-{number}"));
                let mut options = OpenOptions::new();
                let file = options.write(true).create(true).truncate(false).open(&path);
                let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                if file.try_lock().is_ok() {
                    return Self { _lock: file };
                }
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }
}

/// The folder of a set of images.
///
/// # Panics
/// The emulator or the images are missing; the message says how to get them.
pub fn images(images: Images) -> PathBuf {
    for program in ["qemu-system-arm", "qemu-img"] {
        assert!(is_installed(program), "{program} is missing: run ci/setup");
    }
    let boot_loader = Path::new("/usr/lib/u-boot/qemu_arm/u-boot.bin");
    assert!(boot_loader.is_file(), "{} is missing: run ci/setup", boot_loader.display());
    let folder = match images {
        Images::Plain => images_folder(),
        Images::Debian => images_folder().join("debian"),
    };
    let disk = folder.join("qemu-virt-armv7/disk.img");
    assert!(disk.is_file(), "{} is missing: {BAKE}", disk.display());
    folder
}

/// A test image of the emulated board.
///
/// # Panics
/// It is missing; the message says how to bake it.
pub fn image(name: &str) -> PathBuf {
    let path = images_folder().join("qemu-virt-armv7").join(name);
    assert!(path.is_file(), "{} is missing: {BAKE}", path.display());
    path
}

fn images_folder() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty());
    let cache = cache.map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cache")));
    cache.expect("HOME is set").join("pumice/images")
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

const BAKE: &str = "bake it with `cross/bake-image qemu-virt-armv7 --debian --agent \
    \"$(cross/build-agent armv7-unknown-linux-musleabihf)\"`, or run ci/test, which does";
/// More do not make it faster on a machine with two processors.
const SLOTS: u32 = 2;
