//! Jobs of several boards: the built `pumice run` and `pumice serve`, and the real agent with its helpers on each of them.

use std::fs;

use e2e::emulator::{ARMV7, Disk, Slot};
use e2e::program::Output;
use e2e::{Lab, LabServer, Record, until};
use nix::sys::signal::Signal;

/// A lab of pretended boards with real agents.
fn pty_lab(names: &[&str]) -> Lab {
    let lab = Lab::new("");
    let entries: Vec<String> = names.iter().map(|name| lab.pty_entry(name)).collect();
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    lab.write_boards(&entries, "");
    lab
}

/// The boards of a machine share its /tmp.
const CACHE: &str = "export LAVA_MULTI_NODE_CACHE=$LAVA_RESULT_DIR/cache";

/// Runs a job of several boards.
fn run(lab: &Lab, job: &str) -> Output {
    lab.write("job.yaml", job);
    let output = lab.pumice(&["run", "job.yaml", "--out", "runs"]);
    lab.write("output.txt", [&output.stderr[..], &output.stdout].concat());
    output
}

/// The run of a node, by its label.
fn record(lab: &Lab, label: &str) -> Record {
    let entries = fs::read_dir(lab.path("runs")).expect("there were runs").flatten();
    let is_of = |name: &str| name.rsplit_once('-').is_some_and(|(stem, _)| stem.ends_with(label));
    let paths = entries.map(|entry| entry.path());
    let found: Vec<_> =
        paths.filter(|path| is_of(&path.file_name().unwrap().to_string_lossy())).collect();
    let [path] = &found[..] else { panic!("one run of {label} is expected: {found:?}") };
    Record::at(path)
}

#[test]
fn three_boards_talk() {
    let lab = pty_lab(&["pty-01", "pty-02", "pty-03"]);
    let job = format!(
        "name: three talk
board: {{type: pty-board}}
roles:
  server:
    tests:
    - name: serve
      run: |
        {CACHE}
        lava-sync start
        test \"$(lava-role)\" = server
        lava-send ready ip=10.0.0.1 'url=http://x/?a=b c' nothing=
        lava-wait-all done client
        sort $LAVA_MULTI_NODE_CACHE
        lava-sync end
        test ! -e $LAVA_MULTI_NODE_CACHE
  client:
    count: 2
    tests:
    - name: ask
      run: |
        {CACHE}
        lava-group | tr '\\t' ' '
        lava-group server
        lava-role list
        ! lava-group nobody
        lava-sync start
        lava-wait ready
        lava-wait ready
        cat $LAVA_MULTI_NODE_CACHE
        lava-send done by=$(lava-self)
        ! lava-wait 'a=b'
        lava-sync end
wait_timeout: 60s
timeout: 5m
"
    );
    run(&lab, &job).exits_with(0);
    let (server, first, second) =
        (record(&lab, "server"), record(&lab, "client-1"), record(&lab, "client-2"));
    for record in [&server, &first, &second] {
        record.is_complete("passed", 0);
    }
    assert_eq!(server.text("tests/serve/stdout.log"), "pty-02:by=pty-02\npty-03:by=pty-03\n");
    let ready = "pty-01:ip=10.0.0.1\npty-01:url=http://x/?a=b c\n";
    let expected =
        format!("pty-01 server\npty-02 client\npty-03 client\npty-01\nclient\nserver\n{ready}");
    for record in [&first, &second] {
        assert_eq!(record.text("tests/ask/stdout.log"), expected);
    }
    let cases = |record: &Record| -> Vec<String> {
        let cases = record.events("case_ended");
        cases.iter().map(|case| format!("{} {}", case["case"], case["result"])).collect()
    };
    let expected = ["sync-start", "send-ready", "wait_all-done", "sync-end"]
        .map(|name| format!("\"multinode-{name}\" \"pass\""));
    assert_eq!(cases(&server), expected);
    // One date, one id: they stand together.
    let name = |record: &Record| record.path().file_name().unwrap().to_string_lossy().into_owned();
    let id = |record: &Record| name(record).rsplit_once('-').unwrap().1.to_owned();
    assert_eq!(id(&server), id(&first));
    assert_eq!(id(&server), id(&second));
    lab.nothing_runs();
}

/// Who waits for a board that dies is told so at once, by its name; Ctrl-C ends all boards.
#[test]
fn a_board_that_dies_ends_the_waits_and_an_interrupt_everything() {
    let lab = pty_lab(&["pty-01", "pty-02"]);
    let job = |server: &str| {
        format!(
            "name: dies\nboard: {{type: pty-board}}\nroles:\n  server:\n    tests: [{{name: serve, run: '{server}'}}]\n  \
             client:\n    tests: [{{name: ask, run: 'lava-wait ready'}}]\nwait_timeout: 4m\ntimeout: 5m\n"
        )
    };
    // Its agent dies, and with it the board.
    run(&lab, &job("kill -9 $PPID; sleep 9")).exits_with(1);
    record(&lab, "server").is_complete("TestError", 1);
    let client = record(&lab, "client");
    client.is_complete("failed", 1);
    let why = client.text("tests/ask/stderr.log");
    assert!(
        why.starts_with("lava-wait ready: pty-01 (server) failed: in the test image: "),
        "{why}"
    );
    assert_eq!(why.lines().count(), 1);
    lab.nothing_runs();

    fs::remove_dir_all(lab.path("runs")).unwrap();
    lab.write("job.yaml", job("echo begun; sleep 100"));
    let running = lab.start(&["run", "job.yaml", "--out", "runs"]);
    running.wait_for_stderr("server: test serve …");
    running.wait_for_stderr("client: lava-wait ready");
    running.signal(Signal::SIGINT);
    running.wait().exits_with(130);
    for label in ["server", "client"] {
        record(&lab, label).is_complete("Canceled", 130);
    }
    lab.nothing_runs();
}

/// A job whose two boards do what these scripts say.
fn of_two(server: &str, client: &str) -> String {
    format!(
        "name: two\nboard: {{type: pty-board}}\nroles:\n  server:\n    tests: [{{name: serve, run: '{server}'}}]\n  \
         client:\n    tests: [{{name: ask, run: '{client}'}}]\nwait_timeout: 4m\ntimeout: 5m\n"
    )
}

/// Says so again and again: the first words of a test may find the line full of the kernel's.
const AGAIN: &str = "while echo begun; do sleep 0.2; done";

#[test]
fn a_lab_s_queue_gives_all_boards_at_once() {
    let server = LabServer::with_pty_boards(&["pty-01", "pty-02"]);
    // Somebody has one of them: the group waits, and what comes behind it does not.
    server.ask("bob", &["acquire", "pty-01"]).exits_with(0);
    let send = format!("{CACHE}; lava-send ready from=$(lava-self); lava-sync end");
    let wait = format!("{CACHE}; lava-wait ready; cat $LAVA_MULTI_NODE_CACHE; lava-sync end");
    server.lab().write("two.yaml", of_two(&send, &wait));
    let watching = server.client("ann", &["submit", "--watch", "two.yaml"]);
    watching.wait_for_stderr("2 boards at once, of which some are not given to jobs now");
    let one = server.submit(
        "ann",
        "name: one\nboard: {type: pty-board}\ntests: [{name: a, run: 'true'}]\n",
        &[],
    );
    server.wait_for_verdict(one, "passed");
    server.ask("bob", &["release", "pty-01"]).exits_with(0);
    let said = watching.wait().exits_with(0);
    for line in ["server: test serve \u{2026}", "client: lava-wait ready"] {
        assert!(said.stderr.windows(line.len()).any(|part| part == line.as_bytes()), "{said:?}");
    }
    let (first, second) = (server.job(1), server.job(2));
    assert_eq!(first["name"], "two (server)");
    assert_eq!(second["group"]["node"], "client");
    assert_eq!(server.record(&first).text("tests/serve/stdout.log"), "");
    let from = format!("{0}:from={0}\n", first["board"].as_str().unwrap());
    assert_eq!(server.record(&second).text("tests/ask/stdout.log"), from);
    for job in [&first, &second] {
        server.record(job).is_complete("passed", 0);
    }
    server.lab().write(
        "three.yaml",
        of_two("true", "true").replace("client:\n", "client:\n    count: 2\n"),
    );
    server
        .ask("ann", &["submit", "three.yaml"])
        .exits_with(2)
        .says("the job needs 3 boards at once, and the lab has not enough for it");

    // Cancel of one is cancel of all.
    let id = server.submit("ann", &of_two("lava-wait never", AGAIN), &[]);
    server.wait_for_line(id + 1, "\"begun\"");
    server.ask("ann", &["cancel", &id.to_string()]).exits_with(0);
    for id in [id, id + 1] {
        let job = server.wait_for_verdict(id, "Canceled");
        assert_eq!(job["attempt"], 1);
    }
    until("idle boards", || {
        ["pty-01", "pty-02"].iter().all(|name| server.board(name)["state"] == "idle").then_some(())
    });
}

/// What the boards had said to each other is gone with the dispatcher: what they have kept comes home, and the job begins
/// anew on both.
#[test]
fn a_group_of_a_killed_dispatcher_is_tried_again_as_a_whole() {
    let mut server = LabServer::with_pty_boards(&["pty-01", "pty-02"]);
    let mark = server.lab().path("second");
    let mark = mark.display();
    let first = format!("if test -e {mark}; then lava-sync met; else {AGAIN}; fi");
    let id = server.submit("ann", &of_two(&first, "lava-sync met"), &[]);
    server.wait_for_line(id, "\"begun\"");
    let before = [server.job(id), server.job(id + 1)];
    server.end(Signal::SIGKILL);
    server.lab().write("second", "");
    server.start_again();
    for (before, id) in before.iter().zip([id, id + 1]) {
        let after = server.wait_for_verdict(id, "passed");
        assert_eq!(after["attempt"], 2, "{after:#}");
        let record = server.record(before);
        record.is_complete("InfrastructureError", 3);
        let errors = record.events("error");
        let why = errors[0]["message"].as_str().unwrap();
        assert!(why.contains("what its boards had said to each other is gone with it"), "{why}");
    }
    assert!(server.record(&before[0]).text("tests/serve/stdout.log").contains("begun"));
}

#[test]
fn a_lab_without_enough_boards_says_so() {
    let lab = pty_lab(&["pty-01", "pty-02"]);
    let job = "name: x\nboard: {type: pty-board}\ntests: [{name: a, run: 'true'}]\nroles:\n  peer: {count: 3}\n";
    let few = "the job needs 3 boards at once, and the lab has not enough for it: there is none left of the type pty-board";
    run(&lab, job).exits_with(2).says(few);
    assert!(!lab.path("runs").exists());
    lab.pumice(&["check", "job.yaml"]).exits_with(2).says(few);
    let two = job.replace("3", "2");
    lab.write("job.yaml", &two);
    let said = lab.pumice(&["check", "job.yaml"]).exits_with(0).out();
    assert_eq!(
        said,
        "job.yaml: job in order: \"x\", 2 boards\n  peer-1/a: 1 step\n  peer-2/a: 1 step\n"
    );
    let named = lab.pumice(&["run", "job.yaml", "--board", "pty-01"]).exits_with(2);
    named.says("--board names one board, and the job has several");
}

/// Two kernels, two networks, one agent each that came through its master image.
#[test]
fn two_emulated_boards_talk() {
    let _slots = [Slot::take(), Slot::take()];
    let lab = Lab::new("");
    Disk::copy_to(&lab.path("images"), ARMV7).put_rootfs("test-busybox.ext4");
    lab.write(
        "lab.yaml",
        "images: images\nboards:\n  - {name: qemu-01, type: qemu-virt-armv7}\n  - {name: qemu-02, type: qemu-virt-armv7}\n",
    );
    // As LAVA's users write it.
    let job = "\
job_name: two emulated
visibility: public
timeouts: {job: {minutes: 10}, action: {minutes: 5}}
protocols:
  lava-multinode:
    timeout: {minutes: 3}
    roles:
      server: {device_type: qemu, context: {arch: arm}, count: 1}
      client: {device_type: qemu, context: {arch: arm}, count: 1}
actions:
- boot: {role: [server, client], method: u-boot, commands: ramdisk, prompts: ['/ #']}
- test:
    role: [server]
    definitions:
    - from: inline
      name: serve
      path: inline/serve.yaml
      repository:
        metadata: {format: Lava-Test Test Definition 1.0, name: serve}
        run:
          steps:
          - lava-send ready arch=$(uname -m) role=$(lava-role)
          - lava-wait asked
          - cut -d = -f 2 /tmp/lava_multi_node_cache.txt
          - lava-sync end
- test:
    role: [client]
    definitions:
    - from: inline
      name: ask
      path: inline/ask.yaml
      repository:
        metadata: {format: Lava-Test Test Definition 1.0, name: ask}
        run:
          steps:
          - lava-wait ready
          - cat /tmp/lava_multi_node_cache.txt
          - lava-send asked of=$(lava-group server)
          - lava-sync end
";
    run(&lab, job).exits_with(0);
    let (server, client) = (record(&lab, "server"), record(&lab, "client"));
    server.is_complete("passed", 0);
    client.is_complete("passed", 0);
    assert_eq!(server.text("tests/serve/stdout.log"), "qemu-01\n");
    assert_eq!(client.text("tests/ask/stdout.log"), "qemu-01:arch=armv7l\nqemu-01:role=server\n");
    lab.nothing_runs();
}
