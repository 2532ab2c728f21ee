//! A lab of a test's own: a folder with a lab file, and nothing shared with any other test.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::emulator::{self, Disk, Images};
use crate::program::{Output, Running, built, processes_with};
use crate::record::Record;

/// A folder with a lab file, where `pumice` runs with a state of its own.
#[derive(Debug)]
pub struct Lab {
    folder: TempDir,
}

impl Lab {
    /// A lab with this lab file.
    ///
    /// # Panics
    /// No temporary folder can be made.
    pub fn new(lab_yaml: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("pumice-e2e-").tempdir();
        let lab = Self { folder: folder.expect("a temporary folder can be made") };
        lab.write("lab.yaml", lab_yaml);
        lab
    }

    /// A lab with one emulated board, `qemu-01`.
    ///
    /// # Panics
    /// What the emulated board needs is missing; the message says how to get it.
    pub fn emulated(images: Images) -> Self {
        Self::new(&emulated_board(&emulator::images(images), emulator::ARMV7))
    }

    /// The same with a disk of its own, which `change` may change, before the first boot.
    ///
    /// # Panics
    /// As [`Self::emulated`].
    pub fn emulated_with(change: impl FnOnce(&Disk)) -> Self {
        Self::emulated_of(emulator::ARMV7, change)
    }

    /// The same with a board of another emulated type.
    ///
    /// # Panics
    /// As [`Self::emulated`].
    pub fn emulated_of(board_type: &str, change: impl FnOnce(&Disk)) -> Self {
        let lab = Self::new(&emulated_board(Path::new("images"), board_type));
        change(&Disk::copy_to(&lab.path("images"), board_type));
        lab
    }

    /// A lab with one board, `here`, that is nothing but a line with an agent.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn on_line(connection: &str) -> Self {
        Self::new(&format!(
            "boards:\n  - {{name: here, type: generic, connection: \"{connection}\"}}\n"
        ))
    }

    /// Changes the board type [`emulator::ARMV7`], for all commands from now on. Once in a lab.
    ///
    /// # Panics
    /// `pumice` is not built.
    pub fn change_board_type(&self, change: impl FnOnce(String) -> String) {
        self.change_type(emulator::ARMV7, change);
    }

    /// The same with any board type that ships.
    ///
    /// # Panics
    /// As [`Self::change_board_type`].
    pub fn change_type(&self, board_type: &str, change: impl FnOnce(String) -> String) {
        let shown = self.start_as_typed(&["board-types", "show", board_type], None);
        let shown = shown.wait().exits_with(0).out();
        fs::create_dir(self.path("types")).expect("the lab's folder is ours");
        self.write("types/changed.yaml", change(shown));
        let lab_yaml = fs::read_to_string(self.path("lab.yaml")).expect("a lab has a lab file");
        self.write("lab.yaml", format!("board_types: types\n{lab_yaml}"));
    }

    /// A path in the lab's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the lab's folder.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// The folder of a board's files; it is there once the board was touched.
    pub fn board_folder(&self, board: &str) -> PathBuf {
        self.path("state/boards").join(board)
    }

    /// Starts `pumice --lab lab.yaml WORDS…`.
    ///
    /// # Panics
    /// It is not built.
    pub fn start(&self, words: &[&str]) -> Running {
        self.start_with(words, None)
    }

    /// The same with a standard input.
    ///
    /// # Panics
    /// It is not built.
    pub fn start_with(&self, words: &[&str], input: Option<Vec<u8>>) -> Running {
        let words: Vec<&str> = ["--lab", "lab.yaml"].iter().chain(words).copied().collect();
        self.start_as_typed(&words, input)
    }

    /// Starts `pumice --lab lab.yaml WORDS…` with another `PATH` for the programs that it starts.
    ///
    /// # Panics
    /// It is not built.
    pub fn start_with_path(&self, words: &[&str], path: &Path) -> Running {
        let words: Vec<&str> = ["--lab", "lab.yaml"].iter().chain(words).copied().collect();
        let (state, store) = (self.path("state"), self.path("store"));
        let variables = [("PUMICE_STATE", &*state), ("PUMICE_STORE", &*store), ("PATH", path)];
        Running::start(&built("pumice"), &words, self.folder.path(), &variables, None)
    }

    /// Starts `pumice WORDS…`, without a lab file unless the words name one.
    ///
    /// # Panics
    /// It is not built.
    pub fn start_as_typed(&self, words: &[&str], input: Option<Vec<u8>>) -> Running {
        let (state, store) = (self.path("state"), self.path("store"));
        let variables = [("PUMICE_STATE", state.as_path()), ("PUMICE_STORE", store.as_path())];
        Running::start(&built("pumice"), words, self.folder.path(), &variables, input)
    }

    /// Runs `pumice --lab lab.yaml WORDS…` to its end.
    ///
    /// # Panics
    /// It is not built, or hangs.
    pub fn pumice(&self, words: &[&str]) -> Output {
        self.start(words).wait()
    }

    /// Runs a job to its end, and opens the run directory that it left.
    ///
    /// # Panics
    /// `pumice` is not built or hangs, or there is not one complete run directory.
    pub fn run(&self, job_yaml: &str) -> (Output, Record) {
        self.run_into("runs", job_yaml)
    }

    /// The same with the run directory in another folder of the lab's: for one job of several.
    ///
    /// # Panics
    /// As [`Self::run`].
    pub fn run_into(&self, runs: &str, job_yaml: &str) -> (Output, Record) {
        self.write("job.yaml", job_yaml);
        let output = self.pumice(&["run", "job.yaml", "--out", runs]);
        self.write("output.txt", [&output.stderr[..], &output.stdout].concat());
        let record = Record::only_one_in(&self.path(runs));
        (output, record)
    }

    /// The one run directory.
    ///
    /// # Panics
    /// There is none, or more than one.
    pub fn record(&self) -> Record {
        Record::only_one_in(&self.path("runs"))
    }

    /// Checks that nothing that was started in the lab outlived it: no emulator, no agent.
    ///
    /// # Panics
    /// Something did.
    #[track_caller]
    pub fn nothing_runs(&self) {
        let left = processes_with(&self.folder().display().to_string());
        assert!(left.is_empty(), "processes with the lab's files are left: {left:?}");
    }

    /// The lab's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Lab {
    /// What a failed test leaves is kept: it tells why.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("kept: {}", self.folder.path().display());
        }
    }
}

fn emulated_board(images: &Path, board_type: &str) -> String {
    let images = images.display();
    format!("images: {images}\nboards:\n  - {{name: qemu-01, type: {board_type}}}\n")
}
