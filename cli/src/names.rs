//! The names of members that a person types: one that is nearly the name of another is most often a slip, and would be
//! kept for ever beside it.
//!
//! Promise: a new member within one or two letters of one that is known, accents left out, is refused, unless the person says
//! that it is new; so is the Portuguese word for one, and an id among the data. Leaves out: portals, which take whatever a program sends.

use portal::id::slug;

use super::document::Members;
use crate::failure::Failure;

/// The names that a document of one kind may have.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// What documents of this kind are: "product", "client".
    pub of: &'static str,
    /// Names that mean something to the shop.
    pub known: &'static [&'static str],
    /// Names that the person says are new (`--new NAME`).
    pub new: &'a [String],
}

/// Names of a product's document that mean something to the shop.
pub const OF_PRODUCT: &[&str] = &["description", "quantity", "price"];
/// Those of a client's.
pub const OF_CLIENT: &[&str] = &["name"];

/// What ids are called, which no document has.
const IDS: [&str; 4] = ["cid", "pid", "oid", "id"];
/// The Portuguese words for members that mean something, without accents: the tools take the operations' Portuguese names, too.
const PORTUGUESE: [(&str, &str); 4] =
    [("descricao", "description"), ("quantidade", "quantity"), ("preco", "price"), ("nome", "name")];

/// A name as it is compared: small letters without accents.
fn plain(name: &str) -> String {
    slug(name).unwrap_or_else(|| name.to_lowercase())
}

/// A known name of so many letters is short: only one letter may differ for a slip.
const SHORT_LETTERS: usize = 4;

impl Names<'_> {
    /// Checks the names of `given`, which is to be put over what is `there`.
    ///
    /// # Errors
    /// One is nearly a known one; or `--new` names a member that is not given.
    pub fn check(&self, given: &Members, there: &Members) -> Result<(), Failure> {
        if let Some(name) = self.new.iter().find(|name| !given.contains_key(*name)) {
            return Err(Failure::usage(format!("--new {name}: no member of that name is given")));
        }
        let news = given.keys().filter(|name| !there.contains_key(*name) && !self.new.contains(*name));
        for name in news {
            if IDS.contains(&name.to_lowercase().as_str()) {
                let message =
                    format!("{name:?} among the data would be a member beside the {}'s id", self.of);
                let flag = if self.known == OF_PRODUCT { "--pid" } else { "--cid" };
                return Err(Failure::usage(message).next(format!(
                    "{flag} ID gives a new {} its id; --new {name} makes the member",
                    self.of
                )));
            }
            if let Some(near) = self.near(name, there) {
                let message = format!("no {} has a member {name:?} yet; did you mean {near}?", self.of);
                return Err(Failure::usage(message).next(format!("--new {name} makes it")));
            }
        }
        Ok(())
    }

    /// The known name that is within a slip of this one, which is none itself.
    #[must_use]
    pub fn near<'n>(&self, name: &str, there: &'n Members) -> Option<&'n str>
    where
        Self: 'n,
    {
        if self.known.contains(&name) {
            return None;
        }
        let plain = plain(name);
        if let Some((_, meant)) = PORTUGUESE.iter().find(|(word, _)| *word == plain)
            && let Some(known) = self.known.iter().copied().find(|known| known == meant)
        {
            return Some(known);
        }
        let changes = |known: &str| strsim::levenshtein(&plain, &self::plain(known));
        let most = |known: &str| if known.chars().count() <= SHORT_LETTERS { 1 } else { 2 };
        let all = self.known.iter().copied().chain(there.keys().map(String::as_str));
        all.filter(|known| changes(known) <= most(known)).min_by_key(|known| changes(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, of_words};

    fn members(words: &[&str]) -> Members {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        of_words(&words).and_then(|document: Document| document.members()).unwrap()
    }

    fn check(names: &Names<'_>, given: &[&str], there: &[&str]) -> Result<(), String> {
        names.check(&members(given), &members(there)).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_member_that_is_nearly_a_known_one_is_refused_unless_it_is_said_to_be_new() {
        let product = Names { of: "product", known: OF_PRODUCT, new: &[] };
        for slip in ["pric=5", "Price=5", "prices=5", "quantty=1", "descripton=x"] {
            let why = check(&product, &["price=1", slip], &[]).unwrap_err();
            let name = slip.split('=').next().unwrap();
            assert!(why.contains("did you mean") && why.contains(&format!("--new {name} makes it")), "{why}");
        }
        assert!(check(&product, &["pric=5"], &[]).unwrap_err().contains("did you mean price?"));
        for (word, meant) in
            [("preço", "price"), ("Preco", "price"), ("quantidade", "quantity"), ("descrição", "description")]
        {
            let why = check(&product, &[&format!("{word}=1")], &[]).unwrap_err();
            assert!(why.contains(&format!("did you mean {meant}?")), "{word}: {why}");
        }
        let id = check(&product, &["pid=abc", "price=1"], &[]).unwrap_err();
        assert!(id.contains("--pid ID gives a new product its id"), "{id}");
        let of_the_record = check(&product, &["unt=kg"], &["unit=kg"]).unwrap_err();
        assert!(of_the_record.contains("did you mean unit?"), "{of_the_record}");
        let new = ["pric".to_owned()];
        assert_eq!(check(&Names { new: &new, ..product }, &["pric=5"], &[]), Ok(()));
        assert!(
            check(&Names { new: &new, ..product }, &["price=5"], &[]).unwrap_err().contains("--new pric")
        );
        for fine in ["origin=SC", "unit=kg", "price=5", "cor=verde"] {
            assert_eq!(check(&product, &[fine], &[]), Ok(()), "{fine}");
        }
        assert_eq!(check(&product, &["pric=6"], &["pric=5"]), Ok(()), "it is there already");
        let client = Names { of: "client", known: OF_CLIENT, new: &[] };
        assert_eq!(check(&client, &["name=Ana", "age=41"], &[]), Ok(()));
        assert!(check(&client, &["cid=zz9"], &[]).unwrap_err().contains("--cid ID"));
        assert_eq!(check(&client, &["quantidade=3"], &[]), Ok(()), "it means nothing of a client");
        assert!(check(&client, &["nome=Ana"], &[]).unwrap_err().contains("did you mean name?"));
    }
}
