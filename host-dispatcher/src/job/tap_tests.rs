//! Outputs as the field's programs print them, and the cases that they are.

use super::*;

/// Each case as `result name`, and `: why` where there is a reason.
fn read(output: &str) -> Vec<String> {
    let mut tap = Tap::default();
    let mut found: Vec<FoundCase> = output.lines().flat_map(|line| tap.line(line)).collect();
    found.extend(tap.finish());
    found
        .iter()
        .map(|case| match &case.why {
            Some(why) => format!("{} {}: {}", case.result, case.case, why.replace('\n', " | ")),
            None => format!("{} {}", case.result, case.case),
        })
        .collect()
}

#[test]
fn kselftest() {
    let output = "\
TAP version 13
1..3
# timeout set to 45
# selftests: timers: posix_timers
# TAP version 13
# 1..3
# # Testing posix timers. False negative may happen on CPU execution
# ok 1 check_itimer
# [   41.284910] usb 1-1: new high-speed USB device number 3 using xhci_hcd
# ok 2 check_timer_create # SKIP not for root
# not ok 3 check_rearm
# # Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0
not ok 1 selftests: timers: posix_timers # exit=1
# timeout set to 45
# selftests: timers: nanosleep
# Nanosleep CLOCK_REALTIME                 [OK]
# Nanosleep CLOCK_TAI                      [UNSUPPORTED]
not ok 2 selftests: timers: nanosleep # TIMEOUT 45 seconds
# timeout set to 45
# selftests: timers: mqueue-lat
# mqueue latency: 12 us
ok 3 selftests: timers: mqueue-lat
";
    assert_eq!(
        read(output),
        [
            "pass selftests: timers: posix_timers/check_itimer",
            "skip selftests: timers: posix_timers/check_timer_create: SKIP not for root",
            "fail selftests: timers: posix_timers/check_rearm",
            "fail selftests: timers: posix_timers: exit=1",
            "fail selftests: timers: nanosleep: TIMEOUT 45 seconds",
            "pass selftests: timers: mqueue-lat",
        ]
    );
}

#[test]
fn kunit_through_the_kernels_log() {
    let output = "\
<6>[    0.512345] KTAP version 1
<6>[    0.512400] 1..2
<6>[    0.512500]     KTAP version 1
<6>[    0.512600]     # Subtest: list-kunit-test
<6>[    0.512700]     # module: list_test
<6>[    0.512800]     1..3
<6>[    0.512900]     ok 1 list_test_list_init
<6>[    0.513000]         KTAP version 1
<6>[    0.513050]         # Subtest: list_test_sizes
<6>[    0.513100]         ok 1 small
<3>[    0.513200]         # list_test_sizes: EXPECTATION FAILED at lib/list-test.c:41
<6>[    0.513300]         not ok 2 large
<6>[    0.513400]     # list_test_sizes: pass:1 fail:1 skip:0 total:2
<6>[    0.513500]     not ok 2 list_test_sizes
<6>[    0.513600]     ok 3 list_test_splice # SKIP no memory
<6>[    0.513700] # list-kunit-test: pass:1 fail:1 skip:1 total:3
<6>[    0.513800] not ok 1 list-kunit-test
<6>[    0.513900]     # Subtest: old-style
<6>[    0.514000]     1..1
<6>[    0.514100]     ok 1 - the_only_one
<6>[    0.514200] ok 2 - old-style
";
    assert_eq!(
        read(output),
        [
            "pass list-kunit-test/list_test_list_init",
            "pass list-kunit-test/list_test_sizes/small",
            "fail list-kunit-test/list_test_sizes/large: list_test_sizes: EXPECTATION FAILED at lib/list-test.c:41",
            "fail list-kunit-test/list_test_sizes: list_test_sizes: pass:1 fail:1 skip:0 total:2",
            "skip list-kunit-test/list_test_splice: SKIP no memory",
            "fail list-kunit-test: list-kunit-test: pass:1 fail:1 skip:1 total:3",
            "pass old-style/the_only_one",
            "pass old-style",
        ]
    );
}

#[test]
fn tap_14_with_yaml_and_a_subtest_that_has_its_plan_at_its_end() {
    let output = "\
TAP version 14
# Subtest: disk
    ok 1 - mounts
    not ok 2 - reads
      ---
      message: \"short read\"
      wanted:
        1..512
      ok 7 - this is data
      ...
    1..2
not ok 1 - disk
  ---
  at: 12
  ...
ok 2 - net
  ---
  duration_ms: 3
  ...
1..2
";
    assert_eq!(
        read(output),
        [
            "pass disk/mounts",
            "fail disk/reads: message: \"short read\" | wanted: |   1..512 | ok 7 - this is data",
            "fail disk: at: 12",
            "pass net",
        ]
    );
}

#[test]
fn what_was_announced_and_never_came_is_unknown() {
    let never = ": it was announced, and never came";
    assert_eq!(
        read("1..4\nok 1 a\nok 3 c\n"),
        [
            "pass a".into(),
            "pass c".into(),
            format!("unknown test 2{never}"),
            format!("unknown test 4{never}")
        ]
    );
    // Out of order is no gap.
    assert_eq!(read("1..3\nok 3\nok 1\nnot ok 2\n"), ["pass test 3", "pass test 1", "fail test 2"]);
    // Killed in the middle of a nested one.
    assert_eq!(
        read("KTAP version 1\n1..2\n  KTAP version 1\n  # Subtest: a\n  1..2\n  ok 1 x\n"),
        [
            "pass a/x".into(),
            format!("unknown a/test 2{never}"),
            format!("unknown test 1{never}"),
            format!("unknown test 2{never}")
        ]
    );
    assert_eq!(read("TAP version 13\n1..1\n"), [format!("unknown test 1{never}")]);
    let many = read("TAP version 13\n1..4000000000\nok 1\n");
    assert_eq!(many.len(), 1 + MISSING_MAX + 1);
    assert_eq!(many[MISSING_MAX + 1], format!("unknown 3999998999 more{never}"));
}

#[test]
fn bail_out() {
    assert_eq!(
        read("1..3\nok 1 a\nBail out! no disk\nok 2 b\n"),
        [
            "pass a",
            "unknown test 2: the test bailed out before it",
            "unknown test 3: the test bailed out before it",
            "fail Bail out!: no disk"
        ]
    );
    assert_eq!(read("Bail out! said the pilot\n"), [""; 0]);
}

#[test]
fn skipped_as_a_whole_and_one_after_another() {
    assert_eq!(read("1..0 # SKIP no such hardware\n"), ["skip plan: SKIP no such hardware"]);
    assert_eq!(
        read("TAP version 13\n1..1\nok 1 a\nTAP version 13\n1..1\nnot ok 1 b\n1..1\nok 1 c\n"),
        ["pass a", "fail b", "pass c"]
    );
}

#[test]
fn a_plan_at_the_end_makes_the_points_before_it_cases() {
    assert_eq!(read("ok 1 - a\nnoise\nnot ok 2 - b\n1..2\n"), ["pass a", "fail b"]);
    // Fewer than there were: not their plan.
    assert_eq!(read("ok 1 - a\nok 2 - b\n1..1\n"), [""; 0]);
}

#[test]
fn prose_is_no_result() {
    for output in [
        "ok\nok 1\nnot ok 2 everything\n",
        "chapters 1..3\n1..3 are short\n1..10\nok then\nall ok 4\n",
        "1..2\nok\nokay 1\nnot oker 2\n",
        // LTP.
        "tst_test.c:1526: TINFO: Timeout per run is 0h 00m 30s\nopen01.c:59: TPASS: sticky bit is set\n\n\
         Summary:\npassed   1\nfailed   0\nbroken   0\nskipped  0\nwarnings 0\n",
        "INFO: 1..2\n# ok 1 a comment\n",
    ] {
        assert_eq!(read(output), [""; 0], "{output}");
    }
    // In a document: what is deeper without a document of its own, and, without a version, what has no number.
    assert_eq!(
        read("1..2\n  ok 1 deep\nok 1 a\nok so far\n# ok 2 quoted\nok 2 b\nok 2 b again\nok 9 z\n"),
        ["pass a", "pass b"]
    );
}

#[test]
fn names_are_cut_and_depth_is_bounded() {
    let long = "n".repeat(5000);
    assert_eq!(read(&format!("1..1\nok 1 {long}\n"))[0].len(), 5 + NAME_BYTES_MAX);
    let mut deep = String::new();
    for depth in 0..200 {
        deep.push_str(&format!("{}TAP version 13\n", " ".repeat(depth)));
    }
    deep.push_str("ok 1 back at the surface\n");
    assert_eq!(read(&deep), ["pass back at the surface"]);
}
