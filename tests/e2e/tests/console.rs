//! `pumice console` as somebody has it in front of them: in a real terminal (tmux), with a real shell at the board's end.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use e2e::line::Line;
use e2e::program::built;
use e2e::shell::{Console, Shell};
use e2e::{Lab, Noise, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn what_is_typed_reaches_the_board_and_the_terminal_is_as_before() {
    let line = Line::with_socket(Noise::default(), Noise::default());
    let lab = Lab::on_line(line.connection());
    let _shell = Shell::start(&line, Console::Busybox);
    let terminal = Terminal::new(&lab);

    terminal.types("$PUMICE --lab lab.yaml console here");
    terminal.shows("Ctrl-]");
    terminal.types("echo $((6*7))");
    terminal.shows_line("42");
    // Ctrl-C is the board's.
    terminal.types("sleep 1000");
    terminal.presses("C-c");
    terminal.types("echo again-$((1+1))");
    terminal.shows_line("again-2");
    // So is a key of several bytes: the command of before, and the cursor within it.
    for key in ["Up", "Left", "Left", "BSpace", "7", "Enter"] {
        terminal.presses(key);
    }
    terminal.shows_line("again-8");
    terminal.types("printf 'gr\\303\\274n\\n'");
    terminal.shows_line("grün");
    terminal.presses("C-]");
    terminal.is_the_host_s();

    // Also when it is ended from elsewhere.
    terminal.types("clear; $PUMICE --lab lab.yaml console here");
    terminal.shows("Ctrl-]");
    kill(terminal.child(), Signal::SIGTERM).unwrap();
    terminal.is_the_host_s();
}

/// tmux with one window of 100 columns, in which a shell of the host's waits.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    fn new(lab: &Lab) -> Self {
        let terminal = Self { socket: lab.path("tmux") };
        let pumice = format!("PUMICE={}", built("pumice").display());
        let state = format!("PUMICE_STATE={}", lab.path("state").display());
        let folder = lab.folder().display().to_string();
        let session =
            ["-u", "-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "40", "-c", &folder];
        let shell = ["env", &pumice, &state, "PS1=host$ ", "/bin/busybox", "sh"];
        terminal.tmux(&[&session[..], &shell].concat());
        terminal.shows("host$");
        terminal
    }

    /// What stands on the screen.
    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn shows(&self, text: &str) {
        until(&format!("{text:?} on the screen"), || self.screen().contains(text).then_some(()));
    }

    /// Something that was printed, and not only typed.
    fn shows_line(&self, text: &str) {
        let is_there = || self.screen().lines().any(|line| line == text);
        until(&format!("line {text:?} on the screen"), || is_there().then_some(()));
    }

    /// Types a line.
    fn types(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.presses("Enter");
    }

    fn presses(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// The host's shell has it again, and edits and echoes lines.
    fn is_the_host_s(&self) {
        until("prompt of the host", || self.screen().trim_end().ends_with("host$").then_some(()));
        self.types(
            "clear; stty -a | tr ' ' '\\n' | grep -xE 'echo|icanon|isig|opost' | sort | tr '\\n' ,; echo",
        );
        self.shows_line("echo,icanon,isig,opost,");
    }

    /// What runs in front.
    fn child(&self) -> Pid {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        Pid::from_raw(children.split_whitespace().next().unwrap().parse().unwrap())
    }

    fn tmux(&self, words: &[&str]) -> String {
        let mut command = Command::new("tmux");
        let output = command.arg("-S").arg(&self.socket).args(words).output();
        let output = output.expect("tmux is there: ci/setup installs it");
        assert!(output.status.success(), "tmux {words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        let _ = command.arg("-S").arg(&self.socket).arg("kill-server").status();
    }
}
