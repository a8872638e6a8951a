//! The text of key files: `cluster.key` of nodes and operators, `portals.key` of machines with portals only.
//!
//! ```text
//! feira cluster key 1                      feira portals key 1
//! cluster 4f1d0c9a5be27713                 cluster 4f1d0c9a5be27713
//! revision 3  (steps of rotations so far; without the line: none)
//! secret 6b…  (64 digits; proves)          bus 91…  (64 digits)
//! next 0a…    (a rotation's first step; its second: the new one is the secret, and this is "former")
//! check 5d0e11b2                           check …
//! ```
//!
//! Lines that begin with `#` and empty lines are for people. `check` is the CRC-32C of the other lines that are not:
//! a digit lost in copying is told, and is not a stranger's key. Reading and writing files is the caller's.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use crate::id::ClusterId;
use crate::key::{KEY_BYTES, Key, Keys, Purpose, Secret};

/// Bytes of a key file at most.
pub const FILE_BYTES_MAX: usize = 4_096;
/// Secrets of a cluster at once: one, and another during a rotation.
pub const SECRETS_MAX: usize = 2;

const CLUSTER: &str = "feira cluster key 1";
const PORTALS: &str = "feira portals key 1";
const ADVICE_CLUSTER: &str =
    "# Whoever can read this file can speak as a node and as an operator of this cluster. Keep it secret.";
const ADVICE_PORTALS: &str =
    "# Whoever can read this file can speak on the bus of this cluster. Keep it secret.";

/// Text that is no key file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FileError {
    /// It is something else.
    #[error(
        "the first line is neither \"{CLUSTER}\" nor \"{PORTALS}\": this is no key file, or one of a later version"
    )]
    Kind,
    /// It is too long to be one.
    #[error("it is longer than {FILE_BYTES_MAX} bytes: this is no key file")]
    Long,
    /// A line is wrong.
    #[error("line {line}: {why}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it; never what it says.
        why: &'static str,
    },
    /// The checksum does not fit: it was changed or copied in part.
    #[error(
        "the line \"check\" is missing or does not fit: the file was changed or cut; copy it again from a node"
    )]
    Check,
    /// A line is missing.
    #[error("it has no line \"{0}\"")]
    Missing(&'static str),
}

/// A key file of either kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyFile {
    /// All keys: of nodes and operators.
    Cluster(ClusterKey),
    /// The bus key alone: of portals.
    Portals(PortalKey),
}

/// What a second secret is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rotation {
    /// There is none.
    None,
    /// It is believed, and will prove when all believe it.
    Begun,
    /// It proved formerly, and goes when all prove with the other one.
    Turned,
}

impl Rotation {
    /// The word of the second secret's line.
    fn word(self) -> &'static str {
        match self {
            Rotation::None | Rotation::Begun => "next",
            Rotation::Turned => "former",
        }
    }
}

/// A cluster's id and secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterKey {
    id: ClusterId,
    /// Steps of rotations that it has been through: of two copies the newer one has more.
    revision: u64,
    /// One or two; the first proves.
    secrets: Vec<Secret>,
    /// What the second one is for.
    rotation: Rotation,
}

/// A cluster's id and its bus keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortalKey {
    id: ClusterId,
    /// That of the cluster's key that it was made from.
    revision: u64,
    bus: Keys,
}

impl ClusterKey {
    /// The key of a new cluster.
    #[must_use]
    pub fn new(id: ClusterId, secret: Secret) -> ClusterKey {
        ClusterKey { id, revision: 0, secrets: vec![secret], rotation: Rotation::None }
    }

    /// Whose key it is.
    #[must_use]
    pub fn id(&self) -> ClusterId {
        self.id
    }

    /// Steps of rotations that it has been through.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The keys of a purpose.
    #[must_use]
    pub fn keys(&self, purpose: Purpose) -> Keys {
        Keys::new(self.secrets.iter().map(|secret| secret.key(purpose)).collect())
    }

    /// How far a rotation is.
    #[must_use]
    pub fn rotation(&self) -> Rotation {
        self.rotation
    }

    /// The first step of a rotation: `secret` is believed too. All nodes get this before any proves it.
    #[must_use]
    pub fn with_second(&self, secret: Secret) -> ClusterKey {
        let secrets = vec![self.secrets[0].clone(), secret];
        self.next(secrets, Rotation::Begun)
    }

    /// The second step: the other secret proves, the former one is still believed.
    #[must_use]
    pub fn turned(&self) -> ClusterKey {
        let secrets = self.secrets.iter().rev().cloned().collect();
        self.next(secrets, Rotation::Turned)
    }

    /// The last step: what does not prove is believed no more.
    #[must_use]
    pub fn with_first_only(&self) -> ClusterKey {
        self.next(vec![self.secrets[0].clone()], Rotation::None)
    }

    fn next(&self, secrets: Vec<Secret>, rotation: Rotation) -> ClusterKey {
        ClusterKey { id: self.id, revision: self.revision.saturating_add(1), secrets, rotation }
    }

    /// What portals are given.
    #[must_use]
    pub fn for_portals(&self) -> PortalKey {
        PortalKey { id: self.id, revision: self.revision, bus: self.keys(Purpose::Bus) }
    }

    /// The file's text.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let words = ["secret", self.rotation.word()];
        let secrets = words.into_iter().zip(self.secrets.iter().map(Secret::bytes));
        text(CLUSTER, ADVICE_CLUSTER, (self.id, self.revision), secrets)
    }
}

impl PortalKey {
    /// Whose key it is.
    #[must_use]
    pub fn id(&self) -> ClusterId {
        self.id
    }

    /// Steps of rotations that the cluster's key had been through.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The keys of the bus.
    #[must_use]
    pub fn bus(&self) -> &Keys {
        &self.bus
    }

    /// The file's text.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        text(
            PORTALS,
            ADVICE_PORTALS,
            (self.id, self.revision),
            self.bus.iter().map(|key| ("bus", key.bytes())),
        )
    }
}

impl KeyFile {
    /// Whose key it is.
    #[must_use]
    pub fn id(&self) -> ClusterId {
        match self {
            KeyFile::Cluster(key) => key.id(),
            KeyFile::Portals(key) => key.id(),
        }
    }

    /// Steps of rotations behind it: of two files of a cluster the newer one has more.
    #[must_use]
    pub fn revision(&self) -> u64 {
        match self {
            KeyFile::Cluster(key) => key.revision(),
            KeyFile::Portals(key) => key.revision(),
        }
    }

    /// The keys of the bus, which both kinds have.
    #[must_use]
    pub fn bus(&self) -> Keys {
        match self {
            KeyFile::Cluster(key) => key.keys(Purpose::Bus),
            KeyFile::Portals(key) => key.bus.clone(),
        }
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// What is wrong, and where; never what stands there.
    pub fn parse(text: &str) -> Result<KeyFile, FileError> {
        if text.len() > FILE_BYTES_MAX {
            return Err(FileError::Long);
        }
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !is_comment(line));
        let first = lines.next().map(|(_, line)| line.trim_end());
        let word = match first {
            Some(CLUSTER) => "secret",
            Some(PORTALS) => "bus",
            _ => return Err(FileError::Kind),
        };
        let (mut id, mut revision, mut keys, mut checked) = (None, None, Vec::new(), false);
        let mut rotation = Rotation::None;
        for (number, line) in lines {
            let wrong = |why| FileError::Line { line: number, why };
            if checked {
                return Err(wrong("stands after the line \"check\""));
            }
            match line.trim_end().split_once(' ') {
                Some(("cluster", _)) if id.is_some() => return Err(wrong("names a second cluster")),
                Some(("cluster", text)) => {
                    id = Some(text.parse().map_err(|_| wrong("is no cluster id: 16 hexadecimal digits"))?);
                }
                Some(("revision", _)) if revision.is_some() => return Err(wrong("says a second revision")),
                Some(("revision", text)) => {
                    revision = Some(text.parse().map_err(|_| wrong("is no revision: a whole number"))?);
                }
                Some((name @ ("secret" | "next" | "former" | "bus"), text)) => {
                    rotation = rotation_at(word, keys.len(), name)
                        .ok_or_else(|| wrong("is out of place: one key, and another during a rotation"))?;
                    keys.push(hex(text).ok_or_else(|| wrong("is no key: 64 hexadecimal digits"))?);
                }
                Some(("check", digits)) => {
                    let said = u32::from_str_radix(digits, 16).ok();
                    checked = said == Some(checksum(text));
                    if !checked {
                        return Err(FileError::Check);
                    }
                }
                _ => return Err(wrong("is no line of this kind of key file")),
            }
        }
        if !checked {
            return Err(FileError::Check);
        }
        let id = id.ok_or(FileError::Missing("cluster"))?;
        let revision = revision.unwrap_or(0);
        if keys.is_empty() {
            return Err(FileError::Missing(word));
        }
        if word == "secret" {
            let secrets = keys.iter().map(|key| Secret::new(**key)).collect();
            return Ok(KeyFile::Cluster(ClusterKey { id, revision, secrets, rotation }));
        }
        let bus = Keys::new(keys.iter().map(|key| Key::new(**key)).collect());
        Ok(KeyFile::Portals(PortalKey { id, revision, bus }))
    }
}

/// How far a rotation is after a line with a key, of which so many stand before it in a file of the kind that says `word`;
/// `None`: such a line cannot stand there.
fn rotation_at(word: &str, before: usize, name: &str) -> Option<Rotation> {
    match (word, before, name) {
        ("secret", 0, "secret") | ("bus", 0..SECRETS_MAX, "bus") => Some(Rotation::None),
        ("secret", 1, "next") => Some(Rotation::Begun),
        ("secret", 1, "former") => Some(Rotation::Turned),
        _ => None,
    }
}

fn is_comment(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#')
}

/// The CRC-32C of the lines that count, without the one that says it.
fn checksum(text: &str) -> u32 {
    let lines = text.lines().filter(|line| !is_comment(line) && !line.starts_with("check "));
    lines.fold(0, |sum, line| {
        crc32c::crc32c_append(crc32c::crc32c_append(sum, line.trim_end().as_bytes()), b"\n")
    })
}

fn text<'a>(
    kind: &str,
    advice: &str,
    (id, revision): (ClusterId, u64),
    keys: impl Iterator<Item = (&'static str, &'a [u8; KEY_BYTES])>,
) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(512));
    let _ = writeln!(text, "{kind}\n{advice}\ncluster {id}\nrevision {revision}");
    for (word, key) in keys {
        let _ = write!(text, "{word} ");
        for byte in key {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    let sum = checksum(&text);
    let _ = writeln!(text, "check {sum:08x}");
    text
}

fn hex(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    if text.len() != 2 * KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> ClusterKey {
        ClusterKey::new(ClusterId::new(0xF00D).unwrap(), Secret::new([0xA1; KEY_BYTES]))
    }

    #[test]
    fn a_key_file_says_what_was_written_and_portals_get_the_bus_key_alone() {
        let both = key().with_second(Secret::new([0xB2; KEY_BYTES]));
        assert_eq!(KeyFile::parse(&both.to_text()), Ok(KeyFile::Cluster(both.clone())));
        let portals = both.for_portals().to_text();
        assert!(!portals.contains("a1a1") && !portals.contains("b2b2"), "no secret: {}", *portals);
        let read = KeyFile::parse(&portals).unwrap();
        assert_eq!((read.id(), read.bus()), (both.id(), both.keys(Purpose::Bus)));
        let commented = both.to_text().replace("\ncluster ", "\n# by hand\n\ncluster ");
        assert_eq!(KeyFile::parse(&commented).unwrap().id(), both.id());
    }

    #[test]
    fn a_rotation_proves_with_one_secret_at_a_time_and_believes_both_between() {
        let (old, new) = (Secret::new([1; KEY_BYTES]), Secret::new([2; KEY_BYTES]));
        let before = ClusterKey::new(key().id(), old.clone());
        let both = before.with_second(new.clone());
        let peer = |key: &ClusterKey| key.keys(Purpose::Peer);
        assert_eq!(peer(&both).first(), peer(&before).first());
        let turned = both.turned();
        assert_eq!(KeyFile::parse(&turned.to_text()), Ok(KeyFile::Cluster(turned.clone())));
        assert_eq!(peer(&turned).first(), &new.key(Purpose::Peer));
        assert!(peer(&turned).find(old.key(Purpose::Peer).id()).is_some());
        let after = turned.with_first_only();
        assert_eq!(after.keys(Purpose::Peer), ClusterKey::new(key().id(), new).keys(Purpose::Peer));
        let revisions = [&before, &both, &turned, &after].map(ClusterKey::revision);
        assert_eq!(revisions, [0, 1, 2, 3], "of two copies the newer one is known");
        assert_eq!(after.for_portals().revision(), 3);
        // Files of before had no such line.
        let text = before.to_text().replace("revision 0\n", "");
        let (lines, _) = text.split_once("check ").unwrap();
        let text = format!("{lines}check {:08x}\n", checksum(lines));
        assert_eq!(KeyFile::parse(&text), Ok(KeyFile::Cluster(before)));
    }

    #[test]
    fn what_is_no_key_file_is_told_with_its_line_and_never_quoted() {
        let whole = key().to_text();
        let cases = [
            (String::new(), "no key file"),
            ("x".repeat(FILE_BYTES_MAX + 1), "longer"),
            (whole.replace("a1", "a2"), "\"check\""),
            (whole.replace("secret a1", "secret zz"), "line 5: is no key"),
            (whole.replace("000000000000f00d", "f00d"), "line 3: is no cluster id"),
            (whole.replace("revision 0", "revision x"), "line 4: is no revision"),
            (whole.replace("revision 0", "revision 0\nrevision 1"), "line 5: says a second revision"),
            (whole.lines().take(5).collect::<Vec<_>>().join("\n"), "\"check\""),
            (whole.replace("cluster 0", "klaster 0"), "line 3: is no line"),
            (whole.replace("secret a1", "next a1"), "line 5: is out of place"),
            (format!("{}secret 00", *whole), "\"check\""),
            (format!("{}check 00000000", *whole), "after the line"),
        ];
        for (text, told) in cases {
            let error = KeyFile::parse(&text).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("a1a1"), "{told}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(feira (cluster|portals) key 1\n)?[ -~\n]{0,200}") {
            let _ = KeyFile::parse(&text);
        }

        #[test]
        fn a_changed_character_is_never_another_key(at in 0usize..300, to in prop::char::range('!', '~')) {
            let whole = key().to_text();
            let mut changed: Vec<char> = whole.chars().collect();
            let at = at % changed.len();
            changed[at] = to;
            let changed: String = changed.into_iter().collect();
            if let Ok(KeyFile::Cluster(read)) = KeyFile::parse(&changed) {
                prop_assert_eq!(read, key());
            }
        }
    }
}
