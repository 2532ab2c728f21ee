//! `pumice serve`: a lab.

use super::hands_on::{configuration, fail};
use crate::cli::{Global, ServeArgs};
use crate::script::Fault;
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
        assets: &[],
        limits: Limits::default(),
    };
    let server = http::start(options, control, feed, history)
        .map_err(|error| configuration(error.to_string()))?;
    log::note(&format!("the lab is at http://{}", server.address()));
    serve.run(|| {})
}
