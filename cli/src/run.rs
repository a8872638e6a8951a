//! From a parsed command line to the command.

use std::path::PathBuf;
use std::time::Duration;

use crate::args::{AuditArgs, BrokerRole, Cli, Command, Key, Log, Snapshot};
use crate::config::environment::Environment;
use crate::config::load::{Loaded, Sources, load};
use crate::config::shape::{Config, Instance};
use crate::config::template::{Fresh, template};
use crate::exchange::args::{Asked, Export, Import};
use crate::exchange::entries::Form;
use crate::exchange::{export, import as records};
use crate::failure::Failure;
use crate::import::run::{Job, run as import};
use crate::log::look::Of;
use crate::log::show::Wanted;
use crate::reach::portals::Portals;
use crate::reach::settle::settle;
use crate::reach::whose::named;
use crate::ring::RingArgs;
use crate::role::logging::LogFile;
use crate::role::portals::Which;
use crate::show::answer::Answer;
use crate::show::out::Out;
use crate::tools::{self, addresses, admin, key_values, shop};
use crate::up::parts::Kind;
use crate::{audit, backup, bench, demo, health, key, log, member, ring, role, status, trace, up};

/// How long an import waits for a portal or a leader to come back.
const IMPORT_PATIENCE: Duration = Duration::from_secs(120);

/// Whether a command supervises children: its main thread must live as long as they do.
#[must_use]
pub fn supervises(command: &Command) -> bool {
    matches!(command, Command::Up(_) | Command::Demo(_))
}

/// Whether `feira up` started this process.
fn is_supervised(command: &Command) -> bool {
    match command {
        Command::Store(args) => args.supervised.supervised,
        Command::AdminPortal(args) | Command::ClientPortal(args) => args.supervised.supervised,
        Command::Broker(args) => args.supervised.supervised || args.watch.is_some(),
        _ => false,
    }
}

/// Runs a command.
///
/// # Errors
/// Why it was not done.
pub async fn run(cli: Cli, out: &Out) -> Result<(), Failure> {
    let sources = Sources { file: cli.shared.config.clone(), set: cli.shared.set.clone() };
    // A child of feira up has its environment, and feira up has told of it.
    if !is_supervised(&cli.command)
        && let Some(warning) = Environment::read()?.warning()
    {
        out.insist(&warning);
    }
    match cli.command {
        Command::Up(shape) => up::run::up(&sources, &shape, out).await,
        Command::Demo(args) => demo::run::run(&args, out).await,
        Command::Config(args) if args.template => {
            let text = template(&Fresh::default());
            out.answer(&Answer::text(&text, text.as_str().into()));
            Ok(())
        }
        // It holds what another process depends on, not what a configuration says.
        Command::Broker(BrokerRole { watch: Some(process), .. }) => {
            role::broker::watch(process);
            Ok(())
        }
        // Where no configuration is, it writes the one that it restores by.
        Command::Restore(args) if args.file.is_dir() => {
            shown(backup::restore_ring::run(&backup::restore::configuration(&sources, &args)?, &args), out)
        }
        Command::Restore(args) => {
            shown(backup::restore::run(&backup::restore::configuration(&sources, &args)?, &args), out)
        }
        command => {
            let shard = cli.shared.shard;
            let loaded = of_shard(named(load(&sources)?)?, shard, &command)?;
            let asks = addresses_of(&command, &loaded.config).is_some();
            with_config(command, shard, &if asks { settle(loaded).await } else { loaded }, out).await
        }
    }
}

/// The configuration with the replicas of the shard that is meant, for what is asked of one group; what is done to members is done
/// by the whole of it.
fn of_shard(loaded: Loaded, shard: Option<u64>, command: &Command) -> Result<Loaded, Failure> {
    let shards = loaded.config.store.shards();
    let is_member = matches!(command, Command::Member(_));
    let may_be = matches!(
        command,
        Command::Status(_)
            | Command::Trace(_)
            | Command::Config(_)
            | Command::Log(_)
            | Command::Snapshot(_)
            | Command::Node(_)
    );
    let last = shards.last().copied().unwrap_or(1);
    match shard {
        Some(shard) if !shards.contains(&shard) => {
            Err(Failure::usage(format!("there is no shard {shard}"))
                .next(format!("the shards are 1 to {last}")))
        }
        Some(_) if is_member => Ok(loaded),
        Some(_) if !may_be => Err(Failure::usage("--shard: this command is not for one shard")),
        Some(shard) => Ok(loaded.of_shard(shard)),
        None => Ok(loaded),
    }
}

async fn with_config(
    command: Command,
    shard: Option<u64>,
    loaded: &Loaded,
    out: &Out,
) -> Result<(), Failure> {
    if !loaded.from_file
        && let Some(args) = addresses_of(&command, &loaded.config)
    {
        out.say(&format!(
            "no {} here: asking {} (the defaults, with FEIRA_… and --set over them; --config FILE names a cluster's)",
            loaded.path.display(),
            args.join(", ")
        ));
    }
    match command {
        Command::Admin(tool) => admin(&tool, loaded, out).await,
        Command::Shop(tool) => shop(&tool, loaded, out).await,
        Command::Kv(tool) => key_values(&tool, loaded, out).await,
        Command::Import(args) => run_import(args, loaded, out).await,
        Command::Export(args) => run_export(&args, loaded, out).await,
        Command::Bench(args) => bench::run::run(&args, loaded, out).await,
        Command::Status(args) => status::run(&loaded.config, args.watch, out).await,
        Command::Health(args) => health::run(&loaded.config, args, out).await,
        Command::Down => shown(up::run::down(loaded).await, out),
        Command::Member(args) => shown(member::run::run(loaded, shard, args, out).await, out),
        Command::Node(args) => shown(up::act::node(loaded, &args).await, out),
        Command::Audit(args) if args.caches => shown(audit::caches::run(&loaded.config).await, out),
        Command::Audit(AuditArgs { trail: Some(id), .. }) => shown(tools::trail(&id, loaded, out).await, out),
        Command::Audit(_) => shown(audit::run::run(loaded).await, out),
        Command::Explain(args) => shown(tools::explain(&args.oid, loaded, out).await, out),
        Command::Ring(args) => shown(ring::run(&loaded.config, &args).await, out),
        Command::Trace(args) => trace::run(loaded, &args, out).await,
        Command::Log(args) => logs(args, loaded, out).await,
        Command::Snapshot(Snapshot::Show { node, number, limit }) => {
            log::snapshot::show(loaded, node, number, limit as usize, out)
        }
        Command::Snapshot(Snapshot::Verify { node }) => log::snapshot::verify(loaded, node, out),
        Command::Config(_) => show_config(loaded, out),
        Command::Backup(args) if loaded.config.store.shard_count() > 1 => {
            shown(backup::ring::run(loaded, &args).await, out)
        }
        Command::Backup(args) => shown(backup::take::run(loaded, &args).await, out),
        Command::Key(Key::Make) => shown(key::make::make(loaded), out),
        Command::Key(Key::Export { out: to, .. }) => shown(key::make::export(loaded, to), out),
        Command::Key(Key::Rotate) => shown(member::rotate::run(loaded, out).await, out),
        Command::Bootstrap => shown(bootstrap(loaded), out),
        command => serve(command, loaded).await,
    }
}

/// The addresses of the configuration that a command asks, and that nobody named.
fn addresses_of(command: &Command, config: &Config) -> Option<Vec<String>> {
    let portals =
        |portals: &[Instance]| portals.iter().map(|portal| portal.listen.clone()).collect::<Vec<_>>();
    let nodes = || config.store.nodes.iter().map(|node| node.reached_at().to_owned()).collect::<Vec<_>>();
    match command {
        Command::Status(_)
        | Command::Health(_)
        | Command::Audit(AuditArgs { trail: None, .. })
        | Command::Member(_)
        | Command::Bench(_)
        | Command::Ring(RingArgs { what: None }) => Some(nodes()),
        Command::Kv(tool) if tool.store.is_empty() => Some(nodes()),
        Command::Admin(tool) if tool.portal.is_empty() => Some(portals(&config.admin_portals)),
        Command::Shop(shop) if shop.tool.portal.is_empty() => Some(portals(&config.client_portals)),
        Command::Export(_) | Command::Audit(_) | Command::Explain(_) => Some(portals(&config.admin_portals)),
        Command::Import(args) if !args.dry_run => {
            Some([portals(&config.admin_portals), portals(&config.client_portals)].concat())
        }
        _ => None,
    }
}

/// For clusters over several machines: made in one place, each folder then goes to its node's machine.
fn bootstrap(loaded: &Loaded) -> Result<Answer, Failure> {
    if let Some(lost) = up::bootstrap::bootstrap(loaded)?.first() {
        return Err(Failure::refused(lost.why.clone()).next(lost.next.clone()));
    }
    let folder = loaded.folder().display().to_string();
    Ok(Answer::line(format!("the nodes' folders are in {folder}"), serde_json::json!({ "folder": folder })))
}

async fn serve(command: Command, loaded: &Loaded) -> Result<(), Failure> {
    let log = is_supervised(&command).then(|| log_of(&command, loaded));
    role::logging::start(&loaded.config.log, log)?;
    // Before anything counts them.
    admission::descriptors::raise();
    match command {
        Command::Store(args) => role::store::run(loaded, args.node, args.supervised.supervised).await,
        Command::AdminPortal(args) => {
            role::portals::run(loaded, Which::Admin, args.instance, args.supervised.supervised).await
        }
        Command::ClientPortal(args) => {
            role::portals::run(loaded, Which::Client, args.instance, args.supervised.supervised).await
        }
        Command::Broker(args) => role::broker::run(loaded, args.supervised.supervised).await,
        other => unreachable!("{other:?} is no role"),
    }
}

/// Where a part logs that `feira up` started.
fn log_of(command: &Command, loaded: &Loaded) -> LogFile {
    let kind = match command {
        Command::Store(args) => Kind::Node(args.node),
        Command::AdminPortal(args) => Kind::AdminPortal(args.instance),
        Command::ClientPortal(args) => Kind::ClientPortal(args.instance),
        _ => Kind::Broker,
    };
    LogFile::of(&loaded.config, &loaded.folder().join("log"), &kind.name())
}

fn shown(answer: Result<Answer, Failure>, out: &Out) -> Result<(), Failure> {
    out.answer(&answer?);
    Ok(())
}

async fn run_export(args: &Export, loaded: &Loaded, out: &Out) -> Result<(), Failure> {
    let admin = addresses(&[], &loaded.config.admin_portals);
    let admin = Portals::new("admin portal", &admin, loaded.config.whose(), IMPORT_PATIENCE, None)?;
    export::run(args, &admin, out).await
}

async fn run_import(args: Import, loaded: &Loaded, out: &Out) -> Result<(), Failure> {
    let (collection, file, format) = match args.asked()? {
        Asked::OnlineRetail(file) => return import_sales(args, file, loaded, out).await,
        Asked::Records(collection, file, format) => (collection, file, format),
    };
    let Import { encoding, separator, decimal, .. } = args;
    let job = records::Job {
        collection,
        file,
        form: Form { format, encoding, separator, decimal },
        update: args.update,
        from_line: args.from_line.unwrap_or(0),
        refused: args.refused,
        in_flight: usize::try_from(args.in_flight).unwrap_or(64),
    };
    let outcome = if args.dry_run {
        records::dry_run(&job)?
    } else {
        let admin = addresses(&[], &loaded.config.admin_portals);
        let admin = Portals::new("admin portal", &admin, loaded.config.whose(), IMPORT_PATIENCE, None)?;
        records::run(&job, &admin, out).await?
    };
    out.answer(&outcome.answer);
    match outcome.totals.lines_refused {
        0 => Ok(()),
        refused => Err(Failure::refused(format!("{refused} lines were refused")).told()),
    }
}

async fn import_sales(args: Import, file: PathBuf, loaded: &Loaded, out: &Out) -> Result<(), Failure> {
    let job = Job {
        file,
        encoding: args.encoding,
        refused: args.refused,
        in_flight: usize::try_from(args.in_flight).unwrap_or(64),
        label: args.label.unwrap_or_else(|| "online-retail".to_owned()),
        check: !args.no_check,
    };
    if args.dry_run {
        return shown(crate::import::run::dry_run(&job), out);
    }
    let cluster = loaded.config.whose();
    let admin = addresses(&[], &loaded.config.admin_portals);
    let admin = Portals::new("admin portal", &admin, cluster, IMPORT_PATIENCE, None)?;
    let shops = addresses(&[], &loaded.config.client_portals);
    // Each begins with another portal, and goes on to the rest when it fails.
    let turned =
        |at: usize| -> Vec<String> { shops.iter().cycle().skip(at).take(shops.len()).cloned().collect() };
    let shops = (0..shops.len())
        .map(|at| Portals::new("client portal", &turned(at), cluster, IMPORT_PATIENCE, None))
        .map(|portals| portals.map(Portals::beginning_with_the_first))
        .collect::<Result<Vec<Portals>, Failure>>()?;
    let (answer, totals) = import(&job, &admin, &shops, out).await?;
    out.answer(&answer);
    if totals.accepted == 0 && !totals.refused.is_empty() {
        return Err(Failure::refused("no line was accepted").told());
    }
    Ok(())
}

async fn logs(args: Log, loaded: &Loaded, out: &Out) -> Result<(), Failure> {
    match args {
        Log::Show { node, all: _, follow, from, limit, folder } => {
            let of = node.map_or(Of::All, Of::Node);
            log::look::run(loaded, of, Wanted { from, limit }, folder, follow, out).await
        }
        Log::Verify { node } => log::verify::run(loaded, node, out),
        Log::Plant { node, epoch, entries, at, force } => {
            shown(log::plant::run(loaded, node, log::plant::Plan { epoch, entries, at, force }).await, out)
        }
    }
}

fn show_config(loaded: &Loaded, out: &Out) -> Result<(), Failure> {
    let text = toml::to_string(&loaded.config)
        .map_err(|e| Failure::refused(format!("the configuration cannot be written: {e}")))?;
    let document = serde_json::to_value(&loaded.config)
        .map_err(|e| Failure::refused(format!("the configuration cannot be written: {e}")))?;
    let from = if loaded.from_file { "" } else { " (not there: defaults)" };
    out.say(&format!("# {}{from}, with FEIRA_… and --set over it", loaded.path.display()));
    out.answer(&Answer::text(&text, document));
    Ok(())
}
