//! The codec byte by byte: frozen bytes, hostile ones, and any cut of them.

use proptest::prelude::*;

use super::*;

fn decode(telnet: &mut Telnet, bytes: &[u8]) -> Vec<u8> {
    let mut buffer = bytes.to_vec();
    let kept = telnet.decode(&mut buffer);
    buffer.truncate(kept);
    buffer
}

fn encode(telnet: &Telnet, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    telnet.encode(bytes, &mut out);
    out
}

/// One that has agreed on binary both ways.
fn binary(baud: Option<u32>) -> Telnet {
    let mut telnet = Telnet::new(baud);
    telnet.poll_transmit();
    assert_eq!(decode(&mut telnet, b"\xff\xfd\x00\xff\xfb\x00"), b"");
    assert_eq!(telnet.poll_transmit(), None);
    telnet
}

#[test]
fn the_first_bytes() {
    let offers = b"\xff\xfb\x00\xff\xfd\x00\xff\xfb\x03\xff\xfd\x03";
    assert_eq!(Telnet::new(None).poll_transmit().unwrap(), offers);
    let mut telnet = Telnet::new(Some(115_200));
    assert_eq!(telnet.poll_transmit().unwrap(), [&offers[..], b"\xff\xfb\x2c"].concat());
    assert_eq!(telnet.poll_transmit(), None);
    decode(&mut telnet, b"\xff\xfd\x2c");
    let settings = b"\xff\xfa\x2c\x00\xff\xf0\xff\xfa\x2c\x02\x08\xff\xf0\xff\xfa\x2c\x03\x01\xff\xf0\
        \xff\xfa\x2c\x04\x01\xff\xf0\xff\xfa\x2c\x05\x01\xff\xf0\xff\xfa\x2c\x0a\x0e\xff\xf0\
        \xff\xfa\x2c\x0b\x00\xff\xf0\xff\xfa\x2c\x0c\x02\xff\xf0\xff\xfa\x2c\x01\x00\x01\xc2\x00\xff\xf0";
    assert_eq!(telnet.poll_transmit().unwrap(), settings);
    decode(&mut telnet, b"\xff\xfd\x2c");
    assert_eq!(telnet.poll_transmit(), None, "once");
}

#[test]
fn what_is_of_the_line() {
    for (from_server, of_line) in [
        (&b"plain \x00\x01\xfe text\r\n"[..], &b"plain \x00\x01\xfe text\r\n"[..]),
        (b"\xff\xff", b"\xff"),
        (b"a\xff\xf1b\xff\xf6c\xff\xf9d", b"abcd"),
        (b"a\xff\xfd\x18b\xff\xfb\x01c", b"abc"),
        // Outside of binary a NUL behind a CR is padding, also behind a command; not behind anything else.
        (b"a\r\x00\x00b\r\xff\xf1\x00c\r\r\x00d\x00", b"a\r\x00b\rc\r\rd\x00"),
        (b"\r\xff\xff\x00", b"\r\xff\x00"),
        (b"a\xff\xfa\x18\x01\xff\xf0b", b"ab"),
        (b"a\xff\xfa\x2c\x64\xff\xff\xff\xf0b", b"ab"),
        // A subnegotiation without an end.
        (b"a\xff\xfa\x2c\x64\xff\xfb\x01b\xff\xfa\xff\xf1c", b"abc"),
    ] {
        assert_eq!(decode(&mut Telnet::new(Some(9600)), from_server), of_line, "{from_server:x?}");
    }
    assert_eq!(decode(&mut binary(None), b"a\r\x00b\xff\xff"), b"a\r\x00b\xff");
}

#[test]
fn what_is_for_the_line() {
    assert_eq!(encode(&Telnet::new(None), b"a\r\nb\r\xff\x00"), b"a\r\x00\nb\r\x00\xff\xff\x00");
    assert_eq!(encode(&binary(None), b"a\r\nb\r\xff\x00"), b"a\r\nb\r\xff\xff\x00");
}

#[test]
fn a_line_is_ready_when_all_is_answered() {
    let mut telnet = Telnet::new(None);
    assert_eq!(telnet.readiness(false), Readiness::Waiting);
    decode(&mut telnet, b"\xff\xfd\x00");
    assert_eq!(telnet.readiness(false), Readiness::Waiting);
    decode(&mut telnet, b"\xff\xfc\x00");
    assert_eq!(telnet.readiness(false), Readiness::Ready);
    // A port that carries nothing but bytes answers nothing.
    assert_eq!(Telnet::new(None).readiness(true), Readiness::Ready);

    let mut telnet = binary(Some(115_200));
    assert_eq!(telnet.readiness(false), Readiness::Waiting);
    decode(&mut telnet, b"\xff\xfd\x2c\xff\xfa\x2c\x65\x00\x01\xc2\x00\xff\xf0");
    assert_eq!(telnet.readiness(false), Readiness::Ready);
    decode(&mut telnet, b"\xff\xfe\x2c");
    assert!(matches!(telnet.readiness(false), Readiness::Refused(_)));
    assert!(matches!(Telnet::new(Some(1200)).readiness(true), Readiness::Refused(_)));
}

#[test]
fn speeds_and_breaks() {
    let mut telnet = binary(Some(115_200));
    decode(&mut telnet, b"\xff\xfd\x2c\xff\xfa\x2c\x65\x00\x01\xc2\x00\xff\xf0");
    telnet.poll_transmit();
    telnet.take_baud_outcome();
    // 65,535 is IAC twice, doubled.
    telnet.set_baud(65_535);
    assert_eq!(
        telnet.poll_transmit().unwrap(),
        b"\xff\xfa\x2c\x01\x00\x00\xff\xff\xff\xff\xff\xf0"
    );
    assert_eq!(telnet.take_baud_outcome(), None);
    decode(&mut telnet, b"\xff\xfa\x2c\x65\x00\x00\xff\xff\xff\xff\xff\xf0");
    assert_eq!(telnet.take_baud_outcome(), Some(Ok(())));
    telnet.start_break();
    assert_eq!(telnet.poll_transmit().unwrap(), b"\xff\xfa\x2c\x05\x05\xff\xf0");
    telnet.end_break();
    assert_eq!(telnet.poll_transmit().unwrap(), b"\xff\xfa\x2c\x05\x06\xff\xf0");

    let mut telnet = binary(None);
    telnet.start_break();
    telnet.end_break();
    telnet.set_baud(9600);
    assert_eq!(telnet.poll_transmit().unwrap(), b"\xff\xf3");
}

#[test]
fn a_server_without_manners_is_bounded() {
    let mut telnet = Telnet::new(Some(9600));
    for _ in 0..10_000 {
        decode(&mut telnet, b"\xff\xfd\x18\xff\xfa\x2c\x64\xff\xf0");
    }
    assert!(telnet.poll_transmit().unwrap().len() <= ANSWERS_MAX);
    assert!(telnet.malformed() > 10_000);
    // A subnegotiation that never ends gives the line back.
    let endless = [&b"\xff\xfa\x2c"[..], &[b'x'; 5000]].concat();
    let left = endless.len() - 2 - (SUBNEGOTIATION_MAX + 1);
    assert_eq!(decode(&mut telnet, &endless).len(), left);
    assert!(telnet.subnegotiation.len() <= SUBNEGOTIATION_KEPT);
}

proptest! {
    /// What one end encodes the other decodes, in either form, and commands in between harm nothing.
    #[test]
    fn bytes_pass(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8), is_binary: bool) {
        let (sender, mut receiver) = if is_binary {
            (binary(None), binary(None))
        } else {
            (Telnet::new(None), Telnet::new(None))
        };
        let mut wire = Vec::new();
        for piece in &pieces {
            sender.encode(piece, &mut wire);
            wire.extend(b"\xff\xf1\xff\xfd\x18\xff\xfa\x18\x01\xff\xff\xff\xf0");
        }
        prop_assert_eq!(decode(&mut receiver, &wire), pieces.concat());
    }

    /// Any bytes, however they are cut, give the same.
    #[test]
    fn cuts_do_not_matter(
        bytes in prop::collection::vec(
            prop_oneof![4 => Just(IAC), 4 => 240_u8..=254, 2 => Just(COM_PORT), 2 => 0_u8..16, 1 => any::<u8>()],
            0..300,
        ),
        cut in 1_usize..20,
    ) {
        let (mut whole, mut pieces) = (Telnet::new(Some(115_200)), Telnet::new(Some(115_200)));
        let text = decode(&mut whole, &bytes);
        let cut_text: Vec<u8> = bytes.chunks(cut).flat_map(|piece| decode(&mut pieces, piece)).collect();
        prop_assert_eq!(text, cut_text);
        prop_assert_eq!(whole.poll_transmit(), pieces.poll_transmit());
        prop_assert_eq!(whole.readiness(true), pieces.readiness(true));
        prop_assert_eq!(whole.uart_errors(), pieces.uart_errors());
    }
}
