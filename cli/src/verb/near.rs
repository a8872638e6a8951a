//! The known word that was probably meant: the one with the fewest letters to change (Levenshtein 1966).

use strsim::levenshtein;

/// More changed letters than this are another word; so is a word of which most letters change.
const CHANGES_MAX: usize = 3;

/// The nearest of `known` to `word`, if any is near.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // A third of its letters: "admin" is not a mistyped "login".
    let most = CHANGES_MAX.min(word.chars().count().div_ceil(3));
    known
        .map(|name| (likeness(&word, &name.to_lowercase()), name))
        .filter(|(changes, name)| *changes <= most && *changes < name.len())
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, name)| name)
}

/// Changed letters, where a word that was begun is nearly as good as one that was written whole; a letter too many or
/// too few in what was written shifts where its beginning ends.
fn likeness(word: &str, name: &str) -> usize {
    let length = word.chars().count();
    let begun = |letters: usize| levenshtein(word, &name.chars().take(letters).collect::<String>()) + 1;
    let begun = (length.saturating_sub(1)..=length + 1).map(begun).min().unwrap_or(usize::MAX);
    levenshtein(word, name).min(begun)
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
    fn a_word_near_no_verb_gets_no_proposal() {
        let known = ["login", "use", "products", "list-orders"];
        for word in ["admin", "quite", "produce-everything"] {
            assert_eq!(nearest(word, known.into_iter()), None, "{word}");
        }
        assert_eq!(nearest("logn", known.into_iter()), Some("login"));
        assert_eq!(nearest("product", known.into_iter()), Some("products"));
    }

    #[test]
    fn a_short_word_is_not_taken_for_any_long_one() {
        assert_eq!(nearest("foo", ["modificarCliente", "get-client"].into_iter()), None);
    }
}
