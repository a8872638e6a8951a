//! Clients in files: `cid,data`, with the data as JSON; or any columns, each a member of the data that is text.

use portal::Error;
use portal::document::client::ClientData;
use portal::document::{Members, raw};
use portal::id::{Cid, slug};
use proto::portal::{Client, InsertClientRequest};

use super::cells::{Refusal, Row, on_one_line};

/// The client of a row.
///
/// # Errors
/// Its cells are no client's.
pub fn of_row(row: &Row) -> Result<InsertClientRequest, Refusal> {
    let data = match row.get("data") {
        Some(data) => data.to_owned(),
        None => {
            let mut members = Members::default();
            for (name, text) in row.others(&["cid"]).filter(|(_, text)| !text.is_empty()) {
                members.push(name, raw(&text));
            }
            members.to_json()
        }
    };
    Ok(InsertClientRequest { cid: row.text("cid").to_owned(), data, request: None })
}

/// Checks a client as a portal does, and makes the id that a portal would make.
///
/// # Errors
/// INVALID_ARGUMENT, with the field.
pub fn checked(client: &InsertClientRequest) -> Result<InsertClientRequest, Error> {
    let data = ClientData::parse(&client.data)?;
    let made = match client.cid.as_str() {
        "" => data.name.as_deref().and_then(slug).ok_or_else(|| {
            Error::invalid("cid", "is empty, and the data has no member \"name\" to make one from")
        })?,
        cid => cid.to_owned(),
    };
    let cid = Cid::chosen("cid", &made)?.to_string();
    Ok(InsertClientRequest { cid, data: data.data.get().to_owned(), request: None })
}

/// A client as the cells of a row.
#[must_use]
pub fn cells(client: &Client) -> Vec<String> {
    vec![client.cid.clone(), client.data.clone()]
}

/// A client as a line of JSON.
#[must_use]
pub fn line(client: &Client) -> String {
    let (cid, data) = (client.cid.clone(), on_one_line(&client.data));
    let client = InsertClientRequest { cid, data, request: None };
    serde_json::to_string(&client).expect("our messages are JSON")
}
