//! Files that cannot be meant so: one line with the file, the line and the mend, exit status 2, and no board touched.

use e2e::Lab;

const LAB: &str = "boards:\n  - {name: qemu-01, type: qemu-virt-armv7}\n";

/// A job file, what is said of it, and what a line of it must be followed by.
const JOBS: [(&str, &str); 17] = [
    ("", "job.yaml"),
    (
        "name: x\n",
        "job.yaml:1: missing key \"tests\": add \"tests: [{name: uname, run: uname -a}]\"",
    ),
    ("name: x\ntests: []\n", "job.yaml:2: a job has 1 to 128 tests: add "),
    (
        "name: x\nbord: {name: qemu-01}\ntests: [{name: a, run: b}]\n",
        "job.yaml:2: unknown key \"bord\": did you mean \"board\"?",
    ),
    ("name: x\nname: y\ntests: [{name: a, run: b}]\n", "job.yaml:2: "),
    (
        "name: x\ntests:\n  - name: a\n    run: b\n  - name: a\n    run: c\n",
        "job.yaml:5: the test a stands in line 3 already: give each test a name of its own",
    ),
    ("name: x\ntests:\n  - name: ../a\n    run: b\n", "job.yaml:3: "),
    ("name: x\ntests:\n  - name: a\n    run: b\n    timeout: soon\n", "job.yaml:5: "),
    (
        "name: x\ntests:\n  - name: a\n",
        "job.yaml:3: a test misses the key \"run\": add \"run: uname -a\"",
    ),
    (
        "name: x\ndeploy:\n  rootfs: none.ext4\ntests: [{name: a, run: b}]\n",
        "job.yaml:3: the image none.ext4 cannot be read: No such file or directory (os error 2): paths are relative to the job file; make the image, or mend the path",
    ),
    (
        "name: x\ndeploy:\n  rootfs: lab.yaml\n  rootfs_sha256: 12\ntests: [{name: a, run: b}]\n",
        "job.yaml:4: a SHA-256 has 64 hexadecimal digits: write what sha256sum prints, in quotes",
    ),
    (
        "name: x\ndeploy:\n  rootfs: ftp://example.org/a.ext4\ntests: [{name: a, run: b}]\n",
        "job.yaml:3: \"ftp://example.org/a.ext4\" is a URL that is not fetched: http and https are; download it and name the file",
    ),
    ("name: x\ndeploy: {}\ntests: [{name: a, run: b}]\n", "job.yaml:2: deploy names no image: "),
    (
        "name: x\ndeploy:\n  ramdisk: lab.yaml\ntests: [{name: a, run: b}]\n",
        "job.yaml:3: a ramdisk or device tree goes with a kernel: add \"kernel: PATH\"",
    ),
    ("name: x\nboot_with: mister\ntests: [{name: a, run: b}]\n", "job.yaml:2: "),
    ("name: x\ntests: [{name: a, run: b}]\ntimeout: 9d\n", "job.yaml:3: "),
    ("name: x\ntests: [{name: a, run: b}\n", "job.yaml:"),
];

/// A lab file, and what is said of it.
const LABS: [(&str, &str); 10] = [
    ("boards: []\n", "lab.yaml:1: the lab has no board: add "),
    (
        "boards:\n  - {name: qemu-01, type: qemu-virt-armv8}\n",
        "lab.yaml:2: unknown board type \"qemu-virt-armv8\": did you mean \"qemu-virt-armv7\"?",
    ),
    (
        "boards:\n  - {name: qemu-01, type: generic}\n",
        "lab.yaml:2: the board qemu-01 has no connection, and its type brings none: add ",
    ),
    (
        "boards:\n  - name: qemu-01\n    type: generic\n    conection: tcp://farm:1\n",
        "lab.yaml:4: unknown key \"conection\": did you mean \"connection\"?",
    ),
    (
        "boards:\n  - name: qemu-01\n    type: generic\n    connection: telent://farm:1\n",
        "lab.yaml:4: \"telent:\" is no connection: did you mean \"telnet:\"?",
    ),
    (
        "boards:\n  - name: qemu-01\n    type: generic\n    connection: serial:/dev/ttyS0?baud=fast\n",
        "lab.yaml:4: \"fast\" is no rate of a line: write a number from 300 to 12000000",
    ),
    (
        "boards:\n  - {name: a, type: qemu-virt-armv7}\n  - {name: a, type: qemu-virt-armv7}\n",
        "lab.yaml:3: the board a stands in line 2 already: give each board a name of its own",
    ),
    (
        "boards:\n  - name: qemu-01\n    type: generic\n    connection: tcp://farm:1\n    power: {on: x}\n",
        "lab.yaml:5: missing key \"off\": add \"off: COMMAND\"",
    ),
    (
        "board_types: none\nboards:\n  - {name: qemu-01, type: qemu-virt-armv7}\n",
        "none: the lab's board_types folder cannot be read: No such file or directory",
    ),
    ("boards:\n  - {name: \"a b\", type: generic}\n", "lab.yaml:2: "),
];

#[test]
fn a_job_that_cannot_be_meant_so() {
    for (job, expected) in JOBS {
        let lab = Lab::new(LAB);
        lab.write("job.yaml", job);
        refuses(&lab, &["run", "job.yaml"], expected, &format!("run of\n{job}"));
        // What a file is meant to be is told by its keys; one without tests could be anything.
        if job.contains("tests") {
            refuses(&lab, &["check", "job.yaml"], expected, &format!("check of\n{job}"));
        }
    }
}

#[test]
fn a_lab_that_cannot_be_meant_so() {
    for (text, expected) in LABS {
        let lab = Lab::new(text);
        lab.write("job.yaml", "name: x\ntests: [{name: a, run: b}]\n");
        for words in [
            &["check", "job.yaml"][..],
            &["run", "job.yaml"],
            &["exec", "qemu-01", "--", "true"],
            &["power", "qemu-01", "off"],
        ] {
            refuses(&lab, words, expected, &format!("{words:?} in\n{text}"));
        }
    }
}

#[test]
fn a_board_type_that_cannot_be_meant_so() {
    let shipped =
        Lab::new(LAB).pumice(&["board-types", "show", "qemu-virt-armv7"]).exits_with(0).out();
    for (from, to, expected) in [
        ("{boot_part}", "{bootpart}", "boot_part"),
        ("  kind: u-boot", "  kind: lilo", "u-boot"),
        ("deadlines:", "deadline:", "did you mean \"deadlines\"?"),
        ("  beacon: 90s", "  beacon: late", "\"late\""),
        ("partitions: {master: 1, testboot: 2, testrootfs: 3}", "", "partitions"),
        ("  baud: 115200", "  baud: 12", "12"),
    ] {
        assert!(shipped.contains(from), "the shipped type has no {from}");
        let text = shipped.replace(from, to);
        let lab = Lab::new(&format!("board_types: types\n{LAB}"));
        std::fs::create_dir(lab.path("types")).unwrap();
        lab.write("types/mine.yaml", &text);
        lab.write("job.yaml", "name: x\ntests: [{name: a, run: b}]\n");
        for words in [&["check", "types/mine.yaml"][..], &["run", "job.yaml"]] {
            let output = lab.pumice(words).exits_with(2);
            let err = output.err();
            assert!(err.lines().count() == 1 && err.contains(expected), "{from} → {to}: {err}");
            assert!(err.contains("types/mine.yaml:"), "file and line: {err}");
            assert!(!lab.path("state").exists(), "a board was touched");
        }
    }
}

#[test]
fn what_is_asked_for_and_not_there_is_named_with_what_is() {
    let lab = Lab::new(LAB);
    let job = |board: &str| format!("name: x\nboard: {board}\ntests: [{{name: a, run: b}}]\n");
    for (board, expected) in [
        ("{name: qemu-1}", "the lab has no board \"qemu-1\": did you mean \"qemu-01\"?"),
        (
            "{type: beaglebone}",
            "the lab has no board of the type beaglebone: it has qemu-01 (qemu-virt-armv7)",
        ),
        (
            "{tags: [audio]}",
            "the lab has no board with the tags audio: it has qemu-01 (qemu-virt-armv7)",
        ),
        (
            "{name: qemu-01, tags: [audio]}",
            "the board qemu-01 is not of the type, or has not the tags, that the job asks for",
        ),
    ] {
        lab.write("job.yaml", job(board));
        refuses(&lab, &["run", "job.yaml"], expected, board);
        refuses(&lab, &["check", "job.yaml"], expected, board);
    }
    refuses(&lab, &["exec", "qemu-1", "--", "true"], "did you mean \"qemu-01\"?", "exec");
    refuses(&lab, &["run", "none.yaml"], "none.yaml", "a job file that is not there");
    let lab = Lab::new(LAB);
    let words = ["--lab", "none.yaml", "exec", "qemu-01", "--", "true"];
    let output = lab.start_as_typed(&words, None).wait().exits_with(2);
    assert!(output.err().contains("none.yaml"), "{output:?}");
}

#[test]
fn a_disk_that_is_not_baked_is_named_with_the_mend() {
    let lab = Lab::new(&format!("images: nowhere\n{LAB}"));
    lab.write("job.yaml", "name: x\ntests: [{name: a, run: b}]\n");
    for words in [&["run", "job.yaml", "--out", "runs"][..], &["exec", "qemu-01", "--", "true"]] {
        let output = lab.pumice(words).exits_with(2);
        let err = output.err();
        assert_eq!(err.lines().count(), 1, "{err}");
        assert!(
            err.contains(
                "nowhere/qemu-virt-armv7/disk.img is missing: run ci/demo or cross/bake-image"
            ),
            "{err}"
        );
        assert!(!lab.path("runs").exists(), "no run began");
    }
}

#[test]
fn files_in_order_are_said_to_be() {
    let lab = Lab::new(LAB);
    lab.write("job.yaml", "name: x\nboard: {type: qemu-virt-armv7}\ntests: [{name: a, run: b}]\n");
    let output = lab.pumice(&["check", "job.yaml", "lab.yaml"]).exits_with(0);
    assert_eq!(
        output.out(),
        "job.yaml: job in order: \"x\", 1 test\n  a: 1 step\nlab.yaml: lab in order: 1 board\n"
    );
    assert!(!lab.path("state").exists(), "a board was touched");
    // And those that we ship.
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let example = root.join("examples/lab.yaml").display().to_string();
    lab.start_as_typed(&["check", &example], None).wait().exits_with(0);
}

#[test]
fn words_that_nobody_knows() {
    let lab = Lab::new(LAB);
    for words in [
        &["frobnicate"][..],
        &["run"],
        &["exec", "qemu-01"],
        &["power", "qemu-01", "up"],
        &["deploy", "qemu-01", "x", "--partition", "master"],
    ] {
        lab.pumice(words).exits_with(2);
        assert!(!lab.path("state").exists(), "{words:?}: a board was touched");
    }
}

/// Exit status 2, one line, and no board touched.
#[track_caller]
fn refuses(lab: &Lab, words: &[&str], expected: &str, what: &str) {
    let output = lab.pumice(words);
    let err = output.err();
    assert_eq!(output.status, 2, "{what}\n{err}");
    assert_eq!(err.lines().count(), 1, "one line is expected for {what}\n{err}");
    assert!(err.contains(expected), "{what}\nexpected: {expected}\nsaid:     {err}");
    assert_eq!(output.out(), "", "{what}");
    assert!(!lab.path("state").exists(), "a board was touched: {what}");
    assert!(!lab.path("runs").exists(), "a run began: {what}");
}
