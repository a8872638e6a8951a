//! The operations and answers of each model, to and from lines.

use serde_json::Value;

use super::Dialect;
use super::line::{Line, Seen, exact};
use crate::append::{AppendAnswer, AppendOp, KvAppend};
use crate::records::{Found, RecordAnswer, RecordOp, Records};
use crate::register::{CasRegister, RegisterAnswer, RegisterOp};

impl Dialect for CasRegister {
    const NAME: &'static str = "cas-register";

    fn function(op: &RegisterOp) -> &'static str {
        match op {
            RegisterOp::Read => "read",
            RegisterOp::Write(_) => "write",
            RegisterOp::CompareAndSet { .. } => "cas",
        }
    }

    fn put_op(op: &RegisterOp, line: &mut Line) {
        line.v = match op {
            RegisterOp::Read => None,
            RegisterOp::Write(value) => Some(value.clone()),
            RegisterOp::CompareAndSet { from, to } => Some(Value::Array(vec![from.clone(), to.clone()])),
        };
    }

    fn op(line: &Line) -> Result<Option<RegisterOp>, String> {
        Ok(Some(match line.f.as_str() {
            "read" => RegisterOp::Read,
            "write" => RegisterOp::Write(line.value()?),
            "cas" => match line.value()? {
                Value::Array(values) => match <[Value; 2]>::try_from(values) {
                    Ok([from, to]) => RegisterOp::CompareAndSet { from, to },
                    Err(values) => {
                        return Err(format!("v has {} values: a cas has [from, to]", values.len()));
                    }
                },
                other => return Err(format!("v is {other}: a cas has [from, to]")),
            },
            _ => return Ok(None),
        }))
    }

    fn put_answer(_op: &RegisterOp, answer: &RegisterAnswer, line: &mut Line) {
        match answer {
            RegisterAnswer::Holds(value) => line.v = Some(value.clone()),
            RegisterAnswer::Written => {}
            RegisterAnswer::Matched(matched) => line.r = Some(*matched),
        }
    }

    fn answer(op: &RegisterOp, line: &Line) -> Result<RegisterAnswer, String> {
        match op {
            RegisterOp::Read => Ok(RegisterAnswer::Holds(line.value()?)),
            RegisterOp::Write(_) => Ok(RegisterAnswer::Written),
            RegisterOp::CompareAndSet { .. } => {
                let matched = line.r.ok_or("r is missing: the ok of a cas says whether it matched")?;
                Ok(RegisterAnswer::Matched(matched))
            }
        }
    }
}

impl Dialect for KvAppend {
    const NAME: &'static str = "kv-append";

    fn function(op: &AppendOp) -> &'static str {
        match op {
            AppendOp::Get => "get",
            AppendOp::Put(_) => "put",
            AppendOp::Append(_) => "append",
        }
    }

    fn put_op(op: &AppendOp, line: &mut Line) {
        line.v = match op {
            AppendOp::Get => None,
            AppendOp::Put(text) | AppendOp::Append(text) => Some(Value::from(text.as_str())),
        };
    }

    fn op(line: &Line) -> Result<Option<AppendOp>, String> {
        Ok(Some(match line.f.as_str() {
            "get" => AppendOp::Get,
            "put" => AppendOp::Put(line.text()?),
            "append" => AppendOp::Append(line.text()?),
            _ => return Ok(None),
        }))
    }

    fn put_answer(_op: &AppendOp, answer: &AppendAnswer, line: &mut Line) {
        if let AppendAnswer::Text(text) = answer {
            line.v = Some(Value::from(text.as_str()));
        }
    }

    fn answer(op: &AppendOp, line: &Line) -> Result<AppendAnswer, String> {
        match op {
            AppendOp::Get => line.text().map(AppendAnswer::Text),
            AppendOp::Put(_) | AppendOp::Append(_) => Ok(AppendAnswer::Done),
        }
    }
}

impl Dialect for Records {
    const NAME: &'static str = "records";

    fn function(op: &RecordOp) -> &'static str {
        match op {
            RecordOp::Get => "get",
            RecordOp::Set(_) => "set",
            RecordOp::Put(_) => "put",
            RecordOp::Delete => "delete",
            RecordOp::DeleteVersion(_) => "delete-version",
            RecordOp::TestAndSet { .. } => "test-and-set",
        }
    }

    fn put_op(op: &RecordOp, line: &mut Line) {
        match op {
            RecordOp::Get | RecordOp::Delete => {}
            RecordOp::Set(value) | RecordOp::Put(value) => line.v = Some(value.clone()),
            RecordOp::DeleteVersion(version) => line.n = Some(*version),
            RecordOp::TestAndSet { version, value } => {
                line.n = Some(*version);
                line.v = Some(value.clone());
            }
        }
    }

    fn op(line: &Line) -> Result<Option<RecordOp>, String> {
        let version = || line.n.ok_or_else(|| format!("n is missing: {} has a version", line.f));
        Ok(Some(match line.f.as_str() {
            "get" => RecordOp::Get,
            "set" => RecordOp::Set(content(line)?),
            "put" => RecordOp::Put(content(line)?),
            "delete" => RecordOp::Delete,
            "delete-version" => RecordOp::DeleteVersion(version()?),
            "test-and-set" => RecordOp::TestAndSet { version: version()?, value: content(line)? },
            _ => return Ok(None),
        }))
    }

    fn put_answer(op: &RecordOp, answer: &RecordAnswer, line: &mut Line) {
        let seen = match &answer.found {
            Found::Untold => None,
            Found::Absent => Some(None),
            Found::Present { version, value } => Some(Some(Seen { n: *version, v: value.clone() })),
        };
        match op {
            RecordOp::Get => {
                line.n = seen.iter().flatten().find_map(|seen| seen.n);
                line.v = Some(seen.flatten().and_then(|seen| seen.v).unwrap_or(Value::Null));
            }
            _ => {
                line.r = Some(answer.done);
                line.n = answer.version;
                line.seen = seen;
            }
        }
    }

    fn answer(op: &RecordOp, line: &Line) -> Result<RecordAnswer, String> {
        if *op == RecordOp::Get {
            let found = match line.value()? {
                Value::Null if line.n.is_some() => {
                    return Err("n is a version and v is null: what is absent has none".to_owned());
                }
                Value::Null => Found::Absent,
                value => Found::Present { version: line.n, value: Some(value) },
            };
            return Ok(RecordAnswer { done: true, found, version: None });
        }
        let done = match (op, line.r) {
            (RecordOp::Put(_), None | Some(true)) => true,
            (RecordOp::Put(_), Some(false)) => return Err("r is false: a put is never refused".to_owned()),
            (_, Some(done)) => done,
            (_, None) => return Err(format!("r is missing: the ok of {} says whether it was done", line.f)),
        };
        if line.n.is_some() && (!done || matches!(op, RecordOp::Delete | RecordOp::DeleteVersion(_))) {
            return Err("n is there: only a write that was done leaves a version".to_owned());
        }
        Ok(RecordAnswer { done, found: found(line)?, version: line.n })
    }
}

fn content(line: &Line) -> Result<Value, String> {
    match line.value()? {
        Value::Null => Err("v is null: that stands for absence".to_owned()),
        value => Ok(value),
    }
}

fn found(line: &Line) -> Result<Found, String> {
    match &line.seen {
        None => Ok(Found::Untold),
        Some(None) => Ok(Found::Absent),
        Some(Some(seen)) => {
            seen.v.as_ref().map_or(Ok(()), exact)?;
            Ok(Found::Present { version: seen.n, value: seen.v.clone() })
        }
    }
}
