//! From statements and answers to what a session is tied by.

use super::*;
use crate::settings::Registry;

const SAVED: Fingerprint = Fingerprint(7);
const NOW: Micros = Micros::from_secs(1);

fn run(residue: &mut Residue, text: &str) {
    residue.resume();
    residue.note(sql::read(text).effects, (SAVED, NOW), || sql::settings(text));
}

fn ask(residue: &mut Residue) -> Option<&Question> {
    residue.ask(&Registry::default().only_name(b"web"), || NOW)
}

fn names(question: Option<&Question>) -> Vec<String> {
    let names = question.into_iter().flat_map(|question| &question.names);
    names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

fn found(kind: Option<SessionEffect>) -> Answers {
    let objects = kind.map_or(Effects::NONE, |kind| Effects::NONE.with(kind));
    Answers { objects, ..Answers::default() }
}

#[test]
fn a_setting_is_asked_for_once() {
    let mut residue = Residue::default();
    run(&mut residue, "SELECT 1");
    assert!(residue.is_clean() && ask(&mut residue).is_none());
    run(&mut residue, "SET work_mem = 1; SET timezone = 'UTC'");
    assert!(!residue.is_clean() && residue.is_meaning_open());
    let question = ask(&mut residue).unwrap();
    assert!(!question.restores && question.objects.is_empty());
    assert_eq!(names(Some(question)), ["timezone", "work_mem"]);
    assert!(ask(&mut residue).is_none() && !residue.is_clean(), "it is under way");
    residue.answered(Some(&Answers::default()), 3);
    assert!(residue.is_clean() && !residue.is_meaning_open());
    assert_eq!(residue.news(), None);
}

#[test]
fn a_setting_of_the_transaction_is_not() {
    let mut residue = Residue::default();
    run(&mut residue, "SET LOCAL timezone = 'UTC'");
    assert!(residue.is_clean() && residue.is_meaning_open());
    residue.note_report(b"TimeZone");
    assert!(ask(&mut residue).is_none());
    assert!(!residue.is_meaning_open());
    // But one that nobody announced.
    residue.note_report(b"TimeZone");
    assert_eq!(names(ask(&mut residue)), ["timezone"]);
}

#[test]
fn what_is_found_pins_and_what_is_gone_does_not() {
    let mut residue = Residue::default();
    run(&mut residue, "SELECT pg_advisory_lock(1)");
    assert_eq!(residue.news(), None, "it is not known yet");
    assert!(ask(&mut residue).unwrap().objects.has(SessionEffect::AdvisoryLock));
    residue.answered(Some(&found(Some(SessionEffect::AdvisoryLock))), 1);
    let pin = Pin { since: NOW, cause: PinCause::AdvisoryLock, statement: SAVED };
    assert_eq!((residue.news(), residue.news()), (Some(News::Pinned(pin)), None));
    run(&mut residue, "SELECT 1");
    assert!(ask(&mut residue).is_none() && !residue.is_clean());
    run(&mut residue, "SELECT pg_advisory_unlock(1)");
    assert!(ask(&mut residue).is_some());
    residue.answered(Some(&found(None)), 1);
    assert!(residue.is_clean());
    assert_eq!((residue.news(), residue.news()), (Some(News::Unpinned), None));
}

#[test]
fn a_question_without_an_answer_is_asked_again_but_not_for_ever() {
    let mut residue = Residue::default();
    run(&mut residue, "SET a = 1");
    for _ in 0..TRIES {
        assert_eq!(names(ask(&mut residue)), ["a"]);
        residue.answered(None, 0);
    }
    assert!(ask(&mut residue).is_none() && !residue.is_clean());
    residue.resume();
    assert_eq!(names(ask(&mut residue)), ["a"]);
}

#[test]
fn what_cannot_be_asked_lasts_until_all_is_discarded() {
    let mut residue = Residue::default();
    run(&mut residue, "SELECT set_config($1, $2, false)");
    let pin = Pin { since: NOW, cause: PinCause::Set, statement: SAVED };
    assert_eq!(residue.news(), Some(News::Pinned(pin)));
    residue.answered(Some(&Answers::default()), 1);
    assert!(ask(&mut residue).is_none() && !residue.is_clean());
    residue.discarded();
    assert_eq!(ask(&mut residue).unwrap().objects, all_objects());
    residue.answered(Some(&found(None)), 1);
    assert!(residue.is_clean());
}

#[test]
fn what_a_prepared_statement_sets_is_asked_when_it_runs() {
    let mut residue = Residue::default();
    run(&mut residue, "PREPARE p AS SELECT set_config('a', 'b', false)");
    assert_eq!(names(ask(&mut residue)), ["a"]);
    residue.answered(Some(&found(Some(SessionEffect::Prepare))), 1);
    run(&mut residue, "EXECUTE p");
    assert_eq!(names(ask(&mut residue)), ["a"]);
}

#[test]
fn what_comes_while_a_question_is_under_way_is_asked_after_it() {
    let mut residue = Residue::default();
    run(&mut residue, "PREPARE p AS SELECT 1");
    assert!(ask(&mut residue).is_some());
    run(&mut residue, "DEALLOCATE p; RESET ALL");
    assert!(ask(&mut residue).is_none() && !residue.is_clean());
    residue.answered(Some(&found(Some(SessionEffect::Prepare))), 1);
    let question = ask(&mut residue).unwrap();
    assert!(question.restores && question.objects.has(SessionEffect::Prepare));
    assert_eq!(names(Some(question)), ["application_name"], "all that the session has by now");
}
