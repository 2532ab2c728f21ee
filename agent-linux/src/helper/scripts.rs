//! The helpers that ask the system: each a shell's text, which costs less program than anything else.

use super::{End, case, variable};
use crate::sys::identity;
use crate::sys::output::{self, STDOUT};
use crate::text;

/// Runs the script of this name; its status is the helper's.
pub(super) fn run(name: &str, words: &[&[u8]]) -> Result<(), End> {
    let text = SCRIPTS.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text);
    let text = [FUNCTIONS, text].concat();
    let exit =
        case::shell(text.as_bytes(), words, b"").map_err(|error| case::about("/bin/sh", error))?;
    match (exit.end, exit.code) {
        (agent_core::wire::response::Exit::EXITED, 0) => Ok(()),
        (agent_core::wire::response::Exit::EXITED, status) => Err(End::Status(status)),
        (_, signal) => Err(End::Status(128 + signal)),
    }
}

/// `lava-target-ip`: the board's IPv4 address, of the first interface that has one unless `TARGET_DEVICE_IP` says it;
/// `lava-echo-ipv4 INTERFACE`: that of an interface. Nothing when there is none.
pub(super) fn address(name: &str, words: &[&str]) -> Result<(), End> {
    let interface = match (name, words) {
        ("lava-target-ip", []) => None,
        ("lava-echo-ipv4", [interface]) => Some(*interface),
        ("lava-target-ip", _) => return Err(End::Usage("(no words)")),
        _ => return Err(End::Usage("INTERFACE")),
    };
    let told = if interface.is_none() { variable("TARGET_DEVICE_IP=") } else { None };
    let found = match told {
        Some(told) => told,
        None => first_ipv4(&text::lossy(&identity::addresses(true)), interface),
    };
    output::print(STDOUT, &[&found, "\n"].concat());
    Ok(())
}

fn first_ipv4(addresses: &str, interface: Option<&str>) -> String {
    for address in addresses.split('\0') {
        let Some((name, address)) = address.split_once(' ') else { continue };
        let is_wanted = interface.map_or(name != "lo", |wanted| wanted == name);
        if is_wanted && !address.contains(':') {
            return address.split('/').next().unwrap_or_default().to_owned();
        }
    }
    String::new()
}

const FUNCTIONS: &str = "has() { command -v \"$1\" >/dev/null; }\n";

/// Names and texts. The names of packages' managers and their options are those that LAVA's scripts for each distribution
/// use.
pub(super) const SCRIPTS: &[(&str, &str)] = &[
    (
        "lava-target-mac",
        r#"[ "$TARGET_DEVICE_MAC" ] || for d in /sys/class/net/*; do
case $d in */lo) ;; *) [ -r $d/address ] && read -r TARGET_DEVICE_MAC <$d/address && break;; esac; done
echo "$TARGET_DEVICE_MAC""#,
    ),
    // Lines of a tab, a method, a tab, a device, written with backslashes.
    (
        "lava-target-storage",
        r#"t=$(printf '\t')
[ "$1" ] || { printf %b "$LAVA_STORAGE"; exit; }
printf '%b\n' "$LAVA_STORAGE" | while IFS=$t read -r method device; do
[ "$method" = "$1" ] && printf %s "$device" && exit 3; done
[ $? = 3 ]"#,
    ),
    (
        "lava-os-build",
        r#"[ -r /etc/os-release ] && . /etc/os-release
[ "$PRETTY_NAME" ] || read -r PRETTY_NAME 2>/dev/null </etc/issue || PRETTY_NAME=$(uname -sr)
echo "$PRETTY_NAME""#,
    ),
    (
        "lava-install-packages",
        r#"u=:; export DEBIAN_FRONTEND=noninteractive
if has apt-get; then u="apt-get update -q" i="apt-get install -y -q"
elif has dnf; then i="dnf install -y -q"
elif has yum; then i="yum -e 0 -y -q install"
elif has zypper; then i="zypper -n install"
elif has opkg; then u="opkg update" i="opkg install"
elif has pacman; then i="pacman -Syu --noprogressbar --noconfirm"
elif has apk; then u="apk update" i="apk add"
else echo "no package manager; the image must have: $*" >&2; exit 0; fi
n=0
until $u; $i "$@"; do
s=$? n=$((n + 1)); [ $n = 5 ] && exit $s
echo "failed $n times; again in 60 s" >&2; sleep 60; done"#,
    ),
    (
        "lava-installed-packages",
        r#"if has dpkg-query; then
dpkg-query -W -f '${Status}|package: ${Package} : ${Version}\n' | sed -n 's/^install ok installed|//p'
elif has rpm; then rpm -qa --qf 'package: %{NAME} : %{VERSION}-%{RELEASE}\n'
elif has opkg; then opkg list-installed | sed 's/^/package: /;s/ - / : /'
elif has pacman; then pacman -Q | sed 's/^/package: /;s/ / : /2'
elif has apk; then apk info -v | sed 's/^/package: /'
else echo "no package manager" >&2; fi"#,
    ),
    (
        "lava-add-keys",
        r#"if has gpg && gpg --recv-keys "$@" >/dev/null; then gpg --export "$@" >/etc/apt/trusted.gpg.d/lava.gpg
elif has apt-get; then DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@"
else echo "no keys can be added here" >&2; fi
exit 0"#,
    ),
    (
        "lava-add-sources",
        r#"if has add-apt-repository; then DEBIAN_FRONTEND=noninteractive add-apt-repository -y "$@"
elif [ -d /etc/apt/sources.list.d ]; then printf '%s\n' "$@" >>/etc/apt/sources.list.d/lava.list
else echo "no sources can be added here" >&2; fi
exit 0"#,
    ),
    ("lava-probe-ip", r#"echo "$PROBE_DEVICE_IP""#),
    ("lava-probe-channel", r#"echo "$PROBE_DEVICE_CHANNEL""#),
    ("lava-self", r#"echo "${LAVA_HOSTNAME:-$(uname -n)}""#),
    // Lines of a node, a tab, its role.
    (
        "lava-role",
        r#"[ "$1" = list ] || { printf %s "$TARGET_ROLE"; exit; }
echo "$LAVA_GROUP" | cut -f2 | sort -u"#,
    ),
    (
        "lava-group",
        r#"[ "$1" ] || { echo "$LAVA_GROUP"; exit; }
echo "$LAVA_GROUP" | { s=1; while read -r n r; do [ "$r" = "$1" ] && echo "$n" && s=0; done; exit $s; }"#,
    ),
];

/// Those that need other boards. `lava-network` is none of them: LAVA has dropped it.
pub(super) const MULTINODE: &[&str] =
    &["lava-role", "lava-group", "lava-send", "lava-wait", "lava-wait-all", "lava-sync"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_that_is_wanted() {
        let all = "lo 127.0.0.1/8\0eth0 fe80::1/64\0eth0 10.0.2.15/24\0wlan0 192.168.1.2/24\0";
        for (interface, expected) in [
            (None, "10.0.2.15"),
            (Some("lo"), "127.0.0.1"),
            (Some("wlan0"), "192.168.1.2"),
            (Some("eth1"), ""),
        ] {
            assert_eq!(first_ipv4(all, interface), expected);
        }
    }
}
