//! The admission of a portal's calls, and the room of each.

use admission::limits::REQUEST_MS_MAX;
use admission::place::Full;
use admission::{Admission, Kind, Limits, Rules};
use tonic::Status;

use crate::error::Error;
use crate::limits::REQUEST_BYTES_MAX;
use crate::transport::resource::OPENAPI;

/// Bytes with which every HTTP/2 connection begins (RFC 9113, 3.4).
pub(crate) const PREFACE_BYTES: usize = 24;
/// File descriptors that a portal needs beside its callers' connections: to the store, to the broker, its own.
const DESCRIPTORS_RESERVED: usize = 36;

/// What a call that answers with one document is expected to hold, if nothing else is known.
const DOCUMENT_BYTES: usize = 64 << 10;
/// And one that answers with a page of them, with what the store says of them meanwhile.
const PAGE_BYTES: usize = 2 << 20;

/// The places of a portal's callers; no member of the group is among them.
pub(crate) fn limits() -> Limits {
    Limits::of_process(DESCRIPTORS_RESERVED, 0)
}

/// The layer.
pub(crate) fn layer() -> Admission {
    Admission::new(Rules { kind, is_plain, message_bytes_max: REQUEST_BYTES_MAX, full, late })
}

fn full(full: Full) -> Status {
    let (why, own) = match full {
        Full::Own => {
            ("this connection has all that one may have of answers not taken, or of streams: take them", true)
        }
        Full::All => ("the room for answers is taken up: try again later", false),
    };
    Error::Overloaded { why: why.to_owned(), own }.into()
}

fn late() -> Status {
    let why =
        format!("the request did not come whole within {REQUEST_MS_MAX} ms: nothing was done, send it again");
    Error::Overloaded { why, own: true }.into()
}

/// Whether a path is one of HTTP.
pub(crate) fn is_plain(path: &str) -> bool {
    path.starts_with("/v1/") || path == OPENAPI
}

/// Whether what is asked at a path is answered with one message.
pub(crate) fn is_call(path: &str) -> bool {
    matches!(kind(path), Kind::Call(_))
}

fn kind(path: &str) -> Kind {
    if path == OPENAPI {
        return Kind::Call(DOCUMENT_BYTES);
    }
    if let Some(path) = path.strip_prefix("/v1/") {
        let is_list = path
            .rsplit('/')
            .next()
            .is_some_and(|last| matches!(last, "clients" | "products" | "orders" | "events"));
        return Kind::Call(if is_list { PAGE_BYTES } else { DOCUMENT_BYTES });
    }
    let Some((service, method)) = path.trim_start_matches('/').split_once('/') else { return Kind::Free };
    match (service, method) {
        ("feira.portal.v1.Portal", _) | ("grpc.health.v1.Health", "Check") => Kind::Free,
        (_, "Watch" | "WatchEvents") => Kind::Stream,
        (service, _) if service.starts_with("grpc.reflection.") => Kind::Stream,
        (_, method) if method.starts_with("List") || method.starts_with("Browse") => Kind::Call(PAGE_BYTES),
        _ => Kind::Call(DOCUMENT_BYTES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_need_more_room_than_documents_and_status_needs_none() {
        assert_eq!(kind("/feira.portal.v1.Admin/ListClients"), Kind::Call(PAGE_BYTES));
        assert_eq!(kind("/feira.portal.v1.Shop/BrowseProducts"), Kind::Call(PAGE_BYTES));
        assert_eq!(kind("/feira.portal.v1.Shop/GetOrder"), Kind::Call(DOCUMENT_BYTES));
        assert_eq!(kind("/feira.portal.v1.Portal/Status"), Kind::Free);
        assert_eq!(kind("/feira.portal.v1.Admin/WatchEvents"), Kind::Stream);
        assert_eq!(kind("/v1/clients/ana/orders"), Kind::Call(PAGE_BYTES));
        assert!(is_plain("/v1/clients") && is_plain(OPENAPI) && !is_plain("/feira.portal.v1.Shop/GetOrder"));
        assert_eq!(kind("/v1/clients/ana/orders/7"), Kind::Call(DOCUMENT_BYTES));
        for (status, own) in [(full(Full::Own), true), (full(Full::All), false), (late(), true)] {
            let told = Error::from_status(&status);
            assert!(matches!(told, Some(Error::Overloaded { own: of, .. }) if of == own), "{told:?}");
        }
    }
}
