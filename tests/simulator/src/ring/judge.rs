//! The judgement on a ring's run: what its clients were told, against each other and against what the groups hold.

use std::cell::RefCell;

use feira_lincheck::{Transaction, check_transactions};
use store_core::ring::Ring;
use store_db::{Table as _, cross, query, state};

use super::clients::{ACCOUNTS, BALANCE, RECORDS, RingNotes, access, account_key, balance, record_of};
use crate::check::check_orders;
use crate::score::Score;
use crate::shop::Books;
use crate::time::Micros;
use crate::violation::{ensure, violated};
use crate::world::World;

/// Whether nothing is left of any transaction over several groups.
pub(super) fn is_drained(world: &World) -> bool {
    left_of(world) == (0, 0)
}

/// What is left of them, in words.
pub(super) fn left(world: &World) -> String {
    let (prepared, decisions) = left_of(world);
    format!("{prepared} prepared, {decisions} decisions")
}

fn left_of(world: &World) -> (u64, usize) {
    let Some(leader) = world.leader() else { return (u64::MAX, 0) };
    let left = world.drivers[leader]
        .table
        .read(|read| Ok((state::read(read)?.prepared_count, cross::decisions(read)?.len())));
    left.expect("a table in memory can be read")
}

/// Checks the shop.
pub(super) fn check_shop(worlds: &[World], books: &Books, score: &RefCell<Score>) {
    let tables: Vec<_> =
        worlds.iter().filter_map(|world| Some(&world.drivers[world.leader()?].table)).collect();
    ensure(tables.len() == worlds.len(), "healing: the cluster answers", || {
        "a group has no leader".to_owned()
    });
    check_orders(&tables, books, score);
}

/// Checks what the clients of the store were told.
pub(super) fn check(worlds: &[World], notes: &mut RingNotes, now: Micros) {
    let ring = Ring::even(worlds.len()).expect("few groups");
    let found = |key: &[u8]| {
        let world = &worlds[ring.owner(proto::hash::ring_hash(key))];
        let record = world.drivers[world.leader()?].table.read(|read| query::get(read, key));
        record.expect("a table in memory can be read")
    };
    // What was written last is read, too.
    let reads = (0..RECORDS).map(|record| access(record, found(&record_of(record)).as_ref())).collect();
    let last = Transaction { called: now, returned: None, reads, writes: Vec::new() };
    notes.history.push(last);
    if let Err(anomaly) = check_transactions(&notes.history) {
        let told = match &anomaly {
            feira_lincheck::Anomaly::Circle(around) => {
                around.iter().map(|(at, _)| format!("\n  #{at}: {:?}", notes.history[*at])).collect()
            }
            _ => String::new(),
        };
        violated("transactions are strictly serializable", format!("{anomaly}{told}"));
    }
    for account in 0..ACCOUNTS {
        let record = found(&account_key(account));
        let wanted = BALANCE + notes.moved.get(&account).copied().unwrap_or(0);
        let found = balance(record.as_ref());
        ensure(found >= 0, "no balance is under its minimum", || format!("account {account} has {found}"));
        ensure(found == wanted, "each transfer is done once or never", || {
            format!("account {account} has {found}; what was told makes {wanted}")
        });
    }
}
