//! Lists come in pages; people want them whole, or the first so many.

use std::future::Future;

use crate::failure::Failure;
use crate::verb::shared::LIST_ITEMS_MAX;

/// Items asked for at once.
const PAGE: u32 = 500;

/// Gathers pages until there are no more, or `limit` is reached. `fetch` gets how many to ask for and the cursor.
///
/// # Errors
/// What `fetch` says, or that the list is longer than [`LIST_ITEMS_MAX`].
pub async fn gather<T, F>(
    limit: Option<u64>,
    mut fetch: impl FnMut(u32, String) -> F,
) -> Result<Vec<T>, Failure>
where
    F: Future<Output = Result<(Vec<T>, String), Failure>>,
{
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let mut all = Vec::new();
    let mut after = String::new();
    while all.len() < limit {
        let want = u32::try_from(limit - all.len()).unwrap_or(PAGE).min(PAGE);
        let (page, next) = fetch(want, after).await?;
        all.extend(page);
        if all.len() > LIST_ITEMS_MAX {
            return Err(Failure::refused(format!("the list has more than {LIST_ITEMS_MAX} items"))
                .next("ask for a part of it: give a prefix or --limit"));
        }
        if next.is_empty() {
            break;
        }
        after = next;
    }
    all.truncate(limit);
    Ok(all)
}
