//! The matter of a request: the client, the product or the shop's rules that it is about. The store remembers requests there, and
//! finds them nowhere else.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::show::written::{self, in_line};
use crate::verb::shared::REQUEST;
use crate::verb::words::quoted;

/// The request that is about the shop's rules.
const OF_SHOP: &str = "UpdateShopRequest";

/// What a request is about: one of three, or nothing that is known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Matter {
    /// A client, or one of its orders; empty: no client.
    pub cid: String,
    /// A product; empty: none.
    pub pid: String,
    /// The shop's rules.
    pub is_shop: bool,
}

/// The members of a message that say what it is about; what else is in it is passed over, whatever it is.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    cid: String,
    pid: String,
}

/// The type of a message, without its path.
#[must_use]
pub fn kind<M>() -> &'static str {
    std::any::type_name::<M>().rsplit("::").next().unwrap_or_default()
}

impl Matter {
    /// That of a request about this client; empty: of nothing that is known.
    #[must_use]
    pub fn of_client(cid: &str) -> Matter {
        Matter { cid: cid.to_owned(), ..Matter::default() }
    }

    /// That of a message of this type with these ids. What names a client is about it, whatever product it names.
    #[must_use]
    pub fn of(kind: &str, cid: &str, pid: &str) -> Matter {
        let pid = if cid.is_empty() { pid.to_owned() } else { String::new() };
        Matter { pid, is_shop: kind == OF_SHOP, ..Matter::of_client(cid) }
    }

    /// That of a message. Data in it that no program can read as values stand in nobody's way.
    #[must_use]
    pub fn of_message<M: Serialize>(message: &M) -> Matter {
        let text = serde_json::to_string(message).unwrap_or_default();
        let Named { cid, pid } = serde_json::from_str(&text).unwrap_or_default();
        Matter::of(kind::<M>(), &cid, &pid)
    }

    /// What a person says of it: one of the three at most.
    ///
    /// # Errors
    /// It is more than one.
    pub fn given(cid: Option<&str>, pid: Option<&str>, is_shop: bool) -> Result<Matter, Failure> {
        if [cid.is_some(), pid.is_some(), is_shop].iter().filter(|is| **is).count() > 1 {
            return Err(Failure::usage("--cid, --pid and --shop: a request is about one of them"));
        }
        let text = |id: Option<&str>| id.unwrap_or_default().to_owned();
        Ok(Matter { cid: text(cid), pid: text(pid), is_shop })
    }

    /// Whether it is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        *self != Matter::default()
    }

    /// Whose it is, in words; empty: it is not known.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Matter { is_shop: true, .. } => "of the shop's rules".to_owned(),
            Matter { cid, .. } if !cid.is_empty() => format!("of client {}", written::id(cid)),
            Matter { pid, .. } if !pid.is_empty() => format!("of product {}", written::id(pid)),
            Matter { .. } => String::new(),
        }
    }

    /// The command that settles a request about it.
    #[must_use]
    pub fn settling(&self, id: &str) -> String {
        let id = quoted(&in_line(id));
        match self {
            Matter { is_shop: true, .. } => format!("settle {id} --shop"),
            Matter { cid, .. } if !cid.is_empty() => format!("settle {id} --cid {}", quoted(&in_line(cid))),
            Matter { pid, .. } if !pid.is_empty() => format!("settle {id} --pid {}", quoted(&in_line(pid))),
            Matter { .. } => format!("settle {id}"),
        }
    }

    /// What to do about a request whose outcome is unknown.
    #[must_use]
    pub fn ways_on(&self, id: &str) -> String {
        format!(
            "{} tells whether it was done, and closes it; the command with {} {} repeats it: it is done once at most",
            self.settling(id),
            REQUEST.name,
            quoted(&in_line(id))
        )
    }
}

#[cfg(test)]
mod tests {
    use proto::portal::{AdjustStockRequest, CreateOrderRequest, UpdateClientRequest, UpdateShopRequest};

    use super::*;

    #[test]
    fn a_request_is_settled_where_it_is_remembered() {
        let update =
            |data: &str| UpdateClientRequest { cid: "ana b".into(), data: data.into(), ..Default::default() };
        // Numbers and texts that no program can hold.
        for data in ["{}", r#"{"a":1e400}"#, r#"{"a":"\ud800"}"#, "no JSON"] {
            let matter = Matter::of_message(&update(data));
            assert_eq!(matter, Matter::of_client("ana b"), "{data}");
            assert_eq!(matter.settling("r 1"), "settle 'r 1' --cid 'ana b'");
        }
        let adjust = AdjustStockRequest { pid: "fig".into(), ..Default::default() };
        assert_eq!(Matter::of_message(&adjust).settling("r1"), "settle r1 --pid fig");
        assert_eq!(Matter::of_message(&UpdateShopRequest::default()).settling("r1"), "settle r1 --shop");
        assert!(!Matter::of_message(&CreateOrderRequest::default()).is_known());
        assert_eq!(Matter::of("ImportOrderRequest", "ana", "fig"), Matter::of_client("ana"));
    }

    #[test]
    fn a_person_says_one_of_three_at_most() {
        assert_eq!(Matter::given(Some("ana"), None, false).unwrap().shown(), "of client ana");
        assert_eq!(Matter::given(None, Some("fig"), false).unwrap().shown(), "of product fig");
        assert_eq!(Matter::given(None, None, true).unwrap().shown(), "of the shop's rules");
        assert!(!Matter::given(None, None, false).unwrap().is_known());
        assert!(Matter::given(Some("ana"), None, true).is_err());
        assert!(Matter::given(Some("ana"), Some("fig"), false).is_err());
    }
}
