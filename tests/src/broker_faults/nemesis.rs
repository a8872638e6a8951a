//! The source of harm to the broker and to what connects it, which it takes back. The harm and its times are chosen by the seed.

use std::fmt;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::report::PORTALS;
use super::wire::Wire;
use crate::cluster::Cluster;
use crate::mosquitto::Mosquitto;
use crate::wait;

/// One kind of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of the broker, and a start.
    Kill,
    /// SIGSTOP of the broker for 0.2 to 5 s, then SIGCONT.
    Stop,
    /// Connections of portals and nodes to the broker are dropped.
    Drop,
    /// They are silent for a time.
    Silence,
    /// SIGSTOP of one portal for a time, then SIGCONT: what the bus and the store told it meanwhile comes at once.
    StopPortal,
}

/// All of them.
pub const ALL: [Fault; 5] = [Fault::Kill, Fault::Stop, Fault::Drop, Fault::Silence, Fault::StopPortal];

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Fault::Kill => "kill",
            Fault::Stop => "stop",
            Fault::Drop => "drop",
            Fault::Silence => "silence",
            Fault::StopPortal => "stop-portal",
        })
    }
}

/// Chooses and does harm.
#[derive(Debug)]
pub struct Nemesis {
    rng: fastrand::Rng,
    /// Faults that are left of this round: each comes once a round.
    left: Vec<Fault>,
}

/// What was harmed.
#[derive(Clone, Copy, Debug)]
pub struct Harm {
    /// How.
    pub fault: Fault,
    /// For how long.
    pub lasted: Duration,
    /// Connections that were dropped or silent.
    pub connections: u64,
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Harm { fault, lasted, connections } = self;
        write!(f, "{fault} for {} ms, {connections} connections", lasted.as_millis())
    }
}

impl Nemesis {
    /// By this seed.
    #[must_use]
    pub fn new(seed: u64) -> Nemesis {
        Nemesis { rng: fastrand::Rng::with_seed(seed), left: Vec::new() }
    }

    fn time(&mut self, ms: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(ms))
    }

    /// Lets things be for a while.
    pub async fn calm(&mut self) {
        wait::pass(self.time(300..1_500)).await;
    }

    /// Does harm, and takes it back.
    pub async fn strike(&mut self, broker: &mut Mosquitto, wire: &Wire, cluster: &Cluster) -> Harm {
        if self.left.is_empty() {
            self.left = ALL.to_vec();
            self.rng.shuffle(&mut self.left);
        }
        let fault = self.left.pop().unwrap_or(Fault::Kill);
        let lasted = self.time(match fault {
            Fault::Kill => 50..1_500,
            Fault::Stop => 200..5_000,
            Fault::Drop => 0..1,
            Fault::Silence => 200..3_000,
            Fault::StopPortal => 50..1_500,
        });
        let mut connections = 0;
        match fault {
            Fault::Kill => {
                broker.kill();
                wait::pass(lasted).await;
                broker.start_again();
            }
            Fault::Stop => {
                let process = broker.process.as_ref().expect("the broker runs");
                process.signal(Signal::SIGSTOP);
                wait::pass(lasted).await;
                process.signal(Signal::SIGCONT);
            }
            Fault::Drop => connections = wire.drop_some(|| self.rng.bool()),
            Fault::Silence => {
                connections = wire.hold_some(|| self.rng.bool());
                wait::pass(lasted).await;
                wire.release();
            }
            Fault::StopPortal => {
                let portal = self.rng.choice(PORTALS).expect("there are portals");
                cluster.signal(portal, Signal::SIGSTOP);
                wait::pass(lasted).await;
                cluster.signal(portal, Signal::SIGCONT);
            }
        }
        Harm { fault, lasted, connections }
    }
}
