//! One user operation as store transactions: the same request id, a digest of the user's operation, and an attempt
//! number that rises whenever guards failed and the operation is decided anew.
//!
//! A transaction is *always* sent, also when the portal already believes that the answer is no: only the store knows
//! whether this request id was carried out before, and then that answer counts. So every refusal comes out of a
//! failed guard, is as fresh as the log, and no id is executed twice.
//!
//! Bounds: [`ATTEMPTS_MAX`] tries with a jittered pause, then ABORTED. Refusals that are only remembered from an
//! earlier call are passed over without a pause, since a higher attempt may run.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use proto::check::{self, AHEAD_MS_MAX, TXN_BYTES_MAX};
use proto::portal::RequestId;
use proto::store::{Identity, Record, Returning, Txn, TxnResponse, operation::Action};
use store_client::{Group, Refusal};

use crate::cache::Token;
use crate::document::event::KEYS;
use crate::error::Error;
use crate::handle::Portal;
use crate::id::plain;
use crate::index;
use crate::limits::{ATTEMPTS_MAX, ATTEMPTS_REMEMBERED_MAX, REQUEST_ID_BYTES_MAX};

/// The longest pause between two tries is twice this to the sixth.
const PAUSE_MS: u64 = 1;
const PAUSE_DOUBLINGS_MAX: u32 = 6;

/// What names a user operation, so that a repetition changes nothing twice.
#[derive(Clone, Debug)]
pub struct Request {
    /// 1 to 64 bytes.
    id: String,
    /// The id that its user knows: of a part, the whole's.
    known_as: String,
    /// When it was made, milliseconds since 1970; 0 if a person chose it.
    created_ms: i64,
    /// Of the operation's name and arguments.
    digest: [u8; 16],
}

impl Request {
    /// The request of an operation with these arguments (the message without its `request` field). An id that is not
    /// given is made.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: the id is too long or has a control character, or its time is negative.
    pub fn new(
        operation: &str,
        given: Option<RequestId>,
        arguments: &impl Message,
    ) -> Result<Request, Error> {
        let digest = proto::hash::digest(&[operation.as_bytes(), &arguments.encode_to_vec()]);
        let given = given.unwrap_or_default();
        if given.id.len() > REQUEST_ID_BYTES_MAX {
            let why = format!("{} bytes; a request id has at most {REQUEST_ID_BYTES_MAX}", given.id.len());
            return Err(Error::invalid("request.id", why));
        }
        plain("request.id", &given.id)?;
        if given.created_ms < 0 {
            return Err(Error::invalid("request.created_ms", "must not be negative"));
        }
        if given.created_ms.saturating_sub(store_client::now_ms()) > AHEAD_MS_MAX {
            let why = "is more than a hundred years from now; milliseconds since 1970 are meant";
            return Err(Error::invalid("request.created_ms", why));
        }
        if given.id.is_empty() {
            let id = uuid::Uuid::now_v7().simple().to_string();
            return Ok(Request { known_as: id.clone(), id, created_ms: store_client::now_ms(), digest });
        }
        Ok(Request { known_as: given.id.clone(), id: given.id, created_ms: given.created_ms, digest })
    }

    /// The id's bytes.
    #[must_use]
    pub fn id(&self) -> &[u8] {
        self.id.as_bytes()
    }

    /// What names it: its id, when that was made, and the digest of its name and arguments.
    #[must_use]
    pub fn named(&self) -> (&str, i64, [u8; 16]) {
        (&self.id, self.created_ms, self.digest)
    }

    /// The request that is named so, for whoever goes on with it.
    #[must_use]
    pub fn again(id: &str, created_ms: i64, digest: [u8; 16]) -> Request {
        Request { id: id.to_owned(), known_as: id.to_owned(), created_ms, digest }
    }

    /// A request for a part of this operation that is a transaction of its own (a cascade's first step, say):
    /// the same part of the same request is carried out once.
    #[must_use]
    pub fn part(&self, name: &str) -> Request {
        let id = u128::from_be_bytes(proto::hash::digest(&[b"part", self.id.as_bytes(), name.as_bytes()]));
        let digest = proto::hash::digest(&[&self.digest, name.as_bytes()]);
        let known_as = self.known_as.clone();
        Request { id: format!("{id:032x}"), known_as, created_ms: self.created_ms, digest }
    }

    /// Its name in the store, at this attempt.
    pub(crate) fn identity(&self, attempt: u32) -> Identity {
        Identity::user(self.id.clone(), self.created_ms, attempt, self.digest)
    }

    fn error(&self, error: store_client::Error) -> Error {
        let request = self.known_as.clone();
        match error {
            store_client::Error::Refused { reason: Refusal::IdReused, .. } => {
                Error::RequestReused { request }
            }
            store_client::Error::Refused { reason: Refusal::Expired, .. } => {
                let age_ms = match self.created_ms {
                    0 => 0,
                    made_ms => store_client::now_ms().saturating_sub(made_ms).max(1),
                };
                Error::RequestExpired { age_ms, request }
            }
            store_client::Error::Refused { reason: Refusal::Closed, .. } => Error::RequestClosed { request },
            store_client::Error::Unknown { message } => {
                Error::OutcomeUnknown { why: message, request, created_ms: self.created_ms }
            }
            other => Error::from(other),
        }
    }
}

/// The tries of one operation.
pub struct Attempts<'p> {
    portal: &'p Portal,
    request: Request,
    /// The number of the next try, from 1.
    attempt: u32,
    /// Tries that ran and failed in this call.
    failed: u32,
    /// Refusals remembered from earlier calls.
    passed_over: u32,
}

impl<'p> Attempts<'p> {
    /// No try yet.
    #[must_use]
    pub fn new(portal: &'p Portal, request: Request) -> Attempts<'p> {
        Attempts { portal, request, attempt: 1, failed: 0, passed_over: 0 }
    }

    /// Sends a transaction as the next try. The cache knows of it before this returns. The first guard's key must be
    /// the same in all tries of a request.
    ///
    /// # Errors
    /// There is no answer: see [`Error`]. A transaction whose guards failed is an answer.
    pub async fn send(&mut self, txn: Txn) -> Result<TxnResponse, Error> {
        let bytes = check::txn_bytes(&txn);
        if bytes > TXN_BYTES_MAX {
            let why =
                format!("too much for one transaction ({bytes} bytes of {TXN_BYTES_MAX}); send it in parts");
            return Err(Error::invalid("request", why));
        }
        let touched = Touches::watch(self.portal, &txn);
        let identity = self.request.identity(self.attempt);
        self.portal.count_transaction();
        self.portal.session.writes();
        let answer = self.portal.shared.store.txn(txn, Some(identity)).await;
        touched.settle(self.portal, answer.as_ref().ok());
        if let Ok(refused) = &answer {
            see_refusal(self.portal, touched.group, refused).await;
        }
        answer.map_err(|error| self.request.error(error))
    }

    /// After guards failed: pauses, and lets a higher attempt run.
    ///
    /// # Errors
    /// ABORTED: it was tried often enough.
    pub async fn again(&mut self, refused: &TxnResponse) -> Result<(), Error> {
        self.attempt += 1;
        if refused.remembered {
            self.passed_over += 1;
        } else {
            self.failed += 1;
        }
        if self.failed >= ATTEMPTS_MAX || self.passed_over >= ATTEMPTS_REMEMBERED_MAX {
            return Err(Error::Contended { attempts: self.failed + self.passed_over });
        }
        if !refused.remembered {
            pause(self.failed).await;
        }
        Ok(())
    }
}

/// Pauses after so many tries that failed: at random, so that those who met do not meet again, and longer each time.
pub async fn pause(failed: u32) {
    let pause_ms = PAUSE_MS << failed.min(PAUSE_DOUBLINGS_MAX);
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=2 * pause_ms))).await;
}

/// What a transaction without a user's request id did: a step of a cascade, harmless when repeated, since it guards
/// what it read.
///
/// # Errors
/// There is no answer.
pub async fn send_step(portal: &Portal, txn: Txn) -> Result<TxnResponse, Error> {
    let touched = Touches::watch(portal, &txn);
    portal.count_transaction();
    portal.session.writes();
    let answer = portal.shared.store.txn(txn, None).await;
    touched.settle(portal, answer.as_ref().ok());
    answer.map_err(|error| match error {
        store_client::Error::Unknown { message } => Error::away(message),
        other => other.into(),
    })
}

/// A refusal shows records of other groups than the one that decided, whose offsets it does not tell. What was not there is read
/// once more, to know when.
async fn see_refusal(portal: &Portal, decider: Group, refused: &TxnResponse) {
    for failed in &refused.failed {
        let group = portal.shared.store.group_of(&failed.key);
        match &failed.record {
            Some(record) => portal.session.saw(group, record.offset()),
            None if group == decider => {}
            // If the store cannot be read, the refusal stands without it.
            None => drop(portal.read_through(&failed.key).await),
        }
    }
}

/// The keys that a transaction may change, watched from before it is sent until the cache knows of it.
struct Touches {
    /// The group whose log tells when it was done.
    group: Group,
    tokens: Vec<(Bytes, Token)>,
    /// Keys that are only looked at: dropped if a guard on them failed.
    guarded: Vec<Bytes>,
    /// Keys that are deleted.
    deleted: Vec<Bytes>,
    /// Keys of which the answer shows what was there before, and not what was left.
    shown_before: Vec<Bytes>,
}

impl Touches {
    fn watch(portal: &Portal, txn: &Txn) -> Touches {
        let mut tokens: Vec<(Bytes, Token)> = Vec::with_capacity(txn.operations.len());
        let mut deleted = Vec::new();
        for operation in &txn.operations {
            let key = &operation.key;
            // Operations on one record stand together; holder records, rows and events are never read by key.
            let is_listed = key.starts_with(b"h/") || key.starts_with(KEYS) || index::is_row(key);
            if is_listed || tokens.last().is_some_and(|(last, _)| last == key) {
                continue;
            }
            if matches!(operation.action, Some(Action::Delete(_))) {
                deleted.push(key.clone());
            }
            let group = portal.shared.store.group_of(key);
            tokens.push((key.clone(), portal.shared.cache.watch(group, key, portal.now_ms())));
        }
        let guarded = txn.guards.iter().map(|guard| guard.key.clone()).collect();
        let before = txn.operations.iter().filter(|one| one.returning() == Returning::Before);
        let shown_before = before.map(|operation| operation.key.clone()).collect();
        let group = portal.shared.store.group_of(txn.tag().map_or(&[], |tag| &tag[..]));
        Touches { group, tokens, guarded, deleted, shown_before }
    }

    /// Tells the cache, before anybody hears of it. No answer: what may have been written is forgotten.
    fn settle(&self, portal: &Portal, answer: Option<&TxnResponse>) {
        portal.leave_fetches(self.tokens.iter().map(|(key, _)| key));
        let Some(answer) = answer else {
            self.tokens.iter().for_each(|(key, _)| portal.shared.cache.forget(key));
            return;
        };
        portal.session.saw(self.group, answer.offset());
        answer.positions.iter().for_each(|one| portal.session.saw(one.group, one.offset));
        if !answer.success {
            // What was cached misled us, or will mislead the next.
            answer.failed.iter().for_each(|failed| portal.shared.cache.forget(&failed.key));
            if answer.failed.is_empty() {
                self.guarded.iter().for_each(|key| portal.shared.cache.forget(key));
            }
            return;
        }
        let now_ms = portal.now_ms();
        for (key, token) in &self.tokens {
            if portal.shared.store.group_of(key) != self.group {
                // Done in another group's log, at an offset that the answer does not tell.
                portal.shared.cache.forget(key);
                continue;
            }
            let written = if answer.remembered { None } else { self.left(key, answer) };
            portal.shared.cache.written(token, written, answer.offset(), now_ms);
        }
    }

    /// What the transaction left under a key, if it said so.
    fn left(&self, key: &Bytes, answer: &TxnResponse) -> Option<Option<Record>> {
        if self.deleted.contains(key) {
            return Some(None);
        }
        if self.shown_before.contains(key) {
            return None;
        }
        let last = answer.results.iter().rev().find(|touched| touched.key == *key)?;
        last.record.clone().filter(|record| !record.data.is_empty()).map(Some)
    }
}

/// The record that an answer shows of a key, with its data.
#[must_use]
pub fn shown<'a>(answer: &'a TxnResponse, key: &[u8]) -> Option<&'a Record> {
    let of_key = answer.results.iter().rev().filter(|touched| touched.key == key);
    of_key.filter_map(|touched| touched.record.as_ref()).find(|record| !record.data.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::portal::{
        AdjustStockRequest, CreateOrderRequest, DeleteClientRequest, DeleteProductRequest,
        ImportOrderRequest, ImportedLine, InsertClientRequest, InsertProductRequest, LineChange,
        ModifyOrderRequest, OrderRequest, StaffModifyOrderRequest, StaffMoveRequest, StaffOrderRequest,
        StaffReturnRequest, StockRules, UpdateClientRequest, UpdateProductRequest,
    };
    use proto::store::Touched;

    /// The digest of an operation and its arguments, as it is stored.
    fn digest(operation: &str, arguments: &impl Message) -> String {
        let digest = Request::new(operation, None, arguments).expect("a request").digest;
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn staff() -> StaffOrderRequest {
        StaffOrderRequest {
            cid: "ana".to_owned(),
            oid: "7k2vq9d4m0xhy3c8w5jb6nzt".to_owned(),
            reason: "by telephone".to_owned(),
            by: "joana".to_owned(),
            if_match: 9,
            ..StaffOrderRequest::default()
        }
    }

    fn lines() -> Vec<LineChange> {
        vec![LineChange { pid: "fig".to_owned(), quantity: 2, ..LineChange::default() }]
    }

    /// Answers are remembered under these digests, also by stores of other versions. The staff's operations are others than the
    /// client's, whose request ids they share.
    #[test]
    fn the_digests_of_changes_of_orders_are_frozen() {
        let StaffOrderRequest { cid, oid, reason, by, if_match, .. } = staff();
        let own =
            OrderRequest { cid: cid.clone(), oid: oid.clone(), request: None, ..OrderRequest::default() };
        let modify = ModifyOrderRequest {
            cid: cid.clone(),
            oid: oid.clone(),
            lines: lines(),
            if_match,
            request: None,
            ..ModifyOrderRequest::default()
        };
        let staff_modify = StaffModifyOrderRequest {
            cid,
            oid,
            lines: lines(),
            reason,
            by,
            if_match,
            request: None,
            ..StaffModifyOrderRequest::default()
        };
        assert_eq!(digest("ModifyOrder", &modify), "f43de3dafc87e9308862833f082c4c7f");
        assert_eq!(digest("ConfirmOrder", &own), "e1ca5007b09d5fdaa24beb5e8d38622e");
        assert_eq!(digest("CancelOrder", &own), "9832d972ac837d73b3cfd6aef0c31681");
        assert_eq!(digest("StaffModifyOrder", &staff_modify), "f6081cf318ef833a6b435cb0b7db34a4");
        assert_eq!(digest("StaffConfirmOrder", &staff()), "8a1f56c93141b41209fb69d548514754");
        assert_eq!(digest("StaffCancelOrder", &staff()), "07249d96f001fff817488e95a2a4f9f4");
    }

    /// As the program of commit 3753553 makes them of its own messages, whatever these have got since: so are the first three of changes of orders, and
    /// those of products without rules.
    #[test]
    fn the_digests_of_commit_3753553_are_those_of_today() {
        let (cid, pid) = (|| "ana".to_owned(), || "fig".to_owned());
        let create = CreateOrderRequest { cid: cid(), lines: lines(), ..CreateOrderRequest::default() };
        assert_eq!(digest("CreateOrder", &create), "c386a1a8ed545f5f9599b03c28c9b593");
        let data = || r#"{"name":"Ana"}"#.to_owned();
        let insert = InsertClientRequest { cid: cid(), data: data(), ..InsertClientRequest::default() };
        assert_eq!(digest("InsertClient", &insert), "e31a53bd217007187fe590f7cb788488");
        let update =
            UpdateClientRequest { cid: cid(), data: data(), if_match: 7, ..UpdateClientRequest::default() };
        assert_eq!(digest("UpdateClient", &update), "dd7fcea00dba172b20665649b2f584b2");
        let delete = DeleteClientRequest { cid: cid(), cascade: true, ..DeleteClientRequest::default() };
        assert_eq!(digest("DeleteClient", &delete), "fd264c45aad9bae604dc6c1b64fbffee");
        let delete = DeleteProductRequest { pid: pid(), cascade: true, ..DeleteProductRequest::default() };
        assert_eq!(digest("DeleteProduct", &delete), "523fcc9248885e34459c9b203995cb84");
        let adjust = AdjustStockRequest { pid: pid(), amount: -4, ..AdjustStockRequest::default() };
        assert_eq!(digest("AdjustStock", &adjust), "74436467e8777deb6bbd556af2253c34");
    }

    /// What is expected counts only where it is said.
    #[test]
    fn the_digests_of_changes_that_expect_something_are_frozen() {
        let StaffOrderRequest { cid, oid, .. } = staff();
        let expect_total = "3.00".to_owned();
        let own =
            OrderRequest { cid: cid.clone(), oid: oid.clone(), expect_total, ..OrderRequest::default() };
        let line = LineChange { expect_price: "1.50".to_owned(), ..lines().remove(0) };
        let modify =
            ModifyOrderRequest { cid, oid, lines: vec![line], if_match: 9, ..ModifyOrderRequest::default() };
        let before = [&b"\x0a\x03ana\x12\x187k2vq9d4m0xhy3c8w5jb6nzt"[..], b"\x22\x043.00"].concat();
        assert_eq!(own.encode_to_vec(), before);
        assert_eq!(digest("ModifyOrder", &modify), "26af8e8e7e5abbc69ab8ccf4d53fc30a");
        assert_eq!(digest("ConfirmOrder", &own), "6a453198079ab7eaa3285f5e03428dff");
    }

    #[test]
    fn the_digests_of_moves_of_orders_are_frozen() {
        let StaffOrderRequest { cid, oid, reason, by, if_match, .. } = staff();
        let moving = StaffMoveRequest { cid, oid, reason, by, if_match, request: None };
        let StaffOrderRequest { cid, oid, reason, by, if_match, .. } = staff();
        let returning = StaffReturnRequest { cid, oid, reason, by, restock: true, if_match, request: None };
        assert_eq!(digest("StaffPayOrder", &moving), "7e0e4ae1ca1415e57ca064af03d374b7");
        assert_eq!(digest("StaffPackOrder", &moving), "062bb15d4c5c65732b0b3b6af842202e");
        assert_eq!(digest("StaffSendOrder", &moving), "669c8f9fc332ba235c1f8454a7c93d59");
        assert_eq!(digest("StaffReturnOrder", &returning), "75631532208c0f437e5788d53bc9c498");
        assert_eq!(digest("StaffRefundOrder", &staff()), "30255122d770b8b6fe977102ef2ce2e9");
    }

    #[test]
    fn the_digest_of_an_imported_order_is_frozen() {
        let StaffOrderRequest { cid, oid, .. } = staff();
        let line = ImportedLine {
            pid: "fig".to_owned(),
            description: "Fig".to_owned(),
            quantity: 2,
            price: "1.50".to_owned(),
            ..ImportedLine::default()
        };
        let state = proto::portal::OrderState::Sent.into();
        let import = ImportOrderRequest {
            cid,
            oid,
            state,
            lines: vec![line],
            created_ms: 5,
            changed_ms: 9,
            ..ImportOrderRequest::default()
        };
        assert_eq!(digest("ImportOrder", &import), "74183f6254023a222ff5b070d6fae066");
    }

    /// Without rules they are those of versions that knew none.
    #[test]
    fn the_digests_of_changes_of_products_are_frozen() {
        let data = r#"{"description":"Fig","quantity":9,"price":"1.50"}"#.to_owned();
        let insert = InsertProductRequest { pid: "fig".to_owned(), data, request: None, rules: None };
        let data = r#"{"description":"Fig","price":"1.75"}"#.to_owned();
        let pid = "fig".to_owned();
        let update =
            UpdateProductRequest { pid, data, if_match: 7, if_match_stock: 9, request: None, rules: None };
        let rules = Some(StockRules { safety_stock: 5, quantity_max: 20, ..StockRules::default() });
        let before = [&b"\x0a\x03fig\x12\x24"[..], update.data.as_bytes(), b"\x18\x07\x20\x09"].concat();
        assert_eq!(update.encode_to_vec(), before, "rules that are not there have no bytes");
        let digests = [digest("InsertProduct", &insert), digest("UpdateProduct", &update)];
        let frozen = ["be6d86c09e3eb9b2094dc15cfd0281ed", "fe99c33d95b9f3ba5b3b14e03c4c26a0"];
        assert_eq!(digests, frozen);
        let ruled = [
            digest("InsertProduct", &InsertProductRequest { rules, ..insert }),
            digest("UpdateProduct", &UpdateProductRequest { rules, ..update }),
        ];
        assert_eq!(ruled, ["ef7274d9e0a7caf4f023e9d0cd83d313", "44345a65a5731437739d3bd1544e0769"]);
    }

    /// A cache that took it for what was left would show a removed client for as long as no event drops it.
    #[test]
    fn a_record_shown_as_it_was_before_is_not_taken_for_what_was_left() {
        let key = Bytes::from_static(b"c/{ana}");
        let record = Record { data: Bytes::from_static(b"{}"), ..Record::default() };
        let results = vec![Touched { key: key.clone(), record: Some(record.clone()) }];
        let answer = TxnResponse { success: true, results, ..TxnResponse::default() };
        let left = |shown_before: &[&Bytes], deleted: &[&Bytes]| {
            let owned = |keys: &[&Bytes]| keys.iter().map(|key| (*key).clone()).collect();
            let (shown_before, deleted) = (owned(shown_before), owned(deleted));
            Touches { group: 1, tokens: Vec::new(), guarded: Vec::new(), deleted, shown_before }
                .left(&key, &answer)
        };
        assert_eq!(left(&[], &[]), Some(Some(record)));
        assert_eq!(left(&[&key], &[]), None);
        assert_eq!(left(&[&key], &[&key]), Some(None));
    }
}
