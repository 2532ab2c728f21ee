//! `context`: what a job may change of LAVA's templates for devices.

use super::super::report::Report;
use super::super::tree::Field;
use crate::job::boot::kernel_args_problem;

/// What of it matters here.
#[derive(Clone, Debug, Default)]
pub(super) struct Context {
    /// For the kernel under test.
    pub(super) kernel_args: String,
    arch: Option<String>,
}

impl Context {
    /// The board type that LAVA's device type is called here.
    pub(super) fn board_type(&self, device_type: &str) -> String {
        let known = match (device_type, self.arch.as_deref()) {
            ("qemu", Some("arm")) => "qemu-virt-armv7",
            ("qemu", Some("arm64" | "aarch64")) => "qemu-virt-aarch64",
            _ => BOARD_TYPES
                .iter()
                .find(|(lava, _)| *lava == device_type)
                .map_or(device_type, |(_, ours)| ours),
        };
        super::super::import::name_of(known)
    }
}

/// Reads it.
pub(super) fn read(field: Option<Field>, report: &mut Report) -> Context {
    let mut context = Context::default();
    let Some(field) = field else { return context };
    let mut args = Vec::new();
    for (name, field) in field.keys(report).rest() {
        match name.as_str() {
            "extra_kernel_args" => {
                let texts = field.clone().texts(report);
                match texts.iter().find_map(|text| kernel_args_problem(text)) {
                    Some((problem, mend)) => {
                        report.unsupported(&field, format!("{problem}: {mend}"))
                    }
                    None => report.mapped(&field, "kernel_args"),
                }
                args.extend(texts);
            }
            "kernel_loglevel" => {
                if let Some(level) = field.text(report) {
                    report.mapped(&field, format!("kernel_args: loglevel={level}"));
                    args.push(format!("loglevel={level}"));
                }
            }
            "custom_kernel_args" => report.unsupported(
                &field,
                "a job adds to a kernel's arguments: put those into kernel_args of the board type",
            ),
            "arch" => {
                context.arch = field.text(report);
                report.mapped(&field, "board.type");
            }
            "lava_test_results_dir" => {
                report.ignored(&field, "tests find their files by $LAVA_RESULT_DIR");
            }
            "extra_nfsroot_args" => report.ignored(&field, "no root file system comes by NFS here"),
            "failure_retry" | "boot_retry" => {
                report.ignored(&field, "a boot that fails is tried again by itself");
            }
            _ if name.ends_with("_delay") || name.ends_with("_prompt") => {
                report.ignored(&field, "prompts and delays stand in the board type, and after hand-over there are none");
            }
            _ if QEMU.contains(&name.as_str()) => {
                report.ignored(
                    &field,
                    "the emulator's words stand in the board type (connection.exec)",
                );
            }
            _ => report.ignored(&field, "it stands in the board type"),
        }
    }
    context.kernel_args = args.join(" ");
    context
}

/// Names of LAVA's device types, and of the board types that ship here.
const BOARD_TYPES: [(&str, &str); 6] = [
    ("bcm2837-rpi-3-b", "raspberry-pi-3"),
    ("bcm2837-rpi-3-b-32", "raspberry-pi-3"),
    ("bcm2837-rpi-3-b-plus", "raspberry-pi-3"),
    ("bcm2711-rpi-4-b", "raspberry-pi-4"),
    ("qemu-aarch64", "qemu-virt-aarch64"),
    ("beaglebone-black", "beaglebone-black"),
];

const QEMU: [&str; 16] = [
    "boot_console",
    "boot_root",
    "cpu",
    "extra_options",
    "guestfs_driveid",
    "guestfs_interface",
    "guestfs_size",
    "machine",
    "memory",
    "model",
    "monitor",
    "netdevice",
    "no_kvm",
    "serial",
    "vga",
    "console_device",
];
