//! Which known word was probably meant: the one with the fewest letters to change.

/// More changed letters than this are another word; so is a word of which most letters change.
const CHANGES_MAX: usize = 3;

/// The nearest of `known` to `word`, if any is near.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let most = CHANGES_MAX.min(word.chars().count().div_ceil(2));
    known
        .map(|name| (likeness(&word, &name.to_lowercase()), name))
        .filter(|(changes, name)| *changes <= most && *changes < name.len())
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, name)| name)
}

/// Changed letters, where a word that was begun is nearly as good as one that was written whole.
fn likeness(word: &str, name: &str) -> usize {
    let begun: String = name.chars().take(word.chars().count()).collect();
    distance(word, name).min(distance(word, &begun) + 1)
}

/// Letters to insert, delete or replace (Levenshtein 1966), by rows.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_or_none() {
        let known = ["get-order", "list-orders", "sair"];
        assert_eq!(nearest("lst-orders", known.into_iter()), Some("list-orders"));
        assert_eq!(nearest("SAIR", known.into_iter()), Some("sair"));
        assert_eq!(nearest("lisst", known.into_iter()), Some("list-orders"));
        assert_eq!(nearest("banana", known.into_iter()), None);
    }

    #[test]
    fn a_short_word_is_not_taken_for_any_long_one() {
        assert_eq!(nearest("foo", ["modificarCliente", "get-client"].into_iter()), None);
    }
}
