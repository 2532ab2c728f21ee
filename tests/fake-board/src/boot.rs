//! The boot loader of a fake board: U-Boot's texts, its prompt, and as much of its shell as a dispatcher types.

use std::collections::BTreeMap;

/// U-Boot at its prompt.
#[derive(Debug)]
pub(crate) struct BootLoader {
    line: Vec<u8>,
    variables: BTreeMap<String, String>,
    status: u8,
    had_return: bool,
    failing: Option<(String, String)>,
}

/// What a byte came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Nothing yet.
    Nothing,
    /// The kernel is started with these arguments.
    Boot(String),
    /// The board is reset.
    Reset,
}

impl BootLoader {
    /// `failing`: a command that begins so prints that and ends with status 1.
    pub(crate) fn new(failing: Option<(String, String)>) -> Self {
        let variables = BTreeMap::from([("bootargs".to_owned(), String::new())]);
        Self { line: Vec::new(), variables, status: 0, had_return: false, failing }
    }

    /// Takes a byte that was typed; echo and output go into `text`.
    pub(crate) fn push(&mut self, byte: u8, text: &mut Vec<u8>) -> Typed {
        let was_return = std::mem::replace(&mut self.had_return, byte == b'\r');
        match byte {
            b'\n' if was_return => {}
            b'\r' | b'\n' => {
                text.extend(b"\r\n");
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
                for command in line.split(';') {
                    let done = self.run(command.trim(), text);
                    if done != Typed::Nothing {
                        return done;
                    }
                }
                text.extend(PROMPT.as_bytes());
            }
            CTRL_C => {
                self.line.clear();
                text.extend(b"<INTERRUPT>\r\n");
                text.extend(PROMPT.as_bytes());
            }
            0x08 | 0x7F => {
                if self.line.pop().is_some() {
                    text.extend(b"\x08 \x08");
                }
            }
            0x20..=0x7E if self.line.len() < LINE_MAX => {
                self.line.push(byte);
                text.push(byte);
            }
            _ => text.push(BELL),
        }
        Typed::Nothing
    }

    fn run(&mut self, command: &str, text: &mut Vec<u8>) -> Typed {
        let command = command.replace("$?", &self.status.to_string());
        let mut print = |line: &str| {
            text.extend(line.as_bytes());
            text.extend(b"\r\n");
        };
        if let Some((start, output)) = &self.failing
            && command.starts_with(start.as_str())
        {
            print(output);
            self.status = 1;
            return Typed::Nothing;
        }
        let (verb, rest) = command.split_once(' ').unwrap_or((&command, ""));
        self.status = 0;
        match verb {
            "" => {}
            "echo" => print(rest),
            "setenv" => {
                let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
                // Quotes keep words together and are no part of them.
                let value = value.replace('"', "");
                self.variables.insert(name.to_owned(), value);
            }
            "printenv" => {
                for (name, value) in &self.variables {
                    print(&format!("{name}={value}"));
                }
            }
            "virtio" | "mmc" | "usb" => {}
            "load" | "fatload" | "ext4load" => print("4321792 bytes read in 21 ms (196.3 MiB/s)"),
            "bootz" | "bootm" | "booti" => {
                print("Kernel image @ 0x40400000 [ 0x000000 - 0x41f200 ]");
                print("");
                print("Starting kernel ...");
                print("");
                return Typed::Boot(self.variables["bootargs"].clone());
            }
            "reset" => {
                print("resetting ...");
                return Typed::Reset;
            }
            _ => {
                print(&format!("Unknown command '{verb}' - try 'help'"));
                self.status = 1;
            }
        }
        Typed::Nothing
    }
}

/// What U-Boot prints before it counts down.
pub(crate) const BANNER: &str = "\r\n\r\nU-Boot 2023.01+dfsg-2+fake (Jan 01 2023 - 00:00:00 +0000)\r\n\r\n\
    DRAM:  512 MiB\r\nLoading Environment from nowhere... OK\r\nIn:    pl011@9000000\r\n\
    Out:   pl011@9000000\r\nErr:   pl011@9000000\r\n";

/// What it counts down with; any byte stops it.
pub(crate) const AUTOBOOT: &str = "Hit any key to stop autoboot:  2 ";

pub(crate) const PROMPT: &str = "=> ";

/// First lines of the kernel's log.
pub(crate) const KERNEL_LINES: [&str; 4] = [
    "Booting Linux on physical CPU 0x0",
    "Linux version 6.1.0-fake (fake@board) (arm-linux-gnueabihf-gcc) #1 SMP",
    "CPU: ARMv7 Processor [412fc0f1] revision 1 (ARMv7), cr=10c5387d",
    "9000000.pl011: ttyAMA0 at MMIO 0x9000000 (irq = 40, base_baud = 0) is a PL011 rev1",
];

/// U-Boot's CONFIG_SYS_CBSIZE on ARM boards, about.
const LINE_MAX: usize = 1024;

const CTRL_C: u8 = 0x03;
const BELL: u8 = 0x07;

#[cfg(test)]
mod tests {
    use super::*;

    fn type_line(loader: &mut BootLoader, line: &str) -> (Typed, String) {
        let mut text = Vec::new();
        let mut last = Typed::Nothing;
        for byte in line.bytes() {
            last = loader.push(byte, &mut text);
        }
        (last, String::from_utf8(text).unwrap())
    }

    #[test]
    fn commands_are_echoed_and_say_how_they_ended() {
        let mut loader = BootLoader::new(None);
        let (typed, text) = type_line(&mut loader, "virtio scan; echo rc=$?\r");
        assert_eq!(typed, Typed::Nothing);
        assert_eq!(text, "virtio scan; echo rc=$?\r\nrc=0\r\n=> ");
        let (_, text) = type_line(&mut loader, "viirtio scan; echo rc=$?\r");
        assert!(text.ends_with("Unknown command 'viirtio' - try 'help'\r\nrc=1\r\n=> "), "{text}");
    }

    #[test]
    fn the_kernel_gets_the_arguments() {
        let mut loader = BootLoader::new(None);
        type_line(&mut loader, "setenv bootargs root=PARTLABEL=testrootfs -- --role test\r");
        let (typed, _) = type_line(&mut loader, "bootz a b c\r");
        assert_eq!(typed, Typed::Boot("root=PARTLABEL=testrootfs -- --role test".into()));
    }
}
