//! The faults that a run may meet, and the schedule of those that it does: data, made from the seed before the run
//! begins, so that a failing run can be tried again with fewer of them.

use crate::time::{MS, Micros, SECOND};

/// The kinds of faults. A seed chooses some; each seed's kinds are its *swarm*.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Messages take long, each differently.
    Delay,
    /// Messages are lost.
    Loss,
    /// Messages come twice.
    Duplication,
    /// Messages overtake each other.
    Reorder,
    /// The nodes are split in two.
    Partition,
    /// One way between two nodes is cut.
    OneWay,
    /// All that is for or from some nodes waits; they are released one by one, in another order.
    Clog,
    /// `kill -9` of a node.
    Kill,
    /// `kill -9` or a power loss inside a write to the disk.
    DieWriting,
    /// A power loss of one node.
    PowerLoss,
    /// All nodes at once, killed or without power.
    AllAtOnce,
    /// A node stands still for longer than an election.
    Pause,
    /// A node's disk takes long.
    SlowDisk,
    /// Nothing that a node hands to its disk (log, ballot, database, or all of them) comes back for a while.
    DiskHangs,
    /// A sync fails.
    SyncFails,
    /// A write finds no room, or the disk fills up.
    DiskFull,
    /// A bit of the victim's files flips.
    BitRot,
    /// A piece of one of the victim's files is what it was some time ago.
    OldChunk,
    /// The victim's disk is empty.
    Wipe,
    /// A wall clock jumps.
    ClockJump,
    /// A leader is asked to transfer leadership.
    TransferLeadership,
    /// A leader keeps its commit orders back for a while.
    HoldCommit,
    /// Clients cannot reach a node.
    ClientCut,
    /// A record in the victim's table is changed behind the engine's back.
    WrongState,
    /// The operator wants other members: one more, one less, one in another's place, or something that makes no sense.
    MemberChange,
    /// Strangers without a key see what nodes say, and misuse it.
    Strangers,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 26] = [
        Kind::Delay,
        Kind::Loss,
        Kind::Duplication,
        Kind::Reorder,
        Kind::Partition,
        Kind::OneWay,
        Kind::Clog,
        Kind::Kill,
        Kind::DieWriting,
        Kind::PowerLoss,
        Kind::AllAtOnce,
        Kind::Pause,
        Kind::SlowDisk,
        Kind::DiskHangs,
        Kind::SyncFails,
        Kind::DiskFull,
        Kind::BitRot,
        Kind::OldChunk,
        Kind::Wipe,
        Kind::ClockJump,
        Kind::TransferLeadership,
        Kind::HoldCommit,
        Kind::ClientCut,
        Kind::WrongState,
        Kind::MemberChange,
        Kind::Strangers,
    ];

    /// Its word in reports and arguments.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Delay => "delay",
            Kind::Loss => "loss",
            Kind::Duplication => "duplication",
            Kind::Reorder => "reorder",
            Kind::Partition => "partition",
            Kind::OneWay => "one-way",
            Kind::Clog => "clog",
            Kind::Kill => "kill",
            Kind::DieWriting => "die-writing",
            Kind::PowerLoss => "power-loss",
            Kind::AllAtOnce => "all-at-once",
            Kind::Pause => "pause",
            Kind::SlowDisk => "slow-disk",
            Kind::DiskHangs => "disk-hangs",
            Kind::SyncFails => "sync-fails",
            Kind::DiskFull => "disk-full",
            Kind::BitRot => "bit-rot",
            Kind::OldChunk => "old-chunk",
            Kind::Wipe => "wipe",
            Kind::ClockJump => "clock-jump",
            Kind::TransferLeadership => "transfer-leadership",
            Kind::HoldCommit => "hold-commit",
            Kind::ClientCut => "client-cut",
            Kind::WrongState => "wrong-state",
            Kind::MemberChange => "member-change",
            Kind::Strangers => "strangers",
        }
    }

    /// The kind of this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// How often it comes, compared with others.
    const fn weight(self) -> u32 {
        match self {
            Kind::AllAtOnce | Kind::HoldCommit | Kind::BitRot => 2,
            Kind::Wipe => 1,
            Kind::OldChunk => 3,
            _ => 4,
        }
    }

    /// It may cost a node for good: at most once a run, and only the victim.
    const fn is_damage(self) -> bool {
        matches!(self, Kind::BitRot | Kind::OldChunk | Kind::Wipe)
    }
}

/// One fault of a schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// When it comes.
    pub at: Micros,
    /// How long it lasts, if it lasts; of crashes, how long the node is down.
    pub lasts: Micros,
    /// What.
    pub kind: Kind,
    /// Whom, as an index of nodes.
    pub node: usize,
    /// What else the kind needs to know: any number.
    pub dice: u64,
}

/// Which kinds a run may meet.
pub type Swarm = Vec<Kind>;

/// Chooses a swarm: one kind alone, any subset, or all.
pub(crate) fn choose(random: &mut fastrand::Rng) -> Swarm {
    match random.u32(..100) {
        0..25 => vec![Kind::ALL[random.usize(..Kind::ALL.len())]],
        25..75 => Kind::ALL.into_iter().filter(|_| random.u32(..100) < 40).collect(),
        _ => Kind::ALL.to_vec(),
    }
}

/// The schedule of one run, by time; the victim is one of the initial members.
pub(crate) fn schedule(
    random: &mut fastrand::Rng,
    swarm: &Swarm,
    (initial_members, nodes): (usize, usize),
    until: Micros,
) -> Vec<Fault> {
    let victim = random.usize(..initial_members);
    let pause = random.u64(500..4_000) * MS;
    let (mut at, mut faults, mut damaged) = (SECOND, Vec::new(), false);
    let total: u32 = swarm.iter().map(|kind| kind.weight()).sum();
    if total == 0 {
        return faults;
    }
    loop {
        at += random.u64(pause / 4..pause * 2);
        if at >= until {
            return faults;
        }
        let mut left = random.u32(..total);
        let kind = *swarm
            .iter()
            .find(|kind| match left.checked_sub(kind.weight()) {
                Some(rest) => {
                    left = rest;
                    false
                }
                None => true,
            })
            .expect("the weights add up to the total");
        if kind.is_damage() && std::mem::replace(&mut damaged, true) {
            continue;
        }
        let node = if kind.is_damage() || kind == Kind::WrongState { victim } else { random.usize(..nodes) };
        let lasts = lasting(random, kind).min(until - at);
        faults.push(Fault { at, lasts, kind, node, dice: random.u64(..) });
    }
}

fn lasting(random: &mut fastrand::Rng, kind: Kind) -> Micros {
    if random.u32(..6) == 0 && matches!(kind, Kind::Kill | Kind::PowerLoss | Kind::Partition | Kind::Clog) {
        // Long enough to need a snapshot afterwards.
        return random.u64(5_000..15_000) * MS;
    }
    match kind {
        Kind::Delay | Kind::Loss | Kind::Duplication | Kind::Reorder => random.u64(500..6_000) * MS,
        Kind::Pause => random.u64(700..3_000) * MS,
        Kind::DiskHangs => random.u64(700..8_000) * MS,
        Kind::Kill | Kind::DieWriting | Kind::PowerLoss | Kind::AllAtOnce | Kind::SyncFails => {
            random.u64(20..3_000) * MS
        }
        Kind::BitRot | Kind::OldChunk | Kind::Wipe => random.u64(500..5_000) * MS,
        _ => random.u64(300..4_000) * MS,
    }
}
