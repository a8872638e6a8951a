//! The surroundings of a shop: variables of somebody else, terminals that are closed or do not know their width, brokers that
//! refuse, other users of the machine, disks that logs would fill.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use feira_tests::cluster::PATIENCE;
use feira_tests::place::{LONG, Place, gone};
use feira_tests::port::Port;
use feira_tests::process::{Dialogue, Process};
use feira_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Runs a command to its end: its exit code, and what it said on both outputs.
fn ran(command: Command) -> (Option<i32>, String, String) {
    let mut tool = Dialogue::start(command);
    tool.hang_up();
    let output = tool.output_within(LONG);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn variables_that_name_no_key_are_told_of_once_and_stop_nothing() {
    let place = Place::new(feira_tests::feira!());
    let path = place.path().join("feira.toml");
    std::fs::write(&path, "").unwrap();
    let with = |variables: &[(&str, &str)]| {
        let mut command = place.command(&["config"]);
        command.envs(variables.iter().copied());
        ran(command)
    };
    let somebody_elses = [
        ("FEIRA_PORT", "tcp://10.0.0.1:7411"),
        ("FEIRA_PORT_7411_TCP", "tcp://10.0.0.1:7411"),
        ("FEIRA_SERVICE_HOST", "10.0.0.1"),
    ];
    let (code, _, said) = with(&somebody_elses);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("warning").count(), 1, "{said}");
    assert!(said.contains("FEIRA_PORT, FEIRA_PORT_7411_TCP, FEIRA_SERVICE_HOST"), "{said}");

    let (code, told, said) = with(&[("FEIRA_CLUSTER", "2026"), ("FEIRA_PORTAL__LEASE_MS", "500")]);
    assert_eq!(code, Some(0), "{said}");
    assert!(told.contains("cluster = \"2026\"") && told.contains("lease_ms = 500"), "{told}");
    assert!(!said.contains("warning"), "{said}");
    for wrong in
        [("FEIRA_PORTAL__LEASE_MS", "soon"), ("FEIRA_PORTAL__LEASE_MS", "0"), ("FEIRA_CLUSTER", "São")]
    {
        let (code, _, said) = with(&[wrong]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(wrong.0), "{} is not named: {said}", wrong.0);
    }
}

/// Stops whatever runs there, however a test ends.
struct Stopped<'a>(&'a Place);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        drop(self.0.tool(&["down"]));
    }
}

fn log_of(place: &Place, part: &str) -> String {
    std::fs::read_to_string(place.path().join(format!("feira-data/log/{part}.log"))).unwrap_or_default()
}

const PARTS: [&str; 6] = ["broker", "node-1", "node-2", "node-3", "admin-portal-1", "client-portal-1"];

fn wait_until_serving(place: &Place) {
    wait::until_blocking("everything to serve", LONG, || {
        let up = log_of(place, "up");
        if up.contains("everything serves") { Ok(()) } else { Err(up) }
    });
}

#[test]
fn a_shop_in_the_background_reads_no_terminal_and_ends_in_order_when_that_is_closed() {
    let place = Place::new(feira_tests::feira!());
    let _stopped = Stopped(&place);
    let mut shell = Command::new("setsid");
    // A shell with job control on a terminal of its own: what follows is a job in the background.
    // Tests that run under nohup would hand on that SIGHUP is ignored.
    shell.args([
        "--ctty",
        "--wait",
        "env",
        "--default-signal=HUP",
        "bash",
        "-m",
        "-c",
        "\"$@\" & echo \"the job is $!.\"; wait",
        "bash",
    ]);
    let up = place.command(&["up", "--any-ports"]);
    shell.arg(up.get_program()).args(up.get_args());
    let mut terminal = Dialogue::on_terminal(shell);
    terminal.hears("the job is ", PATIENCE);
    wait_until_serving(&place);
    terminal.say("exit\n");
    place.done(&["kv", "set", "kept", "x"]);
    let said = terminal.said();
    let job = said.split("the job is ").nth(1).and_then(|rest| rest.split('.').next()).unwrap();
    let job: i32 = job.parse().unwrap();
    kill(Pid::from_raw(job), Signal::SIGHUP).unwrap();
    gone("feira up", job);
    for part in PARTS {
        let log = log_of(&place, part);
        assert!(log.contains("SIGHUP (the terminal was closed): stopping"), "{part}: {log}");
        assert!(!log.contains("the supervisor is gone"), "{part}: {log}");
    }
    assert!(log_of(&place, "up").contains("SIGHUP"), "{}", log_of(&place, "up"));
    assert!(log_of(&place, "up").trim_end().ends_with("stopped"), "{}", log_of(&place, "up"));
}

#[test]
fn a_detached_shop_stays_until_it_is_told_to_stop() {
    let place = Place::new(feira_tests::feira!());
    let _stopped = Stopped(&place);
    let told: Value =
        serde_json::from_str(&place.done(&["--json", "up", "--any-ports", "--detach"])).unwrap();
    let pid = i32::try_from(told["pid"].as_i64().unwrap()).unwrap();
    place.done(&["kv", "set", "kept", "x"]);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name in brackets: state, parent, group, session, terminal.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!((fields[3], fields[4]), (pid.to_string().as_str(), "0"), "a session without a terminal");
    place.fails(&["up", "--detach"], 1, "another feira up runs the cluster in");
    place.done(&["down"]);
    gone("feira up", pid);
    // What keeps it from coming up is said here, and not in a log alone.
    std::fs::remove_dir_all(place.path().join("feira-data/node-1")).unwrap();
    std::fs::remove_dir_all(place.path().join("feira-data/node-2")).unwrap();
    place.fails(&["up", "--detach"], 1, "1 of 3 voters");
}

#[test]
fn a_terminal_of_0_columns_is_one_of_unknown_width() {
    let place = Place::new(feira_tests::feira!());
    std::fs::write(place.path().join("feira.toml"), "").unwrap();
    let mut terminal = Dialogue::on_terminal_of(place.command(&["status"]), 0);
    terminal.ends_within(LONG);
    terminal.hears("127.0.0.1:7403", PATIENCE);
    terminal.hears("HASH", PATIENCE);
}

/// A mosquitto with the settings that feira ships, but for what they say themselves of passwords.
fn asking_mosquitto(place: &Place, port: u16) -> Process {
    let passwords = place.path().join("passwords");
    let mut make = Command::new("mosquitto_passwd");
    make.args(["-b", "-c"]).arg(&passwords).args(["stall", "fig-7"]);
    assert!(make.status().unwrap().success());
    std::fs::set_permissions(&passwords, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let shipped = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../mosquitto.conf")).unwrap();
    assert!(shipped.contains("password_file") && shipped.contains("broker.password_file"), "{shipped}");
    let settings = shipped.replace("listener 1883", &format!("listener {port}")).replace(
        "\nallow_anonymous true",
        &format!("\nallow_anonymous false\npassword_file {}", passwords.display()),
    );
    let path = place.path().join("asking.conf");
    std::fs::write(&path, settings).unwrap();
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(&path);
    let process = Process::start("mosquitto", command, &place.path().join("asking.log"));
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait::until_blocking("mosquitto to listen", PATIENCE, || TcpStream::connect(at));
    process
}

fn bus_problems(status: &Value) -> Vec<String> {
    let portals = status["portals"].as_array().unwrap();
    portals.iter().map(|portal| portal["bus_problem"].as_str().unwrap_or("down").to_owned()).collect()
}

fn with_broker(place: &Place, kind: &str, port: u16, more: &[&str]) -> feira_tests::place::Up {
    let path = place.path().join("feira.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let head = text.split("[broker]").next().unwrap();
    let tail = text.split("[portal]").nth(1).unwrap();
    let broker = format!("[broker]\nkind = \"{kind}\"\nlisten = \"127.0.0.1:{port}\"\n{}\n", more.join("\n"));
    std::fs::write(&path, format!("{head}{broker}\n[portal]{tail}")).unwrap();
    place.up(&[])
}

/// Waits until every portal and the leader name this reason, each once in its log.
fn named_everywhere(place: &Place, reason: &str) {
    wait::until_blocking("the reason in the status of all", LONG, || {
        let status = place.status();
        let portals = bus_problems(&status);
        let nodes = status["nodes"].as_array().unwrap();
        let leader =
            nodes.iter().filter_map(|node| node["problem"].as_str()).find(|it| it.contains("broker"));
        let all =
            portals.iter().all(|why| why.contains(reason)) && leader.is_some_and(|it| it.contains(reason));
        if all { Ok(()) } else { Err(status.to_string()) }
    });
    for part in ["admin-portal-1", "client-portal-1"] {
        let log = log_of(place, part);
        assert_eq!(log.matches("the broker cannot be used").count(), 1, "{part}: {log}");
    }
}

#[test]
fn a_broker_that_refuses_is_named_with_its_reason_and_takes_a_user_with_a_password() {
    let place = Place::new(feira_tests::feira!());
    let port = Port::lease();
    let _mosquitto = asking_mosquitto(&place, port.number);
    let up = place.up(&["--any-ports"]);
    place.done(&["down"]);
    up.ends_well();
    clear_logs(&place);
    let up = with_broker(&place, "external", port.number, &[]);
    named_everywhere(&place, "NotAuthorized");
    place.done(&["down"]);
    up.ends_well();
    std::fs::write(place.path().join("secret"), "fig-7\n").unwrap();
    let login = ["user = \"stall\"", "password_file = \"secret\""];
    let up = with_broker(&place, "external", port.number, &login);
    wait::until_blocking("every cache to be live", LONG, || {
        let status = place.status();
        let live = |portal: &Value| portal["groups"][0]["state"] == "LIVE" && portal["bus_problem"] == "";
        if status["portals"].as_array().unwrap().iter().all(live) { Ok(()) } else { Err(status.to_string()) }
    });
    place.done(&["down"]);
    up.ends_well();
    for part in PARTS {
        assert!(!log_of(&place, part).contains("fig-7"), "a password is told to no log: {part}");
    }
}

fn clear_logs(place: &Place) {
    std::fs::remove_dir_all(place.path().join("feira-data/log")).unwrap();
}

#[test]
fn a_broker_that_is_none_is_named_with_its_reason() {
    let place = Place::new(feira_tests::feira!());
    let up = place.up(&["--any-ports"]);
    place.done(&["down"]);
    up.ends_well();
    // Nobody listens.
    let port = Port::lease();
    clear_logs(&place);
    let up = with_broker(&place, "external", port.number, &[]);
    named_everywhere(&place, "refused");
    place.done(&["down"]);
    up.ends_well();
    // Somebody listens and says nothing.
    let (port, silent) = Port::lease_bound();
    std::thread::spawn(move || {
        let taken: Vec<_> = silent.incoming().collect();
        drop(taken);
    });
    clear_logs(&place);
    let up = with_broker(&place, "external", port.number, &[]);
    named_everywhere(&place, "no answer within");
    place.done(&["down"]);
    up.ends_well();
}

fn open_to_others(path: &Path) -> Vec<String> {
    let mut open = Vec::new();
    let mode = std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        open.push(format!("{} has {mode:o}", path.display()));
    }
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            open.extend(open_to_others(&entry.unwrap().path()));
        }
    }
    open
}

#[test]
fn data_backups_logs_and_history_are_their_owners_alone() {
    let place = Place::new(feira_tests::feira!());
    let up = place.up(&["--any-ports"]);
    let (data, backup) = (place.path().join("feira-data"), place.path().join("shop.backup"));
    place.done(&["backup", "--out", backup.to_str().unwrap()]);
    let history = place.path().join("history");
    // One that an earlier version left.
    std::fs::write(&history, "get-client ana\n").unwrap();
    std::fs::set_permissions(&history, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut admin = place.command(&["admin"]);
    admin.env("FEIRA_HISTORY", &history);
    let mut admin = Dialogue::on_terminal(admin);
    admin.hears("admin", PATIENCE);
    admin.say("portal\r");
    admin.hears("LEASE LEFT", PATIENCE);
    admin.say("exit\r");
    admin.ends_within(PATIENCE);
    for path in [&data, &backup, &history] {
        assert_eq!(open_to_others(path), Vec::<String>::new());
    }
    // Everybody may ask the shop.
    let mode = std::fs::metadata(place.path().join("feira.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    place.done(&["down"]);
    up.ends_well();
    // What an earlier version left open is closed at the next start.
    let left = data.join("node-2/groups/1/meta");
    std::fs::set_permissions(&left, std::fs::Permissions::from_mode(0o644)).unwrap();
    let up = place.up(&[]);
    assert_eq!(open_to_others(&data.join("node-2")), Vec::<String>::new());
    place.done(&["down"]);
    up.ends_well();
}

#[test]
fn logs_are_followed_by_others_and_debug_says_nothing_of_the_libraries() {
    let place = Place::new(feira_tests::feira!());
    let mut tool = Dialogue::start(place.command(&[
        "--set",
        "log=debug",
        "--set",
        "log_bytes=4096",
        "--set",
        "log_files_kept=2",
        "up",
        "--any-ports",
    ]));
    tool.hears("everything serves", LONG);
    let logs = place.path().join("feira-data/log");
    wait::until_blocking("a log that was followed twice", LONG, || {
        place.done(&["node", "restart", "1"]);
        if logs.join("node-1.log.2").exists() { Ok(()) } else { Err("it was not") }
    });
    place.done(&["node", "stop", "1"]);
    assert!(!logs.join("node-1.log.3").exists());
    let (mut all, mut bytes) = (String::new(), 0);
    for name in ["node-1.log.2", "node-1.log.1", "node-1.log"] {
        let text = std::fs::read_to_string(logs.join(name)).unwrap();
        bytes = bytes.max(text.len());
        all.push_str(&text);
    }
    assert!(bytes < 3 * 4096, "{bytes}");
    assert!(all.contains("SIGTERM: stopping"), "what is said last is in a log: {all}");
    let levels: Vec<&str> = all.lines().filter(|line| line.contains("DEBUG")).collect();
    for line in &levels {
        assert!(line.contains(" store_") || line.contains(" feira") || line.contains(" portal"), "{line}");
    }
    place.done(&["down"]);
    tool.ends_within(LONG);
}

#[test]
fn an_address_that_means_every_address_is_never_told_to_others() {
    let place = Place::new(feira_tests::feira!());
    let up = place.up(&["--any-ports"]);
    let text = std::fs::read_to_string(place.path().join("feira.toml")).unwrap();
    place.fails(&["member", "add", "--listen", "0.0.0.0:7404"], 2, "address, where others reach the node");
    place.fails(
        &["member", "add", "--listen", "127.0.0.1:7404", "--address", "[::]:7404"],
        2,
        "other machines reach it",
    );
    assert_eq!(std::fs::read_to_string(place.path().join("feira.toml")).unwrap(), text, "nothing was done");
    assert!(!place.done(&["member", "list"]).contains("learner"));
    place.done(&["down"]);
    up.ends_well();
    let everywhere = text.replacen("listen = \"127.0.0.1:", "listen = \"0.0.0.0:", 2);
    std::fs::write(place.path().join("feira.toml"), everywhere).unwrap();
    place.fails(&["up"], 2, "store.nodes[0].listen");
}
