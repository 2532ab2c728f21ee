//! Programs of others that carry a line: socat and ser2net (`ci/setup`), stopped and started again at will.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Lab;
use crate::lab_server::until;
use crate::program::{Running, processes_with};

/// One such program.
#[derive(Debug)]
pub struct Carrier {
    program: &'static str,
    words: Vec<String>,
    folder: PathBuf,
    entrance: Entrance,
    running: Option<Running>,
    /// A pseudo-terminal's own end: socat would end when the last user closes it.
    held: Option<File>,
}

/// Where `pumice` or another carrier comes in.
#[derive(Clone, Debug)]
enum Entrance {
    Link(PathBuf),
    Port(u16),
}

impl Carrier {
    /// A pseudo-terminal, to which the link `name` in the lab points, in front of a Unix socket.
    ///
    /// # Panics
    /// socat is missing.
    pub fn terminal(lab: &Lab, name: &str, socket: &Path) -> Self {
        let link = lab.path(name);
        let words = [
            format!("PTY,link={},rawer", link.display()),
            format!("UNIX-CONNECT:{}", socket.display()),
        ];
        Self::start(SOCAT, words.to_vec(), lab, Entrance::Link(link))
    }

    /// A TCP port in front of a Unix socket.
    ///
    /// # Panics
    /// socat is missing.
    pub fn tcp(lab: &Lab, socket: &Path) -> Self {
        let port = free_port();
        let words = [
            format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"),
            format!("UNIX-CONNECT:{}", socket.display()),
        ];
        Self::start(SOCAT, words.to_vec(), lab, Entrance::Port(port))
    }

    /// A ser2net with RFC 2217 in front of a serial device.
    ///
    /// # Panics
    /// ser2net is missing.
    pub fn ser2net(lab: &Lab, device: &Path) -> Self {
        let port = free_port();
        let config = lab.write(
            "ser2net.yaml",
            format!(
                "connection: &line\n  accepter: telnet(rfc2217),tcp,127.0.0.1,{port}\n  \
                 connector: serialdev,{},115200n81,local\n",
                device.display()
            ),
        );
        // In the foreground, and without lock files, which a pseudo-terminal has none of.
        let words = ["-n", "-u", "-c"].map(str::to_owned).into_iter();
        let words = words.chain([config.display().to_string()]).collect();
        Self::start(SER2NET, words, lab, Entrance::Port(port))
    }

    fn start(program: &'static str, words: Vec<String>, lab: &Lab, entrance: Entrance) -> Self {
        let folder = lab.folder().to_owned();
        let mut carrier = Self { program, words, folder, entrance, running: None, held: None };
        carrier.start_again();
        carrier
    }

    /// Ends it, as a crash would.
    pub fn stop(&mut self) {
        self.running = None;
        self.held = None;
        if let Entrance::Link(link) = &self.entrance {
            // As udev does. It would lead to whoever gets the number next.
            let _ = fs::remove_file(link);
        }
        if self.program == SOCAT {
            // It has a child for each client of a port. Nobody else has this word, which names the port or the link.
            for pid in processes_with(&self.words[0]) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }

    /// Starts it, and waits until it can be reached.
    ///
    /// # Panics
    /// It is missing, or does not come up.
    pub fn start_again(&mut self) {
        let program = Path::new(self.program);
        assert!(program.is_file(), "{} is missing: run ci/setup", program.display());
        self.running = Some(Running::start(program, &self.words, &self.folder, &[], None));
        match &self.entrance {
            Entrance::Link(link) => {
                let flags = (OFlag::O_NOCTTY | OFlag::O_NONBLOCK).bits();
                let open = || {
                    OpenOptions::new().read(true).write(true).custom_flags(flags).open(link).ok()
                };
                self.held = Some(until("terminal of socat", open));
            }
            // To connect would be to use it.
            Entrance::Port(port) => wait_for_port(*port),
        }
    }

    /// The port on 127.0.0.1.
    ///
    /// # Panics
    /// It has none.
    pub fn port(&self) -> u16 {
        match self.entrance {
            Entrance::Port(port) => port,
            Entrance::Link(_) => panic!("a terminal has no port"),
        }
    }

    /// The device to which the link points now.
    ///
    /// # Panics
    /// It has none.
    pub fn device(&self) -> PathBuf {
        match &self.entrance {
            Entrance::Link(link) => fs::read_link(link).expect("socat has made the link"),
            Entrance::Port(_) => panic!("a port is no terminal"),
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.stop();
    }
}

const SOCAT: &str = "/usr/bin/socat";
const SER2NET: &str = "/usr/sbin/ser2net";

/// One that nobody had a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

/// Waits until somebody listens to a port.
///
/// # Panics
/// Nobody ever does.
pub(crate) fn wait_for_port(port: u16) {
    until("port", || is_listened_to(port).then_some(()));
}

/// `proc_pid_net(5)`: the local address is hexadecimal, state 0A is LISTEN.
fn is_listened_to(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let port = format!(":{port:04X}");
    table.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words[..], [_, local, _, "0A", ..] if local.ends_with(&port))
    })
}
