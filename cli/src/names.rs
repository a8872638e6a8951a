//! The names of members that a person types: one that is nearly the name of another is most often a slip, and would be
//! kept for ever beside it.
//!
//! Promise: a new member within one or two letters of one that is known is refused, unless the person says that it is
//! new. Leaves out: portals, which take whatever a program sends.

use super::document::Members;
use crate::failure::Failure;
use crate::verb::near::distance;

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
        let lower = name.to_lowercase();
        let changes = |known: &str| distance(&lower, &known.to_lowercase());
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
        assert!(check(&client, &["nome=Ana"], &[]).unwrap_err().contains("did you mean name?"));
    }
}
