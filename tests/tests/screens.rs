//! Every command on real terminals of 100, 80 and 60 columns: nothing is wider than the screen, ids stand whole. The same
//! screens without processes, and to the letter, are in `cli/tests/screens`.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::process::Dialogue;

/// What a command says on a terminal of so many columns.
fn on_screen(cluster: &Cluster, command: &[&str], columns: u16) -> String {
    let mut tool = cluster.command(command);
    tool.env("NO_COLOR", "1");
    let output = Dialogue::on_terminal_of(tool, columns).output_within(PATIENCE);
    String::from_utf8_lossy(&output.stdout).replace('\r', "")
}

/// Lines that are too wide, but for a word that stands alone: a path is left whole, to be copied.
fn too_wide(screen: &str, columns: u16) -> Vec<&str> {
    let is_wide = |line: &&str| line.chars().count() > usize::from(columns);
    let lines = screen.lines().filter(|line| !line.contains('\u{1b}'));
    lines.filter(is_wide).filter(|line| line.split_whitespace().count() > 1).collect()
}

/// Has an order made, by whom it is shown whole.
fn order(cluster: &Cluster, cid: &str) -> String {
    let made = cluster.tool(&["--json", "shop", "--cid", cid, "create-order", "banana-prata-da-serra=3"]);
    assert!(made.status.success(), "{made:?}");
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    made["oid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_command_is_read_on_a_narrow_terminal() {
    const CID: &str = "maria-aparecida-dos-santos";
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let both = "insert-client name='Maria Aparecida dos Santos' city=Recife note='rings twice, and waits at the gate'; \
                insert-product description='Banana prata da serra' quantity=17 price=6.999 unit=kg";
    assert!(cluster.tool(&["admin", "-c", both]).status.success());
    let oid = order(&cluster, CID);
    let shop = |words: &[&'static str]| [&["shop", "--cid", CID][..], words].concat();
    let refused = shop(&["create-order", "banana-prata-da-serra=1.5"]);
    let (get, unknown) = (shop(&["get-order", "OID"]), shop(&["product", "banana-prat"]));
    let (products, orders) = (shop(&["products"]), shop(&["list-orders"]));
    let commands: [(&[&str], &str); 25] = [
        (&["status"], "leader"),
        (&["health"], "leads"),
        (&["audit"], "right and equal"),
        (&["member", "list"], "voter"),
        (&["log", "show", "1", "--limit", "5"], "OFFSET"),
        (&["log", "verify", "1"], "log.0"),
        (&["snapshot", "verify", "1"], "snapshots of node"),
        (&["log", "plant", "1"], "runs"),
        (&["admin", "list-clients"], CID),
        (&["admin", "get-client", CID], "Maria Aparecida"),
        (&["admin", "get-client", "maria"], "did you mean"),
        (&["admin", "list-products"], "banana-prata-da-serra"),
        (&["admin", "get-product", "banana-prata-da-serra"], "6.999"),
        (
            &["admin", "adjust-stock", "banana-prata-da-serra", "-100"],
            "14 are left, 100 cannot be taken away",
        ),
        (&["admin", "help"], "insert-client"),
        (&["admin", "portal"], "LEASE LEFT"),
        (&products, "banana-prata-da-serra"),
        (&orders, &oid),
        (&get, &oid),
        (&refused, "1.5 is no whole number"),
        (&unknown, "did you mean"),
        (&["shop", "create-order"], "say who you are first: use CID"),
        (&["shop", "--cid", "dona", "list-orders"], "there is no client \"dona\""),
        (&["kv", "get", "nothing"], "ERROR (there is no such record)"),
        (&["kv", "scan"], &oid),
    ];
    for columns in [100, 80, 60] {
        for (command, saying) in &commands {
            let command: Vec<&str> =
                command.iter().map(|word| if *word == "OID" { &oid } else { *word }).collect();
            let screen = on_screen(&cluster, &command, columns);
            let wide = too_wide(&screen, columns);
            assert!(wide.is_empty(), "{command:?} at {columns} columns: {wide:#?}");
            let flat = screen.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains(saying), "{command:?} at {columns} columns says no {saying:?}:\n{screen}");
            for code in ["INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED", "FAILED_PRECONDITION"] {
                assert!(!screen.contains(code), "{command:?}: a person reads a sentence:\n{screen}");
            }
        }
        keys_and_backups(&cluster, columns);
    }
}

/// What writes files is asked for once a width.
fn keys_and_backups(cluster: &Cluster, columns: u16) {
    let file = cluster.path().join(format!("backup-{columns}"));
    let file: &Path = &file;
    let file = file.to_str().unwrap();
    for command in
        [&["backup", "--out", file][..], &["restore", "--verify-only", file], &["key", "export", "--portals"]]
    {
        let screen = on_screen(cluster, command, columns);
        let wide = too_wide(&screen, columns);
        assert!(wide.is_empty(), "{command:?} at {columns} columns: {wide:#?}");
        assert!(screen.contains("records") || screen.contains("portals.key"), "{command:?}: {screen}");
    }
}
