//! A real shell at a board's end of a line, as a console without an agent has it: with a terminal that edits and echoes.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::line::Line;

/// What runs at the board's end. It ends with the value, and what it became.
#[derive(Debug)]
pub struct Shell {
    child: Child,
}

/// Who is at the console.
#[derive(Clone, Copy, Debug)]
pub enum Console {
    /// busybox's shell with all of busybox.
    Busybox,
    /// Debian's dash with these programs of busybox, and no others.
    Dash(&'static [&'static str]),
}

impl Shell {
    /// Starts one.
    ///
    /// # Panics
    /// busybox is missing (`ci/setup` installs it), or cannot be started.
    pub fn start(line: &Line, console: Console) -> Self {
        let busybox = Path::new("/bin/busybox");
        assert!(busybox.is_file(), "busybox is missing: run ci/setup");
        let (bin, home) = (line.root().join("bin"), line.root().join("tmp"));
        fs::create_dir_all(&bin).expect("the line's folder is ours");
        fs::create_dir_all(&home).expect("the line's folder is ours");
        if let Console::Dash(programs) = console {
            for program in programs {
                // A second shell at the same line finds them.
                let _ = symlink(busybox, bin.join(program));
            }
        }
        let script = match console {
            Console::Busybox => "exec /bin/busybox sh",
            Console::Dash(_) => "exec /bin/sh",
        };
        let terminal = || -> File {
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(line.board_end())
                .expect("the line is open")
        };
        let child = Command::new("setsid")
            .args(["--ctty", "/bin/busybox", "sh", "-c"])
            .arg(format!(
                "/bin/busybox stty sane; PATH={}; {script}",
                match console {
                    Console::Dash(_) => bin.display().to_string(),
                    _ => "/usr/bin:/bin".to_owned(),
                }
            ))
            .env("TERM", "vt100")
            .env("PS1", "any prompt> ")
            .stdin(terminal())
            .stdout(terminal())
            .stderr(Stdio::from(terminal()))
            .spawn()
            .expect("setsid is there");
        Self { child }
    }

    /// Its process number, which the agent has once it took its place.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // A session of its own, and so a group of this number; what of it lives on ends with it.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}
