//! Where a board finds this host on its network: the way for bulk beside the line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// `side_lane:` of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SideLane {
    /// This host, as the board sees it.
    pub address: IpAddr,
    /// The TCP port there; without it the system chooses one each time.
    pub port: Option<u16>,
    /// What of this host is listened on, where that is another: somebody forwards what comes to the address.
    pub listen: Option<(IpAddr, Option<u16>)>,
}

impl SideLane {
    /// The same for a board whose emulator brings what it sends to this host's loopback.
    pub fn emulated(self) -> Self {
        Self { listen: self.listen.or(Some((IpAddr::V4(Ipv4Addr::LOCALHOST), None))), ..self }
    }

    /// What is listened on; port 0 is any.
    pub fn socket(&self) -> SocketAddr {
        let (address, port) = self.listen.unwrap_or((self.address, None));
        SocketAddr::new(address, port.or(self.port).unwrap_or(0))
    }
}

impl FromStr for SideLane {
    type Err = BadSideLane;

    fn from_str(text: &str) -> Result<Self, BadSideLane> {
        let (address, port) = place(text)?;
        if address.is_unspecified() {
            return Err(BadSideLane::NoPlace(text.to_owned()));
        }
        Ok(Self { address, port, listen: None })
    }
}

impl<'de> Deserialize<'de> for SideLane {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SideLaneVisitor;

        impl<'de> Visitor<'de> for SideLaneVisitor {
            type Value = SideLane;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a side lane: ADDRESS[:PORT], or {address: ADDRESS[:PORT], listen: ADDRESS[:PORT]}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SideLane, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<SideLane, M::Error> {
                let form = Form::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let lane: SideLane = form.address.parse().map_err(de::Error::custom)?;
                let listen = place(&form.listen).map_err(de::Error::custom)?;
                // Else the board is told of a port that the other one does not lead to.
                if lane.port.is_none() {
                    return Err(de::Error::custom(BadSideLane::NoPort(form.address)));
                }
                Ok(SideLane { listen: Some(listen), ..lane })
            }
        }

        deserializer.deserialize_any(SideLaneVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    address: String,
    listen: String,
}

impl fmt::Display for SideLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}", SocketAddr::new(self.address, port)),
            None => write!(f, "{}", self.address),
        }
    }
}

/// An address, with a port or without.
fn place(text: &str) -> Result<(IpAddr, Option<u16>), BadSideLane> {
    let with_port = text.parse().map(|at: SocketAddr| (at.ip(), Some(at.port())));
    let parsed = with_port.or_else(|_| text.parse().map(|address: IpAddr| (address, None)));
    match parsed {
        Err(_) => Err(BadSideLane::Form(text.to_owned())),
        Ok((address, port)) if address.is_multicast() || port == Some(0) => {
            Err(BadSideLane::NoPlace(text.to_owned()))
        }
        Ok(place) => Ok(place),
    }
}

/// Why a text is no `side_lane:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadSideLane {
    /// It is no address.
    Form(String),
    /// Nobody can be reached there.
    NoPlace(String),
    /// Another address is listened on, so there must be a port.
    NoPort(String),
}

impl fmt::Display for BadSideLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(text) => write!(
                f,
                "\"{text}\" is no address of a side lane: write this host's address on the board's network, as in 192.168.7.1, 192.168.7.1:4000 or \"[fd00::1]:4000\""
            ),
            Self::NoPlace(text) => write!(
                f,
                "a board cannot connect to \"{text}\": write this host's own address on the board's network, and a port from 1 on or none"
            ),
            Self::NoPort(text) => write!(
                f,
                "the side lane at {text} needs the port that is forwarded to this host: write \"address: {text}:4000\""
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
        let lane: SideLane = "10.0.2.2:4000".parse().unwrap();
        assert_eq!(lane.emulated().socket(), "127.0.0.1:4000".parse().unwrap());
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", "dispatcher.lab", "10.0.2", "10.0.2.2:", "10.0.2.2:70000", "[fd00::1]"] {
            let error = text.parse::<SideLane>().unwrap_err();
            assert_eq!(error, BadSideLane::Form(text.to_owned()));
        }
        for text in ["0.0.0.0", "224.0.0.1", "::", "10.0.2.2:0"] {
            assert_eq!(text.parse::<SideLane>(), Err(BadSideLane::NoPlace(text.to_owned())));
        }
    }
}
