//! An operation's place in HTTP: method, path, parameters.

use proto::json::{record_state, sort};

/// Where the description for programs is.
pub const OPENAPI: &str = "/openapi.json";
/// The header with a request's id.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header with the time when that id was made, milliseconds since 1970; an id that is a UUID of version 7 says it itself.
pub const IDEMPOTENCY_KEY_CREATED: &str = "idempotency-key-created-ms";

/// A method (RFC 9110, 9.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes something, or acts.
    Post,
    /// Replaces.
    Put,
    /// Changes a part (RFC 5789).
    Patch,
    /// Deletes.
    Delete,
}

impl Method {
    /// Its name in OpenAPI.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Method::Get => "get",
            Method::Post => "post",
            Method::Put => "put",
            Method::Patch => "patch",
            Method::Delete => "delete",
        }
    }

    /// Whether its requests have a body.
    #[must_use]
    pub const fn has_body(self) -> bool {
        matches!(self, Method::Post | Method::Put | Method::Patch)
    }
}

/// A path with places for ids, such as `/v1/clients/{cid}/orders`. The names are those of the request's members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path(pub &'static str);

impl Path {
    /// The names of its places.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.0.split('/').filter_map(name_of)
    }

    /// With ids in its places.
    ///
    /// # Panics
    /// If there are fewer of them than places: our own bug.
    #[must_use]
    pub fn filled(self, ids: &[&str]) -> String {
        let mut ids = ids.iter();
        let parts = self.0.split('/').map(|part| match name_of(part) {
            None => part.to_owned(),
            Some(name) => {
                let id = ids.next().unwrap_or_else(|| panic!("{self:?} has an id for {name}"));
                percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string()
            }
        });
        parts.collect::<Vec<_>>().join("/")
    }
}

fn name_of(part: &'static str) -> Option<&'static str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

/// What a parameter of the query holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Of {
    /// Text.
    Text,
    /// A whole number, not negative.
    Number,
    /// A point in time: milliseconds since 1970.
    Time,
    /// The word for the state of an order.
    State,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
}

/// A parameter of the query: a member of the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameter {
    /// Its name, there and here.
    pub name: &'static str,
    /// What it holds.
    pub of: Of,
}

/// The parameters of every list.
pub const PAGE: &[Parameter] =
    &[Parameter { name: "limit", of: Of::Number }, Parameter { name: "after", of: Of::Text }];
/// Those of the list of products for shoppers.
pub const PRODUCTS_PAGE: &[Parameter] = &[
    Parameter { name: "sort", of: Of::Word(sort::OF_PRODUCTS) },
    Parameter { name: "words", of: Of::Text },
    Parameter { name: "category", of: Of::Text },
    Parameter { name: "prefix", of: Of::Text },
    Parameter { name: "limit", of: Of::Number },
    Parameter { name: "after", of: Of::Text },
];
/// Those of the list of products for staff.
pub const STAFF_PRODUCTS_PAGE: &[Parameter] = &[
    Parameter { name: "sort", of: Of::Word(sort::OF_PRODUCTS) },
    Parameter { name: "state", of: Of::Word(record_state::ALL) },
    Parameter { name: "words", of: Of::Text },
    Parameter { name: "category", of: Of::Text },
    Parameter { name: "prefix", of: Of::Text },
    Parameter { name: "limit", of: Of::Number },
    Parameter { name: "after", of: Of::Text },
];
/// Those of the list of clients. Their message has a category, which is of products.
pub const CLIENTS_PAGE: &[Parameter] = &[
    Parameter { name: "sort", of: Of::Word(sort::OF_CLIENTS) },
    Parameter { name: "state", of: Of::Word(record_state::ALL) },
    Parameter { name: "words", of: Of::Text },
    Parameter { name: "prefix", of: Of::Text },
    Parameter { name: "limit", of: Of::Number },
    Parameter { name: "after", of: Of::Text },
];
/// Those of the feed.
pub const EVENTS_PAGE: &[Parameter] = &[
    Parameter { name: "after", of: Of::Text },
    Parameter { name: "limit", of: Of::Number },
    Parameter { name: "wait_ms", of: Of::Number },
    Parameter { name: "cid", of: Of::Text },
    Parameter { name: "pid", of: Of::Text },
    Parameter { name: "oid", of: Of::Text },
];
/// Those of the sales of a span.
pub const SALES_PAGE: &[Parameter] = &[
    Parameter { name: "from_ms", of: Of::Time },
    Parameter { name: "to_ms", of: Of::Time },
    Parameter { name: "utc_offset", of: Of::Text },
    Parameter { name: "limit", of: Of::Number },
    Parameter { name: "after", of: Of::Text },
];
/// Those of the list of all clients' orders.
pub const ORDERS_PAGE: &[Parameter] = &[
    Parameter { name: "state", of: Of::State },
    Parameter { name: "cid", of: Of::Text },
    Parameter { name: "pid", of: Of::Text },
    Parameter { name: "changed_from_ms", of: Of::Time },
    Parameter { name: "changed_to_ms", of: Of::Time },
    Parameter { name: "sort", of: Of::Text },
    Parameter { name: "limit", of: Of::Number },
    Parameter { name: "after", of: Of::Text },
];
/// Those of a deletion.
pub const CASCADE: &[Parameter] = &[Parameter { name: "cascade", of: Of::Flag }];

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resource {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: Path,
    /// The parameters.
    pub query: &'static [Parameter],
    /// `If-Match` is looked at: the member `if_match` of the request.
    pub matches: bool,
    /// It makes what has this path from then on; the answer is 201 (Created).
    pub made: Option<Path>,
}

impl Resource {
    /// A resource without parameters.
    #[must_use]
    pub const fn new(method: Method, path: &'static str) -> Resource {
        Resource { method, path: Path(path), query: &[], matches: false, made: None }
    }

    /// With parameters.
    #[must_use]
    pub const fn with(self, query: &'static [Parameter]) -> Resource {
        Resource { query, ..self }
    }

    /// With `If-Match`.
    #[must_use]
    pub const fn matching(self) -> Resource {
        Resource { matches: true, ..self }
    }

    /// One that makes something.
    #[must_use]
    pub const fn making(self, path: &'static str) -> Resource {
        Resource { made: Some(Path(path)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_put_into_a_path_so_that_they_are_read_back_whole() {
        let path = Path("/v1/clients/{cid}/orders/{oid}");
        assert_eq!(path.names().collect::<Vec<_>>(), ["cid", "oid"]);
        assert_eq!(path.filled(&["ana/../é", "7"]), "/v1/clients/ana%2F%2E%2E%2F%C3%A9/orders/7");
    }
}
