//! Runs seeds of the simulation: `cargo xtask simulate --seeds 1000`, or one of them with `FEIRA_SEED=n`.
//!
//! Prints; writes nothing to disk. Exits with 1 if a promise was broken, or if the seeds proved too little.
#![allow(clippy::print_stdout)] // It talks to people.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use feira_simulator::hunt::Hunt;
use feira_simulator::ring::{RingPlan, hunt_rings, run_ring};
use feira_simulator::shrink::{reduced, shrink};
use feira_simulator::{Kind, Outcome, Plan, Planted, run};

#[derive(Parser)]
#[command(about = "Runs seeds of the simulation; FEIRA_SEED=n plays one of them again, with its last events")]
struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
    /// Runs at one time (default: one a core)
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Only these kinds of faults, in every seed (separated by commas; "none": no faults)
    #[arg(long, value_name = "KINDS")]
    only: Option<String>,
    /// Go on after a failure
    #[arg(long)]
    keep_going: bool,
    /// With FEIRA_SEED: only these faults of its schedule (places, separated by commas)
    #[arg(long, value_name = "PLACES")]
    faults: Option<String>,
    /// With FEIRA_SEED: so many operations
    #[arg(long, value_name = "N")]
    operations: Option<u32>,
    /// Rings of several groups, with transactions over them
    #[arg(long, conflicts_with_all = ["only", "faults", "operations", "plant_early_ack"])]
    ring: bool,
    /// A deliberate bug of the simulator's driver, which must be caught (acks before the log is written)
    #[arg(long)]
    plant_early_ack: bool,
}

impl Arguments {
    fn hunt(&self) -> Result<Hunt, String> {
        let mut hunt = Hunt::of(self.from..self.from + self.seeds);
        hunt.jobs = self.jobs.unwrap_or(hunt.jobs);
        hunt.until_failure = !self.keep_going;
        if self.plant_early_ack {
            hunt.planted = Planted::EarlyAck;
        }
        if let Some(only) = &self.only {
            let words = only.split(',').filter(|word| *word != "none");
            let kind =
                |word| Kind::of_word(word).ok_or_else(|| format!("--only: there is no fault {word:?}"));
            hunt.swarm = Some(words.map(kind).collect::<Result<_, _>>()?);
        }
        Ok(hunt)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match std::env::var("FEIRA_SEED") {
        Ok(seed) if arguments.ring => play_ring(&seed),
        Err(_) if arguments.ring => Ok(hunt_on_rings(&arguments)),
        Ok(seed) => play(&arguments, &seed),
        Err(_) => hunt(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            println!("error: {problem}");
            ExitCode::from(2)
        }
    }
}

/// Plays one seed, watched.
fn play(arguments: &Arguments, seed: &str) -> Result<bool, String> {
    let seed = seed.parse().map_err(|_| format!("FEIRA_SEED={seed:?} is not a number"))?;
    println!("seed {seed}");
    let mut plan = arguments.hunt()?.plan(seed);
    if let Some(places) = &arguments.faults {
        let place = |word: &str| word.parse().map_err(|_| format!("--faults: {word:?} is not a number"));
        let places: Vec<usize> =
            places.split(',').filter(|word| !word.is_empty()).map(place).collect::<Result<_, _>>()?;
        plan = reduced(&plan, &places, plan.operations);
    }
    plan.operations = arguments.operations.unwrap_or(plan.operations);
    tell_plan(&plan);
    let outcome = run(plan, true);
    println!(
        "{} events in {}.{:03} simulated s, trace {:016x}; {:?}",
        outcome.events,
        outcome.ended_at / 1_000_000,
        outcome.ended_at / 1_000 % 1_000,
        outcome.trace,
        outcome.score
    );
    tell(&outcome);
    Ok(outcome.violation.is_none())
}

fn tell_plan(plan: &Plan) {
    println!("{} nodes, {:?}, {} operations", plan.nodes, plan.snapshots, plan.operations);
    for (place, fault) in plan.faults.iter().enumerate() {
        let (at, lasts) = (fault.at / 1_000, fault.lasts / 1_000);
        println!(
            "  fault {place:>3} at {at:>6} ms for {lasts:>5} ms: {} node {}",
            fault.kind.word(),
            fault.node + 1
        );
    }
}

fn tell(outcome: &Outcome) {
    let Some(violation) = &outcome.violation else { return };
    println!("seed {} broke: {}", outcome.seed, violation.invariant);
    println!("  {}", violation.detail);
    println!(
        "  at {} simulated ms, event {}; the last that happened:",
        outcome.ended_at / 1_000,
        outcome.events
    );
    for line in &outcome.lines {
        println!("    {line}");
    }
}

/// Plays one seed of a ring, watched.
fn play_ring(seed: &str) -> Result<bool, String> {
    let seed = seed.parse().map_err(|_| format!("FEIRA_SEED={seed:?} is not a number"))?;
    let plan = RingPlan::of_seed(seed);
    println!(
        "seed {seed}: {} groups, {} clients, {} shoppers, {} operations",
        plan.groups.len(),
        plan.clients,
        plan.shoppers,
        plan.operations
    );
    for (at, group) in plan.groups.iter().enumerate() {
        println!("group {}:", at + 1);
        tell_plan(group);
    }
    let outcome = run_ring(plan, true);
    println!(
        "{} events, trace {:016x}; {:?} {:?}",
        outcome.events, outcome.trace, outcome.score, outcome.shop
    );
    let Some(violation) = &outcome.violation else { return Ok(true) };
    for line in &outcome.lines {
        println!("    {line}");
    }
    println!("seed {seed} broke: {violation}, at {} simulated ms", outcome.ended_at / 1_000);
    Ok(false)
}

/// Runs many seeds of rings.
fn hunt_on_rings(arguments: &Arguments) -> bool {
    let seeds = arguments.from..arguments.from + arguments.seeds;
    let jobs = arguments.jobs.unwrap_or(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
    let begun = Instant::now();
    let (tally, failures) = hunt_rings(seeds, jobs, !arguments.keep_going, |outcome| {
        if let Some(violation) = &outcome.violation {
            println!("seed {}: {violation}", outcome.seed);
        }
    });
    println!("{tally}");
    println!("{} seeds in {:.2} min", tally.runs, begun.elapsed().as_secs_f64() / 60.0);
    let shortfalls = tally.shortfalls();
    shortfalls.iter().for_each(|shortfall| println!("too little: {shortfall}"));
    failures.is_empty() && shortfalls.is_empty()
}

/// Runs many seeds.
fn hunt(arguments: &Arguments) -> Result<bool, String> {
    let hunt = arguments.hunt()?;
    println!("seeds {} to {}, {} at a time", arguments.from, hunt.seeds.end.saturating_sub(1), hunt.jobs);
    let begun = Instant::now();
    let mut done = 0u64;
    let caught = hunt.run(|outcome| {
        done += 1;
        if let Some(violation) = &outcome.violation {
            println!("seed {}: {violation}", outcome.seed);
        }
        if done.is_multiple_of(1_000) {
            println!("{done} seeds in {:.0} s", begun.elapsed().as_secs_f64());
        }
    });
    println!("{}", caught.tally);
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    println!("{done} seeds in {minutes:.2} min: {:.0} a minute", done as f64 / minutes.max(f64::EPSILON));
    if let Some(first) = caught.failures.first() {
        println!(
            "seed {}: {}",
            first.seed,
            first.violation.as_ref().map(ToString::to_string).unwrap_or_default()
        );
        tell_shrunk(&hunt.plan(first.seed));
        return Ok(false);
    }
    let shortfalls = if arguments.only.is_some() { Vec::new() } else { caught.tally.shortfalls() };
    for shortfall in &shortfalls {
        println!("too little: {shortfall}");
    }
    Ok(shortfalls.is_empty())
}

fn tell_shrunk(plan: &Plan) {
    println!("shrinking …");
    let Some(shrunk) = shrink(plan) else {
        println!("it did not fail again: the run is not deterministic");
        return;
    };
    let places: Vec<String> = shrunk.faults.iter().map(ToString::to_string).collect();
    println!("{} of {} faults are needed (after {} runs)", places.len(), plan.faults.len(), shrunk.runs);
    tell_plan(&reduced(plan, &shrunk.faults, shrunk.operations));
    tell(&shrunk.outcome);
    let (seed, operations) = (plan.seed, shrunk.operations);
    let command = format!("cargo xtask simulate --faults={} --operations {operations}", places.join(","));
    println!("play it again: FEIRA_SEED={seed} {command}");
}
