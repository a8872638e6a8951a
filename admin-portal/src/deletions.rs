//! Deletions with cascade whose portal died: every admin portal looks for their notes ([`portal::deletion`]), about once a second and not in step,
//! takes up what nobody works on, and ends it under the request that began it.
//!
//! A request that was settled meanwhile has a closed id, and one that is older than what is remembered never runs again: the deletion ends all the same,
//! since what is closing takes nothing new, under an id of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portal::attempt::Request;
use portal::deletion::{Doomed, NOTES, Work};
use portal::document::State;
use portal::document::client::ClientRecord;
use portal::document::product::ProductRecord;
use portal::{Error, Portal};
use proto::portal::{DeleteClientRequest, DeleteProductRequest};
use store_client::Range;
use tokio::time::sleep;

use crate::{delete_client, delete_product};

/// Between two rounds, on average: portals do not go in step.
const PERIOD_MS: u64 = 1_000;
/// Notes that one round looks at; the next goes on behind them.
const PAGE: u32 = 200;

/// Looks for such deletions until dropped.
pub(crate) async fn run(portal: Arc<Portal>) {
    let (mut after, mut told) = (None, None);
    let mut stuck = HashMap::new();
    loop {
        sleep(Duration::from_millis(fastrand::u64(PERIOD_MS / 2..=PERIOD_MS * 3 / 2))).await;
        let round = round(&portal, after.take(), &mut stuck).await;
        let problem = round.as_ref().err().cloned();
        if problem != told {
            match &problem {
                Some(error) => tracing::warn!(%error, "deletions that were cut off cannot be looked for now"),
                None => tracing::info!("deletions that were cut off are looked for again"),
            }
            told = problem;
        }
        after = round.unwrap_or_default();
    }
}

/// Goes over a page of notes; the last one's key, if there are more.
async fn round(
    portal: &Portal,
    after: Option<Bytes>,
    stuck: &mut HashMap<Bytes, Error>,
) -> Result<Option<Bytes>, Error> {
    portal.may_change().await?;
    let listed = portal.list(Range::Prefix(Bytes::from_static(NOTES)), PAGE, after).await?;
    stuck.retain(|at, _| listed.records.iter().any(|one| one.key == *at));
    for one in &listed.records {
        let ended = match portal.take_up(one).await {
            Ok(Some(mut work)) => go_on(portal, &mut work).await,
            Ok(None) => continue,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => drop(stuck.remove(&one.key)),
            Err(error @ Error::Unavailable { .. }) => return Err(error),
            // It keeps no other from being looked at, and is told once.
            Err(error) if stuck.get(&one.key) == Some(&error) => {}
            Err(error) => {
                let key = String::from_utf8_lossy(&one.key);
                tracing::warn!(%key, %error, "a deletion that was cut off cannot be ended");
                stuck.insert(one.key.clone(), error);
            }
        }
    }
    Ok(listed.records.last().filter(|_| listed.more).map(|one| one.key.clone()))
}

/// Ends a deletion, unless what it is of is not being deleted any more.
async fn go_on(portal: &Portal, work: &mut Work) -> Result<(), Error> {
    let at = work.doomed.record();
    let record = portal.read_through(&at).await?.record;
    let is_closing = record.as_ref().is_some_and(|record| match &work.doomed {
        Doomed::Client(_) => ClientRecord::read(&at, record).is_ok_and(|one| one.state == State::Closing),
        Doomed::Product(_) => ProductRecord::read(&at, record).is_ok_and(|one| one.state == State::Closing),
    });
    if !is_closing {
        return work.end(portal, record.map(|record| record.offset())).await;
    }
    match ended(portal, work, work.request.clone()).await {
        Err(Error::RequestClosed { .. } | Error::RequestExpired { .. } | Error::RequestReused { .. }) => {
            ended(portal, work, of_its_own(&work.doomed)?).await
        }
        ended => ended,
    }?;
    tracing::info!(doomed = ?work.doomed, "a deletion that was cut off has come to its end");
    Ok(())
}

async fn ended(portal: &Portal, work: &mut Work, request: Request) -> Result<(), Error> {
    match work.doomed.clone() {
        Doomed::Client(cid) => delete_client::go_on(portal, &cid, work, request).await,
        Doomed::Product(pid) => delete_product::go_on(portal, &pid, work, request).await,
    }
}

/// A request that nobody has made.
fn of_its_own(doomed: &Doomed) -> Result<Request, Error> {
    match doomed {
        Doomed::Client(cid) => {
            let message = DeleteClientRequest { cid: cid.to_string(), cascade: true, ..Default::default() };
            Request::new("DeleteClient", None, &message)
        }
        Doomed::Product(pid) => {
            let message = DeleteProductRequest { pid: pid.to_string(), cascade: true, ..Default::default() };
            Request::new("DeleteProduct", None, &message)
        }
    }
}
