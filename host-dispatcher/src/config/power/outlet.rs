//! Where a board's power comes from when others switch it: an outlet of pdudaemon, a port of an USB hub.

use std::fmt;
use std::net::Ipv6Addr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::connection::PowerOperation;
use crate::config::value::shorten;

/// An outlet that a pdudaemon switches, over its HTTP interface (pdudaemon 1.1.1, `httplistener.py`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pdudaemon {
    /// Where it listens; its default port is 16421.
    pub url: BaseUrl,
    /// The PDU, as pdudaemon's own configuration calls it.
    pub hostname: OutletName,
    /// The outlet.
    pub port: OutletName,
}

/// A port of an USB hub that can switch it (`man uhubctl`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uhubctl {
    /// The hub's place: `1-1.4`.
    pub hub: HubPlace,
    /// The port of the hub, from 1.
    pub port: HubPort,
}

/// `http://HOST:PORT` or `https://…`, maybe with a path before pdudaemon's own; without a `/` at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(String);

/// What pdudaemon calls a PDU or an outlet: a text or a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutletName(String);

/// A hub's place in the tree of USB ports, as `uhubctl -l` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubPlace(String);

/// A port's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubPort(u8);

impl Pdudaemon {
    /// What to GET for an operation. `reboot` is never asked for: in between nobody would see whether the board is off.
    pub fn request(&self, operation: PowerOperation) -> Option<String> {
        let word = word(operation)?;
        let (hostname, port) = (escaped(&self.hostname.0), escaped(&self.port.0));
        Some(format!("{}/power/control/{word}?hostname={hostname}&port={port}", self.url.0))
    }
}

impl Uhubctl {
    /// The command for an operation.
    pub fn argv(&self, operation: PowerOperation) -> Option<Vec<String>> {
        let word = word(operation)?;
        let port = self.port.0.to_string();
        Some(["uhubctl", "-l", &self.hub.0, "-p", &port, "-a", word].map(String::from).to_vec())
    }

    /// Whether what the command printed says that the port is now so. It prints the state before and after for each of
    /// the one or two hubs that share the port (USB 2 and 3), and ends with 0 even when the hub did nothing.
    ///
    /// # Errors
    /// A sentence that says what it printed in the place of that.
    pub fn check(&self, output: &str, operation: PowerOperation) -> Result<(), String> {
        let is_on = operation == PowerOperation::On;
        let name = format!("Port {}:", self.port.0);
        let mut is_after = false;
        let mut seen = 0;
        for line in output.lines().map(str::trim) {
            if line.starts_with("New status for hub") {
                is_after = true;
            } else if line.starts_with("Current status for hub") {
                is_after = false;
            } else if let Some(state) = line.strip_prefix(&name).filter(|_| is_after) {
                // Behind the bracket stands what the device calls itself.
                let flags = state.split('[').next().unwrap_or_default();
                if flags.split_whitespace().any(|flag| flag == "power") != is_on {
                    let state = shorten(state.trim());
                    return Err(format!(
                        "uhubctl ended well, but port {} of hub {} is still \"{state}\"",
                        self.port.0, self.hub.0
                    ));
                }
                seen += 1;
            }
        }
        if seen == 0 {
            return Err(format!(
                "uhubctl ended well, but did not say what became of port {} of hub {}: {}",
                self.port.0,
                self.hub.0,
                shorten(output.trim())
            ));
        }
        Ok(())
    }
}

impl BaseUrl {
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
        let fits = text.len() <= TEXT_BYTES_MAX
            && text.bytes().all(|byte| byte.is_ascii_graphic())
            && !text.contains(['?', '#', '@', '"', '<', '>', '\\']);
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
            _ => (authority, Some(1)),
        };
        let is_host = match host.strip_prefix('[') {
            Some(address) => address.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains([':', '[', ']']),
        };
        let is_url = fits && is_host && port.is_some_and(|port: u16| port != 0);
        is_url.then(|| Self(text.trim_end_matches('/').to_owned()))
    }
}

fn word(operation: PowerOperation) -> Option<&'static str> {
    match operation {
        PowerOperation::On => Some("on"),
        PowerOperation::Off => Some("off"),
        PowerOperation::Cycle => None,
    }
}

/// As a value of a query (RFC 3986 §2.3: all but the unreserved are escaped).
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

impl<'de> Deserialize<'de> for BaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            let text = shorten(&text);
            de::Error::custom(format_args!("\"{text}\" is no URL: write http://HOST:16421"))
        })
    }
}

impl<'de> Deserialize<'de> for OutletName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl Visitor<'_> for NameVisitor {
            type Value = OutletName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a number, as pdudaemon's configuration has it")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OutletName, E> {
                let fits = (1..=TEXT_BYTES_MAX).contains(&text.len())
                    && !text.contains(|c: char| c.is_control() || c.is_whitespace());
                if fits {
                    return Ok(OutletName(text.to_owned()));
                }
                Err(E::custom(format_args!(
                    "\"{}\" names no outlet: write the hostname and the port of pdudaemon's configuration",
                    shorten(text)
                )))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<OutletName, E> {
                Ok(OutletName(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<OutletName, E> {
                self.visit_str(&number.to_string())
            }
        }

        deserializer.deserialize_any(NameVisitor)
    }
}

impl<'de> Deserialize<'de> for HubPlace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PlaceVisitor;

        impl Visitor<'_> for PlaceVisitor {
            type Value = HubPlace;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a hub's place as uhubctl prints it, such as 1-1.4")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HubPlace, E> {
                let fits = (1..=HUB_PLACE_BYTES_MAX).contains(&text.len())
                    && text.split(['-', '.']).all(|number| {
                        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
                    });
                if fits {
                    return Ok(HubPlace(text.to_owned()));
                }
                Err(E::custom(format_args!(
                    "\"{}\" is no hub's place: write it as uhubctl prints it, such as 1-1.4",
                    shorten(text)
                )))
            }

            // A hub on a root port is a number to YAML.
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<HubPlace, E> {
                self.visit_str(&number.to_string())
            }
        }

        deserializer.deserialize_any(PlaceVisitor)
    }
}

impl<'de> Deserialize<'de> for HubPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        u8::try_from(number).ok().filter(|port| (1..=HUB_PORTS_MAX).contains(port)).map_or_else(
            || {
                Err(de::Error::custom(format_args!(
                    "a hub has no port {number}: ports are 1 to {HUB_PORTS_MAX}"
                )))
            },
            |port| Ok(Self(port)),
        )
    }
}

/// A host's name has at most 253 bytes; a URL is that and a little more.
const TEXT_BYTES_MAX: usize = 300;
/// Seven tiers of hubs (USB 2.0 §4.1.1), each a number and a sign.
const HUB_PLACE_BYTES_MAX: usize = 31;
/// uhubctl's own bound, `MAX_HUB_PORTS`.
const HUB_PORTS_MAX: u8 = 14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn hub() -> Uhubctl {
        yaml::from_str("f", "{hub: 1-1.4, port: 2}", &[]).unwrap()
    }

    #[test]
    fn what_pdudaemon_is_asked() {
        let text = "{url: \"http://pdu-host:16421/\", hostname: \"rack 2/a\", port: 3}";
        assert!(yaml::from_str::<Pdudaemon>("f", text, &[]).is_err(), "no spaces");
        let text = text.replace("rack 2/a", "rack&2/ä");
        let pdudaemon: Pdudaemon = yaml::from_str("f", &text, &[]).unwrap();
        assert_eq!(
            pdudaemon.request(PowerOperation::On).unwrap(),
            "http://pdu-host:16421/power/control/on?hostname=rack%262%2F%C3%A4&port=3"
        );
        assert_eq!(pdudaemon.request(PowerOperation::Cycle), None);
        for url in ["http://[::1]:16421", "https://farm/pdu", "http://10.0.0.1"] {
            assert!(BaseUrl::parse(url).is_some(), "{url}");
        }
        for url in [
            "",
            "http://",
            "http://:16421",
            "http://a:0",
            "http://a:x",
            "ftp://a",
            "http://a?x",
            "http://a:1:2",
            "http://me:secret@a",
            "http://a b",
            "http://[::1",
            "http://::1",
        ] {
            assert!(BaseUrl::parse(url).is_none(), "{url}");
        }
    }

    #[test]
    fn what_uhubctl_says_counts_and_not_its_status() {
        assert_eq!(
            hub().argv(PowerOperation::Off).unwrap(),
            ["uhubctl", "-l", "1-1.4", "-p", "2", "-a", "off"]
        );
        let output = |before: &str, after: &str| {
            format!(
                "Current status for hub 1-1.4 [05e3:0608 USB2.0 Hub, USB 2.00, 4 ports]\n  Port 2: {before}\nSent power off request\n\
                 New status for hub 1-1.4 [05e3:0608 USB2.0 Hub, USB 2.00, 4 ports]\n  Port 2: {after}\n"
            )
        };
        let (on, off) = ("0103 power enable connect [0403:6001 a power switch]", "0000 off");
        assert_eq!(hub().check(&output(on, off), PowerOperation::Off), Ok(()));
        assert_eq!(hub().check(&output(off, on), PowerOperation::On), Ok(()));
        let lie = hub().check(&output(on, on), PowerOperation::Off).unwrap_err();
        assert!(lie.contains("port 2 of hub 1-1.4 is still \"0103 power"), "{lie}");
        let lie = hub().check(&output(off, off), PowerOperation::On).unwrap_err();
        assert!(lie.ends_with("is still \"0000 off\""), "{lie}");
        // A device that calls itself so is no state.
        let named = output(on, "0001 connect [0403:6001 power]");
        assert_eq!(hub().check(&named, PowerOperation::Off), Ok(()));
        // One of the two hubs that share the port has not switched.
        let half = output(on, off) + &output(on, on);
        assert!(hub().check(&half, PowerOperation::Off).is_err());
        for text in
            ["", "Sent power off request\n", "New status for hub 1-1.4\n  Port 12: 0000 off\n"]
        {
            assert!(hub().check(text, PowerOperation::Off).unwrap_err().contains("did not say"));
        }
    }

    #[test]
    fn places_of_hubs() {
        for (text, is_place) in [
            ("hub: 2\nport: 1", true),
            ("hub: 2-1\nport: 14", true),
            ("hub: \"1-1.4; reboot\"\nport: 1", false),
            ("hub: -l\nport: 1", false),
            ("hub: 1-1\nport: 0", false),
            ("hub: 1-1\nport: 15", false),
        ] {
            assert_eq!(yaml::from_str::<Uhubctl>("f", text, &[]).is_ok(), is_place, "{text}");
        }
    }
}
