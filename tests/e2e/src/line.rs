//! A serial line: a pseudo-terminal for the agent, a socket or another pseudo-terminal for `pumice`, and in between two
//! threads that carry the bytes as well or badly as they were told to.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use nix::sys::termios::{BaudRate, SetArg, cfgetospeed, cfmakeraw, tcgetattr, tcsetattr};
use tempfile::TempDir;

pub use crate::noise::Carry;
use crate::noise::Noise;
use crate::program::{Running, built};

/// A line with a board's end, a pseudo-terminal, and a host's end, which [`Line::connection`] names.
#[derive(Debug)]
pub struct Line {
    connection: String,
    host_end: String,
    board_end: String,
    shared: Arc<Shared>,
    folder: TempDir,
    /// The terminals, the board's first. Without them the line would hang up whenever nobody has it open.
    held: Vec<File>,
}

/// What the threads of a line share with its owner.
#[derive(Debug)]
struct Shared {
    to_host: Mutex<Host>,
    carried: Mutex<Carried>,
}

/// The host's end.
#[derive(Debug)]
enum Host {
    /// Nobody listens: what the board sends is lost, as on a real line.
    Nobody,
    Socket(UnixStream),
    Terminal(File),
}

#[derive(Debug, Default)]
struct Carried {
    inserted: Vec<String>,
    to_board: u64,
    to_host: u64,
}

impl Line {
    /// A line that `pumice` reaches by a Unix socket.
    ///
    /// # Panics
    /// The machine has no pseudo-terminals.
    pub fn with_socket(to_board: Noise, to_host: Noise) -> Self {
        let folder = folder();
        let path = folder.path().join("line");
        let listener = UnixListener::bind(&path).expect("a socket can be made");
        let (board, board_end, held) = terminal();
        let shared = Shared::new(Host::Nobody);
        let mut carrier = Carry::new(to_board);
        let (serving, mut writer) = (shared.clone(), copy_of(&board));
        thread::spawn(move || {
            for host in listener.incoming().map_while(Result::ok) {
                let Ok(reader) = host.try_clone() else { return };
                *lock(&serving.to_host) = Host::Socket(host);
                serving.carry_to_board(&mut carrier, reader, &mut writer);
                *lock(&serving.to_host) = Host::Nobody;
            }
        });
        shared.clone().carry_to_host(Carry::new(to_host), board);
        let host_end = path.display().to_string();
        let connection = format!("unix:{host_end}");
        Self { connection, host_end, board_end, shared, folder, held: vec![held] }
    }

    /// A line whose two ends are serial devices, without any fault.
    ///
    /// # Panics
    /// The machine has no pseudo-terminals.
    pub fn with_terminals() -> Self {
        let (board, board_end, held) = terminal();
        let (host, host_end, host_held) = terminal();
        let shared = Shared::new(Host::Terminal(copy_of(&host)));
        let (serving, mut writer) = (shared.clone(), copy_of(&board));
        let mut carrier = Carry::new(Noise::default());
        thread::spawn(move || serving.carry_to_board(&mut carrier, host, &mut writer));
        shared.clone().carry_to_host(Carry::new(Noise::default()), board);
        let connection = format!("serial:{host_end}?baud=115200");
        Self {
            connection,
            host_end,
            board_end,
            shared,
            folder: folder(),
            held: vec![held, host_held],
        }
    }

    /// For a lab file.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// The host's end: a socket or a terminal.
    pub fn host_end(&self) -> &str {
        &self.host_end
    }

    /// The board's end: a terminal, for an agent's `--line`.
    pub fn board_end(&self) -> &str {
        &self.board_end
    }

    /// Starts a real agent at the board's end. Its own `/.pumice` and `/run` are in a folder of the line's.
    ///
    /// # Panics
    /// It is not built.
    pub fn agent(&self, words: &[&str]) -> Running {
        self.agent_under(&[], &built("pumice-agent"), words)
    }

    /// The same with another agent, which runs under the words of an emulator, if there are any.
    ///
    /// # Panics
    /// The emulator or the agent is missing.
    pub fn agent_under(&self, emulator: &[&str], agent: &Path, words: &[&str]) -> Running {
        let (agent, root) = (agent.display().to_string(), self.root().display().to_string());
        let own = [&agent, "--line", &self.board_end, "--root", &root];
        let words: Vec<&str> = emulator.iter().chain(&own).chain(words).copied().collect();
        Running::start(Path::new(words[0]), &words[1..], self.folder.path(), &[], None)
    }

    /// The agent's root.
    pub fn root(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The lines of foreign text that came in so far.
    pub fn inserted(&self) -> Vec<String> {
        lock(&self.shared.carried).inserted.clone()
    }

    /// The speeds that the ends' terminals are set to, the board's first, as the kernel names them.
    ///
    /// # Panics
    /// One is gone.
    pub fn speeds(&self) -> Vec<BaudRate> {
        let speed = |file| cfgetospeed(&tcgetattr(file).expect("it is a terminal"));
        self.held.iter().map(speed).collect()
    }

    /// Bytes that went to the board so far.
    pub fn bytes_to_board(&self) -> u64 {
        lock(&self.shared.carried).to_board
    }

    /// Bytes that came from the board so far.
    pub fn bytes_to_host(&self) -> u64 {
        lock(&self.shared.carried).to_host
    }
}

impl Shared {
    fn new(to_host: Host) -> Arc<Self> {
        Arc::new(Self { to_host: Mutex::new(to_host), carried: Mutex::default() })
    }

    /// Until the host's end is closed.
    fn carry_to_board(&self, carrier: &mut Carry, mut host: impl Read, board: &mut File) {
        let mut piece = [0; PIECE];
        while let Ok(length @ 1..) = host.read(&mut piece) {
            let (bytes, _) = carrier.carry(&piece[..length]);
            lock(&self.carried).to_board += length as u64;
            if board.write_all(&bytes).is_err() {
                return;
            }
        }
    }

    /// In a thread, until the board's end is gone.
    fn carry_to_host(self: Arc<Self>, mut carrier: Carry, mut board: File) {
        thread::spawn(move || {
            let mut piece = [0; PIECE];
            while let Ok(length @ 1..) = board.read(&mut piece) {
                let (bytes, lines) = carrier.carry(&piece[..length]);
                let is_heard = self.send_to_host(&bytes);
                let mut carried = lock(&self.carried);
                carried.to_host += length as u64;
                if is_heard {
                    carried.inserted.extend(lines);
                }
            }
        });
    }

    /// Whether somebody was there.
    fn send_to_host(&self, bytes: &[u8]) -> bool {
        // Not while the lock is held: a host that reads nothing must not keep its end from being closed.
        let end = match &*lock(&self.to_host) {
            Host::Nobody => return false,
            Host::Socket(socket) => socket.try_clone().map(OwnedFd::from),
            Host::Terminal(file) => file.try_clone().map(OwnedFd::from),
        };
        let Ok(mut end) = end.map(File::from) else { return false };
        let mut rest = bytes;
        while !rest.is_empty() {
            // A terminal that nobody reads fills up; what comes then is lost.
            let mut fds = [PollFd::new(end.as_fd(), PollFlags::POLLOUT)];
            if !poll(&mut fds, PollTimeout::from(1000_u16)).is_ok_and(|count| count > 0) {
                return false;
            }
            match end.write(&rest[..rest.len().min(SMALL)]) {
                Ok(length) => rest = &rest[length..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// A pseudo-terminal in raw mode: its master, the path of its slave, and the slave, held open.
///
/// # Panics
/// The machine has none left.
pub fn terminal() -> (File, String, File) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .expect("the machine has pseudo-terminals");
    grantpt(&master).expect("a new pseudo-terminal is ours");
    unlockpt(&master).expect("a new pseudo-terminal is ours");
    let path = ptsname_r(&master).expect("a pseudo-terminal has a name");
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let slave = open(Path::new(&path), flags, Mode::empty()).expect("it can be opened");
    let mut termios = tcgetattr(&slave).expect("it is a terminal");
    cfmakeraw(&mut termios);
    tcsetattr(&slave, SetArg::TCSANOW, &termios).expect("it is a terminal");
    (File::from(OwnedFd::from(master)), path, File::from(slave))
}

fn copy_of(file: &File) -> File {
    file.try_clone().expect("a descriptor is left")
}

fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("pumice-line-").tempdir();
    folder.expect("a temporary folder can be made")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked has failed the test already.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a terminal holds.
const PIECE: usize = 4096;
/// So that a terminal that has room for some bytes takes a piece without blocking.
const SMALL: usize = 256;
