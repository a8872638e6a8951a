//! A benchmark: order-like transactions a second that the state machine applies on LMDB, in batches of 100: each guards the
//! client, the order and three products, writes the order, moves three stocks by two adds each and leaves three
//! holds; then orders of one line as portals write them, with a row for lists and an event, and puts of a session. Run it in release: `cargo run --release -p store-db --example apply_bench`;
//! a word behind it runs those alone whose names have it.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::Instant;

use bytes::Bytes;
use prost::Message as _;
use proto::store::command::Kind;
use proto::store::{Command, Identity, RaiseVersion, Txn, TxnCommand};
use store_core::types::{Entry, EntryKind, Position};
use store_db::layered::Limits;
use store_db::limits::STATE_MACHINE_VERSION;
use store_db::{Layered, Lmdb, Memory, Options, Recent, Reply, Table, apply};

const PRODUCTS: u64 = 4_000;
const CLIENTS: u64 = 1_000;
const BATCH: usize = 100;
const ORDERS: u64 = 50_000;
const KEYS: u64 = 10_000;
const PUTS: u64 = 100_000;
const LISTED: u64 = 50_000;

fn entry(offset: u64, txn: Txn, identity: Option<Identity>) -> Entry<Bytes> {
    let kind = Some(Kind::Txn(TxnCommand { txn: Some(txn), identity, decide: None }));
    let payload = Command { kind }.encode_to_vec().into();
    let log_time_ms = 1_800_000_000_000 + i64::try_from(offset).unwrap();
    Entry { position: Position::new(1, offset), log_time_ms, kind: EntryKind::Command, payload }
}

fn stocked() -> Vec<Txn> {
    let stock = "{\"initial\":1000000,\"adjusted\":0,\"available\":1000000,\"held\":0,\"open_orders\":0}";
    let product = "{\"description\":\"WHITE HANGING HEART T-LIGHT HOLDER\",\"price\":\"2.55\"}";
    let products = (0..PRODUCTS)
        .map(|pid| Txn::new().put(format!("p/{{{pid}}}"), 1, product).put(format!("s/{{{pid}}}"), 1, stock));
    let client = "{\"state\":\"active\",\"name\":\"a person\",\"open_orders\":0}";
    products.chain((0..CLIENTS).map(|cid| Txn::new().put(format!("c/{{{cid}}}"), 1, client))).collect()
}

fn order(number: u64) -> Txn {
    let cid = number % CLIENTS;
    let (client, order) = (format!("c/{{{cid}}}"), format!("o/{{{cid}}}/{number:026}"));
    let mut txn = Txn::new().guard_exists(client.clone()).guard_absent(order.clone());
    let mut lines = String::new();
    for line in 0..3 {
        let pid = (number.wrapping_mul(2_654_435_761) >> 7).wrapping_add(line * 977) % PRODUCTS;
        let stock = format!("s/{{{pid}}}");
        txn = txn
            .guard_exists(format!("p/{{{pid}}}"))
            .add(stock.clone(), 2, "/available", -2, Some(0))
            .add(stock, 2, "/held", 2, None)
            .put(format!("h/{{{pid}}}/{number:026}"), 2, "{}");
        lines += &format!(
            "{{\"pid\":\"{pid}\",\"description\":\"A PRODUCT\",\"quantity\":2,\"price\":\"2.55\"}},"
        );
    }
    let data =
        format!("{{\"state\":\"open\",\"lines\":[{}],\"total\":\"15.30\"}}", lines.trim_end_matches(','));
    txn.put(order, 2, data).returning_after().add(client, 2, "/open_orders", 1, None)
}

/// An order of one line, as portals write it.
fn listed_order(number: u64) -> (Txn, Identity) {
    let random = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    let (cid, pid) = ((random >> 33) % 100, (random >> 43) % PRODUCTS);
    let oid = format!("{:024x}", u128::from(random) << 32 | u128::from(number));
    let (client, order, product) =
        (format!("c/{{{cid}}}"), format!("o/{{{cid}}}/{oid}"), format!("p/{{{pid}}}"));
    let stock = format!("s/{{{pid}}}");
    let now_ms = 1_800_000_000_000 + i64::try_from(number).unwrap();
    let row = format!("i/o/open/{:013}/{{{cid}}}/{oid}", 9_999_999_999_999 - now_ms);
    let times = format!("\"created_ms\":{now_ms},\"changed_ms\":{now_ms}");
    let line =
        format!("{{\"pid\":\"{pid}\",\"description\":\"A PRODUCT\",\"quantity\":1,\"price\":\"2.55\"}}");
    let event = format!(
        "{{\"did\":\"created\",\"portal\":\"client-1\",\"at_ms\":{now_ms},\"oid\":\"{oid}\",\"after\":{{\"state\":\"open\",\"total\":\"2.55\"}},\"lines\":[{{\"pid\":\"{pid}\",\"is\":1}}]}}"
    );
    let stamps = ["/created_ms", "/changed_ms"];
    let txn = Txn::new()
        .guard_json(client.clone(), "/state", "\"active\"")
        .guard_absent(order.clone())
        .guard_exists(product)
        .add(client, now_ms, "/open_orders", 1, Some(0))
        .add(stock.clone(), now_ms, "/available", -1, Some(0))
        .add(stock.clone(), now_ms, "/held", 1, Some(0))
        .add(stock, now_ms, "/open_orders", 1, Some(0))
        .put(format!("h/{{{pid}}}/{oid}"), now_ms, format!("{{\"cid\":\"{cid}\"}}"))
        .put(row, now_ms, format!("{{\"lines\":1,\"total\":\"2.55\",{times}}}"))
        .stamped(&stamps)
        .put(order, now_ms, format!("{{\"state\":\"open\",\"lines\":[{line}],\"total\":\"2.55\",{times}}}"))
        .stamped(&stamps)
        .returning_after()
        .append_within((b"f/", format!("/{{{cid}}}").as_bytes()), now_ms, event, Vec::new())
        .stamped(&["/at_ms"]);
    let sequence = number + 1;
    let lowest = sequence.saturating_sub(64).max(1);
    (txn, Identity::session([7; 16], 1_800_000_000_000, sequence, lowest, 1, [7; 16]))
}

/// A put of 256 bytes by a session that has 64 of them on their way.
fn put(number: u64) -> (Txn, Identity) {
    let key = format!("bench/{:08}", number.wrapping_mul(2_654_435_761) % KEYS);
    let sequence = number + 1;
    let lowest = sequence.saturating_sub(64).max(1);
    (
        Txn::new().put(key, 1, vec![b'x'; 256]),
        Identity::session([7; 16], 1_800_000_000_000, sequence, lowest, 1, [7; 16]),
    )
}

/// Applies what is to be there, then the rest, and prints how fast that went.
fn measure<T: Table>(name: &str, table: &T, entries: &[Entry<Bytes>], measured: u64) {
    if std::env::args().nth(1).is_some_and(|only| !name.contains(&only)) {
        return;
    }
    let mut recent = Recent::default();
    let (before, measured) = entries.split_at(entries.len() - usize::try_from(measured).unwrap());
    for batch in before.chunks(1_000) {
        table.write(|write| apply(write, &mut recent, batch)).unwrap();
    }
    let begun = Instant::now();
    for batch in measured.chunks(BATCH) {
        let replies = table.write(|write| apply(write, &mut recent, batch)).unwrap();
        assert!(replies.iter().all(|reply| matches!(reply, Reply::Txn(response) if response.success)));
    }
    let (seconds, count) = (begun.elapsed().as_secs_f64(), measured.len());
    let rate = f64::from(u32::try_from(count).unwrap()) / seconds;
    println!("{name}: {count} in batches of {BATCH}: {seconds:.2} s, {rate:.0} transactions/s");
}

fn numbered(all: impl Iterator<Item = (Txn, Option<Identity>)>) -> Vec<Entry<Bytes>> {
    (1..).zip(all).map(|(offset, (txn, identity))| entry(offset, txn, identity)).collect()
}

fn main() {
    let stock = stocked().into_iter().map(|txn| (txn, None));
    let orders = (0..ORDERS).map(|number| {
        let id = Identity::user(number.to_be_bytes().to_vec(), 1_800_000_000_000, 1, [7; 16]);
        (order(number), Some(id))
    });
    let orders = numbered(stock.chain(orders));
    let stock = stocked().into_iter().map(|txn| (txn, None));
    let listed = (0..LISTED).map(listed_order).map(|(txn, identity)| (txn, Some(identity)));
    let mut listed = numbered(stock.chain(listed));
    let kind = Some(Kind::RaiseVersion(RaiseVersion { version: STATE_MACHINE_VERSION }));
    listed.insert(0, Entry { payload: Command { kind }.encode_to_vec().into(), ..listed[0].clone() });
    for (offset, entry) in (1..).zip(&mut listed) {
        entry.position = Position::new(1, offset);
    }
    let puts = numbered((0..KEYS + PUTS).map(put).map(|(txn, identity)| (txn, Some(identity))));
    for (name, entries, measured) in
        [("orders of 3 lines", &orders, ORDERS), ("listed orders", &listed, LISTED), ("puts", &puts, PUTS)]
    {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [lmdb, below] =
            folders.each_ref().map(|folder| Lmdb::open(folder.path(), &Options::new("bench")).unwrap().0);
        measure(&format!("{name}, LMDB"), &lmdb, entries, measured);
        let layered = Layered::new(below, Limits::default());
        measure(&format!("{name}, layers over LMDB"), &layered, entries, measured);
        measure(&format!("{name}, memory"), &Memory::new(), entries, measured);
    }
}
