//! How a board's power is switched.
//!
//! In files: a word (`none`, `with-connection`, `ask`) or a map with one way of switching and how patiently that is
//! done. Nothing is switched here.

mod command;
mod outlet;

use std::fmt;
use std::time::Duration;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

pub use command::HostCommand;
pub use outlet::{Pdudaemon, Uhubctl};

use super::connection::PowerOperation;
use super::value::{Period, shorten};
use super::yaml::did_you_mean;

/// How a board's power is switched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a board has one, and most have a switch")]
pub enum Power {
    /// Not at all: whoever does it does it unasked.
    None,
    /// The board is the connection's child process: on starts it, off kills it.
    WithConnection,
    /// In some way.
    Switch(Switch, Patience),
}

/// A way of switching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Commands of this host. Exit status 0 means accepted.
    Commands {
        /// Switches on.
        on: HostCommand,
        /// Switches off.
        off: HostCommand,
        /// Does both; without it: off, [`Patience::settle`], [`Patience::delay`], on.
        cycle: Option<HostCommand>,
    },
    /// A pdudaemon does it.
    Pdudaemon(Pdudaemon),
    /// The port of an USB hub that feeds the board.
    Uhubctl(Uhubctl),
    /// A child process: the power is on while it runs.
    Exec(HostCommand),
    /// A person, who is asked.
    Ask,
}

/// How patiently a board is switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How often a switch that failed is tried again.
    pub retries: u32,
    /// The pause before that.
    pub retry_delay: Duration,
    /// How long one try may take.
    pub deadline: Duration,
    /// How long the line must be silent to show that the board is off.
    pub settle: Duration,
    /// How much longer it then stays off in a cycle.
    pub delay: Duration,
}

impl Patience {
    /// With a person who is asked: long, and once.
    pub fn of_person() -> Self {
        Self {
            retries: 0,
            retry_delay: RETRY_DELAY,
            deadline: ASK_DEADLINE,
            settle: SETTLE,
            delay: Duration::ZERO,
        }
    }
}

impl Power {
    /// Whether the power ends with this process: nobody else can switch the board on for it, or find it on.
    pub fn ends_with_us(&self) -> bool {
        matches!(self, Self::WithConnection | Self::Switch(Switch::Exec(_), _))
    }

    /// Whether the power can be switched without a person.
    pub fn is_automatic(&self) -> bool {
        !matches!(self, Self::None | Self::Switch(Switch::Ask, _))
    }
}

impl Switch {
    /// Whether it switches off and on in one.
    pub fn has_cycle(&self) -> bool {
        matches!(self, Self::Commands { cycle: Some(_), .. } | Self::Ask)
    }

    /// The command of an operation, where it is one.
    pub fn command(&self, operation: PowerOperation) -> Option<&HostCommand> {
        let Self::Commands { on, off, cycle } = self else { return None };
        match operation {
            PowerOperation::On => Some(on),
            PowerOperation::Off => Some(off),
            PowerOperation::Cycle => cycle.as_ref(),
        }
    }
}

impl<'de> Deserialize<'de> for Power {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PowerVisitor;

        impl<'de> Visitor<'de> for PowerVisitor {
            type Value = Power;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("power: none, with-connection, ask or {on: COMMAND, off: COMMAND}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Power, E> {
                match text {
                    "none" => Ok(Power::None),
                    "with-connection" => Ok(Power::WithConnection),
                    "ask" => Form::default()
                        .patience()
                        .map(|patience| Power::Switch(Switch::Ask, patience)),
                    _ if text.starts_with("pdudaemon") => Err(E::custom(
                        "pdudaemon is a key: write {pdudaemon: {url: http://HOST:16421, hostname: PDU, port: OUTLET}}",
                    )),
                    _ => Err(E::custom(format_args!(
                        "\"{}\" is no power: {}, or write {{on: COMMAND, off: COMMAND}}",
                        shorten(text),
                        did_you_mean(text, WORDS)
                    ))),
                }
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Power, M::Error> {
                let form = Form::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let patience = form.patience()?;
                Ok(Power::Switch(form.switch()?, patience))
            }
        }

        deserializer.deserialize_any(PowerVisitor)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    on: Option<HostCommand>,
    off: Option<HostCommand>,
    cycle: Option<HostCommand>,
    pdudaemon: Option<Pdudaemon>,
    uhubctl: Option<Uhubctl>,
    exec: Option<HostCommand>,
    ask: Option<bool>,
    retries: Option<Retries>,
    retry_delay: Option<Period>,
    deadline: Option<Period>,
    settle: Option<Period>,
    delay: Option<Period>,
}

/// At most [`RETRIES_MAX`].
struct Retries(u32);

impl Form {
    fn switch<E: de::Error>(self) -> Result<Switch, E> {
        let has_command = self.on.is_some() || self.off.is_some() || self.cycle.is_some();
        let ways = [
            ("on and off", has_command),
            ("pdudaemon", self.pdudaemon.is_some()),
            ("uhubctl", self.uhubctl.is_some()),
            ("exec", self.exec.is_some()),
            ("ask", self.ask.is_some()),
        ];
        let mut given = ways.iter().filter(|(_, is_given)| *is_given).map(|(word, _)| *word);
        match (given.next(), given.next()) {
            (Some(one), Some(other)) => {
                return Err(E::custom(format_args!(
                    "power is switched in one way, and here are {one} and {other}: take one out"
                )));
            }
            (None, _) => {
                return Err(E::custom(
                    "power says not how it is switched: add on and off, pdudaemon, uhubctl, exec or ask",
                ));
            }
            (Some(_), None) => {}
        }
        Ok(match self {
            Self { pdudaemon: Some(pdudaemon), .. } => Switch::Pdudaemon(pdudaemon),
            Self { uhubctl: Some(uhubctl), .. } => Switch::Uhubctl(uhubctl),
            Self { exec: Some(exec), .. } => Switch::Exec(exec),
            Self { ask: Some(true), .. } => Switch::Ask,
            Self { ask: Some(false), .. } => {
                return Err(E::custom("ask: false is no way of switching: write power: none"));
            }
            Self { on, off, cycle, .. } => Switch::Commands {
                on: on.ok_or_else(|| E::missing_field("on"))?,
                off: off.ok_or_else(|| E::missing_field("off"))?,
                cycle,
            },
        })
    }

    fn patience<E: de::Error>(&self) -> Result<Patience, E> {
        // A person is not asked twice: who has not heard the first time is not there.
        let is_asking = self.ask == Some(true) || self.is_empty();
        if is_asking && (self.retries.is_some() || self.retry_delay.is_some()) {
            return Err(E::custom("a person is asked once: take retries and retry_delay out"));
        }
        let retries = self.retries.as_ref().map_or(RETRIES, |retries| retries.0);
        let deadline = if is_asking { ASK_DEADLINE } else { DEADLINE };
        Ok(Patience {
            retries: if is_asking { 0 } else { retries },
            retry_delay: bounded("retry_delay", self.retry_delay, RETRY_DELAY, RETRY_DELAY_MAX)?,
            deadline: bounded("deadline", self.deadline, deadline, DEADLINE_MAX)?,
            settle: bounded("settle", self.settle, SETTLE, SETTLE_MAX)?,
            delay: bounded("delay", self.delay, Duration::ZERO, DELAY_MAX)?,
        })
    }

    /// Whether it stands for the word `ask`.
    fn is_empty(&self) -> bool {
        let has_command = self.on.is_some() || self.off.is_some() || self.cycle.is_some();
        let has_way = self.pdudaemon.is_some() || self.uhubctl.is_some() || self.exec.is_some();
        !has_command && !has_way && self.ask.is_none()
    }
}

fn bounded<E: de::Error>(
    key: &str,
    period: Option<Period>,
    default: Duration,
    max: Duration,
) -> Result<Duration, E> {
    let Some(period) = period.map(Period::duration) else { return Ok(default) };
    if period > max {
        let (period_s, max_s) = (period.as_secs(), max.as_secs());
        return Err(E::custom(format_args!("{key}: {period_s} s is too long: {max_s} s at most")));
    }
    Ok(period)
}

impl<'de> Deserialize<'de> for Retries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        if number > RETRIES_MAX {
            return Err(de::Error::custom(format_args!(
                "{number} retries are too many: {RETRIES_MAX} at most"
            )));
        }
        Ok(Self(number))
    }
}

const WORDS: [&str; 3] = ["none", "with-connection", "ask"];

/// With the first try three: as often as a board is started (`TRIES` of `board::spec`).
const RETRIES: u32 = 2;
/// What fails ten times is broken, and not busy.
const RETRIES_MAX: u32 = 10;
/// A PDU that was asked too fast has answered the others by then.
const RETRY_DELAY: Duration = Duration::from_secs(2);
/// A retry after more is another job.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(300);
/// Slow PDUs take some 10 s for one outlet, and answer the next only after that; pdudaemon tries five times, 5 s apart.
const DEADLINE: Duration = Duration::from_secs(60);
/// From a desk to a rack and back.
const ASK_DEADLINE: Duration = Duration::from_secs(600);
/// What takes longer holds up a lab for nothing.
const DEADLINE_MAX: Duration = Duration::from_secs(3600);
/// LAVA's default between off and on (`hard_reset_command` of most farms sleeps for it).
const SETTLE: Duration = Duration::from_secs(1);
/// Nothing that is off goes on sending for so long.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// The largest capacitors, and batteries that have to notice.
const DELAY_MAX: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::super::template::{Placeholder, Values};
    use super::super::yaml;
    use super::*;

    fn parse(text: &str) -> Result<Power, String> {
        yaml::from_str("f", text, &[]).map_err(|error| error.to_string())
    }

    fn switch(text: &str) -> (Switch, Patience) {
        match parse(text) {
            Ok(Power::Switch(switch, patience)) => (switch, patience),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn words() {
        assert_eq!(parse("none"), Ok(Power::None));
        assert_eq!(parse("with-connection"), Ok(Power::WithConnection));
        assert_eq!(parse("ask"), parse("{ask: true}"));
        let (ask, patience) = switch("ask");
        assert_eq!((ask, patience.retries, patience.deadline), (Switch::Ask, 0, ASK_DEADLINE));
    }

    #[test]
    fn commands() {
        let (commands, patience) =
            switch("{on: [relay, \"{board}\"], off: relay off, settle: 3s, retries: 0}");
        let values = Values::new().with(Placeholder::Board, "bbb-01");
        let argv = |operation| commands.command(operation).map(|c| c.argv(&values).unwrap());
        assert_eq!(argv(PowerOperation::On).unwrap(), ["relay", "bbb-01"]);
        assert_eq!(argv(PowerOperation::Off).unwrap(), ["/bin/sh", "-c", "relay off"]);
        assert_eq!(argv(PowerOperation::Cycle), None);
        assert!(!commands.has_cycle());
        assert_eq!(
            patience,
            Patience {
                retries: 0,
                retry_delay: Duration::from_secs(2),
                deadline: Duration::from_secs(60),
                settle: Duration::from_secs(3),
                delay: Duration::ZERO,
            }
        );
    }

    #[test]
    fn ways() {
        let (pdudaemon, patience) = switch(
            "pdudaemon: {url: \"http://farm:16421\", hostname: pdu01, port: 3}\nretries: 4\nretry_delay: 500ms\ndeadline: 2m\ndelay: 5s\n",
        );
        assert!(matches!(pdudaemon, Switch::Pdudaemon(_)));
        assert_eq!((patience.retries, patience.retry_delay.as_millis()), (4, 500));
        assert_eq!((patience.deadline.as_secs(), patience.delay.as_secs()), (120, 5));
        assert!(matches!(switch("{uhubctl: {hub: 1-1.4, port: 2}}").0, Switch::Uhubctl(_)));
        assert!(matches!(switch("{exec: [hold, \"{board}\"]}").0, Switch::Exec(_)));
        assert!(parse("{exec: hold}").unwrap().ends_with_us());
        assert!(!parse("{ask: true, deadline: 1h}").unwrap().is_automatic());
    }

    #[test]
    fn mistakes() {
        for (text, expected) in [
            (
                "nome",
                "f: \"nome\" is no power: did you mean \"none\"?, or write {on: COMMAND, off: COMMAND}",
            ),
            (
                "pdudaemon:pdu01",
                "f: pdudaemon is a key: write {pdudaemon: {url: http://HOST:16421, hostname: PDU, port: OUTLET}}",
            ),
            ("on: relay on", "f:1: missing key \"off\": add \"off: …\""),
            (
                "on: []\noff: x",
                "f:1: a command is missing: write a text for the shell, or [PROGRAM, ARGUMENT, …]",
            ),
            ("on: x {disk}\noff: x", "f:1: unknown placeholder {disk}: known are board"),
            ("on: x\nof: x", "f:2: unknown key \"of\": did you mean \"off\"?"),
            ("exec: x\nsetle: 1s", "f:2: unknown key \"setle\": did you mean \"settle\"?"),
            ("pdudeamon: {url: x}", "f:1: unknown key \"pdudeamon\": did you mean \"pdudaemon\"?"),
            (
                "pdudaemon:\n  url: http://farm\n  hostnme: pdu01\n  port: 3",
                "f:3: unknown key \"hostnme\": did you mean \"hostname\"?",
            ),
            (
                "pdudaemon:\n  url: http://farm\n  port: 3",
                "f:3: missing key \"hostname\": add \"hostname: …\"",
            ),
            (
                "pdudaemon:\n  url: farm:16421\n  hostname: a\n  port: 3",
                "f:2: \"farm:16421\" is no URL: write http://HOST:16421",
            ),
            ("uhubctl: {hub: 1-1.4, prot: 2}", "f:1: unknown key \"prot\": did you mean \"port\"?"),
            ("uhubctl: {hub: 1-1.4, port: 99}", "f:1: a hub has no port 99: ports are 1 to 14"),
            (
                "exec: x\nask: true",
                "f: power is switched in one way, and here are exec and ask: take one out",
            ),
            (
                "settle: 1s",
                "f: power says not how it is switched: add on and off, pdudaemon, uhubctl, exec or ask",
            ),
            ("exec: x\nretries: 11", "f:2: 11 retries are too many: 10 at most"),
            ("exec: x\nsettle: 2m", "f: settle: 120 s is too long: 60 s at most"),
            (
                "ask: true\nretries: 1",
                "f: a person is asked once: take retries and retry_delay out",
            ),
            ("ask: false", "f: ask: false is no way of switching: write power: none"),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()));
        }
    }
}
