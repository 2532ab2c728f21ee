//! The board types that ship in the program, as the files that they are.

use super::board_type::BoardType;

impl BoardType {
    /// The board types that ship in the program, by name.
    pub fn shipped() -> Vec<Self> {
        let read = |(name, text): &(&str, &str)| match Self::from_str(&format!("{name}.yaml"), text)
        {
            Ok(board_type) => board_type,
            Err(error) => unreachable!("a test reads the same text: {error}"),
        };
        SHIPPED.iter().map(read).collect()
    }

    /// A board type that ships in the program.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::shipped().into_iter().find(|board_type| board_type.name == name)
    }

    /// The text of a shipped board type's file: what `pumice board-types show` prints.
    pub fn shipped_text(name: &str) -> Option<&'static str> {
        SHIPPED.iter().find(|(shipped, _)| *shipped == name).map(|(_, text)| *text)
    }
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../board-types/", $name, ".yaml")))),*]
    };
}

const SHIPPED: &[(&str, &str)] = shipped![
    "beaglebone-black",
    "generic",
    "imx6",
    "panda",
    "qemu-virt-aarch64",
    "qemu-virt-armv7",
    "raspberry-pi-3",
    "raspberry-pi-4",
    "rockchip",
    "u-boot",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::spec::BoardSpec;
    use crate::config::boot_loader::BootFrom;
    use crate::config::revive::Part;
    use crate::job::event::Slot;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/board-types");

    #[test]
    fn every_file_ships_under_its_name() {
        let mut files: Vec<String> = std::fs::read_dir(FOLDER)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let listed: Vec<String> = SHIPPED.iter().map(|(name, _)| format!("{name}.yaml")).collect();
        assert_eq!(files, listed);
        for (name, text) in SHIPPED {
            let board_type = BoardType::from_str(&format!("{name}.yaml"), text)
                .unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(board_type.name, *name);
            assert!((1..=100).contains(&board_type.description.len()), "{name}");
            assert!(text.starts_with("# "), "{name}: a file says first what it is for");
        }
        assert!(BoardType::by_name("generic").unwrap().boot.is_none());
    }

    /// What is typed can be typed: no place is left open, U-Boot's 16 words and the smallest buffer for a line suffice.
    #[test]
    fn every_script_can_be_typed() {
        for board_type in BoardType::shipped() {
            let name = &board_type.name;
            let Some(loader) = BoardSpec::boot_loader_of(&board_type, "b-01").unwrap() else {
                continue;
            };
            for (slot, from) in [
                (Slot::Master, BootFrom::Master),
                (Slot::Test, BootFrom::Master),
                (Slot::Test, BootFrom::TestBoot),
                (Slot::Test, BootFrom::TestRootfs),
            ] {
                let run = "2012-03-15-smoke-on-bookworm-0123456789ab";
                let script = board_type.boot_script(slot, from, "b-01", run).unwrap();
                assert!(script.len() >= 3, "{name}: {script:?}");
                for command in &script {
                    let length = command.len() + "; echo pumice-rc=$?".len();
                    assert!(length < CONFIG_SYS_CBSIZE, "{name}: {length} bytes: {command}");
                    let quoted = command.split('"').step_by(2);
                    let words: usize = quoted.map(|text| text.split_whitespace().count()).sum();
                    assert!(words < 16, "{name}: {words} words: {command}");
                    assert!(!command.replace("${", "").contains('{'), "{name}: {command}");
                }
                let boots = script.last().unwrap();
                assert!(
                    boots.starts_with("bootz ") || boots.starts_with("booti "),
                    "{name}: {boots}"
                );
            }
            assert!(loader.errors.iter().any(|error| error == "Failed to load"), "{name}");
            let revive = board_type.revive_script("b-01").unwrap();
            let sent: Vec<Part> = revive.iter().filter_map(|(_, part)| *part).collect();
            assert!([&sent[..1], &sent[sent.len() - 1..]] == [[Part::Kernel], [Part::Initrd]]);
            for (command, part) in &revive {
                assert_eq!(command.starts_with("loady ${"), part.is_some(), "{name}: {command}");
                assert!(command.len() + "; echo pumice-rc=$?".len() < CONFIG_SYS_CBSIZE, "{name}");
            }
            let arguments = &revive[revive.len() - 2].0;
            let console = board_type.line.console.trim_start_matches("/dev/");
            assert!(arguments.contains(&format!("console={console}")), "{name}: {arguments}");
            assert!(arguments.ends_with("rdinit=/revive\""), "{name}: {arguments}");
            let boots = board_type.boot_script(Slot::Master, BootFrom::Master, "b-01", "").unwrap();
            // ${filesize} is that of the last file: the initramfs.
            assert_eq!(revive.last().map(|(command, _)| command), boots.last(), "{name}");
        }
    }

    /// The line that the dispatcher opens is the kernel's console, and nobody else's.
    #[test]
    fn every_console_is_the_line() {
        for board_type in BoardType::shipped() {
            let (name, line) = (&board_type.name, &board_type.line);
            assert!([115_200, 1_500_000].contains(&line.baud), "{name}: {}", line.baud);
            let tty = line.console.strip_prefix("/dev/").unwrap();
            let Some(boot) = &board_type.boot else { continue };
            for slot in [Slot::Master, Slot::Test] {
                let arguments = boot.kernel_args.get(slot).source();
                let console = arguments.split_whitespace().find_map(|a| a.strip_prefix("console="));
                let console = console.unwrap();
                let (device, baud) = console.split_once(',').unwrap_or((console, ""));
                assert_eq!(device, tty, "{name}");
                assert!(baud.is_empty() || baud == line.baud.to_string(), "{name}: {baud}");
            }
            let test = boot.kernel_args.get(Slot::Test).source();
            assert!(test.contains(&format!("systemd.mask=serial-getty@{tty}.service")), "{name}");
            assert!(test.ends_with("init=/.pumice/agent -- --role test --run {run}"), "{name}");
        }
    }

    /// What docs/boards.md shows can be copied: whole board types, and ways to choose the next image.
    #[test]
    fn the_document_s_board_types_are_in_order() {
        let document = include_str!("../../../docs/boards.md");
        let blocks =
            document.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let whole = "name: a\nline: {}\npartitions: {master: 1, testboot: 2, testrootfs: 3}\n\
            kernel_args: {master: console=ttyS0, test: \"console=ttyS0 --run {run}\"}\n";
        let (mut types, mut choices) = (0, 0);
        for block in blocks {
            let text = match block {
                _ if block.starts_with("next_slot:") => format!("{whole}{block}"),
                _ if block.contains("\nline:") => block.to_owned(),
                _ => continue,
            };
            let board_type = BoardType::from_str("boards.md", &text)
                .unwrap_or_else(|error| panic!("{error}\n{text}"));
            if let Some(next_slot) = &board_type.next_slot {
                let test = next_slot.command(Slot::Test, BootFrom::Master, "b", "r-1").unwrap();
                assert!(test.len() < 3000 && !test.contains('\n'), "{test}");
                choices += 1;
            } else {
                let script = board_type.boot_script(Slot::Test, BootFrom::TestBoot, "b", "r-1");
                assert!(script.unwrap().iter().any(|line| line.contains("--run r-1")), "{text}");
                types += 1;
            }
        }
        assert_eq!((types, choices), (2, 4));
    }

    /// Nobody is made to believe that a board works which only its sources were read of.
    #[test]
    fn what_was_not_tried_says_so() {
        for board_type in BoardType::shipped() {
            let is_tried = board_type.connection.is_some() || board_type.name == "generic";
            let says = board_type.description.ends_with("; not tried on hardware by us");
            assert_eq!(says, !is_tried, "{}", board_type.name);
        }
    }

    /// U-Boot's buffer for a line where a board's configuration does not make it larger (lib Kconfig: 256, and 512 since
    /// 2022 with FIT images).
    const CONFIG_SYS_CBSIZE: usize = 256;
}
