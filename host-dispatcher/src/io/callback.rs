//! Sends a callback: one request, and what its answer means.

use std::time::Duration;

use ureq::Agent;

use crate::job::notify::{Callback, Method};

/// A callback as it goes out.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// What it is.
    pub callback: &'a Callback,
    /// Where to.
    pub url: &'a str,
    /// The form of the body, and the body; not sent with GET.
    pub body: (&'static str, Vec<u8>),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was taken, with this status.
    Taken(u16),
    /// It may be taken later: the status, if there was an answer, and why not now.
    Later(Option<u16>, String),
    /// It will never be taken.
    Refused(u16, String),
}

impl Outgoing<'_> {
    /// Sends it, and waits so long for the answer.
    ///
    /// A redirect is not followed: after one a POST is a GET at most servers, and its token would go to whom nobody named.
    pub fn send(self, limit: Duration) -> Answer {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(limit));
        let agent: Agent = config.build().into();
        let token = self.callback.token.as_ref().map(|token| (&self.callback.header, token));
        let sent = match self.callback.method {
            Method::Get => {
                let request = agent.get(self.url);
                token
                    .into_iter()
                    .fold(request, |request, (key, value)| request.header(key, value))
                    .call()
            }
            Method::Post => {
                let (kind, body) = self.body;
                let request = agent.post(self.url).header("Content-Type", kind);
                let request = token
                    .into_iter()
                    .fold(request, |request, (key, value)| request.header(key, value));
                request.send(&body)
            }
        };
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => return Answer::Later(None, error.to_string()),
        };
        let status = answer.status().as_u16();
        match status {
            200..=299 => Answer::Taken(status),
            300..=399 => {
                let place = answer.headers().get("Location").and_then(|value| value.to_str().ok());
                let place = place.unwrap_or("nowhere").chars().filter(|c| !c.is_control());
                let place: String = place.take(SHOWN_CHARACTERS).collect();
                let why = format!(
                    "answered with {status}: the address has moved to {place}: name that one"
                );
                Answer::Refused(status, why)
            }
            // RFC 9110: a time-out of the server, RFC 6585: too many requests.
            408 | 429 | 500.. => Answer::Later(Some(status), format!("answered with {status}")),
            _ => Answer::Refused(status, format!("answered with {status}")),
        }
    }
}

/// Of an address that a server names.
const SHOWN_CHARACTERS: usize = 200;

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use super::*;
    use crate::job::notify::{ContentType, Dataset};

    /// A server that gives these answers, one a connection, and returns the requests. An empty answer never comes.
    pub(crate) fn server(answers: Vec<&'static str>) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let serving = thread::spawn(move || {
            answers
                .into_iter()
                .map(|answer| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut heard = Vec::new();
                    let mut piece = [0; 65536];
                    loop {
                        let length = stream.read(&mut piece).unwrap_or(0);
                        heard.extend_from_slice(&piece[..length]);
                        let text = String::from_utf8_lossy(&heard).into_owned();
                        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
                        let wanted = head.lines().find_map(|line| {
                            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
                        });
                        if length == 0
                            || text.contains("\r\n\r\n") && body.len() >= wanted.unwrap_or(0)
                        {
                            break;
                        }
                    }
                    if answer.is_empty() {
                        // Until the other side has had enough.
                        let _ = stream.read(&mut piece);
                    }
                    let _ = stream.write_all(answer.as_bytes());
                    String::from_utf8_lossy(&heard).into_owned()
                })
                .collect()
        });
        (url, serving)
    }

    pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    pub(crate) const BUSY: &str =
        "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const MOVED: &str = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/other\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const GONE: &str = "HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

    pub(crate) fn callback(url: &str, method: Method) -> Callback {
        Callback {
            url: url.to_owned(),
            method,
            token: Some("a-long-token".into()),
            header: "X-Token".into(),
            dataset: Dataset::Minimal,
            content_type: ContentType::Json,
            on: Vec::new(),
        }
    }

    fn send(url: &str, method: Method, limit: Duration) -> Answer {
        let callback = callback(url, method);
        let body = ("application/json", b"{\"id\":1}".to_vec());
        Outgoing { callback: &callback, url, body }.send(limit)
    }

    #[test]
    fn what_an_answer_means() {
        let long = Duration::from_secs(20);
        let (url, serving) = server(vec![OK, OK, BUSY, MOVED, GONE, ""]);
        assert_eq!(send(&url, Method::Post, long), Answer::Taken(200));
        assert_eq!(send(&url, Method::Get, long), Answer::Taken(200));
        assert_eq!(
            send(&url, Method::Post, long),
            Answer::Later(Some(503), "answered with 503".into())
        );
        let why =
            "answered with 302: the address has moved to http://127.0.0.1:1/other: name that one";
        assert_eq!(send(&url, Method::Post, long), Answer::Refused(302, why.into()));
        assert_eq!(
            send(&url, Method::Post, long),
            Answer::Refused(404, "answered with 404".into())
        );
        let hung = send(&url, Method::Post, Duration::from_millis(300));
        assert!(matches!(&hung, Answer::Later(None, why) if why.contains("timeout")), "{hung:?}");
        let requests = serving.join().unwrap();
        let post = requests[0].to_ascii_lowercase();
        assert!(post.starts_with("post /hook http/1.1\r\n"), "{post}");
        assert!(post.contains("x-token: a-long-token\r\n"), "{post}");
        assert!(post.contains("content-type: application/json\r\n"), "{post}");
        assert!(post.ends_with("\r\n\r\n{\"id\":1}"), "{post}");
        let get = requests[1].to_ascii_lowercase();
        assert!(
            get.starts_with("get /hook ") && get.contains("x-token: a-long-token\r\n"),
            "{get}"
        );
        assert!(get.ends_with("\r\n\r\n") && !get.contains("content-type"), "{get}");
        // Nobody listens any more.
        let refused = send(&url, Method::Post, long);
        assert!(matches!(refused, Answer::Later(None, _)), "{refused:?}");
    }
}
