//! The failures as people read them, and as scripts do.

use portal::Error;
use portal::error::{Kind, Short};
use store_client::Cause;

use super::screens;
use crate::failure::{Failure, Reader};
use crate::repl::ids::Ids;
use crate::repl::meant::proposing;
use crate::show::answer::Answer;
use crate::show::screen;
use crate::verb::call::{parse, unknown_verb};
use crate::verb::spec::Kind as Word;
use crate::verb::words::words;
use crate::verb::{admin, shop};

fn of(error: Error) -> Failure {
    Failure::of_status(&error.into())
}

#[track_caller]
fn told(name: &str, failures: &[Failure]) {
    screens(name, |look| {
        let each: Vec<String> = failures.iter().map(|one| screen::failure(one, true, look)).collect();
        each.join("\n\n")
    });
}

fn refusals() -> Vec<Failure> {
    let short = |pid: &str, holds| Short { pid: pid.into(), wanted: 100, left: 17, holds };
    let held = vec!["7k2vq9d4m0xhy3c8w5jb6nztra".to_owned(), "0f1ge8s2p7kdc4mz9qvw3h5xjt".to_owned()];
    vec![
        of(Error::UnknownClient { cid: "dona".into() }),
        of(Error::NotFound { kind: Kind::Product, id: "banana prat".into() }),
        of(Error::NotYours { oid: "7k2vq9d4m0xhy3c8w5jb6nztra".into() }),
        of(Error::invalid("data.price", "a price is not negative")),
        of(Error::invalid("data.quantity", "must be an integer")),
        of(Error::invalid(
            "lines[2].quantity",
            "quantity 0 makes no sense in a new order; leave the line out, or order at least 1",
        )),
        of(Error::invalid("lines[2].pid", "begins with -, as only the flags of tools do")),
        of(Error::ShortStock {
            short: vec![short("banana-prata", 0), short("queijo-minas-artesanal", 5)],
            more: 3,
        }),
        of(Error::Held { kind: Kind::Client, id: "maria".into(), by: held, more: 4 }),
        of(Error::Changed { kind: Kind::Product, id: "banana-prata".into(), etag: 1_284_663 }),
        of(Error::damaged(b"p/{banana-prata}", "expected value at line 1 column 1")),
        of(Error::Unavailable { cause: Cause::Away, why: "no node leads".into() })
            .by("client portal 127.0.0.1:7421"),
        of(Error::OutcomeUnknown { why: "no answer in time".into(), request: "r-17".into(), created_ms: 1 }),
    ]
}

#[test]
fn staff_and_shoppers_are_told_what_each_can_do() {
    let staff: Vec<Failure> = refusals().into_iter().map(|one| one.read_by(Reader::Staff)).collect();
    let shoppers: Vec<Failure> = refusals().into_iter().map(|one| one.read_by(Reader::Shopper)).collect();
    for one in &shoppers {
        let text = one.for_people();
        assert!(
            !text.contains("feira status") && !text.contains("insert-client"),
            "no shopper can do that: {text}"
        );
    }
    told("failures-of-staff", &staff);
    told("failures-of-shoppers", &shoppers);
}

#[test]
fn people_read_a_sentence_and_programs_the_code_and_the_field() {
    for failure in refusals() {
        let text = screen::failure(&failure, true, super::Look::default());
        for word in
            ["INVALID_ARGUMENT", "UNAUTHENTICATED", "NOT_FOUND", "FAILED_PRECONDITION", "data.", "lines["]
        {
            assert!(!text.contains(word), "{text}");
        }
        let document = Answer::of_failure(&failure);
        assert_eq!(document["error"]["code"], failure.code());
        assert!(document["error"]["message"].as_str().unwrap().starts_with(failure.code()), "{document}");
    }
    let wrong = Answer::of_failure(&refusals()[4]);
    assert_eq!(wrong["error"]["fields"][0]["field"], "data.quantity");
    assert!(
        screen::failure(&refusals()[0], false, super::Look::default())
            .starts_with("refused: UNAUTHENTICATED: ")
    );
}

#[test]
fn lines_that_are_wrong_say_what_is_and_what_may_be_meant() {
    let line = |line: &str| words(line).unwrap();
    let ids = Ids::default();
    ids.replace(Word::Cid, ["dona-maria".to_owned()]);
    let wrong = [
        parse(&shop::MENU, &line("create-order caderno=1.5")).unwrap_err(),
        parse(&shop::MENU, &line("create-order caderno")).unwrap_err(),
        parse(&shop::MENU, &line("get-ordr 7")).unwrap_err(),
        parse(&admin::MENU, &line("list-clients --limit many")).unwrap_err(),
        unknown_verb(&admin::MENU, "xyzzyx"),
        proposing(of(Error::NotFound { kind: Kind::Client, id: "dona".into() }), &ids),
        Failure::usage("say who you are first: use CID").next("or add --cid CID to the command"),
    ];
    told("failures-of-lines", &wrong);
}
