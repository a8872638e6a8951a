//! Answers of the store as people and programs see them.

use proto::store::outcome_response::Verdict;
use proto::store::{KeyRecord, OutcomeResponse, Position, Record, Status, WriteResponse};
use serde_json::{Value, json};

use crate::failure::Kind;
use crate::show::answer::Answer;
use crate::show::table::{Column, Table};
use crate::verb::key::{data_shown, shown};
use crate::verb::words::quoted;

/// Which command an answer is of.
#[derive(Clone, Debug)]
pub struct Of {
    /// Its number, from 1.
    pub number: u64,
    /// In short.
    pub command: String,
}

/// The specification's word.
#[must_use]
pub fn status_word(status: Status) -> &'static str {
    match status {
        Status::Success => "SUCCESS",
        Status::Error => "ERROR",
        Status::ErrorNe => "ERROR_NE",
        Status::ErrorWv => "ERROR_WV",
        Status::Unspecified => "UNSPECIFIED",
    }
}

/// What the specification's word means here, for whoever does not know it by heart; empty: it speaks for itself.
fn meaning(answer: &WriteResponse) -> &'static str {
    match (answer.status(), answer.record.is_some()) {
        (Status::Error, true) => "the key is taken",
        (Status::Error | Status::ErrorNe, false) => "there is no such record",
        (Status::ErrorWv, _) => "the record is of another version",
        _ => "",
    }
}

/// The class of an answer that is no success: somebody was first (a record is there), or there is nothing.
#[must_use]
pub fn class(answer: &WriteResponse) -> Option<Kind> {
    match answer.status() {
        Status::Success => None,
        Status::ErrorWv => Some(Kind::Conflict),
        _ if answer.record.is_some() => Some(Kind::Conflict),
        _ => Some(Kind::Refused),
    }
}

/// `e2:14`, as logs show it.
#[must_use]
pub fn position(position: Option<Position>) -> String {
    position.map_or_else(|| "-".to_owned(), |at| format!("e{}:{}", at.epoch, at.offset))
}

/// A record as a document.
#[must_use]
pub fn record_document(record: &Record) -> Value {
    let at = record.position.unwrap_or_default();
    json!({
        "version": record.version, "timestamp_ms": record.timestamp_ms,
        "position": { "epoch": at.epoch, "offset": at.offset }, "data": data_shown(&record.data),
    })
}

fn record_line(record: &Record) -> String {
    format!(
        "version {}, timestamp {}, written at {}, data {}",
        record.version,
        record.timestamp_ms,
        position(record.position),
        data_shown(&record.data)
    )
}

/// The answer of a write or a read.
#[must_use]
pub fn written(of: &Of, answer: &WriteResponse) -> Answer {
    let word = status_word(answer.status());
    let mut line = format!("#{} {}: {word}", of.number, of.command);
    let meaning = meaning(answer);
    if !meaning.is_empty() {
        line.push_str(&format!(" ({meaning})"));
    }
    if answer.version > 0 {
        line.push_str(&format!(", version now {}", answer.version));
    }
    line.push_str(&format!(", at {}", position(answer.position)));
    if let Some(record) = &answer.record {
        line.push_str(&format!("; record: {}", record_line(record)));
    }
    if answer.trimmed {
        line.push_str(" (an earlier answer, repeated without its records)");
    }
    let at = answer.position.unwrap_or_default();
    let document = json!({
        "number": of.number, "command": of.command, "status": word, "version": answer.version,
        "position": { "epoch": at.epoch, "offset": at.offset },
        "record": answer.record.as_ref().map(record_document),
    });
    Answer::line(line, document)
}

/// A page of records.
#[must_use]
pub fn page(of: &Of, records: &[KeyRecord], applied: Position, more: bool) -> Answer {
    let mut table = Table::new(&[
        Column::whole("KEY"),
        Column::number("VERSION"),
        Column::number("TIMESTAMP").dropped(1),
        Column::number("POSITION").dropped(2),
        Column::words("DATA"),
    ]);
    let mut documents = Vec::with_capacity(records.len());
    for KeyRecord { key, record } in records {
        let Some(record) = record else { continue };
        table.row([
            quoted(&shown(key)),
            record.version.to_string(),
            record.timestamp_ms.to_string(),
            position(record.position),
            data_shown(&record.data),
        ]);
        documents.push(json!({ "key": shown(key), "record": record_document(record) }));
    }
    let tail = if more { "; there may be more: range from the last key" } else { "" };
    let head = format!(
        "#{} {}: SUCCESS, {} records as of {}{tail}",
        of.number,
        of.command,
        documents.len(),
        position(Some(applied))
    );
    let document = json!({
        "number": of.number, "command": of.command, "status": "SUCCESS", "records": documents,
        "applied": { "epoch": applied.epoch, "offset": applied.offset }, "more": more,
    });
    Answer::table(head, document, table)
}

/// What became of a write.
#[must_use]
pub fn outcome(of: &Of, answer: &OutcomeResponse) -> Answer {
    let (word, meaning) = match answer.verdict() {
        Verdict::Done => ("DONE", "it was executed"),
        Verdict::Refused => ("REFUSED", "its guards failed; nothing changed, and the id is closed"),
        Verdict::NotDone => ("NOT_DONE", "it never ran, and now never will: the id is closed"),
        Verdict::Expired => ("EXPIRED", "older than what is remembered: nobody can say any more"),
        Verdict::Unspecified => ("UNSPECIFIED", "no verdict"),
    };
    let at = answer.position.unwrap_or_default();
    let document = json!({
        "number": of.number, "command": of.command, "verdict": word,
        "position": { "epoch": at.epoch, "offset": at.offset },
    });
    Answer::line(
        format!("#{} {}: {word}, {meaning}, at {}", of.number, of.command, position(answer.position)),
        document,
    )
}
