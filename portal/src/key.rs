//! The keys of the portals' records, and the way back from a key to its ids.
//!
//! The braces stand in the key: the text between them decides the place on the ring, so that all orders of a client
//! are together, and all records of a product. Ids are percent-encoded, hence a brace or slash in a key is always
//! ours and no id's prefix can match another's key. `docs/SCHEMA.md` has the grammar.

use bytes::Bytes;

use crate::id::{Cid, Oid, Pid};

/// `c/{CID}`: the client.
#[must_use]
pub fn client(cid: &Cid) -> Bytes {
    Bytes::from(format!("c/{{{}}}", cid.encoded()))
}

/// `p/{PID}`: description and price.
#[must_use]
pub fn product(pid: &Pid) -> Bytes {
    Bytes::from(format!("p/{{{}}}", pid.encoded()))
}

/// `s/{PID}`: the stock.
#[must_use]
pub fn stock(pid: &Pid) -> Bytes {
    Bytes::from(format!("s/{{{}}}", pid.encoded()))
}

/// `o/{CID}/OID`: an order.
#[must_use]
pub fn order(cid: &Cid, oid: &Oid) -> Bytes {
    Bytes::from(format!("o/{{{}}}/{oid}", cid.encoded()))
}

/// `shop`: the shop itself.
#[must_use]
pub fn shop() -> Bytes {
    Bytes::from_static(b"shop")
}

/// `o/{`: all orders of all clients.
#[must_use]
pub fn orders() -> Bytes {
    Bytes::from_static(b"o/{")
}

/// The ids in `o/{CID}/OID`; `None` if the key is of another form.
#[must_use]
pub fn order_in(at: &[u8]) -> Option<(Cid, Oid)> {
    let (encoded, oid) = std::str::from_utf8(at).ok()?.strip_prefix("o/{")?.split_once("}/")?;
    let (cid, oid) = (proto::keys::decode_id(encoded).ok()?, Oid::parse(oid)?);
    let cid = Cid::stored("cid", &cid).ok()?;
    (order(&cid, &oid) == at).then_some((cid, oid))
}

/// `o/{CID}/`: all orders of a client.
#[must_use]
pub fn orders_of(cid: &Cid) -> Bytes {
    Bytes::from(format!("o/{{{}}}/", cid.encoded()))
}

/// `h/{PID}/OID`: this open order holds this product.
#[must_use]
pub fn holder(pid: &Pid, oid: &Oid) -> Bytes {
    Bytes::from(format!("h/{{{}}}/{oid}", pid.encoded()))
}

/// `h/{PID}/`: all open orders that hold a product.
#[must_use]
pub fn holders_of(pid: &Pid) -> Bytes {
    Bytes::from(format!("h/{{{}}}/", pid.encoded()))
}

/// The keys `<letter>/{id}` whose id begins with `prefix` (letter `c`, `p` or `s`; empty: all; at most 128 bytes,
/// which the caller has checked).
#[must_use]
pub fn beginning_with(letter: char, prefix: &str) -> Bytes {
    let encoded = proto::keys::encode_id(prefix).unwrap_or_default();
    Bytes::from(format!("{letter}/{{{encoded}"))
}

/// The id in `c/{id}`, `p/{id}` or `s/{id}`; `None` if the key is of another form.
#[must_use]
pub fn id_in(key: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(key).ok()?;
    proto::keys::decode_id(text.get(2..)?.strip_prefix('{')?.strip_suffix('}')?).ok()
}

/// The OID at the end of `o/{CID}/OID` or `h/{PID}/OID`.
#[must_use]
pub fn oid_in(key: &[u8]) -> Option<Oid> {
    let text = std::str::from_utf8(key).ok()?;
    Oid::parse(text.rsplit_once('/')?.1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::ID_BYTES_MAX;

    /// The store's longest key.
    const KEY_BYTES_MAX: usize = 480;

    #[test]
    fn the_longest_ids_fit_in_a_key() {
        let cid = Cid::parse("cid", &"%".repeat(ID_BYTES_MAX)).expect("an id");
        let pid = Pid::parse("pid", &"/".repeat(ID_BYTES_MAX)).expect("an id");
        let oid = Oid::derive(&cid, b"request");
        assert!(order(&cid, &oid).len() <= KEY_BYTES_MAX);
        assert!(holder(&pid, &oid).len() <= KEY_BYTES_MAX);
    }

    #[test]
    fn keys_are_as_documented() {
        let (cid, pid) =
            (Cid::parse("cid", "a/b").expect("an id"), Pid::parse("pid", "maçã").expect("an id"));
        assert_eq!(client(&cid), "c/{a%2Fb}");
        assert_eq!(product(&pid), "p/{maçã}");
        assert_eq!(stock(&pid), "s/{maçã}");
    }

    proptest! {
        #[test]
        fn keys_give_their_ids_back(text in "\\PC{1,32}") {
            let pid = Pid::stored("pid", &text).expect("an id");
            prop_assert_eq!(id_in(&product(&pid)), Some(text));
        }

        #[test]
        fn an_orders_key_gives_its_ids_back(cid in "\\PC{1,32}", request in "[a-z]{1,8}") {
            let cid = Cid::stored("cid", &cid).expect("an id");
            let oid = Oid::derive(&cid, request.as_bytes());
            let at = order(&cid, &oid);
            prop_assert!(at.starts_with(&orders()) && at.starts_with(&orders_of(&cid)));
            prop_assert_eq!(order_in(&at), Some((cid, oid)));
            prop_assert_eq!(order_in(&at[..at.len() - 1]), None);
        }

        #[test]
        fn no_id_can_match_another_ones_key(a in "[a-c{}/%]{1,6}", b in "[a-c{}/%]{1,6}") {
            prop_assume!(a != b);
            let (a, b) = (Cid::parse("cid", &a).expect("an id"), Cid::parse("cid", &b).expect("an id"));
            prop_assert!(!orders_of(&b).starts_with(&orders_of(&a)));
            prop_assert!(!client(&b).starts_with(&client(&a)));
        }

        #[test]
        fn a_prefix_of_an_id_is_a_prefix_of_its_key(id in "\\PC{1,20}", cut in 0usize..20) {
            let pid = Pid::stored("pid", &id).expect("an id");
            let end = id.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(id.len());
            prop_assert!(product(&pid).starts_with(&beginning_with('p', &id[..end])));
        }
    }
}
