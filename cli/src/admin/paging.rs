//! Lists come in pages; people want them whole, or the first so many.

use std::future::Future;

use proto::portal::{Damage, ListRequest};

use crate::failure::{Failure, Reader};
use crate::show::answer::counted;
use crate::verb::key::shown;
use crate::verb::shared::LIST_ITEMS_MAX;
use crate::verb::words::quoted;

/// Items asked for at once.
const PAGE: u32 = 500;

/// What a list shows, and the records that it had to leave out because no portal wrote them.
#[derive(Debug)]
pub struct Listing<T> {
    /// In the order of the list.
    pub items: Vec<T>,
    /// There are more than the limit let through.
    pub more: bool,
    /// The damaged records that were left out, in words: one warning each, up to a bound.
    pub warnings: Vec<String>,
}

/// The part of a list that is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part<'a> {
    /// How many at most; `None` or 0: all.
    pub limit: Option<u64>,
    /// Only what comes after this cursor; empty: from the beginning.
    pub after: &'a str,
}

impl Part<'_> {
    /// The first so many.
    #[must_use]
    pub fn first(limit: u64) -> Part<'static> {
        Part { limit: Some(limit), after: "" }
    }
}

impl<T> Listing<T> {
    /// What is to be told beside it: what was left out, with what this reader can do about it, and that there are more, behind the
    /// cursor of the last one.
    #[must_use]
    pub fn notes(&self, reader: Reader, word: &str, cursor: impl Fn(&T) -> String) -> Vec<String> {
        let last = self.items.last().filter(|_| self.more);
        let more = last.map(|last| {
            let shown = counted(self.items.len(), word);
            format!("{shown} shown, there are more: --after {} or --limit 0", quoted(&cursor(last)))
        });
        let mend = |warning: &String| match (reader, warning.split_once('\n')) {
            (Reader::Shopper, Some((what, _))) => format!("{what}\n  → tell the shop's staff"),
            _ => warning.clone(),
        };
        self.warnings.iter().map(mend).chain(more).collect()
    }
}

/// The list by id of those whose ids begin so.
#[must_use]
pub fn prefixed(prefix: &str) -> ListRequest {
    ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() }
}

/// Warnings of one list; a list with more damage than this is looked into in other ways.
const WARNINGS_MAX: usize = 20;

/// Gathers pages until there are no more, or the part is whole. `fetch` gets how many to ask for and the cursor.
///
/// # Errors
/// What `fetch` says, or that the list is longer than [`LIST_ITEMS_MAX`].
pub async fn gather<T, F>(
    part: Part<'_>,
    mut fetch: impl FnMut(u32, String) -> F,
) -> Result<Listing<T>, Failure>
where
    F: Future<Output = Result<(Vec<T>, String, Option<Damage>), Failure>>,
{
    let limit = part.limit.filter(|limit| *limit > 0);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    // One more than is shown tells whether there are more.
    let most = limit.saturating_add(1);
    let mut all = Vec::new();
    let mut damage = Damage::default();
    let mut after = part.after.to_owned();
    while all.len() < most {
        let want = u32::try_from(most - all.len()).unwrap_or(PAGE).min(PAGE);
        let (page, next, left_out) = fetch(want, after).await?;
        all.extend(page);
        let left_out = left_out.unwrap_or_default();
        damage.more += left_out.more;
        damage.records.extend(left_out.records);
        damage.more += damage.records.len().saturating_sub(WARNINGS_MAX) as u64;
        damage.records.truncate(WARNINGS_MAX);
        if limit == usize::MAX && all.len() > LIST_ITEMS_MAX {
            return Err(Failure::refused(format!("the list has more than {LIST_ITEMS_MAX} items"))
                .next("ask for a part of it: give a prefix or --limit"));
        }
        if next.is_empty() {
            break;
        }
        after = next;
    }
    let more = all.len() > limit;
    all.truncate(limit);
    Ok(Listing { items: all, more, warnings: warnings(&damage) })
}

/// What was left out, in words.
#[must_use]
pub fn warnings(damage: &Damage) -> Vec<String> {
    let each = damage.records.iter().map(|record| {
        // For a shell, which reads more characters as its own than our lines do.
        let typed = shown(record.key.as_bytes());
        let key = shlex::try_quote(&typed).unwrap_or_else(|_| typed.as_str().into());
        format!(
            "left out the record {}, which is damaged: {}\n  → no portal wrote it: look at it with feira kv get {key}, \
             and if nobody needs it, feira kv del {key}",
            record.key, record.why
        )
    });
    let more = (damage.more > 0).then(|| format!("left out {} more damaged records", damage.more));
    each.chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::portal::DamagedRecord;

    #[tokio::test]
    async fn a_list_that_is_cut_says_so_and_one_that_fits_does_not() {
        let of = async |limit: u64| {
            let fetch = async |want: u32, after: String| {
                let from: usize = after.parse().unwrap_or(0);
                let items: Vec<usize> = (from..3).take(want as usize).collect();
                // As portals do: a full page has a cursor, whether or not anything comes after it.
                let next = if items.len() == want as usize {
                    (from + items.len()).to_string()
                } else {
                    String::new()
                };
                Ok((items, next, None))
            };
            let listing = gather(Part::first(limit), fetch).await.unwrap();
            (
                listing.items.len(),
                listing.more,
                listing.notes(Reader::Staff, "product", |_| "a b".to_owned()).join("; "),
            )
        };
        let (shown, more, notes) = of(2).await;
        assert!(
            (shown, more) == (2, true)
                && notes == "2 products shown, there are more: --after 'a b' or --limit 0",
            "{notes}"
        );
        assert_eq!(of(3).await, (3, false, String::new()));
        assert_eq!(of(9).await, (3, false, String::new()));
        assert_eq!(of(0).await, (3, false, String::new()), "0 is all");
    }

    #[tokio::test]
    async fn damage_of_all_pages_is_told_up_to_a_bound() {
        let record = |at: usize| DamagedRecord { key: format!("p/{{{at}}}"), why: "not JSON".into() };
        let listing = gather(Part::default(), async |_, after: String| {
            let page: usize = after.parse().unwrap_or(0);
            let damage = Damage { records: (0..15).map(|at| record(page * 15 + at)).collect(), more: 2 };
            let next = if page < 1 { (page + 1).to_string() } else { String::new() };
            Ok((vec![page], next, Some(damage)))
        });
        let listing = listing.await.unwrap();
        assert_eq!(listing.items, [0, 1]);
        assert_eq!(listing.warnings.len(), WARNINGS_MAX + 1);
        assert!(listing.warnings[0].contains("feira kv get 'p/{0}'"), "{}", listing.warnings[0]);
        let shopper = listing.notes(Reader::Shopper, "product", |_| "x".to_owned()).remove(0);
        assert!(shopper.contains("p/{0}") && !shopper.contains("feira kv"), "{shopper}");
        assert!(listing.warnings[WARNINGS_MAX].contains("14 more"), "{}", listing.warnings[WARNINGS_MAX]);
    }
}
