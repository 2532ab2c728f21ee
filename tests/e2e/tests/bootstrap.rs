//! An agent on a board that has none, through the shell on its console. A real shell on a pseudo-terminal, and the real
//! programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use e2e::emulator::{Images, Slot};
use e2e::line::Line;
use e2e::program::{Output, agent_for, built};
use e2e::shell::{Console, Shell};
use e2e::{Lab, Noise};
use nix::sys::signal::Signal;

/// A lab with one board at `line`, whose agent lives in the line's folder. `more` are lines of its `shell:`.
fn lab(line: &Line, more: &str) -> Lab {
    let root = line.root();
    Lab::new(&format!(
        "boards:\n  - name: here\n    type: generic\n    connection: \"{}\"\n    shell:\n      folders: [{}/tmp]\n      \
         arguments: [--root, {}]\n      agent: {}\n{more}",
        line.connection(),
        root.display(),
        root.display(),
        agent(&root),
    ))
}

/// The agent without what only a debugger reads: the size that boards get. Made once a line.
fn agent(root: &Path) -> String {
    let path = root.join("agent");
    if !path.exists() {
        let stripped = std::process::Command::new("strip")
            .arg("-o")
            .args([path.as_os_str(), built("pumice-agent").as_os_str()])
            .status();
        assert!(stripped.expect("binutils are there").success());
    }
    path.display().to_string()
}

/// The agent runs in the shell's place, and answers.
#[track_caller]
fn runs(lab: &Lab, shell: &Shell, line: &Line) {
    let program = fs::read_link(format!("/proc/{}/exe", shell.pid())).unwrap();
    assert!(program.starts_with(line.root().join("tmp")), "{program:?}");
    assert!(fs::read(&program).unwrap() == fs::read(line.root().join("agent")).unwrap());
    prints(lab, &["exec", "here", "--", "/bin/echo", "it works"], "it works");
}

#[track_caller]
fn prints(lab: &Lab, words: &[&str], text: &str) {
    let output = lab.pumice(words).exits_with(0);
    assert!(output.out().contains(text), "{output:?}");
}

/// How many packed bytes went over the line, and how many there are.
fn sent(output: &Output) -> (u64, u64) {
    let said = output.out();
    let words: Vec<&str> = said.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "packed").unwrap_or_else(|| panic!("{said}"));
    (words[at - 3].parse().unwrap(), words[at - 1].parse().unwrap())
}

#[test]
fn busybox_gives_its_place_to_the_agent() {
    let noise = Noise { seed: 1, text_every_bytes: 900, ..Noise::default() };
    let line = Line::with_socket(Noise::default(), noise);
    let shell = Shell::start(&line, Console::Busybox);
    let lab = lab(&line, "");
    let output = lab.pumice(&["bootstrap", "here"]).exits_with(0);
    let (sent, total) = sent(&output);
    assert_eq!(sent, total);
    assert!(total < fs::metadata(line.root().join("agent")).unwrap().len() / 2, "packed: {total}");
    assert!(!line.inserted().is_empty(), "the kernel spoke");
    runs(&lab, &shell, &line);
    prints(&lab, &["bootstrap", "here"], "an agent runs already");
}

#[test]
fn a_shell_with_little_will_do() {
    let line = Line::with_socket(Noise::default(), Noise::default());
    // No decoder but the shell's own, no new digest, no program that says where it is.
    let shell = Shell::start(&line, Console::Dash(&["md5sum", "chmod", "rm", "wc", "gzip", "tty"]));
    let lab = lab(&line, "");
    let output = lab.pumice(&["bootstrap", "here"]).exits_with(0);
    assert!(sent(&output).1 < fs::metadata(line.root().join("agent")).unwrap().len() / 2);
    runs(&lab, &shell, &line);
}

#[test]
fn what_broke_off_is_gone_on_with_and_what_is_canceled_is_gone() {
    let line = Line::with_socket(Noise::default(), Noise::default());
    let shell = Shell::start(&line, Console::Busybox);
    let lab = lab(&line, "");
    let folder = line.root().join("tmp");
    let part_bytes = || -> u64 {
        let entries = fs::read_dir(&folder).unwrap().flatten();
        entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
    };
    let some_of_it = |than: u64| {
        e2e::until("some of the agent is there", || (part_bytes() > than).then_some(()));
    };
    let first = lab.start(&["bootstrap", "here"]);
    some_of_it(50_000);
    first.signal(Signal::SIGKILL);
    first.wait();
    let there = part_bytes();
    let second = lab.start(&["bootstrap", "here"]);
    some_of_it(there + 50_000);
    second.signal(Signal::SIGINT);
    second.wait().exits_with(130);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is left");
    let third = lab.start(&["bootstrap", "here"]);
    some_of_it(50_000);
    third.signal(Signal::SIGKILL);
    third.wait();
    let (sent, total) = sent(&lab.pumice(&["bootstrap", "here"]).exits_with(0));
    assert!(sent + 40_000 < total, "{sent} of {total}");
    runs(&lab, &shell, &line);
}

/// The agent comes up behind a log-in program, which thinks about a wrong password for a while; the password is nowhere.
#[test]
fn who_logs_in_is_asked_first() {
    const PASSWORD: &str = "sesame-4711";
    let lab = Lab::new("");
    let script = lab.write("login.sh", LOGIN);
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(lab.path("tmp")).unwrap();
    let root = lab.folder().display();
    let carrier = format!("EXEC:{},pty,setsid,ctty,stderr", script.display());
    lab.write(
        "lab.yaml",
        format!(
            "boards:\n  - name: here\n    type: generic\n    connection: {{exec: [socat, \"-\", {carrier:?}]}}\n    shell:\n      \
             login: root\n      password_file: password\n      folders: [{root}/tmp]\n      arguments: [--root, {root}]\n      \
             agent: {}\n",
            agent(lab.folder())
        ),
    );
    lab.write("password", format!("{PASSWORD}\n"));
    let output = lab.pumice(&["exec", "here", "--", "/bin/echo", "it works"]).exits_with(0);
    assert_eq!(output.out(), "it works\n");
    assert!(!output.err().contains(PASSWORD), "{}", output.err());
    lab.write("password", "open\n");
    let refused = lab.pumice(&["bootstrap", "here"]).exits_with(2).err();
    assert!(refused.contains("the board refused to log in root"), "{refused}");
    lab.nothing_runs();
}

const LOGIN: &str = r#"#!/bin/sh
while :; do
    printf 'board login: '
    IFS= read -r user || exit
    printf 'Password: '
    stty -echo
    IFS= read -r password
    stty echo
    echo
    [ "$user" = root ] && [ "$password" = sesame-4711 ] && exec busybox sh
    sleep 2
    echo 'Login incorrect'
done
"#;

/// The emulated board, whose kernel was told `init=/bin/sh`: a shell that is process 1, on a terminal without a name.
#[test]
fn a_board_whose_only_program_is_a_shell() {
    let _slot = Slot::take();
    let lab = Lab::emulated(Images::Plain);
    let agent = agent_for("armv7-unknown-linux-musleabihf");
    lab.change_board_type(|text| {
        let with_shell =
            text.replacen("init=/sbin/pumice-agent -- --role master", "init=/bin/sh", 1);
        format!("{with_shell}\nshell: {{agent: {}}}\n", agent.display())
    });
    let words = ["exec", "qemu-01", "--", "sh", "-c", "uname -m; cat /proc/1/comm"];
    let output = lab.pumice(&words).exits_with(0);
    assert_eq!(output.out(), "armv7l\nsh\n");
    lab.nothing_runs();
}
