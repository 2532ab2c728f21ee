//! What comes as it happens: events and consoles.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::testbed::{Bed, board, job, record};
use crate::lab::view::LabView;
use crate::serve::feed::Change;

struct Events(BufReader<TcpStream>);

#[derive(Debug, Default)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

impl Events {
    fn open(bed: &Bed, query: &str, headers: &str) -> Self {
        let mut stream = bed.connect();
        let request =
            format!("GET /api/v1/events{query} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut events = Self(BufReader::new(stream));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(events.0.read_line(&mut head).unwrap() > 0);
        }
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
        assert!(head.contains("x-accel-buffering: no"), "{head}");
        events
    }

    /// The next event; chunks' lengths are no lines of events.
    fn next(&mut self) -> Event {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
            let line = line.trim_end();
            match line.split_once(": ").or_else(|| line.split_once(':')) {
                Some(("event", name)) => event.name = name.into(),
                Some(("id", id)) => event.id = id.into(),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                _ if line.is_empty() && !event.name.is_empty() => return event,
                _ => {}
            }
        }
    }
}

fn lab(queued: u64) -> Change {
    Change::Lab(LabView { queued, ..LabView::default() })
}

#[test]
fn a_stream_goes_on_where_it_was() {
    let bed = Bed::new();
    let mut events = Events::open(&bed, "", "");
    let reset = events.next();
    assert_eq!(reset.name, "reset");
    bed.feed.tell(lab(1));
    let first = events.next();
    assert_eq!((first.name.as_str(), &first.data["queued"]), ("lab", &Value::from(1)));
    drop(events);
    bed.feed.tell(Change::Board(board("bbb-02")));
    bed.feed.tell(Change::Job(job(4, "anna")));
    bed.feed.tell(Change::BoardGone { name: "bbb-02".into() });
    for (query, header) in [
        (format!("?after={}", first.id), String::new()),
        (String::new(), format!("Last-Event-ID: {}\r\n", first.id)),
        // What the browser says of itself is newer.
        (format!("?after={}", reset.id), format!("Last-Event-ID: {}\r\n", first.id)),
    ] {
        let mut again = Events::open(&bed, &query, &header);
        let next = [again.next(), again.next(), again.next()];
        assert_eq!(
            next.each_ref().map(|event| event.name.as_str()),
            ["board", "job", "board_gone"]
        );
        assert_eq!(
            (&next[1].data["id"], &next[2].data["name"]),
            (&Value::from(4), &Value::from("bbb-02"))
        );
    }
    // Of the dispatcher before this one, or from too long ago.
    assert_eq!(Events::open(&bed, "", "Last-Event-ID: 0f0f0f0f-3\r\n").next().name, "reset");
    (0..5000).for_each(|queued| bed.feed.tell(lab(queued)));
    assert_eq!(Events::open(&bed, &format!("?after={}", first.id), "").next().name, "reset");
}

#[test]
fn a_run_that_is_watched_tells_that_it_grows() {
    let bed = Bed::new();
    let mut run = bed.open_run(1);
    run.log(&record(0)).unwrap();
    let mut events = Events::open(&bed, &format!("?run={}", run.name()), "");
    assert_eq!(events.next().name, "reset");
    let first = events.next();
    assert_eq!((first.name.as_str(), first.id.as_str()), ("run", ""));
    assert_eq!(
        (&first.data["lines"], &first.data["state"]),
        (&Value::from(1), &Value::from("running"))
    );
    for n in 1..=50 {
        run.log(&record(n)).unwrap();
    }
    let mut lines = 1;
    while lines < 51 {
        let event = events.next();
        assert_eq!(event.data["generation"], first.data["generation"]);
        lines = event.data["lines"].as_u64().unwrap();
    }
    run.finish(&Value::Null).unwrap();
    while events.next().data["state"] != "ended" {}
    let none = bed.get("/api/v1/events?run=none");
    assert_eq!(none.status, 404);
}

#[test]
fn streams_are_bounded_and_end_with_the_interface() {
    let bed = Bed::with(|options| options.limits.streams = 2);
    let mut held: Vec<Events> = (0..2).map(|_| Events::open(&bed, "", "")).collect();
    held.iter_mut().for_each(|events| assert_eq!(events.next().name, "reset"));
    let third = bed.get("/api/v1/events");
    assert_eq!((third.status, third.header("retry-after")), (503, "2"));
    let began = std::time::Instant::now();
    bed.server.stop();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let mut rest = String::new();
    let ended = std::io::Read::read_to_string(&mut held[0].0, &mut rest);
    assert!(ended.is_ok() && !rest.contains("event:"), "{rest}");
}

#[test]
fn a_console_carries_bytes_both_ways() {
    let bed = Bed::new();
    let stream = bed.connect();
    let url = "ws://localhost/api/v1/boards/bbb-01/console";
    let (mut socket, _) = tungstenite::client(url, stream).unwrap();
    let next = |socket: &mut tungstenite::WebSocket<TcpStream>| loop {
        if let tungstenite::Message::Binary(bytes) = socket.read().unwrap() {
            return bytes.to_vec();
        }
    };
    assert_eq!(next(&mut socket), b"\x00\xffboot>");
    socket.send(tungstenite::Message::Binary(b"ls\r".to_vec().into())).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while bed.seen.lock().unwrap().typed.is_empty() {
        assert!(std::time::Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
    let words = bed.seen.lock().unwrap().words.join("\n");
    assert!(words.contains("Console { board: \"bbb-01\", holder: Some(\"local\")"), "{words}");
    let output = bed.seen.lock().unwrap().consoles[0].clone();
    assert_eq!(bed.seen.lock().unwrap().typed, b"ls\r");
    output.blocking_send(b"bin etc".to_vec()).unwrap();
    assert_eq!(next(&mut socket), b"bin etc");
    // A viewer that is gone is noticed by the loop.
    drop(socket);
    while !output.is_closed() {
        assert!(std::time::Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(bed.get("/api/v1/boards/none/console").status, 404);
    let plain = bed.get("/api/v1/boards/bbb-01/console");
    assert_eq!((plain.status, plain.error().contains("WebSocket")), (400, true));
}

#[test]
fn a_line_says_why_it_ends() {
    let bed = Bed::new();
    let url = "ws://localhost/api/v1/boards/bbb-01/line";
    let (mut socket, _) = tungstenite::client(url, bed.connect()).unwrap();
    let first = socket.read().unwrap();
    assert_eq!(first, tungstenite::Message::Binary(b"local".to_vec().into()), "whose it is");
    let tungstenite::Message::Close(Some(frame)) = socket.read().unwrap() else {
        panic!("the end is expected");
    };
    assert_eq!(frame.reason, "the cable was pulled");
    drop(socket);
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while !bed.seen.lock().unwrap().words.iter().any(|word| word == "EndLine(6)") {
        assert!(std::time::Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(bed.get("/api/v1/boards/none/line").status, 404);
}
