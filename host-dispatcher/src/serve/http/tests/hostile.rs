//! Clients that nobody wants.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::testbed::{Answer, Bed, connect};

fn is_alive(bed: &Bed) -> Duration {
    let began = Instant::now();
    assert_eq!(bed.get("/api/v1/lab").status, 200);
    began.elapsed()
}

/// Reads until the other end closes; how long that took.
fn closed(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    began.elapsed()
}

#[test]
fn what_is_no_http_gets_no_answer_that_matters() {
    let bed = Bed::new();
    let mut random = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 56) as u8
    })
    .take(100_000)
    .collect();
    let many = (0..1000).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let cases: Vec<Vec<u8>> = vec![
        noise,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA\x00: b\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n".to_vec(),
        b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
        b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n".to_vec(),
        b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n".to_vec(),
        format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(200_000)).into_bytes(),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "y".repeat(200_000)).into_bytes(),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n").into_bytes(),
        b"GET http://evil.example.org/ HTTP/1.1\r\nHost: evil.example.org\r\n\r\n".to_vec(),
        b"CONNECT evil.example.org:80 HTTP/1.1\r\nHost: evil.example.org\r\n\r\n".to_vec(),
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(),
        b"DELETE /api/v1/lab HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(),
        b"\r\n".repeat(1000),
    ];
    for case in cases {
        let mut stream = bed.connect();
        let _ = stream.write_all(&case);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let answer = Answer::read(&mut stream);
        let shown = String::from_utf8_lossy(&case[..case.len().min(60)]).into_owned();
        assert!(answer.status == 0 || answer.status >= 400, "{shown}: {}", answer.status);
    }
    is_alive(&bed);
}

#[test]
fn two_requests_in_one_are_not_taken_for_one() {
    let bed = Bed::new();
    // Length and chunks at once is how a request is smuggled past a proxy.
    let request = "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /api/v1/lab HTTP/1.1\r\n\
        Host: localhost\r\nConnection: close\r\n\r\n";
    let mut stream = bed.connect();
    stream.write_all(request.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    // Chunks win, as the standard says, and both are answered in turn; or the first is refused.
    assert!(text.starts_with("HTTP/1.1 200") || text.starts_with("HTTP/1.1 400"), "{text}");
    is_alive(&bed);
}

#[test]
fn thousands_that_only_connect_keep_nobody_out() {
    let bed = Bed::with(|options| options.limits.connections = 64);
    let idle: Vec<TcpStream> = (0..2000).map(|_| bed.connect()).collect();
    let mut half: Vec<TcpStream> = (0..200).map(|_| bed.connect()).collect();
    for stream in &mut half {
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost:");
    }
    let took = is_alive(&bed);
    assert!(took < Duration::from_secs(5), "{took:?}");
    let metrics = bed.get("/metrics").text();
    let open = metrics.lines().find_map(|line| line.strip_prefix("pumice_http_connections "));
    let open: u32 = open.unwrap().parse().unwrap();
    assert!(open <= 64, "{open}");
    drop((idle, half));
}

#[test]
fn who_is_busy_stays_when_others_come() {
    let bed = Bed::with(|options| options.limits.connections = 4);
    let mut watching: Vec<TcpStream> = (0..3).map(|_| bed.connect()).collect();
    for stream in &mut watching {
        stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut head = [0; 100];
        stream.read_exact(&mut head).unwrap();
    }
    for _ in 0..20 {
        is_alive(&bed);
    }
    for stream in &mut watching {
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        assert!(
            read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
            "still open"
        );
    }
}

#[test]
fn slow_clients_are_let_go() {
    let bed = Bed::with(|options| {
        options.limits.head = Duration::from_millis(500);
        options.limits.stall = Duration::from_millis(500);
    });
    let bound = Duration::from_secs(5);
    // Nothing at all; a head byte by byte; an answer, and then nothing; a body that does not come.
    assert!(closed(&mut bed.connect()) < bound);
    let mut drip = bed.connect();
    let began = Instant::now();
    for byte in b"GET /api/v1/lab HTTP/1.1\r\nHost: localhost\r\nX-Long: ".iter().cycle() {
        if drip.write_all(&[*byte]).is_err() || began.elapsed() > bound {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(began.elapsed() < bound, "a head that takes for ever");
    let mut kept = bed.connect();
    kept.write_all(b"GET /api/v1/lab HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(closed(&mut kept) < bound);
    // A file byte by byte: each comes in time, and all of them never.
    let mut drip = bed.connect();
    let head = format!(
        "PUT /api/v1/files/{} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n",
        "0".repeat(64)
    );
    drip.write_all(head.as_bytes()).unwrap();
    let began = Instant::now();
    while began.elapsed() < bound && drip.write_all(b"x").is_ok() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(began.elapsed() < bound, "a file that takes for ever");
    for head in [
        "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{",
        &format!(
            "PUT /api/v1/files/{} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx",
            "0".repeat(64)
        ),
    ] {
        let mut stream = bed.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let answer = Answer::read(&mut stream);
        assert_eq!(answer.status, 408, "{head}");
    }
    is_alive(&bed);
}

#[test]
fn who_takes_nothing_does_not_hold_a_file_for_ever() {
    let bed = Bed::with(|options| options.limits.stall = Duration::from_millis(500));
    let run = bed.run(1);
    let file = std::fs::File::create(bed.path("runs").join(&run).join("big.bin")).unwrap();
    file.set_len(256 << 20).unwrap();
    let mut stream = connect(bed.server.address());
    let request =
        format!("GET /api/v1/runs/{run}/files/big.bin HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let metrics = bed.get("/metrics").text();
        // This question's own is one.
        if metrics.contains("pumice_http_connections 1\n") {
            break;
        }
        assert!(Instant::now() < end, "{metrics}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(is_alive(&bed) < Duration::from_secs(1));
}

#[test]
fn a_body_that_is_far_too_large_is_not_read() {
    let bed = Bed::new();
    let mut stream = bed.connect();
    let head = "POST /api/v1/boards/bbb-01/acquire HTTP/1.1\r\nHost: localhost\r\n\
        Content-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let piece = vec![b' '; 1 << 16];
    let mut written = 0;
    while written < 100 << 20 && stream.write_all(&piece).is_ok() {
        written += piece.len();
    }
    assert!(written < 100 << 20, "{written} bytes were taken");
    is_alive(&bed);
}
