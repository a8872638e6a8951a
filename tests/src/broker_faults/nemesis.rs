//! The source of harm to the broker and to what connects it, which it takes back. The harm and its times are chosen by the seed.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::asking::Asker;
use super::duel::duels;
use super::harm::{ALL, Fault, Harm};
use super::report::PORTALS;
use super::shared::Shared;
use super::wire::Wire;
use crate::cluster::Cluster;
use crate::mosquitto::Mosquitto;
use crate::wait;

/// Chooses and does harm.
#[derive(Debug)]
pub struct Nemesis {
    rng: fastrand::Rng,
    /// Faults that are left of this round: each comes once a round.
    left: Vec<Fault>,
}

/// Who writes in duels, at both administrators' portals.
pub type Duellist<'d> = (&'d Asker, &'d Shared);

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
    ///
    /// # Panics
    /// The broker does not start again.
    pub async fn strike(
        &mut self,
        broker: &mut Mosquitto,
        wire: &Wire,
        cluster: &Cluster,
        duellist: Duellist<'_>,
    ) -> Harm {
        if self.left.is_empty() {
            self.left = ALL.to_vec();
            self.rng.shuffle(&mut self.left);
        }
        let fault = self.left.pop().unwrap_or(Fault::Kill);
        let lasted = self.time(match fault {
            Fault::Kill => 50..4_000,
            Fault::Stop => 200..5_000,
            Fault::Drop | Fault::Duel => 0..1,
            Fault::Silence => 200..3_000,
            Fault::StopPortal => 50..1_500,
        });
        let (mut connections, begun) = (0, Instant::now());
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
            Fault::Duel => Box::pin(duels(cluster, duellist.0, duellist.1, &mut self.rng)).await,
        }
        Harm { fault, lasted: begun.elapsed(), connections }
    }
}
