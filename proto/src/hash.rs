//! A key's place on the ring, and digests: frozen for ever by test vectors, since both are on disk.
//!
//! Promises: the same bytes give the same number on every machine and in every release.
//! Leaves out: which shard owns a hash (the ring is the core's).

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Bytes of a [`digest`].
pub const DIGEST_BYTES: usize = 16;

/// The part of a key that places it on the ring: what is between the first `{` and the next `}` if that is not
/// empty, else the whole key. Keys that share it live on one shard.
#[must_use]
pub fn hashed_part(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let inner = &key[open + 1..];
    match inner.iter().position(|byte| *byte == b'}') {
        Some(close) if close > 0 => &inner[..close],
        _ => key,
    }
}

/// The [`hashed_part`] of every key that begins so, if that is decided by the beginning alone.
#[must_use]
pub fn tag_of_prefix(prefix: &[u8]) -> Option<&[u8]> {
    // Without a whole tag it is the key, which goes on.
    let tag = hashed_part(prefix);
    (tag.len() < prefix.len()).then_some(tag)
}

/// Where a key stands on the ring: xxh3-64 of its [`hashed_part`].
#[must_use]
pub fn ring_hash(key: &[u8]) -> u64 {
    xxh3_64(hashed_part(key))
}

/// xxh3-128 (big-endian) of the parts, each preceded by its length, so that no two lists of parts run together.
/// It recognises a repeated request; it is no protection against forgery.
#[must_use]
pub fn digest(parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.digest128().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_in_braces_is_hashed_if_there_is_one() {
        let cases: [(&str, &str); 8] = [
            ("o/{c1}/7", "c1"),
            ("c/{c1}", "c1"),
            ("plain", "plain"),
            ("{}", "{}"),
            ("a{}b{c}", "a{}b{c}"),
            ("a{b", "a{b"),
            ("a}b{c}", "c"),
            ("{{a}}", "{a"),
        ];
        for (key, part) in cases {
            assert_eq!(hashed_part(key.as_bytes()), part.as_bytes(), "{key}");
        }
        assert_eq!(ring_hash(b"o/{c1}/7"), ring_hash(b"c/{c1}"));
    }

    #[test]
    fn a_prefix_with_a_whole_tag_decides_where_its_keys_stand() {
        assert_eq!(tag_of_prefix(b"o/{c1}/"), Some(&b"c1"[..]));
        assert_eq!(tag_of_prefix(b"o/{c1}"), Some(&b"c1"[..]));
        for open in ["", "o/", "o/{", "o/{c1", "o/{}", "o/}"] {
            assert_eq!(tag_of_prefix(open.as_bytes()), None, "{open}");
        }
    }

    #[test]
    fn the_ring_hash_is_frozen() {
        let vectors: [(&[u8], u64); 4] = [
            (b"", 0x2d06_8005_38d3_94c2),
            (b"a", 0xe6c6_32b6_1e96_4e1f),
            (b"c/{c1}", 0x8ea6_ff26_c9a9_5602),
            (b"abc", 0x78af_5f94_892f_3950),
        ];
        for (key, hash) in vectors {
            assert_eq!(ring_hash(key), hash, "{:#x} of {key:?}", ring_hash(key));
        }
    }

    #[test]
    fn the_digest_is_frozen_and_parts_do_not_run_together() {
        assert_eq!(
            format!("{:032x}", u128::from_be_bytes(digest(&[b"order", b"c1"]))),
            "bb7c3b41b475b215ba5a42c5f33ba5cc"
        );
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_ne!(digest(&[]), digest(&[b""]));
    }
}
