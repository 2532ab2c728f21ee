//! Who is told of a job's end, and that nobody is told its secrets: the built programs, with the real agent on boards
//! whose boot loader and kernel are pretended (`pty-board`), and a receiver that a thread pretends.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use e2e::{LabServer, until};
use nix::sys::signal::Signal;
use serde_json::Value;

const TOKEN: &str = "tok-of-the-receiver";
const SECRET: &str = "it is a \"secret\" of mine";

/// A receiver that answers so often, with these statuses, and returns the requests.
fn receiver(statuses: &'static [u16]) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?job={{ID}}", listener.local_addr().unwrap());
    let answer = move |status: &u16| {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut heard, mut piece) = (String::new(), [0; 65536]);
        loop {
            let length = stream.read(&mut piece).unwrap();
            heard.push_str(&String::from_utf8_lossy(&piece[..length]));
            let wanted = |head: &str| {
                head.to_ascii_lowercase()
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())
            };
            let whole = heard.split_once("\r\n\r\n");
            if length == 0
                || whole.is_some_and(|(head, body)| body.len() >= wanted(head).unwrap_or(0))
            {
                break;
            }
        }
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        heard
    };
    (url, thread::spawn(move || statuses.iter().map(answer).collect()))
}

/// The test reads the file where it lies below the pretended board's root.
fn job(url: &str) -> String {
    format!(
        "name: told\nboard: {{type: pty-board}}\nmetadata: {{build: 7}}\nsecrets: {{S: {{file: secret}}}}\n\
         notify:\n  callbacks:\n    - {{url: '{url}', method: POST, dataset: all, content_type: json, token: {{file: token}}}}\n\
         tests:\n  - name: one\n    run: |\n      f=../../../../../lava-0/secrets\n      stat -c %a $f\n      . $f\n      echo \"$S\"\n      lava-test-case \"$S\" --result pass\n\
         timeout: 5m\n"
    )
}

/// What LAVA's receivers look at.
fn check(request: &str, id: &Value) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.to_ascii_lowercase().contains(&format!("authorization: {TOKEN}")), "{head}");
    let data: Value = serde_json::from_str(body).unwrap();
    let told = [&data["id"], &data["status_string"], &data["token"], &data["description"]];
    assert_eq!(told, [id, &"complete".into(), &TOKEN.into(), &"told".into()]);
    assert_eq!(data["metadata"], serde_json::json!([{"build": "7"}]));
    let results = data["results"]["0_one"].as_str().unwrap();
    assert!(results.contains("\"name\": \"(secret:S)"), "{results}");
    assert!(data["results"]["lava"].as_str().unwrap().contains("\"name\": \"login-action\""));
    assert!(data["log"].as_str().unwrap().contains("(secret:S)"));
    // As it is, and as it stands within the JSON of results and of this body.
    assert!(!body.contains("secret\\\" of mine") && !body.contains("of mine"), "{body}");
}

fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files_with(&path, text),
            false => {
                let bytes = fs::read(&path).unwrap_or_default();
                let has = bytes.windows(text.len()).any(|part| part == text.as_bytes());
                has.then_some(path).into_iter().collect()
            }
        })
        .collect()
}

#[test]
fn a_lab_tells_the_receiver_and_keeps_no_secret() {
    let (url, serving) = receiver(&[200]);
    let server = LabServer::with_pty_boards(&["pty-01"]);
    server.lab().write("secret", format!("{SECRET}\n"));
    server.lab().write("token", format!("{TOKEN}\n"));
    server.lab().write("job.yaml", job(&url));
    server.ask("ann", &["submit", "--watch", "job.yaml"]).exits_with(0);
    let requests = serving.join().unwrap();
    assert!(requests[0].starts_with("POST /hook?job=1 "), "{}", requests[0]);
    check(&requests[0], &1.into());
    let run = server.job(1)["run"].as_str().unwrap().to_owned();
    let record = server.runs().join(&run);
    until("the callback is on record", || {
        let events = fs::read_to_string(record.join("events.ndjson")).unwrap();
        events.contains("\"event\":\"callback\"").then_some(())
    });
    let store = server.runs().parent().unwrap().to_owned();
    until("the callback is no longer kept", || {
        (fs::read_dir(store.join("callbacks")).unwrap().count() == 0).then_some(())
    });
    for text in [SECRET, TOKEN, "of mine"] {
        assert_eq!(files_with(&store, text), [""; 0].map(PathBuf::from), "{text}");
        for path in ["/jobs/1", "/jobs/1/definition", "/boards/pty-01"] {
            let (_, bytes) = server.try_get(&format!("/api/v1{path}")).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(text), "{path}");
        }
    }
    let stdout = fs::read_to_string(record.join("tests/one/stdout.log")).unwrap();
    assert_eq!(stdout, format!("600\n(secret:S){}\n", "*".repeat(SECRET.len() - 10)));
}

#[test]
fn a_run_in_the_foreground_tells_it_too() {
    let (url, serving) = receiver(&[503, 200]);
    let mut server = LabServer::with_pty_boards(&["pty-01"]);
    // The board is free for a command then.
    server.end(Signal::SIGTERM);
    let lab = server.lab();
    lab.write("secret", SECRET);
    lab.write("token", TOKEN);
    let (output, record) = lab.run(&job(&url));
    let output = output.exits_with(0);
    let requests = serving.join().unwrap();
    check(&requests[1], &Value::Null);
    assert!(!output.err().contains("callback") && !output.err().contains("of mine"));
    let events = record.events("callback");
    assert_eq!((&events[0]["status"], &events[0]["tries"]), (&200.into(), &2.into()));
    assert_eq!(files_with(record.path(), "of mine"), [""; 0].map(PathBuf::from));
}
