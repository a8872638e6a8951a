//! A broker at its worst, over real processes: three store nodes, two administrators' and three shoppers' portals, a real mosquitto with a
//! queue of one, and a wire to it that breaks (`cargo xtask broker-faults`).
//!
//! ```text
//!   staff ── gRPC, HTTP ──► admin portals ─┬─────────────► store nodes
//!   shoppers ── gRPC, HTTP ► client portals ┘                  │ changes, proofs
//!       └────── MQTT ──► mosquitto ◄── wire: dropped, silent ◄─┘ (and portals)
//!                        killed, stopped, beset by strangers
//! ```
//!
//! What callers see is judged from outside ([`judge`]): no hit is older than the lease, no session misses what it has seen or written, no
//! order has a price that was not the product's, each request has one effect, stock is conserved, and what fails, fails as documented.
//!
//! Leaves out: faults of the store ([`crate::chaos`]).

pub mod asking;
pub mod books;
pub mod duel;
pub mod harm;
pub mod journal;
pub mod judge;
pub mod nemesis;
pub mod report;
pub mod shared;
pub mod shopper;
pub mod staff;
pub mod stranger;
pub mod tally;
pub mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use portal::session::KeptSession;
use portal::transport::mqtt_calling::Place;
use proto::portal::PortalStatusResponse;
use tokio::task::JoinSet;

use self::asking::Asker;
use self::harm::ALL;
use self::nemesis::Nemesis;
use self::report::{Counted, PORTALS, Report};
use self::shared::Shared;
use self::shopper::Shopper;
use self::staff::Staff;
use self::stranger::Taken;
use self::wire::Wire;
use crate::cluster::{Cluster, Options, PATIENCE};
use crate::mosquitto::Mosquitto;
use crate::wait;

/// The bound on staleness, as configured by default.
pub const LEASE: Duration = Duration::from_secs(1);
/// What the broker is told besides what is shipped: it drops what is more than a few messages for one client, and takes from strangers
/// what portals and callers do not.
const BROKER: [&str; 3] = ["max_queued_messages 1", "max_inflight_messages 4", "max_packet_size 4194304"];
/// Staff of each portal's number: of two, one is in a session; of the next two, which mostly look, too.
const STAFF: usize = 4;
const STRANGERS: usize = 2;

/// What to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program.
    pub feira: PathBuf,
    /// Harm is begun for so long.
    pub time: Duration,
    /// The seed of all choices.
    pub seed: u64,
    /// How many shop; every other one in a session.
    pub shoppers: usize,
    /// Between two requests of one caller at most.
    pub pace: Duration,
}

/// Does all of it and judges it. What was broken is in the report's verdict.
///
/// # Panics
/// If a process ends by itself, the cluster does not come to rest, or `feira audit` finds the books wrong: it says what.
pub async fn run(settings: &Settings) -> Report {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut broker = Mosquitto::start_with(folder.path(), &BROKER);
    let wire = Wire::to(broker.address);
    let mut cluster = started(settings, &wire).await;
    let shared = Arc::new(Shared::default());
    let mut rng = fastrand::Rng::with_seed(settings.seed);
    let cids = Arc::new((1..=settings.shoppers).map(|at| format!("shopper-{at}")).collect::<Vec<_>>());
    staff(&cluster, &shared, &cids, 0, rng.fork()).open().await;
    let before = statuses(&cluster).await;
    let begun = Instant::now();
    let strangers = Arc::new(Mutex::new(Taken::default()));
    let callers = callers(settings, &cluster, broker.address, &shared, &cids, (&mut rng, &strangers));
    let mut nemesis = Nemesis::new(settings.seed);
    let mut report = Report { seed: settings.seed, ..Report::default() };
    let duellist = admins(&cluster, "duellist", None);
    // Each kind of harm once at least.
    while begun.elapsed() < settings.time || report.harms.len() < ALL.len() {
        nemesis.calm().await;
        let harm = nemesis.strike(&mut broker, &wire, &cluster, (&duellist, &shared)).await;
        eprintln!("{:.1} s: {harm}", begun.elapsed().as_secs_f64());
        report.harms.push(harm);
        cluster.all_run();
    }
    nemesis.calm().await;
    shared.end();
    callers.join_all().await;
    report.took = begun.elapsed();
    cluster.wait_until_live().await;
    let after = statuses(&cluster).await;
    report.portals =
        PORTALS.iter().map(|name| (*name, Counted::between(&before[name], &after[name]))).collect();
    report.strangers = strangers.lock().clone();
    conclude(&mut cluster, &shared, &mut report).await;
    report
}

async fn started(settings: &Settings, wire: &Wire) -> Cluster {
    let options = Options {
        admin_portals: 2,
        client_portals: 3,
        shared_broker: Some(wire.address()),
        ..Options::default()
    };
    let feira = settings.feira.to_str().expect("the program's path is text");
    let mut cluster = Cluster::prepare(feira, options);
    cluster.keep_if_failed = true;
    cluster.begin().await;
    cluster
}

async fn statuses(cluster: &Cluster) -> BTreeMap<&'static str, PortalStatusResponse> {
    let mut statuses = BTreeMap::new();
    for name in PORTALS {
        let status =
            wait::until(&format!("the status of {name}"), PATIENCE, || cluster.portal_status(name)).await;
        statuses.insert(name, status);
    }
    statuses
}

fn admins(cluster: &Cluster, name: &str, session: Option<&KeptSession>) -> Asker {
    let portals = PORTALS.iter().filter(|name| name.starts_with("admin-"));
    Asker::new(name, admin_portal::SERVICE, portals.map(|name| cluster.channel(name)), session)
}

fn staff(
    cluster: &Cluster,
    shared: &Arc<Shared>,
    cids: &Arc<Vec<String>>,
    at: usize,
    rng: fastrand::Rng,
) -> Staff {
    let session = (at % 2 == 1).then(KeptSession::default);
    let asker = admins(cluster, &format!("staff-{at}"), session.as_ref());
    Staff::new(asker, Arc::clone(shared), rng, Arc::clone(cids), (at >= STAFF / 2, session.is_some()))
}

/// Everybody who asks, and the strangers.
fn callers(
    settings: &Settings,
    cluster: &Cluster,
    broker: SocketAddr,
    shared: &Arc<Shared>,
    cids: &Arc<Vec<String>>,
    (rng, strangers): (&mut fastrand::Rng, &Arc<Mutex<Taken>>),
) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for at in 0..STAFF {
        callers.spawn(staff(cluster, shared, cids, at, rng.fork()).work(settings.pace));
    }
    let place = Place {
        host: broker.ip().to_string(),
        port: broker.port(),
        login: None,
        cluster: "test".to_owned(),
        cluster_id: None,
        service: client_portal::TOPICS.to_owned(),
    };
    for (at, cid) in cids.iter().enumerate() {
        let session = (at % 2 == 0).then(KeptSession::default);
        let portals = PORTALS.iter().filter(|name| name.starts_with("client-"));
        let channels = portals.map(|name| cluster.channel(name));
        let asker = Asker::new(cid, client_portal::SERVICE, channels, session.as_ref());
        let asker = asker.over_broker(place.clone(), session.as_ref());
        let shopper = Shopper::new(cid, asker, Arc::clone(shared), rng.fork(), session.is_some());
        callers.spawn(shopper.shop(settings.pace));
    }
    for _ in 0..STRANGERS {
        callers.spawn(stranger::disturb(broker, Arc::clone(shared), rng.fork(), Arc::clone(strangers)));
    }
    callers
}

/// What can be judged only when all is at rest.
async fn conclude(cluster: &mut Cluster, shared: &Shared, report: &mut Report) {
    // From then on caches show what was written last: that is the promise itself.
    wait::pass(LEASE).await;
    report.requests = shared.tally.counts();
    report.books = books::compare(&admins(cluster, "auditor", None), shared).await;
    report.verdict = judge::judge(&shared.journal.take(), LEASE);
    cluster.all_run();
    cluster.assert_audited().await;
    let audit = cluster.tool(&["--json", "audit", "--caches"]);
    assert!(audit.status.success(), "feira audit --caches: {}", String::from_utf8_lossy(&audit.stderr));
}
