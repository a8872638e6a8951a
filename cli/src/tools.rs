//! The REPLs as commands: which servers they speak to, and how long they insist.

use std::sync::Arc;
use std::time::Duration;

use proto::portal::ListEventsRequest;
use store_client::{Replicated, Store};

use crate::admin::paging::Part;
use crate::admin::session::AdminSession;
use crate::args::{KvTool, Shop, Tool};
use crate::config::load::Loaded;
use crate::config::shape::Instance;
use crate::failure::Failure;
use crate::kv;
use crate::reach::open_requests::OpenRequests;
use crate::reach::portals::Portals;
use crate::reach::whose::store;
use crate::repl::drive::drive;
use crate::repl::editor::history_file;
use crate::repl::ids::Ids;
use crate::repl::lines::{Given, is_person};
use crate::shop::session::ShopSession;
use crate::shop::via::{Asking, OverBroker, Via, Way};
use crate::show::answer::Answer;
use crate::show::out::Out;
use crate::trail::{ask, explain, view};

fn given(tool: &Tool) -> Given {
    Given { command: tool.command.clone(), words: tool.words.clone(), keep_going: tool.keep_going }
}

/// The addresses asked for, else those configured.
#[must_use]
pub fn addresses(args: &[String], configured: &[Instance]) -> Vec<String> {
    if args.is_empty() {
        configured.iter().map(|portal| portal.listen.clone()).collect()
    } else {
        args.to_vec()
    }
}

fn patience(loaded: &Loaded) -> Duration {
    Duration::from_secs(loaded.config.tool.patience_seconds)
}

/// `feira admin`.
///
/// # Errors
/// The first failure, if no person is there to go on.
pub async fn admin(tool: &Tool, loaded: &Loaded, out: &Out) -> Result<(), Failure> {
    let ids = Ids::default();
    let addresses = addresses(&tool.portal, &loaded.config.admin_portals);
    let cluster = loaded.config.whose();
    let portals = Portals::new("admin portal", &addresses, cluster, patience(loaded), Some(out.clone()))?;
    let open = open_requests("admin", &given(tool), loaded);
    let mut session = AdminSession::new(portals, ids.clone()).keeping(open);
    let feeding = Portals::new("admin portal", &addresses, cluster, Duration::from_secs(2), None)?;
    let feeder = feed(AdminSession::new(feeding, ids.clone()), tool);
    let driven = drive(&mut session, &given(tool), ids, out).await;
    drop(feeder);
    driven
}

fn of_staff(loaded: &Loaded, out: &Out) -> Result<Portals, Failure> {
    let addresses = addresses(&[], &loaded.config.admin_portals);
    Portals::new("admin portal", &addresses, loaded.config.whose(), patience(loaded), Some(out.clone()))
}

/// `feira audit --trail`.
///
/// # Errors
/// As every call.
pub async fn trail(id: &str, loaded: &Loaded, out: &Out) -> Result<Answer, Failure> {
    Ok(view::events(&ask::of_id(&of_staff(loaded, out)?, id).await?))
}

/// `feira explain`.
///
/// # Errors
/// No event of the order is kept; or as every call.
pub async fn explain(oid: &str, loaded: &Loaded, out: &Out) -> Result<Answer, Failure> {
    let wanted = ListEventsRequest { oid: oid.to_owned(), ..ListEventsRequest::default() };
    let events = ask::list(&of_staff(loaded, out)?, &wanted, Part::default()).await?;
    explain::order(oid, &events.items)
}

/// Fetches ids for completion now and then, if a person is there to complete.
fn feed(session: AdminSession, tool: &Tool) -> Option<Feeder> {
    if !is_person(&given(tool)) {
        return None;
    }
    Some(Feeder(tokio::spawn(async move {
        loop {
            session.refresh().await;
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    })))
}

/// Ends its task when it is dropped.
struct Feeder(tokio::task::JoinHandle<()>);

impl Drop for Feeder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// `feira shop`.
///
/// # Errors
/// The first failure, if no person is there to go on.
pub async fn shop(args: &Shop, loaded: &Loaded, out: &Out) -> Result<(), Failure> {
    let Via { way, address } = &args.via;
    if address.is_some() && !args.tool.portal.is_empty() {
        return Err(Failure::usage("--via with an address and --portal are two answers to one question"));
    }
    let portals = || {
        let named = address.as_slice();
        let named = if named.is_empty() { &args.tool.portal } else { named };
        let addresses = addresses(named, &loaded.config.client_portals);
        let cluster = loaded.config.whose();
        Portals::new("client portal", &addresses, cluster, patience(loaded), Some(out.clone()))
    };
    let asking = match way {
        Way::Grpc => Asking::Grpc(portals()?),
        Way::Http => Asking::Http(portals()?),
        Way::Mqtt if !args.tool.portal.is_empty() => {
            return Err(Failure::usage("--portal: over a broker nobody chooses the portal")
                .next("name the broker: --via mqtt://HOST:PORT"));
        }
        Way::Mqtt => Asking::Mqtt(OverBroker::new(address.as_deref(), loaded)?),
    };
    let open = open_requests("shop", &given(&args.tool), loaded);
    shop_at(asking, args.cid.clone(), open, &given(&args.tool), out).await
}

/// Where a tool keeps its requests until they are answered: beside the history of its commands.
fn open_requests(tool: &'static str, given: &Given, loaded: &Loaded) -> Arc<OpenRequests> {
    let cluster = loaded.config.whose().map(|id| id.to_string()).unwrap_or_default();
    OpenRequests::beside(history_file(), tool, cluster, is_person(given))
}

/// The shoppers' REPL over these portals.
///
/// # Errors
/// The first failure, if no person is there to go on.
pub async fn shop_at(
    portals: Asking,
    cid: Option<String>,
    open: Arc<OpenRequests>,
    given: &Given,
    out: &Out,
) -> Result<(), Failure> {
    let ids = Ids::default();
    let mut session = ShopSession::new(portals, ids.clone(), cid).keeping(open);
    if is_person(given) {
        session.refresh().await;
    }
    drive(&mut session, given, ids, out).await
}

/// `feira kv`.
///
/// # Errors
/// The class of the first command that did not succeed, if no person is there.
pub async fn key_values(tool: &KvTool, loaded: &Loaded, out: &Out) -> Result<(), Failure> {
    let store: Arc<dyn Store> = if tool.store.is_empty() {
        Arc::new(store(&loaded.config, patience(loaded))?)
    } else if loaded.config.store.shard_count() > 1 {
        let message = "--store names nodes, but not of which of the ring's shards each is";
        return Err(Failure::usage(message)
            .next("name a configuration with those nodes and their shards: --config FILE"));
    } else {
        // Other addresses, and the same cluster.
        let reach = store_client::Config::of(tool.store.clone());
        let cluster = loaded.config.whose();
        let reach = store_client::Config { deadline: patience(loaded), cluster, ..reach };
        Arc::new(Replicated::new(reach).map_err(|e| Failure::usage(e.to_string()))?)
    };
    let given = Given { command: tool.command.clone(), words: tool.words.clone(), keep_going: true };
    let person = is_person(&given);
    let grace = match tool.grace {
        Some(seconds) => Duration::from_secs(seconds),
        None if person => Duration::from_secs(loaded.config.tool.grace_seconds),
        // Nobody waits impatiently: then every command gets its whole patience, and settles its outcome.
        None => Duration::from_secs(loaded.config.tool.grace_seconds).max(2 * patience(loaded)),
    };
    kv::tool::run(store, &given, grace, out).await
}
