//! `cargo xtask bench-guard`: instructions an operation of the hot paths, counted by callgrind and compared with a baseline.
//!
//! The scenarios are those of `feira-guard` (`tests/guard`). Each is run once and twice over after the same preparation;
//! the difference is what its operations take.
//!
//! Promises: a scenario fails at 1.10 times its baseline, by its name; exit code 0 if none does, 1 if one does, 2 if
//! nothing could be compared (no baseline, another compiler or machine, no valgrind). Only `--write` changes a file that
//! is committed. Leaves out time, caches and the kernel: fewer instructions need not be faster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use clap::Args;

use crate::baseline::{Baseline, conditions};
use crate::callgrind;
use crate::command::{cargo, output, root, run as run_command, target};

/// Some scenario takes more than it may.
const GREW: u8 = 1;
/// Nothing could be compared.
const NOT_COMPARED: u8 = 2;

/// Percent of the baseline from which on a scenario fails.
const PERCENT_GREW: u64 = 110;
/// Percent of the baseline up to which a new one is advised.
const PERCENT_FELL: u64 = 90;

/// The profile in which the scenarios are built.
const PROFILE: &str = "release";

/// The folder in the target folder that keeps what callgrind says.
const FOLDER: &str = "guard";

/// What to count, and with what to compare it.
#[derive(Args)]
pub(crate) struct BenchGuard {
    /// Only these scenarios (default: all)
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Write the counts of all scenarios as the new baseline
    #[arg(long, conflicts_with = "names")]
    write: bool,
    /// Another baseline than the committed one
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

/// A scenario, as the program lists it.
#[derive(Debug, PartialEq, Eq)]
struct Scenario {
    name: String,
    /// Operations of a run.
    operations: u64,
    /// One operation, in words.
    operation: String,
}

/// How a count stands to its baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Holds,
    Grew,
    Fell,
    /// The baseline does not have it.
    New,
}

impl Verdict {
    fn of(baseline: Option<u64>, counted: u64) -> Verdict {
        match baseline {
            None => Verdict::New,
            Some(baseline) if counted * 100 >= baseline * PERCENT_GREW => Verdict::Grew,
            Some(baseline) if counted * 100 <= baseline * PERCENT_FELL => Verdict::Fell,
            Some(_) => Verdict::Holds,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::Grew => "GREW",
            Verdict::Fell => "fell",
            Verdict::New => "new",
        }
    }
}

/// Counts and compares, or counts and writes.
pub(crate) fn run(asked: &BenchGuard) -> ExitCode {
    let code = guard(asked).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        NOT_COMPARED
    });
    ExitCode::from(code)
}

fn guard(asked: &BenchGuard) -> anyhow::Result<u8> {
    callgrind::ensure()?;
    let path = asked.baseline.clone().unwrap_or_else(|| root().join("tests/guard/baseline.toml"));
    let here = conditions(PROFILE)?;
    let before = match Baseline::read(&path) {
        Err(_) if asked.write && !path.exists() => Baseline::default(),
        baseline => baseline?,
    };
    if !asked.write && !may_compare(&before, &here) {
        return Ok(NOT_COMPARED);
    }
    let program = build()?;
    let scenarios = listed(&output(&mut Command::new(&program))?);
    if let Some(unknown) = asked.names.iter().find(|name| scenarios.iter().all(|one| one.name != **name)) {
        bail!("there is no scenario {unknown:?}; `cargo xtask bench-guard` without names counts all");
    }
    let is_wanted = |one: &&Scenario| asked.names.is_empty() || asked.names.contains(&one.name);
    let mut counts = Vec::new();
    for scenario in scenarios.iter().filter(is_wanted) {
        counts.push((scenario.name.clone(), count(&program, scenario)?));
    }
    print_table(
        &before,
        &counts,
        &scenarios,
        if asked.write { ["old", "new"] } else { ["baseline", "counted"] },
    );
    if asked.write {
        Baseline { conditions: here, counts }.write(&path)?;
        eprintln!("the baseline is written: {}", path.display());
        return Ok(0);
    }
    let gone = before.counts.iter().filter(|(name, _)| scenarios.iter().all(|one| one.name != *name));
    let gone: Vec<&str> = gone.map(|(name, _)| name.as_str()).collect();
    Ok(judged(&before, &counts, &gone))
}

/// Whether the baseline was counted under the conditions here; if not, says which differ and what to do.
fn may_compare(baseline: &Baseline, here: &[(String, String)]) -> bool {
    let differences = baseline.differences(here);
    if differences.is_empty() {
        return true;
    }
    eprintln!("error: the counts cannot be compared: the baseline was counted under other conditions");
    for (name, then, now) in differences {
        eprintln!("  {name}: {then:?} in the baseline, {now:?} here");
    }
    eprintln!(
        "to compare two commits here, count the earlier one into a file of its own:\n  \
         git worktree add /tmp/before COMMIT && (cd /tmp/before && cargo xtask bench-guard --write --baseline \
         /tmp/before.toml)\n  cargo xtask bench-guard --baseline /tmp/before.toml\n\
         if the toolchain of the repository changed, write the baseline anew in that commit: cargo xtask \
         bench-guard --write"
    );
    false
}

fn build() -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--locked", "--package", "feira-guard", "--profile", PROFILE]);
    run_command(&mut command)?;
    Ok(target()?.join(PROFILE).join("feira-guard"))
}

fn listed(said: &str) -> Vec<Scenario> {
    let scenario = |line: &str| {
        let [name, operations, operation] = line.split('\t').collect::<Vec<_>>()[..] else { return None };
        let (name, operation) = (name.to_owned(), operation.to_owned());
        Some(Scenario { name, operations: operations.parse().ok()?, operation })
    };
    said.lines().filter_map(scenario).collect()
}

/// Instructions an operation: those of two runs without those of one, divided and rounded.
fn count(program: &Path, scenario: &Scenario) -> anyhow::Result<u64> {
    let folder = target()?.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let counted = |runs: &str| {
        let counts = folder.join(format!("{}.{runs}.callgrind", scenario.name));
        callgrind::instructions(program, &[&scenario.name, runs], &counts)
    };
    let (once, twice) = (counted("1")?, counted("2")?);
    let more = twice.checked_sub(once).filter(|more| *more > 0);
    let more = more.with_context(|| {
        format!("{}: two runs take {twice} instructions, one takes {once}", scenario.name)
    })?;
    Ok((more + scenario.operations / 2) / scenario.operations)
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The ratio with three decimals, rounded down.
fn ratio(baseline: u64, counted: u64) -> String {
    let thousandths = counted * 1_000 / baseline;
    format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000)
}

fn print_table(before: &Baseline, counts: &[(String, u64)], scenarios: &[Scenario], heads: [&str; 2]) {
    let [then, now] = heads;
    println!("{:<16} {then:>10} {now:>10} {:>7}         an operation is", "scenario", "ratio");
    for (name, counted) in counts {
        let baseline = before.count(name);
        let [then, change] = match baseline {
            Some(baseline) => [grouped(baseline), ratio(baseline, *counted)],
            None => ["-".to_owned(), "-".to_owned()],
        };
        let operation = scenarios.iter().find(|one| one.name == *name).map_or("", |one| &one.operation);
        let verdict = Verdict::of(baseline, *counted).text();
        println!("{name:<16} {then:>10} {:>10} {change:>7} {verdict:<7} {operation}", grouped(*counted));
    }
}

/// Says what is to be done, and the exit code. `gone`: scenarios that only the baseline has.
fn judged(before: &Baseline, counts: &[(String, u64)], gone: &[&str]) -> u8 {
    for (name, counted) in counts {
        if let Some(advice) = advice(name, before.count(name), *counted) {
            eprintln!("{advice}");
        }
    }
    for name in gone {
        eprintln!(
            "error: {name} is in the baseline and no scenario: cargo xtask bench-guard --write removes it"
        );
    }
    let verdicts: Vec<Verdict> =
        counts.iter().map(|(name, counted)| Verdict::of(before.count(name), *counted)).collect();
    if verdicts.contains(&Verdict::Grew) {
        eprintln!(
            "callgrind_annotate shows where they are, in {FOLDER}/NAME.2.callgrind of the target folder; if they are \
             worth it, write the baseline anew, and say why in the commit: cargo xtask bench-guard --write"
        );
    }
    match () {
        () if verdicts.contains(&Verdict::Grew) => GREW,
        () if verdicts.contains(&Verdict::New) || !gone.is_empty() => NOT_COMPARED,
        () => 0,
    }
}

/// What is to be done about a count that does not hold.
fn advice(name: &str, baseline: Option<u64>, counted: u64) -> Option<String> {
    let then = baseline.unwrap_or_default();
    let now = grouped(counted);
    match Verdict::of(baseline, counted) {
        Verdict::Holds => None,
        Verdict::Grew => Some(format!(
            "error: {name} grew: {now} instructions an operation are {} times the baseline of {}; 1.100 times fail",
            ratio(then, counted),
            grouped(then)
        )),
        Verdict::Fell => Some(format!(
            "{name} fell: {now} instructions an operation are {} times the baseline of {}; cargo xtask bench-guard \
             --write guards what was won",
            ratio(then, counted),
            grouped(then)
        )),
        Verdict::New => {
            Some(format!("error: {name} is not in the baseline: cargo xtask bench-guard --write adds it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline() -> Baseline {
        let counts = vec![("append".to_owned(), 1_000), ("apply".to_owned(), 20_000)];
        Baseline { counts, ..Baseline::default() }
    }

    fn code(append: u64, apply: u64, gone: &[&str]) -> u8 {
        judged(&baseline(), &[("append".to_owned(), append), ("apply".to_owned(), apply)], gone)
    }

    #[test]
    fn a_tenth_more_fails_and_less_does_not() {
        assert_eq!(code(1_000, 20_000, &[]), 0);
        assert_eq!((code(1_099, 21_999, &[]), code(500, 1, &[])), (0, 0));
        assert_eq!((code(1_100, 20_000, &[]), code(1_000, 22_000, &[])), (GREW, GREW));
    }

    #[test]
    fn a_scenario_that_only_one_side_has_is_not_compared_but_growth_of_another_still_fails() {
        assert_eq!((code(1_000, 20_000, &["old"]), code(1_200, 20_000, &["old"])), (NOT_COMPARED, GREW));
        assert_eq!(judged(&baseline(), &[("new".to_owned(), 1)], &[]), NOT_COMPARED);
    }

    #[test]
    fn growth_names_scenario_baseline_count_and_ratio() {
        let grew = advice("apply", Some(20_000), 23_456).expect("it grew");
        let begin =
            "error: apply grew: 23,456 instructions an operation are 1.172 times the baseline of 20,000;";
        assert!(grew.starts_with(begin), "{grew}");
        let fell = advice("append", Some(1_000), 900).expect("it fell");
        assert!(fell.contains("0.900 times") && fell.contains("--write"), "{fell}");
        assert_eq!(advice("append", Some(1_000), 901), None);
    }

    #[test]
    fn other_conditions_are_not_compared() {
        let here = [("rustc".to_owned(), "rustc 1.95.0".to_owned())];
        assert!(!may_compare(&baseline(), &here));
        assert!(may_compare(&Baseline { conditions: here.to_vec(), ..baseline() }, &here));
    }

    #[test]
    fn lines_of_the_list_are_understood() {
        let line = "append\t200\t64 entries appended\n";
        let expected =
            Scenario { name: "append".into(), operations: 200, operation: "64 entries appended".into() };
        assert_eq!(listed(line), [expected]);
        assert_eq!(listed("a line of something else\n"), []);
    }
}
