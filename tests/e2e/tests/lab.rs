//! A lab that is served: the built `pumice serve` and its clients, with the real agent on boards whose boot loader and
//! kernel are pretended (`pty-board`).

use std::fs;

use e2e::emulator::{ARMV7, Disk, Slot};
use e2e::{Lab, LabServer, LivingBoard, Mount, until};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Says so again and again: the first words of a test may find the line full of the kernel's.
const AGAIN: &str = "while echo begun; do sleep 0.2; done";

fn job(tests: &str) -> String {
    format!("name: pty\nboard: {{type: pty-board}}\ntests:\n{tests}timeout: 5m\n")
}

#[test]
fn a_job_is_submitted_watched_and_read() {
    let server = LabServer::with_pty_boards(&["pty-01"]);
    let pass = job("  - {name: one, run: 'echo out'}\n");
    server.lab().write("pass.yaml", &pass);
    server.lab().write("fail.yaml", job("  - {name: two, run: 'exit 5'}\n"));
    server.ask("ann", &["submit", "--watch", "pass.yaml"]).exits_with(0);
    server.ask("ann", &["submit", "--watch", "fail.yaml"]).exits_with(1);
    server.ask("ann", &["watch", "2"]).exits_with(1);

    let jobs = server.ask("ann", &["jobs", "--json"]).exits_with(0).out();
    let jobs: Vec<Value> = jobs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> =
        jobs.iter().map(|job| (&job["id"], &job["state"], &job["verdict"])).collect();
    let expected = [(2, "ended", "failed"), (1, "ended", "passed")]
        .map(|(id, state, verdict)| (Value::from(id), Value::from(state), Value::from(verdict)));
    assert_eq!(told, expected.iter().map(|(a, b, c)| (a, b, c)).collect::<Vec<_>>());
    assert!(jobs.iter().all(|job| job["submitter"] == "ann" && job["attempt"] == 1));
    let board = server.ask("ann", &["boards", "--json"]).exits_with(0).out();
    let board: Value = serde_json::from_str(&board).unwrap();
    assert_eq!((&board["name"], &board["state"]), (&"pty-01".into(), &"idle".into()));
    assert_eq!(board["recent"].as_array().unwrap().len(), 2);

    let record = server.record(&jobs[1]);
    record.is_complete("passed", 0);
    assert_eq!(record.text("tests/one/stdout.log"), "out\n");
    assert_eq!(record.text("job.yaml"), pass);
    let runs = server.runs().display().to_string();
    let run = jobs[0]["run"].as_str().unwrap();
    let results = server.ask("ann", &["results", run, "--out", &runs, "--json"]).exits_with(0);
    let results: Value = serde_json::from_str(&results.out()).unwrap();
    assert_eq!(results["verdict"], "failed");
}

/// The board runs on by itself while nobody listens, and the next dispatcher finds it.
#[test]
fn a_killed_dispatcher_s_run_goes_on() {
    const LINES: usize = 400;
    let lab = Lab::new("");
    let board = LivingBoard::new(&lab, "lives");
    lab.write_boards(&[board.entry()], "");
    let mut server = LabServer::start(lab);
    let script = format!(
        "for i in $(seq 1 {LINES}); do echo line $i; test $((i % 20)) -ne 0 || lava-test-case case-$i --result pass; \
         sleep 0.05; done"
    );
    let id = server.submit(
        "ann",
        &job(&format!(
            "  - {{name: long, run: '{script}'}}\n  - {{name: after, run: 'echo more'}}\n"
        )),
        &[],
    );
    server.wait_for_line(id, "\"line 60\"");
    let before = server.job(id);
    server.end(Signal::SIGKILL);
    server.start_again();
    server.wait_for_line(id, "\"line 200\"");
    // Once more, and later.
    server.end(Signal::SIGKILL);
    std::thread::park_timeout(std::time::Duration::from_secs(3));
    server.start_again();
    let after = server.wait_for_verdict(id, "passed");
    assert_eq!((&after["run"], &after["attempt"]), (&before["run"], &1.into()));
    assert_eq!(fs::read_dir(server.runs()).unwrap().count(), 1);
    let record = server.record(&after);
    record.is_complete("passed", 0);
    assert_eq!(["long", "after"].map(|suite| record.result(suite)), ["pass", "pass"]);
    let lines: Vec<String> = (1..=LINES).map(|line| format!("line {line}")).collect();
    assert_eq!(record.text("tests/long/stdout.log"), lines.join("\n") + "\n");
    let shown = record.timeline("stdout");
    assert_eq!(shown, [&lines[..], &["more".to_owned()]].concat(), "each once, in order");
    let cases = record.events("case_ended");
    let names: Vec<&str> = cases.iter().map(|case| case["case"].as_str().unwrap()).collect();
    let expected: Vec<String> =
        (1..=LINES / 20).map(|case| format!("case-{}", case * 20)).collect();
    assert_eq!(names, expected);
    assert!(record.timeline("stdout").len() == LINES + 1);
    for event in ["run_started", "run_ended"] {
        assert_eq!(record.events(event).len(), 1, "{event}");
    }
    let boots = fs::read_to_string(server.lab().path("boards/lives/boots")).unwrap();
    assert_eq!(boots.lines().filter(|boot| boot.contains("--role test")).count(), 1, "{boots}");
    server.wait_for_board("lives", |board| board["state"] == "idle");
}

/// The board dies with its dispatcher: what it had saved comes home, and the job is tried again.
#[test]
fn a_killed_dispatcher_s_dead_board_is_rescued_and_its_job_tried_again() {
    let mut server = LabServer::with_pty_boards(&["pty-01"]);
    let mark = server.lab().path("second");
    let mark = mark.display();
    let script = format!("if test -e {mark}; then echo again; exit 0; fi; touch {mark}; {AGAIN}");
    let id = server.submit("ann", &job(&format!("  - {{name: dies, run: '{script}'}}\n")), &[]);
    let waits = server.submit("ann", &job("  - {name: waits, run: 'true'}\n"), &[]);
    server.wait_for_line(id, "\"begun\"");
    let first = server.job(id);
    server.end(Signal::SIGKILL);
    server.start_again();
    let after = server.wait_for_verdict(id, "passed");
    assert_eq!(after["attempt"], 2, "{after:#}");
    assert_ne!(after["run"], first["run"]);
    let record = server.record(&first);
    record.is_complete("InfrastructureError", 3);
    let saved = record.text("tests/dies/stdout.log");
    assert!(!saved.is_empty() && saved.lines().all(|line| line == "begun"), "{saved}");
    assert_eq!(record.result("dies"), "unknown");
    let record = server.record(&after);
    record.is_complete("passed", 0);
    assert_eq!(record.text("tests/dies/stdout.log"), "again\n");
    server.wait_for_verdict(waits, "passed");
    until("an idle board", || (server.board("pty-01")["state"] == "idle").then_some(()));
}

/// What of a job is looked at to see who had which board when.
fn stays(job: &Value) -> (String, String, String) {
    let text = |key: &str| job[key].as_str().unwrap_or_default().to_owned();
    (text("board"), text("started"), text("ended"))
}

#[test]
fn two_boards_are_shared_fairly_and_never_by_two_jobs() {
    let server = LabServer::with_pty_boards(&["pty-01", "pty-02"]);
    let text = job("  - {name: one, run: 'sleep 1'}\n");
    // Nothing begins before all of them wait.
    for board in ["pty-01", "pty-02"] {
        server.ask("ann", &["acquire", board]).exits_with(0);
    }
    let mut jobs: Vec<u64> = (0..3).map(|_| server.submit("ann", &text, &[])).collect();
    jobs.extend([
        server.submit("bob", &text, &[]),
        server.submit("bob", &text, &["--priority", "80"]),
    ]);
    let waiting = server.job(jobs[0]);
    assert_eq!(
        (&waiting["state"], &waiting["waits_for"]),
        (&"queued".into(), &"a free board".into())
    );
    for board in ["pty-01", "pty-02"] {
        server.ask("ann", &["release", board]).exits_with(0);
    }
    let mut ended: Vec<Value> =
        jobs.iter().map(|id| server.wait_for_verdict(*id, "passed")).collect();
    let stays: Vec<_> = ended.iter().map(stays).collect();
    for (n, (board, started, _)) in stays.iter().enumerate() {
        let other = stays
            .iter()
            .enumerate()
            .find(|(m, (on, from, to))| *m != n && on == board && from <= started && started < to);
        assert!(other.is_none(), "{board} has two jobs: {stays:#?}");
    }
    ended.sort_by_key(|job| job["started"].as_str().unwrap().to_owned());
    let order: Vec<u64> = ended.iter().map(|job| job["id"].as_u64().unwrap()).collect();
    // The larger priority, then by turns: the fourth job is bob's, and comes before ann's last.
    assert_eq!(order[0], jobs[4], "{order:?}");
    let place = |id: u64| order.iter().position(|known| *known == id);
    assert!(place(jobs[3]) < place(jobs[2]), "{order:?}");
    let boards: std::collections::BTreeSet<_> = stays.iter().map(|(board, ..)| board).collect();
    assert_eq!(boards.len(), 2);
}

/// The dispatcher is killed at random moments: what was acknowledged is there.
#[test]
fn no_accepted_job_is_forgotten() {
    let seed = match std::env::var("PUMICE_SEED") {
        Ok(seed) => seed.parse().expect("PUMICE_SEED is a number"),
        Err(_) => 1,
    };
    eprintln!("again: PUMICE_SEED={seed} cargo test -p e2e --test lab no_accepted_job");
    let mut server = LabServer::with_pty_boards(&["pty-01"]);
    server.ask("ann", &["acquire", "pty-01", "--for", "24h"]).exits_with(0);
    let text = job("  - {name: one, run: 'true'}\n");
    server.lab().write("job.yaml", &text);
    let mut accepted = Vec::new();
    for moment in e2e::random(20, seed) {
        let words = ["submit", "--json", "job.yaml", "job.yaml", "job.yaml", "job.yaml"];
        let submit = server.client("ann", &words);
        let wait = u64::from(moment) * 300 / 256;
        std::thread::park_timeout(std::time::Duration::from_millis(wait));
        server.end(Signal::SIGKILL);
        let told = submit.wait().out();
        for job in told.lines() {
            let job: Value = serde_json::from_str(job).unwrap();
            accepted.push(job["id"].as_u64().unwrap());
        }
        server.start_again();
    }
    assert!(accepted.is_sorted_by(|a, b| a < b), "no number twice: {accepted:?}");
    let known = server.get("/jobs?limit=500");
    let known: Vec<u64> =
        known["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_u64().unwrap()).collect();
    let lost: Vec<_> = accepted.iter().filter(|id| !known.contains(id)).collect();
    assert!(lost.is_empty() && !accepted.is_empty(), "{lost:?} of {accepted:?} are lost");
    for id in &accepted {
        let (status, definition) =
            server.try_get(&format!("/api/v1/jobs/{id}/definition")).unwrap();
        assert_eq!((status, String::from_utf8(definition).unwrap()), (200, text.clone()));
    }
    // The lease outlived them all.
    assert_eq!(server.board("pty-01")["lease"]["holder"], "ann");
}

#[test]
fn a_dispatcher_that_is_ended_leaves_its_boards_to_the_next() {
    let lab = Lab::new("");
    let board = LivingBoard::new(&lab, "lives");
    lab.write_boards(&[board.entry()], "");
    let mut server = LabServer::start(lab);
    let script = "for i in $(seq 1 120); do echo line $i; sleep 0.05; done";
    let id = server.submit("ann", &job(&format!("  - {{name: long, run: '{script}'}}\n")), &[]);
    server.wait_for_line(id, "\"line 30\"");
    server.end(Signal::SIGTERM).exits_with(0);
    server.start_again();
    let after = server.wait_for_verdict(id, "passed");
    assert_eq!(after["attempt"], 1);
    let lines: Vec<String> = (1..=120).map(|line| format!("line {line}")).collect();
    assert_eq!(server.record(&after).timeline("stdout"), lines);
}

#[test]
fn the_lab_file_is_read_again() {
    let server = LabServer::with_pty_boards(&["pty-01"]);
    let lab = server.lab();
    let [first, second] = ["pty-01", "pty-02"].map(|name| lab.pty_entry(name));
    let names = || -> Vec<String> {
        let boards = server.get("/boards");
        let boards = boards["boards"].as_array().unwrap();
        boards.iter().map(|board| board["name"].as_str().unwrap().to_owned()).collect()
    };
    let becomes = |wanted: &[&str]| {
        until(&format!("{wanted:?}: {:?}", names()), || (names() == wanted).then_some(()));
    };
    lab.write_boards(&[&first, &second], "");
    server.signal(Signal::SIGHUP);
    becomes(&["pty-01", "pty-02"]);
    // One goes while it is idle, the other when its job has ended.
    let long =
        job("  - {name: long, run: 'for i in 1 2 3 4 5 6 7 8; do echo begun; sleep 0.5; done'}\n")
            .replace("{type: pty-board}", "{name: pty-01}");
    let id = server.submit("ann", &long, &[]);
    server.wait_for_line(id, "\"begun\"");
    lab.write_boards(&[&second], "");
    server.signal(Signal::SIGHUP);
    until("the word that it was read", || {
        (server.said().matches("again").count() >= 2).then_some(())
    });
    assert_eq!(names(), ["pty-01", "pty-02"]);
    server.wait_for_verdict(id, "passed");
    becomes(&["pty-02"]);
    lab.write_boards(&[&first], "");
    server.signal(Signal::SIGHUP);
    becomes(&["pty-01"]);
    // A file that cannot be meant so changes nothing.
    lab.write("lab.yaml", "boards: [{name: x, type: nonsense}]\n");
    server.signal(Signal::SIGHUP);
    until("the fault's place", || server.said().contains("lab.yaml:1").then_some(()));
    assert_eq!(names(), ["pty-01"]);
    let id = server.submit("ann", &job("  - {name: one, run: 'true'}\n"), &[]);
    server.wait_for_verdict(id, "passed");
}

#[test]
fn a_board_is_somebody_s_until_the_lease_ends() {
    let lab = Lab::new("");
    let board = LivingBoard::new(&lab, "lives");
    lab.write_boards(&[board.entry()], "");
    let server = LabServer::start(lab);
    server.ask("ann", &["acquire", "lives", "--for", "1m", "--reason", "a look"]).exits_with(0);
    let shown = server.board("lives");
    assert_eq!((&shown["state"], &shown["lease"]["holder"]), (&"acquired".into(), &"ann".into()));
    server.ask("bob", &["acquire", "lives"]).exits_with(2);
    let id = server.submit("bob", &job("  - {name: one, run: 'true'}\n"), &[]);
    let words = ["--lab", "lab.yaml", "exec", "lives", "--", "echo", "hands on"];
    let output = server.ask("ann", &words).exits_with(0);
    assert_eq!(output.out(), "hands on\n");
    assert_eq!(server.job(id)["state"], "queued");
    server.ask("bob", &["release", "lives"]).exits_with(2);
    server.ask("ann", &["release", "lives"]).exits_with(0);
    server.wait_for_verdict(id, "passed");
    // Nobody gives it back: the lab takes it.
    server.ask("ann", &["acquire", "lives", "--for", "1m"]).exits_with(0);
    let id = server.submit("bob", &job("  - {name: one, run: 'true'}\n"), &[]);
    server.wait_for_verdict(id, "passed");
    assert_eq!(server.board("lives")["lease"], Value::Null);
}

/// Every command that works on a board works on one that was acquired in a lab elsewhere: its line and its power come
/// through the interface.
#[test]
fn an_acquired_board_is_worked_on_from_another_host() {
    let lab = Lab::new("");
    let board = LivingBoard::new(&lab, "lives");
    lab.write_boards(&[board.entry(), &lab.pty_entry("pty-01")], "");
    let server = LabServer::start(lab);
    let elsewhere = |words: &[&str]| server.ask_elsewhere("ann", words);
    let refused = elsewhere(&["exec", "lives", "--", "true"]).exits_with(2).err();
    assert!(refused.contains("acquire it first"), "{refused}");
    let unknown = elsewhere(&["info", "nowhere"]).exits_with(2).err();
    assert!(unknown.contains("no board \"nowhere\""), "{unknown}");

    elsewhere(&["acquire", "lives"]).exits_with(0);
    elsewhere(&["power", "lives", "cycle"]).exits_with(0);
    let output = elsewhere(&["exec", "lives", "--", "sh", "-c", "echo hands on; exit 7"]);
    assert_eq!(output.exits_with(7).out(), "hands on\n");
    let data: Vec<u8> = (0..300_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    fs::write(server.lab().path("data"), &data).unwrap();
    elsewhere(&["push", "lives", "data", "/data"]).exits_with(0);
    elsewhere(&["pull", "lives", "/data", "back"]).exits_with(0);
    assert!(fs::read(server.lab().path("back")).unwrap() == data);
    // Somebody else's is nobody's, and a lab that has it back has its line.
    let bob = server.ask_elsewhere("bob", &["exec", "lives", "--", "true"]).exits_with(2).err();
    assert!(bob.contains("ann"), "{bob}");
    elsewhere(&["power", "lives", "off"]).exits_with(0);
    elsewhere(&["release", "lives"]).exits_with(0);
    let id = server.submit("bob", &job("  - {name: one, run: 'true'}\n"), &[]);
    server.wait_for_verdict(id, "passed");

    // An emulator is switched with its line; a whole job runs on it.
    elsewhere(&["acquire", "pty-01"]).exits_with(0);
    fs::write(server.lab().path("far.yaml"), job("  - {name: far, run: 'echo far'}\n")).unwrap();
    elsewhere(&["run", "far.yaml", "--board", "pty-01", "--out", "far-runs"]).exits_with(0);
    elsewhere(&["release", "pty-01"]).exits_with(0);
}

#[test]
fn a_new_board_shows_its_health_first_and_a_bad_one_gets_no_jobs() {
    let lab = Lab::new("");
    let mark = lab.path("is-broken");
    let check =
        format!("name: health\ntests: [{{name: check, run: 'test ! -e {}'}}]\n", mark.display());
    lab.write("health.yaml", check);
    let entry = lab.pty_entry("pty-01");
    let checks = "health_checks: {pty-board: {job: health.yaml, every: 24h, every_jobs: 100}}\n";
    lab.write_boards(&[&entry], checks);
    let server = LabServer::start(lab);
    server.wait_for_board("pty-01", |board| board["health"] == "good");
    let first = server.job(1);
    assert_eq!((&first["is_health_check"], &first["verdict"]), (&true.into(), &"passed".into()));
    let id = server.submit("ann", &job("  - {name: one, run: 'true'}\n"), &[]);
    server.wait_for_verdict(id, "passed");
    fs::write(&mark, "").unwrap();
    server.ask("ann", &["health", "pty-01", "unknown"]).exits_with(0);
    let bad = server.wait_for_board("pty-01", |board| board["health"] == "bad");
    assert!(bad["health_reason"].as_str().unwrap().contains("health check"), "{bad:#}");
    let id = server.submit("ann", &job("  - {name: one, run: 'true'}\n"), &[]);
    let job = server.wait_for_job(id, |job| job["waits_for"] != "");
    assert_eq!(job["waits_for"], "every board that it could have is bad or in maintenance");
    fs::remove_file(&mark).unwrap();
    server.ask("ann", &["health", "pty-01", "unknown", "--reason", "mended"]).exits_with(0);
    server.wait_for_verdict(id, "passed");
    assert_eq!(server.board("pty-01")["health"], "good");
}

#[test]
fn jobs_are_canceled_where_they_are() {
    let server = LabServer::with_pty_boards(&["pty-01"]);
    let running = server.submit("ann", &job(&format!("  - {{name: long, run: '{AGAIN}'}}\n")), &[]);
    let queued = server.submit("ann", &job("  - {name: never, run: 'true'}\n"), &[]);
    server.wait_for_line(running, "\"begun\"");
    server.ask("ann", &["cancel", &queued.to_string()]).exits_with(0);
    let never = server.wait_for_verdict(queued, "Canceled");
    assert_eq!(never["attempt"], 0);
    let watch = server.client("bob", &["watch", &running.to_string()]);
    server.ask("ann", &["cancel", &running.to_string()]).exits_with(0);
    let ended = server.wait_for_verdict(running, "Canceled");
    watch.wait().exits_with(130);
    server.record(&ended).is_complete("Canceled", 130);
    let after = server.submit("ann", &job("  - {name: after, run: 'true'}\n"), &[]);
    server.wait_for_verdict(after, "passed");
    server.ask("ann", &["cancel", &after.to_string()]).exits_with(2);
}

/// Jobs wait while the disk is full, and say so; what was written stays whole.
#[test]
fn a_full_disk_pauses_the_lab_and_breaks_nothing() {
    let lab = Lab::new("");
    let store = lab.path("store");
    fs::create_dir(&store).unwrap();
    let Some(_disk) = Mount::new("tmpfs", "size=300m", &store) else { return };
    let entry = lab.pty_entry("pty-01");
    lab.write_boards(&[&entry], "");
    let mut server = LabServer::start(lab);
    let text = job("  - {name: one, run: 'true'}\n");
    let before = server.submit("ann", &text, &[]);
    server.wait_for_verdict(before, "passed");
    let long = server.submit("ann", &job(&format!("  - {{name: long, run: '{AGAIN}'}}\n")), &[]);
    let waits = server.submit("ann", &text, &[]);
    server.wait_for_line(long, "begun");

    // To the last byte, while a run is being written.
    let filler = store.join("filler");
    fill(&filler);
    until("a pause", || (server.get("/lab")["paused"] != "").then_some(()));
    let paused = server.get("/lab")["paused"].as_str().unwrap().to_owned();
    let said = server.ask("ann", &["submit", "job-ann.yaml"]);
    assert_ne!(said.status, 0);
    server
        .wait_for_job(waits, |job| job["state"] == "queued" && job["waits_for"] != "a free board");
    let shown = server.ask("ann", &["jobs", "--state", "queued"]).exits_with(0).out();
    assert!(shown.contains("waits for "), "{paused}: {shown}");
    // It dies in the middle of that, too, and comes back to a full disk or to none.
    server.end(Signal::SIGKILL);
    fs::remove_file(&filler).unwrap();
    server.start_again();
    // It would be tried again, and never end.
    server.ask("ann", &["cancel", &long.to_string()]).exits_with(0);
    server.wait_for_job(long, |job| job["state"] == "ended");
    server.wait_for_verdict(waits, "passed");
    let after = server.submit("ann", &text, &[]);
    let ended = server.wait_for_verdict(after, "passed");
    server.record(&ended).is_complete("passed", 0);
    server.record(&server.job(before)).is_complete("passed", 0);
    assert!(!server.said().contains("made again"), "the database was whole: {}", server.said());
}

/// Writes until nothing more finds room.
fn fill(path: &std::path::Path) {
    let mut file = fs::File::create(path).unwrap();
    for piece in [vec![0; 1 << 20], vec![0; 1]] {
        while std::io::Write::write_all(&mut file, &piece).is_ok() {}
    }
}

/// Thirty boards at work while clients of every bad kind come: the boards notice nothing.
#[test]
fn thirty_boards_notice_nothing_of_bad_clients() {
    const BOARDS: usize = 30;
    let lab = Lab::new("");
    let text = lines_of_a_test();
    write_fake_boards(&lab, BOARDS, &text, "", "");
    let server = LabServer::start(lab);
    let mut bad = bad_clients::BadClients::start(server.address());
    let ids: Vec<u64> = (0..BOARDS).map(|_| server.submit("ann", FAKE_JOB, &[])).collect();
    let mut boards = std::collections::BTreeSet::new();
    let expected = format!("all\n{text}");
    for id in ids {
        let ended = server.wait_for_verdict(id, "passed");
        assert_eq!(ended["attempt"], 1, "{ended:#}");
        boards.insert(ended["board"].as_str().unwrap().to_owned());
        let record = server.record(&ended);
        record.is_complete("passed", 0);
        for suite in ["one", "two"] {
            assert_eq!(record.text(&format!("tests/{suite}/stdout.log")), expected);
        }
        let shown = record.timeline("stdout");
        assert_eq!(shown.join("\n") + "\n", expected.repeat(2));
    }
    assert_eq!(boards.len(), BOARDS, "all at once");
    let requests = bad.end();
    assert!(requests > 1000, "{requests} bad requests came");
}

/// Real kernels, whose text comes in floods, beside boards that are fast.
#[test]
fn two_emulated_boards_share_a_lab_with_thirty_others() {
    let _slots = [Slot::take(), Slot::take()];
    let lab = Lab::new("");
    Disk::copy_to(&lab.path("images"), ARMV7).put_rootfs("test-busybox-nokernel.ext4");
    let emulated = ["real-01", "real-02"]
        .map(|name| format!("  - {{name: {name}, type: qemu-virt-armv7}}\n"))
        .concat();
    let text = lines_of_a_test();
    write_fake_boards(&lab, 30, &text, &emulated, "images: images\n");
    let server = LabServer::start(lab);
    let real =
        "name: real\nboard: {type: qemu-virt-armv7}\nboot_with: master\ntests:\n  - name: mixed
    run: |
      for i in $(seq 1 200); do echo line $i; echo \"a line $i of the kernel\" > /dev/kmsg; done
timeout: 10m\n";
    let real: Vec<u64> = (0..2).map(|_| server.submit("ann", real, &[])).collect();
    let fake: Vec<u64> = (0..30).map(|_| server.submit("bob", FAKE_JOB, &[])).collect();
    let mut boards = std::collections::BTreeSet::new();
    let lines: Vec<String> = (1..=200).map(|line| format!("line {line}")).collect();
    for id in real {
        let ended = server.wait_for_verdict(id, "passed");
        assert_eq!(ended["attempt"], 1, "{ended:#}");
        boards.insert(ended["board"].as_str().unwrap().to_owned());
        let record = server.record(&ended);
        record.is_complete("passed", 0);
        assert_eq!(record.text("tests/mixed/stdout.log"), lines.join("\n") + "\n");
        let kernel = record.timeline("kernel");
        let ours = kernel.iter().filter(|line| line.contains("of the kernel")).count();
        assert_eq!(ours, 200, "each line of the kernel's once");
    }
    assert_eq!(boards.len(), 2, "both at once: {boards:?}");
    for id in fake {
        let ended = server.wait_for_verdict(id, "passed");
        assert_eq!(ended["attempt"], 1, "{ended:#}");
        let one = server.record(&ended).text("tests/one/stdout.log");
        assert_eq!(one, format!("all\n{text}"));
    }
}

fn lines_of_a_test() -> String {
    (1..=150).map(|line| format!("line {line} of a test\n")).collect()
}

/// A lab of fake boards whose tests say `text`, and others; `more` stands above them.
fn write_fake_boards(lab: &Lab, count: usize, text: &str, others: &str, more: &str) {
    let program = e2e::program::built("fake-board").display().to_string();
    let command = format!("tell=all\n{}", text.trim_end());
    let entry = |n: usize| {
        let words = [program.as_str(), "--seed", &n.to_string(), "--command", &command]
            .map(|word| Value::from(word).to_string())
            .join(", ");
        format!(
            "  - {{name: fake-{n:02}, type: fake, power: with-connection, connection: {{exec: [{words}]}}}}\n"
        )
    };
    let entries: String = (1..=count).map(entry).collect();
    lab.write_boards(&[others, &entries], more);
    lab.write("types/fake.yaml", FAKE_TYPE);
}

const FAKE_JOB: &str = "name: fake\nboard: {type: fake}\ntests:\n  - {name: one, run: tell}\n  - {name: two, run: tell}\ntimeout: 10m\n";
const FAKE_TYPE: &str = r#"name: fake
line: {coding: text-safe}
partitions: {master: 1, testboot: 2, testrootfs: 3}
boot_loader:
  kind: u-boot
  banner: "U-Boot "
  autoboot: "Hit any key to stop autoboot"
  interrupt: " "
  prompt: "=> "
  errors: ["Unknown command"]
  commands:
    master: &boot
      - setenv bootargs "{bootargs}"
      - bootz
    test: *boot
kernel_args:
  master: --role master
  test: --role test --run {run}
"#;

#[path = "lab/bad_clients.rs"]
mod bad_clients;
