//! A pretended board (`pty-board`) with a power switch and a line of its own, which lives on when the dispatcher ends.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Lab;
use crate::program::{built, processes_with};

/// The switch is a file: there or not. Another one says that the board has followed.
#[derive(Debug)]
pub struct LivingBoard {
    entry: String,
    name: String,
    socket: PathBuf,
    on: PathBuf,
    stop: Arc<AtomicBool>,
    switch: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Line {
    agents_socket: Option<PathBuf>,
    host: Mutex<Option<UnixStream>>,
    board: Mutex<Option<ChildStdin>>,
}

impl LivingBoard {
    /// One in a lab, off.
    ///
    /// # Panics
    /// Its folder or its line cannot be made.
    pub fn new(lab: &Lab, name: &str) -> Self {
        Self::with(lab, name, false)
    }

    /// The same, whose agent has a line of its own, [`Self::agents_socket`]; its console is [`Self::socket`].
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn with_two_lines(lab: &Lab, name: &str) -> Self {
        Self::with(lab, name, true)
    }

    fn with(lab: &Lab, name: &str, has_two_lines: bool) -> Self {
        let folder = lab.pty_board(name);
        // Not in the board's folder: whoever switches is no process of the board.
        let switch = lab.path(&format!("switch/{name}"));
        fs::create_dir_all(&switch).expect("the lab's folder is ours");
        let socket = switch.join("line");
        let listener = UnixListener::bind(&socket).expect("a socket can be made");
        let (on, is_on) = (switch.join("on"), switch.join("is-on"));
        let (shown_on, shown_is_on) = (on.display(), is_on.display());
        let power = format!(
            "{{on: \"touch {shown_on}; until test -e {shown_is_on}; do sleep 0.02; done\", \
             off: \"rm -f {shown_on}; while test -e {shown_is_on}; do sleep 0.02; done\"}}"
        );
        let entry = entry(name, &socket, &power);
        let (name, switch_file) = (name.to_owned(), on.clone());
        let agents_socket = has_two_lines.then(|| socket.with_file_name("agents-line"));
        let line = Arc::new(Line { agents_socket, ..Line::default() });
        let serving = line.clone();
        thread::spawn(move || serving.serve(&listener));
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let switch = thread::spawn(move || {
            let mut running: Option<Child> = None;
            while !stopping.load(Ordering::Relaxed) {
                match (on.exists(), &mut running) {
                    (true, None) => {
                        running = Some(line.power_on(&folder));
                        fs::write(&is_on, "").expect("the lab's folder is ours");
                    }
                    (false, Some(child)) => {
                        line.power_off(child, &folder);
                        running = None;
                        fs::remove_file(&is_on).expect("the lab's folder is ours");
                    }
                    _ => {}
                }
                thread::park_timeout(PAUSE);
            }
            if let Some(child) = &mut running {
                line.power_off(child, &folder);
            }
        });
        Self { entry, name, socket, on: switch_file, stop, switch: Some(switch) }
    }

    /// Its entry in a lab file.
    pub fn entry(&self) -> &str {
        &self.entry
    }

    /// The same with the power switched in another way.
    pub fn entry_with(&self, power: &str) -> String {
        entry(&self.name, &self.socket, power)
    }

    /// The file that is its switch.
    pub fn switch(&self) -> &Path {
        &self.on
    }

    /// The same with another connection, which leads to [`Self::socket`] by way of something.
    pub fn entry_by(&self, connection: &str) -> String {
        self.entry.replace(&format!("unix:{}", self.socket.display()), connection)
    }

    /// Its entry in a lab file, with connections that lead to its two lines by way of something.
    pub fn entry_of_two(&self, console: &str, agents: &str) -> String {
        format!("{}    agent_connection: \"{agents}\"\n", self.entry_by(console))
    }

    /// The agent's own line; there while the board has power.
    pub fn agents_socket(&self) -> PathBuf {
        self.socket.with_file_name("agents-line")
    }

    /// Its line.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for LivingBoard {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(switch) = self.switch.take() {
            let _ = switch.join();
        }
    }
}

impl Line {
    fn power_on(self: &Arc<Self>, folder: &Path) -> Child {
        let mut child = Command::new(built("pty-board"))
            .args([built("pumice-agent"), folder.to_owned()])
            .args(&self.agents_socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the board starts");
        *lock(&self.board) = child.stdin.take();
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let carrying = self.clone();
        thread::spawn(move || carrying.carry_to_host(stdout));
        child
    }

    fn power_off(&self, child: &mut Child, folder: &Path) {
        *lock(&self.board) = None;
        let _ = child.kill();
        let _ = child.wait();
        for pid in processes_with(&folder.display().to_string()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    fn carry_to_host(&self, mut board: ChildStdout) {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = board.read(&mut piece) {
            // Nobody there: lost, as on a real line.
            let host = lock(&self.host).as_ref().and_then(|host| host.try_clone().ok());
            if let Some(mut host) = host {
                let _ = host.write_all(&piece[..length]);
            }
        }
    }

    fn serve(&self, listener: &UnixListener) {
        for mut host in listener.incoming().map_while(Result::ok) {
            *lock(&self.host) = host.try_clone().ok();
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = host.read(&mut piece) {
                if let Some(board) = &mut *lock(&self.board) {
                    let _ = board.write_all(&piece[..length]).and_then(|()| board.flush());
                }
            }
            // A writer that waits for room is let go.
            let _ = host.shutdown(Shutdown::Both);
            *lock(&self.host) = None;
        }
    }
}

impl Lab {
    /// The folder of a pretended board, made.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn pty_board(&self, name: &str) -> PathBuf {
        let folder = self.path(&format!("boards/{name}"));
        for root in ["master", "testrootfs"] {
            fs::create_dir_all(folder.join(root)).expect("the lab's folder is ours");
        }
        fs::write(folder.join("testboot"), vec![0xAA; TESTBOOT_BYTES])
            .expect("the lab's folder is ours");
        folder
    }
}

fn entry(name: &str, socket: &Path, power: &str) -> String {
    format!(
        "  - name: {name}\n    type: pty-board\n    connection: \"unix:{}\"\n    power: {power}\n",
        socket.display()
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked has failed the test already.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The switch is looked at so often.
const PAUSE: Duration = Duration::from_millis(20);
const TESTBOOT_BYTES: usize = 1 << 20;
