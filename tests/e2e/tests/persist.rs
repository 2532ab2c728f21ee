//! `hand-over --persist` where nothing can be put on the disk: the emulated board's own disk, mounted for reading only, and
//! full in two ways. Whatever is refused, the agent that the board starts with is as it was, and alone.

use std::fs;

use e2e::Output;
use e2e::emulator::Slot;
use e2e::program::agent_for;
use e2e::standing::Standing;

struct Board(Standing);

impl Board {
    /// Runs a script on the board.
    fn shell(&self, script: &str) -> String {
        let words = ["exec", "here", "--", "sh", "-c", script];
        self.0.lab().pumice(&words).exits_with(0).out().trim().to_owned()
    }

    /// Everything of the agent on the disk, and what it is.
    fn on_disk(&self) -> String {
        self.shell("ls /sbin/pumice-agent*; sha256sum /sbin/pumice-agent")
    }

    /// What runs.
    fn running(&self) -> String {
        self.shell("readlink /proc/$PPID/exe")
    }

    fn persist(&self) -> Output {
        self.0.lab().pumice(&["hand-over", "here", "newer", "--persist"])
    }
}

#[test]
fn a_disk_that_takes_nothing_keeps_the_agent_that_it_has() {
    let _slot = Slot::take();
    let built = fs::read(agent_for("armv7-unknown-linux-musleabihf")).unwrap();
    let board = Board(Standing::start());
    // Nobody looks behind a program's last section.
    let newer = [&built[..], b"another"].concat();
    let lab = board.0.lab();
    lab.write("newer", &newer);
    board.0.wait_for("@pumice1 boot=", 0);
    let (before, agent) = (board.on_disk(), "/sbin/pumice-agent");
    assert_eq!(before.lines().count(), 2, "nothing stands beside it: {before}");

    board.shell("mount -o remount,ro /");
    let refused = board.persist().exits_with(3);
    refused.says("the agent was not put on the disk: / is mounted for reading only");
    assert_eq!(board.running(), agent, "it was refused before anything was sent");
    assert_eq!(board.on_disk(), before);
    board.shell("mount -o remount,rw /");

    // Not a byte is left.
    let filled = board.shell("dd if=/dev/zero of=/filler bs=64k 2>/dev/null; sync; wc -c </filler");
    let refused = board.persist().exits_with(3);
    refused.says("the agent was not put on the disk: ").says("No space left on device");
    assert!(board.running().starts_with("/memfd:"), "it goes on until the next boot");
    assert_eq!(board.on_disk(), before);

    // There is room for the new agent, and then not a byte for the mark of its trial.
    let block: usize = board.shell("stat -f -c %S /").parse().unwrap();
    let left = filled.parse::<usize>().unwrap() - newer.len().next_multiple_of(block);
    board.shell(&format!("dd if=/dev/null of=/filler bs=1 seek={left} 2>/dev/null && sync"));
    let refused = board.persist().exits_with(3);
    refused.says("the agent was not put on the disk: ").says("No space left on device");
    assert_eq!(board.on_disk(), before);

    // With room it stays.
    board.shell("rm /filler");
    let told = board.persist().exits_with(0).out();
    assert!(told.contains("it is /sbin/pumice-agent from now on"), "{told}");
    let after = board.on_disk();
    assert_ne!(after.lines().last(), before.lines().last());
    assert_eq!(after.lines().count(), 4, "with the mark and the one before it: {after}");
}
