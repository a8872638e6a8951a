//! The shape of transactions; the portals' crates test their effects over the real state
//! machine.

use proto::portal::LineChange;
use proto::store::{guard::Condition, operation::Action};

use super::*;
use crate::document::rules::Rules;
use crate::money::Price;

pub(crate) fn cid() -> Cid {
    Cid::parse("cid", "ana").expect("an id")
}

pub(crate) fn pid(text: &str) -> Pid {
    Pid::parse("pid", text).expect("an id")
}

fn requested(lines: &[(&str, i64)]) -> Vec<RequestedLine> {
    lines.iter().map(|(text, quantity)| RequestedLine::of(pid(text), *quantity)).collect()
}

fn line_changes(lines: &[(&str, i64)]) -> Vec<LineChange> {
    lines
        .iter()
        .map(|(pid, quantity)| LineChange {
            pid: (*pid).to_owned(),
            quantity: *quantity,
            ..LineChange::default()
        })
        .collect()
}

fn product(price: &str) -> KnownProduct {
    let text = format!(r#"{{"description":"thing","price":"{price}"}}"#);
    let data = crate::document::product::ProductData::parse(&text).expect("a product");
    KnownProduct { product: ProductRecord::new(&data), offset: 3 }
}

pub(crate) fn known(lines: &[(&str, i64, &str)]) -> Known {
    let line = |(pid, quantity, price): &(&str, i64, &str)| Line {
        pid: (*pid).to_owned(),
        description: "thing".to_owned(),
        quantity: *quantity,
        price: Price::parse(price).expect("a price"),
        untracked: false,
        extra: None,
    };
    Known {
        order: OrderRecord::new(Phase::Open, lines.iter().map(line).collect()),
        offset: 7,
        timestamp_ms: 1,
    }
}

/// Every add as `key pointer amount`, with what it goes by if that is not 0.
fn adds(txn: &Txn) -> Vec<String> {
    let add = |operation: &proto::store::Operation| match &operation.action {
        Some(Action::Add(add)) => {
            let key = String::from_utf8_lossy(&operation.key);
            let least = match add.minimum {
                Some(0) => String::new(),
                Some(least) => format!(", at least {least}"),
                None => {
                    assert!(add.amount > 0 && add.pointer == AVAILABLE, "what is taken has a least: {add:?}");
                    String::new()
                }
            };
            Some(format!("{key} {} {}{least}", add.pointer, add.amount))
        }
        _ => None,
    };
    txn.operations.iter().filter_map(add).collect()
}

#[test]
fn lines_of_one_product_are_merged_in_their_order() {
    let merged = merge(&line_changes(&[("b", 1), ("a", 2), ("b", 3), ("c", 0)])).expect("good lines");
    assert_eq!(merged, requested(&[("b", 4), ("a", 2), ("c", 0)]));
}

#[test]
fn wrong_lines_are_named() {
    let many: Vec<(String, i64)> = (0..=1_000).map(|i| (format!("p{i}"), 1)).collect();
    let many: Vec<(&str, i64)> = many.iter().map(|(pid, quantity)| (pid.as_str(), *quantity)).collect();
    for (lines, field) in [
        (&[("a", 1), ("b", -1)][..], "lines[1].quantity"),
        (&[("a", 1_000_001)], "lines[0].quantity"),
        (&[("a", 600_000), ("b", 1), ("a", 600_000)], "lines[2].quantity"),
        (&[("a", i64::MAX), ("a", i64::MAX)], "lines[0].quantity"),
        (&[("", 1)], "lines[0].pid"),
        (&many, "lines"),
    ] {
        let error = merge(&line_changes(lines)).expect_err(field);
        assert!(matches!(&error, Error::Invalid { field: at, .. } if at == field), "{error}");
    }
}

#[test]
fn a_modification_moves_exactly_the_difference() {
    let (cid, oid) = (cid(), Oid::derive(&cid(), b"r"));
    let products = ["new", "more", "less"].map(|name| (pid(name), Some(product("3"))));
    let products = HashMap::from(products);
    let lines = requested(&[("more", 5), ("less", 1), ("gone", 0), ("same", 2), ("new", 4)]);
    let before = known(&[("more", 3, "1.00"), ("less", 4, "1.00"), ("gone", 6, "1.00"), ("same", 2, "1.00")]);
    let txn = Change::by_client(&cid, &oid, 1).modify(&before, &lines, &products).expect("a transaction");
    assert_eq!(
        adds(&txn),
        [
            "s/{more} /available -2",
            "s/{more} /held 2",
            "s/{less} /available 3",
            "s/{less} /held -3",
            "s/{gone} /available 6",
            "s/{gone} /held -6",
            "s/{gone} /open_orders -1",
            "s/{new} /available -4",
            "s/{new} /held 4",
            "s/{new} /open_orders 1",
        ]
    );
    let guards: Vec<String> = txn
        .guards
        .iter()
        .map(|guard| match &guard.condition {
            Some(Condition::Json(json)) => {
                let value = String::from_utf8_lossy(&json.value).into_owned();
                format!("{} {} {value}", String::from_utf8_lossy(&guard.key), json.pointer)
            }
            other => format!("{} {other:?}", String::from_utf8_lossy(&guard.key)),
        })
        .collect();
    assert_eq!(
        guards,
        [
            r#"c/{ana} /state "active""#.to_owned(),
            format!("o/{{ana}}/{oid} Some(Offset(7))"),
            "p/{more} Some(Offset(3))".to_owned(),
            "p/{less} Some(Offset(3))".to_owned(),
            "p/{new} Some(Offset(3))".to_owned(),
        ]
    );
    let demand = |more, holds| Demand { more, holds, takes: true, expects: None };
    let changes = [(pid("more"), demand(2, 3)), (pid("less"), demand(-3, 4)), (pid("new"), demand(4, 0))];
    assert_eq!(demands(Some(&before.order), &lines, &products), HashMap::from(changes));
}

#[test]
fn the_largest_order_can_be_created_and_cancelled_in_one_transaction_each() {
    let (cid, oid) = (cid(), Oid::derive(&cid(), b"r"));
    let pids: Vec<String> = (0..ORDER_LINES_MAX).map(|i| format!("product-{i:04}")).collect();
    let lines: Vec<(&str, i64, &str)> = pids.iter().map(|pid| (pid.as_str(), 1, "1.00")).collect();
    let half = known(&lines[..ORDER_LINES_MAX / 2]);
    let more =
        requested(&pids[ORDER_LINES_MAX / 2..].iter().map(|pid| (pid.as_str(), 1)).collect::<Vec<_>>());
    let products: Products = more.iter().map(|one| (one.pid.clone(), Some(product("1")))).collect();
    let grown = Change::by_client(&cid, &oid, 1).modify(&half, &more, &products).expect("it fits");
    let cancelled = Change::by_client(&cid, &oid, 1).cancel(&known(&lines)).expect("it fits");
    for txn in [grown, cancelled] {
        assert_eq!(proto::check::txn(&txn), Ok(()));
    }
    let one_more = requested(&[("one-more", 1)]);
    let products = HashMap::from([(pid("one-more"), Some(product("1")))]);
    let full = Change::by_client(&cid, &oid, 1).modify(&known(&lines), &one_more, &products);
    assert!(matches!(full, Err(Error::OrderFull { full: Full::Lines(2_001), .. })));
}

pub(crate) fn ruled(rules: Rules) -> KnownProduct {
    let KnownProduct { product, offset } = product("3");
    KnownProduct { product: product.ruled(rules), offset }
}

#[test]
fn units_are_taken_down_to_the_least_of_the_rules_and_given_back_whatever_is_there() {
    let (cid, oid) = (cid(), Oid::derive(&cid(), b"r"));
    let kept = ruled(Rules { safety_stock: 5, ..Rules::default() });
    let ahead = ruled(Rules { backorder_limit: 9, ..Rules::default() });
    let products = HashMap::from([(pid("kept"), Some(kept)), (pid("ahead"), Some(ahead))]);
    let lines = requested(&[("kept", 2), ("ahead", 1)]);
    let before = known(&[("kept", 1, "1.00"), ("ahead", 4, "1.00")]);
    let txn = Change::by_client(&cid, &oid, 1).modify(&before, &lines, &products).expect("a transaction");
    let moves = [
        "s/{kept} /available -1, at least 5",
        "s/{kept} /held 1",
        "s/{ahead} /available 3",
        "s/{ahead} /held -3",
    ];
    assert_eq!(adds(&txn), moves);
    let least = |guard: &proto::store::Guard| match &guard.condition {
        Some(Condition::Json(json)) if json.pointer == LEAST => {
            Some((guard.key.clone(), String::from_utf8_lossy(&json.value).into_owned()))
        }
        _ => None,
    };
    let guarded: Vec<_> = txn.guards.iter().filter_map(least).collect();
    assert_eq!(
        guarded,
        [(key::stock(&pid("kept")), "5".to_owned()), (key::stock(&pid("ahead")), "-9".to_owned())]
    );
}

#[test]
fn a_line_that_took_no_stock_gives_none_back() {
    let (cid, oid) = (cid(), Oid::derive(&cid(), b"r"));
    let untracked = ruled(Rules { untracked: true, ..Rules::default() });
    let products = HashMap::from([(pid("free"), Some(untracked)), (pid("held"), Some(product("3")))]);
    let lines = requested(&[("free", 2), ("held", 1)]);
    let txn = Change::by_client(&cid, &oid, 1).create(&lines, &products).expect("a transaction");
    let held = ["s/{held} /available -1", "s/{held} /held 1", "s/{held} /open_orders 1"];
    assert_eq!(adds(&txn), [&["c/{ana} /open_orders 1", "s/{free} /open_orders 1"][..], &held].concat());
    assert!(!demands(None, &lines, &products)[&pid("free")].is_taking());

    // Whatever the products are meanwhile: each line stays what it was.
    let mut before = known(&[("free", 2, "3.00"), ("held", 1, "3.00")]);
    before.order.lines[0].untracked = true;
    let swapped = HashMap::from([
        (pid("held"), products[&pid("free")].clone()),
        (pid("free"), products[&pid("held")].clone()),
    ]);
    let grown = requested(&[("free", 3), ("held", 2)]);
    let txn = Change::by_client(&cid, &oid, 1).modify(&before, &grown, &swapped).expect("a transaction");
    assert_eq!(adds(&txn), ["s/{held} /available -1", "s/{held} /held 1"]);
    let txn = Change::by_client(&cid, &oid, 1).cancel(&before).expect("a transaction");
    let back = ["s/{held} /available 1", "s/{held} /held -1", "s/{held} /open_orders -1"];
    assert_eq!(adds(&txn), [&["c/{ana} /open_orders -1", "s/{free} /open_orders -1"][..], &back].concat());
}

#[test]
fn a_quantity_outside_the_products_bounds_has_the_store_show_the_product() {
    let (cid, oid) = (cid(), Oid::derive(&cid(), b"r"));
    let bounded = ruled(Rules { quantity_min: 2, quantity_max: 4, ..Rules::default() });
    let products = HashMap::from([(pid("x"), Some(bounded))]);
    let shows = |txn: &Txn| {
        let never = |guard: &proto::store::Guard| guard.condition == Some(Condition::Offset(u64::MAX));
        txn.guards.iter().filter(|guard| never(guard)).count()
    };
    let before = known(&[("x", 3, "1.00")]);
    for (quantity, refusals) in [(1, 1), (2, 0), (3, 0), (4, 0), (5, 1), (0, 0)] {
        let lines = requested(&[("x", quantity)]);
        let change = || Change::by_client(&cid, &oid, 1);
        assert_eq!(
            shows(&change().modify(&before, &lines, &products).expect("a transaction")),
            refusals,
            "{quantity}"
        );
        if quantity > 0 {
            let made = change().create(&lines, &products).expect("a transaction");
            assert_eq!(shows(&made), usize::from(quantity == 1 || quantity == 5), "{quantity}");
        }
    }
}

/// As many lines as an open order has room for, of ids that are as long as ids get, or short.
fn fullest(cid: &Cid, oid: &Oid, pid: impl Fn(usize) -> String) -> Known {
    let price = Price::parse("1.00").expect("a price");
    let line = |at: usize| Line {
        pid: pid(at),
        description: "d".repeat(256),
        quantity: 1,
        price,
        untracked: false,
        extra: None,
    };
    let of = |count: usize| Known {
        order: OrderRecord::new(Phase::Open, (0..count).map(line).collect()),
        offset: 7,
        timestamp_ms: 1,
    };
    let fits = |count: usize| {
        // What is put by a modification of nothing is refused if the order has no room for what cancels it.
        Change::by_client(cid, oid, 1).modify(&of(count), &[], &Products::new()).is_ok()
    };
    let (mut fitting, mut too_many) = (1, ORDER_LINES_MAX + 1);
    while too_many - fitting > 1 {
        let middle = fitting.midpoint(too_many);
        *(if fits(middle) { &mut fitting } else { &mut too_many }) = middle;
    }
    of(fitting)
}

#[test]
fn the_fullest_order_of_the_longest_ids_can_be_ended_by_anybody_with_its_event() {
    let cid = Cid::parse("cid", &"%".repeat(128)).expect("an id");
    let oid = Oid::derive(&cid, b"r");
    let reason = StaffReason::parse(&"\"".repeat(500), &"\"".repeat(128)).expect("a reason");
    let teller = Teller { portal: &"p".repeat(64), is_one_group: true };
    for pid in [|at: usize| format!("{}{at:04}", "%".repeat(124)), |at: usize| format!("{at:04}")] {
        let known = fullest(&cid, &oid, pid);
        let by_staff = Change::by_staff(&cid, &oid, i64::MAX, &reason).told_by(teller).cancel(&known);
        let rules = (key::shop(), u64::MAX);
        let expired = Change::by_shop(&cid, &oid, i64::MAX).told_by(teller).expire(&known, i64::MAX, rules);
        for txn in [by_staff.expect("it fits"), expired.expect("it fits")] {
            assert_eq!(proto::check::txn(&txn), Ok(()), "{} lines", known.order.lines.len());
        }
    }
}
