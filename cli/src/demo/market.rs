//! The example market: fruit and vegetables of a Brazilian street market, and a few shoppers.

use serde::Deserialize;
use serde_json::json;

use crate::failure::Failure;

const CATALOGUE: &str = include_str!("../../../examples/catalogue.csv");
const CLIENTS: &str = include_str!("../../../examples/clients.csv");

/// What is sold.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Good {
    /// Its id.
    pub pid: String,
    /// What it is.
    pub description: String,
    /// How many there are.
    pub quantity: i64,
    /// In BRL.
    pub price: String,
    /// Of what.
    pub unit: String,
}

/// Who buys.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Buyer {
    /// Their id.
    pub cid: String,
    /// Their name.
    pub name: String,
    /// Where they live.
    pub city: String,
}

impl Good {
    /// The document to insert.
    #[must_use]
    pub fn document(&self) -> String {
        let Good { description, quantity, price, unit, .. } = self;
        json!({ "description": description, "quantity": quantity, "price": price, "unit": unit }).to_string()
    }
}

impl Buyer {
    /// The document to insert.
    #[must_use]
    pub fn document(&self) -> String {
        json!({ "name": self.name, "city": self.city }).to_string()
    }
}

/// The catalogue.
///
/// # Errors
/// The file we carry is damaged: cannot be, a test reads it.
pub fn goods() -> Result<Vec<Good>, Failure> {
    rows(CATALOGUE)
}

/// The clients.
///
/// # Errors
/// As [`goods`].
pub fn buyers() -> Result<Vec<Buyer>, Failure> {
    rows(CLIENTS)
}

fn rows<T: serde::de::DeserializeOwned>(text: &str) -> Result<Vec<T>, Failure> {
    csv::Reader::from_reader(text.as_bytes())
        .deserialize()
        .collect::<Result<Vec<T>, csv::Error>>()
        .map_err(|e| Failure::refused(format!("the example market cannot be read: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use portal::document::product::ProductData;
    use portal::id::slug;

    #[test]
    fn the_market_is_whole_and_its_ids_are_those_the_tool_would_make() {
        let goods = goods().unwrap();
        assert!(goods.len() >= 40, "{} goods", goods.len());
        for good in &goods {
            let data = ProductData::parse(&good.document()).expect(&good.pid);
            assert!(data.quantity > Some(0) && !good.pid.is_empty());
        }
        let pids: std::collections::BTreeSet<&str> = goods.iter().map(|good| good.pid.as_str()).collect();
        assert_eq!(pids.len(), goods.len());
        for buyer in buyers().unwrap() {
            assert_eq!(slug(&buyer.name).as_deref(), Some(buyer.cid.as_str()));
        }
    }

    #[test]
    fn whatever_the_examples_of_help_name_is_in_the_market_or_made_by_an_example_before() {
        let mut known: Vec<String> = goods().unwrap().into_iter().map(|good| good.pid).collect();
        known.extend(buyers().unwrap().into_iter().map(|buyer| buyer.cid));
        // What the examples of `insert-…` make.
        known.extend(["maria-silva".to_owned(), "umbu".to_owned()]);
        let is_id =
            |word: &&str| word.contains(|c: char| c.is_ascii_lowercase()) && !word.contains(['\'', '.']);
        let of_shop = crate::verb::shop::MENU.verbs.iter().map(|verb| verb.example);
        let of_staff = crate::verb::admin::MENU.verbs.iter().map(|verb| verb.example);
        let mut looked_at = 0;
        for example in of_shop
            .chain(of_staff)
            .filter(|example| !["insert-", "help ", "settle "].iter().any(|name| example.starts_with(name)))
        {
            // Flags stand behind what is named by its place, and name nothing of the market.
            let placed = example.split(" --").next().unwrap();
            let words = placed.split(' ').skip(1).filter(is_id);
            for word in words {
                let id = word.split('=').next().unwrap();
                let is_member = ["city", "price"].contains(&id);
                let is_there = known.iter().any(|known| known.starts_with(id));
                looked_at += usize::from(!is_member);
                assert!(is_member || is_there || id == "portal", "{example:?}: {id} is not in the market");
            }
        }
        assert!(looked_at > 10, "{looked_at}");
    }
}
