//! `feira trace`: the protocol as it happens, of all nodes in one order ([`merge`]), a line for each event ([`mod@line`]).
//!
//! Promises: as [`merge`], for what comes within [`HORIZON`] (a sending that a slow network brings later stands after its
//! receipt); a node that cannot be seen is named, and so is how many of its events are lost; without
//! `--heartbeats` what says nothing new is left out: heartbeats, and acks of nothing more. Nodes record only while somebody
//! looks, and in a rehearsal from their start.

pub mod line;
pub mod merge;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use proto::store::{TraceDirection, TraceEvent, TraceKind, TraceRequest, TraceResponse};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Streaming;

use self::merge::Place;
use crate::args::Trace as TraceArgs;
use crate::config::load::Loaded;
use crate::config::shape::Replica;
use crate::failure::{Failure, Kind};
use crate::reach::nodes;
use crate::repl::mode::Interrupts;
use crate::show::answer::Answer;
use crate::show::out::Out;

/// An event is shown when so much time has passed in which an earlier one could have come.
const HORIZON: Duration = Duration::from_millis(500);
/// Between two looks for what can be shown.
const LOOK: Duration = Duration::from_millis(50);
/// Between two attempts to see a node that is away.
const AGAIN: Duration = Duration::from_millis(200);
/// A node begins to answer within this.
const BEGIN_MAX: Duration = Duration::from_secs(5);
/// Batches between the nodes' streams and the order.
const BUFFERED: usize = 64;

/// News of one node.
enum News {
    /// It is seen from now on.
    Seen,
    /// It is not, and why.
    Away(Failure),
    Batch(TraceResponse),
}

/// Shows events until the time is over, or Ctrl-C.
///
/// # Errors
/// There is no such node, no key, or no node answers at the start.
pub async fn run(loaded: &Loaded, args: &TraceArgs, out: &Out) -> Result<(), Failure> {
    let interrupts = Interrupts::of(true);
    let (config, _) = nodes::of_group(&loaded.config).await;
    let named: BTreeSet<u64> = args.nodes.iter().copied().collect();
    for id in &named {
        nodes::node_of(&config, *id)?;
    }
    let is_chosen = |replica: &Replica<'_>| named.is_empty() || named.contains(&replica.node.id);
    let chosen: Vec<Replica<'_>> = config.store.replicas().into_iter().filter(is_chosen).collect();
    // Whoever has no key is told at once.
    nodes::operator(loaded, chosen[0].node)?;
    let (sender, news) = mpsc::channel(BUFFERED);
    let watching = chosen.iter().map(|replica| watch(loaded, *replica, sender.clone()));
    let watching = futures::future::join_all(watching);
    let end = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    tokio::select! {
        _ = watching => Ok(()),
        shown = Screen::new(args.heartbeats, config.store.shard_count() > 1, out).show(news, chosen.len(), end, interrupts) => shown,
    }
}

/// Sees one replica for ever.
async fn watch(loaded: &Loaded, replica: Replica<'_>, news: mpsc::Sender<(Place, News)>) {
    let node = replica.node;
    let at = Place { node: node.id, shard: replica.shard };
    let mut has_restarted = false;
    loop {
        let ended = async {
            let begun = begin(loaded, replica, has_restarted).await;
            // It did not answer: what answers next has just begun, and may have recorded since.
            has_restarted = begun.is_err();
            let mut events = begun?;
            let _ = news.send((at, News::Seen)).await;
            loop {
                match events.message().await {
                    Ok(Some(batch)) => drop(news.send((at, News::Batch(batch))).await),
                    Ok(None) => return Err(Failure::unreachable(format!("node {} stops", node.id))),
                    Err(status) => return Err(Failure::of_status(&status)),
                }
            }
        };
        let why: Result<(), Failure> = ended.await;
        if let Err(why) = why
            && news.send((at, News::Away(why))).await.is_err()
        {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn begin(
    loaded: &Loaded,
    replica: Replica<'_>,
    from_start: bool,
) -> Result<Streaming<TraceResponse>, Failure> {
    let node = replica.node;
    let mut operator = nodes::operator(loaded, node)?;
    let begun = tokio::time::timeout(BEGIN_MAX, async {
        let mut events =
            operator.trace(TraceRequest { route: nodes::route(replica), from_start }).await?.into_inner();
        // The first says only that it has begun.
        events.message().await?;
        Ok(events)
    });
    match begun.await {
        Ok(Ok(events)) => Ok(events),
        Ok(Err(status)) => Err(Failure::of_status(&status)),
        Err(_) => Err(Failure::unreachable(format!("the node at {} does not answer", node.reached_at()))),
    }
}

/// What is shown.
struct Screen<'a> {
    out: &'a Out,
    heartbeats: bool,
    is_ring: bool,
    merge: merge::Merge,
    /// Replicas that are away, and whether all were at the start.
    away: HashMap<Place, String>,
    seen: bool,
    /// The last ack that was shown, by its two ends and whether it was sent or taken.
    acks: HashMap<(Place, u64, bool), TraceEvent>,
}

impl<'a> Screen<'a> {
    fn new(heartbeats: bool, is_ring: bool, out: &'a Out) -> Screen<'a> {
        let (merge, away, acks) = (merge::Merge::default(), HashMap::new(), HashMap::new());
        Screen { out, heartbeats, is_ring, merge, away, seen: false, acks }
    }

    async fn show(
        mut self,
        mut news: mpsc::Receiver<(Place, News)>,
        replicas: usize,
        end: Option<Instant>,
        mut interrupts: Interrupts,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let ms = |at: Instant| u64::try_from((at - start).as_millis()).unwrap_or(u64::MAX);
        loop {
            let timer = tokio::time::sleep(LOOK);
            let interrupted = tokio::select! {
                Some((at, news)) = news.recv() => {
                    self.hear(at, ms(Instant::now()), news, replicas)?;
                    false
                }
                () = timer => false,
                () = interrupts.next() => true,
            };
            let now = Instant::now();
            let over = interrupted || end.is_some_and(|end| now >= end);
            let before =
                if over { u64::MAX } else { ms(now.checked_sub(HORIZON).unwrap_or(start).max(start)) };
            while let Some((at, event)) = self.merge.next(before) {
                self.event(at, &event);
            }
            self.out.check()?;
            if over || self.out.is_closed() {
                return Ok(());
            }
        }
    }

    /// A replica in words.
    fn name(&self, at: Place) -> String {
        let of = if self.is_ring { format!(" in shard {}", at.shard) } else { String::new() };
        format!("node {}{of}", at.node)
    }

    fn hear(&mut self, at: Place, now_ms: u64, news: News, replicas: usize) -> Result<(), Failure> {
        match news {
            News::Seen => {
                if self.away.remove(&at).is_some() {
                    self.out.say(&format!("the trace of {} is up again", self.name(at)));
                }
                self.seen = true;
            }
            News::Away(why) => {
                let is_new = self.away.insert(at, why.message.clone()).as_ref() != Some(&why.message);
                let fatal = !self.seen && self.away.len() == replicas;
                if fatal || matches!(why.kind, Kind::Usage) {
                    return Err(why);
                }
                if is_new {
                    self.out.insist(&format!("the trace of {} is down: {}", self.name(at), why.message));
                }
            }
            News::Batch(batch) => {
                if batch.lost > 0 {
                    self.out.insist(&format!("{}: {} events are lost", self.name(at), batch.lost));
                }
                for event in batch.events {
                    self.merge.add(at, now_ms, event);
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, at: Place, event: &TraceEvent) {
        if self.heartbeats || self.says_something(at, event) {
            let line = line::line(at, self.is_ring, event);
            self.out.answer(&Answer::line(line, line::document(at, event)));
        }
    }

    /// Whether it is no heartbeat, and no ack of what the one before it acknowledged.
    fn says_something(&mut self, at: Place, event: &TraceEvent) -> bool {
        match event.kind() {
            TraceKind::Heartbeat => false,
            TraceKind::Ack => {
                let ends = (at, event.peer, event.direction() == TraceDirection::Sent);
                let said =
                    TraceEvent { number: 0, wall_us: 0, round: 0, detail: String::new(), ..event.clone() };
                self.acks.insert(ends, said.clone()).as_ref() != Some(&said)
            }
            _ => true,
        }
    }
}
