//! The counting, on a small dirty sample of our own that has every irregularity the real file has.

use std::collections::BTreeMap;

use portal::money::Price;

use super::classify::{Reason, classify};
use super::plan::{Plan, read};
use super::rows::{BadLine, LINE_BYTES_MAX, Raw, fields, next};

/// Lines as the real file has them, each kind of dirt at least once.
const SAMPLE: &str = "\
InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1001,10A,MANGO CRATE,6,2010-12-01 08:26:00,2.55,501.0,United Kingdom
1001,10A,MANGO CRATE,6,2010-12-01 08:26:00,2.55,501.0,United Kingdom
1001,10A,MANGO CRATE,4,2010-12-01 08:26:00,2.10,501.0,United Kingdom
1001,10a,mango crate small,1,2010-12-01 08:26:00,1.25,501.0,United Kingdom
1002, 20 ,,3,2010-12-01 08:28:00,0,502.0,France
1003,20,\"PAPAYA, \"\"FORMOSA\"\" TYPE\",2,2010-12-01 08:30:00,0.001,503,France
1003,BANK CHARGES,Bank Charges,1,2010-12-01 08:30:00,38970,503.0,France
C1004,10A,MANGO CRATE,-6,2010-12-01 09:00:00,2.55,501.0,United Kingdom
A1005,B,Adjust bad debt,1,2010-12-01 09:00:00,-11062.06,,United Kingdom
1006,10A,MANGO CRATE,5,2010-12-01 09:01:00,2.55,,United Kingdom
1007,10A,damaged,-3,2010-12-01 09:02:00,0,504.0,Spain
1008,10A,MANGO CRATE,0,2010-12-01 09:03:00,2.55,501.0,United Kingdom
1009,10A,MANGO CRATE,two,2010-12-01 09:04:00,2.55,501.0,United Kingdom
1010,10A,MANGO CRATE,1,2010-12-01 09:05:00,-1,501.0,United Kingdom
1011,10A,MANGO CRATE,1,2010-12-01 09:05:00,cheap,501.0,United Kingdom
1012,,MANGO CRATE,1,2010-12-01 09:05:00,1,501.0,United Kingdom
,10A,MANGO CRATE,1,2010-12-01 09:05:00,1,501.0,United Kingdom
1013,10A,MANGO CRATE,1,2010-12-01 09:05:00,1,abc,United Kingdom
1014,10A,MANGO CRATE,1,2010-12-01 09:05:00,1,501.0
1015,10A,\"MANGO CRATE,1,2010-12-01 09:05:00,1,501.0,United Kingdom
1016,10A,MANGO \"BIG\" CRATE,1,2010-12-01 09:05:00,1,501.0,United Kingdom

";

fn plan_of(text: &[u8]) -> Plan {
    read(&mut &*text).unwrap()
}

fn counts(plan: &Plan) -> BTreeMap<Reason, usize> {
    let mut counts = BTreeMap::new();
    for line in &plan.refused {
        *counts.entry(line.reason).or_insert(0) += 1;
    }
    counts
}

#[test]
fn every_line_is_ordered_or_refused_with_a_reason() {
    let plan = plan_of(SAMPLE.as_bytes());
    assert_eq!(plan.lines, 22);
    let expected = [
        (Reason::Quotes, 2),
        (Reason::FieldCount, 2),
        (Reason::NoInvoice, 1),
        (Reason::Cancellation, 1),
        (Reason::BadDebt, 1),
        (Reason::NoCustomer, 1),
        (Reason::BadCustomer, 1),
        (Reason::BadQuantity, 1),
        (Reason::QuantityNotPositive, 2),
        (Reason::NoCode, 1),
        (Reason::BadPrice, 2),
    ];
    assert_eq!(counts(&plan), expected.into_iter().collect());
    let ordered: usize = plan.orders.iter().map(|order| order.numbers.len()).sum();
    assert_eq!(ordered + plan.refused.len(), 22);
    assert_eq!(plan.refused[0].number, 9, "the header is line 1");
}

#[test]
fn products_have_the_first_description_the_first_price_and_the_sum() {
    let plan = plan_of(SAMPLE.as_bytes());
    let shown: Vec<(&str, &str, String, i64)> = plan
        .products
        .iter()
        .map(|p| (p.pid.as_str(), p.description.as_str(), p.price.to_string(), p.stock))
        .collect();
    let expected = [
        ("10A", "MANGO CRATE", "2.55".to_owned(), 16),
        ("10a", "mango crate small", "1.25".to_owned(), 1),
        ("20", "PAPAYA, \"FORMOSA\" TYPE", "0.00".to_owned(), 5),
        ("BANK CHARGES", "Bank Charges", "38970.00".to_owned(), 1),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn orders_merge_the_lines_of_one_code() {
    let plan = plan_of(SAMPLE.as_bytes());
    let invoices: Vec<(&str, &str)> =
        plan.orders.iter().map(|order| (order.invoice.as_str(), order.cid.as_str())).collect();
    assert_eq!(invoices, [("1001", "501"), ("1002", "502"), ("1003", "503")]);
    assert_eq!(plan.orders[0].lines, [(0, 16), (1, 1)].into_iter().collect());
    assert_eq!(plan.orders[0].numbers, [2, 3, 4, 5]);
}

#[test]
fn every_customer_of_the_file_is_a_client() {
    let plan = plan_of(SAMPLE.as_bytes());
    let clients: Vec<(&str, &str)> = plan.clients.iter().map(|(c, k)| (c.as_str(), k.as_str())).collect();
    assert_eq!(clients, [("501", "United Kingdom"), ("502", "France"), ("503", "France"), ("504", "Spain")]);
}

#[test]
fn the_stock_of_a_code_is_what_orders_take() {
    let plan = plan_of(SAMPLE.as_bytes());
    let mut taken = vec![0; plan.products.len()];
    for (product, quantity) in plan.orders.iter().flat_map(|order| &order.lines) {
        taken[*product] += quantity;
    }
    assert_eq!(taken, plan.products.iter().map(|product| product.stock).collect::<Vec<_>>());
}

#[test]
fn bad_bytes_and_long_lines_are_counted_and_spoil_nothing_else() {
    let mut text =
        b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\r\n".to_vec();
    text.extend(b"1,A,caf\xe9,1,d,1,5.0,X\r\n");
    text.extend(vec![b'x'; LINE_BYTES_MAX + 10]);
    text.extend(b"\n1,A,b,1,d,1,5.0,X");
    let plan = plan_of(&text);
    assert_eq!(counts(&plan), [(Reason::LineTooLong, 1), (Reason::NotUtf8, 1)].into_iter().collect());
    assert_eq!((plan.lines, plan.orders[0].numbers.as_slice()), (3, [4].as_slice()));
}

#[test]
fn another_header_is_refused() {
    let failure = read(&mut "pid,price\n".as_bytes()).unwrap_err();
    assert!(failure.to_string().contains("InvoiceNo,StockCode"), "{failure}");
    assert!(read(&mut "".as_bytes()).is_err());
}

#[test]
fn fields_are_quoted_as_csv_does() {
    assert_eq!(fields("a,\"b,\"\"c\"\"\",,d").unwrap(), ["a", "b,\"c\"", "", "d"]);
    assert_eq!(fields("\"\"").unwrap(), [""]);
    assert_eq!(fields("\"a\"b,c"), Err(BadLine::Quotes));
    assert_eq!(fields(&",".repeat(100)), Err(BadLine::TooManyFields));
}

#[test]
fn lines_end_in_lf_or_crlf_or_at_the_end() {
    let mut input: &[u8] = b"a\r\nb\nc";
    let mut lines = Vec::new();
    while let Some(line) = next(&mut input).unwrap() {
        lines.push(line);
    }
    assert_eq!(lines, [Raw::Line(b"a".into()), Raw::Line(b"b".into()), Raw::Line(b"c".into())]);
}

#[test]
fn prices_are_decimal_and_bounded() {
    let price = |price: &str| {
        let line = format!("1,A,b,1,d,{price},5.0,X");
        classify(&Raw::Line(line.into_bytes())).verdict.map(|valid| valid.price)
    };
    assert_eq!(price("2.550").map(|price| price.to_string()), Ok("2.55".to_owned()));
    assert_eq!(price("0"), Ok(Price::parse("0.00").unwrap()));
    for bad in ["", "-0", "1e5", "0.0000001", "1234567890123", "-0.01", "NaN"] {
        assert_eq!(price(bad), Err(Reason::BadPrice), "{bad}");
    }
}
