//! A device of LAVA becomes a board of a lab file: its dictionary, as LAVA's API renders it
//! (`GET /api/v0.2/devices/NAME/dictionary/?render=true`; form: `lava_common/schemas/device.py`).

use super::import::{Imported, ImportedJob, name_of};
use super::output::{Map, Yaml};
use super::report::Report;
use super::tree::{Field, Keys, Node, Value};
use crate::config::value::shorten;
use crate::config::yaml::{self, FileError};

/// Whether a text is meant as a device: its `actions` is a map of what it can do, or it has `commands` and no actions.
pub fn is_device(text: &str) -> bool {
    let Ok(node) = yaml::from_made_str::<Node>("", text) else { return false };
    let mut unread = Report::new("");
    let mut keys = Field::root(node).keys(&mut unread);
    match keys.take("actions") {
        Some(actions) => actions.is_map(),
        None => keys.take("constants").or_else(|| keys.take("commands")).is_some(),
    }
}

/// The lab file with the one board that a dictionary becomes. `name` is the board's; a dictionary does not have it.
///
/// # Errors
/// The text is no YAML or no map, or holds too much.
pub fn import(file: &str, text: &str, name: &str) -> Result<Imported, FileError> {
    let root = Field::root(yaml::from_made_str(file, text)?);
    if !root.is_map() {
        return Err(FileError::at(
            file,
            root.at,
            "a device dictionary is a map of keys and values",
        ));
    }
    let mut report = Report::new(file);
    let mut keys = root.keys(&mut report);
    let mut board = Map::default();
    let name = name_of(name);
    board.set("name", name.as_str());
    let device_type = keys.take("device_type").and_then(|field| {
        report.mapped(&field, "boards[].type");
        field.text(&mut report)
    });
    let device_type = device_type.map(|text| name_of(&text));
    let by_methods = board_type(&keys);
    if let (None, Some(field)) = (&device_type, keys.clone().take("actions")) {
        report.mapped(
            &field,
            format!("boards[].type: {by_methods}, by its boot methods: name the board's own type when it has a file"),
        );
    }
    board.set("type", device_type.unwrap_or_else(|| by_methods.to_owned()));
    if let Some(field) = keys.take("commands") {
        commands(field, &mut board, &mut report);
    }
    if let Some(field) = keys.take("tags") {
        report.mapped(&field, "boards[].tags");
        board.set("tags", field.texts(&mut report));
    }
    rest(&mut keys, &mut report);
    keys.end(&mut report);
    report.sort();
    let mut lab = Map::default();
    lab.set("boards", vec![Yaml::from(board)]);
    let comment = format!("# Made of the device dictionary {}.\n", shorten(file));
    let text = lab.to_text(&comment).map_err(|error| FileError::whole(file, error.to_string()))?;
    Ok(Imported { jobs: vec![ImportedJob { name, text }], report })
}

/// What the device can do tells its kind of boot loader; of which type it is, the lab must say.
fn board_type(keys: &Keys) -> &'static str {
    let mut unread = Report::new("");
    let mut keys = keys.clone();
    let boot = keys.take("actions").and_then(|field| field.keys(&mut unread).take("boot"));
    let methods = boot.and_then(|field| field.keys(&mut unread).take("methods"));
    let methods = methods.map(|field| field.keys(&mut unread).rest()).unwrap_or_default();
    let has = |name: &str| methods.iter().any(|(method, _)| method == name);
    match () {
        () if has("qemu") => "qemu-virt-armv7",
        () if has("u-boot") => "u-boot",
        () => "generic",
    }
}

fn commands(field: Field, board: &mut Map, report: &mut Report) {
    let mut keys = field.keys(report);
    connection(&mut keys, board, report);
    let mut power = Map::default();
    for (key, ours) in [("power_on", "on"), ("power_off", "off"), ("hard_reset", "cycle")] {
        if let Some(field) = keys.take(key) {
            report.mapped(&field, format!("boards[].power.{ours}"));
            let commands = field.texts(report);
            if !commands.is_empty() {
                power.set(ours, commands.join(" && "));
            }
        }
    }
    match (power.get("on"), power.get("off"), power.get("cycle")) {
        (None, None, None) => {}
        (Some(_), Some(_), _) => board.set("power", power),
        (None, Some(_), Some(cycle)) => {
            // A hard reset leaves the board switched on, whatever it was.
            let on = cycle.clone();
            power.set("on", on);
            board.set("power", power);
        }
        _ => {
            let field = Field { path: keys.path_of("power_on"), at: keys.at, value: Value::Null };
            report.unsupported(
                &field,
                "a board's power is switched on and off: add power_on and power_off, or power: to the lab file",
            );
        }
    }
    for (key, why) in [
        ("soft_reboot", "the agent restarts the board"),
        ("soft_reset", "the agent restarts the board"),
        ("pre_power_command", "put it in front of power.on"),
        ("pre_os_command", "put it in front of power.on"),
        ("must_use_connection", "a board has one line, which carries everything"),
        ("users", "a job types no commands on the host"),
    ] {
        if let Some(field) = keys.take(key) {
            report.ignored(&field, why);
        }
    }
    keys.end(report);
}

/// `connect`, or of several `connections` the primary one.
fn connection(keys: &mut Keys, board: &mut Map, report: &mut Report) {
    let mut found = keys.take("connect");
    if let Some(field) = keys.take("connections") {
        for (_, field) in field.keys(report).rest() {
            let whole = field.clone();
            let mut keys = field.keys(report);
            let tags = keys.take("tags").map(|tags| tags.texts(report)).unwrap_or_default();
            let connect = keys.take("connect");
            keys.end(report);
            if tags.iter().any(|tag| tag == "primary") && found.is_none() {
                found = connect;
            } else {
                report.ignored(&whole, "a board has one line, which carries everything");
            }
        }
    }
    let Some(field) = found else {
        let field = Field { path: keys.path_of("connect"), at: keys.at, value: Value::Null };
        return report.ignored(&field, "no connection: an emulated board's comes with its type");
    };
    let Some(text) = field.text(report) else { return };
    let connection = connection_of(&text);
    let shown = match &connection {
        Yaml::Text(text) => text.clone(),
        _ => "exec".to_owned(),
    };
    report.mapped(&field, format!("boards[].connection: {shown}"));
    board.set("connection", connection);
}

/// `telnet HOST PORT` is reached directly; every other command becomes the line itself.
fn connection_of(command: &str) -> Yaml {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["telnet", host, port] if port.parse::<u16>().is_ok_and(|port| port > 0) => {
            let host = if host.contains(':') { format!("[{host}]") } else { (*host).to_owned() };
            format!("telnet://{host}:{port}").into()
        }
        _ => {
            let mut map = Map::default();
            map.set("exec", vec!["sh".to_owned(), "-c".to_owned(), format!("exec {command}")]);
            map.into()
        }
    }
}

/// What stands in a board type here.
fn rest(keys: &mut Keys, report: &mut Report) {
    for (key, why) in [
        ("actions", "how a board of this kind is booted and deployed stands in its board type"),
        ("parameters", "addresses and media of boot commands stand in the board type"),
        ("constants", "texts of its boot loader and kernel stand in the board type"),
        ("timeouts", "deadlines: of the board type"),
        ("character_delays", "boot_loader.character_delay of the board type"),
        ("device_info", "tests ask the board itself"),
        ("static_info", "tests ask the board itself"),
        ("storage_info", "tests ask the board itself"),
        ("environment", "environment: of a job"),
        ("available_architectures", "the agent says what it runs on"),
        ("adb_serial_number", "no board is used by adb"),
        ("fastboot_serial_number", "no board is used by fastboot"),
        ("fastboot_options", "no board is used by fastboot"),
        ("fastboot_via_uboot", "no board is used by fastboot"),
        ("flash_cmds_order", "no board is used by fastboot"),
    ] {
        if let Some(field) = keys.take(key) {
            report.ignored(&field, why);
        }
    }
}
