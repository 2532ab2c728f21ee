//! Labs: the boards of one dispatcher.
//!
//! A [`Board`] that comes out of here has its type, its connection and its power: what the lab does not say comes from
//! the board type. Without a lab file there is one lab, embedded here: an emulated board.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::board_type::{self, BoardType};
use super::connection::Connection;
use super::matching::matching;
use super::power::Power;
use super::shell::{self, Shell, ShellForm};
use super::side_lane::SideLane;
use super::value::{Name, Period};
use super::yaml::{self, Examples, FileError, Spanned, did_you_mean, place};

/// The boards of one dispatcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lab {
    /// The lab file; nothing for the embedded lab.
    pub file: Option<PathBuf>,
    /// The folder that `{images}` stands for, where the lab says so.
    pub images: Option<PathBuf>,
    /// The boards, at least one, in the file's order.
    pub boards: Vec<Board>,
    /// Jobs that show whether a board works, by board type.
    pub health_checks: BTreeMap<String, Check>,
    /// Folders of this host whose files every job that is submitted may name.
    pub job_folders: Vec<PathBuf>,
}

/// The health check of a board type.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The job's file.
    pub job: PathBuf,
    /// It is due when the last one is so old.
    pub every: Option<Period>,
    /// It is due after so many jobs.
    pub every_jobs: Option<u32>,
}

/// One board of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// Its name, alone in its lab.
    pub name: String,
    /// Its type.
    pub board_type: BoardType,
    /// How its line is reached.
    pub connection: Connection,
    /// How the agent's frames are carried, where that is not the console's line.
    pub agent_connection: Option<Connection>,
    /// How its power is switched.
    pub power: Power,
    /// The shell on its console, where an agent is to be put there through it.
    pub shell: Option<Shell>,
    /// What jobs may ask for beside the type.
    pub tags: Vec<String>,
    /// The lab's agents, by what `uname -m` calls the machine: what runs in the master image is handed over to these.
    pub agents: BTreeMap<String, PathBuf>,
    /// They stay on the board's disk.
    pub persists_agents: bool,
    /// Files of its master image that hold images: a deploy may read from them. At most two.
    pub image_files: Vec<String>,
    /// Where it finds this host on its network, if bulk may go that way.
    pub side_lane: Option<SideLane>,
}

/// The board that a job or a command asks for. What is not named is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardWish {
    /// This board.
    pub name: Option<String>,
    /// A board of this type.
    #[serde(rename = "type")]
    pub board_type: Option<String>,
    /// A board with all of these tags.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl Lab {
    /// The lab without a lab file: one emulated board of the type `qemu-virt-armv7`, named `qemu-01`.
    pub fn embedded() -> Self {
        match Self::from_str("the embedded lab", EMBEDDED, |_| Ok(Vec::new())) {
            Ok(lab) => lab,
            Err(error) => unreachable!("a test reads the same text: {error}"),
        }
    }

    /// The lab in a text. `file` is the name to show in errors; `types_in` reads the board types of a folder that the
    /// lab names.
    ///
    /// # Errors
    /// What is wrong, where, and how to mend it.
    pub fn from_str(
        file: &str,
        text: &str,
        types_in: impl FnOnce(&Path) -> Result<Vec<BoardType>, FileError>,
    ) -> Result<Self, FileError> {
        let form: LabForm = yaml::from_str(file, text, EXAMPLES)?;
        let mut types: HashMap<String, BoardType> = BoardType::shipped()
            .into_iter()
            .map(|board_type| (board_type.name.clone(), board_type))
            .collect();
        if let Some(folder) = &form.board_types {
            types.extend(
                types_in(folder)?
                    .into_iter()
                    .map(|board_type| (board_type.name.clone(), board_type)),
            );
        }
        if form.boards.value.is_empty() {
            return Err(FileError::at(file, place(&form.boards), "the lab has no board")
                .mend("add \"- {name: bbb-01, type: generic, connection: …}\""));
        }
        let (agents, persists_agents) = (form.agents, form.persist_agents);
        let mut lines: HashMap<String, u32> = HashMap::new();
        let mut boards = Vec::with_capacity(form.boards.value.len());
        for form in form.boards.value {
            let at = place(&form.name);
            if let Some(line) = lines.insert(form.name.value.as_str().to_owned(), at.line) {
                let message =
                    format!("the board {} stands in line {line} already", form.name.value);
                return Err(
                    FileError::at(file, at, message).mend("give each board a name of its own")
                );
            }
            boards.push(board_of(file, form, &types, &agents, persists_agents)?);
        }
        if let Some(checks) = &form.health_checks {
            let unknown = checks.value.keys().find(|name| !types.contains_key(name.as_str()));
            if let Some(name) = unknown {
                let mut known: Vec<&str> = types.keys().map(String::as_str).collect();
                known.sort_unstable();
                let message = format!("a health check for the unknown board type \"{name}\"");
                return Err(FileError::at(file, place(checks), message)
                    .mend(did_you_mean(name.as_str(), known)));
            }
        }
        let health_checks = form.health_checks.into_iter().flat_map(|checks| checks.value);
        Ok(Self {
            file: None,
            images: form.images,
            boards,
            health_checks: health_checks
                .map(|(name, check)| (name.as_str().to_owned(), check))
                .collect(),
            job_folders: form.job_folders,
        })
    }

    /// The lab in a file. Folders that it names are relative to it.
    ///
    /// # Errors
    /// What is wrong, where, and how to mend it.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        let text = yaml::read(path)?;
        let mut lab = Self::from_str(&path.display().to_string(), &text, |folder| {
            load_types(&base.join(folder))
        })?;
        lab.images = lab.images.map(|images| base.join(images));
        for path in lab.boards.iter_mut().flat_map(|board| board.agents.values_mut()) {
            *path = base.join(&path);
        }
        for board in &mut lab.boards {
            // That of a type is relative to the type's file already.
            if board.shell != board.board_type.shell {
                board.shell = board.shell.take().map(|shell| shell.within(base));
            }
        }
        for check in lab.health_checks.values_mut() {
            check.job = base.join(&check.job);
        }
        for folder in &mut lab.job_folders {
            *folder = base.join(&*folder);
        }
        lab.file = Some(path.to_owned());
        Ok(lab)
    }

    /// The board types in the folder that a lab file names, each with its file; none where it names none.
    ///
    /// # Errors
    /// What is wrong, where, and how to mend it.
    pub fn own_types(path: &Path) -> Result<Vec<(PathBuf, BoardType)>, FileError> {
        let text = yaml::read(path)?;
        let form: LabForm = yaml::from_str(&path.display().to_string(), &text, EXAMPLES)?;
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        form.board_types.map_or_else(|| Ok(Vec::new()), |folder| type_files(&base.join(folder)))
    }

    /// The board of a name.
    ///
    /// # Errors
    /// There is none; says which there are.
    pub fn board(&self, name: &str) -> Result<&Board, WishError> {
        self.boards
            .iter()
            .find(|board| board.name == name)
            .ok_or_else(|| WishError::NoSuchName(name.to_owned(), did_you_mean(name, self.names())))
    }

    /// The first board that has everything that is asked for.
    ///
    /// # Errors
    /// There is none; says which there are.
    pub fn find(&self, wish: &BoardWish) -> Result<&Board, WishError> {
        if let Some(name) = &wish.name {
            let board = self.board(name)?;
            return if wish.is_met_by(board) {
                Ok(board)
            } else {
                Err(WishError::NotSo(name.clone()))
            };
        }
        self.boards.iter().find(|board| wish.is_met_by(board)).ok_or_else(|| {
            let boards = self.boards.iter().take(BOARDS_LISTED_MAX);
            let mut list: Vec<String> =
                boards.map(|board| format!("{} ({})", board.name, board.board_type.name)).collect();
            if self.boards.len() > BOARDS_LISTED_MAX {
                list.push("…".into());
            }
            WishError::None(wish.describe(), list.join(", "))
        })
    }

    /// A board for each wish, no two the same; which of several is left to what the others need.
    ///
    /// # Errors
    /// A wish that no board meets; or there are not enough of them for all.
    pub fn find_all(&self, wishes: &[BoardWish]) -> Result<Vec<&Board>, WishError> {
        for wish in wishes {
            self.find(wish)?;
        }
        let meets = |wish: usize, board: usize| wishes[wish].is_met_by(&self.boards[board]);
        let found = matching(wishes.len(), self.boards.len(), meets);
        if let Some(wish) = found.iter().position(Option::is_none) {
            return Err(WishError::TooFew(wishes.len(), wishes[wish].describe()));
        }
        Ok(found.into_iter().flatten().map(|board| &self.boards[board]).collect())
    }

    fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.boards.iter().map(|board| board.name.as_str())
    }
}

impl Board {
    /// The connection of the line that carries the agent's frames.
    pub fn agents_connection(&self) -> &Connection {
        self.agent_connection.as_ref().unwrap_or(&self.connection)
    }
}

impl BoardWish {
    /// A wish for the board of this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    fn is_met_by(&self, board: &Board) -> bool {
        self.is_met(&board.name, &board.board_type.name, &board.tags)
    }

    /// Whether a board of this name and type, with these tags, is what is asked for.
    pub fn is_met(&self, name: &str, board_type: &str, tags: &[String]) -> bool {
        self.name.as_ref().is_none_or(|wanted| wanted == name)
            && self.board_type.as_ref().is_none_or(|wanted| wanted == board_type)
            && self.tags.iter().all(|tag| tags.contains(tag))
    }

    pub(crate) fn describe(&self) -> String {
        let named = self.name.as_ref().map(|name| format!("named {name}"));
        let of_type = self.board_type.as_ref().map(|name| format!("of the type {name}"));
        let tags =
            (!self.tags.is_empty()).then(|| format!("with the tags {}", self.tags.join(", ")));
        named.into_iter().chain(of_type).chain(tags).collect::<Vec<_>>().join(" ")
    }
}

fn load_types(folder: &Path) -> Result<Vec<BoardType>, FileError> {
    Ok(type_files(folder)?.into_iter().map(|(_, board_type)| board_type).collect())
}

fn type_files(folder: &Path) -> Result<Vec<(PathBuf, BoardType)>, FileError> {
    let name = folder.display().to_string();
    let fail = |error: std::io::Error| {
        FileError::whole(&name, format!("the lab's board_types folder cannot be read: {error}"))
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            paths.push(path);
        }
        if paths.len() > TYPES_MAX {
            return Err(FileError::whole(&name, format!("more than {TYPES_MAX} board types")));
        }
    }
    // The order of a folder is chance; two files with one name must give the same type every time.
    paths.sort();
    let load = |path: PathBuf| BoardType::load(&path).map(|board_type| (path, board_type));
    paths.into_iter().map(load).collect()
}

fn board_of(
    file: &str,
    form: BoardForm,
    types: &HashMap<String, BoardType>,
    agents: &BTreeMap<String, PathBuf>,
    persists_agents: bool,
) -> Result<Board, FileError> {
    let wanted = form.board_type.value.as_str();
    let Some(board_type) = types.get(wanted) else {
        let mut known: Vec<&str> = types.keys().map(String::as_str).collect();
        known.sort_unstable();
        return Err(FileError::at(
            file,
            place(&form.board_type),
            format!("unknown board type \"{wanted}\""),
        )
        .mend(did_you_mean(wanted, known)));
    };
    let connection = form
        .connection
        .map(|connection| connection.value)
        .or_else(|| board_type.connection.clone());
    let Some(connection) = connection else {
        let message =
            format!("the board {} has no connection, and its type brings none", form.name.value);
        return Err(FileError::at(file, place(&form.name), message)
            .mend("add \"connection: serial:/dev/ttyUSB0?baud=115200\""));
    };
    let power =
        form.power.as_ref().map_or_else(|| board_type.power.clone(), |power| power.value.clone());
    if power == Power::WithConnection && !matches!(connection, Connection::Exec { .. }) {
        board_type::check_power(file, form.power.as_ref(), Some(&connection))?;
        let message = format!(
            "the type's power goes with the emulator, and the board {} has another connection",
            form.name.value
        );
        return Err(FileError::at(file, place(&form.name), message)
            .mend("add \"power: {on: …, off: …}\" or \"power: none\""));
    }
    let agent_connection = agent_connection(file, form.agent_connection, &connection, board_type)?;
    let image_files =
        form.image_files.map_or_else(|| Ok(Vec::new()), |files| image_files(file, files))?;
    let shell = match form.shell {
        Some(form) => Some(shell::shell(file, form)?),
        None => board_type.shell.clone(),
    };
    Ok(Board {
        name: form.name.value.as_str().to_owned(),
        connection: connection.with_default_baud(board_type.line.baud),
        agent_connection,
        power,
        agents: agents.clone(),
        persists_agents,
        shell,
        tags: form.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
        image_files,
        side_lane: match &board_type.emulator {
            Some(_) => form.side_lane.map(SideLane::emulated),
            None => form.side_lane,
        },
        board_type: board_type.clone(),
    })
}

/// The connection of the agent's own line. With a type's it comes only beside the type's console: another board of the type
/// is wired in its own way.
fn agent_connection(
    file: &str,
    given: Option<Spanned<Connection>>,
    console: &Connection,
    board_type: &BoardType,
) -> Result<Option<Connection>, FileError> {
    let baud = board_type.line.baud;
    if let Some(given) = given {
        board_type::check_agent_connection(file, &given, Some(console))?;
        return Ok(Some(given.value.with_default_baud(baud)));
    }
    let is_types = board_type.connection.as_ref() == Some(console);
    let of_type = board_type.agent_connection.clone().filter(|_| is_types);
    Ok(of_type.map(|connection| connection.with_default_baud(baud)))
}

fn image_files(file: &str, files: Spanned<Vec<String>>) -> Result<Vec<String>, FileError> {
    let is_path = |path: &String| path.starts_with('/') && path.len() <= IMAGE_PATH_MAX;
    if files.value.len() > IMAGE_FILES_MAX || !files.value.iter().all(is_path) {
        let message =
            format!("image_files are at most {IMAGE_FILES_MAX} absolute paths of the board");
        return Err(FileError::at(file, place(&files), message)
            .mend("write \"image_files: [/var/cache/pumice/base.img]\""));
    }
    Ok(files.value)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabForm {
    boards: Spanned<Vec<BoardForm>>,
    board_types: Option<PathBuf>,
    images: Option<PathBuf>,
    #[serde(default)]
    agents: BTreeMap<String, PathBuf>,
    #[serde(default)]
    persist_agents: bool,
    health_checks: Option<Spanned<BTreeMap<Name, Check>>>,
    #[serde(default)]
    job_folders: Vec<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoardForm {
    name: Spanned<Name>,
    #[serde(rename = "type")]
    board_type: Spanned<Name>,
    connection: Option<Spanned<Connection>>,
    agent_connection: Option<Spanned<Connection>>,
    power: Option<Spanned<Power>>,
    #[serde(default)]
    tags: Vec<Name>,
    image_files: Option<Spanned<Vec<String>>>,
    side_lane: Option<SideLane>,
    shell: Option<Spanned<ShellForm>>,
}

const EMBEDDED: &str = "boards:\n  - {name: qemu-01, type: qemu-virt-armv7}\n";
/// A folder with more is not one of board types.
const TYPES_MAX: usize = 1000;
/// A plan has at most four sources beside its target, and the other partition is one.
const IMAGE_FILES_MAX: usize = 2;
/// Both fit into a request beside the partition's label.
const IMAGE_PATH_MAX: usize = 100;
/// More than these do not fit on a line.
const BOARDS_LISTED_MAX: usize = 8;

const EXAMPLES: Examples = &[
    ("boards", "boards: [{name: bbb-01, type: generic, connection: …}]"),
    ("name", "name: bbb-01"),
    ("type", "type: generic"),
    ("on", "on: COMMAND"),
    ("off", "off: COMMAND"),
    ("exec", "exec: [PROGRAM, ARGUMENT, …]"),
    ("job", "job: health.yaml"),
];

/// Why a lab has no board that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WishError {
    /// No board of this name; and what may have been meant.
    NoSuchName(String, String),
    /// The board exists, and is not of the type or has not the tags that are asked for.
    NotSo(String),
    /// No board has what is described; and the boards that there are.
    None(String, String),
    /// The job's boards, so many, are more than there are; and for what there is none left.
    TooFew(usize, String),
}

impl std::fmt::Display for WishError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSuchName(name, mend) => write!(f, "the lab has no board \"{name}\": {mend}"),
            Self::NotSo(name) => write!(
                f,
                "the board {name} is not of the type, or has not the tags, that the job asks for"
            ),
            Self::TooFew(count, wish) => write!(
                f,
                "the job needs {count} boards at once, and the lab has not enough for it: there is none left {wish}"
            ),
            Self::None(wish, boards) => write!(f, "the lab has no board {wish}: it has {boards}"),
        }
    }
}

impl std::error::Error for WishError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Lab, String> {
        Lab::from_str("lab.yaml", text, |_| Ok(Vec::new())).map_err(|error| error.to_string())
    }

    #[test]
    fn the_embedded_lab_has_one_emulated_board() {
        let lab = Lab::embedded();
        let [board] = &lab.boards[..] else { panic!("one board is expected") };
        assert_eq!(
            (board.name.as_str(), board.board_type.name.as_str()),
            ("qemu-01", "qemu-virt-armv7")
        );
        assert_eq!(board.power, Power::WithConnection);
        assert!(matches!(board.connection, Connection::Exec { .. }));
    }

    #[test]
    fn the_example_is_read() {
        let text = include_str!("../../../examples/lab.yaml");
        let lab = Lab::from_str("examples/lab.yaml", text, |_| Ok(Vec::new()))
            .unwrap_or_else(|e| panic!("{e}"));
        assert!(lab.boards.len() >= 3);
    }

    #[test]
    fn every_wish_gets_a_board_of_its_own() {
        let boards = ["a, tags: [eth]", "b, tags: [eth, usb]", "c, tags: [usb]"].map(|board| {
            format!("  - {{name: {board}, type: generic, connection: \"serial:/dev/ttyS0\"}}\n")
        });
        let lab = parse(&format!("boards:\n{}", boards.concat())).unwrap();
        let found = |wishes: &[&str]| -> Result<Vec<String>, String> {
            let wish = |text: &&str| match text.strip_prefix('=') {
                Some(name) => BoardWish::named(name),
                None => BoardWish {
                    tags: text.split_whitespace().map(str::to_owned).collect(),
                    ..BoardWish::default()
                },
            };
            let wishes: Vec<BoardWish> = wishes.iter().map(wish).collect();
            let boards = lab.find_all(&wishes).map_err(|error| error.to_string())?;
            Ok(boards.iter().map(|board| board.name.clone()).collect())
        };
        for (wishes, expected) in [
            (&["", "", ""][..], &["a", "b", "c"][..]),
            // Who came first makes room for who has no choice.
            (&["eth", "=a"], &["b", "a"]),
            (&["usb", "eth", "=b"], &["c", "a", "b"]),
            (&["", "eth", "eth"], &["c", "b", "a"]),
        ] {
            assert_eq!(found(wishes).unwrap(), expected, "{wishes:?}");
        }
        let few = "the job needs 3 boards at once, and the lab has not enough for it: there is none left with the tags usb";
        assert_eq!(found(&["usb", "eth usb", "usb"]).unwrap_err(), few);
        assert!(found(&["=d", ""]).unwrap_err().starts_with("the lab has no board \"d\""));
    }

    #[test]
    fn a_serial_device_gets_the_types_rate() {
        let lab =
            parse("boards: [{name: a, type: generic, connection: \"serial:/dev/ttyS0\"}]").unwrap();
        assert_eq!(
            lab.boards[0].connection,
            Connection::Serial {
                path: "/dev/ttyS0".into(),
                baud: Some(115_200),
                session_baud: None
            }
        );
    }

    #[test]
    fn an_agent_has_a_line_of_its_own() {
        let lab = |connections: &str| {
            parse(&format!("boards:\n - name: a\n   type: generic\n{connections}")).unwrap()
        };
        let two = lab("   connection: tcp://farm:1\n   agent_connection: serial:/dev/ttyUSB1\n");
        let serial: Connection = "serial:/dev/ttyUSB1?baud=115200".parse().unwrap();
        assert_eq!(two.boards[0].agents_connection(), &serial, "with the type's rate");
        let one = lab("   connection: tcp://farm:1\n");
        assert_eq!(one.boards[0].agents_connection(), &one.boards[0].connection);
        lab("   connection: {exec: [socat]}\n   agent_connection: {exec: [socat]}\n");
    }

    #[test]
    fn mistakes() {
        for (text, expected) in [
            (
                "boards: []\n",
                "lab.yaml:1: the lab has no board: add \"- {name: bbb-01, type: generic, connection: …}\"",
            ),
            (
                "boards:\n - {name: a, type: qemu-virt-armv8}\n",
                "lab.yaml:2: unknown board type \"qemu-virt-armv8\": did you mean \"qemu-virt-armv7\"?",
            ),
            (
                "boards:\n - {name: a, type: generic}\n",
                "lab.yaml:2: the board a has no connection, and its type brings none: add \"connection: serial:/dev/ttyUSB0?baud=115200\"",
            ),
            (
                "boards:\n - {name: a, type: qemu-virt-armv7}\n - name: a\n   type: qemu-virt-armv7\n",
                "lab.yaml:3: the board a stands in line 2 already: give each board a name of its own",
            ),
            (
                "boards:\n - name: a\n   type: generic\n   connection: rfc2217://farm\n",
                "lab.yaml:4: rfc2217 needs a host and a port: write rfc2217://HOST:PORT",
            ),
            (
                "boards:\n - name: a\n   type: generic\n   conection: tcp://farm:1\n",
                "lab.yaml:4: unknown key \"conection\": did you mean \"connection\"?",
            ),
            (
                "boards:\n - {name: a, type: qemu-virt-armv7, connection: \"tcp://farm:1\"}\n",
                "lab.yaml:2: the type's power goes with the emulator, and the board a has another connection: add \"power: {on: …, off: …}\" or \"power: none\"",
            ),
            (
                "boards:\n - name: a\n   type: generic\n   connection: tcp://farm:1\n   power: {on: x}\n",
                "lab.yaml:5: missing key \"off\": add \"off: COMMAND\"",
            ),
            (
                "boards:\n - name: a\n   type: generic\n   connection: serial:/dev/ttyUSB0?baud=9600\n   agent_connection: serial:/dev/ttyUSB0\n",
                "lab.yaml:5: agent_connection is the line of connection: take it out, if the agent shares the console's line",
            ),
            (
                "boards:\n - name: a\n   type: generic\n   connection: tcp://farm:1\n   agent_connection: telnet://farm:1\n",
                "lab.yaml:5: agent_connection is the line of connection: take it out, if the agent shares the console's line",
            ),
            (
                "boards:\n - name: a\n   type: generic\n   connection: tcp://farm:1\n   agent_conection: tcp://farm:2\n",
                "lab.yaml:5: unknown key \"agent_conection\": did you mean \"agent_connection\"?",
            ),
            (
                "boards:\n - name: a\n   type: qemu-virt-armv7\n   side_lane: lab-host\n",
                "lab.yaml:4: \"lab-host\" is no address of a side lane: write this host's address on the board's network, as in 192.168.7.1, 192.168.7.1:4000 or \"[fd00::1]:4000\"",
            ),
            (
                "boards:\n - name: a\n   type: qemu-virt-armv7\n   side_lane: {address: 10.1.1.1, listen: 0.0.0.0}\n",
                "lab.yaml:4: the side lane at 10.1.1.1 needs the port that is forwarded to this host: write \"address: 10.1.1.1:4000\"",
            ),
            (
                "boards:\n - name: a\n   type: qemu-virt-armv7\n   image_files: [base.img]\n",
                "lab.yaml:4: image_files are at most 2 absolute paths of the board: write \"image_files: [/var/cache/pumice/base.img]\"",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn wishes() {
        let lab = parse(
            "boards:\n - {name: a, type: generic, connection: \"unix:/a\"}\n - {name: b, type: generic, connection: \"unix:/b\", tags: [audio]}\n",
        )
        .unwrap();
        let wish = |board_type: &str, tags: &[&str]| BoardWish {
            name: None,
            board_type: Some(board_type.into()),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        };
        assert_eq!(lab.find(&wish("generic", &[])).unwrap().name, "a");
        assert_eq!(lab.find(&wish("generic", &["audio"])).unwrap().name, "b");
        assert_eq!(
            lab.find(&wish("bbb", &["audio"])).unwrap_err().to_string(),
            "the lab has no board of the type bbb with the tags audio: it has a (generic), b (generic)"
        );
        assert_eq!(
            lab.find(&BoardWish::named("c")).unwrap_err().to_string(),
            "the lab has no board \"c\": known are a, b"
        );
        let named = BoardWish { name: Some("a".into()), ..wish("generic", &["audio"]) };
        assert_eq!(lab.find(&named).unwrap_err(), WishError::NotSo("a".into()));
    }

    #[test]
    fn a_side_lane_is_this_host_as_the_board_sees_it() {
        let lane = |board_type: &str, value: &str| {
            let text = format!(
                "boards:\n - {{name: a, type: {board_type}, connection: tcp://h:1, power: none, side_lane: {value}}}\n"
            );
            parse(&text).unwrap().boards[0].side_lane.unwrap().socket().to_string()
        };
        assert_eq!(lane("generic", "192.168.7.1"), "192.168.7.1:0");
        assert_eq!(lane("generic", "{address: '10.1.1.1:4000', listen: 0.0.0.0}"), "0.0.0.0:4000");
        assert_eq!(
            lane("generic", "{address: '10.1.1.1:4000', listen: '[::1]:5000'}"),
            "[::1]:5000"
        );
        // What is sent to the emulator's network leads to the loopback.
        assert_eq!(lane("qemu-virt-armv7", "10.0.2.2"), "127.0.0.1:0");
        assert_eq!(
            parse("boards: [{name: a, type: qemu-virt-armv7}]").unwrap().boards[0].side_lane,
            None
        );
    }
}
