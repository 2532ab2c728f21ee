//! How the kernel's reports begin and end: a table, with the file of Linux that prints each.
//!
//! Texts are those of Linux 4.9 to 6.18. A text counts at the start of a record only, but for what the kernel itself
//! puts before it (`watchdog: `, the name of a process).

use super::policy::Kind;

/// How a report of one kind begins.
#[derive(Debug)]
pub struct Pattern {
    /// What it is.
    pub kind: Kind,
    /// The line begins with one of these; none: with anything.
    starts: &'static [&'static str],
    /// ... and has all of these in it.
    holds: &'static [&'static str],
    /// Where Linux prints it.
    pub file: &'static str,
}

/// How a report ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `---[ end trace … ]---`; kernel/panic.c, `print_oops_end_marker`.
    Trace,
    /// `---[ end Kernel panic …`; kernel/panic.c, `panic`.
    Panic,
    /// A line of `=`.
    Ruler,
    /// The line that names the killed process; mm/oom_kill.c, `__oom_kill_process`.
    Killed,
}

const fn at(
    kind: Kind,
    file: &'static str,
    starts: &'static [&'static str],
    holds: &'static [&'static str],
) -> Pattern {
    Pattern { kind, starts, holds, file }
}

/// The first that fits decides.
pub const PATTERNS: &[Pattern] = &[
    at(Kind::Panic, "kernel/panic.c", &["Kernel panic - not syncing"], &[]),
    // x86: arch/x86/mm/fault.c, show_fault_oops; up to 5.0 with "kernel" in the middle.
    at(
        Kind::Oops,
        "arch/x86/mm/fault.c",
        &["BUG: unable to handle ", "BUG: kernel NULL pointer dereference"],
        &[],
    ),
    at(
        Kind::Oops,
        "arch/{arm,arm64,riscv}/mm/fault.c",
        &["Unable to handle kernel ", "Unhandled fault: ", "Unhandled prefetch abort: "],
        &[],
    ),
    at(
        Kind::Oops,
        "arch/arm64/kernel/traps.c",
        &["SError Interrupt on CPU", "Bad mode in ", "Unhandled 64-bit "],
        &[],
    ),
    at(Kind::Lockup, "kernel/watchdog.c", &[], &["BUG: soft lockup - CPU#"]),
    at(Kind::Lockup, "kernel/watchdog.c", &[], &["Watchdog detected hard LOCKUP on cpu "]),
    at(Kind::Lockup, "kernel/workqueue.c", &["BUG: workqueue lockup - pool"], &[]),
    at(Kind::Lockup, "kernel/locking/spinlock_debug.c", &["BUG: spinlock lockup suspected"], &[]),
    at(
        Kind::Sanitizer,
        "mm/kasan/report.c, mm/kfence/report.c, kernel/kcsan/report.c, mm/kmsan/report.c",
        &["BUG: KASAN: ", "BUG: KFENCE: ", "BUG: KCSAN: ", "BUG: KMSAN: "],
        &[],
    ),
    at(Kind::Sanitizer, "lib/ubsan.c", &["UBSAN: "], &[" in "]),
    at(Kind::Sanitizer, "mm/kmemleak.c", &["kmemleak: "], &[" new suspected memory leaks "]),
    at(Kind::Lockdep, "kernel/locking/lockdep.c", LOCKDEP, &[" dependency detected"]),
    at(
        Kind::Lockdep,
        "kernel/locking/lockdep.c",
        LOCKDEP,
        &["possible recursive locking detected"],
    ),
    at(Kind::Lockdep, "kernel/locking/lockdep.c", LOCKDEP, &["inconsistent lock state"]),
    at(Kind::Lockdep, "kernel/locking/lockdep.c", LOCKDEP, &[" lock order detected"]),
    at(Kind::Lockdep, "kernel/locking/lockdep.c", LOCKDEP, &["bad unlock balance detected!"]),
    at(Kind::Lockdep, "kernel/locking/lockdep.c", LOCKDEP, &["bad contention detected!"]),
    at(Kind::Lockdep, "kernel/locking/lockdep.c", LOCKDEP, &["held lock freed!"]),
    at(Kind::Lockdep, "kernel/locking/lockdep.c", LOCKDEP, &[" still has locks held!"]),
    at(Kind::Lockdep, "kernel/locking/lockdep.c", LOCKDEP, &["lock held when returning to user"]),
    at(Kind::Lockdep, "kernel/locking/lockdep.c", LOCKDEP, &["Nested lock was not taken"]),
    at(Kind::Lockdep, "kernel/locking/lockdep.c", LOCKDEP, &["Invalid wait context"]),
    at(Kind::Lockdep, "kernel/locking/lockdep.c", LOCKDEP, &["suspicious RCU usage"]),
    at(
        Kind::RcuStall,
        "kernel/rcu/tree_stall.h",
        &["rcu: INFO: ", "INFO: "],
        &[" detected stalls on CPUs/tasks:"],
    ),
    at(
        Kind::RcuStall,
        "kernel/rcu/tree_stall.h",
        &["rcu: INFO: ", "INFO: "],
        &[" self-detected stall on CPU"],
    ),
    at(
        Kind::RcuStall,
        "kernel/rcu/tree_exp.h",
        &["rcu: INFO: ", "INFO: "],
        &[" detected expedited stalls on CPUs/tasks:"],
    ),
    at(Kind::HungTask, "kernel/hung_task.c", &["INFO: task "], &[" blocked ", "for more than "]),
    at(Kind::Oom, "mm/oom_kill.c", &[], &[" invoked oom-killer: gfp_mask="]),
    at(Kind::Oom, "mm/oom_kill.c", &["oom-kill:constraint="], &[]),
    at(
        Kind::Oom,
        "mm/oom_kill.c",
        &["Out of memory: Kill", "Memory cgroup out of memory: Kill", "Out of memory (oom_kill_"],
        &[" process "],
    ),
    at(Kind::Bug, "lib/bug.c, arch/arm/kernel/traps.c", &["kernel BUG at "], &[]),
    at(Kind::Bug, "mm/slub.c", &["BUG "], &["): "]),
    // kernel/sched/core.c, mm/memory.c, fs/dcache.c, …: dozens of texts.
    at(Kind::Bug, "kernel/sched/core.c and others", &["BUG: "], &[]),
    at(Kind::Warn, "kernel/panic.c", &["WARNING: CPU: "], &[" PID: "]),
    at(Kind::Warn, "kernel/panic.c", &["WARNING: "], &[" at ", ", CPU#"]),
];

/// 4.12 and later; up to 4.11 they stood in brackets, and some were INFO.
const LOCKDEP: &[&str] = &["WARNING: ", "INFO: ", "BUG: ", "[ WARNING: ", "[ INFO: ", "[ BUG: "];

/// The kind of the report that begins with this line.
pub fn begins(line: &str) -> Option<Kind> {
    if is_of_process(line) {
        return None;
    }
    let fits = |pattern: &&Pattern| {
        (pattern.starts.is_empty() || pattern.starts.iter().any(|text| line.starts_with(text)))
            && pattern.holds.iter().all(|text| line.contains(text))
    };
    PATTERNS.iter().find(fits).map(|pattern| pattern.kind)
}

/// Whether an exception's own line is this: `Internal error: Oops: 17 [#1] SMP ARM` (arch/arm, arch/arm64),
/// `Oops [#1]`, `Kernel BUG [#1]` (arch/riscv), `Oops: 0000 [#1] PREEMPT SMP`, `invalid opcode: 0000 [#1]`
/// (arch/x86/kernel/dumpstack.c): a die counter behind its name, or behind a code in hexadecimal digits.
pub fn is_die_line(line: &str) -> bool {
    let Some((before, after)) = line.split_once(" [#") else { return false };
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || after.as_bytes().get(digits) != Some(&b']') || is_of_process(line) {
        return false;
    }
    let is_named =
        ["Oops", "Internal error: ", "Kernel BUG"].iter().any(|name| line.starts_with(name));
    let has_code = before.rsplit_once(": ").is_some_and(|(name, code)| {
        !name.is_empty() && (4..=16).contains(&code.len()) && is_hexadecimal(code)
    });
    is_named || has_code
}

/// How a report ends that begins with the line `title`. Those without an end do so when the kernel is quiet.
pub fn ends_of(kind: Kind, title: &str) -> &'static [End] {
    match kind {
        Kind::Panic => &[End::Panic],
        Kind::Oops | Kind::Bug | Kind::Warn => &[End::Trace],
        // lib/ubsan.c: a ruler up to 6.0, the end of a trace from then on.
        Kind::Sanitizer if title.starts_with("UBSAN") => &[End::Ruler, End::Trace],
        Kind::Sanitizer => &[End::Ruler],
        Kind::Oom => &[End::Killed],
        Kind::HungTask | Kind::RcuStall | Kind::Lockup | Kind::Lockdep => &[],
    }
}

/// What ends with this line.
pub fn ends(line: &str) -> Option<End> {
    let text = line.trim_start();
    if text.starts_with("---[ end trace ") {
        Some(End::Trace)
    } else if text.starts_with("---[ end Kernel panic") {
        Some(End::Panic)
    } else if is_ruler(text) {
        Some(End::Ruler)
    } else if (text.starts_with("Out of memory") || text.starts_with("Memory cgroup out of memory"))
        && text.contains(" Killed process ")
        || text.starts_with("Killed process ")
    {
        Some(End::Killed)
    } else {
        None
    }
}

/// A line that stands before the first line of a report and belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// `------------[ cut here ]------------`; include/asm-generic/bug.h, lib/ubsan.c.
    Cut,
    /// `8<--- cut here ---`; arch/arm/mm/fault.c, arch/arm/kernel/traps.c.
    Scissors,
    /// A line of `=`; kernel/locking/lockdep.c, mm/kasan/report.c, mm/slub.c.
    Ruler,
}

/// What is led in by this line.
pub fn leads(line: &str) -> Option<Lead> {
    let text = line.trim();
    if text.starts_with("------------") && text.contains("[ cut here ]------------") {
        Some(Lead::Cut)
    } else if text == "8<--- cut here ---" {
        Some(Lead::Scissors)
    } else {
        is_ruler(text).then_some(Lead::Ruler)
    }
}

/// What may lead in a report that begins with the line `title`.
pub fn leads_of(kind: Kind, title: &str) -> &'static [Lead] {
    match kind {
        Kind::Oops => &[Lead::Scissors],
        Kind::Bug if title.starts_with("kernel BUG") => &[Lead::Cut],
        Kind::Bug => &[Lead::Ruler],
        Kind::Warn => &[Lead::Cut],
        Kind::Sanitizer if title.starts_with("UBSAN") => &[Lead::Ruler, Lead::Cut],
        Kind::Sanitizer => &[Lead::Ruler],
        Kind::Lockdep => &[Lead::Ruler],
        Kind::Panic | Kind::HungTask | Kind::RcuStall | Kind::Lockup | Kind::Oom => &[],
    }
}

fn is_ruler(line: &str) -> bool {
    let text = line.trim_end();
    text.len() >= RULER_MIN && text.bytes().all(|byte| byte == b'=')
}

/// `name[123]: …`, as the kernel begins what it says of a process: the name is the process's own.
fn is_of_process(line: &str) -> bool {
    let Some((name, rest)) = line.split_once('[') else { return false };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    (1..=NAME_BYTES_MAX).contains(&name.len()) && digits > 0 && rest[digits..].starts_with("]: ")
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The shortest ruler is the one around `[ BUG: … ]` of old kernels: 29 characters and more.
const RULER_MIN: usize = 20;

/// `TASK_COMM_LEN` without its end.
const NAME_BYTES_MAX: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_prints_is_known() {
        for (line, kind) in [
            (
                "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
                Kind::Panic,
            ),
            ("Kernel panic - not syncing", Kind::Panic),
            ("BUG: unable to handle page fault for address: ffffffffc0401000", Kind::Oops),
            (
                "BUG: unable to handle kernel NULL pointer dereference at           (null)",
                Kind::Oops,
            ),
            ("BUG: kernel NULL pointer dereference, address: 0000000000000000", Kind::Oops),
            ("Unable to handle kernel paging request at virtual address dead0000", Kind::Oops),
            (
                "Unable to handle kernel access to user memory without uaccess routines at virtual address 0000000000000010",
                Kind::Oops,
            ),
            ("Unhandled fault: external abort on non-linefetch (0x1008) at 0xf0a00000", Kind::Oops),
            ("SError Interrupt on CPU1, code 0x00000000bf000002 -- SError", Kind::Oops),
            ("kernel BUG at drivers/misc/lkdtm/bugs.c:77!", Kind::Bug),
            ("BUG: scheduling while atomic: swapper/0/1/0x00000002", Kind::Bug),
            (
                "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580",
                Kind::Bug,
            ),
            ("BUG: Bad page state in process kworker/0:1  pfn:3f8e1", Kind::Bug),
            ("BUG kmalloc-64 (Tainted: G           O     ): Redzone overwritten", Kind::Bug),
            (
                "WARNING: CPU: 1 PID: 42 at drivers/gpu/drm/drm_vblank.c:1210 drm_wait_one_vblank+0x1c8/0x1d0 [drm]",
                Kind::Warn,
            ),
            (
                "WARNING: drivers/base/core.c:4 at device_add+0x10/0x20, CPU#3: kworker/3:1/88",
                Kind::Warn,
            ),
            ("INFO: task kworker/u8:2:61 blocked for more than 120 seconds.", Kind::HungTask),
            ("INFO: task sync:412 blocked in I/O wait for more than 120 seconds.", Kind::HungTask),
            ("rcu: INFO: rcu_preempt self-detected stall on CPU", Kind::RcuStall),
            ("INFO: rcu_sched self-detected stall on CPU", Kind::RcuStall),
            ("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", Kind::RcuStall),
            (
                "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... } 21 jiffies s: 37 root: 0x2/.",
                Kind::RcuStall,
            ),
            ("watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [kworker/0:1:23]", Kind::Lockup),
            ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 1", Kind::Lockup),
            (
                "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 39s!",
                Kind::Lockup,
            ),
            ("WARNING: possible circular locking dependency detected", Kind::Lockdep),
            ("[ INFO: possible circular locking dependency detected ]", Kind::Lockdep),
            ("WARNING: possible recursive locking detected", Kind::Lockdep),
            ("WARNING: inconsistent lock state", Kind::Lockdep),
            ("WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected", Kind::Lockdep),
            ("WARNING: suspicious RCU usage", Kind::Lockdep),
            ("WARNING: bad unlock balance detected!", Kind::Lockdep),
            ("[ BUG: Invalid wait context ]", Kind::Lockdep),
            (
                "BUG: KASAN: slab-out-of-bounds in lkdtm_SLAB_LINEAR_OVERFLOW+0x70/0x90",
                Kind::Sanitizer,
            ),
            (
                "BUG: KFENCE: out-of-bounds read in test_out_of_bounds_read+0xa6/0x234",
                Kind::Sanitizer,
            ),
            ("BUG: KCSAN: data-race in test_kernel_read / test_kernel_write", Kind::Sanitizer),
            (
                "BUG: KMSAN: uninit-value in test_uninit_kmsan_check_memory+0x1be/0x380",
                Kind::Sanitizer,
            ),
            ("UBSAN: array-index-out-of-bounds in drivers/net/foo.c:12:3", Kind::Sanitizer),
            (
                "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
                Kind::Sanitizer,
            ),
            (
                "stress-ng invoked oom-killer: gfp_mask=0x1100cca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=0",
                Kind::Oom,
            ),
            (
                "Out of memory: Killed process 812 (stress-ng) total-vm:1048576kB, anon-rss:400000kB",
                Kind::Oom,
            ),
            ("Memory cgroup out of memory: Killed process 99 (eat) total-vm:5000kB", Kind::Oom),
        ] {
            assert_eq!(begins(line), Some(kind), "{line}");
        }
    }

    #[test]
    fn exceptions_have_a_line_of_their_own() {
        for line in [
            "Internal error: Oops: 17 [#1] SMP ARM",
            "Internal error: Oops - BUG: 0 [#1] SMP ARM",
            "Internal error: Oops: 0000000096000044 [#1] PREEMPT SMP",
            "Oops: 0002 [#1] PREEMPT SMP NOPTI",
            "Oops: Oops: 0000 [#12] SMP",
            "Oops [#1]",
            "Kernel BUG [#1]",
            "invalid opcode: 0000 [#1] SMP PTI",
            "general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#3] SMP",
        ] {
            assert!(is_die_line(line), "{line}");
        }
        for line in [
            "queue [#1] is full",
            "x: [#1]",
            "Oops [#]",
            "Oops [#1",
            "slot: abcd",
            "a[1]: y: 0000 [#1]",
        ] {
            assert!(!is_die_line(line), "{line}");
        }
    }

    #[test]
    fn false_friends_are_none() {
        for line in [
            "",
            "oops: loading out-of-tree module taints kernel.",
            "oops.ko: module verification failed: signature and/or required key missing",
            "usb 1-1: Product: Kernel panic - not syncing",
            "debug: WARNING: CPU: 0 PID: 1 at nowhere",
            "WARNING: unmet dependency",
            "DEBUG: none",
            "BUG: x[412]: segfault at 0 ip 0000000000401136 sp 00007ffd5b9b0c50 error 6 in x[401000+1000]",
            "Kernel panic -[9]: segfault at 0 ip 0000000000401136",
            "Linux version 6.1.0 (bug@oops)",
            "Kernel command line: panic=5 oops=panic",
            "INFO: lockdep is turned off.",
            "PANIC=1",
            "kmemleak: Kernel memory leak detector initialized (mem pool available: 15672)",
            "rcu: Hierarchical RCU implementation.",
            "task: blocked for more than",
            "watchdog: Delayed init of the lockup detector failed: -19",
        ] {
            assert_eq!(begins(line), None, "{line}");
            assert!(!is_die_line(line), "{line}");
        }
    }

    #[test]
    fn ends_and_leads() {
        for (line, end) in [
            ("---[ end trace 0000000000000000 ]---", End::Trace),
            ("---[ end trace 5b0b3a0a2e4c4f1d ]---", End::Trace),
            ("---[ end trace ]---", End::Trace),
            ("---[ end Kernel panic - not syncing: Fatal exception ]---", End::Panic),
            ("---[ end Kernel panic - not syncing: sysrq", End::Panic),
            ("==================================================================", End::Ruler),
            ("Out of memory: Killed process 812 (x) total-vm:1kB", End::Killed),
            ("Killed process 812 (x) total-vm:1kB, anon-rss:1kB", End::Killed),
        ] {
            assert_eq!(ends(line), Some(end), "{line}");
        }
        for line in ["---[ end", "====", "Out of memory: Kill process 3 (x) score 9", "end trace"] {
            assert_eq!(ends(line), None, "{line}");
        }
        for line in [
            "------------[ cut here ]------------",
            "8<--- cut here ---",
            "=============================",
            "---------------[ cut here ]---------------",
        ] {
            assert!(leads(line).is_some(), "{line}");
        }
        assert_eq!([leads("cut here"), leads("---")], [None, None]);
    }
}
