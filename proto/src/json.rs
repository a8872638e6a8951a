//! The JSON form of the portals' messages: the same over HTTP, over MQTT and in what the tools print.
//!
//! Members have the names of the fields, numbers are numbers, a state is its word, and a field that holds a JSON document
//! *is* that document, byte for byte, so that no digit and no order of members is lost on the way.
//!
//! Leaves out: a request's id (each transport has its own place for it), and what the documents may say.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A message that is read from an object only. What serde derives takes an array of its members, too.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        struct Of<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Of<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }

        deserializer.deserialize_map(Of(PhantomData))
    }
}

/// An array of objects.
///
/// # Errors
/// It is something else.
pub fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let all = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(all.into_iter().map(|Object(one)| one).collect())
}

/// A field that holds a JSON document as text; empty: there is none, which is `null`.
pub mod text {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use serde_json::value::RawValue;

    /// # Errors
    /// As the serializer's. What is no JSON is written as a string.
    pub fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        if text.is_empty() {
            return serializer.serialize_unit();
        }
        match serde_json::from_str::<&RawValue>(text) {
            Ok(document) => document.serialize(serializer),
            Err(_) => serializer.serialize_str(text),
        }
    }

    /// # Errors
    /// It is no JSON.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        let document = Box::<RawValue>::deserialize(deserializer)?;
        Ok(if document.get() == "null" { String::new() } else { document.get().to_owned() })
    }
}

/// The state of an order.
pub mod state {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::portal::OrderState;

    const WORDS: [(OrderState, &str); 9] = [
        (OrderState::Open, "open"),
        (OrderState::Confirmed, "confirmed"),
        (OrderState::Cancelled, "cancelled"),
        (OrderState::Paid, "paid"),
        (OrderState::Packed, "packed"),
        (OrderState::Sent, "sent"),
        (OrderState::Returned, "returned"),
        (OrderState::Refunded, "refunded"),
        (OrderState::Unspecified, "unknown"),
    ];

    /// The word for a state; `unknown` for one of a later version.
    #[must_use]
    pub fn word(state: i32) -> &'static str {
        WORDS.iter().find(|(one, _)| i32::from(*one) == state).map_or("unknown", |(_, word)| word)
    }

    /// # Errors
    /// As the serializer's.
    pub fn serialize<S: Serializer>(state: &i32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(word(*state))
    }

    /// # Errors
    /// It is no such word.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
        let word = String::deserialize(deserializer)?;
        let state = WORDS.iter().find(|(_, one)| *one == word).map(|(state, _)| i32::from(*state));
        state.ok_or_else(|| D::Error::custom(format!("{word:?} is no state of an order")))
    }

    /// The state that a word names; `None`: it names none.
    #[must_use]
    pub fn named(word: &str) -> Option<OrderState> {
        let of_word = WORDS.iter().find(|(state, one)| *state != OrderState::Unspecified && *one == word);
        of_word.map(|(state, _)| *state)
    }

    /// The words of all states.
    #[must_use]
    pub fn words() -> Vec<&'static str> {
        let words = WORDS.iter().filter(|(state, _)| *state != OrderState::Unspecified);
        words.map(|(_, word)| *word).collect()
    }

    /// The same, for people: `open, confirmed, cancelled, paid, …`.
    #[must_use]
    pub fn all() -> String {
        words().join(", ")
    }
}

/// The state that orders of a list are to have; empty: any.
pub mod wanted_state {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::state::{all, named, word};
    use crate::portal::OrderState;

    /// # Errors
    /// As the serializer's.
    pub fn serialize<S: Serializer>(state: &i32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if *state == i32::from(OrderState::Unspecified) { "" } else { word(*state) })
    }

    /// # Errors
    /// It is no such word.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
        let word = String::deserialize(deserializer)?;
        if word.is_empty() {
            return Ok(OrderState::Unspecified.into());
        }
        let wrong = || D::Error::custom(format!("{word:?} is no state of an order; there are {}", all()));
        named(&word).map(i32::from).ok_or_else(wrong)
    }
}

/// The word of an enumeration's value; empty: unspecified, or one of a later version.
fn word_of(words: &[(i32, &'static str)], value: i32) -> &'static str {
    words.iter().find(|(one, _)| *one == value).map_or("", |(_, word)| word)
}

/// The value that a word names; empty: 0, unspecified.
fn value_of<E: serde::de::Error>(words: &[(i32, &'static str)], word: &str, what: &str) -> Result<i32, E> {
    if word.is_empty() {
        return Ok(0);
    }
    let found = words.iter().find(|(_, one)| *one == word).map(|(value, _)| *value);
    let all = || words.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| E::custom(format!("{word:?} is no {what}; there are {}", all())))
}

/// The order of a list; empty: by id.
pub mod sort {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::portal::ListSort;

    const WORDS: [(i32, &str); 4] = [
        (ListSort::Id as i32, "id"),
        (ListSort::Description as i32, "description"),
        (ListSort::Price as i32, "price"),
        (ListSort::Name as i32, "name"),
    ];
    /// The words for the orders of products.
    pub const OF_PRODUCTS: &[&str] = &["id", "description", "price"];
    /// The words for the orders of clients.
    pub const OF_CLIENTS: &[&str] = &["id", "name"];

    /// The word for an order; empty: unspecified, or of a later version.
    #[must_use]
    pub fn word(sort: i32) -> &'static str {
        super::word_of(&WORDS, sort)
    }

    /// The order that a word names; unspecified: it names none.
    #[must_use]
    pub fn named(word: &str) -> ListSort {
        let found = WORDS.iter().find(|(_, one)| *one == word);
        found.and_then(|(sort, _)| ListSort::try_from(*sort).ok()).unwrap_or_default()
    }

    /// # Errors
    /// As the serializer's.
    pub fn serialize<S: Serializer>(sort: &i32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(word(*sort))
    }

    /// # Errors
    /// It is no such word.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
        super::value_of(&WORDS, &String::deserialize(deserializer)?, "order of a list")
    }
}

/// The state that clients or products of a list are to have; empty: any.
pub mod record_state {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::portal::RecordState;

    const WORDS: [(i32, &str); 2] =
        [(RecordState::Active as i32, "active"), (RecordState::Closing as i32, "closing")];
    /// The words.
    pub const ALL: &[&str] = &["active", "closing"];

    /// The state that a word names; unspecified: it names none.
    #[must_use]
    pub fn named(word: &str) -> RecordState {
        let found = WORDS.iter().find(|(_, one)| *one == word);
        found.and_then(|(state, _)| RecordState::try_from(*state).ok()).unwrap_or_default()
    }

    /// # Errors
    /// As the serializer's.
    pub fn serialize<S: Serializer>(state: &i32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(super::word_of(&WORDS, *state))
    }

    /// # Errors
    /// It is no such word.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
        super::value_of(&WORDS, &String::deserialize(deserializer)?, "state of a client or product")
    }
}

#[cfg(test)]
mod tests {
    use crate::portal::{
        Client, CreateOrderRequest, InsertProductRequest, LineChange, ListOrdersResponse, ListRequest,
        ListSort, Order, OrderLine, OrderState, OrderSummary, Product, RecordState, RequestId,
        StaffListOrdersRequest, Stock,
    };

    #[test]
    fn the_order_and_the_state_of_a_list_are_words_and_empty_if_not_said() {
        let read = |text: &str| serde_json::from_str::<ListRequest>(text);
        for (text, sort, state) in [
            ("{}", ListSort::Unspecified, RecordState::Unspecified),
            (r#"{"sort":"","state":""}"#, ListSort::Unspecified, RecordState::Unspecified),
            (r#"{"sort":"id","state":"active"}"#, ListSort::Id, RecordState::Active),
            (r#"{"sort":"price"}"#, ListSort::Price, RecordState::Unspecified),
            (r#"{"sort":"description","state":"closing"}"#, ListSort::Description, RecordState::Closing),
            (r#"{"sort":"name"}"#, ListSort::Name, RecordState::Unspecified),
        ] {
            let request = read(text).expect("a request");
            assert_eq!((request.sort(), request.state()), (sort, state), "{text}");
            let written = serde_json::to_string(&request).expect("JSON");
            assert_eq!(read(&written).expect("a request"), request, "{written}");
        }
        for (text, what) in
            [(r#"{"sort":"stock"}"#, "id, description"), (r#"{"state":"gone"}"#, "active, closing")]
        {
            let why = read(text).expect_err(text).to_string();
            assert!(why.contains(what), "{why}");
        }
    }

    #[test]
    fn a_wanted_state_is_a_word_and_any_is_empty() {
        let read = |text: &str| serde_json::from_str::<StaffListOrdersRequest>(text);
        for (text, state) in [
            ("{}", OrderState::Unspecified),
            (r#"{"state":""}"#, OrderState::Unspecified),
            (r#"{"state":"open"}"#, OrderState::Open),
            (r#"{"state":"cancelled"}"#, OrderState::Cancelled),
            (r#"{"state":"refunded"}"#, OrderState::Refunded),
        ] {
            let request = read(text).expect("a request");
            assert_eq!(request.state(), state, "{text}");
            let written = serde_json::to_string(&request).expect("JSON");
            assert_eq!(read(&written).expect("a request"), request, "{written}");
        }
        for text in [r#"{"state":"unknown"}"#, r#"{"state":"Open"}"#, r#"{"state":"lost"}"#] {
            let why = read(text).expect_err(text).to_string();
            assert!(why.contains("there are open, confirmed, cancelled"), "{why}");
        }
    }

    #[test]
    fn a_document_in_a_message_keeps_each_digit_and_the_order_of_its_members() {
        let text = r#"{"price":"1.10","b":12345678901234567890.0100,"a":[1,{"x":null}]}"#;
        let asked = format!(r#"{{"pid":"fig","data":{text}}}"#);
        let request: InsertProductRequest = serde_json::from_str(&asked).expect("a request");
        assert_eq!((request.pid.as_str(), request.data.as_str()), ("fig", text));
        let client = Client { cid: "ana".into(), data: text.into(), open_orders: 2, etag: 7, version: 1 };
        let shown = serde_json::to_string(&client).expect("JSON");
        assert_eq!(shown, format!(r#"{{"cid":"ana","data":{text},"open_orders":2,"etag":7,"version":1}}"#));
        assert_eq!(serde_json::from_str::<Client>(&shown).expect("a client"), client);
    }

    #[test]
    fn what_a_portal_answers_is_read_back_as_it_was() {
        let line = OrderLine { pid: "fig".into(), quantity: 2, price: "1.50".into(), ..OrderLine::default() };
        let order = Order {
            oid: "o".into(),
            state: OrderState::Confirmed.into(),
            lines: vec![line],
            ..Order::default()
        };
        let text = serde_json::to_string(&order).expect("JSON");
        assert!(text.contains(r#""state":"confirmed""#), "{text}");
        assert_eq!(serde_json::from_str::<Order>(&text).expect("an order"), order);
        let summary = OrderSummary { state: OrderState::Open.into(), ..OrderSummary::default() };
        let list = ListOrdersResponse { orders: vec![summary], next: "o".into(), damage: None };
        let text = serde_json::to_string(&list).expect("JSON");
        assert_eq!(serde_json::from_str::<ListOrdersResponse>(&text).expect("a list"), list);
        let product = Product { stock: Some(Stock { held: 3, ..Stock::default() }), ..Product::default() };
        let text = serde_json::to_string(&product).expect("JSON");
        assert!(text.contains(r#""extra":null"#), "{text}");
        assert_eq!(serde_json::from_str::<Product>(&text).expect("a product"), product);
    }

    #[test]
    fn a_request_takes_no_member_twice_none_that_is_not_known_and_no_request_id() {
        let line = LineChange { pid: "fig".into(), quantity: 2, ..LineChange::default() };
        let request = CreateOrderRequest {
            lines: vec![line],
            request: Some(RequestId { id: "r".into(), created_ms: 1 }),
            ..CreateOrderRequest::default()
        };
        let text = serde_json::to_string(&request).expect("JSON");
        assert_eq!(
            text,
            r#"{"cid":"","lines":[{"pid":"fig","quantity":2,"expect_price":"","extra":null}],"extra":null}"#
        );
        let refused =
            |text: &str| serde_json::from_str::<CreateOrderRequest>(text).expect_err(text).to_string();
        assert!(refused(r#"{"cid":"a","cid":"b"}"#).contains("duplicate field `cid`"));
        assert!(refused(r#"{"request":{}}"#).contains("unknown field `request`"));
        assert!(refused(r#"{"lines":[{"pid":"fig","quantity":2,"x":1}]}"#).contains("unknown field `x`"));
        assert!(refused(r#"{"lines":[{"pid":"fig","quantity":1.5}]}"#).contains("1.5"));
        assert!(refused(r#"{"lines":[["fig",2]]}"#).contains("expected an object"));
    }
}
