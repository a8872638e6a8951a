//! From a command to what is sent.

use bytes::Bytes;
use proto::store::{
    DeleteRequest, DeleteVersionRequest, SetRequest, Status, TestAndSetRequest, Txn, TxnResponse,
    WriteResponse,
};
use proto::write;
use store_client::{Range, now_ms};

use crate::verb::call::Call;
use crate::verb::key::{key_of, shown};
use crate::verb::kv::{Kv, RECORDS_MAX};
use crate::verb::words::quoted;

/// Records of a scan when no limit is given.
const LIMIT_DEFAULT: u64 = 100;
const _: () = assert!(LIMIT_DEFAULT <= RECORDS_MAX && RECORDS_MAX <= u32::MAX as u64);

/// What to send.
#[derive(Clone, Debug)]
pub enum Request {
    /// A transaction, in the order of the session.
    Ordered {
        /// Guards and operations.
        txn: Txn,
        /// How to read the answer.
        reading: Reading,
        /// The request id that a person gave.
        id: Option<String>,
        /// Of what the person asked, so that the id cannot be used for something else.
        digest: [u8; 16],
    },
    /// Whatever any replica has applied.
    StaleGet(Bytes),
    /// Records in key order.
    Scan {
        /// Which.
        range: Range,
        /// How many at most.
        limit: u32,
        /// Whatever any replica has applied.
        stale: bool,
    },
    /// What became of a write.
    Outcome {
        /// The key that routed it.
        tag: Bytes,
        /// Its request id.
        id: String,
    },
}

impl Request {
    /// Whether it may change something.
    #[must_use]
    pub fn writes(&self) -> bool {
        match self {
            Request::Ordered { reading, .. } => *reading != Reading::Get,
            Request::Outcome { .. } => true,
            Request::StaleGet(_) | Request::Scan { .. } => false,
        }
    }
}

/// How the answer of a transaction reads in the words of the specification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// [`write::set_response`].
    Set,
    /// The record read.
    Get,
    /// The record replaced, whatever its version.
    Update,
    /// [`write::delete_response`].
    Delete,
    /// [`write::delete_version_response`].
    DeleteVersion,
    /// [`write::test_and_set_response`] of this version.
    TestAndSet(u64),
}

impl Reading {
    /// The answer in the specification's words.
    #[must_use]
    pub fn of(self, response: TxnResponse) -> WriteResponse {
        match self {
            Reading::Set => write::set_response(response),
            Reading::Delete => write::delete_response(response),
            Reading::DeleteVersion => write::delete_version_response(response),
            Reading::TestAndSet(version) => write::test_and_set_response(version, response),
            Reading::Get => got(response),
            Reading::Update => updated(response),
        }
    }
}

fn got(response: TxnResponse) -> WriteResponse {
    let trimmed = response.trimmed;
    let record = response.results.into_iter().next().and_then(|touched| touched.record);
    let status = if record.is_some() { Status::Success } else { Status::Error };
    WriteResponse { status: status.into(), record, position: response.position, version: 0, trimmed }
}

fn updated(response: TxnResponse) -> WriteResponse {
    if !response.success {
        let trimmed = response.trimmed;
        return WriteResponse {
            status: Status::ErrorNe.into(),
            position: response.position,
            trimmed,
            ..Default::default()
        };
    }
    let old =
        response.results.first().and_then(|touched| touched.record.as_ref()).map_or(0, |old| old.version);
    // The version now is the old one and one, as after a test-and-set.
    write::test_and_set_response(old, response)
}

/// What a command sends; `None`: it sends nothing.
#[must_use]
pub fn request_of(call: &Call<Kv>) -> Option<Request> {
    let ordered = |txn, reading| {
        let id = call.get("--request").map(str::to_owned);
        Some(Request::Ordered { txn, reading, id, digest: digest(call) })
    };
    let data = || Bytes::copy_from_slice(call.text("DATA").as_bytes());
    let timestamp_ms = call.integer("--timestamp").unwrap_or_else(now_ms);
    let version = call.count("VERSION").unwrap_or(0);
    match call.verb.operation {
        Kv::Set => {
            let set =
                SetRequest { key: key(call, "KEY"), timestamp_ms, data: data(), ..SetRequest::default() };
            ordered(write::set(&set), Reading::Set)
        }
        Kv::Get if call.has("--stale") => Some(Request::StaleGet(key(call, "KEY"))),
        Kv::Get => ordered(Txn::new().get(key(call, "KEY")), Reading::Get),
        Kv::Update => {
            let key = key(call, "KEY");
            let txn = Txn::new().guard_exists(key.clone()).put(key, timestamp_ms, data()).returning_before();
            ordered(txn, Reading::Update)
        }
        Kv::Delete => {
            let delete = DeleteRequest { key: key(call, "KEY"), ..DeleteRequest::default() };
            ordered(write::delete(&delete), Reading::Delete)
        }
        Kv::DeleteVersion => {
            let delete =
                DeleteVersionRequest { key: key(call, "KEY"), version, ..DeleteVersionRequest::default() };
            ordered(write::delete_version(&delete), Reading::DeleteVersion)
        }
        Kv::TestAndSet => {
            let key = key(call, "KEY");
            let test = TestAndSetRequest { key, data: data(), timestamp_ms, version, ..Default::default() };
            ordered(write::test_and_set(&test), Reading::TestAndSet(version))
        }
        Kv::Scan => {
            let prefix = call.get("PREFIX").map_or_else(Bytes::new, |_| key(call, "PREFIX"));
            Some(scan(call, Range::Prefix(prefix)))
        }
        Kv::Range => Some(scan(call, Range::Between(key(call, "FROM"), key(call, "TO")))),
        Kv::Outcome => Some(Request::Outcome { tag: key(call, "KEY"), id: call.text("ID").to_owned() }),
        Kv::Wait | Kv::Help | Kv::Exit => None,
    }
}

/// Of the command and all its words; a timestamp counts only if it was given, since "now" differs in a retry.
fn digest(call: &Call<Kv>) -> [u8; 16] {
    let words = ["KEY", "VERSION", "DATA", "--timestamp"].map(|name| call.get(name).unwrap_or_default());
    let parts: Vec<&[u8]> = std::iter::once(call.verb.name).chain(words).map(str::as_bytes).collect();
    proto::hash::digest(&parts)
}

fn scan(call: &Call<Kv>, range: Range) -> Request {
    let limit = call.count("--limit").unwrap_or(LIMIT_DEFAULT);
    let limit = u32::try_from(limit).expect("checked when the line was read");
    Request::Scan { range, limit, stale: call.has("--stale") }
}

/// The bytes of a word that the table says is a key.
fn key(call: &Call<Kv>, name: &str) -> Bytes {
    key_of(call.text(name)).expect("checked when the line was read").into()
}

/// The command in short, for answers and for the list of what is open.
#[must_use]
pub fn in_short(call: &Call<Kv>) -> String {
    let of = |name| call.get(name).and_then(|word| key_of(word).ok()).map(|key| quoted(&shown(&key)));
    let keys: Vec<String> = ["KEY", "PREFIX", "FROM", "TO"].into_iter().filter_map(of).collect();
    format!("{} {}", call.verb.name, keys.join(" ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verb::call::parse;
    use crate::verb::kv::MENU;
    use crate::verb::words::words;
    use proto::store::{Record, Touched};

    fn request(line: &str) -> Option<Request> {
        request_of(&parse(&MENU, &words(line).unwrap()).unwrap())
    }

    #[test]
    fn commands_become_transactions() {
        let Some(Request::Ordered { txn, reading, id, digest }) = request("set 17 x --request r1") else {
            panic!("a transaction")
        };
        assert_eq!((reading, id.as_deref()), (Reading::Set, Some("r1")));
        let Some(Request::Ordered { digest: other, .. }) = request("set 17 y --request r1") else {
            panic!("a transaction")
        };
        assert_ne!(digest, other, "the same id with another command must be told apart");
        assert_eq!(txn.tag().unwrap().as_ref(), key_of("17").unwrap());
        assert!(matches!(request("get 1 --stale"), Some(Request::StaleGet(_))));
        assert!(matches!(request("range 1 9"), Some(Request::Scan { limit: 100, .. })));
        assert!(request("wait").is_none());
    }

    #[test]
    fn answers_read_in_the_words_of_the_specification() {
        let record = Record { version: 4, ..Record::default() };
        let results = vec![Touched { key: Bytes::new(), record: Some(record) }];
        let done = TxnResponse { success: true, results, ..TxnResponse::default() };
        assert_eq!(Reading::Get.of(done.clone()).status(), Status::Success);
        let updated = Reading::Update.of(done);
        assert_eq!((updated.status(), updated.version), (Status::Success, 5));
        assert_eq!(Reading::Update.of(TxnResponse::default()).status(), Status::ErrorNe);
        let absent = TxnResponse { success: true, ..TxnResponse::default() };
        assert_eq!(Reading::Get.of(absent).status(), Status::Error);
    }
}
