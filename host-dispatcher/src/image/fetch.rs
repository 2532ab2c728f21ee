//! Files from http and https, to be read as if they lay here.
//!
//! A download that is cut goes on where it was (`Range` with `If-Range`, RFC 9110 §13.1.5, §14), in this run or a later
//! one; what is already in the store is only asked for (`If-None-Match`). Proxies come from the environment, certificates from the
//! system. Redirects are bounded, from https they do not lead to http, and a server that says nothing is given up.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::error::{Cause, ImageError};
use super::source::IMAGE_BYTES_MAX;
use crate::store;
use crate::store::hexadecimal;

/// What tells whether a URL still holds the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Validators {
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

/// What asking a URL came to.
#[derive(Debug)]
pub(super) enum Fetched {
    /// It holds what it held.
    Unchanged,
    /// It was downloaded.
    File(Download),
}

/// A downloaded file; [`Download::done`] removes it.
#[derive(Debug)]
pub(super) struct Download {
    pub(super) path: PathBuf,
    pub(super) validators: Validators,
    dir: PathBuf,
    _lock: File,
}

impl Download {
    /// The file is no longer needed.
    pub(super) fn done(self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Whether a text names a file of a server.
pub fn is_url(text: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    })
}

/// Downloads `url` into a folder of its own below `folder`. `known` is what the store has of it. `progress` gets the bytes
/// so far and in all, and room for as many is asked for with `room` now and then.
pub(super) fn fetch(
    url: &str,
    folder: &Path,
    known: Option<&Validators>,
    progress: &mut dyn FnMut(u64, Option<u64>) -> ControlFlow<()>,
    room: &dyn Fn() -> Result<(), ImageError>,
) -> Result<Fetched, ImageError> {
    let name = PathBuf::from(shown(url));
    let failed = |cause| ImageError::new(&name, cause);
    let dir = folder.join(hexadecimal(&Sha256::digest(url)));
    fs::create_dir_all(&dir).map_err(|error| failed(Cause::from_write(error)))?;
    let lock = lock(&dir).map_err(failed)?;
    let path = dir.join("file");
    let mut fetching = Fetching { url, agent: agent(url), path, dir: dir.clone(), progress, room };
    let mut idle = 0;
    loop {
        let before = fetching.bytes_here();
        match fetching.attempt(known).map_err(&failed)? {
            Attempt::Unchanged => return Ok(Fetched::Unchanged),
            Attempt::Complete(validators) => {
                let path = fetching.path;
                return Ok(Fetched::File(Download { path, validators, dir, _lock: lock }));
            }
            Attempt::Cut(why) => {
                // As long as something comes it is worth going on.
                idle = if fetching.bytes_here() > before { 0 } else { idle + 1 };
                if idle >= IDLE_ATTEMPTS_MAX {
                    return Err(failed(Cause::Said(format!(
                        "failed to download {}: {why}: run it again, and it goes on where it was",
                        shown(url)
                    ))));
                }
            }
        }
    }
}

/// Downloads `url` for who needs it once, into a folder of its own below `folder`; where the file lies. `progress` gets the
/// bytes so far and in all, and may break off.
///
/// # Errors
/// What the server said, or that nothing can be written.
pub fn download(
    url: &str,
    folder: &Path,
    progress: &mut dyn FnMut(u64, Option<u64>) -> ControlFlow<()>,
) -> Result<PathBuf, ImageError> {
    match fetch(url, folder, None, progress, &|| Ok(()))? {
        Fetched::File(download) => Ok(download.path),
        Fetched::Unchanged => {
            let why = format!("failed to download {}: the server sends nothing", shown(url));
            Err(ImageError::new(Path::new(url), Cause::Said(why)))
        }
    }
}

enum Attempt {
    Unchanged,
    Complete(Validators),
    Cut(String),
}

struct Fetching<'a> {
    url: &'a str,
    agent: Agent,
    path: PathBuf,
    dir: PathBuf,
    progress: &'a mut dyn FnMut(u64, Option<u64>) -> ControlFlow<()>,
    room: &'a dyn Fn() -> Result<(), ImageError>,
}

impl Fetching<'_> {
    fn bytes_here(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    fn attempt(&mut self, known: Option<&Validators>) -> Result<Attempt, Cause> {
        let here = self.bytes_here();
        let part = self.validators_of_part();
        let mut request = self.agent.get(self.url).header("Accept-Encoding", "identity");
        // A weak tag says nothing about bytes.
        let strong = part.as_ref().and_then(|part| {
            let etag = part.etag.as_deref().filter(|etag| !etag.starts_with("W/"));
            etag.or(part.last_modified.as_deref())
        });
        let goes_on = here > 0 && strong.is_some();
        if let Some(strong) = strong.filter(|_| goes_on) {
            request = request.header("Range", format!("bytes={here}-")).header("If-Range", strong);
        } else if let Some(known) = known {
            if let Some(etag) = &known.etag {
                request = request.header("If-None-Match", etag);
            } else if let Some(date) = &known.last_modified {
                request = request.header("If-Modified-Since", date);
            }
        }
        let response = match request.call() {
            Ok(response) => response,
            Err(error) => return self.refused(error),
        };
        let status = response.status();
        match status {
            StatusCode::NOT_MODIFIED => Ok(Attempt::Unchanged),
            StatusCode::OK => self.receive(response, 0),
            StatusCode::PARTIAL_CONTENT
                if goes_on && begins_at(response.headers()) == Some(here) =>
            {
                self.receive(response, here)
            }
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT => {
                // The part here is all of it, or of something else: from the beginning.
                fs::remove_file(&self.path).map_err(Cause::Write)?;
                Ok(Attempt::Cut(format!("the server answers {status}")))
            }
            status if status.is_server_error() => {
                Ok(Attempt::Cut(format!("the server answers {status}")))
            }
            status => Err(Cause::Said(format!(
                "failed to download {}: the server answers {status}: mend the URL",
                shown(self.url)
            ))),
        }
    }

    /// What may pass is tried again; what is wrong with the URL is not.
    fn refused(&self, error: ureq::Error) -> Result<Attempt, Cause> {
        match error {
            ureq::Error::Timeout(_) | ureq::Error::Io(_) | ureq::Error::ConnectionFailed => {
                Ok(Attempt::Cut(error.to_string()))
            }
            error => Err(Cause::Said(format!(
                "failed to download {}: {error}: mend the URL, or see that this host reaches the server",
                shown(self.url)
            ))),
        }
    }

    fn receive(&mut self, response: Response<Body>, from: u64) -> Result<Attempt, Cause> {
        let validators = validators(response.headers());
        let length =
            header(response.headers(), "content-length").and_then(|text| text.parse::<u64>().ok());
        let total = length.map(|length| length.saturating_add(from));
        if total.is_some_and(|total| total > IMAGE_BYTES_MAX) {
            return Err(Cause::TooLarge(total.unwrap_or(u64::MAX)));
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .write(true)
            .append(from > 0)
            .truncate(from == 0)
            .open(&self.path)
            .map_err(Cause::from_write)?;
        store::write_json(&self.dir.join(PART), &validators).map_err(Cause::Store)?;
        let mut reader = response.into_body().into_reader();
        let (mut at, mut checked, mut buffer) = (from, from, vec![0; 128 * 1024]);
        loop {
            if (self.progress)(at, total).is_break() {
                return Err(Cause::Cancelled);
            }
            let bytes = match reader.read(&mut buffer) {
                Ok(0) if total.is_none_or(|total| at == total) => break,
                Ok(0) => return Ok(Attempt::Cut("the connection ended too early".into())),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Attempt::Cut(error.to_string())),
            };
            file.write_all(&buffer[..bytes]).map_err(Cause::from_write)?;
            at += bytes as u64;
            if at > IMAGE_BYTES_MAX {
                return Err(Cause::TooLarge(at));
            }
            if at - checked > ROOM_STEP_BYTES {
                checked = at;
                (self.room)().map_err(|error| Cause::Said(error.to_string()))?;
            }
        }
        file.sync_all().map_err(Cause::from_write)?;
        Ok(Attempt::Complete(validators))
    }

    fn validators_of_part(&self) -> Option<Validators> {
        let file = File::open(self.dir.join(PART)).ok()?;
        serde_json::from_reader(file.take(64 * 1024)).ok()
    }
}

fn agent(url: &str) -> Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    Agent::config_builder()
        .tls_config(tls)
        .https_only(url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:")))
        .http_status_as_error(false)
        .max_redirects(REDIRECTS_MAX)
        .user_agent(concat!("pumice/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(CONNECT_TIME))
        .timeout_connect(Some(CONNECT_TIME))
        .timeout_recv_response(Some(SILENCE_TIME))
        .timeout_per_read(Some(SILENCE_TIME))
        .build()
        .into()
}

fn lock(dir: &Path) -> Result<File, Cause> {
    let place = dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(place)
        .map_err(Cause::Write)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(Cause::Write(error)),
        Err(TryLockError::WouldBlock) => Err(Cause::unusable(
            "another pumice downloads it at this moment",
            "run it again when that one is done",
        )),
    }
}

fn validators(headers: &HeaderMap) -> Validators {
    let text =
        |name: &str| header(headers, name).filter(|text| text.len() <= 1024).map(str::to_owned);
    Validators { etag: text("etag"), last_modified: text("last-modified") }
}

fn begins_at(headers: &HeaderMap) -> Option<u64> {
    header(headers, "content-range")?.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Without name and password, which must not stand in records.
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

const PART: &str = "part.json";
const REDIRECTS_MAX: u32 = 5;
/// Attempts one after the other in which nothing came.
const IDLE_ATTEMPTS_MAX: u32 = 3;
const CONNECT_TIME: Duration = Duration::from_secs(30);
/// A server that is silent for so long is given up, and asked again.
const SILENCE_TIME: Duration = Duration::from_secs(60);
const ROOM_STEP_BYTES: u64 = 64 << 20;

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::io::test_folder::TestFolder;

    /// A server that gives each connection the next answer; requests come out of the channel.
    pub(crate) fn server(answers: Vec<Vec<u8>>) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/image.gz", listener.local_addr().unwrap());
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            for answer in answers {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let mut request = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while !request.ends_with("\r\n\r\n")
                    && reader.read_line(&mut request).is_ok_and(|n| n > 0)
                {}
                let _ = sender.send(request.to_ascii_lowercase());
                let _ = stream.write_all(&answer);
            }
        });
        (url, requests)
    }

    pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
        [head.as_bytes(), body].concat()
    }

    fn get(url: &str, folder: &TestFolder, known: Option<&Validators>) -> Result<Fetched, String> {
        let mut progress = |_, _| ControlFlow::Continue(());
        fetch(url, folder.path(), known, &mut progress, &|| Ok(()))
            .map_err(|error| error.to_string())
    }

    fn content(fetched: Fetched) -> Vec<u8> {
        let Fetched::File(download) = fetched else { panic!("a file is expected") };
        let content = fs::read(&download.path).unwrap();
        download.done();
        content
    }

    #[test]
    fn a_cut_download_goes_on_where_it_was() {
        let folder = TestFolder::new();
        let (url, requests) = server(vec![
            answer("200 OK", "Content-Length: 10\r\nETag: \"a\"\r\n", b"01234"),
            answer(
                "206 Partial Content",
                "Content-Length: 5\r\nContent-Range: bytes 5-9/10\r\nETag: \"a\"\r\n",
                b"567",
            ),
            answer("503 Busy", "Content-Length: 0\r\n", b""),
            answer(
                "206 Partial Content",
                "Content-Length: 2\r\nContent-Range: bytes 8-9/10\r\nETag: \"a\"\r\n",
                b"89",
            ),
        ]);
        assert_eq!(content(get(&url, &folder, None).unwrap()), b"0123456789");
        assert!(!requests.recv().unwrap().contains("range"));
        for at in [5, 8, 8] {
            let request = requests.recv().unwrap();
            assert!(request.contains(&format!("range: bytes={at}-\r\n")), "{request}");
            assert!(request.contains("if-range: \"a\"\r\n"), "{request}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_changed_meanwhile_begins_again() {
        let folder = TestFolder::new();
        let (url, _requests) = server(vec![
            answer("200 OK", "Content-Length: 10\r\nETag: \"a\"\r\n", b"01234"),
            answer("200 OK", "Content-Length: 3\r\nETag: \"b\"\r\n", b"new"),
        ]);
        let Fetched::File(download) = get(&url, &folder, None).unwrap() else { panic!("a file") };
        assert_eq!(download.validators.etag.as_deref(), Some("\"b\""));
        assert_eq!(fs::read(&download.path).unwrap(), b"new");
        assert!(get(&url, &folder, None).unwrap_err().contains("another pumice downloads it"));
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let folder = TestFolder::new();
        let (url, requests) = server(vec![answer("304 Not Modified", "", b"")]);
        let known = Validators { etag: Some("\"a\"".into()), last_modified: None };
        assert!(matches!(get(&url, &folder, Some(&known)).unwrap(), Fetched::Unchanged));
        assert!(requests.recv().unwrap().contains("if-none-match: \"a\"\r\n"));
    }

    #[test]
    fn servers_that_do_not_give_it() {
        let folder = TestFolder::new();
        let there = |url: &str| {
            answer("302 Found", &format!("Location: {url}\r\nContent-Length: 0\r\n"), b"")
        };
        for (answers, expected) in [
            (vec![answer("404 Not Found", "Content-Length: 0\r\n", b"")], "the server answers 404"),
            (vec![answer("200 OK", "Content-Length: 9999999999999\r\n", b"")], "128 GiB at most"),
            (vec![there("/again"); 7], "redirects"),
            (vec![answer("500 Oh", "Content-Length: 0\r\n", b""); 3], "the server answers 500"),
            (vec![answer("200 OK", "Content-Length: 9\r\n", b""); 3], "it goes on where it was"),
        ] {
            let (url, _requests) = server(answers);
            let error = get(&url, &folder, None).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("https://me:secret@host/a@b"), "https://host/a@b");
        assert!(is_url("HTTPS://x") && !is_url("/a/http://x") && !is_url("é"));
    }
}
