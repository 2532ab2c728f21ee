//! Asks a pdudaemon to switch an outlet, and waits for its answer: to be called on a thread.
//!
//! Version 1.1.1 answers 200 when its driver has done its work, and 500 when that failed or the outlet is not known
//! (`listener.py`, `process_request`). What its driver does not know it cannot say: `localcmdline`, for one, ignores
//! how its command ends. What is accepted is not done.

use std::io::Read;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

/// GETs `url` within `deadline`.
///
/// # Errors
/// A sentence that names the URL: nobody listens there, the answer did not come in time or is no 200.
pub(super) fn ask(url: &str, deadline: Duration) -> Result<(), String> {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let agent: Agent = Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // A PDU stands in the lab; what the environment names is the way out of it.
        .proxy(None)
        .user_agent(concat!("pumice/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(deadline))
        .build()
        .into();
    let response = agent.get(url).call().map_err(|error| match error {
        ureq::Error::Timeout(_) => {
            format!("pdudaemon did not answer within {} s: {url}", deadline.as_secs_f32())
        }
        error => {
            format!("pdudaemon cannot be asked: {error}: {url}: does it run, with listener http?")
        }
    })?;
    let status = response.status();
    if status == ureq::http::StatusCode::OK {
        return Ok(());
    }
    let mut said = Vec::new();
    let body = response.into_body().into_reader();
    // What it says besides is no reason to fail otherwise.
    let _ = body.take(BODY_BYTES_MAX).read_to_end(&mut said);
    let said = crate::config::value::shorten(String::from_utf8_lossy(&said).trim());
    Err(format!(
        "pdudaemon answers {status} ({said}): {url}: its configuration must know the hostname, and its log says what the PDU did"
    ))
}

/// pdudaemon answers with a line.
const BODY_BYTES_MAX: u64 = 1024;

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// A server that gives one connection this answer, and tells what it was asked.
    fn server(answer: &'static str) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "http://{}/power/control/on?hostname=pdu01&port=3",
            listener.local_addr().unwrap()
        );
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut first = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut first).unwrap();
            sender.send(first).unwrap();
            let _ = stream.write_all(answer.as_bytes());
            if answer.is_empty() {
                // Until the other end gives up.
                let _ = stream.read(&mut [0; 64 * 1024]);
                let _ = stream.read(&mut [0]);
            }
        });
        (url, asked)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_asked_and_what_the_answers_mean() {
        let (url, asked) =
            server("HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\nOK - accepted request\n");
        assert_eq!(ask(&url, LONG), Ok(()));
        assert_eq!(
            asked.recv().unwrap(),
            "GET /power/control/on?hostname=pdu01&port=3 HTTP/1.1\r\n"
        );
        let answer =
            "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 16\r\n\r\nInvalid request\n";
        let said = ask(&server(answer).0, LONG).unwrap_err();
        assert!(said.contains("500 Internal Server Error (Invalid request)"), "{said}");
        let moved =
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        assert!(ask(&server(moved).0, LONG).unwrap_err().contains("302"));
        let said = ask(&server("nonsense\r\n\r\n").0, LONG).unwrap_err();
        assert!(said.contains("cannot be asked"), "{said}");
    }

    #[test]
    fn who_does_not_answer_is_given_up() {
        let said = ask(&server("").0, Duration::from_millis(200)).unwrap_err();
        assert!(
            said.starts_with("pdudaemon did not answer within 0.2 s: http://127.0.0.1:"),
            "{said}"
        );
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let said = ask(&format!("http://{nobody}/"), LONG).unwrap_err();
        assert!(said.contains("does it run, with listener http?"), "{said}");
    }
}
