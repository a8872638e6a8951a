//! Secrets, and the keys of single purposes that are derived from them.

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::mac::{Covered, MAC_BYTES, Mac, Unproven};

/// Bytes of a secret and of a key.
pub const KEY_BYTES: usize = 32;

/// Separates feira's derivations from any other use of the same secret (RFC 5869, section 3.1: the salt).
const SALT: &[u8] = b"feira cluster key 1";

/// The purpose of a key: each is known to as few as need it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// Calls and streams between nodes.
    Peer,
    /// Calls of operators' tools to nodes.
    Operator,
    /// Messages between nodes and portals over the broker.
    Bus,
}

impl Purpose {
    /// The derivation's `info`: frozen.
    fn info(self) -> &'static [u8] {
        match self {
            Purpose::Peer => b"peer",
            Purpose::Operator => b"operator",
            Purpose::Bus => b"bus",
        }
    }
}

/// The secret of a cluster: from it come the keys of all purposes.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; KEY_BYTES]);

impl Secret {
    /// A secret of random bytes of the operating system.
    #[must_use]
    pub fn new(random: [u8; KEY_BYTES]) -> Secret {
        Secret(random)
    }

    /// The key of one purpose.
    #[must_use]
    pub fn key(&self, purpose: Purpose) -> Key {
        let mut bytes = [0; KEY_BYTES];
        Hkdf::<Sha256>::new(Some(SALT), &self.0)
            .expand(purpose.info(), &mut bytes)
            .expect("one hash's length can always be expanded");
        Key::new(bytes)
    }

    /// For the key file.
    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The public name of a key: says which of two keys was used, and nothing about either.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyId(pub u64);

/// A key of one purpose, or of one session.
#[derive(Clone)]
pub struct Key {
    bytes: [u8; KEY_BYTES],
    /// Keyed already: a MAC costs a copy of two hash states and no derivation.
    keyed: Hmac<Sha256>,
}

impl Key {
    /// A key of bytes.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Key {
        let keyed = Hmac::new_from_slice(&bytes).expect("HMAC takes keys of any length");
        Key { bytes, keyed }
    }

    /// The MAC of what is covered.
    #[must_use]
    pub fn mac(&self, covered: Covered<'_>) -> Mac {
        let mut mac = self.keyed.clone();
        covered.each(|part| mac.update(part));
        let whole = mac.finalize().into_bytes();
        let mut short = [0; MAC_BYTES];
        short.copy_from_slice(&whole[..MAC_BYTES]);
        Mac(short)
    }

    /// Believes what is covered if `mac` is its MAC; in constant time.
    ///
    /// # Errors
    /// It is another's, or no MAC at all.
    pub fn check(&self, covered: Covered<'_>, mac: &[u8]) -> Result<(), Unproven> {
        let mut computed = self.keyed.clone();
        covered.each(|part| computed.update(part));
        if mac.len() != MAC_BYTES {
            return Err(Unproven);
        }
        computed.verify_truncated_left(mac).map_err(|_| Unproven)
    }

    /// A key for one session: bound to everything that is covered.
    #[must_use]
    pub fn derive(&self, covered: Covered<'_>) -> Key {
        let mut mac = self.keyed.clone();
        covered.each(|part| mac.update(part));
        Key::new(mac.finalize().into_bytes().into())
    }

    /// Its public name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let Mac(mac) = self.mac(Covered::new("key id"));
        let mut first = [0; 8];
        first.copy_from_slice(&mac[..8]);
        KeyId(u64::from_be_bytes(first))
    }

    /// For the key file.
    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Key {}

impl Drop for Key {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:016x})", self.id().0)
    }
}

/// The keys of one purpose: the first proves, all are believed. More than one during a rotation only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// Keys, at least one.
    pub(crate) fn new(keys: Vec<Key>) -> Keys {
        assert!(!keys.is_empty(), "a purpose has a key");
        Keys(keys)
    }

    /// The one that proves.
    #[must_use]
    pub fn first(&self) -> &Key {
        &self.0[0]
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    /// Their public names, the one that proves first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.0.iter().map(Key::id)
    }

    /// The believed key of a name.
    #[must_use]
    pub fn find(&self, id: KeyId) -> Option<&Key> {
        self.0.iter().find(|key| key.id() == id)
    }

    /// The MAC under the first key.
    #[must_use]
    pub fn mac(&self, covered: Covered<'_>) -> Mac {
        self.first().mac(covered)
    }

    /// Believes what any of the keys proves.
    ///
    /// # Errors
    /// None of them does.
    pub fn check(&self, covered: Covered<'_>, mac: &[u8]) -> Result<(), Unproven> {
        let proven = self.0.iter().any(|key| key.check(covered, mac).is_ok());
        if proven { Ok(()) } else { Err(Unproven) }
    }

    /// The same; from then on the one that is believed proves, since who is to be convinced has it.
    ///
    /// # Errors
    /// None of them does.
    pub fn follow(&mut self, covered: Covered<'_>, mac: &[u8]) -> Result<(), Unproven> {
        let at = self.0.iter().position(|key| key.check(covered, mac).is_ok()).ok_or(Unproven)?;
        self.0.swap(0, at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::new([byte; KEY_BYTES])
    }

    #[test]
    fn a_key_proves_for_its_purpose_and_its_secret_only() {
        let said = Covered::new("test").bytes(b"hello");
        let mac = secret(1).key(Purpose::Peer).mac(said);
        assert_eq!(secret(1).key(Purpose::Peer).check(said, &mac.0), Ok(()));
        for other in
            [secret(1).key(Purpose::Bus), secret(1).key(Purpose::Operator), secret(2).key(Purpose::Peer)]
        {
            assert_eq!(other.check(said, &mac.0), Err(Unproven));
        }
        let key = secret(1).key(Purpose::Peer);
        assert_eq!(key.check(Covered::new("tset").bytes(b"hello"), &mac.0), Err(Unproven));
        assert_eq!(key.check(said, &mac.0[..MAC_BYTES - 1]), Err(Unproven));
        assert_eq!(key.check(said, &[]), Err(Unproven));
    }

    /// The vectors come from another implementation (Python's `hmac` and `hashlib`).
    #[test]
    fn derived_keys_and_macs_are_frozen() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let keys = [Purpose::Peer, Purpose::Operator, Purpose::Bus].map(|p| hex(secret(7).key(p).bytes()));
        assert_eq!(
            keys,
            [
                "08a6444cbc36fa1eca94841a2400b2dbce9fcf3424af4945b0a32232ddc393fb",
                "2915e37f72901134be6e28cb029a681e0dd43130295749e1904f6523548e7f16",
                "fdf195f94fe67fbc6c7f09ea63f84e2aaaa69e770252f565758280497ebe7592",
            ]
        );
        let said = Covered::new("frozen").number(3).bytes(b"abc");
        assert_eq!(hex(&secret(7).key(Purpose::Bus).mac(said).0), "684422ab0699d089d2bbe012ef7bac10");
    }

    #[test]
    fn both_keys_of_a_rotation_are_believed_and_the_first_proves() {
        let (new, old) = (secret(2).key(Purpose::Bus), secret(1).key(Purpose::Bus));
        let keys = Keys::new(vec![new.clone(), old.clone()]);
        let said = Covered::new("test").number(3);
        assert_eq!(keys.mac(said), new.mac(said));
        assert_eq!(keys.check(said, &old.mac(said).0), Ok(()));
        assert_eq!(keys.check(said, &secret(3).key(Purpose::Bus).mac(said).0), Err(Unproven));
        assert_eq!((keys.find(old.id()), keys.find(KeyId(1))), (Some(&old), None));
    }

    #[test]
    fn no_text_shows_a_secret() {
        let (secret, key) = (secret(0xAB), secret(0xAB).key(Purpose::Peer));
        let shown = format!("{secret:?} {key:?}");
        assert!(!shown.contains("abab") && !shown.contains("171"), "{shown}");
    }
}
