//! Products that come while the shop is open: somebody asks for each before it is there, so that portals remember that it is
//! not, and asks for it again, at every portal, when it is.
//!
//! Judged: *a refusal rests on the store*. From the moment at which its insertion was acknowledged nobody is told that the
//! product is not there, whichever portal is asked, without a session too: an absence that a cache knows refuses nobody.

use futures::future::join_all;
use portal::Error;
use proto::portal::{GetProductRequest, InsertProductRequest};
use tonic::Request;

use crate::shop::{Person, Portals};
use crate::time::{MS, Micros};
use crate::violation::ensure;

/// Between two of them, at least and at most.
const PAUSE_MS: std::ops::Range<u64> = 300..2_500;

impl Person {
    /// Brings one product after the other until `until`.
    pub(crate) async fn newcomers(mut self, until: Micros) {
        self.opening().await;
        let mut number = 0;
        while self.shopping.sleeper.now.us() < until {
            number += 1;
            let pid = format!("novelty-{number}");
            let asked = self.asked_everywhere(&pid).await;
            let early = asked.iter().find(|(_, known)| *known == Some(true));
            ensure(early.is_none(), "a refusal rests on the store", || {
                format!("{pid} is there before it was inserted")
            });
            let inserted = self.settled(|one| {
                let data =
                    format!("{{\"description\":\"Novelty {number}\",\"price\":\"2.00\",\"quantity\":1}}");
                let (pid, request) = (pid.clone(), Some(one.id.clone()));
                let request = InsertProductRequest { pid, data, request, ..InsertProductRequest::default() };
                async move { one.portals.admin.insert_product(one.of(request)).await }
            });
            let inserted = inserted.await;
            if inserted.is_ok() {
                let asked = self.asked_everywhere(&pid).await;
                let refused = asked.iter().find(|(_, known)| *known == Some(false));
                ensure(refused.is_none(), "a refusal rests on the store", || {
                    format!(
                        "{pid} was inserted, and portal {} says that it is not there",
                        refused.map_or(0, |one| one.0)
                    )
                });
            }
            self.count(&inserted.map(|_| ()));
            let next = self.shopping.sleeper.now.us() + self.random.u64(PAUSE_MS) * MS;
            self.shopping.sleeper.until(next).await;
        }
    }

    /// Whether the product is there, as each portal says; `None`: it cannot say.
    async fn asked_everywhere(&self, pid: &str) -> Vec<(usize, Option<bool>)> {
        let ask = async |(number, portals): (usize, &Portals)| {
            let request = Request::new(GetProductRequest { pid: pid.to_owned() });
            let known = match portals.admin.get_product(request).await {
                Ok(_) => Some(true),
                Err(status) => {
                    matches!(Error::from_status(&status), Some(Error::NotFound { .. })).then_some(false)
                }
            };
            (number, known)
        };
        join_all(self.shopping.portals.iter().enumerate().map(ask)).await
    }
}
