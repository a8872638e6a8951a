//! A build of feira: three nodes, broker and portals of `feira up`, driven by a `feira bench` of its own or of the new build.
//!
//! A build that has no `bench` or no `health` is driven by this repository's; one whose `bench` lacks a flag that is needed is
//! refused before anything runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::ready::ready;
use crate::args::{Settings, Work};
use crate::process::{Launch, Process};
use crate::record::Outcome;

/// For the head of the report.
pub const SETUP: &str = "3 nodes, broker and a portal of each kind, as feira up makes them (every commit is synchronised on a majority \
                         before it is acknowledged)";
/// Flags of `feira bench` that are given.
const FLAGS: [&str; 6] = ["--clients", "--seconds", "--rounds", "--warm-up", "--hot", "--json"];

/// A build, not started.
#[derive(Clone, Debug)]
pub struct Feira {
    /// Its name in tables.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// The program whose `bench` drives it.
    bench: PathBuf,
    /// The program whose `health` and `kv` are asked.
    tools: PathBuf,
}

/// A build, started.
#[derive(Debug)]
pub struct Running {
    /// `feira up`; all parts are below it.
    pub process: Process,
    feira: Feira,
    config: PathBuf,
}

impl Feira {
    /// A build with what drives it: itself, or the build of this repository.
    ///
    /// # Errors
    /// It cannot be run, cannot take free ports, or nothing can drive it.
    pub fn of(name: &str, program: &Path, this: Option<&Path>) -> anyhow::Result<Feira> {
        // Servers run in folders of their own.
        let whole = program.canonicalize();
        let program = whole.with_context(|| format!("{name}: {} is not there", program.display()))?;
        let up = help(&program, "up")?
            .with_context(|| format!("{name}: {} has no command up", program.display()))?;
        if !up.contains("--any-ports") {
            bail!(
                "{name}: its feira up has no --any-ports, so that it cannot run beside others: take a later build"
            );
        }
        let other = |command: &str| -> anyhow::Result<PathBuf> {
            if help(&program, command)?.is_some() {
                return Ok(program.clone());
            }
            let this = this.with_context(|| {
                format!("{name} has no {command} of its own: give --feira, whose {command} drives it")
            })?;
            eprintln!("{name} has no {command} of its own: driven by that of {}", this.display());
            this.canonicalize().with_context(|| format!("{} is not there", this.display()))
        };
        let (bench, tools) = (other("bench")?, other("health")?);
        let said = help(&bench, "bench")?.with_context(|| format!("{} has no bench", bench.display()))?;
        if let Some(flag) = FLAGS.iter().find(|flag| !said.contains(**flag)) {
            bail!("{name}: the bench of {} has no {flag}: take another build", bench.display());
        }
        Ok(Feira { name: name.to_owned(), program, bench, tools })
    }

    /// Starts a new shop in an empty folder, and waits until all of it serves.
    ///
    /// # Errors
    /// It ends, or does not serve in time.
    pub async fn start(&self, folder: &Path) -> anyhow::Result<Running> {
        let launch =
            Launch { name: "feira", program: &self.program, folder, account: None, stop: Signal::SIGTERM };
        let mut process = launch.start(&["up", "--any-ports"])?;
        let config = folder.join("feira.toml");
        let look = async || {
            // It is written by `feira up`, with the ports that were free.
            if !config.is_file() {
                bail!("feira.toml is not written yet");
            }
            output(&mut self.tool("health", &config)).await.map(drop)
        };
        ready(&self.name, std::slice::from_mut(&mut process), look).await?;
        Ok(Running { process, feira: self.clone(), config })
    }

    fn tool(&self, command: &str, config: &Path) -> tokio::process::Command {
        let program = if command == "bench" { &self.bench } else { &self.tools };
        let mut tool = tokio::process::Command::new(program);
        tool.arg("--config").arg(config).arg("--json").arg(command).stdin(Stdio::null()).kill_on_drop(true);
        tool
    }
}

impl Running {
    /// A command of the tools, for this shop, with answers in JSON.
    #[must_use]
    pub fn tool(&self, command: &str) -> tokio::process::Command {
        self.feira.tool(command, &self.config)
    }

    /// One round of `feira bench`.
    ///
    /// # Errors
    /// It fails, or does not answer as it should.
    pub async fn measure(&self, work: Work, clients: u16, settings: &Settings) -> anyhow::Result<Outcome> {
        let mut bench = self.tool("bench");
        match work {
            Work::OrderHot => bench.args(["order", "--hot"]),
            _ => bench.arg(work.word()),
        };
        bench.args(["--rounds", "1", "--clients", &clients.to_string()]);
        bench.args(["--seconds", &settings.seconds.to_string(), "--warm-up", &settings.warm_up.to_string()]);
        let said = output(&mut bench).await?;
        outcome(&said)
            .with_context(|| format!("feira bench {} answers as no known version does: {said}", work.word()))
    }

    /// The stock after a round of orders: what is held is what was sold, and at least what was acknowledged. `feira bench order`
    /// writes the stock anew before each round. After orders through the portals: the books of the shop, on all replicas.
    ///
    /// # Errors
    /// They are wrong, or cannot be read.
    pub async fn check(&self, work: Work, outcome: &Outcome) -> anyhow::Result<()> {
        if work == Work::PortalOrder {
            return output(&mut self.tool("audit")).await.map(drop);
        }
        if !work.is_order() {
            return Ok(());
        }
        let mut scan = self.tool("kv");
        let said = output(scan.args(["scan", "bench/s/", "--limit", "1000"])).await?;
        let (sold, held) = stock(&said).context("the stock of the bench cannot be read")?;
        let acknowledged = outcome.answered;
        if sold != held || sold < acknowledged {
            bail!(
                "stock: {sold} were sold and {held} are held, where at least {acknowledged} orders were acknowledged"
            );
        }
        Ok(())
    }
}

/// The help of a command; `None`: there is no such command.
fn help(program: &Path, command: &str) -> anyhow::Result<Option<String>> {
    let output = Command::new(program).args([command, "--help"]).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// What a tool says on standard output.
///
/// # Errors
/// It fails: what it says of it.
pub async fn output(tool: &mut tokio::process::Command) -> anyhow::Result<String> {
    let program = tool.as_std().get_program().to_string_lossy().into_owned();
    let output = tool.output().await.with_context(|| format!("cannot run {program}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        bail!(
            "{program}: {}: {} {}",
            output.status,
            err.lines().last().unwrap_or_default(),
            out.lines().last().unwrap_or_default()
        );
    }
    Ok(text(&output.stdout))
}

/// The one round of the document of `feira bench`.
fn outcome(said: &str) -> Option<Outcome> {
    let document: Value = serde_json::from_str(said.lines().last()?).ok()?;
    let round = document.get("results")?.get(0)?.get("rounds")?.get(0)?;
    Some(Outcome {
        operations_per_second: round.get("operations_per_second")?.as_f64()?,
        answered: round.get("answered")?.as_u64()?,
        latency_us: serde_json::from_value(round.get("latency_us")?.clone()).ok()?,
        errors: serde_json::from_value(round.get("errors")?.clone()).ok()?,
        cpu_seconds: round.get("cpu_seconds")?.as_f64(),
        retries: None,
    })
}

/// What was sold, and what is held for orders, of all products that a scan of their stocks shows.
fn stock(said: &str) -> Option<(u64, u64)> {
    let document: Value = serde_json::from_str(said.lines().next()?).ok()?;
    let mut sums = (0, 0);
    for record in document.get("records")?.as_array()? {
        let data: Value = serde_json::from_str(record.get("record")?.get("data")?.as_str()?).ok()?;
        let number = |name: &str| data.get(name)?.as_u64();
        sums.0 += number("initial")?.checked_sub(number("available")?)?;
        sums.1 += number("held")?;
    }
    Some(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Latency;

    #[test]
    fn the_document_of_a_bench_is_read() {
        let said = r#"{"results":[{"clients":4,"rounds":[{"answered":1850,"cpu_seconds":0.79,"errors":{"AWAY":2},
            "latency_us":{"max":14423,"p50":1363,"p99":10159,"p99_9":14247},"operations_per_second":1850.5,"overdue":0}]}]}"#;
        let read = outcome(&said.replace('\n', "")).unwrap();
        assert_eq!(
            (read.answered, read.operations_per_second, read.cpu_seconds),
            (1_850, 1_850.5, Some(0.79))
        );
        assert_eq!(read.latency_us, Some(Latency { p50: 1_363, p99: 10_159, p99_9: 14_247, max: 14_423 }));
        assert_eq!(read.errors["AWAY"], 2);
        let nothing = r#"{"results":[{"rounds":[{"answered":0,"cpu_seconds":null,"errors":{},"latency_us":null,"operations_per_second":0.0}]}]}"#;
        assert_eq!(outcome(nothing).unwrap(), Outcome::default());
        assert_eq!((outcome(""), outcome("{}")), (None, None));
    }

    #[test]
    fn the_stock_of_a_scan_is_added_up() {
        let record = |available: u64, held: u64| {
            let data =
                format!("{{\"initial\":100,\"adjusted\":0,\"available\":{available},\"held\":{held}}}");
            serde_json::json!({ "key": "bench/s/{0}", "record": { "data": data } })
        };
        let said = serde_json::json!({ "records": [record(97, 3), record(90, 9)] }).to_string();
        assert_eq!(stock(&said), Some((13, 12)));
        assert_eq!((stock("{}"), stock("")), (None, None));
    }
}
