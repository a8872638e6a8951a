//! The steps of `cargo xtask test`, in their order, with the time that each took.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::command::{cargo, output, run, run_quietly, succeeds};
use crate::mosquitto;
use crate::mutations::{Mutations, hunt_all};
use crate::strangers::{self, What};

/// One step. The order here is the order in which they run: what fails fast comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Installs what the tests need and is not there
    Setup,
    /// The formatting is rustfmt's
    Fmt,
    /// Clippy has no warning
    Clippy,
    /// Everything builds
    Build,
    /// Fail points and deliberate bugs are no part of the binary that is shipped
    Features,
    /// The tests of the whole workspace
    Test,
    /// The deliberate bugs of the protocol are caught
    Mutations,
    /// The documentation builds without a warning
    Doc,
    /// Clients of other people's making, in Python, are served (needs PyPI)
    Strangers,
}

/// Which steps to run.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// Only these; empty: all.
    pub(crate) only: Vec<Step>,
    /// Not these.
    pub(crate) skip: Vec<Step>,
}

impl Selection {
    fn takes(&self, step: Step) -> bool {
        (self.only.is_empty() || self.only.contains(&step)) && !self.skip.contains(&step)
    }
}

/// Runs the selected steps up to the first that fails, and prints how long each took.
pub(crate) fn run_all(selection: &Selection) -> anyhow::Result<()> {
    let steps: Vec<Step> =
        Step::value_variants().iter().copied().filter(|step| selection.takes(*step)).collect();
    if steps.is_empty() {
        bail!("no step is left: --only and --skip exclude each other");
    }
    let mut times: Vec<(Step, Duration)> = Vec::new();
    let mut failed = None;
    for (at, step) in steps.iter().copied().enumerate() {
        eprintln!("\n== {}: {}", name(step), meaning(step));
        let begun = Instant::now();
        let done = run_step(step, &steps[at + 1..]);
        times.push((step, begun.elapsed()));
        if let Err(error) = done {
            failed = Some(error.context(format!("step {} failed", name(step))));
            break;
        }
    }
    eprintln!();
    for (i, (step, time)) in times.iter().enumerate() {
        let ended = if failed.is_some() && i + 1 == times.len() { "FAILED" } else { "ok" };
        eprintln!("{:<10} {:>8.1} s  {ended}", name(*step), time.as_secs_f64());
    }
    failed.map_or(Ok(()), Err)
}

fn name(step: Step) -> String {
    step.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn meaning(step: Step) -> String {
    let value = step.to_possible_value();
    value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
}

/// Runs a step that these follow.
fn run_step(step: Step, later: &[Step]) -> anyhow::Result<()> {
    match step {
        Step::Setup => mosquitto::ensure(),
        Step::Fmt => run(cargo().args(["fmt", "--all", "--check"])).context("cargo xtask fmt mends it"),
        Step::Clippy => {
            run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
        }
        Step::Build => run(cargo().args(["build", "--workspace", "--all-targets", "--locked"])),
        Step::Features => nothing_planted(),
        Step::Test => all_tests(later),
        Step::Mutations => hunt_all(&Mutations::quick()),
        Step::Doc => run(&mut doc()),
        Step::Strangers => strangers::serve(What::Quick, Some(strangers::built()?)),
    }
}

fn doc() -> Command {
    let mut command = cargo();
    command.env("RUSTDOCFLAGS", "-D warnings");
    command.args(["doc", "--workspace", "--no-deps", "--locked"]);
    command
}

/// What a later step builds and can be built beside the tests. Whether it can be built at all that step says.
fn build_ahead(step: Step) -> Option<Command> {
    match step {
        Step::Doc => Some(doc()),
        Step::Mutations => Some(Mutations::quick().build_in_cores()),
        Step::Setup
        | Step::Fmt
        | Step::Clippy
        | Step::Build
        | Step::Features
        | Step::Test
        | Step::Strangers => None,
    }
}

/// Tests that try what comes at random for a set time, however fast the machine is: what no other test's name has in it.
const AT_RANDOM: [&str; 2] = ["generated_", "no_request_is_answered_by_another_cluster"];

/// How many tests of one program run at once, as the test harness knows it.
const THREADS: &str = "RUST_TEST_THREADS";

/// All tests. Those at random run beside the others, which wait for most of their time, and what later steps need is built there; what
/// the tests at random say is shown in the end.
fn all_tests(later: &[Step]) -> anyhow::Result<()> {
    let tests = || {
        let mut command = cargo();
        mosquitto::put_in_path(&mut command);
        if std::env::var_os(THREADS).is_none() {
            // One more than there are cores: clusters wait for each other for a third of their time.
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            command.env(THREADS, (cores + 1).to_string());
        }
        // Without --no-fail-fast one failed crate would hide what the others say.
        command.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
        command
    };
    let (mut at_random, mut others) = (tests(), tests());
    // Of all tests, though their files are known: cargo 1.95 shares what procedural macros are made of with what is tested, or does
    // not, by what is chosen, and then builds half of the workspace once more.
    at_random.args(["--tests", "--"]).args(AT_RANDOM);
    others.arg("--").args(AT_RANDOM.iter().flat_map(|name| ["--skip", name]));
    let (others, at_random) = std::thread::scope(|scope| {
        let at_random = scope.spawn(|| {
            let tried = run_quietly(&mut at_random);
            later.iter().filter_map(|step| build_ahead(*step)).for_each(|mut command| {
                succeeds(&mut command);
            });
            tried
        });
        let others = run(&mut others);
        (others, at_random.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    others.and(at_random)
}

/// Features that only tests may turn on: places to crash at, and deliberate bugs.
const FOR_TESTS: [&str; 2] = ["failpoints", "mutations"];

/// Asks cargo which features the one binary is built with when it is built alone, as `cargo run --release` does.
fn nothing_planted() -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["tree", "--locked", "--package", "feira", "--edges", "normal", "--target", "all"]);
    command.args(["--prefix", "none", "--no-dedupe", "--format", "{p} features: {f}"]);
    let tree = output(&mut command)?;
    for feature in FOR_TESTS {
        let with = crates_with(&tree, feature);
        if !with.is_empty() {
            let with = with.join(", ");
            bail!("the binary feira would be shipped with {feature}, by {with}: let only tests turn it on");
        }
        eprintln!("no crate of the binary feira has the feature {feature}");
    }
    Ok(())
}

fn crates_with<'t>(tree: &'t str, feature: &str) -> Vec<&'t str> {
    let mut with: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split_once(" features: "))
        .filter(|(_, features)| features.split(',').any(|one| one.trim() == feature))
        .map(|(name, _)| name)
        .collect();
    with.sort_unstable();
    with.dedup();
    with
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_and_skip_choose_steps() {
        let all = Selection::default();
        assert!(Step::value_variants().iter().all(|step| all.takes(*step)));
        let some = Selection { only: vec![Step::Fmt, Step::Doc], skip: vec![Step::Doc] };
        let taken: Vec<_> = Step::value_variants().iter().filter(|step| some.takes(**step)).collect();
        assert_eq!(taken, [&Step::Fmt]);
        assert!(run_all(&Selection { only: vec![Step::Fmt], skip: vec![Step::Fmt] }).is_err());
    }

    #[test]
    fn a_crate_with_a_feature_for_tests_is_named() {
        let tree = "fail v0.5.1 features: default,failpoints\nlog v0.4 features: std\nfail v0.5.1 features: failpoints\n";
        assert_eq!(crates_with(tree, "failpoints"), ["fail v0.5.1"]);
        assert_eq!(crates_with("store-core v0.1.0 features: mutations", "mutations"), ["store-core v0.1.0"]);
        let clean = "fail v0.5.1 features: default\nfeira v0.1.0 features: \n";
        assert!(FOR_TESTS.iter().all(|feature| crates_with(clean, feature).is_empty()));
    }
}
