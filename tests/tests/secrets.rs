//! The cluster's secret: in its key files, and nowhere else; and what is refused on a machine that was not given it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::place::{LONG, Place, Up};
use feira_tests::process::Dialogue;
use feira_tests::wait;

/// Where a secret may stand.
const KEY_FILE: &str = "key";

/// A secret in the forms in which something could carry it away.
struct Secret {
    name: String,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    /// The secrets of a key file.
    fn all_of(file: &Path) -> Vec<Secret> {
        let text = std::fs::read_to_string(file).unwrap();
        let words = text.lines().filter_map(|line| line.split_once(' '));
        let secrets = words.filter(|(word, _)| ["secret", "next", "former", "bus"].contains(word));
        let secrets: Vec<Secret> = secrets.map(|(word, digits)| Secret::of(word, digits)).collect();
        assert!(!secrets.is_empty(), "{} has none", file.display());
        secrets
    }

    fn of(word: &str, digits: &str) -> Secret {
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        let raw: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        assert_eq!(raw.len(), 32, "{word}");
        let forms = vec![raw, digits.to_lowercase().into(), digits.to_uppercase().into()];
        Secret { name: format!("the {word} of {}…", &digits[..4]), forms }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| bytes.windows(form.len()).any(|at| at == form))
    }
}

/// Every file under a folder; leaves out sockets.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

/// None of the secrets is in these bytes.
#[track_caller]
fn has_none(secrets: &[Secret], what: &str, bytes: &[u8]) {
    for secret in secrets {
        assert!(!secret.is_in(bytes), "{} is in {what}", secret.name);
    }
}

/// What the system tells everybody, or its user, of a process.
fn told_of(pid: i32) -> Vec<(String, Vec<u8>)> {
    let of = |what: &str| format!("/proc/{pid}/{what}");
    ["cmdline", "environ"].map(|what| (of(what), std::fs::read(of(what)).unwrap_or_default())).into()
}

/// The same of every process of a cluster, its supervisor included.
fn told_of_all(up: &Up) -> Vec<(String, Vec<u8>)> {
    let parts = up.parts.iter().filter_map(|part| part.pid);
    let all: Vec<_> = parts.chain([i32::try_from(up.tool.id()).unwrap()]).flat_map(told_of).collect();
    assert!(all.iter().all(|(of, bytes)| !bytes.is_empty() || of.ends_with("environ")), "they run");
    all
}

/// A tool at work: what the system tells of it, and what it says.
fn told_by(place: &Place, arguments: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut tool = Dialogue::start(place.command(arguments));
    let mut told = told_of(i32::try_from(tool.id()).unwrap());
    tool.hang_up();
    let output = tool.output_within(LONG);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    let name = format!("what feira {} says", arguments.join(" "));
    told.extend([(name.clone(), output.stdout), (name, output.stderr)]);
    told
}

/// The group's folder of each node has a snapshot.
fn has_snapshots(place: &Place) {
    wait::until_blocking("a snapshot of each node", LONG, || {
        let all = files(&place.path().join("feira-data"));
        let has = |node: u64| {
            let folder = place.path().join(format!("feira-data/node-{node}/groups/1"));
            all.iter().any(|file| file.parent() == Some(&folder) && name(file).starts_with("snap."))
        };
        if (1..=3).all(has) { Ok(()) } else { Err(format!("{all:?}")) }
    });
}

fn name(file: &Path) -> &str {
    file.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_secret_is_in_key_files_and_nowhere_else() {
    let place = Place::new(feira_tests::feira!());
    let up = place.up(&["--any-ports", "--set", "store.snapshot_seconds=1", "--set", "log=debug"]);
    let key = place.path().join("cluster.key");
    let mut secrets = Secret::all_of(&key);
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let (before, after, portals) = (at("before.backup"), at("after.backup"), at("portals.key"));
    let mut told = told_of_all(&up);
    let mut tell = |arguments: &[&str]| told.extend(told_by(&place, arguments));
    tell(&["admin", "-c", "insert-client ana {}; insert-product fig description=Fig quantity=9 price=2"]);
    tell(&["shop", "--cid", "ana", "create-order", "fig=2"]);
    tell(&["backup", "--out", &before]);
    tell(&["key", "rotate"]);
    tell(&["key", "export", "--portals", "--out", &portals]);
    tell(&["shop", "--cid", "ana", "create-order", "fig=3"]);
    tell(&["member", "add", "4"]);
    tell(&["member", "promote", "4"]);
    tell(&["backup", "--out", &after]);
    for shown in
        [&["status"][..], &["--json", "status"], &["member", "list"], &["log", "show", "1"], &["config"]]
    {
        tell(shown);
    }
    has_snapshots(&place);
    told.extend(told_of_all(&up));
    place.done(&["down"]);
    told.push(("what feira up says".to_owned(), (up.tool.said() + &up.tool.complained()).into()));
    up.ends_well();

    secrets.extend(Secret::all_of(&key));
    secrets.extend(Secret::all_of(Path::new(&portals)));
    assert_ne!(secrets[0].forms, secrets[1].forms, "it was rotated");
    for (what, bytes) in &told {
        has_none(&secrets, what, bytes);
    }
    let (keys, others): (Vec<PathBuf>, Vec<PathBuf>) =
        files(place.path()).into_iter().partition(|file| file.extension().is_some_and(|it| it == KEY_FILE));
    assert!(secrets[1].is_in(&std::fs::read(&keys[0]).unwrap()), "it would be found");
    for file in &others {
        has_none(&secrets, &file.display().to_string(), &std::fs::read(file).unwrap());
    }
    for kind in [
        "log.",
        "snap.",
        "data.mdb",
        "vote",
        "meta",
        "before.backup",
        "after.backup",
        "feira.toml",
        "node-1.log",
    ] {
        assert!(others.iter().any(|file| name(file).starts_with(kind)), "no {kind} among {others:?}");
    }
}

/// What is there, by name.
fn tree(folder: &Path) -> BTreeSet<PathBuf> {
    files(folder).into_iter().filter(|file| !name(file).ends_with(".lock")).collect()
}

#[tokio::test]
async fn nodes_are_neither_added_nor_replaced_where_the_clusters_key_is_not() {
    let options = Options { admin_portals: 0, client_portals: 0, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    cluster.kill("node-3");
    std::fs::remove_dir_all(cluster.data_of("node-3")).unwrap();
    cluster.leader().await;
    let away = tempfile::tempdir().unwrap();
    let (key, portals) = (cluster.path().join("cluster.key"), cluster.path().join("portals.key"));
    let exported = cluster.tool(&["key", "export", "--portals", "--out", portals.to_str().unwrap()]);
    assert!(exported.status.success(), "{exported:?}");
    std::fs::rename(&portals, away.path().join("portals.key")).unwrap();
    std::fs::rename(&key, away.path().join("cluster.key")).unwrap();
    let members =
        |cluster: &Cluster| String::from_utf8(cluster.tool(&["--json", "member", "list"]).stdout).unwrap();
    let parts = |listed: &str| listed.matches("\"part\"").count();
    // A tool that is given no key file keeps which cluster it spoke to.
    let (text, group) = (std::fs::read_to_string(cluster.config()).unwrap(), parts(&members(&cluster)));
    let there = tree(cluster.path());
    let refused = |cluster: &Cluster, why: &[&str]| {
        for change in [&["add"][..], &["add", "4"], &["replace", "3"], &["replace", "3", "--by", "2"]] {
            let output = cluster.tool(&[&["member"], change].concat());
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{change:?}: {said}");
            assert!(why.iter().all(|why| said.contains(why)), "{change:?}: {said}");
        }
    };
    refused(&cluster, &["there is no key file", "cluster.key", "the node here has it: cp"]);
    assert_eq!(tree(cluster.path()), there, "nothing was made");
    // What machines with portals only are given is not enough.
    std::fs::copy(away.path().join("portals.key"), &portals).unwrap();
    refused(&cluster, &["is the key of portals only", "copy cluster.key from a node's machine"]);
    std::fs::remove_file(&portals).unwrap();
    assert_eq!(tree(cluster.path()), there, "nothing was made");
    assert_eq!(std::fs::read_to_string(cluster.config()).unwrap(), text);
    assert_eq!(parts(&members(&cluster)), group, "{}", members(&cluster));

    std::fs::rename(away.path().join("cluster.key"), &key).unwrap();
    let added = cluster.tool(&["member", "add", "4"]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let mut replace = Dialogue::start(cluster.command(&["member", "replace", "3"]));
    replace.hears("store --node 3", PATIENCE);
    cluster.run("node-3");
    let ended = replace.ends_within(LONG);
    assert!(ended.success(), "{}", replace.complained());
}

/// Configuration management that puts an old file back, on every machine.
#[tokio::test]
async fn an_older_key_file_put_beside_the_configuration_cuts_no_node_off() {
    let options =
        Options { admin_portals: 0, client_portals: 0, embedded_broker: true, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    let beside = cluster.path().join("cluster.key");
    let older = std::fs::read(&beside).unwrap();
    let rotated = cluster.tool(&["key", "rotate"]);
    let told = String::from_utf8_lossy(&rotated.stdout).into_owned();
    assert!(rotated.status.success() && told.contains("key export --portals"), "{told}");
    let newer = std::fs::read(&beside).unwrap();
    let keys = cluster.status("node-1").await.unwrap().keys;

    std::fs::write(&beside, &older).unwrap();
    let nodes = cluster.nodes();
    for node in &nodes {
        wait::until("the node to say that it does not follow", PATIENCE, || async {
            let log = cluster.log_of(node);
            if log.contains("is an older key (revision 0)") { Ok(()) } else { Err(log) }
        })
        .await;
    }
    // Neither what runs nor what starts takes it.
    for node in &nodes {
        cluster.stop(node);
        cluster.run(node);
        cluster.wait_until_equal().await;
    }
    for node in &nodes {
        assert_eq!(std::fs::read(cluster.data_of(node).join("cluster.key")).unwrap(), newer, "{node}");
        assert_eq!(cluster.status(node).await.unwrap().keys, keys, "{node}");
    }
    std::fs::copy(cluster.data_of("node-1").join("cluster.key"), &beside).unwrap();
    let changed = cluster.tool(&[
        "node",
        "transfer-leadership",
        if cluster.leader().await == "node-1" { "2" } else { "1" },
    ]);
    assert!(changed.status.success(), "operators can work: {}", String::from_utf8_lossy(&changed.stderr));
}
