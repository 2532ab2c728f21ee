//! What the clients of a lab share: where it is, who asks, and how a failure ends.

use super::hands_on::fail;
use crate::cli::Global;
use crate::client::Client;
use crate::script::Fault;

/// The lab that the options and the environment name.
pub(super) fn client(global: &Global) -> Result<Client, Fault> {
    client_of(global.server.clone())
}

/// The lab at this address, or the one that the environment names.
pub(super) fn client_of(server: Option<String>) -> Result<Client, Fault> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let server = server.or_else(|| variable("PUMICE_SERVER"));
    let server = server.unwrap_or_else(|| DEFAULT_SERVER.to_owned());
    let user = user();
    Client::new(&server, variable("PUMICE_TOKEN"), user)
}

/// Does something with the lab; the exit status.
pub(super) fn with_lab(global: &Global, work: impl FnOnce(&Client) -> Result<u8, Fault>) -> u8 {
    match client(global).and_then(|client| work(&client)) {
        Ok(status) => status,
        Err(fault) => fail(&fault),
    }
}

/// Where `pumice serve` listens unless it is told otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// Who this is, as far as the environment says.
pub(super) fn user() -> String {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "local".into())
}
