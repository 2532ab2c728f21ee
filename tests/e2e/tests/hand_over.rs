//! An agent goes on as another one that came over the line. The real programs on a pseudo-terminal.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use e2e::line::Line;
use e2e::program::built;
use e2e::{Lab, Mount, Noise, Running, until};
use tempfile::TempDir;

/// Another agent that does the same: nobody looks behind a program's last section.
fn newer() -> Vec<u8> {
    [&fs::read(built("pumice-agent")).unwrap()[..], b"another"].concat()
}

#[test]
fn the_agent_goes_on_as_the_one_that_was_brought() {
    let line = Line::with_socket(Noise::default(), Noise::default());
    let agent = line.agent(&[]);
    let lab = Lab::on_line(line.connection());
    let program = format!("/proc/{}/exe", agent.pid());
    let newer = newer();
    lab.write("newer", &newer);
    let output = lab.pumice(&["hand-over", "here", "newer", "--json"]).exits_with(0);
    let handed: serde_json::Value = serde_json::from_str(&output.out()).unwrap();
    assert_eq!(handed["target"], "agent");
    let sent = handed["line_bytes_out"].as_u64().unwrap();
    assert!(sent < 10_000, "what the running one has is copied: {handed}");
    assert!(fs::read(&program).unwrap() == newer, "it runs, under the old one's number");
    lab.pumice(&["exec", "here", "--", "true"]).exits_with(0);
    let again = lab.pumice(&["hand-over", "here", "newer"]).exits_with(0);
    assert!(again.out().contains("already"), "{again:?}");
    // And back, from memory to memory.
    let first = built("pumice-agent").display().to_string();
    lab.pumice(&["hand-over", "here", &first]).exits_with(0);
    assert!(fs::read(&program).unwrap() == fs::read(&first).unwrap());
    lab.pumice(&["exec", "here", "--", "true"]).exits_with(0);
}

#[test]
fn what_cannot_take_over_leaves_the_agent_as_it_is() {
    let line = Line::with_socket(Noise::default(), Noise::default());
    let agent = line.agent(&[]);
    let lab = Lab::on_line(line.connection());
    let program = fs::read_link(format!("/proc/{}/exe", agent.pid())).unwrap();
    lab.write("text", "#!/bin/sh\n");
    lab.pumice(&["hand-over", "here", "text"]).exits_with(2).says("not a program");
    lab.pumice(&["hand-over", "here", "missing"]).exits_with(2).says("missing");
    // The kernel of this board executes nothing of the kind.
    lab.write("foreign", [&b"\x7fELF"[..], &[0xff; 100_000]].concat());
    lab.pumice(&["hand-over", "here", "foreign"]).exits_with(3).says("did not take over");
    lab.pumice(&["exec", "here", "--", "true"]).exits_with(0);
    assert_eq!(fs::read_link(format!("/proc/{}/exe", agent.pid())).unwrap(), program);
}

/// An agent that is started from a disk of its own, with everything that `--persist` leaves there.
struct OnDisk {
    folder: TempDir,
    line: Line,
    lab: Lab,
}

impl OnDisk {
    fn new() -> Self {
        let line = Line::with_socket(Noise::default(), Noise::default());
        let lab = Lab::on_line(line.connection());
        lab.write("newer", newer());
        // The temporary folder may be in memory, which is refused.
        let folder = TempDir::with_prefix_in("persist-", env!("CARGO_TARGET_TMPDIR")).unwrap();
        let on_disk = Self { folder, line, lab };
        fs::copy(built("pumice-agent"), on_disk.path("agent")).unwrap();
        on_disk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path(name)).ok()
    }

    /// A boot of the board.
    fn boot(&self) -> Running {
        self.line.agent_under(&[], &self.path("agent"), &[])
    }

    /// What an agent's process runs.
    fn runs(agent: &Running) -> PathBuf {
        fs::read_link(format!("/proc/{}/exe", agent.pid())).unwrap()
    }

    fn can_be_used(&self) {
        self.lab.pumice(&["exec", "here", "--", "true"]).exits_with(0);
    }
}

#[test]
fn an_agent_that_stays_is_on_trial_until_it_has_a_session() {
    let board = OnDisk::new();
    let old = board.read("agent").unwrap();
    let agent = board.boot();
    let words = ["hand-over", "here", "newer", "--persist"];
    let output = board.lab.pumice(&words).exits_with(0).out();
    let path = board.path("agent").display().to_string();
    assert!(output.contains(&format!("it is {path} from now on")), "{output}");
    assert_eq!(board.read("agent"), Some(newer()));
    assert_eq!(board.read("agent.previous"), Some(old.clone()));
    assert_eq!(board.read("agent.trial").map(|mark| mark.len()), Some(TRIES));
    assert_eq!(fs::read_dir(board.folder.path()).unwrap().count(), 3, "nothing else is left");
    drop(agent);

    // A boot of which nobody hears anything, and one with a session.
    let silent = board.boot();
    until("start that counts", || (board.read("agent.trial")?.len() == TRIES - 1).then_some(()));
    drop(silent);
    let agent = board.boot();
    board.can_be_used();
    assert_eq!(board.read("agent.trial"), None, "confirmed");
    assert_eq!(OnDisk::runs(&agent), board.path("agent"));
    let again = board.lab.pumice(&words).exits_with(0).out();
    assert!(again.contains("is that one already"), "{again}");
}

#[test]
fn an_agent_that_nobody_hears_of_gives_way_to_the_one_before_it() {
    let board = OnDisk::new();
    let old = board.read("agent").unwrap();
    fs::rename(board.path("agent"), board.path("agent.previous")).unwrap();
    fs::write(board.path("agent"), newer()).unwrap();
    fs::set_permissions(board.path("agent"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(board.path("agent.trial"), vec![b'+'; TRIES]).unwrap();
    for left in (0..TRIES).rev() {
        let agent = board.boot();
        until("start that counts", || (board.read("agent.trial")?.len() == left).then_some(()));
        assert_eq!(OnDisk::runs(&agent), board.path("agent"));
    }
    let agent = board.boot();
    board.can_be_used();
    assert_eq!(OnDisk::runs(&agent), board.path("agent.previous"));
    drop(agent);
    // The same again: it stays so.
    let agent = board.boot();
    board.can_be_used();
    assert_eq!(OnDisk::runs(&agent), board.path("agent.previous"));
    // The next one takes the place of the one that failed; what worked is kept.
    board.lab.write("newest", [newer(), b"and another".to_vec()].concat());
    board.lab.pumice(&["hand-over", "here", "newest", "--persist"]).exits_with(0);
    assert_eq!(board.read("agent"), Some([newer(), b"and another".to_vec()].concat()));
    assert_eq!(board.read("agent.previous"), Some(old));
    assert_eq!(board.read("agent.trial").map(|mark| mark.len()), Some(TRIES));
}

/// What is on the disk before each command that `--persist` runs on the board, and behind the last one, is what a cut of the
/// power would leave.
#[test]
fn a_cut_of_the_power_leaves_a_board_that_boots() {
    let board = OnDisk::new();
    let old = board.read("agent").unwrap();
    let bin = board.path("bin");
    fs::create_dir(&bin).unwrap();
    for command in ["cp", "mv", "ln", "rm", "sync", "chmod"] {
        let script = format!(
            "#!/bin/sh\nPATH=${{PATH#*:}}\necho {command} \"$@\" >>{0}/log\nleft={0}/$(wc -l <{0}/log)\nmkdir $left && \
             cp -p {0}/../agent* $left && exec {command} \"$@\"\n",
            bin.display()
        );
        fs::write(bin.join(command), script).unwrap();
        fs::set_permissions(bin.join(command), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("PATH={}:{}", bin.display(), std::env::var("PATH").unwrap());
    let agent = board.line.agent_under(&["env", &path], &board.path("agent"), &[]);
    board.lab.pumice(&["hand-over", "here", "newer", "--persist"]).exits_with(0);
    drop(agent);
    let commands = fs::read_to_string(bin.join("log")).unwrap();
    is_synced_before_each_move(&commands);
    let mut booted = BTreeSet::new();
    for number in 1..=commands.lines().count() {
        let left = bin.join(number.to_string());
        let mark = fs::read(left.join("agent.trial")).ok();
        let program = fs::read(left.join("agent")).unwrap();
        let is_new = program == newer();
        assert!(is_new || program == old, "before command {number}: {} bytes", program.len());
        if is_new {
            assert_eq!(mark.as_ref().map(Vec::len), Some(TRIES), "before command {number}");
            assert!(fs::read(left.join("agent.previous")).unwrap() == old);
        }
        if booted.insert((is_new, mark.is_some())) {
            let _agent = board.line.agent_under(&[], &left.join("agent"), &[]);
            board.can_be_used();
            assert!(!left.join("agent.trial").exists(), "before command {number}");
        }
    }
    assert_eq!(booted.len(), 3, "old, old with a mark, new with a mark: {booted:?}");
}

/// What takes another's place is on the disk before, and its name behind it.
fn is_synced_before_each_move(log: &str) {
    let commands: Vec<&str> = log.lines().collect();
    let moves = commands.windows(2).filter(|pair| pair[1].starts_with("mv "));
    let moves: Vec<_> = moves.map(|pair| pair[0]).collect();
    assert_eq!(moves, ["sync"; 3], "{log}");
    assert_eq!(commands.last(), Some(&"sync"), "{log}");
}

/// With `persist_agents` a job does it by itself, once.
#[test]
fn a_lab_s_agents_stay_on_its_boards() {
    let lab = Lab::new("");
    let disk = TempDir::with_prefix_in("persist-", env!("CARGO_TARGET_TMPDIR")).unwrap();
    let agent = disk.path().join("agent");
    fs::copy(built("pumice-agent"), &agent).unwrap();
    lab.write("newer", newer());
    let entry = lab.pty_entry_with("stays", &agent);
    let arch = std::env::consts::ARCH;
    lab.write_boards(&[&entry], &format!("agents: {{{arch}: newer}}\npersist_agents: true\n"));
    let job = "name: stays\nboard: {type: pty-board}\ntests:\n  - {name: one, run: 'true'}\ntimeout: 5m\n";
    lab.write("job.yaml", job);
    for is_first in [true, false] {
        let told = lab.pumice(&["run", "job.yaml"]).exits_with(0).err();
        let note = format!("hand over: it is {} from now on", agent.display());
        assert_eq!(told.contains(&note), is_first, "{told}");
        assert!(fs::read(&agent).unwrap() == newer());
    }
    assert!(!disk.path().join("agent.trial").exists(), "the second job confirmed it");
    // As if nobody had heard of it in its first boots: that is not tried again and again.
    fs::write(disk.path().join("agent.trial"), "").unwrap();
    let output = lab.pumice(&["run", "job.yaml"]).exits_with(0);
    output.says("nobody heard of it when").says("warning: the agent was not put on the disk");
    assert_eq!(fs::read(disk.path().join("agent.trial")).unwrap(), b"");
}

#[test]
fn an_agent_that_runs_from_memory_alone_is_told_of() {
    let board = OnDisk::new();
    let folder = TempDir::with_prefix_in("persist-", "/dev/shm").unwrap();
    let program = folder.path().join("agent");
    fs::copy(built("pumice-agent"), &program).unwrap();
    let agent = board.line.agent_under(&[], &program, &[]);
    let words = ["hand-over", "here", "newer", "--persist"];
    board
        .lab
        .pumice(&words)
        .exits_with(3)
        .says("is on tmpfs, and would be gone with the next boot");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(OnDisk::runs(&agent), program, "nothing was done");
    // Once it runs from memory, where it came from is forgotten.
    board.lab.pumice(&words[..3]).exits_with(0);
    board.lab.pumice(&words).exits_with(3).says("hand over with --persist in one go");
    board.can_be_used();
}

/// As a system whose disk is not to be worn writes everything: into memory, over a disk for reading.
#[test]
fn an_agent_on_an_overlay_in_memory_is_told_of() {
    let board = OnDisk::new();
    let memory = TempDir::with_prefix_in("persist-", "/dev/shm").unwrap();
    for name in ["upper", "work"] {
        fs::create_dir(memory.path().join(name)).unwrap();
    }
    let place = board.path("overlay");
    fs::create_dir(&place).unwrap();
    let (lower, upper) = (board.folder.path().display(), memory.path().display());
    let options = format!("lowerdir={lower},upperdir={upper}/upper,workdir={upper}/work");
    let Some(_overlay) = Mount::new("overlay", &options, &place) else { return };
    let program = place.join("agent");
    let _agent = board.line.agent_under(&[], &program, &[]);
    let words = ["hand-over", "here", "newer", "--persist"];
    board
        .lab
        .pumice(&words)
        .exits_with(3)
        .says("is on tmpfs, and would be gone with the next boot");
    assert!(fs::read_dir(memory.path().join("upper")).unwrap().next().is_none());
    // As seen behind a `chroot` or a `switch_root`: its upper layer is nowhere.
    fs::rename(memory.path().join("upper"), memory.path().join("elsewhere")).unwrap();
    board
        .lab
        .pumice(&words)
        .exits_with(3)
        .says("nobody knows whether its upper layer outlasts a boot");
    board.can_be_used();
}

/// As docs/board-lifecycle.md says.
const TRIES: usize = 4;
