//! `pumice serve`: a lab.

use agent_core::time::{Duration, Instant};
use sd_notify::NotifyState;

use super::hands_on::fail;
use crate::cli::{Global, ServeArgs};
use crate::io::clock;
use crate::report::page;
use crate::script::{self, Fault};
use crate::serve::database::runs_folder;
use crate::serve::http::{self, Limits, Options};
use crate::serve::{LabOptions, Serve, log};

/// Serves until a signal ends it.
pub fn serve(global: &Global, args: &ServeArgs) -> u8 {
    match try_serve(global, args) {
        Ok(()) => 0,
        Err(fault) => fail(&fault),
    }
}

fn try_serve(global: &Global, args: &ServeArgs) -> Result<(), Fault> {
    let store = super::images::store(global);
    let serve = Serve::new(&LabOptions { lab: global.lab.clone(), store: store.clone() })?;
    let (control, feed, history) = serve.ends();
    let options = Options {
        listen: args.listen,
        runs: runs_folder(&store),
        store,
        hosts: args.host.clone(),
        tokens_required: args.tokens,
        job_folders: serve.job_folders().to_vec(),
        assets: page::ASSETS,
        limits: Limits::default(),
    };
    let server = http::start(options, control, feed, history)
        .map_err(|error| Fault::configuration(error.to_string()))?;
    log::note(&format!("the lab is at http://{}", server.address()));
    let mut notifier = Notifier::new();
    serve.run(|| notifier.alive())
}

/// Tells a service manager (systemd) that the lab is ready, and then that the loop with the boards turns: one that hangs is
/// ended and started again (sd_notify(3), WatchdogSec= in systemd.service(5)).
struct Notifier {
    every: Option<Duration>,
    next: Instant,
}

impl Notifier {
    fn new() -> Self {
        // Without a service manager there is nobody to tell.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        let period = sd_notify::watchdog_enabled();
        let every = period.map(|period| script::job::duration(period / 3));
        Self { every, next: clock::now() }
    }

    fn alive(&mut self) {
        let now = clock::now();
        if let Some(every) = self.every.filter(|_| now >= self.next) {
            self.next = now + every;
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    }
}
