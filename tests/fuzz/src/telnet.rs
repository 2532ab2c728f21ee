//! Telnet: whatever a server says, and however it is cut, the line's bytes, the answers and the counts are the same; no
//! more bytes come out than went in; and what this end encodes, it decodes.

use host_dispatcher::telnet::{ANSWERS_MAX, Telnet};

pub(crate) fn run(input: &[u8]) {
    let Some((&mode, input)) = input.split_first() else { return };
    let baud = (mode & 1 == 1).then_some(115_200);
    let cut = usize::from(mode >> 2) + 1;
    let (mut whole, mut pieces) = (Telnet::new(baud), Telnet::new(baud));
    let mut text = input.to_vec();
    let kept = whole.decode(&mut text);
    let mut cut_text = Vec::new();
    for (number, piece) in input.chunks(cut).enumerate() {
        let mut piece = piece.to_vec();
        let kept = pieces.decode(&mut piece);
        cut_text.extend_from_slice(&piece[..kept]);
        if mode & 2 == 2 && number % 7 == 3 {
            // The owner's own wishes stand in between.
            pieces.set_baud(921_600);
            pieces.start_break();
            pieces.end_break();
            let _ = pieces.take_baud_outcome();
            let _ = pieces.give_baud_up();
        }
    }
    assert!(text[..kept] == cut_text, "a cut matters");
    assert_eq!(whole.uart_errors(), pieces.uart_errors());
    if mode & 2 == 0 {
        assert_eq!(whole.readiness(false), pieces.readiness(false));
        assert_eq!(whole.malformed(), pieces.malformed());
    }
    let (answers, cut_answers) = (whole.poll_transmit(), pieces.poll_transmit());
    for answers in [&answers, &cut_answers].into_iter().flatten() {
        assert!(answers.len() <= ANSWERS_MAX);
    }
    assert!(mode & 2 == 2 || answers == cut_answers, "a cut matters to the answers");
    let mut wire = Vec::new();
    let (sender, mut receiver) = (Telnet::new(baud), Telnet::new(baud));
    sender.encode(input, &mut wire);
    let length = receiver.decode(&mut wire);
    assert!(wire[..length] == *input, "what was encoded is decoded");
}
