//! The other end of LAVA's server: requests as a worker sends them.

use std::io::Read;
use std::time::Duration;

use ureq::Agent;

use crate::lava_worker::protocol::{Answer, Reply, Request};
use crate::script::Fault;

/// LAVA's server.
#[derive(Clone, Debug)]
pub struct LavaServer {
    agent: Agent,
    base: String,
}

impl LavaServer {
    /// The server at this address: `https://lava.example.org`, with the path below which it lies, if it does.
    ///
    /// # Errors
    /// A ConfigurationError: it is no such address.
    pub fn new(url: &str) -> Result<Self, Fault> {
        let base = url.trim_end_matches('/').to_owned();
        let is_http = base.starts_with("http://") || base.starts_with("https://");
        if !is_http || base.contains(char::is_whitespace) {
            let message = format!("\"{base}\" is no address of a LAVA server: write https://HOST");
            return Err(Fault::configuration(message));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect would make a GET of a POST.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("pumice/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_LIMIT))
            .timeout_send_body(Some(ANSWER_LIMIT))
            .timeout_recv_response(Some(ANSWER_LIMIT))
            .timeout_recv_body(Some(ANSWER_LIMIT))
            .build();
        Ok(Self { agent: config.into(), base })
    }

    /// Sends a request and waits for what comes of it.
    pub fn ask(&self, request: &Request) -> Reply {
        let url = format!("{}{}", self.base, request.path);
        let token = request.token.as_deref();
        let answer = match &request.form {
            None => {
                let get = self.agent.get(&url);
                token.into_iter().fold(get, |get, token| get.header(TOKEN_HEADER, token)).call()
            }
            Some(form) => {
                let post = self.agent.post(&url);
                let post =
                    token.into_iter().fold(post, |post, token| post.header(TOKEN_HEADER, token));
                post.send_form(form.iter().map(|(name, value)| (*name, value.as_str())))
            }
        };
        let mut answer = answer.map_err(|error| self.failed(&error))?;
        let mut body = Vec::new();
        let reader = answer.body_mut().as_reader().take(ANSWER_BYTES_MAX);
        let read = { reader }.read_to_end(&mut body);
        read.map_err(|error| self.failed(&ureq::Error::Io(error)))?;
        Ok(Answer { status: answer.status().as_u16(), body })
    }

    fn failed(&self, error: &ureq::Error) -> String {
        format!("{}: {error}", self.base)
    }
}

const TOKEN_HEADER: &str = "LAVA-Token";
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// As LAVA's worker: longer than its server gives itself.
const ANSWER_LIMIT: Duration = Duration::from_secs(600);
/// A job and its device have some 100 KiB.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for wrong in ["", "lava.example.org", "ftp://a", "http://a b"] {
            assert!(
                LavaServer::new(wrong).unwrap_err().message.contains("https://HOST"),
                "{wrong}"
            );
        }
        assert_eq!(LavaServer::new("https://a/lava/").unwrap().base, "https://a/lava");
    }
}
