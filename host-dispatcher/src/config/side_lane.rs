//! Where a board finds this host on its network: the way for bulk beside the line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;

/// `side_lane:` of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SideLane {
    /// This host, as the board sees it.
    pub address: IpAddr,
    /// The TCP port there; without it the system chooses one each time.
    pub port: Option<u16>,
    /// The address of this host that is listened on, where that is another: an emulator's network leads to the loopback.
    pub listen: Option<IpAddr>,
}

impl SideLane {
    /// The same for a board whose emulator brings what it sends to this host's loopback.
    pub fn emulated(self) -> Self {
        Self { listen: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), ..self }
    }

    /// What is listened on; port 0 is any.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.listen.unwrap_or(self.address), self.port.unwrap_or(0))
    }
}

impl FromStr for SideLane {
    type Err = BadSideLane;

    fn from_str(text: &str) -> Result<Self, BadSideLane> {
        let with_port = text.parse().map(|at: SocketAddr| (at.ip(), Some(at.port())));
        let parsed = with_port.or_else(|_| text.parse().map(|address: IpAddr| (address, None)));
        let Ok((address, port)) = parsed else { return Err(BadSideLane::Form(text.to_owned())) };
        if address.is_unspecified() || address.is_multicast() || port == Some(0) {
            return Err(BadSideLane::NoPlace(text.to_owned()));
        }
        Ok(Self { address, port, listen: None })
    }
}

impl TryFrom<String> for SideLane {
    type Error = BadSideLane;

    fn try_from(text: String) -> Result<Self, BadSideLane> {
        text.parse()
    }
}

impl fmt::Display for SideLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}", SocketAddr::new(self.address, port)),
            None => write!(f, "{}", self.address),
        }
    }
}

/// Why a text is no `side_lane:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadSideLane {
    /// It is no address.
    Form(String),
    /// Nobody can be reached there.
    NoPlace(String),
}

impl fmt::Display for BadSideLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(text) => write!(
                f,
                "\"{text}\" is no address of a side lane: write this host's address on the board's network, as in 192.168.7.1, 192.168.7.1:4000 or [fd00::1]:4000"
            ),
            Self::NoPlace(text) => write!(
                f,
                "a board cannot connect to \"{text}\": write this host's own address on the board's network, and a port from 1 on or none"
            ),
        }
    }
}

impl std::error::Error for BadSideLane {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_or_without_a_port() {
        for text in ["192.168.7.1", "192.168.7.1:4000", "fd00::1", "[fd00::1]:4000"] {
            assert_eq!(text.parse::<SideLane>().unwrap().to_string(), text);
        }
        let lane: SideLane = "10.0.2.2".parse().unwrap();
        assert_eq!(lane.socket(), "10.0.2.2:0".parse().unwrap());
        assert_eq!(lane.emulated().socket(), "127.0.0.1:0".parse().unwrap());
    }

    #[test]
    fn what_is_no_place_is_refused_with_the_mend() {
        for text in ["", "dispatcher.lab", "10.0.2", "10.0.2.2:", "10.0.2.2:70000", "[fd00::1]"] {
            let error = text.parse::<SideLane>().unwrap_err();
            assert_eq!(error, BadSideLane::Form(text.to_owned()));
        }
        for text in ["0.0.0.0", "224.0.0.1", "::", "10.0.2.2:0"] {
            assert_eq!(text.parse::<SideLane>(), Err(BadSideLane::NoPlace(text.to_owned())));
        }
    }
}
