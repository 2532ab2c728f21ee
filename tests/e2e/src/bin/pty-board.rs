//! `pty-board`: a board on standard input and output, of a boot loader that only pretends and the real `pumice-agent`
//! for this machine on a pseudo-terminal. For `connection: {exec: […]}`; its power comes with the process.
//!
//! ```text
//! pty-board AGENT FOLDER [SEED|SOCKET]
//! ```
//!
//! `FOLDER/master` is the root of the master agent, `FOLDER/testrootfs` that of the injected test agent and the partition
//! of that name, `FOLDER/testboot` the other partition. With a seed the line is bad, and `FOLDER/inserted` has the lines
//! of foreign text that came in. With a path the agent has a line of its own, a Unix socket there. `boot` boots what `setenv bootargs` says: the words for an agent. When the agent ends,
//! the board resets. `FOLDER/boots` has a line for each boot.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::Noise;
use e2e::line::{Carry, terminal};

fn main() {
    let mut words = std::env::args_os().skip(1);
    let (Some(agent), Some(folder)) = (words.next(), words.next()) else {
        eprintln!("usage: pty-board AGENT FOLDER [SEED]");
        std::process::exit(2);
    };
    let last = words.next();
    let seed: Option<u64> = last.as_ref().and_then(|seed| seed.to_str()?.parse().ok());
    let own_line = last.filter(|_| seed.is_none()).map(|path| OwnLine::at(Path::new(&path)));
    let board = Board { agent: agent.into(), folder: folder.into(), seed, own_line };
    let (sender, typed) = channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = std::io::stdin().read(&mut piece) {
            if sender.send(piece[..length].to_vec()).is_err() {
                return;
            }
        }
        // Nobody is left at the line's other end: the power is gone.
        std::process::exit(0);
    });
    loop {
        let bootargs = boot_loader(&typed);
        board.boot(&bootargs, &typed);
    }
}

struct Board {
    agent: PathBuf,
    folder: PathBuf,
    seed: Option<u64>,
    own_line: Option<OwnLine>,
}

/// The agent's line, when it is not the console.
struct OwnLine {
    host: Arc<Mutex<Option<UnixStream>>>,
    typed: Receiver<Vec<u8>>,
}

impl OwnLine {
    fn at(path: &Path) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("the lab's folder is ours");
        let host = Arc::new(Mutex::new(None));
        let (sender, typed) = channel();
        let serving = host.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                *serving.lock().expect("nobody panics with it") = stream.try_clone().ok();
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut piece) {
                    if sender.send(piece[..length].to_vec()).is_err() {
                        return;
                    }
                }
                *serving.lock().expect("nobody panics with it") = None;
            }
        });
        Self { host, typed }
    }
}

/// Until `boot`: what `setenv bootargs` said.
fn boot_loader(typed: &Receiver<Vec<u8>>) -> String {
    say("\r\n\r\nU-Boot 2012.03 (a pretended one)\r\n\r\nHit any key to stop autoboot:  2 ");
    receive(typed);
    say("\r\n=> ");
    let (mut line, mut bootargs) = (String::new(), String::new());
    loop {
        for byte in receive(typed) {
            match byte {
                b'\r' | b'\n' => {
                    say("\r\n");
                    let command =
                        line.trim().split(';').next().unwrap_or_default().trim().to_owned();
                    line.clear();
                    match command.split_once(' ') {
                        None if command == "boot" => return bootargs,
                        Some(("setenv", rest)) => {
                            rest.trim_start_matches("bootargs ")
                                .trim_matches('"')
                                .clone_into(&mut bootargs);
                            say("pumice-rc=0\r\n=> ");
                        }
                        _ => say("Unknown command\r\npumice-rc=1\r\n=> "),
                    }
                }
                // Ctrl-C throws the line away.
                3 => {
                    line.clear();
                    say("<INTERRUPT>\r\n=> ");
                }
                // What was typed to stop the countdown and came late.
                b' ' if line.is_empty() => {}
                byte => {
                    line.push(char::from(byte));
                    say(&char::from(byte).to_string());
                }
            }
        }
    }
}

impl Board {
    /// From the kernel's first word to the agent's end.
    fn boot(&self, bootargs: &str, typed: &Receiver<Vec<u8>>) {
        self.note("boots", bootargs);
        say(
            "[    0.000000] Booting Linux on physical CPU 0x0\r\n[    0.000001] Linux version 0 (pretended)\r\n",
        );
        let (mut line, path, _held) = terminal();
        let mut agent = self.start(bootargs, &path);
        let noise = self.seed.map_or_else(Noise::default, |seed| Noise {
            seed,
            flip_one_in: 5000,
            drop_one_in: 5000,
            text_every_bytes: 400,
        });
        let own_host = self.own_line.as_ref().map(|own| own.host.clone());
        if own_host.is_some() {
            say("[    1.000000] the agent has a line of its own\r\n");
        }
        let typed = self.own_line.as_ref().map_or(typed, |own| &own.typed);
        let folder = self.folder.clone();
        let mut from_board = line.try_clone().expect("a descriptor is left");
        std::thread::spawn(move || {
            let mut carry = Carry::new(noise);
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = from_board.read(&mut piece) {
                let (bytes, lines) = carry.carry(&piece[..length]);
                match &own_host {
                    Some(host) => put_to(host, &bytes),
                    None => put(&bytes),
                }
                for line in lines {
                    append(&folder.join("inserted"), &line);
                }
            }
        });
        loop {
            match typed.recv_timeout(Duration::from_millis(20)) {
                Ok(bytes) => {
                    let _ = line.write_all(&bytes);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::process::exit(0),
            }
            if agent.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
        }
    }

    fn start(&self, bootargs: &str, line: &str) -> Child {
        let is_test = bootargs.contains("--role test");
        let root = self.folder.join(if is_test { "testrootfs" } else { "master" });
        let partition = |label: &str| format!("{label}={}", self.folder.join(label).display());
        let program = if is_test { root.join(".pumice/agent") } else { self.agent.clone() };
        let mut command = Command::new(program);
        command.args(bootargs.split(' ')).args(["--line", line, "--root"]).arg(&root);
        if !is_test {
            command.args(["--partition", &partition("testrootfs")]);
            command.args(["--partition", &partition("testboot")]);
        }
        command.spawn().expect("the agent starts")
    }

    fn note(&self, name: &str, line: &str) {
        append(&self.folder.join(name), line);
    }
}

fn append(path: &Path, line: &str) {
    let file: std::io::Result<File> = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .expect("the folder is ours");
}

fn receive(typed: &Receiver<Vec<u8>>) -> Vec<u8> {
    typed.recv().unwrap_or_else(|_| std::process::exit(0))
}

fn say(text: &str) {
    put(text.as_bytes());
}

/// Lost when nobody is there, as on a real line.
fn put_to(host: &Mutex<Option<UnixStream>>, bytes: &[u8]) {
    let stream = host.lock().expect("nobody panics with it").as_ref().map(UnixStream::try_clone);
    if let Some(Ok(mut stream)) = stream {
        let _ = stream.write_all(bytes);
    }
}

fn put(bytes: &[u8]) {
    let mut out = std::io::stdout();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}
