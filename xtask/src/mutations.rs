//! `cargo xtask mutations`: plants the store's deliberate bugs one after another and hunts each with the simulations.
//!
//! They are those of `store_core::mutation`; a hunt ends when a promise is broken. Bugs of the protocol are hunted among bare cores, the others in the whole
//! system.
//!
//! Promises: seeds are the same in every run; the table on standard output is the one in docs/TESTING.md; a bug that
//! is not caught within its seeds, or whose hunt hangs, fails. Leaves out what the bugs are: the store's crates say so.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

use crate::command::{cargo, output, root, run, target};

/// The hunt for one bug in the whole system takes no longer, on a busy machine.
const HUNT_MAX: Duration = Duration::from_secs(900);

/// Which bugs, and how hard to look for them.
#[derive(Args, Debug)]
pub(crate) struct Mutations {
    /// Only these (default: all)
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Seeds of the whole system before a bug counts as not caught
    #[arg(long, default_value_t = 200, value_name = "N")]
    seeds: u64,
    /// Seeds of bare cores, which take milliseconds each
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    core_seeds: u64,
    /// Only the bugs of the protocol, among bare cores: seconds
    #[arg(long)]
    cores: bool,
    /// Hunt the bugs of the protocol in the whole system too; there they need not be caught
    #[arg(long)]
    everywhere: bool,
    /// Build for release: slower to build, quicker to hunt
    #[arg(long)]
    release: bool,
}

impl Mutations {
    /// What every run of the tests hunts.
    pub(crate) fn quick() -> Mutations {
        Mutations {
            names: Vec::new(),
            seeds: 0,
            core_seeds: 1_000,
            cores: true,
            everywhere: false,
            release: false,
        }
    }

    /// Builds what hunts in the cores, and hunts nothing.
    pub(crate) fn build_in_cores(&self) -> Command {
        let mut command = self.test_cores();
        command.arg("--no-run");
        command
    }

    fn test_cores(&self) -> Command {
        let mut command = cargo();
        command.args(["test", "--locked", "--package", "store-core", "--features", "mutations"]);
        command.args(["--test", "mutations"]);
        if self.release {
            command.arg("--release");
        }
        command
    }
}

/// What the hunt for one bug came to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    name: String,
    /// The broken promise; `None`: not caught.
    check: Option<String>,
    /// Seeds that were run, the one that showed it included.
    seeds: u64,
    cpu_ms: u64,
    /// When in its last seed, by simulated time; bare cores know rounds only.
    simulated_ms: Option<u64>,
}

/// A bug, as its list has it.
#[derive(Debug)]
struct Listed {
    name: String,
    is_of_core: bool,
    text: String,
}

/// Hunts what is asked for, and prints the table.
pub(crate) fn hunt_all(asked: &Mutations) -> anyhow::Result<()> {
    let (listed, in_cores) = hunt_in_cores(asked)?;
    if let Some(unknown) = asked.names.iter().find(|name| listed.iter().all(|one| one.name != **name)) {
        bail!("there is no mutation {unknown:?}; `cargo xtask mutations` without names hunts all");
    }
    let is_wanted = |one: &&Listed| {
        (asked.names.is_empty() || asked.names.contains(&one.name)) && (one.is_of_core || !asked.cores)
    };
    let wanted: Vec<&Listed> = listed.iter().filter(is_wanted).collect();
    let in_system = wanted.iter().filter(|one| !asked.cores && (asked.everywhere || !one.is_of_core));
    let in_system: Vec<&str> = in_system.map(|one| one.name.as_str()).collect();
    let in_system = if in_system.is_empty() { Vec::new() } else { hunt_in_system(asked, &in_system)? };
    print_table(&wanted, &in_cores, &in_system);
    let is_caught = |one: &&&Listed| {
        in_cores.iter().chain(&in_system).any(|row| row.name == one.name && row.check.is_some())
    };
    let missed: Vec<&str> =
        wanted.iter().filter(|one| !is_caught(one)).map(|one| one.name.as_str()).collect();
    if !missed.is_empty() {
        bail!("not caught: {}", missed.join(", "));
    }
    eprintln!("{} of {} caught", wanted.len(), wanted.len());
    Ok(())
}

/// The list of all bugs, and the hunt for those of the protocol, in one process: it is a matter of seconds.
fn hunt_in_cores(asked: &Mutations) -> anyhow::Result<(Vec<Listed>, Vec<Row>)> {
    let mut command = asked.test_cores();
    command.args(["--", "--nocapture"]);
    command.env("FEIRA_MUTATIONS", asked.names.join(",")).env("FEIRA_SEEDS", asked.core_seeds.to_string());
    let said = output(&mut command)?;
    Ok((said.lines().filter_map(listed).collect(), said.lines().filter_map(row).collect()))
}

fn listed(line: &str) -> Option<Listed> {
    let ["mutation", name, is_of_core, text] = line.split('\t').collect::<Vec<_>>()[..] else { return None };
    Some(Listed { name: name.to_owned(), is_of_core: is_of_core == "true", text: text.to_owned() })
}

/// Builds the program that hunts in the whole system.
fn build(release: bool) -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--locked", "--package", "feira-simulator", "--features", "mutations"]);
    command.args(["--bin", "mutation"]);
    if release {
        command.arg("--release");
    }
    run(&mut command)?;
    Ok(target()?.join(if release { "release" } else { "debug" }).join("mutation"))
}

/// A process for each, so many at a time as there are cores.
fn hunt_in_system(asked: &Mutations, names: &[&str]) -> anyhow::Result<Vec<Row>> {
    let program = build(asked.release)?;
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let jobs = std::thread::available_parallelism().map_or(1, usize::from).min(names.len());
    std::thread::scope(|scope| {
        let worker = || -> anyhow::Result<()> {
            while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                let row = hunt_one(&program, name, asked.seeds)?;
                eprintln!("{name}: {}", row.check.as_deref().unwrap_or("NOT CAUGHT"));
                rows.lock().expect("nobody panics with it").push(row);
            }
            Ok(())
        };
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    Ok(rows.into_inner().expect("nobody panics with it"))
}

fn hunt_one(program: &Path, name: &str, seeds: u64) -> anyhow::Result<Row> {
    let mut command = Command::new(program);
    command.args([name, "--seeds", &seeds.to_string()]).current_dir(root()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > HUNT_MAX {
            child.kill().and_then(|()| child.wait()).context("cannot end a hunt that hangs")?;
            bail!("the hunt for {name} was not done within {} s", HUNT_MAX.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut said = String::new();
    child.stdout.take().context("its output was piped")?.read_to_string(&mut said)?;
    said.lines().find_map(row).with_context(|| format!("the hunt for {name} said {said:?}"))
}

/// A line of either hunt: `caught` or `missed`, name, seed, CPU ms, then simulated ms (the whole system) and the promise.
fn row(line: &str) -> Option<Row> {
    let mut words = line.split('\t');
    let caught = match words.next()? {
        "caught" => true,
        "missed" => false,
        _ => return None,
    };
    let name = words.next()?.to_owned();
    let seeds = words.next()?.parse::<u64>().ok()? + u64::from(caught);
    let cpu_ms = words.next()?.parse().ok()?;
    let rest: Vec<&str> = words.collect();
    let (simulated_ms, said) = match rest[..] {
        [simulated_ms, said] => (simulated_ms.parse().ok(), said),
        [said] => (None, said),
        _ => (None, ""),
    };
    Some(Row { name, check: caught.then(|| promise(said)), seeds, cpu_ms, simulated_ms })
}

/// The name of the promise: what comes before the first colon, without the words of `assert_eq`.
fn promise(said: &str) -> String {
    let said = said.split_once(" failed: ").map_or(said, |(_, said)| said);
    let parts = if said.starts_with("healing:") { 2 } else { 1 };
    said.split(':').take(parts).collect::<Vec<_>>().join(":").trim().to_owned()
}

fn print_table(wanted: &[&Listed], in_cores: &[Row], in_system: &[Row]) {
    println!(
        "| mutation | what it does | bare cores: broken promise | seeds | CPU s | whole system: broken promise | seeds | CPU s | at s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for Listed { name, text, .. } in wanted {
        let seconds = |ms: u64| format!("{}.{:02}", ms / 1_000, ms % 1_000 / 10);
        let cells = |rows: &[Row], with_time: bool| {
            let row = rows.iter().find(|row| row.name == *name);
            let (check, seeds, cpu, at) = match row {
                None => Default::default(),
                Some(row) => {
                    let check = row.check.clone().unwrap_or_else(|| "not shown".to_owned());
                    let at = row.simulated_ms.map(|ms| (ms / 1_000).to_string()).unwrap_or_default();
                    (check, row.seeds.to_string(), seconds(row.cpu_ms), at)
                }
            };
            let at = if with_time { format!(" | {at}") } else { String::new() };
            format!("{check} | {seeds} | {cpu}{at}")
        };
        println!("| `{name}` | {text} | {} | {} |", cells(in_cores, false), cells(in_system, true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_hunts_are_understood_and_others_passed_over() {
        let of_cores =
            row("caught\ttwo-votes\t1\t4\tassertion `left == right` failed: ballot monotonic: n4 votes");
        let expected = Row {
            name: "two-votes".into(),
            check: Some("ballot monotonic".into()),
            seeds: 2,
            cpu_ms: 4,
            simulated_ms: None,
        };
        assert_eq!(of_cores, Some(expected.clone()));
        let of_system = row("caught\ttwo-votes\t1\t4\t12345\tballot monotonic: n4 votes");
        assert_eq!(of_system, Some(Row { simulated_ms: Some(12_345), ..expected }));
        let missed = row("missed\ttwo-votes\t100\t25000").expect("a line of the hunt");
        assert_eq!((missed.check, missed.seeds), (None, 100));
        assert_eq!(row("test result: ok. 1 passed"), None);
    }
}
