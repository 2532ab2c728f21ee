//! A `pumice serve` of a test's own: started, killed and started again on the same store, and asked as its clients ask.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::Lab;
use crate::program::{Output, PATIENCE, Running, built};
use crate::record::Record;

/// A lab that is served.
#[derive(Debug)]
pub struct LabServer {
    lab: Lab,
    server: Option<Running>,
    address: String,
    said: String,
}

impl LabServer {
    /// Serves `lab.yaml` of a lab.
    ///
    /// # Panics
    /// `pumice` is not built, or does not come up.
    pub fn start(lab: Lab) -> Self {
        let mut server = Self { lab, server: None, address: String::new(), said: String::new() };
        server.start_again();
        server
    }

    /// Serves pretended boards of these names, which end with the dispatcher.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn with_pty_boards(names: &[&str]) -> Self {
        let lab = Lab::new("");
        let entries: Vec<String> = names.iter().map(|name| lab.pty_entry(name)).collect();
        write_lab(&lab, &entries.concat(), "");
        Self::start(lab)
    }

    /// Its files.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// HOST:PORT.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The dispatcher's process.
    ///
    /// # Panics
    /// None runs.
    pub fn pid(&self) -> i32 {
        self.server.as_ref().expect("the dispatcher runs").pid()
    }

    /// What all dispatchers of this lab have said to standard error so far.
    pub fn said(&self) -> String {
        let now = self.server.as_ref().map(Running::stderr).unwrap_or_default();
        format!("{}{now}", self.said)
    }

    /// Sends the dispatcher a signal.
    ///
    /// # Panics
    /// None runs.
    pub fn signal(&self, signal: Signal) {
        self.server.as_ref().expect("the dispatcher runs").signal(signal);
    }

    /// Ends the dispatcher with a signal, and waits for that.
    ///
    /// # Panics
    /// None runs, or it does not end.
    pub fn end(&mut self, signal: Signal) -> Output {
        self.signal(signal);
        let output = self.server.take().expect("the dispatcher runs").wait();
        self.said += &output.err();
        output
    }

    /// Starts it on the same store, at the same address where that is known.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_again(&mut self) {
        let listen = if self.address.is_empty() { "127.0.0.1:0" } else { &self.address };
        let server = self.lab.start(&["serve", "--listen", listen]);
        server.wait_for_stderr(AT);
        let address = until("an address", || {
            let said = server.stderr();
            let (address, _) = said.split_once(AT)?.1.split_once('\n')?;
            Some(address.trim().to_owned())
        });
        self.address = address;
        self.server = Some(server);
    }

    /// Starts `pumice WORDS…` as a client of this lab.
    ///
    /// # Panics
    /// `pumice` is not built.
    pub fn client(&self, user: &str, words: &[&str]) -> Running {
        self.start_at(user, &self.lab.path("state"), &self.lab.path("store"), words, None)
    }

    /// Starts `pumice --server URL WORDS…` as on another host, which has nothing of this lab's.
    ///
    /// # Panics
    /// As [`Self::client`].
    pub fn client_elsewhere(&self, user: &str, words: &[&str], input: Option<Vec<u8>>) -> Running {
        let (server, elsewhere) = (format!("http://{}", self.address), self.lab.path("elsewhere"));
        let words = [&["--server", &server], words].concat();
        self.start_at(user, &elsewhere.join("state"), &elsewhere.join("store"), &words, input)
    }

    /// The same without input, to its end.
    ///
    /// # Panics
    /// As [`Self::client`], or it hangs.
    pub fn ask_elsewhere(&self, user: &str, words: &[&str]) -> Output {
        self.client_elsewhere(user, words, None).wait()
    }

    fn start_at(
        &self,
        user: &str,
        state: &Path,
        store: &Path,
        words: &[&str],
        input: Option<Vec<u8>>,
    ) -> Running {
        let server = format!("http://{}", self.address);
        let variables = [
            ("PUMICE_STATE", state),
            ("PUMICE_STORE", store),
            ("PUMICE_SERVER", Path::new(&server)),
            ("USER", Path::new(user)),
        ];
        Running::start(&built("pumice"), words, self.lab.folder(), &variables, input)
    }

    /// The same, to its end.
    ///
    /// # Panics
    /// As [`Self::client`], or it hangs.
    pub fn ask(&self, user: &str, words: &[&str]) -> Output {
        self.client(user, words).wait()
    }

    /// Submits a job, whose number is returned.
    ///
    /// # Panics
    /// It is not accepted.
    pub fn submit(&self, user: &str, job_yaml: &str, words: &[&str]) -> u64 {
        let name = format!("job-{user}.yaml");
        self.lab.write(&name, job_yaml);
        let words = [&["submit", "--json", &name], words].concat();
        let output = self.ask(user, &words).exits_with(0);
        number(&serde_json::from_str(&output.out()).expect("a job is JSON"))
    }

    /// What `GET /api/v1PATH` answers, if it can be asked.
    pub fn try_get(&self, path: &str) -> Option<(u16, Vec<u8>)> {
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(ANSWER)).ok()?;
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
        let status = std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()?;
        Some((status, answer.split_off(end + 4)))
    }

    /// The JSON at `/api/v1PATH`.
    ///
    /// # Panics
    /// There is none.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let answer = self.try_get(&format!("/api/v1{path}"));
        let Some((200, body)) = &answer else {
            panic!("{path}: {:?}", answer.map(|(status, body)| (status, String::from_utf8(body))));
        };
        serde_json::from_slice(body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// A job as it is now.
    ///
    /// # Panics
    /// There is none.
    #[track_caller]
    pub fn job(&self, id: u64) -> Value {
        self.get(&format!("/jobs/{id}"))
    }

    /// A board as it is now.
    ///
    /// # Panics
    /// There is none.
    #[track_caller]
    pub fn board(&self, name: &str) -> Value {
        self.get(&format!("/boards/{name}"))
    }

    /// Waits until a job is what is wanted.
    ///
    /// # Panics
    /// It never is; the message has the job and what the dispatcher said.
    #[track_caller]
    pub fn wait_for_job(&self, id: u64, is_so: impl Fn(&Value) -> bool) -> Value {
        let found = try_until(|| Some(self.job(id)).filter(&is_so));
        found.unwrap_or_else(|| panic!("job {id} stays {:#}\n{}", self.job(id), self.said()))
    }

    /// Waits until a job has ended with a verdict.
    ///
    /// # Panics
    /// It ends with another, or never.
    #[track_caller]
    pub fn wait_for_verdict(&self, id: u64, verdict: &str) -> Value {
        let job = self.wait_for_job(id, |job| job["state"] == "ended");
        assert_eq!(job["verdict"], verdict, "{job:#}\n{}", self.said());
        job
    }

    /// Waits until a board is what is wanted.
    ///
    /// # Panics
    /// It never is.
    #[track_caller]
    pub fn wait_for_board(&self, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let found = try_until(|| Some(self.board(name)).filter(&is_so));
        found.unwrap_or_else(|| panic!("{name} stays {:#}\n{}", self.board(name), self.said()))
    }

    /// The run directory of a job's last run.
    ///
    /// # Panics
    /// It has none.
    pub fn record(&self, job: &Value) -> Record {
        Record::at(&self.runs().join(job["run"].as_str().expect("the job has a run")))
    }

    /// The folder of all runs.
    pub fn runs(&self) -> PathBuf {
        self.lab.path("store/runs")
    }

    /// Waits until a running job's test has written so to the timeline.
    ///
    /// # Panics
    /// It never does.
    pub fn wait_for_line(&self, id: u64, text: &str) {
        let job = self.wait_for_job(id, |job| job["run"].is_string());
        let path = self.record(&job).path().join("timeline.ndjson");
        until(text, || fs::read_to_string(&path).unwrap_or_default().contains(text).then_some(()));
    }
}

impl Drop for LabServer {
    fn drop(&mut self) {
        if thread::panicking() {
            self.lab.write("server.txt", self.said());
        }
        // Its boards see it go, and go too.
        if let Some(server) = self.server.take() {
            server.signal(Signal::SIGKILL);
            server.wait();
        }
    }
}

/// A job's number.
fn number(job: &Value) -> u64 {
    job["id"].as_u64().expect("a job has a number")
}

/// The lab file of a lab with such entries of boards.
pub(crate) fn write_lab(lab: &Lab, entries: &str, more: &str) {
    fs::create_dir_all(lab.path("types")).expect("the lab's folder is ours");
    // Here each board says itself how its power comes.
    lab.write("types/pty.yaml", BOARD_TYPE.replace("power: with-connection\n", ""));
    lab.write("lab.yaml", format!("board_types: types\n{more}boards:\n{entries}"));
}

impl Lab {
    /// Writes the lab file: entries of boards, and what else there is to say.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write_boards(&self, entries: &[&str], more: &str) {
        write_lab(self, &entries.concat(), more);
    }

    /// The entry of a pretended board that ends with its dispatcher.
    ///
    /// # Panics
    /// Its folder cannot be made.
    pub fn pty_entry(&self, name: &str) -> String {
        self.pty_entry_with(name, &built("pumice-agent"))
    }

    /// The same with another agent in its image.
    ///
    /// # Panics
    /// As [`Self::pty_entry`].
    pub fn pty_entry_with(&self, name: &str, agent: &Path) -> String {
        let words = [built("pty-board"), agent.to_owned(), self.pty_board(name)];
        let words = words.map(|word| word.display().to_string());
        format!(
            "  - {{name: {name}, type: pty-board, power: with-connection, connection: {{exec: {words:?}}}}}\n"
        )
    }
}

/// Looks again and again. A file tells nobody that it grew.
///
/// # Panics
/// It is never found.
#[track_caller]
pub fn until<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    try_until(found).unwrap_or_else(|| panic!("no {what}"))
}

fn try_until<T>(mut found: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() / 8 {
        let here = found();
        if here.is_some() {
            return here;
        }
        thread::park_timeout(PAUSE);
    }
    None
}

const BOARD_TYPE: &str = include_str!("../pty-board.yaml");
/// Behind this stands where it listens.
const AT: &str = "the lab is at http://";
const PAUSE: Duration = Duration::from_millis(20);
/// For one answer of the interface.
const ANSWER: Duration = Duration::from_secs(60);
