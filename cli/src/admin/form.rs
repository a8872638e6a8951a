//! Asking a person for a client or a product, field by field, where a command left the data out.
//!
//! Promises: each answer is checked when it is given, by the portal's own rules for documents; what is wrong is said
//! above the same question. Leaves out: whether the id is taken, which only the store knows.

use portal::document::client::ClientData;
use portal::document::product::ProductData;
use portal::id::slug;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::document::{Members, of_words, text_of, twice, typed, value, with_point};
use crate::failure::{Failure, sentence_of};
use crate::names::{Names, OF_CLIENT, OF_PRODUCT};
use crate::repl::ask::Asker;
use crate::verb::words::words;

/// A field that is accepted, or why it is not.
type Field = Result<Box<RawValue>, String>;

/// A client: its name, and whatever else.
///
/// # Errors
/// The person gave up.
pub async fn client(asker: &Asker) -> Result<Members, Failure> {
    let mut given = Members::new();
    given.insert("name".into(), asker.ask_until("name", client_name).await?);
    members(asker, OF_CLIENT, given).await
}

/// A product: description, quantity, price, and whatever else.
///
/// # Errors
/// The person gave up.
pub async fn product(asker: &Asker) -> Result<Members, Failure> {
    let mut given = Members::new();
    given.insert("description".into(), asker.ask_until("description", description).await?);
    given.insert("quantity".into(), asker.ask_until("quantity", quantity).await?);
    given.insert("price".into(), asker.ask_until("price, such as 6.90", price).await?);
    members(asker, OF_PRODUCT, given).await
}

/// Further members beside those `given`, one a line, until an empty line. One whose name is nearly another's is asked back.
///
/// # Errors
/// The person gave up.
pub async fn members(
    asker: &Asker,
    known: &'static [&'static str],
    mut given: Members,
) -> Result<Members, Failure> {
    const QUESTION: &str = "more, as NAME=VALUE (Enter: done)";
    let names = Names { of: "", known, new: &[] };
    let mut question = QUESTION.to_owned();
    while let Some(word) = asker.ask(&question).await? {
        question = QUESTION.to_owned();
        let more = match words_of(word).and_then(|words| of_words(&words)?.members()) {
            Ok(more) => more,
            Err(failure) => {
                question = format!("  {}\n{QUESTION}", failure.message);
                continue;
            }
        };
        for (name, value) in more {
            if given.contains_key(&name) {
                question = format!("  {}\n{QUESTION}", twice(&name).message);
            } else if let Some(near) = names.near(&name, &given).map(str::to_owned)
                && !asker
                    .agrees(&format!("did you mean {near}? y makes {name} as it is (Enter: not)"))
                    .await?
            {
                question = format!("  {name} was left out\n{QUESTION}");
            } else {
                given.insert(name, value);
            }
        }
    }
    Ok(given)
}

/// What is typed for further members: words as on a command's line, or a document.
fn words_of(line: String) -> Result<Vec<String>, Failure> {
    if line.trim_start().starts_with('{') { Ok(vec![line]) } else { words(&line) }
}

/// On a command's line quotes keep words together; here they would be part of the answer.
fn unquoted(answer: &str) -> Result<(), String> {
    let is_quoted = |quote: char| answer.len() > 1 && answer.starts_with(quote) && answer.ends_with(quote);
    if is_quoted('\'') || is_quoted('"') {
        Err("write it without quotes around it".to_owned())
    } else {
        Ok(())
    }
}

fn client_name(answer: &str) -> Field {
    unquoted(answer)?;
    let given = value(&Value::from(answer));
    let document = text_of(&Members::from([("name".to_owned(), given.clone())]));
    ClientData::parse(&document).map_err(|error| sentence_of(&error))?;
    named(answer)?;
    Ok(given)
}

fn description(answer: &str) -> Field {
    unquoted(answer)?;
    named(answer)?;
    of_product("description", value(&Value::from(answer)))
}

fn quantity(answer: &str) -> Field {
    of_product("quantity", typed(answer))
}

fn price(answer: &str) -> Field {
    let answer = with_point(answer).unwrap_or_else(|| answer.to_owned());
    of_product("price", value(&Value::from(answer)))
}

/// The id is made from it.
fn named(answer: &str) -> Result<(), String> {
    let why = "it has no letter or digit to make the id from";
    slug(answer).map(drop).ok_or_else(|| format!("{answer:?}: {why}"))
}

/// Whether the portal takes this in a product: in a document that is right otherwise.
fn of_product(name: &str, given: Box<RawValue>) -> Field {
    let mut document: Members = [("description", "x"), ("price", "1")]
        .into_iter()
        .map(|(name, right)| (name.to_owned(), value(&Value::from(right))))
        .collect();
    document.insert(name.to_owned(), given.clone());
    match ProductData::parse(&text_of(&document)) {
        Ok(_) => Ok(given),
        Err(error) => Err(sentence_of(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_members_are_words_as_on_a_commands_line() {
        let read = |line: &str| {
            let words = words_of(line.to_owned()).and_then(|words| of_words(&words)?.members());
            words.map(|members| members.into_keys().collect::<Vec<_>>())
        };
        assert_eq!(read("unit=kg cor='verde claro'").unwrap(), ["cor", "unit"]);
        assert_eq!(read("{\"unit\": \"a b\"}").unwrap(), ["unit"]);
        assert!(read("insert-product description='Amostra' quantity=5").is_err(), "a command is no member");
    }

    #[test]
    fn each_field_is_checked_as_it_is_entered() {
        let text = |field: Field| field.map(|raw| raw.get().to_owned());
        assert_eq!(text(quantity("12")).unwrap(), "12");
        assert_eq!(text(price("1,99")).unwrap(), "\"1.99\"");
        assert_eq!(text(price("0.001")).unwrap(), "\"0.001\"");
        assert_eq!(text(description("Maçã \"Fuji\"")).unwrap(), "\"Maçã \\\"Fuji\\\"\"");
        for (wrong, saying) in [
            (quantity("many"), "quantity: must be"),
            (quantity("-1"), "quantity: must be"),
            (quantity("1.5"), "quantity: must be"),
            (price("cheap"), "a price is digits"),
            (price("1,999"), "not a comma"),
            (description(&"x".repeat(257)), "at most 256"),
            (description("!!"), "to make the id from"),
            (client_name("?"), "to make the id from"),
            (client_name("'Ana'"), "without quotes"),
            (description("\"Ana\""), "without quotes"),
        ] {
            let why = wrong.unwrap_err();
            assert!(why.contains(saying), "{why}");
        }
    }
}
