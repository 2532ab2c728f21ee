//! Power that is switched in every way there is, and what becomes of switches that fail, hang and lie: the built `pumice`
//! and the real agent on a board that lives on by itself, a real pdudaemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use e2e::program::is_alive;
use e2e::{Lab, LivingBoard, Pdudaemon, until};

/// A lab with one board, `lives`, off.
fn lab() -> (Lab, LivingBoard) {
    let lab = Lab::new("");
    let board = LivingBoard::new(&lab, "lives");
    (lab, board)
}

fn is_on(board: &LivingBoard) -> bool {
    board.switch().exists()
}

#[test]
fn a_pdudaemon_switches_the_board() {
    let (lab, board) = lab();
    let pdudaemon = Pdudaemon::start(&lab, &board);
    lab.write_boards(&[&board.entry_with(&pdudaemon.power("pdu01", ", settle: 200ms"))], "");
    lab.pumice(&["power", "lives", "cycle"]).exits_with(0);
    assert!(is_on(&board));
    let log = pdudaemon.log();
    assert!(log.contains("/power/control/off?hostname=pdu01&port=3"), "{log}");
    assert!(log.contains("/power/control/on?hostname=pdu01&port=3"), "{log}");
    let (output, record) = lab.run(
        "name: pty\nboard: {type: pty-board}\ntests:\n  - {name: one, run: 'echo out'}\ntimeout: 5m\n",
    );
    output.exits_with(0);
    record.is_complete("passed", 0);
    assert!(!is_on(&board), "a job ends with the power off");
    // A PDU that the daemon does not know, and a daemon that is gone.
    let more = ", retries: 1, retry_delay: 100ms";
    lab.write_boards(&[&board.entry_with(&pdudaemon.power("pdu02", more))], "");
    lab.pumice(&["power", "lives", "on"])
        .exits_with(3)
        .says("500 Internal Server Error (Invalid request)")
        .says("(tried 2 times)");
    let power = pdudaemon.power("pdu01", more);
    drop(pdudaemon);
    lab.write_boards(&[&board.entry_with(&power)], "");
    lab.pumice(&["power", "lives", "on"])
        .exits_with(3)
        .says("does it run, with listener http?")
        .says("(tried 2 times)");
}

#[test]
fn an_off_that_does_nothing_is_told_by_the_board() {
    let (lab, board) = lab();
    lab.write_boards(&[board.entry()], "");
    lab.pumice(&["power", "lives", "on"]).exits_with(0);
    let more = "retries: 1, retry_delay: 100ms, settle: 200ms";
    lab.write_boards(&[&board.entry_with(&format!("{{on: 'true', off: 'true', {more}}}"))], "");
    lab.pumice(&["power", "lives", "off"])
        .exits_with(3)
        .says("still sends text although its power was switched off; trying again (1 tries left)")
        .says("still sends text although its power was switched off (tried 2 times)");
    assert!(is_on(&board));
    lab.write_boards(&[board.entry()], "");
    lab.pumice(&["power", "lives", "off"]).exits_with(0);
    assert!(!is_on(&board));
}

#[test]
fn an_on_that_does_nothing_is_told_by_the_silence() {
    let (lab, board) = lab();
    lab.write_boards(&[&board.entry_with("{on: 'true', off: 'true', settle: 200ms}")], "");
    let board_type = lab.path("types/pty.yaml");
    let text = fs::read_to_string(&board_type).unwrap();
    fs::write(&board_type, text.replace("boot_loader: 30s", "boot_loader: 2s")).unwrap();
    lab.pumice(&["power", "lives", "on"])
        .exits_with(3)
        .says("the power was switched on, and not a byte came from the board (started 3 times)");
}

#[test]
fn a_switch_that_hangs_is_killed_and_tried_again() {
    let (lab, board) = lab();
    let pids = lab.path("pids");
    let hang = format!("trap \"\" TERM; echo $$ >> {}; while :; do sleep 1; done", pids.display());
    let power = format!(
        "{{on: ['sh', '-c', '{hang}'], off: 'true', deadline: 1s, retries: 1, retry_delay: 100ms}}"
    );
    lab.write_boards(&[&board.entry_with(&power)], "");
    lab.pumice(&["power", "lives", "on"])
        .exits_with(3)
        .says("sh did not end within 1 s (tried 2 times)");
    let pids = fs::read_to_string(pids).unwrap();
    let pids: Vec<i32> = pids.lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2, "{pids:?}");
    assert!(!pids.iter().any(|pid| is_alive(*pid)), "nothing of it is left");
}

#[test]
fn a_switch_that_fails_twice_is_tried_a_third_time() {
    let (lab, board) = lab();
    let (tries, on) = (lab.path("tries"), board.switch().display());
    let power = format!(
        "{{on: 'echo try >> {0}; test $(wc -l < {0}) -eq 3 || {{ echo outlet is busy >&2; exit 4; }}; touch {on}', \
         off: 'rm -f {on}', retry_delay: 100ms}}",
        tries.display()
    );
    lab.write_boards(&[&board.entry_with(&power)], "");
    lab.pumice(&["power", "lives", "on"])
        .exits_with(0)
        .says("ended with exit status 4: outlet is busy; trying again (2 tries left)")
        .says("trying again (1 tries left)");
    lab.pumice(&["power", "lives", "off"]).exits_with(0);
}

#[test]
fn a_process_holds_the_power() {
    let (lab, board) = lab();
    let on = board.switch().display();
    // As a program that keeps a relay's coil: off when it ends, however that comes.
    let hold = format!("trap \"rm -f {on}; exit 0\" TERM; touch {on}; while :; do sleep 0.1; done");
    lab.write_boards(&[&board.entry_with(&format!("{{exec: ['sh', '-c', '{hold}']}}"))], "");
    lab.pumice(&["power", "lives", "on"]).exits_with(2).says("ends with this program");
    lab.pumice(&["exec", "lives", "--", "echo", "here"]).exits_with(0);
    assert!(!is_on(&board), "the power ended with pumice");
    let falls = format!("touch {on}; sleep 1; rm -f {on}; echo the relay fell >&2; exit 5");
    lab.write_boards(&[&board.entry_with(&format!("{{exec: ['sh', '-c', '{falls}']}}"))], "");
    lab.pumice(&["exec", "lives", "--", "sleep", "60"]).exits_with(3).says("the relay fell");
}

#[test]
fn a_person_is_asked_and_the_board_answers() {
    let (lab, board) = lab();
    lab.write_boards(&[&board.entry_with("ask")], "");
    // Nothing is known of it: what is wanted is a start.
    let on = lab.start(&["power", "lives", "on"]);
    on.wait_for_stderr("switch the power of lives off and on again");
    fs::write(board.switch(), "").unwrap();
    on.wait().exits_with(0);
    lab.write_boards(&[&board.entry_with("{ask: true, deadline: 1s}")], "");
    lab.pumice(&["power", "lives", "cycle"])
        .exits_with(3)
        .says("nobody switched the power off within 1 s");
}

#[test]
fn a_hub_s_port_counts_by_what_uhubctl_says_of_it() {
    let (lab, board) = lab();
    let on = board.switch().display();
    fs::create_dir(lab.path("bin")).unwrap();
    // As the real one prints it; the hub forgets every other "on", as hubs without power switches do with all.
    let script = format!(
        "#!/bin/sh\n[ \"$*\" = \"-l 1-1.4 -p 2 -a $6\" ] || {{ echo Invalid command line syntax! >&2; exit 1; }}\n\
         say() {{ echo \"$1 status for hub 1-1.4 [05e3:0608 USB2.0 Hub, USB 2.00, 4 ports, ppps]\"; \
         if [ -e {on} ]; then echo '  Port 2: 0100 power'; else echo '  Port 2: 0000 off'; fi; }}\n\
         say Current\nif [ \"$6\" = off ]; then rm -f {on}; else echo >> {tries}; \
         test $(($(wc -l < {tries}) % 2)) -eq 1 || touch {on}; fi\necho \"Sent power $6 request\"\nsay New\n",
        tries = lab.path("tries").display()
    );
    let program = lab.write("bin/uhubctl", script);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let power = "{uhubctl: {hub: 1-1.4, port: 2}, retry_delay: 100ms, settle: 200ms}";
    lab.write_boards(&[&board.entry_with(power)], "");
    let run = |operation| {
        let path = format!("{}:{}", lab.path("bin").display(), std::env::var("PATH").unwrap());
        lab.start_with_path(&["power", "lives", operation], path.as_ref()).wait()
    };
    run("on").exits_with(0).says("port 2 of hub 1-1.4 is still \"0000 off\"; trying again");
    assert!(is_on(&board));
    run("off").exits_with(0);
    until("board that is off", || (!is_on(&board)).then_some(()));
    let nobody = lab.pumice(&["power", "lives", "on"]);
    nobody.exits_with(3).says("uhubctl: not found: install");
}
