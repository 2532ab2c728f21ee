//! Who asks, and by which name the lab was reached.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use agent_core::time::{Duration, Instant};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE, FORWARDED, HOST};
use sha2::{Digest, Sha256};

use super::Options;
use super::error::ApiError;
use crate::io::clock;
use crate::store::tokens::{self, Role, Tokens};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) role: Role,
}

/// Tokens, sessions of the page, and names of the lab.
#[derive(Debug)]
pub(super) struct Access {
    store: PathBuf,
    needs_tokens: bool,
    /// Lower case, without ports.
    hosts: Vec<String>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    tokens: Tokens,
    changed: Option<SystemTime>,
    looked: Instant,
    /// By the SHA-256 of the cookie: whose it is, and until when.
    sessions: HashMap<[u8; 32], (String, Instant)>,
}

impl Access {
    pub(super) fn new(
        options: &Options,
        address: SocketAddr,
        needs_tokens: bool,
    ) -> io::Result<Self> {
        let mut hosts: Vec<String> = options.hosts.iter().map(|host| name_of(host)).collect();
        hosts.push("localhost".into());
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let own = own.trim().to_ascii_lowercase();
        // Others reach this host by its name only where it listens for others.
        if !address.ip().is_loopback() && !own.is_empty() {
            hosts.extend([format!("{own}.local"), own]);
        }
        let held = Held {
            tokens: Tokens::load(&options.store).map_err(io::Error::other)?,
            changed: tokens::changed(&options.store),
            looked: clock::now(),
            sessions: HashMap::new(),
        };
        let store = options.store.clone();
        Ok(Self { store, needs_tokens, hosts, held: Mutex::new(held) })
    }

    /// Whether somebody must say who he is.
    pub(super) fn needs_tokens(&self) -> bool {
        self.needs_tokens
    }

    /// Whether the lab is called so. A page of another site whose name was made to lead here would have its own name in
    /// `Host`; an address cannot be made to lead anywhere.
    pub(super) fn is_served(&self, host: &str) -> bool {
        let name = name_of(host);
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok() || self.hosts.contains(&name)
    }

    /// Who asks; nobody where tokens are needed and none was shown.
    pub(super) fn identify(&self, headers: &HeaderMap) -> Result<Option<Identity>, ApiError> {
        if !self.needs_tokens {
            return local(headers).map(Some);
        }
        if let Some(value) = headers.get(AUTHORIZATION) {
            let wrong = || {
                ApiError::new(axum::http::StatusCode::UNAUTHORIZED, "the token is not known")
                    .mend("send \"Authorization: Bearer TOKEN\" with what pumice token add printed")
            };
            let text = value.to_str().map_err(|_| wrong())?;
            let (scheme, token) = text.split_once(' ').ok_or_else(wrong)?;
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(wrong());
            }
            return self.of_token(token.trim()).map(Some).ok_or_else(wrong);
        }
        Ok(session_of(headers).and_then(|session| self.of_session(session)))
    }

    /// Whose a token is.
    pub(super) fn of_token(&self, token: &str) -> Option<Identity> {
        let held = self.fresh();
        let token = held.tokens.find(token)?;
        Some(Identity { name: token.name.clone(), role: token.role })
    }

    /// Begins a session for the page, and returns its cookie's value.
    pub(super) fn begin_session(&self, identity: &Identity) -> io::Result<String> {
        let session = crate::store::hexadecimal(&tokens::random()?);
        let now = clock::now();
        let mut held = self.held();
        held.sessions.retain(|_, (_, until)| *until > now);
        if held.sessions.len() >= SESSIONS_MAX {
            let oldest = held.sessions.iter().min_by_key(|(_, (_, until))| *until);
            let oldest = oldest.map(|(session, _)| *session);
            oldest.map(|session| held.sessions.remove(&session));
        }
        held.sessions.insert(digest(&session), (identity.name.clone(), now + SESSION));
        Ok(session)
    }

    /// Ends the session of a request.
    pub(super) fn end_session(&self, headers: &HeaderMap) {
        if let Some(session) = session_of(headers) {
            self.held().sessions.remove(&digest(session));
        }
    }

    fn of_session(&self, session: &str) -> Option<Identity> {
        let held = self.fresh();
        let (name, until) = held.sessions.get(&digest(session))?;
        // A token that was taken back ends its sessions.
        let token = held.tokens.all().iter().find(|token| token.name == *name)?;
        (*until > clock::now()).then(|| Identity { name: name.clone(), role: token.role })
    }

    /// With the tokens as they are in their file, or were a moment ago.
    fn fresh(&self) -> MutexGuard<'_, Held> {
        let mut held = self.held();
        if clock::now().since(held.looked) >= LOOK_EVERY {
            held.looked = clock::now();
            let changed = tokens::changed(&self.store);
            if changed != held.changed {
                // A file that is none of ours any more gives nobody anything.
                held.tokens = Tokens::load(&self.store).unwrap_or_default();
                held.changed = changed;
            }
        }
        held
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cookie's name.
pub(super) const COOKIE_NAME: &str = "pumice_session";
/// How long a browser stays logged in.
pub(super) const SESSION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Who sits at this host may do everything, under the name that he says.
fn local(headers: &HeaderMap) -> Result<Identity, ApiError> {
    // Somebody set up a proxy and no tokens: everybody whom it lets in would sit at this host.
    let is_from_elsewhere = headers.contains_key(FORWARDED)
        || ["x-forwarded-for", "x-forwarded-host", "x-real-ip"]
            .iter()
            .any(|name| headers.contains_key(*name));
    if is_from_elsewhere {
        return Err(ApiError::forbidden(
            "a proxy stands in front of the lab, and no token is asked for",
        )
        .mend("start pumice serve with --tokens"));
    }
    let name = match headers.get("x-pumice-user") {
        None => "local",
        Some(value) => value.to_str().unwrap_or_default(),
    };
    if !tokens::is_name(name) {
        return Err(ApiError::bad_request("X-Pumice-User is no name")
            .mend("1 to 64 letters, digits and . _ @ + - are"));
    }
    Ok(Identity { name: name.to_owned(), role: Role::Admin })
}

fn session_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim() == COOKIE_NAME).map(|(_, value)| value.trim())
}

/// The value of a request's `Host`; nothing where there is none, or several.
pub(super) fn host_of(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(HOST).iter();
    let host = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(host)
}

/// `Lab.Example.org:8080` → `lab.example.org`; the brackets of an address stay.
fn name_of(host: &str) -> String {
    let end = host.rfind(']').map_or(0, |bracket| bracket + 1);
    let name = match host[end..].rfind(':') {
        Some(colon) => &host[..end + colon],
        None => host,
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn digest(session: &str) -> [u8; 32] {
    Sha256::digest(session).into()
}

/// A token that was taken back is of no use after so long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Browsers of people who log in again and again.
const SESSIONS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts() {
        for (host, name) in [
            ("Lab.Example.org:8080", "lab.example.org"),
            ("localhost", "localhost"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("lab.example.org.", "lab.example.org"),
            ("", ""),
            (":", ""),
        ] {
            assert_eq!(name_of(host), name, "{host}");
        }
    }
}
