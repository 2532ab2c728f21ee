//! `pumice lava-worker`, the built program, with a LAVA server and a lab that answer as the real ones did.
//!
//! `lava_worker/exchange.ndjson.gz` is what a worker asked of Debian's lava-server 2023.01 and of a lab with an emulated board,
//! and what it was answered: one job from order to end. `tests/lava/run --record FILE` makes it anew. The worker must ask the
//! same again, in the same order: then what the real server made of it stands for this program too.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Debug, Deserialize)]
struct Exchange {
    to: String,
    method: String,
    path: String,
    token: Option<String>,
    range: Option<String>,
    body: String,
    status: u16,
    answer: String,
}

#[test]
fn asks_a_real_server_and_a_real_lab_the_same_again() {
    let (pings, job): (Vec<_>, Vec<_>) = recorded().into_iter().partition(is_ping);
    assert!(job.len() > 10 && job.iter().any(|exchange| exchange.path.ends_with("/logs/")));
    let order = pings.iter().find(|ping| ping.answer.contains("\"start\": [{")).expect("an order");
    let replay = Replay {
        version: pings
            .iter()
            .find(|ping| ping.path.starts_with("/api/"))
            .cloned()
            .expect("a version"),
        order: order.clone(),
        job,
    };
    let replay = Arc::new(replay);
    let (sender, told) = channel();
    let next = Arc::new(Mutex::new(0));
    let server = serve("lava", &replay, &next, &sender);
    let lab = serve("lab", &replay, &next, &sender);
    let worker = Worker::start(&server, &lab, order);
    for number in 1..=replay.job.len() {
        match told.recv_timeout(PATIENCE) {
            Ok(Ok(())) => {}
            Ok(Err(difference)) => panic!("request {number}: {difference}\n{}", worker.log()),
            Err(_) => panic!("request {number} does not come:\n{}", worker.log()),
        }
    }
    // What is over is forgotten.
    let record = worker.folder.join(format!("{}.json", job_of(order)));
    let mut left = 100;
    while record.exists() {
        left -= 1;
        assert!(left > 0, "{} is still there:\n{}", record.display(), worker.log());
        let _ = told.recv_timeout(Duration::from_millis(100));
    }
}

/// Pings have a thread of their own; everything else has one order.
fn is_ping(exchange: &Exchange) -> bool {
    exchange.path.contains("/workers/") || exchange.path.ends_with("/system/version/")
}

fn recorded() -> Vec<Exchange> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lava_worker/exchange.ndjson.gz");
    let mut text = String::new();
    GzDecoder::new(fs::File::open(file).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn job_of(order: &Exchange) -> u64 {
    let orders: Value = serde_json::from_str(&order.answer).unwrap();
    orders["start"][0]["id"].as_u64().unwrap()
}

struct Replay {
    version: Exchange,
    order: Exchange,
    job: Vec<Exchange>,
}

/// Answers as one of the two did; the address.
fn serve(
    name: &'static str,
    replay: &Arc<Replay>,
    next: &Arc<Mutex<usize>>,
    told: &Sender<Result<(), String>>,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (replay, next, told) = (Arc::clone(replay), Arc::clone(next), told.clone());
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (status, answer) = match request(&stream) {
                Some(request) => answer(name, &request, &replay, &next, &told),
                None => continue,
            };
            let head = format!(
                "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n",
                answer.len()
            );
            let _ = (&stream).write_all((head + &answer).as_bytes());
        }
    });
    address
}

fn answer(
    name: &str,
    request: &Exchange,
    replay: &Replay,
    next: &Mutex<usize>,
    told: &Sender<Result<(), String>>,
) -> (u16, String) {
    let mut next = next.lock().unwrap();
    if is_ping(request) {
        let order = if *next == 0 { replay.order.answer.clone() } else { "{}".to_owned() };
        let is_known = request.path == replay.order.path && request.token == replay.order.token;
        return match (request.path == replay.version.path, is_known) {
            (true, _) => (200, replay.version.answer.clone()),
            (false, true) => (200, order),
            _ => (404, "{\"error\": \"Unknown worker\"}".to_owned()),
        };
    }
    let Some(expected) = replay.job.get(*next) else {
        let _ = told.send(Err(format!("{} {} is one too many", request.method, request.path)));
        return (500, String::new());
    };
    *next += 1;
    let shown = |exchange: &Exchange, to: &str| {
        let Exchange { method, path, token, range, body, .. } = exchange;
        format!("{to} {method} {path} {token:?} {range:?}\n{}", comparable(body))
    };
    let (asked, wanted) = (shown(request, name), shown(expected, &expected.to));
    let _ = told.send(if asked == wanted {
        Ok(())
    } else {
        let line = asked.lines().zip(wanted.lines()).find(|(asked, wanted)| asked != wanted);
        Err(format!("it differs: {line:?}; {} and {} bytes", asked.len(), wanted.len()))
    });
    (expected.status, expected.answer.clone())
}

/// A body without the times of the day at which the worker itself spoke; a form in lines.
fn comparable(body: &str) -> String {
    if body.starts_with('{') {
        return serde_json::from_str::<Value>(body).unwrap().to_string();
    }
    let form: HashMap<String, String> = body
        .split('&')
        .filter_map(|field| field.split_once('='))
        .map(|(name, value)| (unquoted(name), unquoted(value)))
        .collect();
    let mut fields: Vec<String> =
        form.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
    fields.sort();
    let is_own = |line: &&str| !line.contains("\"ns\": ");
    let lines = fields.iter().flat_map(|field| field.lines());
    let lines = lines.map(|line| match line.split_once("\", \"lvl\"") {
        Some((_, rest)) if is_own(&line) => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn unquoted(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}

fn request(stream: &TcpStream) -> Option<Exchange> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Exchange {
        to: String::new(),
        method,
        path,
        token: headers.remove("lava-token"),
        range: headers.remove("range"),
        body: String::from_utf8(body).unwrap(),
        status: 0,
        answer: String::new(),
    })
}

/// The program, and its folder; both end with this.
struct Worker {
    program: Child,
    folder: PathBuf,
}

impl Worker {
    fn start(server: &str, lab: &str, order: &Exchange) -> Self {
        let folder =
            std::env::temp_dir().join(format!("pumice-lava-worker-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("given"), order.token.as_deref().unwrap()).unwrap();
        let name = order.path.split("/workers/").nth(1).unwrap().split('/').next().unwrap();
        let program = Command::new(env!("CARGO_BIN_EXE_pumice"))
            .args(["lava-worker", "--server", server, "--lab-server", lab, "--name", name])
            .args(["--ping-interval", "200ms", "--job-log-interval", "10ms"])
            .arg("--token-file")
            .arg(folder.join("given"))
            .arg("--worker-dir")
            .arg(&folder)
            .env_remove("PUMICE_TOKEN")
            .stderr(Stdio::from(fs::File::create(folder.join("log")).unwrap()))
            .spawn()
            .unwrap();
        Self { program, folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);
