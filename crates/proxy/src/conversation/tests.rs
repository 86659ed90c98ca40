//! Conversations written down: what each side says, and what is known after it.

use trace::SqlState;

use super::*;
use crate::statements::CopyNumber;

const NOW: Micros = Micros::from_secs(1);

/// One side says something; letters are those of the protocol.
#[derive(Clone, Copy)]
enum Say {
    /// The client's messages, one a letter.
    Client(&'static str),
    /// The server's; see [`server`].
    Server(&'static str),
}
use Say::{Client, Server};

fn copy() -> CopyNumber {
    CopyNumber::parse("5").unwrap()
}

fn conversation() -> Conversation {
    Conversation::new(SessionId(1), DynoId(1))
}

fn client(conversation: &mut Conversation, message: char) {
    let times = Times::at(NOW);
    match message {
        'Q' => conversation.query(Fingerprint(7), times),
        'F' => conversation.function(times),
        'P' => conversation.extended(Some(Expect::Parse(None, Shown::Client)), times),
        // Prepared by us for our own purposes.
        'p' => {
            let parse = Expect::Parse(Some(copy()), Shown::Nobody);
            conversation.extended(Some(parse), times);
        }
        // A Close that we answer ourselves.
        'o' => conversation.extended(Some(Expect::Ours(OurReply::CloseComplete)), times),
        // A Close of our own, and a Describe.
        'k' => conversation.extended(Some(Expect::Close(Some(copy()), Shown::Nobody)), times),
        'h' => conversation.extended(Some(Expect::Describe(Shown::Nobody)), times),
        // A message that is to fail.
        'r' => conversation.extended(Some(Expect::Refused), times),
        // What was said last changes a name.
        'n' => return conversation.changes_name(),
        'B' => conversation.extended(Some(Expect::Bind), times),
        'D' => conversation.extended(Some(Expect::Describe(Shown::Client)), times),
        'E' => conversation.extended(Some(Expect::Execute), times),
        'C' => conversation.extended(Some(Expect::Close(None, Shown::Client)), times),
        'H' => conversation.extended(None, times),
        'S' => conversation.sync(times),
        // A query of our own.
        'a' => return conversation.aside(),
        'c' | 'f' => conversation.copy_end(),
        'd' => {}
        other => panic!("no client says {other}"),
    }
    conversation.bytes_in(10);
}

/// `i`, `t`, `e` are ReadyForQuery idle, open, failed; `x` is an error, `p` a ParameterDescription.
fn server(conversation: &mut Conversation, message: char) -> Result<Heard, Unexpected> {
    let (tag, content): (u8, &[u8]) = match message {
        'i' => (b'Z', b"I"),
        't' => (b'Z', b"T"),
        'e' => (b'Z', b"E"),
        'x' => (b'E', b"SERROR\0C42601\0Mno\0\0"),
        'C' => (b'C', b"SELECT 3\0"),
        'p' => (b't', b""),
        other => (u8::try_from(other).unwrap(), b""),
    };
    conversation.answered(tag, content, 5 + content.len(), NOW)
}

/// Plays a conversation; gives the requests that were done.
fn play(conversation: &mut Conversation, script: &[Say]) -> Vec<Request> {
    let mut done = Vec::new();
    for say in script {
        match say {
            Client(messages) => messages.chars().for_each(|m| client(conversation, m)),
            Server(messages) => {
                for message in messages.chars() {
                    while conversation.our_turn().is_some() {}
                    let heard = server(conversation, message)
                        .unwrap_or_else(|_| panic!("{message} of {messages} was not expected"));
                    done.extend(heard.done);
                }
            }
        }
    }
    done
}

/// Checks how many requests a conversation has, how many failed, and that nothing is due after it.
fn check(script: &[Say], requests: usize, failed: usize) -> Vec<Request> {
    let mut conversation = conversation();
    let done = play(&mut conversation, script);
    assert_eq!(done.len(), requests);
    assert_eq!(done.iter().filter(|request| !request.outcome.is_ok()).count(), failed);
    assert!(conversation.is_quiet(), "{conversation:?}");
    assert!(conversation.pending.is_empty(), "{conversation:?}");
    done
}

#[test]
fn simple_queries() {
    let done = check(&[Client("Q"), Server("TDDDCi")], 1, 0);
    assert_eq!((done[0].kind, done[0].rows), (RequestKind::Simple, 3));
    assert_eq!(done[0].statement, Fingerprint(7));
    assert_eq!((done[0].bytes_in, done[0].bytes_out), (10, 5 * 4 + 14 + 6));
    // Several statements in one query; an error ends it.
    check(&[Client("Q"), Server("TDCTDCxi")], 1, 1);
    check(&[Client("F"), Server("Vi")], 1, 0);
}

#[test]
fn extended_batches_and_pipelines() {
    let done = check(&[Client("PBDES"), Server("12TDDCi")], 1, 0);
    assert_eq!(done[0].kind, RequestKind::Extended);
}

#[test]
fn several_syncs_are_several_requests() {
    check(&[Client("PBESPBESS"), Server("12Ci12Cii")], 3, 0);
    check(
        &[Client("PDH"), Server("1pn"), Client("BEH"), Server("2DDs"), Client("ES"), Server("DCi")],
        1,
        0,
    );
    check(&[Client("CS"), Server("3i")], 1, 0);
}

#[test]
fn after_an_error_all_is_discarded_up_to_the_sync() {
    // The rest of the batch was under way already.
    check(&[Client("PBESPBES"), Server("xi12Ci")], 2, 1);
    // The error came before the client sent the rest.
    check(&[Client("PH"), Server("x"), Client("BES"), Server("i")], 1, 1);
    // A simple query before the Sync is discarded too.
    check(&[Client("PBQS"), Server("xi")], 1, 1);
    check(&[Client("PH"), Server("x"), Client("QS"), Server("i")], 1, 1);
    // An error at the Sync itself: a deferred constraint.
    check(&[Client("BES"), Server("2Cxi")], 1, 1);
}

#[test]
fn copy_from_the_client() {
    check(&[Client("Q"), Server("G"), Client("dddc"), Server("Ci")], 1, 0);
    check(&[Client("Q"), Server("G"), Client("df"), Server("xi")], 1, 1);
    check(&[Client("BES"), Server("2G"), Client("ddcS"), Server("Ci")], 1, 0);
    // The Sync of the Execute was read before COPY began, or not sent at all.
    check(&[Client("BE"), Server("2G"), Client("ddcS"), Server("Ci")], 1, 0);
    // All at once, before the server has said anything.
    check(&[Client("BEddcS"), Server("2GCi")], 1, 0);
    check(&[Client("BESddcS"), Server("2GCi")], 1, 0);
    // A Sync while a simple COPY takes data is ignored, too.
    check(&[Client("QS"), Server("G"), Client("dSc"), Server("Ci")], 1, 0);
    // Two COPYs in one query.
    check(
        &[Client("Q"), Server("G"), Client("dc"), Server("CG"), Client("dc"), Server("Ci")],
        1,
        0,
    );
    // What is left of the data after an error is dropped by the server.
    check(&[Client("Q"), Server("G"), Client("d"), Server("xi"), Client("ddc")], 1, 1);
}

#[test]
fn copy_to_the_client() {
    check(&[Client("Q"), Server("HdddcCi")], 1, 0);
    check(&[Client("BES"), Server("2HddcCi")], 1, 0);
}

#[test]
fn a_failed_copy_with_an_early_sync_can_never_be_counted() {
    // Either the server ignored the first Sync, or it will answer both.
    for answers in ["xi", "xii"] {
        let mut conversation = conversation();
        play(&mut conversation, &[Client("BES"), Server("2G"), Client("dcS"), Server(answers)]);
        assert!(!conversation.may_release());
    }
    // Without the early Sync there is no doubt.
    let mut conversation = conversation();
    play(&mut conversation, &[Client("BE"), Server("2G"), Client("dcS"), Server("xi")]);
    assert!(conversation.may_release());
}

#[test]
fn a_connection_is_free_only_when_nothing_is_due_and_no_transaction_is_open() {
    let cases: [(&[Say], bool); 9] = [
        (&[], true),
        (&[Client("Q")], false),
        (&[Client("Q"), Server("Ci")], true),
        (&[Client("Q"), Server("Ct")], false),
        (&[Client("Q"), Server("xe")], false),
        (&[Client("P"), Server("1")], false),
        (&[Client("PS"), Server("1i")], true),
        (&[Client("SS"), Server("i")], false),
        (&[Client("PH"), Server("x")], false),
    ];
    for (index, (script, free)) in cases.into_iter().enumerate() {
        let mut conversation = conversation();
        play(&mut conversation, script);
        assert_eq!(conversation.may_release(), free, "case {index}");
    }
}

#[test]
fn what_we_asked_for_ourselves_is_not_shown() {
    let mut conversation = conversation();
    play(&mut conversation, &[Client("pBES")]);
    assert_eq!(server(&mut conversation, '1').unwrap().shown, Shown::Nobody);
    assert_eq!(server(&mut conversation, '2').unwrap().shown, Shown::Client);
    let done = play(&mut conversation, &[Server("Ci")]);
    assert_eq!(done[0].bytes_out, 5 + 14 + 6, "what was not shown is not counted");
}

#[test]
fn our_own_replies_come_in_their_turn() {
    let mut conversation = conversation();
    play(&mut conversation, &[Client("PBoBES")]);
    assert_eq!(conversation.our_turn(), None);
    play(&mut conversation, &[Server("12")]);
    assert_eq!(conversation.our_turn(), Some(OurReply::CloseComplete));
    assert_eq!(conversation.our_turn(), None);
    play(&mut conversation, &[Server("2Ci")]);
    assert!(conversation.may_release());
}

#[test]
fn an_error_undoes_what_was_to_be_prepared() {
    let mut conversation = conversation();
    play(&mut conversation, &[Client("PpBoESS"), Server("x")]);
    assert_eq!(conversation.take_undone(), Undone { copies: vec![copy()], ..Undone::default() });
    assert_eq!(conversation.our_turn(), None, "our reply is discarded with the rest");
    play(&mut conversation, &[Server("ii")]);
    assert!(conversation.may_release());
}

#[test]
fn a_name_changes_once_the_server_has_come_to_it() {
    let mut conversation = conversation();
    play(&mut conversation, &[Client("PnhBES")]);
    assert_eq!(conversation.take_changes(), 0);
    play(&mut conversation, &[Server("1")]);
    assert_eq!(conversation.take_changes(), 1);
    assert!(conversation.hears_description());
    assert_eq!(server(&mut conversation, 'p').unwrap().shown, Shown::Nobody);
    assert_eq!(server(&mut conversation, 'T').unwrap().shown, Shown::Nobody);
    play(&mut conversation, &[Server("2Ci"), Client("n")]);
    assert_eq!(conversation.take_changes(), 1, "nothing comes before");
    assert!(conversation.may_release());
}

#[test]
fn what_stands_behind_an_error_does_not_count() {
    let mut conversation = conversation();
    play(&mut conversation, &[Client("BonkPnhrSPn"), Server("x")]);
    let undone = conversation.take_undone();
    assert_eq!((undone.changes, undone.descriptions, undone.refusals), (2, 1, 1));
    assert_eq!((undone.copies, undone.closes), (vec![], vec![copy()]));
    assert_eq!(conversation.take_changes(), 0);
    play(&mut conversation, &[Server("i1")]);
    assert_eq!(conversation.take_changes(), 1, "of the next batch");
}

#[test]
fn the_server_may_end_the_session_of_its_own_accord() {
    let mut conversation = conversation();
    assert!(server(&mut conversation, 'x').is_ok());
    play(&mut conversation, &[Client("Q"), Server("TDx")]);
    let given_up = conversation.give_up(Outcome::ServerGone, NOW).unwrap();
    assert_eq!(given_up.outcome, Outcome::Error(SqlState(*b"42601")), "its own error counts");
    assert!(conversation.give_up(Outcome::ServerGone, NOW).is_none());
}

#[test]
fn asides_are_part_of_no_request() {
    // Before the client's own, whose transaction follows, and after it.
    let mut conversation = conversation();
    play(&mut conversation, &[Client("aQ")]);
    for message in ['S', 'N', 'C', 'i'] {
        let heard = server(&mut conversation, message).unwrap();
        assert_eq!(heard, Heard { shown: Shown::Nobody, done: None });
    }
    let done = play(&mut conversation, &[Server("TDCt")]);
    assert_eq!(done[0].bytes_out, 2 * 5 + 14 + 6, "what was not shown is not counted");
    assert!(conversation.is_quiet() && !conversation.may_release());
    play(&mut conversation, &[Client("Q"), Server("Ci"), Client("a")]);
    assert!(!conversation.may_release());
    // What fails is nobody's failure, and messages for the session itself are seen.
    assert_eq!(server(&mut conversation, 'A').unwrap().shown, Shown::Client);
    play(&mut conversation, &[Server("TDxi")]);
    assert!(conversation.may_release() && conversation.take_undone() == Undone::default());
    // The next batch is on its way before the answer.
    check(&[Client("Q"), Server("Ci"), Client("aPBES"), Server("TDCi12Ci")], 2, 0);
}

#[test]
fn an_answer_that_nothing_asked_for_is_noticed() {
    for (asked, answer) in
        [("", 'i'), ("", '1'), ("BS", '1'), ("PS", '2'), ("S", 'C'), ("ES", '1'), ("PBS", 'i')]
    {
        let mut conversation = conversation();
        play(&mut conversation, &[Client(asked)]);
        assert_eq!(server(&mut conversation, answer), Err(Unexpected), "{asked} {answer}");
    }
}

#[test]
fn notices_may_come_at_any_time() {
    check(&[Server("NAS"), Client("PBES"), Server("1N2SCAi"), Server("N")], 1, 0);
}

#[test]
fn the_opening_of_a_session_is_a_request() {
    let mut conversation = conversation();
    conversation.connect(Times::at(NOW));
    let done = play(&mut conversation, &[Server("RRSSKi")]);
    assert_eq!(done[0].kind, RequestKind::Connect);
    assert!(conversation.may_release());
}

/// A conversation in which the proxy has sent this ahead.
fn with_ahead(expected: &[Expect]) -> Conversation {
    let mut conversation = conversation();
    conversation.ahead(expected.iter().copied());
    conversation
}

const BEGIN: [Expect; 3] = [Expect::Bind, Expect::Execute, Expect::Close(None, Shown::Nobody)];

#[test]
fn what_was_sent_ahead_is_answered_to_nobody() {
    for (request, answer) in [("Q", "TDCt"), ("PBES", "12Ct"), ("S", "t")] {
        let mut conversation = with_ahead(&BEGIN);
        assert!(!conversation.holds_back());
        assert!(play(&mut conversation, &[Client(request)]).is_empty());
        assert!(conversation.holds_back(), "the request is whole");
        for message in ['2', 'C', '3'] {
            let heard = server(&mut conversation, message).unwrap();
            assert_eq!(heard, Heard { shown: Shown::Nobody, done: None });
        }
        assert!(!conversation.is_ahead() && !conversation.holds_back());
        let done = play(&mut conversation, &[Server(answer)]);
        assert_eq!(done.len(), 1);
        assert_eq!(done[0].transaction, TransactionState::Open);
        assert!(conversation.is_quiet() && !conversation.may_release());
    }
}

#[test]
fn a_batch_goes_on_before_what_was_sent_ahead_is_answered() {
    let mut conversation = with_ahead(&BEGIN);
    play(&mut conversation, &[Client("PBDH")]);
    assert!(!conversation.holds_back());
    play(&mut conversation, &[Client("ES")]);
    assert!(conversation.holds_back());
}

#[test]
fn an_error_in_what_was_sent_ahead_is_told_from_the_requests_own() {
    let mut conversation = with_ahead(&BEGIN);
    play(&mut conversation, &[Client("Q")]);
    assert!(!conversation.failed_ahead(), "nobody wanted it to fail");

    let provoked = [Expect::Failure, Expect::Sync];
    let mut conversation = with_ahead(&[&BEGIN[..], &provoked].concat());
    assert!(conversation.holds_back(), "its Sync would let the request run");
    for message in ['2', 'C', '3'] {
        server(&mut conversation, message).unwrap();
    }
    assert!(conversation.failed_ahead());
    assert_eq!(server(&mut conversation, 'e').unwrap().shown, Shown::Nobody);
    assert!(!conversation.is_ahead() && !conversation.holds_back());
    assert_eq!(conversation.transaction(), TransactionState::Failed);
}
