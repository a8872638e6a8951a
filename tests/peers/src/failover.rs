//! Kills of the leader under a light writer: the longest time without an acknowledged write around each.
//!
//! One client writes a new record some milliseconds after the last was acknowledged. etcd's goes on to the next member when one does
//! not answer within a quarter of a second; feira's is `feira kv`, which looks for the leader by itself. The killed process stays
//! dead until writes have been acknowledged for a while; then it is started again, and the next kill waits until all is well.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use etcd_client::{Client, ConnectOptions};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::system::all::Running;
use crate::system::{etcd, feira};
use crate::wait;

/// Between an acknowledged write and the next.
const PAUSE: Duration = Duration::from_millis(10);
/// A member of etcd that does not answer within this is left for the next.
const ATTEMPT_MAX: Duration = Duration::from_millis(250);
/// Writes are looked at for so long after a kill, at least.
const LOOKED_AT: Duration = Duration::from_secs(3);
/// Writes come again when the last is no older than this.
const AGAIN: Duration = Duration::from_millis(200);
/// Without a write for so long the kill has failed.
const GAP_MAX: Duration = Duration::from_secs(60);
/// Writes before each kill.
const STEADY: Duration = Duration::from_secs(2);

/// When writes were acknowledged.
type Acks = Arc<Mutex<Vec<Instant>>>;

/// A writer that ends with its handle.
struct Writer {
    acks: Acks,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Kills the leader so often; the gaps in milliseconds.
///
/// # Errors
/// The system does not come back within its bound, or the writer cannot write at all.
pub async fn kills(mut running: Running, name: &str, kills: u32) -> anyhow::Result<Vec<f64>> {
    let writer = match &running {
        Running::Etcd(etcd) => of_etcd(etcd),
        Running::Feira(feira) => of_feira(feira)?,
        Running::Postgres(_) | Running::Redis(_) => bail!("it has no failover of its own"),
    };
    let mut gaps = Vec::new();
    for number in 1..=kills {
        writer.steady().await?;
        let killed_at = Instant::now();
        let killed = kill(&mut running).await?;
        let gap = writer.gap_around(killed_at).await?;
        eprintln!("kill {number} of {kills}, {name}: no acknowledged write for {:.0} ms", milliseconds(gap));
        gaps.push(milliseconds(gap));
        start_again(&mut running, killed).await?;
    }
    Ok(gaps)
}

/// Kills the leader; its number.
async fn kill(running: &mut Running) -> anyhow::Result<usize> {
    match running {
        Running::Etcd(etcd) => {
            let leader = etcd.leader().await?;
            etcd.kill(leader);
            Ok(leader)
        }
        Running::Feira(feira) => {
            let said = feira::output(&mut feira.tool("status")).await?;
            let status: Value = serde_json::from_str(&said).context("feira status is no JSON")?;
            let leader = status.get("leader").and_then(Value::as_u64).context("feira has no leader")?;
            feira::output(feira.tool("node").args(["kill", &leader.to_string()])).await?;
            Ok(usize::try_from(leader)?)
        }
        Running::Postgres(_) | Running::Redis(_) => bail!("it has no leader that another follows by itself"),
    }
}

async fn start_again(running: &mut Running, killed: usize) -> anyhow::Result<()> {
    match running {
        Running::Etcd(etcd) => {
            etcd.restart(killed)?;
            etcd.ready().await.map(drop)
        }
        Running::Feira(feira) => {
            feira::output(feira.tool("node").args(["start", &killed.to_string()])).await?;
            feira::output(feira.tool("health").args(["--strict", "--wait", "60"])).await.map(drop)
        }
        Running::Postgres(_) | Running::Redis(_) => Ok(()),
    }
}

impl Writer {
    /// Waits until writes have been acknowledged for a while.
    async fn steady(&self) -> anyhow::Result<()> {
        self.after(Instant::now() + STEADY).await
    }

    /// Waits until this moment, and until writes are acknowledged after it.
    async fn after(&self, moment: Instant) -> anyhow::Result<()> {
        let until = moment + GAP_MAX;
        loop {
            let last = self.acks.lock().last().copied();
            if Instant::now() >= moment && last.is_some_and(|last| last >= moment && last.elapsed() < AGAIN) {
                return Ok(());
            }
            if self.task.is_finished() {
                bail!("the writer has ended before its time");
            }
            if Instant::now() >= until {
                bail!("no write was acknowledged for {} s", GAP_MAX.as_secs());
            }
            wait::look_again().await;
        }
    }

    async fn gap_around(&self, killed_at: Instant) -> anyhow::Result<Duration> {
        self.after(killed_at + LOOKED_AT).await?;
        longest_gap(&self.acks.lock(), killed_at).context("no write was acknowledged before the kill")
    }
}

/// The longest time between two acknowledged writes of which the second came after this moment.
fn longest_gap(acks: &[Instant], after: Instant) -> Option<Duration> {
    let pairs = acks.windows(2).filter(|pair| pair[1] >= after);
    pairs.map(|pair| pair[1] - pair[0]).max()
}

fn of_etcd(etcd: &etcd::Running) -> Writer {
    let (acks, endpoints) = (Acks::default(), etcd.endpoints());
    let noted = Arc::clone(&acks);
    let task = tokio::spawn(async move {
        let mut clients = Vec::new();
        for endpoint in &endpoints {
            let options = ConnectOptions::new().with_connect_timeout(ATTEMPT_MAX);
            clients.push(Client::connect([endpoint], Some(options)).await?.kv_client());
        }
        let (mut at, mut number) = (0, 0_u64);
        loop {
            let put = clients[at].put(format!("f/{number:010}"), "x", None);
            if matches!(timeout(ATTEMPT_MAX, put).await, Ok(Ok(_))) {
                noted.lock().push(Instant::now());
                number += 1;
            } else {
                at = (at + 1) % clients.len();
            }
            wait::pass(PAUSE).await;
        }
    });
    Writer { acks, task }
}

fn of_feira(feira: &feira::Running) -> anyhow::Result<Writer> {
    let mut tool = feira.tool("kv");
    let mut kv = tool
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run feira kv")?;
    let mut questions = kv.stdin.take().context("feira kv has no standard input")?;
    let answers = kv.stdout.take().context("feira kv has no standard output")?;
    let mut answers = BufReader::new(answers).lines();
    let acks = Acks::default();
    let noted = Arc::clone(&acks);
    let task = tokio::spawn(async move {
        // It ends with this task.
        let _kv = kv;
        for number in 0_u64.. {
            questions.write_all(format!("set bench/f/{number:010} x\n").as_bytes()).await?;
            let answer = answers.next_line().await?.context("feira kv has ended")?;
            if is_done(&answer) {
                noted.lock().push(Instant::now());
            }
            wait::pass(PAUSE).await;
        }
        Ok(())
    });
    Ok(Writer { acks, task })
}

/// Whether an answer of `feira kv` says that the record was written.
fn is_done(answer: &str) -> bool {
    let document: Option<Value> = serde_json::from_str(answer).ok();
    document.is_some_and(|document| document.get("status").and_then(Value::as_str) == Some("SUCCESS"))
}

fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_the_longest_that_ends_after_the_kill() {
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let acks = [0, 900, 910, 920, 1_500, 1_510, 1_600].map(at);
        let gap = |after| longest_gap(&acks, at(after)).map(|gap| gap.as_millis());
        assert_eq!(gap(915), Some(580), "the write under way at the kill is one before the gap");
        assert_eq!(gap(1_505), Some(90));
        assert_eq!((gap(2_000), longest_gap(&[], began)), (None, None));
    }

    #[test]
    fn only_a_success_is_an_acknowledged_write() {
        assert!(is_done(r#"{"command":"set bench/f/1","number":1,"status":"SUCCESS","version":1}"#));
        for other in [r#"{"number":2,"status":"ERROR"}"#, r#"{"error":{"exit":3}}"#, "", "SUCCESS"] {
            assert!(!is_done(other), "{other}");
        }
    }
}
