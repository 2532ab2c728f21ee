//! The worker as LAVA's server sees it: it pings, says its version, and gets orders.

use agent_core::time::{Duration, Instant};
use serde::Deserialize;

use super::protocol::{self, Orders, Refusal, Reply, Request};

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Ask LAVA's server, then [`Worker::handle_reply`].
    Lava(Request),
    /// Nothing until then.
    Wait(Instant),
}

/// What an answer comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What is to be done.
    pub orders: Orders,
    /// What a person may want to know; said once, not at every ping.
    pub note: Option<String>,
}

/// A worker.
#[derive(Debug)]
pub struct Worker {
    name: String,
    token: String,
    every: Duration,
    /// What the server wants to hear.
    version: Option<String>,
    is_version_fixed: bool,
    is_asking_version: bool,
    next: Instant,
    said: String,
}

impl Worker {
    /// A worker of this name. `version` is said instead of what the server says of itself; it is pinged `every` so often.
    pub fn new(name: &str, token: &str, version: Option<String>, every: Duration) -> Self {
        Self {
            name: name.to_owned(),
            token: token.to_owned(),
            every,
            is_version_fixed: version.is_some(),
            version,
            is_asking_version: false,
            next: Instant::ZERO,
            said: String::new(),
        }
    }

    /// What is to be done next.
    pub fn poll(&mut self, now: Instant) -> Want {
        if now < self.next {
            return Want::Wait(self.next);
        }
        self.is_asking_version = self.version.is_none();
        Want::Lava(match &self.version {
            // A ping with another version takes a worker offline.
            None => protocol::version(),
            Some(version) => protocol::ping(&self.name, version, &self.token),
        })
    }

    /// The server has answered, or not.
    pub fn handle_reply(&mut self, reply: &Reply, now: Instant) -> Told {
        if self.is_asking_version {
            return self.handle_version(reply, now);
        }
        self.next = now + self.every;
        match protocol::understand::<Orders>(reply) {
            Ok(orders) => {
                Told { orders, note: self.once(format!("LAVA's server knows {:?}", self.name)) }
            }
            Err(Refusal::Version(Some(version))) if !self.is_version_fixed => {
                // The server was upgraded.
                let note = self.once(format!("LAVA's server is {version} now"));
                self.version = Some(version);
                self.next = now;
                Told { note, ..Told::default() }
            }
            Err(refusal) => self.failed(refusal, now),
        }
    }

    fn handle_version(&mut self, reply: &Reply, now: Instant) -> Told {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        match protocol::understand::<Version>(reply) {
            Ok(Version { version }) => {
                let note = self.once(format!("LAVA's server is {version}"));
                self.version = Some(version);
                Told { note, ..Told::default() }
            }
            Err(Refusal::Away(why)) => self.failed(Refusal::Away(why), now),
            // One that shows nothing to strangers says it in its refusal of the first ping.
            Err(_) => {
                self.version = Some(VERSION.to_owned());
                Told::default()
            }
        }
    }

    fn failed(&mut self, refusal: Refusal, now: Instant) -> Told {
        let text = match refusal {
            Refusal::Away(why) | Refusal::Odd(why) => {
                self.next = now + RETRY;
                format!("LAVA's server does not answer: {why}")
            }
            Refusal::Version(version) => {
                let version = version.as_deref().unwrap_or("another version");
                format!(
                    "LAVA's server wants {version}: leave out --lava-version, or set ALLOW_VERSION_MISMATCH there"
                )
            }
            Refusal::Never(why) => format!(
                "LAVA's server refuses {:?}: {why}: add the worker there, and give its token with --token-file",
                self.name
            ),
        };
        Told { note: self.once(text), ..Told::default() }
    }

    fn once(&mut self, text: String) -> Option<String> {
        (text != self.said).then(|| {
            self.said.clone_from(&text);
            text
        })
    }
}

/// What is said to a server that does not say its own version.
const VERSION: &str = "2023.01";
/// A server that is not there is asked again after so long.
const RETRY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::super::protocol::{Answer, Order};
    use super::*;

    const PING: &str = "/scheduler/internal/v1/workers/w/?version=";

    fn path(worker: &mut Worker, now: Instant) -> String {
        match worker.poll(now) {
            Want::Lava(request) => request.path,
            Want::Wait(until) => format!("wait {}", until.since(now).as_micros() / 1_000_000),
        }
    }

    #[test]
    fn the_version_is_the_server_s() {
        let every = Duration::from_secs(20);
        let now = Instant::from_micros(5);
        // What the server answers, and what is done then.
        let cases: [(&[(u16, &str)], &str); 7] = [
            (&[], "/api/v0.2/system/version/"),
            (&[(200, r#"{"version": "2024.05"}"#)], "2024.05"),
            (&[(403, "{}")], "2023.01"),
            (&[(503, "")], "wait 2"),
            (&[(200, r#"{"version": "2024.05"}"#), (200, "{}")], "wait 20"),
            (
                &[
                    (200, r#"{"version": "1"}"#),
                    (409, r#"{"error": "Version mismatch '1' vs '2'"}"#),
                ],
                "2",
            ),
            (&[(403, "{}"), (404, r#"{"error": "Unknown worker 'w'"}"#)], "wait 20"),
        ];
        for (answers, then) in cases {
            let mut worker = Worker::new("w", "t", None, every);
            for (status, body) in answers {
                assert!(matches!(worker.poll(now), Want::Lava(_)));
                worker.handle_reply(&Ok(Answer { status: *status, body: (*body).into() }), now);
            }
            let done = path(&mut worker, now);
            assert_eq!(done.strip_prefix(PING).unwrap_or(&done), then, "{answers:?}");
        }
    }

    #[test]
    fn a_version_that_is_said_stays() {
        let mut worker = Worker::new("w", "t", Some("9".into()), Duration::from_secs(20));
        let now = Instant::ZERO;
        assert_eq!(path(&mut worker, now), format!("{PING}9"));
        let refused = Ok(Answer {
            status: 409,
            body: br#"{"error": "Version mismatch '9' vs '2'"}"#.to_vec(),
        });
        assert!(worker.handle_reply(&refused, now).note.unwrap().contains("wants 2"));
        assert_eq!(path(&mut worker, now), "wait 20");
        let now = now + Duration::from_secs(20);
        assert_eq!(path(&mut worker, now), format!("{PING}9"));
        assert_eq!(worker.handle_reply(&refused, now).note, None);
        let now = now + Duration::from_secs(20);
        worker.poll(now);
        let orders =
            Ok(Answer { status: 200, body: br#"{"start": [{"id": 1, "token": "x"}]}"#.to_vec() });
        assert_eq!(
            worker.handle_reply(&orders, now).orders.start,
            [Order { id: 1, token: "x".into() }]
        );
    }
}
