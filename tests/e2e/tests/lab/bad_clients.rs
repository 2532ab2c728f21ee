//! Clients of a lab's interface that do what clients should not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// They come again and again, until their end.
pub(crate) struct BadClients {
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl BadClients {
    /// Idle ones, slow ones, and some who send what is no request.
    pub(crate) fn start(address: &str) -> Self {
        let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let works: [fn(&str, &AtomicBool, &AtomicUsize); 3] = [idle, slow, malformed];
        let threads = works
            .into_iter()
            .map(|work| {
                let (address, stop, requests) =
                    (address.to_owned(), stop.clone(), requests.clone());
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        work(&address, &stop, &requests);
                    }
                })
            })
            .collect();
        Self { stop, requests, threads }
    }

    /// Ends them; how many requests they made.
    pub(crate) fn end(&mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for BadClients {
    fn drop(&mut self) {
        self.end();
    }
}

/// Five hundred connections that say nothing for some seconds.
fn idle(address: &str, stop: &AtomicBool, requests: &AtomicUsize) {
    let held: Vec<TcpStream> = (0..500).filter_map(|_| TcpStream::connect(address).ok()).collect();
    requests.fetch_add(held.len(), Ordering::Relaxed);
    for _ in 0..50 {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        thread::park_timeout(Duration::from_millis(100));
    }
}

/// A request a byte at a time, and an answer that is taken a byte at a time.
fn slow(address: &str, stop: &AtomicBool, requests: &AtomicUsize) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    requests.fetch_add(1, Ordering::Relaxed);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
    for byte in format!("GET /api/v1/boards HTTP/1.1\r\nHost: {address}\r\n\r\n").bytes() {
        if stop.load(Ordering::Relaxed) || stream.write_all(&[byte]).is_err() {
            return;
        }
        thread::park_timeout(Duration::from_millis(20));
    }
    for _ in 0..100 {
        let _ = stream.read(&mut [0]);
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// What is no request, and what asks for what must not be had.
fn malformed(address: &str, _: &AtomicBool, requests: &AtomicUsize) {
    let long = "x".repeat(200_000);
    let host = format!("HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    let json = "Content-Type: application/json\r\n";
    let texts = [
        "\0\u{1}\u{2}garbage\r\n\r\n".to_owned(),
        "GET".to_owned(),
        format!("GET /{long} {host}\r\n"),
        format!("GET / {host}X: {long}\r\n\r\n"),
        format!("GET /api/v1/runs/../../../etc/passwd/log {host}\r\n"),
        format!("GET /api/v1/runs/%2e%2e%2f%2e%2e%2fetc/files/passwd {host}\r\n"),
        format!("GET /api/v1/jobs?limit=99999999999999999999&before=-1 {host}\r\n"),
        format!("POST /api/v1/jobs {host}{json}Content-Length: 99999999999999\r\n\r\n{{"),
        format!("POST /api/v1/jobs {host}{json}Content-Length: 4\r\n\r\n[[[["),
        format!("POST /api/v1/jobs {host}{json}Transfer-Encoding: chunked\r\n\r\nZZ\r\n"),
        "GET / HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n".to_owned(),
        format!("PUT /api/v1/files/{} {host}Content-Length: 10\r\n\r\n123", "0".repeat(64)),
    ];
    for text in texts {
        let Ok(mut stream) = TcpStream::connect(address) else { return };
        let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
        let _ = stream.write_all(text.as_bytes());
        let _ = stream.read(&mut [0; 1024]);
        requests.fetch_add(1, Ordering::Relaxed);
    }
}
