//! A WebSocket of a lab's interface.

use std::net::TcpStream;

use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Error, WebSocket};

use super::Client;
use crate::script::Fault;

/// Why there is none.
#[derive(Debug)]
pub enum Refused {
    /// The lab cannot do it just now: it may be asked again.
    Busy(Fault),
    /// It will not.
    For(Fault),
}

impl Refused {
    /// The reason, for a person.
    pub fn into_fault(self) -> Fault {
        match self {
            Self::Busy(fault) | Self::For(fault) => fault,
        }
    }
}

/// Opens the WebSocket at `path` below `/api/v1`.
///
/// # Errors
/// The lab is not there, is behind TLS, or refuses.
pub fn connect(client: &Client, path: &str) -> Result<WebSocket<TcpStream>, Refused> {
    let Some(host) = client.base().strip_prefix("http://") else {
        return Err(Refused::For(Fault::configuration(
            "a board's line goes through http:// alone: for a lab behind TLS use its web page, or a tunnel",
        )));
    };
    let failed = |why: String| {
        Refused::For(Fault::infrastructure(format!("no lab answers at {host}: {why}")))
    };
    let url = format!("ws://{host}/api/v1{path}");
    let mut request = url.into_client_request().map_err(|error| failed(error.to_string()))?;
    for (name, value) in client.identity() {
        let value = HeaderValue::from_str(&value).map_err(|error| failed(error.to_string()))?;
        request.headers_mut().insert(name, value);
    }
    let address = if host.rsplit(']').next().is_some_and(|rest| rest.contains(':')) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let stream = TcpStream::connect(&address).map_err(|error| failed(error.to_string()))?;
    stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
    let (socket, _) = tungstenite::client(request, stream).map_err(|error| match error {
        tungstenite::HandshakeError::Failure(Error::Http(answer)) => {
            let status = answer.status().as_u16();
            let fault = client.refusal(status, answer.body().as_deref().unwrap_or_default());
            if status == SERVICE_UNAVAILABLE { Refused::Busy(fault) } else { Refused::For(fault) }
        }
        error => failed(error.to_string()),
    })?;
    Ok(socket)
}

const SERVICE_UNAVAILABLE: u16 = 503;
