//! `pumice serve`: a lab.

use super::hands_on::fail;
use crate::cli::{Global, ServeArgs};
use crate::script::Fault;
use crate::serve::{LabOptions, Serve, log};

/// Serves until a signal ends it.
pub fn serve(global: &Global, args: &ServeArgs) -> u8 {
    match try_serve(global, args) {
        Ok(()) => 0,
        Err(fault) => fail(&fault),
    }
}

fn try_serve(global: &Global, args: &ServeArgs) -> Result<(), Fault> {
    let options = LabOptions { lab: global.lab.clone(), store: super::images::store(global) };
    let serve = Serve::new(&options)?;
    log::note(&format!("serves {}", args.listen));
    serve.run(|| {})
}
