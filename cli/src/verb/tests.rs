//! The tables hold together, and lines are understood or refused with an explanation.

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::call::{Call, GivenLine, parse};
use super::spec::{Menu, Need};
use super::words::words;
use super::{admin, help, kv, shop};
use crate::failure::{Failure, Kind};
use crate::show::table::Look;

fn call<O>(menu: &'static Menu<O>, line: &str) -> Result<Call<O>, Failure> {
    parse(menu, &words(line)?)
}

#[track_caller]
fn refused<O: Debug>(menu: &'static Menu<O>, line: &str, saying: &str) {
    let failure = call(menu, line).expect_err(line);
    assert_eq!(failure.kind, Kind::Usage);
    assert!(failure.to_string().contains(saying), "{failure} does not say {saying}");
}

fn holds_together<O: Copy + PartialEq + Debug>(menu: &'static Menu<O>) {
    let mut names = BTreeSet::new();
    for verb in menu.verbs {
        for name in std::iter::once(&verb.name).chain(verb.aliases) {
            assert!(names.insert(name.to_lowercase()), "{name} means two commands");
            assert_eq!(menu.find(name).expect(name).operation, verb.operation);
        }
        assert!(!verb.about.is_empty() && !verb.about.ends_with('.'), "{}: about", verb.name);
        let example = call(menu, verb.example).expect("the example of help works");
        assert_eq!(example.verb.operation, verb.operation, "{}", verb.example);
        let help = help::verb(verb, Look::default());
        assert!(verb.flags.iter().all(|f| help.contains(f.name)) && help.contains(verb.example));
        assert!(verb.aliases.iter().all(|alias| help.contains(alias)));
        for (at, arg) in verb.args.iter().enumerate() {
            let last = at + 1 == verb.args.len();
            assert!(last || arg.need == Need::One, "{}: only the last word may be left out", verb.name);
        }
    }
    let all = help::menu(menu, Look::default());
    assert!(menu.verbs.iter().all(|verb| all.contains(&verb.usage()) && all.contains(verb.about)));
}

#[test]
fn the_tables_hold_together() {
    holds_together(&admin::MENU);
    holds_together(&shop::MENU);
    holds_together(&kv::MENU);
}

#[test]
fn the_names_of_the_specification_are_known() {
    for name in [
        "inserirCliente",
        "modificarCliente",
        "recuperarCliente",
        "apagarCliente",
        "inserirProduto",
        "modificarProduto",
        "recuperarProduto",
        "apagarProduto",
        "listarPedidos",
        "consultarPedido",
        "modificarPedido",
        "confirmarPedido",
        "cancelarPedido",
        "pagarPedido",
        "embalarPedido",
        "enviarPedido",
        "devolverPedido",
        "reembolsarPedido",
        "sair",
    ] {
        assert!(admin::MENU.find(name).is_some(), "{name}");
    }
    for name in ["criarPedido", "modificarPedido", "listarPedido", "listarPedidos", "cancelarPedido", "sair"]
    {
        assert!(shop::MENU.find(name).is_some(), "{name}");
    }
    for name in ["set", "get", "del", "testAndSet", "create", "read", "update", "delete", "sair"] {
        assert!(kv::MENU.find(name).is_some(), "{name}");
    }
}

fn understood<O>(menu: &'static Menu<O>, script: &str) {
    for line in script.lines() {
        for command in super::words::commands(line).unwrap() {
            call(menu, command).expect(command);
        }
    }
}

#[test]
fn the_example_scripts_are_understood() {
    understood(&admin::MENU, include_str!("../../../examples/admin.feira"));
    understood(&shop::MENU, include_str!("../../../examples/shop.feira"));
    understood(&kv::MENU, include_str!("../../../examples/kv.feira"));
}

#[test]
fn words_are_bound_to_their_names() {
    let call = call(&shop::MENU, "modificarPedido 77 a=b=2 mamao=0 --cid ana --if-match 9").unwrap();
    assert_eq!(call.verb.operation, shop::Shop::ModifyOrder);
    assert_eq!((call.text("OID"), call.get("--cid"), call.count("--if-match")), ("77", Some("ana"), Some(9)));
    assert_eq!(call.lines("PID=QUANTITY").unwrap(), [GivenLine::of("a=b", 2), GivenLine::of("mamao", 0)]);
    let shown = super::call::parse(&shop::MENU, &words("order a@b=2@1.5 c=1").unwrap()).unwrap();
    let priced = GivenLine { price: "1.5".into(), ..GivenLine::of("a@b", 2) };
    assert_eq!(shown.lines("PID=QUANTITY").unwrap(), [priced, GivenLine::of("c", 1)]);
    let confirmed =
        super::call::parse(&shop::MENU, &words("confirm-order 7 --total 12.30").unwrap()).unwrap();
    assert_eq!(confirmed.get("--total"), Some("12.30"));
    let joined = parse(&shop::MENU, &words("list-orders --limit=3 --cid=a=b").unwrap()).unwrap();
    assert_eq!((joined.count("--limit"), joined.get("--cid")), (Some(3), Some("a=b")));
    let line = "cancelarPedido ana 77 --reason 'two words' --by joana --if-match 9";
    let call = super::call::parse(&admin::MENU, &words(line).unwrap()).unwrap();
    assert_eq!(call.verb.operation, admin::Admin::CancelOrder);
    assert_eq!((call.text("CID"), call.text("OID"), call.get("--reason")), ("ana", "77", Some("two words")));
    let call = super::call::parse(&admin::MENU, &words("adjust-stock x -5").unwrap()).unwrap();
    assert_eq!(call.integer("AMOUNT"), Some(-5));
}

#[test]
fn wrong_lines_are_explained() {
    let missing = |line| {
        let call = super::call::parse(&shop::MENU, &words(line).unwrap()).unwrap();
        call.lines("PID=QUANTITY").unwrap_err().message
    };
    assert!(missing("modify-order 77").contains("PID=QUANTITY is missing"));
    assert!(missing("modify-order 77 a=1 --line-extra 'b={}'").contains("no line is of b"));
    refused(&shop::MENU, "modify-order 77 a=1 --line-extra a=red", "PID=JSON");
    refused(&shop::MENU, "create-order a=1 --line-extra 'a={\"x\":1,\"x\":2}'", "comes twice");
    refused(&shop::MENU, "modify-order 77 --extra red", "--extra: not a JSON object");
    refused(&shop::MENU, "modify-order 77 banana", "PID=QUANTITY, such as banana=3");
    refused(&shop::MENU, "modify-order 77 banana=-1", "PID=QUANTITY");
    refused(&shop::MENU, "modify-order 77 banana=1@2,50", "a decimal point, not a comma");
    refused(&shop::MENU, "create-order banana=1@", "\"\" is no price, such as @1.50");
    refused(&shop::MENU, "confirm-order 7 --total 12,30", "a total as it is shown, such as 12.30");
    refused(&shop::MENU, "get-order 1 2", "one word too many");
    refused(&shop::MENU, "get-order", "usage: get-order OID");
    refused(&shop::MENU, "gt-order 1", "did you mean get-order");
    refused(&shop::MENU, "get-order 1 --colour", "no flag --colour");
    refused(&shop::MENU, "get-order 1 --cid", "needs CID after it");
    refused(&shop::MENU, "modify-order 7 a=1 --if-match 0", "an etag as it is shown: a number from 1");
    refused(&admin::MENU, "delete-client a --cascade=yes", "--cascade takes no value");
    refused(&shop::MENU, "list-orders --cid a --cid b", "given twice");
    refused(&admin::MENU, "insert-client ana a=1 --new a --new a", "given twice");
    refused(&admin::MENU, "list-orders --state lost", "must be one of open, confirmed, cancelled, paid");
    refused(&admin::MENU, "list-products --sort name", "must be one of id, description, price");
    refused(&admin::MENU, "list-clients --state gone", "must be one of active, closing");
    refused(&admin::MENU, "list-orders --since yesterday", "a time: 2026-11-29");
    refused(&admin::MENU, "list-orders ana bia", "one word too many");
    refused(&admin::MENU, "cancel-order ana", "OID is missing");
    refused(&admin::MENU, "cancel-order ana 7 --reason", "--reason needs TEXT after it");
    let several = call(&admin::MENU, "insert-client ana a=1 b=2 --new a --new b").unwrap();
    assert_eq!(several.all("--new"), ["a", "b"]);
    refused(&shop::MENU, &format!("use {}", "x".repeat(129)), "1 to 128 bytes");
    refused(&admin::MENU, "adjust-stock x many", "a whole number");
    refused(&admin::MENU, "list-clients --limit -1", "--limit is \"-1\", and must be 0 to 100000");
    refused(&shop::MENU, "products --limit 100001", "0 to 100000");
    refused(&shop::MENU, "create-order caderno=1.5", "create-order: 1.5 is no whole number");
    refused(&kv::MENU, "scan --limit 99999999999999999999", "1 to 1000");
    refused(&kv::MENU, "range 1 9 --limit some", "1 to 1000");
    refused(&kv::MENU, "del-version 1 -1", "a whole number from 0");
    refused(&kv::MENU, "xyzzyx", "help lists the commands");
    assert!(parse(&kv::MENU, &[]).is_err());
}
