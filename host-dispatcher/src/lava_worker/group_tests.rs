use super::*;
use crate::job::spec::Roles;
use crate::lava_worker::convert::{Converted, convert};

/// As Debian's lava-server 2023.01 gives out the job of a role: split, with the jobs of all in the place of the roles.
fn definition(role: &str, sub_id: u32) -> String {
    format!(
        "actions:
- boot:
    commands: nfs
    method: u-boot
    prompts: ['#']
    role: {role}
- test:
    definitions:
    - from: inline
      name: {role}
      path: {role}.yaml
      repository:
        metadata: {{format: Lava-Test Test Definition 1.0, name: {role}}}
        run: {{steps: ['lava-sync {role}']}}
    role: {role}
compatibility: 0
device_type: beaglebone-black
job_name: group
protocols:
  lava-multinode:
    group_size: 3
    role: {role}
    roles: {{'11': server, '12': client, '13': client}}
    sub_id: {sub_id}
    tags: [eth]
    target_group: 6f5b0d8e-2c0e-4e4e-9d0a-5d0f0a6f3a11
    timeout: {{minutes: 3}}
timeouts: {{job: {{minutes: 10}}}}
visibility: public
"
    )
}

fn member(id: LavaId, role: &str, board: &str) -> Member {
    let order = Order { id, token: "t".into() };
    let env_dut = Some("overrides: {A: b}".into());
    let definition = definition(role, 0);
    let files = JobFiles { definition, device: None, env_dut };
    match convert(&files, &order, "w", board).unwrap() {
        Converted::Member(member) => *member,
        Converted::Parts(parts) => panic!("{parts:?}"),
    }
}

fn three() -> [Member; 3] {
    [member(11, "server", "c"), member(12, "client", "b"), member(13, "client", "a")]
}

fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

#[test]
fn the_members_become_one_job_of_the_lab() {
    let [server, first, second] = three();
    assert_eq!([&server, &first, &second].map(Member::is_first), [false, true, false]);
    let names = [&server, &first, &second].map(|member| member.part.name.as_str());
    assert_eq!(names, ["group (server)", "group (client-1)", "group (client-2)"]);
    let mut groups = Groups::default();
    assert_eq!(groups.join(&second, at(0)), Gathered::Wait);
    assert_eq!(groups.join(&server, at(20)), Gathered::Wait);
    let Gathered::Whole(text) = groups.join(&first, at(40)) else { panic!("{groups:?}") };
    for member in [&second, &server] {
        assert_eq!(groups.join(member, at(41)), Gathered::Whole(text.clone()), "all know it");
        assert!(convert::is_same(&text, &member.part));
    }
    assert!(groups.gathering.is_empty(), "{groups:?}");
    let roles = Roles::of_text("group.yaml".as_ref(), &text).unwrap().unwrap();
    assert_eq!(roles.wait_timeout, std::time::Duration::from_secs(180));
    let nodes: Vec<_> = roles
        .nodes
        .iter()
        .map(|node| (node.job.name.as_str(), node.role.as_str(), node.job.board.name.as_deref()))
        .collect();
    assert_eq!(
        nodes,
        [
            ("group (client-1)", "client", Some("b")),
            ("group (client-2)", "client", Some("a")),
            ("group (server)", "server", Some("c")),
        ]
    );
    assert!(roles.nodes[2].job.tests[0].run.contains("lava-sync server"));
    assert!(roles.nodes[0].job.tests[0].run.contains("A='b'"));
}

#[test]
fn those_that_never_come_are_named() {
    let [server, first, _] = three();
    let mut groups = Groups::default();
    assert_eq!(groups.join(&server, at(0)), Gathered::Wait);
    assert_eq!(groups.join(&first, at(179)), Gathered::Wait);
    let why = "of the 3 jobs for the boards of this one, 13 did not come to this worker within 180 s: give it all their devices";
    assert_eq!(groups.join(&first, at(180)), Gathered::Missing(why.into()));
    groups.leave(&first);
    groups.leave(&server);
    assert!(groups.gathering.is_empty());
    // Nobody asks for those of a canceled one any more.
    groups.join(&server, at(200));
    let other = Member { group: "other".into(), ..first };
    groups.join(&other, at(800));
    assert_eq!(groups.gathering.len(), 1);
}

#[test]
fn what_lava_does_not_write_is_refused() {
    let order = Order { id: 11, token: "t".into() };
    for (from, to, expected) in [
        ("    target_group: 6f5b0d8e-2c0e-4e4e-9d0a-5d0f0a6f3a11\n", "", "target_group is missing"),
        ("'11': server", "'14': server", "a guest of a board is no board"),
        ("'11': server, '12': client, '13': client", "'11': server", "a job has 2 to 16 boards"),
        ("'11': server", "x: server", "a guest of a board"),
        ("- boot:", "- deploy: {to: fvp, role: server}\n- boot:", "fvp"),
        ("    sub_id: 0\n", "    sub_id: 0\n    colour: red\n", "colour"),
    ] {
        let definition = definition("server", 0).replace(from, to);
        let files = JobFiles { definition, device: None, env_dut: None };
        let wrong = convert(&files, &order, "w", "b").unwrap_err();
        assert!(wrong[0].contains(expected), "{from}: {wrong:?}");
    }
}
