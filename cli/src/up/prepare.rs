//! The configuration of the cluster that is to run: the file that is there, or a new one.
//!
//! Promise: whatever refuses the start for what the configuration or the command says is asked before the file is written
//! or changed: a refusal leaves nothing behind.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::bootstrap::{check_count, check_founding};
use super::parts::parts;
use super::supervisor::{Supervisor, lock, require_free};
use crate::args::Up;
use crate::atomic_write;
use crate::config::load::{FILE_DEFAULT, Loaded, Sources, load, load_text};
use crate::config::ports::{allot, allot_in};
use crate::config::shape::{BrokerKind, Config};
use crate::config::template::{Fresh, template};
use crate::failure::Failure;
use crate::key::make::set_aside;
use crate::key::place;
use crate::show::out::Out;

/// What a start will run, before anything of it was made.
#[derive(Debug)]
pub struct Plan {
    /// The configuration.
    pub loaded: Loaded,
    /// The text of its file, if that is new.
    new: Option<String>,
}

/// The configuration: the file there is, or a new one of the shape asked for. Nothing is made yet.
///
/// # Errors
/// The file is there and has another shape, or the start would be refused.
pub fn plan(sources: &Sources, shape: &Up) -> Result<Plan, Failure> {
    let path = sources.file.clone().unwrap_or_else(|| PathBuf::from(FILE_DEFAULT));
    if path.exists() {
        let sources = Sources { file: Some(path), set: sources.set.clone() };
        let loaded = load(&sources)?;
        check_shape(&loaded, shape)?;
        if !shape.new_shop {
            check_founding(&loaded)?;
        }
        return Ok(Plan { loaded, new: None });
    }
    require_new(&path, shape)?;
    let text = template(&fresh(shape));
    let text = allot(&text)?.unwrap_or(text);
    let loaded = load_text(&text, path, &sources.set)?;
    if !shape.new_shop {
        check_founding(&loaded)?;
    }
    let run_folder = Supervisor::run_folder(&loaded);
    if run_folder.exists() {
        // Its file was lost while it runs: it is not to get another one.
        drop(lock(&run_folder)?);
    }
    Ok(Plan { loaded, new: Some(text) })
}

impl Plan {
    /// Refuses a new cluster whose ports others hold. (One that was founded may have parts of its own that are about to end.)
    ///
    /// # Errors
    /// They do.
    pub fn require_free(&self) -> Result<(), Failure> {
        match &self.new {
            Some(_) => require_free(parts(&self.loaded.config).iter()),
            None => Ok(()),
        }
    }

    /// Writes what is new: the file, or the ports in it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(self, shape: &Up, out: &Out) -> Result<Loaded, Failure> {
        make_room(&self.loaded, shape, out)?;
        let path = self.loaded.path.clone();
        let Some(text) = self.new else {
            allot_in(&path)?;
            return load(&Sources { file: Some(path), set: self.loaded.set });
        };
        write_new(&path, &text)?;
        out.say(&format!("wrote the configuration {}", path.display()));
        Ok(Loaded { from_file: true, ..self.loaded })
    }
}

/// The configuration that is to be run, with its file.
///
/// # Errors
/// As [`plan`]; its ports are held by others; or it cannot be written.
pub fn prepare(sources: &Sources, shape: &Up, out: &Out) -> Result<Loaded, Failure> {
    let plan = plan(sources, shape)?;
    plan.require_free()?;
    plan.write(shape, out)
}

/// Writes the file that says what was taken for the configuration, where there is none: so that a start finds it.
///
/// # Errors
/// It cannot be written.
pub fn write_default(loaded: &Loaded) -> Result<bool, Failure> {
    if !loaded.from_file {
        let shards = u64::try_from(loaded.config.store.shard_count()).expect("64 at most");
        write_new(&loaded.path, &template(&Fresh { shards, ..Fresh::default() }))?;
    }
    Ok(!loaded.from_file)
}

/// Refuses to write a file of default ports where a key file says that a cluster was founded: its own file is missing.
fn require_new(path: &Path, shape: &Up) -> Result<(), Failure> {
    let loaded =
        Loaded { config: Config::default(), path: path.to_owned(), from_file: false, set: Vec::new() };
    let key = place::path(&loaded);
    if shape.new_shop || !key.exists() {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "{} is the key of a cluster that was founded here, but its configuration {} is not there: nothing was made",
        key.display(),
        path.display()
    ))
    .next(format!(
        "put its file back, with the ports that its portals and tools know; to found another, empty shop here: {}",
        loaded.command("up --new-shop")
    )))
}

/// With `--new-shop`: sets the key of the shop that was here aside.
fn make_room(loaded: &Loaded, shape: &Up, out: &Out) -> Result<(), Failure> {
    if !shape.new_shop {
        return Ok(());
    }
    check_count(&loaded.config.store)?;
    if let Some(kept) = set_aside(loaded)? {
        out.say(&format!("a new shop is founded; the key of the former one is {}", kept.display()));
    }
    Ok(())
}

/// The shape of a new cluster.
fn fresh(shape: &Up) -> Fresh {
    Fresh {
        shards: shape.shards.unwrap_or(1),
        nodes: shape.nodes.unwrap_or(3),
        apart: shape.apart,
        admin_portals: shape.admin_portals.unwrap_or(1),
        client_portals: shape.client_portals.unwrap_or(1),
        broker: shape.broker.unwrap_or(BrokerKind::Embedded),
        any_ports: shape.any_ports,
        rehearsal: shape.rehearsal,
    }
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Failure::file("make", folder, &e))?;
    }
    // Whole or not at all: a half of it would be another cluster, or none.
    atomic_write::replace(path, text)?;
    // Everybody on the machine may ask the shop; the folder of its data is its owner's.
    let shared = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(path, shared).map_err(|e| Failure::file("open to others", path, &e))
}

fn check_shape(loaded: &Loaded, shape: &Up) -> Result<(), Failure> {
    let config = &loaded.config;
    let counts = [
        ("--shards", shape.shards, config.store.shards().len()),
        ("--nodes", shape.nodes, config.store.of_shard(1).count()),
        ("--admin-portals", shape.admin_portals, config.admin_portals.len()),
        ("--client-portals", shape.client_portals, config.client_portals.len()),
    ];
    for (flag, asked, there) in counts {
        if asked.is_some_and(|asked| asked != there as u64) {
            return Err(Failure::usage(format!(
                "{flag} shapes a new cluster; {} says {there}",
                loaded.path.display()
            ))
            .next("change the file (portals), or name another with --config"));
        }
    }
    if shape.apart && config.store.is_shared() {
        return Err(Failure::usage(format!(
            "--apart shapes a new cluster; {} has nodes with replicas of several shards",
            loaded.path.display()
        ))
        .next("name another file with --config"));
    }
    if shape.broker.is_some_and(|asked| asked != config.broker.kind) {
        return Err(Failure::usage(format!(
            "--broker shapes a new cluster; {} says another",
            loaded.path.display()
        ))
        .next("change broker.kind in the file"));
    }
    if shape.rehearsal && !config.rehearsal {
        return Err(Failure::usage(format!(
            "--rehearsal is for a new cluster; {} says rehearsal = false",
            loaded.path.display()
        ))
        .next("write rehearsal = true in the file and start the nodes again, or name another file with --config"));
    }
    if shape.any_ports { check_ports(loaded, shape) } else { Ok(()) }
}

/// Refuses `--any-ports` for a file that has ports which a new one has without it: they would stay.
fn check_ports(loaded: &Loaded, shape: &Up) -> Result<(), Failure> {
    let plain = template(&Fresh { any_ports: false, ..fresh(shape) });
    let plain: Config = toml::from_str(&plain)
        .map_err(|e| Failure::refused(format!("the template is not understood: {e}")))?;
    let fixed = listens(&plain);
    match listens(&loaded.config).into_iter().find(|listen| fixed.contains(listen)) {
        None => Ok(()),
        Some(listen) => Err(Failure::usage(format!(
            "--any-ports is for a new cluster; {} says {listen}",
            loaded.path.display()
        ))
        .next("write port 0 in the file where any will do, or name another file with --config")),
    }
}

fn listens(config: &Config) -> Vec<&str> {
    let nodes = config.store.nodes.iter().map(|node| node.listen.as_str());
    let portals = config.admin_portals.iter().chain(&config.client_portals);
    nodes.chain(portals.map(|portal| portal.listen.as_str())).chain([config.broker.listen.as_str()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(folder: &std::path::Path, shape: &Up) -> Result<Loaded, Failure> {
        let sources = Sources { file: Some(folder.join("feira.toml")), set: Vec::new() };
        prepare(&sources, shape, &Out::new(false))
    }

    fn is_empty(folder: &std::path::Path) -> bool {
        std::fs::read_dir(folder).unwrap().next().is_none()
    }

    #[test]
    fn a_shape_that_is_refused_leaves_no_file_and_the_next_one_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let shape = |nodes: u64| Up { nodes: Some(nodes), any_ports: true, ..Up::default() };
        let refused = at(folder.path(), &shape(2)).unwrap_err();
        assert!(refused.message.contains("1, 3, 4, 5 or 7 nodes, not 2"), "{refused}");
        assert!(is_empty(folder.path()));
        let set =
            |set: &str| Sources { file: Some(folder.path().join("feira.toml")), set: vec![set.to_owned()] };
        let refused = prepare(&set("portal.lease_ms=0"), &shape(3), &Out::new(false)).unwrap_err();
        assert!(refused.message.contains("lease_ms"), "{refused}");
        assert!(is_empty(folder.path()));
        assert_eq!(at(folder.path(), &shape(3)).unwrap().config.store.nodes.len(), 3);
    }

    #[test]
    fn shards_are_on_the_same_nodes_unless_they_are_to_stand_apart() {
        let shape =
            |apart: bool| Up { shards: Some(2), nodes: Some(3), any_ports: true, apart, ..Up::default() };
        let shared = tempfile::tempdir().unwrap();
        let nodes = |loaded: &Loaded| -> Vec<Vec<u64>> {
            loaded.config.store.nodes.iter().map(|node| node.shards.clone()).collect()
        };
        assert_eq!(nodes(&at(shared.path(), &shape(false)).unwrap()), vec![vec![1, 2]; 3]);
        at(shared.path(), &shape(false)).unwrap();
        let refused = at(shared.path(), &shape(true)).unwrap_err();
        assert!(refused.message.contains("--apart shapes a new cluster"), "{refused}");
        let apart = tempfile::tempdir().unwrap();
        let ones = [vec![vec![1]; 3], vec![vec![2]; 3]].concat();
        assert_eq!(nodes(&at(apart.path(), &shape(true)).unwrap()), ones);
        at(apart.path(), &shape(true)).unwrap();
        at(apart.path(), &shape(false)).unwrap();
    }

    #[test]
    fn any_ports_is_refused_where_the_file_says_which() {
        let any = |any_ports: bool| Up { any_ports, ..Up::default() };
        let fixed = tempfile::tempdir().unwrap();
        at(fixed.path(), &any(false)).unwrap();
        let text = std::fs::read_to_string(fixed.path().join("feira.toml")).unwrap();
        let refused = at(fixed.path(), &any(true)).unwrap_err();
        assert!(refused.message.contains("--any-ports is for a new cluster"), "{refused}");
        assert_eq!(std::fs::read_to_string(fixed.path().join("feira.toml")).unwrap(), text);
        let free = tempfile::tempdir().unwrap();
        let first = at(free.path(), &any(true)).unwrap();
        assert_eq!(at(free.path(), &any(true)).unwrap().config, first.config, "what was asked is so");
    }
}
