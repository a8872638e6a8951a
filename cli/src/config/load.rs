//! The sources of values: the file, over it the environment (`FEIRA_STORE__SNAPSHOT_SECONDS=60`), over that
//! flags (`--set store.snapshot_seconds=60`). Keys nobody knows are errors in the file and in flags; what the environment
//! holds besides is not ours to judge ([`super::environment`]).

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::Serialized;

use super::check::check;
use super::environment::{Environment, Override, flag};
use super::shape::Config;
use crate::failure::Failure;
use crate::show::wrap::cut;

/// The file read where none is named.
pub const FILE_DEFAULT: &str = "feira.toml";
/// A configuration file is text for people; more is a mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What is said of one mistake, in columns: it may quote a value.
const SAID_COLUMNS_MAX: usize = 1000;
/// Longest `KEY=VALUE` of a flag, in bytes.
const FLAG_BYTES_MAX: usize = 64 << 10;
/// Longest key of a flag, in bytes.
const KEY_BYTES_MAX: usize = 128;

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file named by `--config` or FEIRA_CONFIG; `None`: `feira.toml` here, if there is one.
    pub file: Option<PathBuf>,
    /// `--set KEY=VALUE`, in order.
    pub set: Vec<String>,
}

/// A configuration and where it stands.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values in force.
    pub config: Config,
    /// The file, whether it is there or not.
    pub path: PathBuf,
    /// Whether the file is there.
    pub from_file: bool,
    /// `--set` values: child processes get them too.
    pub set: Vec<String>,
}

impl Loaded {
    /// The folder that the file stands in.
    #[must_use]
    pub fn base(&self) -> PathBuf {
        let parent = self.path.parent().unwrap_or(Path::new(""));
        if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_path_buf() }
    }

    /// The same with the replicas of one shard only.
    #[must_use]
    pub fn of_shard(&self, shard: u64) -> Loaded {
        Loaded { config: self.config.of_shard(shard), ..self.clone() }
    }

    /// A command for this cluster, as a person would type it.
    #[must_use]
    pub fn command(&self, what: &str) -> String {
        if self.path == Path::new(FILE_DEFAULT) {
            return format!("feira {what}");
        }
        format!("feira --config {} {what}", self.path.display())
    }

    /// The cluster's folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.base().join(&self.config.folder)
    }
}

/// Reads and checks the configuration. A file that is named must be there; `feira.toml` need not.
///
/// # Errors
/// The file cannot be read, or a value is unknown, of the wrong type, or not allowed: the key is named.
pub fn load(sources: &Sources) -> Result<Loaded, Failure> {
    if let Some(missing) = sources.file.as_ref().filter(|file| !file.exists()) {
        return Err(Failure::usage(format!("there is no configuration file {}", missing.display()))
            .next("feira up makes one on its first start"));
    }
    load_or(sources, String::new)
}

/// The same with what a file of this text would say, where there is none: for what will write it.
///
/// # Errors
/// As [`load`].
pub fn load_or(sources: &Sources, text: impl FnOnce() -> String) -> Result<Loaded, Failure> {
    let path = sources.file.clone().unwrap_or_else(|| PathBuf::from(FILE_DEFAULT));
    let from_file = path.exists();
    let text = if from_file { read(&path)? } else { text() };
    Ok(Loaded { from_file, ..load_text(&text, path, &sources.set)? })
}

/// The file alone, as it is written: neither the environment nor flags say anything.
///
/// # Errors
/// As [`load`].
pub fn load_as_written(path: &Path) -> Result<Loaded, Failure> {
    Ok(Loaded { from_file: true, ..resolved(&read(path)?, path.to_owned(), &[])? })
}

/// Reads and checks what a file of this text would say at this place.
///
/// # Errors
/// As [`load`].
pub fn load_text(text: &str, path: PathBuf, set: &[String]) -> Result<Loaded, Failure> {
    let overrides = overrides(Environment::read()?, set)?;
    Ok(Loaded { set: set.to_vec(), ..resolved(text, path, &overrides)? })
}

fn resolved(text: &str, path: PathBuf, overrides: &[Override]) -> Result<Loaded, Failure> {
    let config = layered(text, overrides).map_err(|error| in_file(&path, *error, overrides))?;
    check(&config).map_err(|failure| naming_origin(failure, overrides))?;
    Ok(Loaded { config, path, from_file: false, set: Vec::new() })
}

fn read(path: &Path) -> Result<String, Failure> {
    let bytes = std::fs::metadata(path).map_err(|e| Failure::file("read", path, &e))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{} has {bytes} bytes; at most {FILE_BYTES_MAX}",
            path.display()
        )));
    }
    let bytes = std::fs::read(path).map_err(|e| Failure::file("read", path, &e))?;
    text_of(bytes).map_err(|(line, at)| {
        let message =
            format!("configuration: {} is not UTF-8: line {line} has the byte 0x{at:02x}", path.display());
        Failure::usage(message).next("save the file as UTF-8; feira config --template shows one")
    })
}

/// The text, or the line and value of the first byte that is none.
fn text_of(bytes: Vec<u8>) -> Result<String, (usize, u8)> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        (1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count(), bytes[at])
    })
}

/// What goes over the file, in the order in which it does.
fn overrides(environment: Environment, set: &[String]) -> Result<Vec<Override>, Failure> {
    let mut all = environment.overrides;
    let mut keys = std::collections::BTreeSet::new();
    for pair in set {
        let flag = flag(pair).ok_or_else(|| {
            Failure::usage(format!("configuration: --set {pair}: not KEY=VALUE"))
                .next("such as --set portal.lease_ms=500")
        })?;
        // Each dot is a table within a table: figment goes down into them as deep as they are.
        if pair.len() > FLAG_BYTES_MAX || flag.key.len() > KEY_BYTES_MAX {
            return Err(Failure::usage(format!(
                "configuration: --set with a key of {} bytes and {} bytes in all: at most {KEY_BYTES_MAX} and {FLAG_BYTES_MAX}",
                flag.key.len(),
                pair.len()
            ))
            .next("what is longer goes into the configuration file"));
        }
        if !keys.insert(flag.key.clone()) {
            return Err(Failure::usage(format!("configuration: --set {} is given twice", flag.key))
                .next("leave one of the two"));
        }
        all.push(flag);
    }
    Ok(all)
}

/// The file's text with environment and flags over it.
fn layered(text: &str, overrides: &[Override]) -> Result<Config, Box<figment::Error>> {
    // Arrays of tables replace the default ones as a whole: two nodes in a file are two, not three.
    // Read here, and not by figment, which would bring another version of the crate toml.
    let file: toml::Table =
        text.parse().map_err(|error: toml::de::Error| figment::Error::from(error.to_string()))?;
    let mut figment =
        Figment::from(Serialized::defaults(Config::default())).merge(Serialized::defaults(file));
    for one in overrides {
        figment = figment.merge((one.key.as_str(), one.value.clone()));
    }
    Ok(figment.extract()?)
}

fn in_file(path: &Path, error: figment::Error, overrides: &[Override]) -> Failure {
    let file = format!("the file {}", path.display());
    let said: Vec<String> = error
        .into_iter()
        .map(|one| {
            let key = one.path.join(".");
            let from = origin(&key, overrides).unwrap_or(&file);
            let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
            let kind = cut(&one.kind.to_string(), SAID_COLUMNS_MAX);
            format!("configuration: {key}{kind} (in {from})")
        })
        .collect();
    Failure::usage(said.join("\n")).next("a commented file with every key: feira config --template")
}

/// What set this key last, if not the file: the key itself, or the list that it is a part of.
fn origin<'a>(key: &str, overrides: &'a [Override]) -> Option<&'a String> {
    let is_part = |one: &&Override| {
        key.strip_prefix(one.key.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    overrides.iter().rev().find(is_part).map(|one| &one.from)
}

/// Names what set a value that is not allowed, if that was not the file.
fn naming_origin(mut failure: Failure, overrides: &[Override]) -> Failure {
    let key = failure.message.strip_prefix("configuration: ").and_then(|rest| rest.split(' ').next());
    if let Some(from) = key.and_then(|key| origin(key, overrides)) {
        failure.message = format!("{} (in {from})", failure.message);
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(text: &str, set: &[&str]) -> String {
        let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
        match overrides(Environment::default(), &set) {
            Ok(set) => {
                in_file(Path::new("f.toml"), *layered(text, &set).expect_err("wrong"), &set).to_string()
            }
            Err(failure) => failure.to_string(),
        }
    }

    fn set(pairs: &[&str]) -> Vec<Override> {
        pairs.iter().map(|pair| flag(pair).unwrap()).collect()
    }

    #[test]
    fn flags_go_over_the_file_and_the_file_over_defaults() {
        let text = "cluster = \"ceasa\"\n[portal]\nlease_ms = 2000\ncache_entries = 7\n";
        let config = layered(text, &set(&["portal.lease_ms=3000"])).unwrap();
        assert_eq!((config.cluster.as_str(), config.portal.lease_ms), ("ceasa", 3000));
        assert_eq!(config.portal.cache_entries, 7);
        assert_eq!(config.store.nodes.len(), 3);
    }

    #[test]
    fn nodes_in_the_file_replace_the_default_ones() {
        let text = "[[store.nodes]]\nid = 9\nlisten = \"127.0.0.1:1\"\n";
        let config = layered(text, &[]).unwrap();
        assert_eq!(config.store.nodes.iter().map(|n| n.id).collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn a_key_that_is_set_twice_is_refused() {
        let set = ["portal.lease_ms=500".to_owned(), "portal.lease_ms=900".to_owned()];
        let failure = load_text("", PathBuf::from("f.toml"), &set).unwrap_err();
        assert!(failure.message.contains("--set portal.lease_ms is given twice"), "{failure}");
        assert!(load_text("", PathBuf::from("f.toml"), &set[..1]).is_ok());
    }

    #[test]
    fn a_flag_that_is_too_long_or_too_deep_is_refused() {
        let deep = format!("{}a=1", "a.".repeat(30_000));
        let long = format!("cluster={}", "a".repeat(FLAG_BYTES_MAX));
        for pair in [deep, long] {
            let said = failing("", &[&pair]);
            assert!(said.contains("at most 128 and 65536"), "{said}");
        }
        for open in ["[", "{a="] {
            let said = failing("", &[&format!("store.map_bytes={}", open.repeat(20_000))]);
            assert!(said.starts_with("configuration: store.map_bytes: invalid type"), "{said}");
            assert!(said.len() < 2000, "{} bytes", said.len());
        }
    }

    #[test]
    fn errors_name_the_key() {
        assert!(failing("[portal]\nlease = 3\n", &[]).contains("lease"));
        assert!(failing("[portal]\nlease_ms = \"soon\"\n", &[]).contains("portal.lease_ms"));
        assert!(failing("", &["broker.kind=rabbit"]).contains("broker.kind"));
        assert!(failing("", &["broker.kind=rabbit"]).contains("(in --set broker.kind)"));
        assert!(failing("[portal]\nlease_ms = \"soon\"\n", &[]).contains("(in the file f.toml)"));
        assert!(failing("", &["lease"]).contains("KEY=VALUE"));
        assert!(
            failing("cluster = \n", &[]).contains("TOML")
                || failing("cluster = \n", &[]).contains("expected")
        );
    }

    #[test]
    fn what_set_a_value_that_is_not_allowed_is_named() {
        let config = layered("", &set(&["cluster=São Paulo"])).unwrap();
        let variable =
            Override { from: "the variable FEIRA_CLUSTER".into(), ..set(&["cluster=x"]).remove(0) };
        let named = naming_origin(check(&config).unwrap_err(), &[variable]).message;
        assert!(named.ends_with("(in the variable FEIRA_CLUSTER)"), "{named}");
        let list = set(&["store.nodes=[]"]);
        assert!(origin("store.nodes[0].listen", &list).is_some() && origin("store.nodes_x", &list).is_none());
    }

    #[test]
    fn a_file_that_is_not_utf8_is_wrong_and_its_line_is_named() {
        assert_eq!(text_of(b"a = 1\nb = \"\xe9\"\n".to_vec()), Err((2, 0xe9)));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("feira.toml");
        std::fs::write(&file, b"cluster = \"a\"\n# S\xe3o\n").unwrap();
        let failure = load(&Sources { file: Some(file), set: Vec::new() }).expect_err("not UTF-8");
        assert_eq!(failure.kind, crate::failure::Kind::Usage);
        assert!(failure.message.contains("line 2 has the byte 0xe3"), "{failure}");
    }

    #[test]
    fn a_named_file_must_be_there() {
        let sources = Sources { file: Some("no/such.toml".into()), set: Vec::new() };
        assert!(load(&sources).expect_err("absent").message.contains("no/such.toml"));
    }
}
