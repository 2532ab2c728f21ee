//! Reports as kernels print them, written after the format strings of the files that `patterns.rs` names.

use super::Kind;

/// Lines with their times: one microsecond after the other.
pub(crate) fn records(text: &str, first_us: u64) -> Vec<(u64, &str)> {
    text.lines().zip(first_us..).map(|(line, us)| (us, line)).collect()
}

/// As they stand on the raw line.
pub(crate) fn console(text: &str, first_us: u64) -> String {
    let line = |(us, line): &(u64, &str)| {
        format!("[{:5}.{:06}] {line}\r\n", us / 1_000_000, us % 1_000_000)
    };
    records(text, first_us).iter().map(line).collect()
}

/// arch/arm/mm/fault.c `die_kernel_fault`, arch/arm/kernel/traps.c `__die`, kernel/panic.c.
pub(crate) const ARM_PANIC: &str = "\
8<--- cut here ---
Unable to handle kernel NULL pointer dereference at virtual address 00000000 when write
[00000000] *pgd=00000000
Internal error: Oops: 805 [#1] SMP ARM
Modules linked in: oops(O)
CPU: 0 PID: 412 Comm: sh Tainted: G           O       6.1.0-18-armmp #1  Debian 6.1.76-1
Hardware name: Generic DT based system
PC is at sysrq_handle_crash+0x14/0x18
LR is at __handle_sysrq+0xb0/0x190
pc : [<c0a5a0c4>]    lr : [<c0a5a8f0>]    psr: 60000013
Process sh (pid: 412, stack limit = 0x7d8c6c3e)
Stack: (0xf0a6dea0 to 0xf0a6e000)
 sysrq_handle_crash from __handle_sysrq+0xb0/0x190
 ret_fast_syscall from 0xf0a6dffc
Code: e3a03001 e5c23000 e3a02000 e5c23000 (e5823000)
---[ end trace 0000000000000000 ]---
Kernel panic - not syncing: Fatal exception
CPU1: stopping
CPU: 1 PID: 0 Comm: swapper/1 Tainted: G      D    O       6.1.0-18-armmp #1  Debian 6.1.76-1
 unwind_backtrace from show_stack+0x18/0x1c
---[ end Kernel panic - not syncing: Fatal exception ]---
";

/// kernel/panic.c `__warn`, arch/x86 with the driver's text before the line.
pub(crate) const X86_WARN: &str = "\
------------[ cut here ]------------
refcount_t: underflow; use-after-free.
WARNING: CPU: 2 PID: 77 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110
Modules linked in: lkdtm
CPU: 2 PID: 77 Comm: kworker/2:1 Not tainted 6.1.0 #1
RIP: 0010:refcount_warn_saturate+0xba/0x110
Call Trace:
 <TASK>
 process_one_work+0x1c7/0x380
 </TASK>
---[ end trace 0000000000000000 ]---
";

/// arch/x86/mm/fault.c, arch/x86/kernel/dumpstack.c.
pub(crate) const X86_OOPS: &str = "\
BUG: kernel NULL pointer dereference, address: 0000000000000000
#PF: supervisor write access in kernel mode
#PF: error_code(0x0002) - not-present page
PGD 0 P4D 0
Oops: 0002 [#1] PREEMPT SMP NOPTI
CPU: 1 PID: 150 Comm: sh Not tainted 6.1.0 #1
RIP: 0010:sysrq_handle_crash+0x12/0x20
CR2: 0000000000000000
---[ end trace 0000000000000000 ]---
";

/// arch/arm64/mm/fault.c `die_kernel_fault`, arch/arm64/kernel/traps.c `__die`.
pub(crate) const ARM64_OOPS: &str = "\
Unable to handle kernel paging request at virtual address dead000000000108
Mem abort info:
  ESR = 0x0000000096000044
Internal error: Oops: 0000000096000044 [#1] PREEMPT SMP
pstate: 60000005 (nZCv daif -PAN -UAO -TCO -DIT -SSBS BTYPE=--)
Call trace:
 lkdtm_WRITE_KERN+0x44/0x80 [lkdtm]
Code: d65f03c0 d503201f (b900001f)
---[ end trace 0000000000000000 ]---
";

/// lib/bug.c `report_bug`, arch/arm64/kernel/traps.c `bug_handler`.
pub(crate) const ARM64_BUG: &str = "\
------------[ cut here ]------------
kernel BUG at drivers/misc/lkdtm/bugs.c:105!
Internal error: Oops - BUG: 00000000f2000800 [#2] PREEMPT SMP
pc : lkdtm_BUG+0x10/0x18
Call trace:
 lkdtm_BUG+0x10/0x18
---[ end trace 0000000000000000 ]---
";

/// mm/kasan/report.c.
pub(crate) const KASAN: &str = "\
==================================================================
BUG: KASAN: slab-out-of-bounds in lkdtm_SLAB_LINEAR_OVERFLOW+0x70/0x90
Write of size 4 at addr ffff888102a3f800 by task sh/199

CPU: 0 PID: 199 Comm: sh Not tainted 6.1.0 #1
Allocated by task 199:
 kasan_save_stack+0x1e/0x40
==================================================================
";

/// mm/oom_kill.c.
pub(crate) const OOM: &str = "\
stress-ng invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=0
CPU: 0 PID: 310 Comm: stress-ng Not tainted 6.1.0 #1
Mem-Info:
[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,task=stress-ng,pid=310,uid=0
Out of memory: Killed process 310 (stress-ng) total-vm:530000kB, anon-rss:400000kB, file-rss:0kB
";

/// kernel/hung_task.c `check_hung_task`.
pub(crate) const HUNG_TASK: &str = "\
INFO: task sync:412 blocked for more than 120 seconds.
      Not tainted 6.1.0-18-armmp #1
\"echo 0 > /proc/sys/kernel/hung_task_timeout_secs\" disables this message.
task:sync            state:D stack:0     pid:412   ppid:1      flags:0x00000000
 __schedule from schedule+0x60/0xd8
 schedule from io_schedule+0x44/0x6c
";

/// kernel/locking/lockdep.c `print_circular_bug_header`.
pub(crate) const LOCKDEP: &str = "\
======================================================
WARNING: possible circular locking dependency detected
6.1.0 #1 Not tainted
------------------------------------------------------
a.out/412 is trying to acquire lock:
stack backtrace:
CPU: 0 PID: 412 Comm: a.out Not tainted 6.1.0 #1
";

/// kernel/rcu/tree_stall.h `print_cpu_stall`.
pub(crate) const RCU_STALL: &str = "\
rcu: INFO: rcu_sched self-detected stall on CPU
rcu: \t0-....: (2100 ticks this GP) idle=1e7c/1/0x40000002 softirq=312/312 fqs=1050
\t(t=2100 jiffies g=125 q=3 ncpus=2)
CPU: 0 PID: 412 Comm: insmod Not tainted 6.1.0 #1
";

/// kernel/watchdog.c `watchdog_timer_fn`.
pub(crate) const LOCKUP: &str = "\
watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [insmod:413]
Modules linked in: spin(O+)
CPU: 1 PID: 413 Comm: insmod Tainted: G           O       6.1.0 #1
";

/// Each report alone, and what it is.
pub(crate) const ALL: [(&str, Kind); 10] = [
    (X86_WARN, Kind::Warn),
    (X86_OOPS, Kind::Oops),
    (ARM64_OOPS, Kind::Oops),
    (ARM64_BUG, Kind::Bug),
    (KASAN, Kind::Sanitizer),
    (OOM, Kind::Oom),
    (HUNG_TASK, Kind::HungTask),
    (LOCKDEP, Kind::Lockdep),
    (RCU_STALL, Kind::RcuStall),
    (LOCKUP, Kind::Lockup),
];
