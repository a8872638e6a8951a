//! A client: `c/{CID}` is `{"state":"active","open_orders":0,"data":{…}}`.
//!
//! `data` is the staff's document, kept as it is. It stands apart from our members, so that its names are free.
//! `open_orders` moves only by adds, `state` only in a deletion, `data` only by UpdateClient.
//!
//! A client that was removed while orders of it are left leaves `{"state":"gone","open_orders":0,"data":{}}`: the next
//! client under that id would find the orders of somebody else.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use proto::portal::Client;
use proto::store::Record;

use super::{Members, State, read};
use crate::error::Error;
use crate::id::Cid;

/// Where a client's own data stands in its record.
pub const DATA: &str = "/data";

/// How the record of an active client begins.
const ACTIVE_BEGINNING: &[u8] = br#"{"state":"active","#;

/// A client as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRecord {
    /// Whether it can order.
    pub state: State,
    /// Its orders in state open.
    pub open_orders: i64,
    /// What staff sent: a JSON object.
    pub data: Box<RawValue>,
}

/// A client's data as staff sent it, checked.
#[derive(Clone, Debug)]
pub struct ClientData {
    /// The JSON object.
    pub data: Box<RawValue>,
    /// Its member "name", if that is a string, which is not empty then: an id can be made from it.
    pub name: Option<String>,
}

impl ClientData {
    /// Checks the `data` of a request.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: too large, not a JSON object, or its name is empty.
    pub fn parse(text: &str) -> Result<ClientData, Error> {
        let members = Members::parse("data", text)?;
        let name: Option<String> = members.get("name").and_then(|name| serde_json::from_str(name.get()).ok());
        if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
            return Err(Error::invalid("data.name", "is empty; say who it is, or leave it out"));
        }
        let data = RawValue::from_string(text.trim().to_owned())
            .map_err(|error| Error::invalid("data", error.to_string()))?;
        Ok(ClientData { data, name })
    }
}

impl ClientRecord {
    /// The names of the members of its data that are others in this one.
    #[must_use]
    pub fn differences(&self, data: &ClientData) -> Vec<String> {
        let members = |data: &RawValue| Members::parse("data", data.get()).unwrap_or_default();
        members(&self.data).differences(&members(&data.data))
    }

    /// A new client.
    #[must_use]
    pub fn new(data: ClientData) -> ClientRecord {
        ClientRecord { state: State::Active, open_orders: 0, data: data.data }
    }

    /// What a removed client leaves under its id while orders of it are there: nothing of its data.
    #[must_use]
    pub fn gone() -> ClientRecord {
        let data = RawValue::from_string("{}".to_owned()).expect("an object is JSON");
        ClientRecord { state: State::Gone, open_orders: 0, data }
    }

    /// Reads what is stored under `key`.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn read(key: &[u8], record: &Record) -> Result<ClientRecord, Error> {
        read(key, &record.data)
    }

    /// Whether somebody is registered by this record: also by one that cannot be read, which says nothing else.
    #[must_use]
    pub fn registers(key: &[u8], record: &Record) -> bool {
        // What begins so says it, whatever follows: so nearly every record need not be read for it.
        record.data.starts_with(ACTIVE_BEGINNING)
            || ClientRecord::read(key, record).map_or(true, |client| client.state != State::Gone)
    }

    /// What staff are shown.
    #[must_use]
    pub fn shown(&self, cid: &Cid, record: &Record) -> Client {
        Client {
            cid: cid.to_string(),
            data: self.data.get().to_owned(),
            open_orders: self.open_orders,
            etag: record.offset(),
            version: record.version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::write;

    #[test]
    fn a_client_is_stored_as_documented() {
        let data = ClientData::parse(r#" {"name":"Ana","state":"SP","x":1.50} "#).expect("an object");
        assert_eq!(data.name.as_deref(), Some("Ana"));
        let bytes = write(&ClientRecord::new(data));
        let stored = r#"{"state":"active","open_orders":0,"data":{"name":"Ana","state":"SP","x":1.50}}"#;
        assert_eq!(String::from_utf8_lossy(&bytes), stored);
        assert!(bytes.starts_with(ACTIVE_BEGINNING));
        let record = Record { data: bytes.into(), ..Record::default() };
        let read = ClientRecord::read(b"c/{ana}", &record).expect("what we wrote");
        assert_eq!((read.state, read.open_orders), (State::Active, 0));
    }

    #[test]
    fn a_removed_client_is_stored_as_documented_and_registers_nobody() {
        let bytes = write(&ClientRecord::gone());
        assert_eq!(String::from_utf8_lossy(&bytes), r#"{"state":"gone","open_orders":0,"data":{}}"#);
        let record = |data: Vec<u8>| Record { data: data.into(), ..Record::default() };
        assert!(!ClientRecord::registers(b"c/{ana}", &record(bytes)));
        assert!(ClientRecord::registers(b"c/{ana}", &record(b"damaged".to_vec())));
    }

    #[test]
    fn damage_is_reported_with_its_key() {
        for bad in ["", "{}", r#"{"state":"odd","open_orders":0,"data":{}}"#] {
            let record = Record { data: bad.into(), ..Record::default() };
            let error = ClientRecord::read(b"c/{ana}", &record).expect_err(bad);
            assert!(matches!(error, Error::Damaged { key, .. } if key == "c/{ana}"));
        }
    }
}
