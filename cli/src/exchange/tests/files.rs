//! Files without a shop: each collection in each form, and what is wrong with a line.

use portal::id::{Cid, Oid};
use proptest::prelude::*;
use proto::portal::{
    Client, ImportOrderRequest, ImportedLine, ImportedNote, InsertClientRequest, OrderState, Product, Stock,
    StockRules,
};

use crate::exchange::args::ExportFormat;
use crate::exchange::cells::Refusal;
use crate::exchange::collection::Collection;
use crate::exchange::encoding::Encoding;
use crate::exchange::entries::{Entry, Form, all};
use crate::exchange::number::Decimal;
use crate::exchange::record::Record;
use crate::exchange::stock::StockLine;
use crate::exchange::table::Separator;
use crate::exchange::{clients, orders, products};
use crate::failure::Failure;

const CSV: Form =
    Form { format: ExportFormat::Csv, encoding: None, separator: None, decimal: Decimal::Point };
const JSONL: Form = Form { format: ExportFormat::Jsonl, ..CSV };

fn entries(text: &[u8], collection: Collection, form: Form) -> Result<Vec<Entry>, Failure> {
    all(text, collection, form)
}

/// The lines that are refused: number, column, and what the reason is about.
fn refused(text: &str, collection: Collection, form: Form) -> Vec<(u64, String, String)> {
    let entries = entries(text.as_bytes(), collection, form).unwrap();
    let refusals = entries.into_iter().filter_map(|entry| entry.record.err());
    refusals.map(|Refusal { line, column, reason }| (line, column, reason)).collect()
}

#[track_caller]
fn is_refused(text: &str, collection: Collection, form: Form, wanted: &[(u64, &str, &str)]) {
    let found = refused(text, collection, form);
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for ((line, column, reason), (at, name, part)) in found.iter().zip(wanted) {
        assert_eq!((line, column.as_str()), (at, *name), "{found:#?}");
        assert!(reason.contains(part), "{reason} says nothing of {part}");
    }
}

fn taken(entries: Vec<Entry>) -> Vec<Record> {
    entries.into_iter().map(|entry| entry.record.unwrap()).collect()
}

#[test]
fn the_examples_are_files_that_are_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for (name, collection) in [("clients.csv", Collection::Clients), ("catalogue.csv", Collection::Products)]
    {
        let text = std::fs::read(folder.join(name)).unwrap();
        let records = taken(entries(&text, collection, CSV).unwrap());
        assert!(records.len() >= 4, "{name}");
    }
}

#[test]
fn columns_without_a_place_are_members_that_are_text() {
    let text = "cid;name;city\nana;Ana;\"São \"\"P\"\"\"\n;Maria Silva;\n";
    let records = taken(entries(text.as_bytes(), Collection::Clients, CSV).unwrap());
    let client = |cid: &str, data: &str| {
        Record::Client(InsertClientRequest { cid: cid.into(), data: data.into(), request: None })
    };
    let wanted = [
        client("ana", r#"{"name":"Ana","city":"São \"P\""}"#),
        client("maria-silva", r#"{"name":"Maria Silva"}"#),
    ];
    assert_eq!(records, wanted);
    let text = "description,quantity,price,unit,quantity_max\nMaçã Fuji,\"1,234,567\",2.5,kg,7\n";
    let records = taken(entries(text.as_bytes(), Collection::Products, CSV).unwrap());
    let Record::Product(product) = &records[0] else { panic!("{records:?}") };
    assert_eq!(product.pid, "maca-fuji");
    assert_eq!(product.data, r#"{"description":"Maçã Fuji","quantity":1234567,"price":"2.5","unit":"kg"}"#);
    assert_eq!(product.rules, Some(StockRules { quantity_max: 7, ..StockRules::default() }));
}

#[test]
fn each_wrong_line_of_clients_is_told() {
    let text =
        "cid,data\nana,{}\nana,{}\n-x,{}\nbia,no\nbia,\"{\"\"a\"\":1,\"\"a\"\":2}\"\n,{}\nc\"d,{}\nx\n";
    let wanted = [
        (3, "cid", "is on line 2 already"),
        (4, "cid", "begins with -"),
        (5, "data", "not a JSON object"),
        (6, "a", "twice"),
        (7, "cid", "no member \"name\""),
        (8, "", "quotes out of balance"),
        (9, "", "has 1 cells, and the first line names 2 columns"),
    ];
    is_refused(text, Collection::Clients, CSV, &wanted);
    let text = "{\"cid\":\"ana\",\"data\":{}}\n\n{\"cid\":\"bia\"}\n{\"cid\":7,\"data\":{}}\n{\"cid\":\"c\",\"data\":{},\"x\":1}\n[]\n{\"cid\":\"ana\",\"data\":{}}";
    let wanted = [
        (3, "data", "not a JSON object"),
        (4, "cid", "invalid type"),
        (5, "x", "unknown field"),
        (6, "", "expected an object"),
        (7, "cid", "is on line 1 already"),
    ];
    is_refused(text, Collection::Clients, JSONL, &wanted);
}

#[test]
fn a_number_that_may_be_two_is_refused_with_both_readings() {
    let text = "pid,description,quantity,price,safety_stock,backorder_limit\n\
        a,A,1,\"1,234\",,\nb,B,1.000,2,,\nc,C,1,\"1,5\",,\nd,D,x,2,,\ne,E,1,2,1,1\nf,F,1,2,3,\ng,,1,2,,\nh,H,1,-2,,\n";
    let wanted = [
        (2, "price", "may be 1.234 or 1234"),
        (3, "quantity", "may be 1.000 or 1000"),
        (4, "price", "--decimal comma"),
        (5, "quantity", "is no number"),
        (6, "backorder_limit", "exclude each other"),
        (7, "quantity", "safety stock"),
        (8, "description", "is empty"),
        (9, "price", "not negative"),
    ];
    is_refused(text, Collection::Products, CSV, &wanted);
    let comma = Form { decimal: Decimal::Comma, ..CSV };
    let text = "pid;description;quantity;price\na;A;1;1,234\nb;B;1;1.234\nc;C;1;1.234,5\n";
    is_refused(text, Collection::Products, comma, &[(3, "price", "may be 1.234 or 1234")]);
    let text = "pid,available\na,1\nb,\nc,\"1,000\"\nd,9999999999999\n,1\n";
    let wanted = [
        (3, "available", "is no number"),
        (4, "available", "may be 1.000 or 1000"),
        (5, "available", "must be within"),
        (6, "pid", "0 bytes"),
    ];
    let found = refused(text, Collection::Stock, CSV);
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    assert!(
        found
            .iter()
            .zip(&wanted)
            .all(|((line, column, _), (at, name, _))| (line, column.as_str()) == (at, *name))
    );
}

fn oid(cid: &str, number: u8) -> String {
    Oid::derive(&Cid::parse("cid", cid).unwrap(), &[number]).to_string()
}

const ORDERS: &str = "cid,oid,state,changed_ms,pid,description,quantity,price";

#[test]
fn the_rows_of_an_order_are_read_together_and_refused_together() {
    let (one, two, other) = (oid("ana", 1), oid("ana", 2), oid("bia", 1));
    let text = format!("{ORDERS}\nana,{one},sent,9,a,A,1,2\n,{one},,,b,B,2,3\nana,{two},open,9,,,,\n");
    let found = entries(text.as_bytes(), Collection::Orders, CSV).unwrap();
    let Ok(Record::Order(order)) = &found[0].record else { panic!("{found:?}") };
    assert_eq!((order.state(), order.lines.len(), &found[0].lines), (OrderState::Sent, 2, &vec![2, 3]));
    let Ok(Record::Order(order)) = &found[1].record else { panic!("{found:?}") };
    assert!(order.lines.is_empty());
    for (rows, wanted) in [
        (
            format!("ana,{one},sent,9,a,A,1,2\nana,{one},paid,9,b,B,2,3"),
            (3, "state", "in the order's first row"),
        ),
        (format!("ana,{one},sent,9,a,A,1,2\nana,{one},sent,9,b,B,0,3"), (3, "quantity", "is not within")),
        (
            format!("ana,{one},sent,9,a,A,1,2\nana,{one},sent,9,b,B,1,\"1,234\""),
            (3, "price", "1.234 or 1234"),
        ),
        (format!("ana,{one},sent,9,a,A,1,2\nana,{one},sent,9,a,A,1,2"), (3, "pid", "comes twice")),
        (format!("ana,{one},gone,9,a,A,1,2"), (2, "state", "there are open, confirmed")),
        (format!("ana,{one},sent,,a,A,1,2"), (2, "changed_ms", "is no number")),
        (format!("ana,{one},sent,0,a,A,1,2"), (2, "changed_ms", "is no time")),
        (format!("ana,{other},sent,9,a,A,1,2"), (2, "oid", "another client's")),
        ("ana,17,sent,9,a,A,1,2".to_owned(), (2, "oid", "no portal made it")),
    ] {
        is_refused(&format!("{ORDERS}\n{rows}\n"), Collection::Orders, CSV, &[wanted]);
    }
}

#[test]
fn an_order_is_without_lines_only_if_all_cells_of_a_line_are_empty() {
    let one = oid("ana", 1);
    for cells in [",A,1,2", ",,1,", ",A,,", ",,,2"] {
        let text = format!("{ORDERS}\nana,{one},sent,9,{cells}\n");
        is_refused(&text, Collection::Orders, CSV, &[(2, "pid", "is empty")]);
    }
}

/// Whichever of them was refused: what is in the others is not the whole order.
#[test]
fn an_order_whose_rows_stand_apart_is_refused_wherever_they_stand() {
    let (one, two) = (oid("ana", 1), oid("ana", 2));
    let row = |oid: &str, pid: &str, price: &str| format!("ana,{oid},sent,9,{pid},A,1,{price}");
    for price in ["2", "\"1,234\""] {
        let text = [ORDERS, &row(&one, "a", price), &row(&two, "a", "2"), &row(&one, "b", "2")].join("\n");
        let wanted = [(2, "oid", "sort the file by oid"), (4, "oid", "sort the file by oid")];
        is_refused(&text, Collection::Orders, CSV, &wanted);
        let found = entries(text.as_bytes(), Collection::Orders, CSV).unwrap();
        assert!(found[1].record.is_ok(), "the other order stands together: {found:?}");
    }
}

#[test]
fn no_order_is_taken_beside_a_row_without_an_oid() {
    let (one, two) = (oid("ana", 1), oid("ana", 2));
    let text = format!("{ORDERS}\nana,{one},sent,9,a,A,1,2\n,,,,b,B,1,2\nana,{two},sent,9,a,A,1,2\n");
    let mut found = refused(&text, Collection::Orders, CSV);
    found.sort();
    let lines: Vec<_> = found.iter().map(|(line, column, _)| (*line, column.as_str())).collect();
    assert_eq!(lines, [(2, ""), (3, "oid"), (4, "")]);
}

/// Of a row that cannot be read nobody knows whose it is.
#[test]
fn no_order_is_taken_without_a_row_that_cannot_be_read() {
    let [one, two, three] = [1, 2, 3].map(|number| oid("ana", number));
    let row = |oid: &str, pid: &str| format!("ana,{oid},sent,9,{pid},A,1,2");
    let text = [ORDERS, &row(&one, "a"), "ana,\"x\"y", &row(&two, "a"), &row(&two, "b"), &row(&three, "a")]
        .join("\n");
    let found = entries(text.as_bytes(), Collection::Orders, CSV).unwrap();
    let mut lines: Vec<(Vec<u64>, bool)> =
        found.iter().map(|one| (one.lines.clone(), one.record.is_ok())).collect();
    lines.sort();
    assert_eq!(lines, [(vec![2], false), (vec![3], false), (vec![4, 5], false), (vec![6], true)]);
}

#[test]
fn json_of_another_collection_and_text_that_is_no_json_are_named() {
    let said =
        |text: &str, collection, form| entries(text.as_bytes(), collection, form).unwrap_err().to_string();
    assert!(
        said("{\"pid\":\"a\",\"data\":{}}", Collection::Clients, JSONL)
            .contains("of products, not of clients")
    );
    assert!(said("{\"pid\":\"a\",\"available\":1}", Collection::Products, JSONL).contains("of stock"));
    assert!(said("cid,data\n", Collection::Clients, JSONL).contains("is the file CSV?"));
    assert!(said("{\"cid\":\"a\",\"data\":{}}\n", Collection::Clients, CSV).contains("JSON lines"));
}

#[test]
fn a_file_in_latin_1_is_read_if_that_is_said_and_told_if_not() {
    let text = b"cid,name\njoao,Jo\xe3o\n";
    let wrong = entries(text, Collection::Clients, CSV).unwrap().remove(0).record.unwrap_err();
    assert_eq!((wrong.line, wrong.column.as_str()), (2, "name"));
    assert!(wrong.reason.contains("--encoding latin-1"), "{}", wrong.reason);
    let said = Form { encoding: Some(Encoding::Latin1), ..CSV };
    let records = taken(entries(text, Collection::Clients, said).unwrap());
    let Record::Client(client) = &records[0] else { panic!("{records:?}") };
    assert_eq!(client.data, r#"{"name":"João"}"#);
    let marked: Vec<u8> = "\u{feff}cid\tname\nana\tAna\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(taken(entries(&marked, Collection::Clients, CSV).unwrap()).len(), 1);
}

#[test]
fn a_file_whose_mark_says_another_encoding_is_refused() {
    let utf16: Vec<u8> = "\u{feff}cid,name\nana,Ana\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf8 = "\u{feff}cid,name\nana,Ana\n".as_bytes();
    for (text, mark) in [(utf8, "UTF-8"), (&utf16, "UTF-16")] {
        let form = Form { encoding: Some(Encoding::Latin1), ..CSV };
        let said = entries(text, Collection::Clients, form).unwrap_err().to_string();
        assert!(said.contains(&format!("its mark says {mark}; leave --encoding out")), "{said}");
        assert_eq!(taken(entries(text, Collection::Clients, CSV).unwrap()).len(), 1);
    }
}

/// A file of these rows, as an export writes it or with another separator.
fn csv_of(collection: Collection, rows: &[Vec<String>], separator: Separator) -> Vec<u8> {
    let delimiter = match separator {
        Separator::Comma => b',',
        Separator::Semicolon => b';',
        Separator::Tab => b'\t',
    };
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    writer.write_record(collection.columns()).unwrap();
    rows.iter().for_each(|row| writer.write_record(row).unwrap());
    writer.into_inner().unwrap()
}

const SEPARATORS: [Separator; 3] = [Separator::Comma, Separator::Semicolon, Separator::Tab];

/// Text with everything that CSV and JSON have a meaning for.
const ODD: &str = "[a-z\",;\\\\\t\r\n{}\u{e3}\u{1f34e} ]{0,12}";

fn order_of(texts: &(String, String), lines: Vec<(i64, bool)>, state: usize) -> ImportOrderRequest {
    let extra = format!("{{\"note\":{},\"n\":1.0}}", serde_json::to_string(&texts.1).unwrap());
    let line = |(at, (quantity, untracked)): (usize, (i64, bool))| ImportedLine {
        pid: format!("p{at}"),
        description: format!("x{}", texts.0.replace(char::is_control, " ")),
        quantity,
        price: "1.25".into(),
        untracked,
        product_removed: false,
        extra: if at == 1 { extra.clone() } else { String::new() },
    };
    let reason = texts.1.replace(char::is_control, " ").trim().to_owned();
    let note = ImportedNote { did: "modified".into(), reason, by: String::new(), at_ms: 7 };
    let has_none = state == 0;
    let state = proto::json::state::named(proto::json::state::words()[state]).unwrap();
    ImportOrderRequest {
        cid: "ana".into(),
        oid: oid("ana", 1),
        state: state.into(),
        lines: lines.into_iter().enumerate().map(line).collect(),
        created_ms: 0,
        changed_ms: 9,
        staff: vec![note],
        client_removed: false,
        request: None,
        extra: if has_none { String::new() } else { extra.clone() },
    }
}

proptest! {
    #[test]
    fn a_client_is_read_as_it_was_written(text in ODD, gap in "[ \n\r\t]{0,4}") {
        let data = format!("{{{gap}\"name\":{gap}{},\"n\":1.0{gap}}}", serde_json::to_string(&format!("x{text}")).unwrap());
        let client = Client { cid: "ana".into(), data: data.clone(), ..Client::default() };
        for separator in SEPARATORS {
            let csv = csv_of(Collection::Clients, &[clients::cells(&client)], separator);
            let records = taken(entries(&csv, Collection::Clients, Form { separator: Some(separator), ..CSV }).unwrap());
            let wanted = InsertClientRequest { cid: "ana".into(), data: data.clone(), request: None };
            prop_assert_eq!(&records, &vec![Record::Client(wanted)]);
        }
        let line = clients::line(&client);
        prop_assert!(!line.contains('\n'));
        let records = taken(entries(line.as_bytes(), Collection::Clients, JSONL).unwrap());
        let Record::Client(read) = &records[0] else { panic!("{records:?}") };
        prop_assert_eq!(clients::line(&Client { data: read.data.clone(), ..client }), line, "a second time it is the same");
    }

    #[test]
    fn a_product_is_read_as_it_was_written(text in ODD, available in -9_i64..99, held in 0_i64..9, limit in 0_i64..5) {
        let extra = format!("{{\"unit\":{}, \"n\":1.0}}", serde_json::to_string(&text).unwrap());
        let rules = StockRules { backorder_limit: limit, quantity_max: 7, ..StockRules::default() };
        let stock = Stock { available, held, sold: 2, ..Stock::default() };
        let product = Product {
            pid: "fig".into(), description: format!("x{}", text.replace(char::is_control, "")).trim().to_owned(), price: "0.001".into(),
            stock: Some(stock), extra, rules: Some(rules), ..Product::default()
        };
        let csv = csv_of(Collection::Products, &[products::cells(&product)], Separator::Comma);
        let of_csv = taken(entries(&csv, Collection::Products, CSV).unwrap());
        let of_json = taken(entries(products::line(&product).unwrap().as_bytes(), Collection::Products, JSONL).unwrap());
        prop_assert_eq!(&of_csv, &of_json);
        let Record::Product(read) = &of_csv[0] else { panic!("{of_csv:?}") };
        prop_assert_eq!(read.rules, Some(rules));
        let quantity = format!("\"quantity\":{},", (available + held + 2).max(0));
        prop_assert!(read.data.contains(&quantity), "{}", read.data);
        let line = StockLine::of(&product);
        let csv = csv_of(Collection::Stock, &[line.cells()], Separator::Tab);
        prop_assert_eq!(taken(entries(&csv, Collection::Stock, CSV).unwrap()), vec![Record::Stock(line.clone())]);
        prop_assert_eq!(taken(entries(line.line().as_bytes(), Collection::Stock, JSONL).unwrap()), vec![Record::Stock(line)]);
    }

    #[test]
    fn an_order_is_read_as_it_was_written(
        texts in (ODD, ODD), lines in prop::collection::vec((1_i64..9, any::<bool>()), 0..4), state in 0_usize..8,
    ) {
        let order = order_of(&texts, lines, state);
        for separator in SEPARATORS {
            let csv = csv_of(Collection::Orders, &orders::rows(&order), separator);
            let records = taken(entries(&csv, Collection::Orders, CSV).unwrap());
            prop_assert_eq!(records, vec![Record::Order(Box::new(order.clone()))]);
        }
        let records = taken(entries(orders::line(&order).as_bytes(), Collection::Orders, JSONL).unwrap());
        prop_assert_eq!(records, vec![Record::Order(Box::new(order))]);
    }

    /// Whatever a file holds, it is read to its end or refused, and no line is in two entries.
    #[test]
    fn any_bytes_are_read_or_refused(text in "[a,\"\n\r;x{}1]{0,60}", orders in any::<bool>()) {
        let (collection, header) = match orders {
            true => (Collection::Orders, ORDERS),
            false => (Collection::Clients, "cid,data"),
        };
        let text = format!("{header}\n{text}");
        let Ok(found) = entries(text.as_bytes(), collection, CSV) else { return Ok(()) };
        let mut lines: Vec<u64> = found.iter().flat_map(|entry| entry.lines.clone()).collect();
        let count = lines.len();
        lines.sort_unstable();
        lines.dedup();
        prop_assert_eq!(lines.len(), count);
    }
}
