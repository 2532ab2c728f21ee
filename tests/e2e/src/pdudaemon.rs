//! A real pdudaemon with one PDU, `pdu01`, whose outlet 3 is the switch of a living board.

use std::net::TcpListener;
use std::path::PathBuf;

use crate::program::Running;
use crate::{Lab, LivingBoard};

/// A pdudaemon that runs; it ends with this value.
#[derive(Debug)]
pub struct Pdudaemon {
    port: u16,
    running: Running,
}

impl Pdudaemon {
    /// Starts one, and waits until it listens.
    ///
    /// # Panics
    /// It is not there; the message says how to get it.
    pub fn start(lab: &Lab, board: &LivingBoard) -> Self {
        let program = installed();
        // Whoever takes the port between here and there fails the test, and not silently.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = free.local_addr().expect("it has an address").port();
        drop(free);
        let on = board.switch().display().to_string();
        // The driver fills the outlet into each command, and its shell ignores what stands behind a #.
        let configuration = serde_json::json!({
            "daemon": {"hostname": "127.0.0.1", "port": port, "listener": "http"},
            "pdus": {"pdu01": {
                "driver": "localcmdline", "retries": 1, "retrydelay": 1,
                "cmd_on": format!("touch {on} # %s"),
                "cmd_off": format!("rm -f {on} # %s"),
            }},
        });
        let file = lab.write("pdudaemon.conf", configuration.to_string());
        let words = ["--conf", &file.display().to_string()];
        let running = Running::start(&program, &words, lab.folder(), &[], None);
        running.wait_for_stdout(&format!("Listening on 127.0.0.1:{port}"));
        Self { port, running }
    }

    /// How a lab file says it.
    pub fn power(&self, hostname: &str, more: &str) -> String {
        format!(
            "{{pdudaemon: {{url: \"http://127.0.0.1:{}\", hostname: {hostname}, port: 3}}{more}}}",
            self.port
        )
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.running.stdout()
    }
}

fn installed() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    let program = cache.join("pumice/pdudaemon/bin/pdudaemon");
    assert!(program.is_file(), "{} is missing: run ci/setup", program.display());
    program
}
