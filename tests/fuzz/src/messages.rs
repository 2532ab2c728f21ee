//! The messages: whatever the bytes, decoding ends in a body or an error, and a body survives being written and read.

use agent_core::agent::plan::{PlanReader, encode_counted, is_suite_name};
use agent_core::link::{Hello, HelloAck};
use agent_core::wire::codec::{decode, decode_prefix, encode};
use agent_core::wire::envelope::{HEADER_LEN, MESSAGE_MAX};
use agent_core::wire::node::NodeCall;
use agent_core::wire::record::{Record, split_counted};
use agent_core::wire::{Envelope, Failure, request, response};

/// The first byte says where bodies are cut, the rest is read as everything that there is.
pub(crate) fn run(input: &[u8]) {
    let Some((cut, bytes)) = input.split_first() else { return };
    let bytes = &bytes[..bytes.len().min(MESSAGE_MAX)];
    let cut = usize::from(*cut);
    all_bodies(bytes, cut);
    envelope(bytes);
    record(bytes);
    plan(bytes);
    if let Ok(failure) = decode::<Failure<'_>>(bytes) {
        assert!(!failure.to_string().is_empty());
    }
}

/// A macro, for each use of a type has a lifetime of its own.
macro_rules! bodies {
    ($bytes:expr, $cut:expr; $($body:ty),* $(,)?) => {$(
        let bytes: &[u8] = $bytes;
        if let Ok((body, rest)) = decode_prefix::<$body>(bytes) {
            assert!(bytes.ends_with(rest));
            assert_eq!(decode::<$body>(bytes), Ok(body), "with and without what follows");
        }
        if let Ok(body) = decode::<$body>(bytes) {
            let mut buffer = [0; 2 * MESSAGE_MAX];
            let written = encode(&body, &mut buffer).expect("written shorter than it was read");
            assert_eq!(decode::<$body>(written), Ok(body));
            // A newer peer's fields are ignored.
            assert_eq!(decode::<$body>(&[written, &[0xA5; 9]].concat()), Ok(body));
            // An older peer's missing fields are zero.
            let short = &written[..$cut % (written.len() + 1)];
            if let Ok(body) = decode::<$body>(short) {
                assert_eq!(decode::<$body>(&[short, &[0; 128]].concat()), Ok(body));
            }
        }
    )*};
}

fn all_bodies(bytes: &[u8], cut: usize) {
    bodies!(bytes, cut;
        request::Info, request::Clock, request::Follow, request::Exec<'_>, request::Signal,
        request::Get<'_>, request::FileHash<'_>, request::Put<'_>, request::List<'_>, request::Path<'_>,
        request::Partition<'_>, request::BlockTree<'_>, request::BlockPlan<'_>, response::BlockTree,
        request::Mount<'_>, request::Inject<'_>, request::Reboot, request::Sync,
        request::TestStatus, response::Done, response::Info<'_>, response::Clock, response::Exit,
        response::Got<'_>, response::Listed, response::Entry<'_>, response::Stat,
        response::Partition<'_>, response::Written, response::Hash<'_>, response::Mounted<'_>,
        response::Injected, response::TestStatus<'_>, request::NodeCall, request::NodeAnswer<'_>,
        response::NodeCall<'_>, NodeCall<'_>, Failure<'_>, Hello, HelloAck, Record<'_>,
    );
}

fn envelope(bytes: &[u8]) {
    let Ok(Some((envelope, used))) = Envelope::parse(bytes) else { return };
    assert!((HEADER_LEN..=MESSAGE_MAX).contains(&used) && used <= bytes.len());
    assert_eq!(envelope.body, &bytes[HEADER_LEN..used]);
    assert_eq!(Envelope::parse(&bytes[..used]), Ok(Some((envelope, used))));
    for short in [0, 1, HEADER_LEN - 1, used - 1] {
        assert_eq!(Envelope::parse(&bytes[..short.min(used - 1)]), Ok(None));
    }
}

fn record(bytes: &[u8]) {
    let Ok(Some((record, used))) = Record::parse(bytes) else { return };
    assert_eq!(split_counted(bytes).map(<[u8]>::len), Some(used - 2));
    let mut buffer = [0; 2 * MESSAGE_MAX];
    let written = record.encode(&mut buffer).expect("written shorter than it was read");
    assert_eq!(Record::parse(written), Ok(Some((record, written.len()))));
    assert_eq!(Record::parse(&written[..written.len() - 1]), Ok(None));
}

fn plan(bytes: &[u8]) {
    let Ok((header, mut reader)) = PlanReader::new(bytes) else { return };
    let (mut tests, mut buffer) = (Vec::new(), [0; 2 * MESSAGE_MAX]);
    let mut written = encode_counted(&header, &mut buffer).expect("room").to_vec();
    while let Ok(Some(test)) = reader.test() {
        assert!(is_suite_name(test.suite) && test.timeout_ms > 0);
        written.extend_from_slice(encode_counted(&test, &mut buffer).expect("room"));
        tests.push(test);
    }
    let (same, mut reader) = PlanReader::new(&written).expect("its own bytes");
    assert_eq!(same, header);
    for test in tests {
        assert_eq!(reader.test(), Ok(Some(test)));
    }
    assert_eq!(reader.test(), Ok(None));
}
