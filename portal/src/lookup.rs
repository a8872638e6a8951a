//! The stored id that a request means: the one of exactly its bytes if that is there, else the one in normal form.
//!
//! One name can be typed in two ways, composed (`é`) or decomposed (`e` and an accent), that look the same; new ids are
//! stored in normal form. Ids of earlier versions are in the form of their request, and are meant first. An id in
//! normal form, as nearly every id is, is looked up nowhere.

use std::collections::HashMap;

use futures::StreamExt;
use proto::portal::LineChange;

use crate::change::{RequestedLine, merge};
use crate::document::extra::ExtraChange;
use crate::error::Error;
use crate::handle::Portal;
use crate::id::{Cid, Pid};
use crate::key;
use crate::limits::READS_PARALLEL;

impl Portal {
    /// The client whom a request names.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, with the field; UNAVAILABLE.
    pub async fn cid(&self, field: &str, text: &str) -> Result<Cid, Error> {
        let exact = Cid::parse(field, text)?;
        let Some(normal) = exact.in_normal_form() else { return Ok(exact) };
        let there = self.read_verifying_absence(&key::client(&exact)).await?.record.is_some();
        Ok(if there { exact } else { normal })
    }

    /// The product that a request names.
    ///
    /// # Errors
    /// As [`Portal::cid`].
    pub async fn pid(&self, field: &str, text: &str) -> Result<Pid, Error> {
        let exact = Pid::parse(field, text)?;
        let Some(normal) = exact.in_normal_form() else { return Ok(exact) };
        let there = self.read_verifying_absence(&key::product(&exact)).await?.record.is_some();
        Ok(if there { exact } else { normal })
    }

    /// The lines that a change of an order names: at least one, if it says nothing of the order's data.
    ///
    /// # Errors
    /// As [`Portal::lines`], or there are none.
    pub async fn changed_lines(
        &self,
        lines: &[LineChange],
        extra: &ExtraChange,
    ) -> Result<Vec<RequestedLine>, Error> {
        if lines.is_empty() && extra.is_keep() {
            return Err(Error::invalid("lines", "is empty; name 1 to 1,000 products, or give extra data"));
        }
        self.lines(lines).await
    }

    /// The lines of a request, those of one product merged ([`merge`]).
    ///
    /// # Errors
    /// INVALID_ARGUMENT, with the line; UNAVAILABLE.
    pub async fn lines(&self, lines: &[LineChange]) -> Result<Vec<RequestedLine>, Error> {
        // Checked before anything is looked up.
        let merged = merge(lines)?;
        let odd: Vec<Pid> = merged.iter().map(|one| one.pid.clone()).filter(is_odd).collect();
        if odd.is_empty() {
            return Ok(merged);
        }
        let look = |pid: Pid| async move {
            let meant = self.pid("lines", pid.as_str()).await?;
            Ok::<_, Error>((pid.to_string(), meant.to_string()))
        };
        let looks = futures::stream::iter(odd.into_iter().map(look)).buffer_unordered(READS_PARALLEL);
        let found: Result<HashMap<String, String>, Error> =
            looks.collect::<Vec<_>>().await.into_iter().collect();
        let found = found?;
        let meant = |line: &LineChange| LineChange {
            pid: found.get(&line.pid).unwrap_or(&line.pid).clone(),
            ..line.clone()
        };
        merge(&lines.iter().map(meant).collect::<Vec<_>>())
    }
}

fn is_odd(pid: &Pid) -> bool {
    pid.in_normal_form().is_some()
}
