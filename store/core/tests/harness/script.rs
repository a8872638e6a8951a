//! The words of the scripts, and what each does to the cluster. A script begins with `cluster`.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::str::FromStr;

use goldenscript::Context;
use store_core::{Ballot, DiskView, Epoch, Incarnation, Input, Member, MemberChange, NodeId, Offset};

use super::cluster::{Cluster, Envelope, Layout, Link};
use super::node::FOLDERS;
use super::text;

/// More rounds of delivery than any script needs: what goes on for longer never ends.
const ROUNDS_MAX: usize = 1_000;

/// A node as scripts write it: `n1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Name(pub(crate) NodeId);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        let number = text.strip_prefix('n').and_then(|number| number.parse().ok());
        number.map(|number| Name(NodeId(number))).ok_or(format!("{text} is not a node: write n1"))
    }
}

/// A folder of a node as scripts write it: `n1`, and after it was wiped `n1b`, `n1c`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Folder(Member);

impl FromStr for Folder {
    type Err = String;

    fn from_str(text: &str) -> Result<Folder, String> {
        let node = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let (node, letter) = if node.is_empty() { (text, "") } else { text.split_at(node.len()) };
        let Name(node) = node.parse()?;
        let folder = letter.bytes().next().map_or(0, |letter| u64::from(letter - b'a'));
        Ok(Folder(Member { node, incarnation: Incarnation(node.0 + folder * FOLDERS) }))
    }
}

#[derive(Clone, Debug, goldenscript::Command)]
pub(crate) enum Command {
    /// Starts a cluster: cluster 3 spares=1 preferred=n2 append_entries=2 in_flight=4
    Cluster {
        voters: u64,
        #[arg(key)]
        spares: Option<u64>,
        #[arg(key)]
        preferred: Option<Name>,
        #[arg(key)]
        append_entries: Option<usize>,
        #[arg(key)]
        in_flight: Option<u64>,
    },
    /// Replaces the log of a node that is down: plant n2 epochs="1,1,2" ballot=2 committed=1
    /// With believed=3 the node takes its first three entries for committed, although they never were.
    Plant {
        node: Name,
        #[arg(key)]
        epochs: String,
        #[arg(key)]
        ballot: u64,
        #[arg(key)]
        committed: usize,
        #[arg(key)]
        believed: Option<usize>,
    },
    /// Ticks of one node, or of all: tick n1 count=5
    Tick {
        node: Option<Name>,
        #[arg(key)]
        count: Option<u64>,
    },
    /// Ticks one node until it asks for votes.
    Stand(Name),
    /// Delivers what is under way now, on some links or all: deliver from=n1 to=n2 count=1
    Deliver {
        #[arg(key)]
        from: Option<Name>,
        #[arg(key)]
        to: Option<Name>,
        #[arg(key)]
        count: Option<usize>,
    },
    /// Delivers until nothing is under way.
    Settle,
    /// So many times: a tick of every node that is up, then `settle`. Silence it: `(run 100)`.
    Run(u64),
    /// Loses what is under way.
    Drop {
        #[arg(key)]
        from: Option<Name>,
        #[arg(key)]
        to: Option<Name>,
    },
    /// Turns the queue of a link around.
    Reverse {
        #[arg(key)]
        from: Name,
        #[arg(key)]
        to: Name,
    },
    /// Keeps a copy of what is under way, to arrive again late.
    Copy {
        #[arg(key)]
        from: Name,
        #[arg(key)]
        to: Name,
    },
    /// The copies kept arrive at the end of their queues.
    Late,
    /// Cuts a node off from all others, both ways.
    Isolate(Name),
    /// Cuts one direction: cut from=n1 to=n2
    Cut {
        #[arg(key)]
        from: Name,
        #[arg(key)]
        to: Name,
    },
    /// All links work.
    Heal,
    /// The link between two nodes breaks and is opened anew, as the leader sees it.
    Reconnect {
        node: Name,
        peer: Name,
    },
    Crash(Name),
    /// Starts a node; committed: how much of its state survived (all, if not given).
    Restart {
        node: Name,
        #[arg(key)]
        committed: Option<u64>,
    },
    /// The disk of a node that is down loses the end of its log: lose-tail n2 3
    #[command(name = "lose-tail")]
    LoseTail {
        node: Name,
        count: usize,
    },
    /// Writes of this node wait for `persist`.
    Slow(Name),
    Fast(Name),
    /// The database of this node takes nothing from now on, and again.
    Stall(Name),
    Unstall(Name),
    Persist {
        node: Name,
        count: Option<usize>,
    },
    Put {
        node: Name,
        labels: Vec<String>,
    },
    Read(Name),
    Transfer {
        node: Name,
        to: Option<Name>,
    },
    #[command(name = "hold-commit")]
    HoldCommit(Name),
    #[command(name = "release-commit")]
    ReleaseCommit(Name),
    /// Purges the log behind a snapshot: purge n1 5 snapshot=7
    Purge {
        node: Name,
        up_to: u64,
        #[arg(key)]
        snapshot: Option<u64>,
    },
    /// The snapshot that a node wants arrives.
    Fetch(Name),
    /// The installation of a snapshot is done.
    Install(Name),
    /// Asks a leader to add a learner: add n1 n4
    Add {
        node: Name,
        who: Folder,
    },
    Promote {
        node: Name,
        who: Folder,
    },
    Remove {
        node: Name,
        who: Folder,
    },
    /// replace n1 n3 n3b
    Replace {
        node: Name,
        old: Folder,
        new: Folder,
    },
    /// The applier of a node comes by a checkpoint: checkpoint n1 2 11
    Checkpoint {
        node: Name,
        offset: u64,
        state_hash: u64,
        #[arg(key)]
        version: Option<u32>,
    },
    /// An operator says that the table of a node is wrong.
    Quarantine(Name),
    /// A read of the table of a node finds damage.
    Damage(Name),
    /// A quarantined node has fetched a snapshot of this offset.
    Beside {
        node: Name,
        offset: u64,
    },
    /// Its table is that snapshot, with this hash at this checkpoint: released n3 2 11
    Released {
        node: Name,
        offset: u64,
        state_hash: u64,
    },
    /// A node that is down gets an empty folder, which is another member: n3b.
    Wipe(Name),
    /// The membership in force on every node.
    Members,
    /// Every node's role and offsets.
    Status,
    /// Every node's log: what is on disk before the bar.
    Log,
    /// What is under way.
    Network,
}

/// Runs the words of one script.
#[derive(Default)]
pub(crate) struct Runner {
    cluster: Option<Cluster>,
    kept: Vec<(Link, Vec<Envelope>)>,
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Result<String, Box<dyn Error>> {
        if let Command::Cluster { voters, spares, preferred, append_entries, in_flight } = command {
            let mut layout = Layout::of(*voters);
            layout.spares = spares.unwrap_or(0);
            layout.preferred = preferred.map(|name| name.0);
            layout.append_entries = append_entries.unwrap_or(layout.append_entries);
            layout.in_flight = in_flight.unwrap_or(layout.in_flight);
            let mut cluster = Cluster::new(layout);
            cluster.trace = Some(Vec::new());
            self.cluster = Some(cluster);
            return Ok(String::new());
        }
        let mut cluster = self.cluster.take().ok_or("a script begins with `cluster`")?;
        let shown = self.perform(&mut cluster, command);
        let mut output = String::new();
        for line in cluster.trace.replace(Vec::new()).unwrap_or_default() {
            writeln!(output, "{line}")?;
        }
        self.cluster = Some(cluster);
        output.push_str(&shown?);
        Ok(output)
    }
}

impl Runner {
    fn perform(&mut self, cluster: &mut Cluster, command: &Command) -> Result<String, Box<dyn Error>> {
        match command {
            Command::Copy { .. } | Command::Late | Command::Drop { .. } | Command::Reverse { .. } => {
                self.disturb(cluster, command);
            }
            Command::Deliver { .. } | Command::Settle | Command::Run(_) => go_on(cluster, command)?,
            Command::Tick { .. } | Command::Stand(_) => {
                pass_time(cluster, command)?;
            }
            Command::Isolate(_) | Command::Cut { .. } | Command::Heal | Command::Reconnect { .. } => {
                link(cluster, command);
            }
            Command::Add { .. }
            | Command::Promote { .. }
            | Command::Remove { .. }
            | Command::Replace { .. } => change_members(cluster, command),
            Command::Checkpoint { .. }
            | Command::Quarantine(_)
            | Command::Damage(_)
            | Command::Beside { .. }
            | Command::Released { .. } => super::tables::tell(cluster, command),
            Command::Members => return Ok(members(cluster)),
            Command::Status => return Ok(status(cluster)),
            Command::Log => return Ok(logs(cluster)),
            Command::Network => return Ok(network(cluster)),
            Command::Put { .. } | Command::Read(_) | Command::Transfer { .. } => ask(cluster, command),
            Command::HoldCommit(name) => cluster.step(name.0, Input::HoldCommit { hold: true }, Vec::new()),
            Command::ReleaseCommit(name) => {
                cluster.step(name.0, Input::HoldCommit { hold: false }, Vec::new());
            }
            _ => machine(cluster, command)?,
        }
        Ok(String::new())
    }

    /// What networks do to messages.
    fn disturb(&mut self, cluster: &mut Cluster, command: &Command) {
        match command {
            Command::Copy { from, to } => {
                let link = (from.0, to.0);
                let queue = cluster.network.get(&link).cloned().unwrap_or_default();
                self.kept.push((link, queue.into()));
            }
            Command::Late => {
                for (link, envelopes) in self.kept.drain(..) {
                    envelopes.into_iter().for_each(|envelope| cluster.post(link, envelope));
                }
            }
            Command::Drop { from, to } => {
                for link in links(cluster, *from, *to) {
                    for envelope in cluster.network.remove(&link).unwrap_or_default() {
                        let said = text::message(&envelope.message);
                        cluster.note(|| format!("dropped {}→{}: {said}", link.0, link.1));
                    }
                }
            }
            Command::Reverse { from, to } => {
                let queue = cluster.network.entry((from.0, to.0)).or_default();
                queue.make_contiguous().reverse();
            }
            _ => unreachable!("perform hands over only these"),
        }
    }
}

/// Messages, and time with them.
fn go_on(cluster: &mut Cluster, command: &Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Deliver { from, to, count } => {
            for link in links(cluster, *from, *to) {
                let queued = cluster.network[&link].len();
                for _ in 0..queued.min(count.unwrap_or(queued)) {
                    cluster.deliver(link, 0);
                }
            }
        }
        Command::Settle => settle(cluster)?,
        Command::Run(rounds) => {
            for _ in 0..*rounds {
                for id in cluster.ids_up() {
                    cluster.tick(id, patience(id));
                }
                settle(cluster)?;
            }
        }
        _ => unreachable!("perform hands over only these"),
    }
    Ok(())
}

fn settle(cluster: &mut Cluster) -> Result<(), Box<dyn Error>> {
    for _ in 0..ROUNDS_MAX {
        let busy = cluster.busy_links();
        if busy.is_empty() {
            return Ok(());
        }
        for link in busy {
            for _ in 0..cluster.network[&link].len() {
                cluster.deliver(link, 0);
            }
        }
    }
    Err("it does not settle".into())
}

fn pass_time(cluster: &mut Cluster, command: &Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Tick { node, count } => {
            for _ in 0..count.unwrap_or(1) {
                let ids = node.map_or(cluster.ids_up(), |name| vec![name.0]);
                ids.into_iter().for_each(|id| cluster.tick(id, patience(id)));
            }
        }
        Command::Stand(name) => {
            let epoch = cluster.nodes[&name.0].up().view();
            for _ in 0..ROUNDS_MAX {
                cluster.tick(name.0, patience(name.0));
                if cluster.nodes[&name.0].up().view() != epoch {
                    return Ok(());
                }
            }
            return Err("it does not stand".into());
        }
        _ => unreachable!("perform hands over only these"),
    }
    Ok(())
}

/// The randomness that scripts give to a node's timers: n1 has the shortest.
fn patience(node: NodeId) -> u64 {
    5 * (node.0 - 1)
}

fn links(cluster: &Cluster, from: Option<Name>, to: Option<Name>) -> Vec<Link> {
    let wanted = |link: &Link| from.is_none_or(|f| f.0 == link.0) && to.is_none_or(|t| t.0 == link.1);
    cluster.busy_links().into_iter().filter(wanted).collect()
}

fn link(cluster: &mut Cluster, command: &Command) {
    match command {
        Command::Isolate(name) => {
            for other in cluster.ids() {
                cluster.cut.extend([(name.0, other), (other, name.0)]);
            }
        }
        Command::Cut { from, to } => {
            cluster.cut.insert((from.0, to.0));
        }
        Command::Heal => cluster.cut = BTreeSet::new(),
        Command::Reconnect { node, peer } => cluster.reconnect(node.0, peer.0),
        _ => unreachable!("perform hands over only these"),
    }
}

fn ask(cluster: &mut Cluster, command: &Command) {
    match command {
        Command::Put { node, labels } => cluster.propose(node.0, labels),
        Command::Read(name) => {
            cluster.read(name.0);
        }
        Command::Transfer { node, to } => {
            cluster.step(node.0, Input::TransferLeadership { to: to.map(|name| name.0) }, Vec::new());
        }
        _ => unreachable!("perform hands over only these"),
    }
}

fn change_members(cluster: &mut Cluster, command: &Command) {
    let (node, change) = match command {
        Command::Add { node, who } => (node, MemberChange::AddLearner(who.0)),
        Command::Promote { node, who } => (node, MemberChange::Promote(who.0)),
        Command::Remove { node, who } => (node, MemberChange::Remove(who.0)),
        Command::Replace { node, old, new } => (node, MemberChange::Replace { old: old.0, new: new.0 }),
        _ => unreachable!("perform hands over only these"),
    };
    cluster.change_members(node.0, change);
}

/// `n4b: voters n1 n2 n3 learners n4b`
fn members(cluster: &Cluster) -> String {
    let line = |node: &super::node::Node| {
        let log = if node.is_up() { &node.memory } else { &node.disk.log };
        let own = text::member(node.config.member);
        let members = node.membership_in(log).map_or("none".to_owned(), |m| text::membership(&m));
        format!("{own}: {members}\n")
    };
    cluster.nodes.values().map(line).collect()
}

/// What happens to a machine and its disk.
fn machine(cluster: &mut Cluster, command: &Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Plant { node, epochs, ballot, committed, believed } => {
            let epochs: Vec<u64> = epochs.split(',').map(str::parse).collect::<Result<_, _>>()?;
            let ballot = Ballot { epoch: Epoch(*ballot), voted_for: None };
            cluster.plant(node.0, &epochs, ballot, *committed);
            let node = cluster.node(node.0);
            let believed = believed.unwrap_or(*committed);
            node.applied = node.disk.log.items[..believed].to_vec();
        }
        Command::Crash(name) => cluster.crash(name.0),
        Command::Wipe(name) => cluster.wipe(name.0),
        Command::Restart { node, committed } => {
            let node = cluster.node(node.0);
            node.restart(Offset(committed.unwrap_or(node.applied.len() as u64)));
        }
        Command::LoseTail { node, count } => {
            let node = cluster.node(node.0);
            let committed = Offset(node.applied.len() as u64);
            let lost = node.lose_tail(*count, committed);
            cluster.note(|| format!("lost {lost} entries"));
        }
        Command::Slow(name) => cluster.node(name.0).slow = true,
        Command::Fast(name) => {
            cluster.node(name.0).slow = false;
            while cluster.persist(name.0, true) {}
        }
        Command::Stall(name) => cluster.node(name.0).stalled = true,
        Command::Unstall(name) => {
            let node = cluster.node(name.0);
            node.stalled = false;
            let up_to = Offset(node.applied.len() as u64);
            cluster.step(name.0, Input::Applied { up_to }, Vec::new());
        }
        Command::Persist { node, count } => {
            for _ in 0..count.unwrap_or(usize::MAX) {
                if !cluster.persist(node.0, true) {
                    break;
                }
            }
        }
        Command::Purge { node, up_to, snapshot } => {
            cluster.purge(node.0, Offset(*up_to), Offset(snapshot.unwrap_or(*up_to)));
        }
        Command::Fetch(name) => {
            let fetched = cluster.fetch(name.0);
            return fetched.then_some(()).ok_or("there is nothing to fetch".into());
        }
        Command::Install(name) => {
            let installed = cluster.install(name.0);
            return installed.then_some(()).ok_or("there is nothing to install".into());
        }
        _ => unreachable!("perform hands over only these"),
    }
    Ok(())
}

/// `n1 Leader e2 last e2:3 committed 3 durable 3 | n2 streaming e2:3, n3 probing e1:1`
fn status(cluster: &Cluster) -> String {
    let mut lines = String::new();
    for (id, node) in &cluster.nodes {
        let Some(replica) = &node.replica else {
            let why = if node.fatal { "stopped for good" } else { "down" };
            lines += &format!("{id} {why}\n");
            continue;
        };
        let view = replica.view();
        let leader = view.leader.map_or(String::new(), |leader| format!(" of {leader}"));
        let (last, committed, durable) = (replica.last(), replica.committed(), replica.durable());
        let maybe_lost_tail = if replica.maybe_lost_tail() { " suspect" } else { "" };
        let quarantined = if replica.quarantined() { " quarantined" } else { "" };
        let disk = disk(replica.disk());
        let part = match node.config.member {
            member if replica.membership().is_voter(member) => "",
            member if replica.membership().contains(member) => " learner",
            _ => " outside",
        };
        let feeds = if replica.feeds_removed() { " feeds removed" } else { "" };
        lines += &format!(
            "{id} {:?} {}{leader} last {last} committed {committed} durable {durable}{maybe_lost_tail}{quarantined}{disk}{part}{feeds}",
            view.role, view.epoch
        );
        let peers: Vec<_> =
            replica.peers().map(|peer| format!("{} {} {}", peer.node, peer.feed, peer.durable)).collect();
        let bar = if peers.is_empty() { "" } else { " | " };
        lines += &format!("{bar}{}\n", peers.join(", "));
    }
    lines
}

/// ` disk hangs: Log`, and what comes of it.
fn disk(disk: DiskView) -> String {
    match disk.hangs {
        Some(hang) if disk.writes_wait => format!(" disk hangs: {hang:?}, writes wait"),
        Some(hang) => format!(" disk hangs: {hang:?}"),
        None if disk.unfit_ticks > 0 => format!(" unfit for {}", disk.unfit_ticks),
        None => String::new(),
    }
}

/// `n1 after 0: 1:members 2:- | 2:a  applied 2`: what is on disk, then what is being written.
fn logs(cluster: &Cluster) -> String {
    let mut lines = String::new();
    for (id, node) in &cluster.nodes {
        let log = if node.is_up() { &node.memory } else { &node.disk.log };
        let on_disk =
            log.items.iter().filter(|item| node.disk.log.get(item.position.offset) == Some(item)).count();
        let (written, writing) = log.items.split_at(on_disk);
        let bar = if writing.is_empty() { "" } else { " | " };
        let base = if log.base.offset.0 == 0 { String::new() } else { format!(" after {}", log.base) };
        lines += &format!(
            "{id}{base}: {}{bar}{}; applied {}\n",
            text::items(written),
            text::items(writing),
            node.applied.len()
        );
    }
    lines
}

fn network(cluster: &Cluster) -> String {
    let mut lines = String::new();
    for (link, queue) in &cluster.network {
        for envelope in queue {
            lines += &format!("{}→{}: {}\n", link.0, link.1, text::message(&envelope.message));
        }
    }
    lines
}
