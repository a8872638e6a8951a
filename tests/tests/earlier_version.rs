//! A cluster's folder and a backup that commit 3753553 left (`tests/data/earlier-3753553`, with a README): five nodes, one
//! of them a learner, orders in every state, and node 2 out for a wrong state. They start with a key made, serve and restore.
//!
//! A member that joined is reached where the log says, so that the folder's addresses are fixed: on an address of the
//! loopback network that nothing else here uses, by one test at a time.
#![allow(clippy::unwrap_used)]

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use feira_tests::cluster::PATIENCE;
use feira_tests::place::{LONG, Place, Up};
use feira_tests::process::Process;
use feira_tests::wait;
use serde_json::Value;

/// Files are packed one by one, and have this at the end of their names then.
const PACKED: &str = ".lz4";
/// Whoever has it may start what listens on the addresses of the folder.
const LEASE: &str = "127.83.75.3:7400";
/// Another test has the addresses for as long as it runs.
const ADDRESSES_FREE_WITHIN: Duration = Duration::from_secs(600);

/// Every order that was there, its shopper, its state and its total.
const ORDERS: [(&str, &str, &str, &str); 7] = [
    ("ana", "k1zmjd6w8stnbwwyqfjfd7c8", "open", "3.50"),
    ("ana", "qw0c428h869fpm572r2r4qq9", "confirmed", "5.10"),
    ("ana", "yxj6rxcpefe7d3gz5hyxdkfq", "cancelled", "0.50"),
    ("bob", "300ap1mmfpzrdymmqb3v2gb6", "open", "0.00"),
    ("bob", "48y59384w15714k2edh9r0ch", "confirmed", "1.00"),
    ("bob", "hp7vk7rjnxypdzxbcsd8k7ae", "open", "2.00"),
    ("josé da silva", "tfspt0g9qc0t1tabm1ys2r8t", "open", "7.55"),
];

/// What that version left, in a place of its own.
struct Earlier {
    place: Place,
    _addresses: UdpSocket,
}

impl Earlier {
    fn new() -> Earlier {
        let addresses =
            wait::until_blocking("the folder's addresses", ADDRESSES_FREE_WITHIN, || UdpSocket::bind(LEASE));
        let place = Place::new(feira_tests::feira!());
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/earlier-3753553");
        unpack(&kept, place.path());
        Earlier { place, _addresses: addresses }
    }

    /// What `feira status` says of a node.
    fn node(&self, id: u64) -> Result<Value, String> {
        let status = self.place.status();
        let nodes = status["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["node"] == id).cloned();
        node.filter(|node| node["role"] != "down").ok_or_else(|| status.to_string())
    }

    fn wait_until_healed(&self, id: u64) {
        wait::until_blocking("the replica to have the leader's state", LONG, || {
            let node = self.node(id)?;
            if node["quarantined"] == false { Ok(()) } else { Err(node.to_string()) }
        });
    }

    /// The books are right, and all of it stops.
    fn ends_right(&self, up: Up) {
        self.place.done(&["audit"]);
        self.place.done(&["down"]);
        up.ends_well();
    }

    fn has_its_orders(&self) {
        for (cid, oid, state, total) in ORDERS {
            let told = self.place.done(&["shop", "--cid", cid, "list-orders"]);
            let order = told.lines().find(|line| line.contains(oid)).unwrap_or_else(|| panic!("{told}"));
            assert!(order.contains(state) && order.contains(total), "{order}");
        }
    }

    /// Orders are changed, confirmed and cancelled, and a new one is opened.
    fn takes_orders(&self) {
        let shop = |cid, command: &[&str]| self.place.done(&[&["shop", "--cid", cid][..], command].concat());
        assert!(shop("ana", &["modify-order", ORDERS[0].1, "banana=5"]).contains("4.50"));
        shop("josé da silva", &["confirm-order", ORDERS[6].1]);
        shop("bob", &["cancel-order", ORDERS[5].1]);
        assert!(shop("bob", &["create-order", "maca-fuji=2"]).contains("5.10"));
        self.place.fails(&["shop", "--cid", "ana", "cancel-order", ORDERS[1].1], 1, "is confirmed");
    }
}

impl Earlier {
    /// What that version did not have is made of what it wrote: rows of orders and of products, what was sold.
    fn migrates(&self) {
        // Those that nobody has changed are in the list by time as well.
        let newest = wait::until_blocking("the orders to be listed", LONG, || {
            let told = self.place.tool(&["admin", "--json", "list-orders", "--newest"]);
            if told.status.success() {
                Ok(told.stdout)
            } else {
                Err(String::from_utf8_lossy(&told.stderr).into_owned())
            }
        });
        let newest = String::from_utf8(newest).unwrap();
        assert!(ORDERS.iter().all(|(_, oid, ..)| newest.contains(oid)), "{newest}");
        let sorted = ["admin", "list-products", "--sort", "price"];
        self.place.fails(&sorted, 1, "reindex");
        self.place.done(&["admin", "reindex"]);
        let dear = r#"{"description":"Abacaxi","price":"9","quantity":1}"#;
        self.place.done(&["admin", "insert-product", dear]);
        let products = self.place.done(&sorted);
        let places = ["banana", "fig", "maca-fuji", "abacaxi"].map(|pid| products.find(pid));
        assert!(places[0].is_some() && places.is_sorted(), "{products}");
        // A confirmed one goes all its way.
        let (cid, oid) = (ORDERS[1].0, ORDERS[1].1);
        let staff = |command: &str, more: &[&str]| {
            self.place.done(&[&["admin", command, cid, oid, "--by", "joana"][..], more].concat())
        };
        for command in ["pay-order", "pack-order", "send-order"] {
            staff(command, &[]);
            self.place.done(&["audit"]);
        }
        let returned = staff("return-order", &["--restock", "--reason", "too many"]);
        assert!(returned.contains("returned by staff (joana): too many"), "{returned}");
    }
}

/// A file's name there is its path here, with `+` for `/`.
fn unpack(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let mut name = path.file_name().unwrap().to_str().unwrap().replace('+', "/");
        if let Some(unpacked) = name.strip_suffix(PACKED) {
            bytes = lz4_flex::decompress_size_prepended(&bytes).unwrap();
            name = unpacked.to_owned();
        }
        let into = to.join(name);
        std::fs::create_dir_all(into.parent().unwrap()).unwrap();
        std::fs::write(into, bytes).unwrap();
    }
}

#[test]
fn a_folder_of_an_earlier_version_starts_audits_right_and_takes_orders() {
    let earlier = Earlier::new();
    let place = &earlier.place;
    for _ in 0..2 {
        let up = place.up(&[]);
        earlier.wait_until_healed(2);
        earlier.ends_right(up);
    }
    for at in ["cluster.key", "data/node-1/cluster.key", "data/node-5/cluster.key"] {
        assert!(place.path().join(at).is_file(), "{at}");
    }
    let up = place.up(&[]);
    earlier.has_its_orders();
    assert!(place.done(&["kv", "get", "note/0"]).contains("kept beside the shop"));
    let members = place.done(&["member", "list"]);
    assert_eq!((members.matches("voter").count(), members.matches("learner").count()), (4, 1), "{members}");
    earlier.takes_orders();
    earlier.migrates();
    place.done(&["audit"]);
    // The learner is as good as any other, and a voter can go.
    place.done(&["member", "promote", "5"]);
    place.done(&["member", "remove", "4"]);
    earlier.ends_right(up);
}

#[test]
fn a_replica_that_an_earlier_version_took_out_stays_out_until_it_has_the_leaders_state() {
    let earlier = Earlier::new();
    let place = &earlier.place;
    // That version had no key; feira up makes one, and a node alone is not the one to do it.
    place.fails(&["store", "--node", "2"], 1, "key make");
    place.done(&["key", "make"]);
    for _ in 0..2 {
        let log = place.path().join("alone.log");
        let mut alone = Process::start("node-2", place.command(&["store", "--node", "2"]), &log);
        let node = wait::until_blocking("the node alone", PATIENCE, || earlier.node(2));
        assert_eq!((&node["quarantined"], &node["leader"]), (&true.into(), &Value::Null), "{node}");
        assert!(node["problem"].as_str().unwrap().contains("quarantined: "), "{node}");
        alone.kill();
    }
    let up = place.up(&[]);
    earlier.wait_until_healed(2);
    earlier.ends_right(up);
}

/// Those elsewhere would not have it, and would take each of these for a stranger.
#[test]
fn a_cluster_of_an_earlier_version_that_is_not_all_here_gets_no_key_by_itself() {
    let earlier = Earlier::new();
    let place = &earlier.place;
    let (here, elsewhere) = (place.path().join("data/node-3"), place.path().join("elsewhere"));
    std::fs::rename(&here, &elsewhere).unwrap();
    let has_no_key = || {
        for at in
            ["cluster.key", "data/node-1/cluster.key", "data/node-2/cluster.key", "elsewhere/cluster.key"]
        {
            assert!(!place.path().join(at).exists(), "{at}");
        }
        assert!(!here.exists(), "an empty folder would be another member");
    };
    place.fails(&["up"], 1, "not all of its nodes' folders are here");
    place.fails(&["up"], 1, "key make");
    has_no_key();
    for node in ["1", "2", "4", "5"] {
        place.fails(&["store", "--node", node], 1, "key make");
    }
    has_no_key();
    // Told to, and told what else there is to do.
    let made = place.tool(&["key", "make"]);
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.status.success() && said.contains("copy it to the machines of the other nodes"), "{made:?}");
    for at in ["cluster.key", "data/node-1/cluster.key", "data/node-5/cluster.key"] {
        assert!(place.path().join(at).is_file(), "{at}");
    }
    std::fs::rename(&elsewhere, &here).unwrap();
    let up = place.up(&[]);
    earlier.wait_until_healed(2);
    earlier.ends_right(up);
}

#[test]
fn a_backup_of_an_earlier_version_restores() {
    let earlier = Earlier::new();
    let place = &earlier.place;
    std::fs::remove_dir_all(place.path().join("data")).unwrap();
    let backup = place.path().join("earlier.backup");
    let told = place.done(&["restore", "--verify-only", backup.to_str().unwrap()]);
    assert!(told.contains("23 records"), "{told}");
    place.done(&["restore", backup.to_str().unwrap()]);
    let up = place.up(&[]);
    earlier.has_its_orders();
    place.done(&["audit"]);
    earlier.takes_orders();
    earlier.migrates();
    earlier.ends_right(up);
}

#[test]
fn a_backup_of_an_earlier_version_becomes_a_ring_of_three_shards() {
    let earlier = Earlier::new();
    let place = &earlier.place;
    let backup = place.path().join("earlier.backup");
    // A configuration of three shards, with ports of its own.
    std::fs::remove_dir_all(place.path().join("data")).unwrap();
    std::fs::remove_file(place.path().join("feira.toml")).unwrap();
    place.done(&["up", "--any-ports", "--shards", "3", "--detach"]);
    place.done(&["down"]);
    std::fs::remove_dir_all(place.path().join("feira-data")).unwrap();
    std::fs::remove_file(place.path().join("cluster.key")).unwrap();
    let told = place.done(&["restore", backup.to_str().unwrap(), "--shards", "3"]);
    assert!(told.contains("a ring of 3 shards"), "{told}");
    let up = place.up(&[]);
    earlier.has_its_orders();
    place.done(&["audit"]);
    earlier.takes_orders();
    earlier.migrates();
    earlier.ends_right(up);
}
