//! What the tests on the emulated board need, and how many of them run at once.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Lab;
use crate::program::processes_with;

/// Which set of images a lab's board boots from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// `testrootfs` is empty.
    Plain,
    /// `testrootfs` holds Debian with systemd.
    Debian,
}

/// A copy of the plain disk, to be changed before the board's first boot: what a deploy would take a minute for.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
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

/// The folder of a set of images for the board type [`ARMV7`].
///
/// # Panics
/// The emulator or the images are missing; the message says how to get them.
pub fn images(images: Images) -> PathBuf {
    let folder = match images {
        Images::Plain => images_folder(),
        Images::Debian => images_folder().join("debian"),
    };
    with_disk(folder, ARMV7)
}

/// The folder of the plain images for a board type.
///
/// # Panics
/// As [`images`].
pub fn plain_images(board_type: &str) -> PathBuf {
    with_disk(images_folder(), board_type)
}

fn with_disk(folder: PathBuf, board_type: &str) -> PathBuf {
    let machine = if board_type == AARCH64 { "aarch64" } else { "arm" };
    for program in [&format!("qemu-system-{machine}"), "qemu-img"] {
        assert!(is_installed(program), "{program} is missing: run ci/setup");
    }
    let machine = if board_type == AARCH64 { "qemu_arm64" } else { "qemu_arm" };
    let boot_loader = Path::new("/usr/lib/u-boot").join(machine).join("u-boot.bin");
    assert!(boot_loader.is_file(), "{} is missing: run ci/setup", boot_loader.display());
    let disk = folder.join(board_type).join("disk.img");
    assert!(disk.is_file(), "{} is missing: {BAKE}", disk.display());
    folder
}

impl Disk {
    /// A copy in a set of images below `folder`; the set is `folder` itself.
    ///
    /// # Panics
    /// The images are missing; the message says how to bake them.
    pub fn copy_to(folder: &Path, board_type: &str) -> Self {
        let plain = plain_images(board_type).join(board_type).join("disk.img");
        let path = folder.join(board_type).join("disk.img");
        fs::create_dir_all(folder.join(board_type)).expect("a folder can be made");
        let words = [OsStr::new("--sparse=always"), plain.as_os_str(), path.as_os_str()];
        run("cp", &words, "");
        Self { path }
    }

    /// The disk of a set that has been copied.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Overwrites the beginning of the disk: no partition can be found on it any more, and of the first one the file
    /// system is gone.
    ///
    /// # Panics
    /// The disk cannot be written to.
    pub fn wipe_beginning(&self) {
        let disk = OpenOptions::new().write(true).open(&self.path).expect("the copy is ours");
        let bytes = self.offset("master") as usize + WIPED_BYTES;
        disk.write_all_at(&vec![0; bytes], 0).expect("the disk takes it");
    }

    /// Of the master image the file system is gone; the partition stays.
    ///
    /// # Panics
    /// The disk cannot be written to.
    pub fn wipe_master(&self) {
        let disk = OpenOptions::new().write(true).open(&self.path).expect("the copy is ours");
        disk.write_all_at(&[0; WIPED_BYTES], self.offset("master")).expect("the disk takes it");
    }

    /// The bytes of a partition, up to where the next one begins.
    ///
    /// # Panics
    /// There is none of these names.
    pub fn partition(&self, label: &str, next: &str) -> Vec<u8> {
        let (from, to) = (self.offset(label), self.offset(next));
        let mut bytes = vec![0; (to - from) as usize];
        let disk = File::open(&self.path).expect("the copy is ours");
        disk.read_exact_at(&mut bytes, from).expect("a disk has what is in its partition table");
        bytes
    }

    /// Puts an image into `testrootfs`.
    ///
    /// # Panics
    /// It is missing.
    pub fn put_rootfs(&self, name: &str) {
        let board_type = self.path.parent().and_then(Path::file_name).and_then(OsStr::to_str);
        let image = image_of(board_type.unwrap_or(ARMV7), name);
        self.put_rootfs_bytes(&fs::read(image).expect("an image can be read"));
    }

    /// The same with an image that is no file.
    ///
    /// # Panics
    /// The disk cannot be written to.
    pub fn put_rootfs_bytes(&self, bytes: &[u8]) {
        let disk = OpenOptions::new().write(true).open(&self.path).expect("the copy is ours");
        let at = self.offset("testrootfs");
        // A hole stays one: the rest of the partition reads as zeros.
        for (index, block) in bytes.chunks(BLOCK).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                disk.write_all_at(block, at + (index * BLOCK) as u64).expect("the disk takes it");
            }
        }
    }

    /// Writes a file of the master image anew, with the rights that it had.
    ///
    /// # Panics
    /// The image has no such file.
    pub fn change_master_file(&self, name: &str, change: impl FnOnce(String) -> String) {
        let text = String::from_utf8(self.master_file(name)).expect("it is text");
        self.replace_master_file(name, change(text));
    }

    /// A file of the master image.
    ///
    /// # Panics
    /// The image has no such file.
    pub fn master_file(&self, name: &str) -> Vec<u8> {
        let local = self.path.with_extension("file");
        self.debugfs(&[], &format!("dump {name} {}\n", local.display()));
        let bytes = fs::read(&local).unwrap_or_default();
        assert!(!bytes.is_empty(), "the master image has no {name}");
        bytes
    }

    /// Writes a program of the master image anew.
    ///
    /// # Panics
    /// The image does not take it.
    pub fn replace_master_file(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let local = self.path.with_extension("file");
        fs::write(&local, bytes).expect("the copy is ours");
        let commands = format!(
            "rm {name}\nwrite {} {name}\nset_inode_field {name} mode 0100755\n",
            local.display()
        );
        self.debugfs(&["-w"], &commands);
    }

    /// Puts a file into a folder of the master image; what is missing of the folder is made.
    ///
    /// # Panics
    /// The image does not take it.
    pub fn put_master_file(&self, folder: &str, name: &str, bytes: impl AsRef<[u8]>) {
        let local = self.path.with_extension("file");
        fs::write(&local, bytes).expect("the copy is ours");
        let parents = folder.char_indices().skip(1).filter(|(_, byte)| *byte == '/');
        let mut commands: String =
            parents.map(|(at, _)| format!("mkdir {}\n", &folder[..at])).collect();
        commands += &format!("mkdir {folder}\ncd {folder}\nwrite {} {name}\n", local.display());
        self.debugfs(&["-w"], &commands);
    }

    /// Has the master image's file system looked at, or, with `-w`, changed.
    fn debugfs(&self, options: &[&str], commands: &str) {
        let place = format!("{}?offset={}", self.path.display(), self.offset("master"));
        let place = [place.as_str()];
        let words: Vec<_> = options.iter().chain(&place).map(OsStr::new).collect();
        run("debugfs", &words, commands);
    }

    /// Where a partition begins, in bytes.
    ///
    /// # Panics
    /// There is none of this name.
    pub fn offset(&self, label: &str) -> u64 {
        // UEFI 2.10, §5.3: the header in block 1 says where the entries are.
        let disk = File::open(&self.path).expect("the copy is ours");
        let number = |bytes: &[u8]| {
            bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let mut header = [0; 92];
        disk.read_exact_at(&mut header, SECTOR).expect("a disk has a partition table");
        let (table, count, length) =
            (number(&header[72..80]), number(&header[80..84]), number(&header[84..88]));
        let name: Vec<u8> = label.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for index in 0..count {
            let mut entry = [0; 128];
            let read = disk.read_exact_at(&mut entry, table * SECTOR + index * length);
            read.expect("a partition table is whole");
            if entry[56..].starts_with(&name) && entry[56 + name.len()..][..2] == [0, 0] {
                return number(&entry[32..40]) * SECTOR;
            }
        }
        panic!("{} has no partition {label}", self.path.display());
    }
}

/// The power of a lab's board is cut: the emulator goes, as it stands.
///
/// # Panics
/// It is not ours.
pub fn cut_power(lab: &Lab) {
    if let Some(pid) = running(lab) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is ours");
    }
}

/// The process of a lab's board, while it has power.
pub fn running(lab: &Lab) -> Option<i32> {
    let is_emulator = |pid: &i32| {
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        program.ends_with("qemu-system-arm") || program.ends_with("qemu-system-aarch64")
    };
    processes_with(&lab.folder().display().to_string()).into_iter().find(is_emulator)
}

/// Runs a program of this machine to its end.
///
/// # Panics
/// It is missing or fails.
pub fn run(program: &str, words: &[&OsStr], input: &str) -> String {
    // Debian keeps debugfs where a user's PATH does not reach.
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    let mut command = Command::new(program);
    command.args(words).env("PATH", path).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("{program}: {error}: run ci/setup"));
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("a child can be waited for");
    assert!(output.status.success(), "{program} {words:?}: {} {written:?}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A test image of the board type [`ARMV7`].
///
/// # Panics
/// It is missing; the message says how to bake it.
pub fn image(name: &str) -> PathBuf {
    image_of(ARMV7, name)
}

/// A test image of an emulated board type.
///
/// # Panics
/// It is missing; the message says how to bake it.
pub fn image_of(board_type: &str, name: &str) -> PathBuf {
    let path = images_folder().join(board_type).join(name);
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

/// The emulated board types.
pub const ARMV7: &str = "qemu-virt-armv7";
/// Of 64 bits.
pub const AARCH64: &str = "qemu-virt-aarch64";

const BAKE: &str =
    "bake it with cross/bake-image as cross/README.md says, or run ci/test images, which does";
/// More do not make it faster on a machine with two processors.
const SLOTS: u32 = 2;
/// A block of a disk, UEFI 2.10, §5.2.
const SECTOR: u64 = 512;
/// A block of a file system.
const BLOCK: usize = 4096;
/// Superblock, descriptors and the first files.
const WIPED_BYTES: usize = 1 << 20;
