//! Data of staff and shops on an order and its lines: set, kept, taken away, and bounded.

use portal::Error;
use proto::portal::{CreateOrderRequest, LineChange, ModifyOrderRequest, Order};

use crate::fixture::{Fixture, answer, change, creation, id, lines, naming};

const NOTE: &str = r#"{"note":"leave it at the door","floor":3}"#;
const RED: &str = r#"{"colour":"red"}"#;

fn line(pid: &str, quantity: i64, extra: &str) -> LineChange {
    LineChange { pid: pid.to_owned(), quantity, extra: extra.to_owned(), ..LineChange::default() }
}

async fn modify(
    fixture: &Fixture,
    order: &Order,
    extra: &str,
    lines: Vec<LineChange>,
) -> Result<Order, Error> {
    let request = ModifyOrderRequest { lines, extra: extra.to_owned(), ..change(order, &[]) };
    answer(fixture.shop().modify_order(request).await)
}

fn of_lines(order: &Order) -> Vec<(&str, i64, &str)> {
    order.lines.iter().map(|line| (line.pid.as_str(), line.quantity, line.extra.as_str())).collect()
}

async fn open() -> (Fixture, Order) {
    let fixture = Fixture::open().await;
    fixture.insert_product("fig", "2.50", 100).await;
    fixture.insert_product("pen", "1.00", 100).await;
    let asked = CreateOrderRequest {
        lines: vec![line("fig", 2, ""), line("pen", 1, RED)],
        extra: format!(" {}", NOTE.replace(':', " : ")),
        request: id("r1"),
        ..creation("ana", &[])
    };
    let order = answer(fixture.shop().create_order(asked.clone()).await).unwrap();
    assert_eq!(answer(fixture.shop().create_order(asked).await), Ok(order.clone()), "repeated");
    (fixture, order)
}

#[tokio::test]
async fn data_stay_until_they_are_named_and_an_empty_object_takes_them_away() {
    let (fixture, order) = open().await;
    assert_eq!(order.extra, NOTE);
    assert_eq!(of_lines(&order), [("fig", 2, ""), ("pen", 1, RED)]);
    let kept = modify(&fixture, &order, "", lines(&[("pen", 4), ("fig", 1)])).await.unwrap();
    assert_eq!((kept.extra.as_str(), of_lines(&kept)), (NOTE, vec![("fig", 1, ""), ("pen", 4, RED)]));
    // The quantity as it is, and other data.
    let other = modify(&fixture, &order, r#"{"note":"x"}"#, vec![line("fig", 1, RED)]).await.unwrap();
    assert_eq!(other.extra, r#"{"note":"x"}"#);
    assert_eq!(of_lines(&other), [("fig", 1, RED), ("pen", 4, RED)]);
    let alone = modify(&fixture, &order, "{ }", Vec::new()).await.unwrap();
    assert_eq!((alone.extra.as_str(), of_lines(&alone)), ("", of_lines(&other)));
    let none = modify(&fixture, &order, "", vec![line("pen", 4, "{}"), line("fig", 0, "")]).await.unwrap();
    assert_eq!(of_lines(&none), [("pen", 4, "")]);
    let again = modify(&fixture, &order, "", lines(&[("fig", 1)])).await.unwrap();
    assert_eq!(of_lines(&again), [("pen", 4, ""), ("fig", 1, "")], "a line that went took its data along");
    fixture.audit().await;
}

#[tokio::test]
async fn data_stay_when_the_order_is_confirmed() {
    let (fixture, order) = open().await;
    let confirmed = answer(fixture.shop().confirm_order(naming(&order)).await).unwrap();
    assert_eq!((confirmed.extra.as_str(), of_lines(&confirmed)), (NOTE, of_lines(&order)));
    let refused = modify(&fixture, &order, "{}", Vec::new()).await;
    assert!(matches!(refused, Err(Error::NotOpen { .. })), "{refused:?}");
}

#[tokio::test]
async fn data_that_are_too_large_or_no_object_are_refused_with_their_place() {
    let (fixture, order) = open().await;
    let large = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
    for (extra, of_line, wrong) in [
        (large(1_025), String::new(), "extra"),
        ("[1]".to_owned(), String::new(), "extra"),
        (r#"{"a":{"b":1,"b":2}}"#.to_owned(), String::new(), "extra.a.b"),
        (String::new(), large(257), "lines[0].extra"),
        (String::new(), "7".to_owned(), "lines[0].extra"),
    ] {
        let told = modify(&fixture, &order, &extra, vec![line("fig", 3, &of_line)]).await;
        let Err(Error::Invalid { field, .. }) = &told else { panic!("{wrong}: {told:?}") };
        assert_eq!(field, wrong);
    }
    let two = vec![line("fig", 1, RED), line("fig", 1, r#"{"colour":"blue"}"#)];
    let told = modify(&fixture, &order, "", two).await;
    assert!(matches!(&told, Err(Error::Invalid { field, .. }) if field == "lines[1].extra"), "{told:?}");
    let fits = modify(&fixture, &order, &large(1_024), vec![line("fig", 3, &large(256))]).await.unwrap();
    assert_eq!((fits.extra.len(), fits.lines[0].extra.len()), (1_024, 256));
}

#[tokio::test]
async fn data_count_in_the_bound_of_an_order() {
    let fixture = Fixture::open().await;
    let pids: Vec<String> = (0..2_000).map(|at| format!("p{at}")).collect();
    for pid in &pids {
        fixture.insert_product(pid, "1.00", 10).await;
    }
    let extra = format!(r#"{{"a":"{}"}}"#, "x".repeat(248));
    let some = |range: std::ops::Range<usize>, extra: &str| -> Vec<LineChange> {
        pids[range].iter().map(|pid| line(pid, 1, extra)).collect()
    };
    let asked = CreateOrderRequest { lines: some(0..1_000, &extra), ..creation("ana", &[]) };
    let order = answer(fixture.shop().create_order(asked).await).unwrap();
    let told = modify(&fixture, &order, "", some(1_000..2_000, &extra)).await;
    assert!(matches!(told, Err(Error::OrderFull { .. })), "{told:?}");
    modify(&fixture, &order, "", some(1_000..1_001, &extra)).await.unwrap();
}
