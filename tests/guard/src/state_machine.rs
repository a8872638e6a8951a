//! The state machine over layers over a table in memory: puts of a session, orders, sums inside JSON data.
//!
//! The records that the operations work on are below the layers, flushed, as in a node that has run for a while. A run ends
//! before a layer is full: flushes are not counted. The transactions are those of `store/db/examples/apply_bench.rs`.

use bytes::Bytes;
use prost::Message as _;
use proto::store::command::Kind;
use proto::store::{Command, Identity, Txn, TxnCommand};
use store_core::types::Entry;
use store_db::layered::Limits;
use store_db::{Layered, Memory, Recent, Reply, Table as _, apply};

use crate::log::entry;
use crate::scenario::{Call, Scenario};

/// Entries that are applied in one transaction of the table.
const BATCH: usize = 64;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "apply-put",
        operation: "a put of 256 bytes of a session applied, 64 in a transaction of the table",
        calls: 32,
        operations_per_call: BATCH,
        prepare: puts,
    },
    Scenario {
        name: "apply-order",
        operation: "an order of 3 lines applied, 64 in a transaction of the table",
        calls: 8,
        operations_per_call: BATCH,
        prepare: orders,
    },
    Scenario {
        name: "apply-json-add",
        operation: "an integer added inside a record's JSON data, 64 in a transaction of the table",
        calls: 32,
        operations_per_call: BATCH,
        prepare: adds,
    },
];

/// Keys that are put again and again.
const KEYS: u64 = 1_000;
const PRODUCTS: u64 = 500;
const CLIENTS: u64 = 200;
/// When identities were made.
const CREATED_MS: i64 = 1_800_000_000_000;

fn number(count: usize) -> u64 {
    u64::try_from(count).expect("64 bits")
}

/// A state machine with what was there before, and the entries to come, a batch a call.
struct Machine {
    table: Layered<Memory>,
    recent: Recent,
    entries: Vec<Entry<Bytes>>,
}

impl Machine {
    /// Applies `before`; `measured` is left to the calls.
    fn new(before: Vec<(Txn, Option<Identity>)>, measured: Vec<(Txn, Option<Identity>)>) -> Machine {
        let begun = before.len();
        let encoded = |(txn, identity)| {
            let kind = Some(Kind::Txn(TxnCommand { txn: Some(txn), identity, decide: None }));
            Bytes::from(Command { kind }.encode_to_vec())
        };
        let numbered = (1..).zip(before.into_iter().chain(measured));
        let entries: Vec<_> = numbered.map(|(offset, command)| entry(offset, encoded(command))).collect();
        let table = Layered::new(Memory::new(), Limits::default());
        let mut machine = Machine { table, recent: Recent::default(), entries };
        for from in (0..begun).step_by(BATCH) {
            machine.apply(from, (from + BATCH).min(begun));
        }
        machine.table.flush().expect("a table in memory");
        machine.entries.drain(..begun);
        machine
    }

    fn apply(&mut self, from: usize, to: usize) {
        let Machine { table, recent, entries } = self;
        let replies = table.write(|write| apply(write, recent, &entries[from..to]));
        let replies = replies.expect("a table in memory");
        assert!(replies.iter().all(|reply| matches!(reply, Reply::Txn(response) if response.success)));
    }

    fn into_call(mut self) -> Call {
        Box::new(move |call| self.apply(call * BATCH, (call + 1) * BATCH))
    }
}

/// A put by a session that has 64 of them on their way.
fn put(number: u64) -> (Txn, Option<Identity>) {
    let key = format!("bench/{:08}", number.wrapping_mul(2_654_435_761) % KEYS);
    let sequence = number + 1;
    let lowest = sequence.saturating_sub(64).max(1);
    let identity = Identity::session([7; 16], CREATED_MS, sequence, lowest, 1, [7; 16]);
    (Txn::new().put(key, 1, vec![b'x'; 256]), Some(identity))
}

fn puts(calls: usize) -> Call {
    let last = KEYS + number(calls * BATCH);
    Machine::new((0..KEYS).map(put).collect(), (KEYS..last).map(put).collect()).into_call()
}

/// Products with stock, and clients.
fn stocked() -> Vec<(Txn, Option<Identity>)> {
    let stock = "{\"initial\":1000000,\"adjusted\":0,\"available\":1000000,\"held\":0}";
    let product = "{\"description\":\"WHITE HANGING HEART T-LIGHT HOLDER\",\"price\":\"2.55\"}";
    let client = "{\"name\":\"a person\",\"open_orders\":0}";
    let products = (0..PRODUCTS)
        .map(|pid| Txn::new().put(format!("p/{{{pid}}}"), 1, product).put(format!("s/{{{pid}}}"), 1, stock));
    let clients = (0..CLIENTS).map(|cid| Txn::new().put(format!("c/{{{cid}}}"), 1, client));
    products.chain(clients).map(|txn| (txn, None)).collect()
}

/// An order: guards of the client, the order and three products, three stocks moved by two adds each, three holds.
fn order(number: u64) -> (Txn, Option<Identity>) {
    let cid = number % CLIENTS;
    let (client, order) = (format!("c/{{{cid}}}"), format!("o/{{{cid}}}/{number:026}"));
    let mut txn = Txn::new().guard_exists(client.clone()).guard_absent(order.clone());
    let mut lines = Vec::new();
    for line in 0..3 {
        let pid = (number.wrapping_mul(2_654_435_761) >> 7).wrapping_add(line * 977) % PRODUCTS;
        let stock = format!("s/{{{pid}}}");
        txn = txn
            .guard_exists(format!("p/{{{pid}}}"))
            .add(stock.clone(), 2, "/available", -2, Some(0))
            .add(stock, 2, "/held", 2, None)
            .put(format!("h/{{{pid}}}/{number:026}"), 2, "{}");
        lines.push(format!(
            "{{\"pid\":\"{pid}\",\"description\":\"A PRODUCT\",\"quantity\":2,\"price\":\"2.55\"}}"
        ));
    }
    let data = format!("{{\"state\":\"open\",\"lines\":[{}],\"total\":\"15.30\"}}", lines.join(","));
    let txn = txn.put(order, 2, data).returning_after().add(client, 2, "/open_orders", 1, None);
    (txn, Some(Identity::user(number.to_be_bytes().to_vec(), CREATED_MS, 1, [7; 16])))
}

fn orders(calls: usize) -> Call {
    let measured = (0..number(calls * BATCH)).map(order).collect();
    Machine::new(stocked(), measured).into_call()
}

fn adds(calls: usize) -> Call {
    let add = |number: u64| {
        let stock = format!("s/{{{}}}", number.wrapping_mul(2_654_435_761) % PRODUCTS);
        (Txn::new().add(stock, 2, "/held", 2, None), None)
    };
    Machine::new(stocked(), (0..number(calls * BATCH)).map(add).collect()).into_call()
}
