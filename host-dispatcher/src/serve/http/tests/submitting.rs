//! Jobs and their files.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::testbed::{Answer, Bed};
use crate::definition::fence::Fence;
use crate::job::spec::Job;
use crate::store::hexadecimal;

fn digest(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn upload(bed: &Bed, bytes: &[u8]) -> String {
    let sha256 = digest(bytes);
    let answer = bed.put(&format!("/api/v1/files/{sha256}"), bytes);
    assert!(answer.status == 201 || answer.status == 200, "{}", answer.text());
    sha256
}

fn submit(bed: &Bed, definition: &str, files: Value) -> Answer {
    let form = json!({ "definition": definition, "files": files, "priority": 60 });
    bed.post("/api/v1/jobs", &form.to_string())
}

const TESTS: &str = "tests:\n  - {name: uname, run: uname -a}\n";

#[test]
fn a_job_with_its_files() {
    let bed = Bed::new();
    let image = vec![7; 3_000_000];
    let (rootfs, suite) = (upload(&bed, &image), upload(&bed, DEFINITION.as_bytes()));
    let definition = format!(
        "name: smoke\nboard: {{type: generic}}\ndeploy: {{rootfs: images/rootfs.ext4}}\n{TESTS}  \
         - {{definition: {{directory: suite, path: smoke.yaml}}}}\n"
    );
    let files = json!({ "images/rootfs.ext4": rootfs, "suite/smoke.yaml": suite });
    let answer = submit(&bed, &definition, files);
    assert_eq!((answer.status, &answer.json()["id"]), (201, &json!(7)), "{}", answer.text());
    let seen = bed.seen.lock().unwrap();
    let submission = &seen.submitted[0];
    let [job] = &submission.jobs[..] else { panic!("{submission:?}") };
    assert_eq!((job.name.as_str(), job.priority), ("smoke", 60));
    assert_eq!(
        (job.submitter.as_str(), job.board_wish.board_type.as_deref()),
        ("local", Some("generic"))
    );
    assert_eq!(submission.definition, definition);
    assert_eq!(fs::read(&submission.files["images/rootfs.ext4"]).unwrap(), image);
    assert_eq!(fs::read_dir(bed.path("store/jobs/incoming")).unwrap().count(), 0);
}

#[test]
fn secrets_go_to_the_lab_and_never_come_back() {
    let bed = Bed::new();
    let definition = format!(
        "name: x\nsecrets: {{INSIDE: 'hunter222', BESIDE: {{environment: HOME}}}}\n{TESTS}"
    );
    let form = |secrets: Value| json!({ "definition": definition, "secrets": secrets }).to_string();
    // The lab's own environment is nobody's business.
    let answer = bed.post("/api/v1/jobs", &form(json!({})));
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("the value of BESIDE did not come with the job"));
    let answer = bed.post("/api/v1/jobs", &form(json!({"BESIDE": "t1ny"})));
    assert!(answer.status == 422 && !answer.text().contains("t1ny"), "{}", answer.text());
    let answer =
        bed.post("/api/v1/jobs", &form(json!({"BESIDE": "hunter333", "OTHER": "hunter4"})));
    let message = &answer.json()["error"]["message"];
    assert_eq!((answer.status, message), (422, &json!("the job has no secret \"OTHER\"")));
    let answer = bed.post("/api/v1/jobs", &form(json!({"BESIDE": "hunter333"})));
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(!answer.text().contains("hunter"));
    {
        let seen = bed.seen.lock().unwrap();
        assert_eq!(seen.submitted[0].secrets["BESIDE"], "hunter333");
        let job = seen.submitted[0].jobs[0].clone().numbered(7, jiff::Timestamp::UNIX_EPOCH);
        bed.history.jobs.lock().unwrap().push((job, seen.submitted[0].definition.clone()));
    }
    for path in ["/api/v1/jobs/7", "/api/v1/jobs/7/definition", "/api/v1/jobs"] {
        let answer = bed.get(path);
        assert!(answer.status == 200 && !answer.text().contains("hunter"), "{}", answer.text());
    }
    assert!(bed.get("/api/v1/jobs/7/definition").text().contains("INSIDE: '(secret:INSIDE)'"));
}

#[test]
fn a_job_of_several_boards_is_accepted_as_one_for_each() {
    let bed = Bed::new();
    let definition = format!(
        "name: iperf\nroles:\n  server: {{board: {{type: a}}}}\n  client: {{count: 2, deploy: {{rootfs: r.img}}}}\n{TESTS}"
    );
    let refused = submit(&bed, &definition, json!({}));
    assert_eq!((refused.status, &refused.json()["error"]["line"]), (422, &json!(4)));
    let answer = submit(&bed, &definition, json!({"r.img": upload(&bed, b"image")}));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let seen = bed.seen.lock().unwrap();
    let jobs = seen.submitted[0].jobs.iter().map(|job| {
        let node = job.node.as_ref().unwrap();
        (job.name.as_str(), node.label.as_str(), node.role.as_str(), job.priority)
    });
    assert_eq!(
        jobs.collect::<Vec<_>>(),
        [
            ("iperf (server)", "server", "server", 60),
            ("iperf (client-1)", "client-1", "client", 60),
            ("iperf (client-2)", "client-2", "client", 60),
        ]
    );
    assert_eq!(seen.submitted[0].jobs[0].board_wish.board_type.as_deref(), Some("a"));
}

const DEFINITION: &str = "metadata: {format: Lava-Test Test Definition 1.0, name: smoke}\n\
    run: {steps: [uname -a]}\n";

#[test]
fn what_is_wrong_with_a_job_is_said_with_its_line() {
    let bed = Bed::new();
    let error = |definition: &str| {
        let answer = submit(&bed, definition, json!({}));
        assert_eq!(answer.status, 422, "{definition}: {}", answer.text());
        assert!(!answer.text().contains("/tmp/"), "{}", answer.text());
        answer.json()["error"].clone()
    };
    let slip = error(&format!("name: x\ntimout: 1m\n{TESTS}"));
    assert_eq!((&slip["file"], &slip["line"]), (&json!("job.yaml"), &json!(2)));
    assert!(slip["mend"].as_str().is_some_and(|mend| mend.contains("timeout")), "{slip}");
    let missing = error(&format!("name: x\ndeploy:\n  rootfs: images/none.ext4\n{TESTS}"));
    assert_eq!(missing["line"], 3);
    assert_eq!(
        missing["message"],
        "the image images/none.ext4 cannot be read: it did not come with the job"
    );
    for (form, status) in [
        (json!({ "definition": "x: [", "file": "../../x" }), 422),
        (json!({ "definition": "\u{0}" }), 422),
        (json!({ "definition": "[".repeat(100_000) }), 422),
        (json!({ "definition": "&a [*a, *a]" }), 422),
        (json!({ "definition": "x".repeat(2 << 20) }), 422),
        (json!({ "definition": "x", "priority": 101 }), 422),
        (json!({ "definition": "x", "priority": 256 }), 400),
        (json!({ "file": "x" }), 400),
        (json!({ "definition": "x", "owner": "root" }), 400),
    ] {
        let answer = bed.post("/api/v1/jobs", &form.to_string());
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    assert_eq!(bed.post("/api/v1/jobs", &"x".repeat(5 << 20)).status, 413);
    assert!(bed.seen.lock().unwrap().submitted.is_empty());
}

#[test]
fn a_job_names_no_file_of_this_host() {
    let outside = crate::io::test_folder::TestFolder::new();
    let shared = crate::io::test_folder::TestFolder::new();
    let links = crate::io::test_folder::TestFolder::new();
    for folder in [&outside, &shared] {
        fs::write(folder.path().join("image"), "an image").unwrap();
        fs::write(folder.path().join("smoke.yaml"), DEFINITION).unwrap();
        let git = |words: &[&str]| {
            let mut git = std::process::Command::new("git");
            let git =
                git.current_dir(folder.path()).args(["-c", "user.name=a", "-c", "user.email=a@b"]);
            git.args(words).output().unwrap();
        };
        [&["init", "-q"][..], &["add", "."], &["commit", "-qm", "x"]].into_iter().for_each(git);
    }
    symlink(outside.path().join("image"), links.path().join("link")).unwrap();
    let bed = Bed::with(|options| {
        options.job_folders = vec![shared.path().to_owned(), links.path().to_owned()]
    });
    let path = |folder: &crate::io::test_folder::TestFolder| folder.path().display().to_string();
    let (out, inside) = (path(&outside), path(&shared));
    let up = "../".repeat(20);
    let up = up.trim_end_matches('/');
    let image = |path: &str| format!("name: x\ndeploy: {{rootfs: \"{path}\"}}\n{TESTS}");
    let kernel = |path: &str| format!("name: x\ndeploy: {{kernel: \"{path}\"}}\n{TESTS}");
    let test = |form: &str| format!("name: x\ntests: [{{name: a, definition: {form}}}]\n");
    let inline = |url: &str| {
        test(&format!(
            "{{inline: {{metadata: {{format: Lava-Test Test Definition 1.0, name: a}}, \
             install: {{git-repos: [{{url: \"{url}\", destination: d}}]}}, run: {{steps: [x]}}}}}}"
        ))
    };
    for (definition, is_accepted) in [
        (image("https://example.org/rootfs.ext4"), true),
        (image(&format!("{inside}/image")), true),
        (kernel(&format!("{inside}/image")), true),
        (image(&format!("{}/link", path(&links))), false),
        (
            image(&format!("{inside}/../{}/image", outside.path().file_name().unwrap().display())),
            false,
        ),
        (image(&format!("{out}/image")), false),
        (image(&out), false),
        (image(&format!("{up}{out}/image")), false),
        (image("/etc/passwd"), false),
        (image("file:///etc/passwd"), false),
        (kernel(&format!("{out}/image")), false),
        (kernel("/dev/zero"), false),
        (test(&format!("\"{inside}/smoke.yaml\"")), true),
        (test(&format!("\"{out}/smoke.yaml\"")), false),
        (test("/etc/passwd"), false),
        (test(&format!("{{directory: \"{inside}\", path: smoke.yaml}}")), true),
        (test(&format!("{{directory: \"{out}\", path: smoke.yaml}}")), false),
        (test(&format!("{{directory: \"{up}{out}\", path: smoke.yaml}}")), false),
        (test(&format!("{{git: \"{inside}\", path: smoke.yaml}}")), true),
        (test(&format!("{{git: \"{out}\", path: smoke.yaml}}")), false),
        (test(&format!("{{git: \"file://{out}\", path: smoke.yaml}}")), false),
        (test(&format!("{{git: \"localhost:{out}\", path: smoke.yaml}}")), false),
        (inline(&out), false),
        (inline(&inside), true),
    ] {
        let answer = submit(&bed, &definition, json!({}));
        assert_eq!(
            answer.status,
            if is_accepted { 201 } else { 422 },
            "{definition}: {}",
            answer.text()
        );
        assert!(!answer.text().contains("root:"), "{}", answer.text());
    }
}

#[test]
fn names_of_files_stay_in_the_jobs_folder() {
    let bed = Bed::new();
    let sha256 = upload(&bed, b"x");
    let definition = format!("name: x\n{TESTS}");
    for (files, is_accepted) in [
        (json!({ "a": sha256, "b/c": sha256 }), true),
        (json!({ "../a": sha256 }), false),
        (json!({ "/etc/cron.d/a": sha256 }), false),
        (json!({ "a/../../b": sha256 }), false),
        (json!({ "": sha256 }), false),
        (json!({ "a\u{0}b": sha256 }), false),
        (json!({ "a": sha256, "a/b": sha256 }), false),
        (json!({ "a": digest(b"never sent") }), false),
        (json!({ "a": "../../../etc/passwd" }), false),
        (
            (0..1001)
                .map(|n| (n.to_string(), json!(sha256)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            false,
        ),
    ] {
        let answer = submit(&bed, &definition, files.clone());
        let expected = if is_accepted { 201 } else { 422 };
        assert_eq!(answer.status, expected, "{files:.100}: {}", answer.text());
    }
    assert!(!bed.path("store/jobs/a").exists() && !bed.path("store/jobs/incoming/a").exists());
}

#[test]
fn files_are_there_whole_or_not_at_all() {
    let bed = Bed::new();
    let sha256 = digest(b"content");
    let path = format!("/api/v1/files/{sha256}");
    let head = || {
        bed.ask(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
            .status
    };
    assert_eq!(head(), 404);
    let wrong = bed.put(&path, b"other content");
    assert_eq!(wrong.status, 422);
    assert!(wrong.error().contains(&digest(b"other content")), "{}", wrong.error());
    // Cut off: the length says that there is more.
    let cut =
        format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\ncontent");
    let mut stream = bed.connect();
    std::io::Write::write_all(&mut stream, cut.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    Answer::read(&mut stream);
    assert_eq!(head(), 404);
    let left = || fs::read_dir(bed.path("store/files")).unwrap().count();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while left() > 0 && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(left(), 0, "nothing is left of what did not come whole");
    assert_eq!(bed.put(&path, b"content").status, 201);
    assert_eq!(
        (head(), fs::read(bed.path("store/files").join(&sha256)).unwrap()),
        (200, b"content".to_vec())
    );
    assert_eq!(bed.put(&path, b"content").status, 200);
    let chunked = format!(
        "PUT /api/v1/files/{} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
         Connection: close\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        digest(b"abcde")
    );
    assert_eq!(bed.ask(chunked).status, 201);
    for bad in ["x", "..%2f..%2ftokens.json", &sha256.to_uppercase(), &"0".repeat(63)] {
        assert_eq!(bed.put(&format!("/api/v1/files/{bad}"), b"content").status, 400, "{bad}");
    }
}

#[test]
fn a_disk_that_is_full_and_files_that_are_too_large() {
    let full = Bed::with(|options| options.limits.free_of = |_| Ok(1 << 30));
    let put = |bed: &Bed, bytes: &[u8]| bed.put(&format!("/api/v1/files/{}", digest(bytes)), bytes);
    let answer = put(&full, b"content");
    assert_eq!((answer.status, answer.error().contains("disk is full")), (507, true));
    let broken =
        Bed::with(|options| options.limits.free_of = |_| Err(std::io::Error::other("broken")));
    assert_eq!(put(&broken, b"content").status, 500);
    let small = Bed::with(|options| {
        options.limits.file_bytes = 10;
        options.limits.files_bytes = 15;
    });
    assert_eq!(put(&small, b"more than ten bytes").status, 413);
    let chunked = format!(
        "PUT /api/v1/files/{} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
         14\r\n01234567890123456789\r\n0\r\n\r\n",
        digest(b"01234567890123456789")
    );
    assert_eq!(small.ask(chunked).status, 413);
    assert_eq!(put(&small, b"0123456789").status, 201);
    // Who used a file just now keeps it; one that nobody used for long makes room.
    assert_eq!(put(&small, b"abcdefghij").status, 507);
    let old = small.path("store/files").join(digest(b"0123456789"));
    let old = fs::File::options().write(true).open(old).unwrap();
    old.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(7200)).unwrap();
    assert_eq!(put(&small, b"abcdefghij").status, 201);
    assert_eq!(fs::read_dir(small.path("store/files")).unwrap().count(), 1);
}

#[test]
fn a_job_is_held_against_the_fence_again_when_it_is_begun() {
    let folder = crate::io::test_folder::TestFolder::new();
    let place = |name: &str| folder.path().join(name);
    fs::create_dir(place("job")).unwrap();
    fs::write(place("outside.yaml"), DEFINITION).unwrap();
    fs::write(place("job/inside.yaml"), DEFINITION).unwrap();
    let load = |path: &str| {
        let job = format!("name: x\ntests: [{{definition: {path}}}]\n");
        fs::write(place("job/job.yaml"), job).unwrap();
        Job::load_within(&place("job/job.yaml"), &Fence::new(&place("job"), &[]))
    };
    assert_eq!(load("inside.yaml").unwrap().tests[0].name, "smoke");
    assert!(
        load("../outside.yaml").unwrap_err().message.contains("no file that came with the job")
    );
}
