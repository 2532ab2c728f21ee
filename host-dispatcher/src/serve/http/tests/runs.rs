//! Runs, their logs, files and results; jobs and boards.

use std::os::unix::fs::symlink;

use serde_json::json;

use super::testbed::{Bed, record};

#[test]
fn a_run_and_its_log() {
    let bed = Bed::new();
    let (first, second) = (bed.run(1), bed.run(2));
    let run = bed.json(&format!("/api/v1/runs/{second}"));
    assert_eq!((&run["state"], &run["previous"]), (&json!("ended"), &json!(first)));
    assert_eq!(
        (&run["summary"]["verdict"], &run["summary"]["job"]),
        (&json!("TestError"), &json!("smoke"))
    );
    assert!(run["spans"].as_array().is_some_and(|spans| !spans.is_empty()));
    let log = |query: &str| bed.json(&format!("/api/v1/runs/{second}/log?{query}"));
    let all = log("count=3");
    assert_eq!(
        (&all["lines"], &all["matched"], &all["is_growing"]),
        (&json!(100), &json!(100), &json!(false))
    );
    assert_eq!(
        (&all["records"][1]["n"], &all["records"][1]["text"]),
        (&json!(1), &json!("line 1"))
    );
    let kernel = log("source=kernel,agent&level=warning&from=-1");
    assert_eq!(
        (&kernel["matched"], &kernel["records"][0]["text"]),
        (&json!(13), &json!("line 96"))
    );
    let around = log("around=2012-03-01T00:00:50Z&count=5&grep=line%20[0-9]%2B");
    assert_eq!((&around["from"], &around["records"][2]["text"]), (&json!(48), &json!("line 50")));
    for (bad, word) in [
        ("source=radio", "kernel, stdout"),
        ("level=9", "level: 0 to 7"),
        ("grep=(", "grep: "),
        ("since=noon", "since: a time like"),
        ("around=1&from=1", "one of them"),
        ("sources=kernel", "unknown field"),
        ("from=x", "invalid digit"),
        ("count=-1", "invalid digit"),
    ] {
        let answer = bed.get(&format!("/api/v1/runs/{second}/log?{bad}"));
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.error().contains(word), "{bad}: {}", answer.error());
    }
}

#[test]
fn a_run_that_goes_on_and_one_that_never_will() {
    let bed = Bed::new();
    let mut run = bed.open_run(3);
    run.log(&record(1)).unwrap();
    let name = run.name().to_owned();
    let state = || bed.json(&format!("/api/v1/runs/{name}"))["state"].clone();
    assert_eq!(state(), "running");
    assert_eq!(bed.json(&format!("/api/v1/runs/{name}/log"))["is_growing"], true);
    run.log(&record(2)).unwrap();
    assert_eq!(bed.json(&format!("/api/v1/runs/{name}/log"))["lines"], 2);
    drop(run);
    assert_eq!(state(), "abandoned");
}

#[test]
fn results_in_every_form() {
    let bed = Bed::new();
    let run = bed.run(1);
    for (format, media_type, word) in [
        ("text", "text/plain; charset=utf-8", "uname"),
        ("json", "application/json", "\"suites\""),
        ("junit", "application/xml", "<testsuites"),
        ("tap", "text/plain; charset=utf-8", "TAP version 13"),
        ("csv", "text/csv; charset=utf-8", "\"job\""),
        ("lava", "text/yaml; charset=utf-8", "\"suite\": \"lava\""),
    ] {
        let answer = bed.get(&format!("/api/v1/runs/{run}/results?format={format}"));
        assert_eq!((answer.status, answer.header("content-type")), (200, media_type), "{format}");
        assert!(answer.text().contains(word), "{}", answer.text());
        assert!(!answer.text().contains(&*bed.folder.path().to_string_lossy()), "{format}");
    }
    assert_eq!(bed.get(&format!("/api/v1/runs/{run}/results?format=pdf")).status, 400);
}

#[test]
fn files_whole_and_in_ranges() {
    let bed = Bed::new();
    let run = bed.run(1);
    let big: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(bed.path("runs").join(&run).join("board.bin"), &big).unwrap();
    std::fs::write(bed.path("secret"), "secret").unwrap();
    symlink(bed.path("secret"), bed.path("runs").join(&run).join("link")).unwrap();
    let files = bed.json(&format!("/api/v1/runs/{run}/files"));
    let names: Vec<&str> = files["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"timeline.ndjson") && names.contains(&"tests/uname/results.json"));
    assert!(!names.contains(&"link"));
    let path = format!("/api/v1/runs/{run}/files/board.bin");
    let whole = bed.get(&path);
    assert_eq!((whole.status, whole.body == big), (200, true));
    assert_eq!(whole.header("content-disposition"), "attachment; filename=\"board.bin\"");
    assert_eq!(whole.header("content-type"), "application/octet-stream");
    assert!(whole.header("content-security-policy").contains("sandbox"));
    let ranged = |range: &str| {
        bed.ask(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nRange: {range}\r\nConnection: close\r\n\r\n"
        ))
    };
    let part = ranged("bytes=300000-699999");
    assert_eq!((part.status, part.body == big[300_000..700_000]), (206, true));
    assert_eq!(part.header("content-range"), "bytes 300000-699999/1000000");
    let outside = ranged("bytes=1000000-");
    assert_eq!((outside.status, outside.header("content-range")), (416, "bytes */1000000"));
    let events = bed.get(&format!("/api/v1/runs/{run}/events"));
    assert!(
        events.text().starts_with("{\"time\":")
            && events.header("content-type") == "application/x-ndjson"
    );
    for bad in [
        "link",
        "../../secret",
        "..%2f..%2fsecret",
        "%2e%2e/%2e%2e/secret",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "tests",
        "tests/%00",
        "board.bin%00.txt",
        "%ff",
        ".",
        "none",
    ] {
        let answer = bed.get(&format!("/api/v1/runs/{run}/files/{bad}"));
        assert_eq!(answer.status, 404, "{bad}: {}", answer.text());
    }
    for bad in ["..", "%2e%2e", "..%2f..", "%2e%2e%2fruns%2f", "none", "%00", &"x".repeat(3000)] {
        for path in ["", "/log", "/files", "/results", "/events"] {
            let status = bed.get(&format!("/api/v1/runs/{bad}{path}")).status;
            assert_eq!(status, 404, "{bad}{path}");
        }
    }
}

#[test]
fn lists() {
    let bed = Bed::new();
    let runs: Vec<String> = (1..=3).map(|n| bed.run(n)).collect();
    let list = bed.json("/api/v1/runs?limit=2&job=smoke");
    assert_eq!((&list["runs"][0]["run"], &list["more"]), (&json!(runs[2]), &json!(true)));
    let rest = bed.json(&format!("/api/v1/runs?before={}", runs[1]));
    assert_eq!((rest["runs"].as_array().unwrap().len(), &rest["more"]), (1, &json!(false)));
    assert_eq!(bed.json("/api/v1/runs?board=other")["runs"], json!([]));
    let jobs = bed.json("/api/v1/jobs?state=queued&limit=2");
    assert_eq!((&jobs["jobs"][0]["id"], &jobs["more"]), (&json!(3), &json!(true)));
    assert_eq!(bed.json("/api/v1/jobs?before=2")["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(bed.get("/api/v1/jobs?state=lost").status, 400);
    assert_eq!(bed.json("/api/v1/jobs/2")["name"], "job 2");
    assert_eq!(bed.get("/api/v1/jobs/2/definition").text(), "name: 2\n");
    for none in
        ["/api/v1/jobs/99", "/api/v1/jobs/x", "/api/v1/jobs/99/definition", "/api/v1/boards/none"]
    {
        assert_eq!(bed.get(none).status, 404, "{none}");
    }
    assert_eq!(bed.json("/api/v1/boards")["boards"][0]["name"], "bbb-01");
    assert_eq!(bed.json("/api/v1/lab")["boards"], 1);
    let metrics = bed.get("/metrics").text();
    for line in [
        "pumice_boards{state=\"idle\",health=\"good\"} 1",
        "pumice_board_received_bytes_total{board=\"bbb-01\",type=\"generic\"} 12",
        "pumice_jobs{state=\"queued\"} 0",
        "pumice_http_connections 1",
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line} in {metrics}");
    }
}

#[test]
fn hands_on_boards() {
    let bed = Bed::new();
    let acquired = bed.post_with(
        "/api/v1/boards/bbb-01/acquire",
        "X-Pumice-User: anna\r\n",
        r#"{"minutes": 30, "reason": "a look"}"#,
    );
    assert_eq!((acquired.status, &acquired.json()["lease"]["holder"]), (200, &json!("anna")));
    let post = |path: &str, body: &str| bed.post(&format!("/api/v1/boards/{path}"), body);
    assert_eq!(post("none/acquire", "{}").status, 404);
    for bad in [r#"{"minutes": 0}"#, r#"{"minutes": 100000}"#, r#"{"reason": "a\nb"}"#] {
        assert_eq!(post("bbb-01/acquire", bad).status, 422, "{bad}");
    }
    for bad in [r#"{"minute": 1}"#, "{", "[]", "{\"minutes\": -1}"] {
        assert_eq!(post("bbb-01/acquire", bad).status, 400, "{bad}");
    }
    assert_eq!(post("bbb-01/health", r#"{"health": "bad"}"#).status, 422);
    let power = post("bbb-01/power", r#"{"operation": "cycle"}"#);
    assert_eq!((power.status, power.error().as_str()), (403, "it is anna's "));
    assert_eq!(post("bbb-01/release", "").status, 200, "an empty body is {{}}");
    let words = bed.seen.lock().unwrap().words.join("\n");
    assert!(words.contains("holder: \"anna\", reason: \"a look\", minutes: 30"), "{words}");
    // Anna has it: an admin too must say that he means it.
    assert!(words.contains("Power { board: \"bbb-01\", holder: Some(\"local\")"), "{words}");
    assert!(words.contains("Release { board: \"bbb-01\", holder: Some(\"local\")"), "{words}");
}
