//! Flags and rows that more than one table has, said once.

use proto::json::{record_state, sort};

use super::spec::{Arg, Flag, Kind, Verb, maybe, one, switch, with, with_each};

/// Items that a list for people holds; programs page by prefix.
pub const LIST_ITEMS_MAX: usize = 100_000;

/// Repeats a write safely.
pub const REQUEST: Flag =
    with("--request", "ID", Kind::Text, "the request's id: repeat a command with it safely; else a new one");
/// Changes only what was read.
pub const IF_MATCH: Flag =
    with("--if-match", "ETAG", Kind::Etag, "only if it is still of this etag; else whatever its etag");
/// Data on an order.
pub const EXTRA: Flag = with(
    "--extra",
    "JSON",
    Kind::Extra,
    "data on the order, such as '{\"note\":\"gate 2\"}'; kept until named again, {} takes them away",
);
/// Data on its lines.
pub const LINE_EXTRA: Flag =
    with_each("--line-extra", "PID=JSON", Kind::LineExtra, "data on the line of a product, likewise");
/// With how many decimals totals are shown.
pub const DECIMALS: Flag =
    with("--decimals", "N", Kind::Count, "totals are shown rounded to so many decimals, 0 to 8; else to 2");
/// Confirms only what was shown.
pub const TOTAL: Flag =
    with("--total", "TOTAL", Kind::Total, "only if its total is still this one, as it was shown");
/// Writes over what is left only if it is what was seen.
pub const IF_LEFT: Flag =
    with("--if-left", "N", Kind::Integer, "only if so many are left; sales move that and not the etag");
/// Makes a member whose name is nearly another's.
pub const NEW: Flag =
    with_each("--new", "NAME", Kind::Text, "make this new member, though another has nearly its name");
/// Units that no order takes.
pub const SAFETY_STOCK: Flag =
    with("--safety-stock", "N", Kind::Integer, "orders leave so many; 0: none; not with --backorder-limit");
/// Units beyond what is there.
pub const BACKORDER_LIMIT: Flag =
    with("--backorder-limit", "N", Kind::Integer, "orders may take so many more than there are; 0: none");
/// The smallest quantity.
pub const QUANTITY_MIN: Flag =
    with("--quantity-min", "N", Kind::Integer, "an order has at least so many of it, or none; 0: any");
/// The largest.
pub const QUANTITY_MAX: Flag =
    with("--quantity-max", "N", Kind::Integer, "an order has at most so many of it; 0: any");
/// No stock is taken.
pub const UNTRACKED: Flag = switch("--untracked", "orders take no stock of it");
/// It is taken again.
pub const TRACKED: Flag = switch("--tracked", "orders take stock of it again");
/// When it is low.
pub const LOW_STOCK: Flag =
    with("--low-stock", "N", Kind::Integer, "staff see it as low when no more are left; 0: never");
/// How long open orders hold stock.
pub const HOLD_MINUTES: Flag = with(
    "--hold-minutes",
    "N",
    Kind::Count,
    "an open order that is not changed for so long is cancelled; 0: never",
);
/// How long events are kept.
pub const FEED_DAYS: Flag =
    with("--feed-days", "N", Kind::Count, "for how many days it is kept who did what: list-events; 0: 30");
/// What prices are in.
pub const CURRENCY: Flag = with("--currency", "CODE", Kind::Text, "the currency of all prices, such as BRL");
/// It is not said.
pub const NO_CURRENCY: Flag = switch("--no-currency", "the currency is not said");
/// Why staff change an order.
pub const REASON: Flag = with(
    "--reason",
    "TEXT",
    Kind::Text,
    "why, for the client and other staff; asked for if a person is there to answer",
);
/// What is to be said about a move that needs no reason.
pub const WORD: Flag =
    with("--reason", "TEXT", Kind::Text, "a word about it, which the client sees; may be left out");
/// Who changes it.
pub const BY: Flag = with("--by", "NAME", Kind::Text, "who does it; kept with the reason, as it is said");
/// Shortens a list.
pub const LIMIT: Flag = with(
    "--limit",
    "N",
    Kind::LimitOrAll(LIST_ITEMS_MAX as u64),
    "at most so many, up to 100000; all if 0 or left out",
);

/// The order of products.
pub const SORT_PRODUCTS: Flag = with(
    "--sort",
    "ORDER",
    Kind::OneOf(sort::OF_PRODUCTS),
    "in this order: id (else, too), description, price",
);
/// The order of clients.
pub const SORT_CLIENTS: Flag =
    with("--sort", "ORDER", Kind::OneOf(sort::OF_CLIENTS), "in this order: id (else, too), name");
/// Words that a list finds.
pub const WORDS: Flag =
    with("--words", "TEXT", Kind::Text, "only those with a word that begins so, for each word of this");
/// The category of products.
pub const CATEGORY: Flag =
    with("--category", "TEXT", Kind::Text, "only those whose document says category=TEXT");
/// The state of clients and products.
pub const STATE: Flag = with(
    "--state",
    "STATE",
    Kind::OneOf(record_state::ALL),
    "only those in this state: active, closing (being deleted)",
);
/// Goes on with a list that may be sorted.
pub const CURSOR: Flag = with(
    "--after",
    "CURSOR",
    Kind::Text,
    "goes on where a list was cut: after this id, or as a sorted list said",
);

/// Goes on with a list where one that was cut ended.
pub const fn after(value: &'static str, kind: Kind) -> Flag {
    with("--after", value, kind, "only what comes after this id: goes on where a list was cut")
}

/// The row of `settle`; what else names the request is of the table's own.
pub const fn settle<O>(operation: O, flags: &'static [Flag], example: &'static str) -> Verb<O> {
    Verb {
        operation,
        name: "settle",
        aliases: &["esclarecer"],
        args: &SETTLED,
        flags,
        about: "what became of a request that was not answered; if it was not done, it never will be from then on",
        example,
    }
}

const SETTLED: [Arg; 1] = [one("ID", Kind::Text)];

/// The row of `portal`.
pub const fn portal<O>(operation: O) -> Verb<O> {
    Verb {
        operation,
        name: "portal",
        aliases: &[],
        args: &[],
        flags: &[],
        about: "shows the portal's cache: hits, lease, state",
        example: "portal",
    }
}

const COMMAND: [Arg; 1] = [maybe("COMMAND", Kind::Verb)];

/// The row of `help`; the example is of the table's own.
pub const fn help<O>(operation: O, example: &'static str) -> Verb<O> {
    Verb {
        operation,
        name: "help",
        aliases: &["ajuda", "menu", "?"],
        args: &COMMAND,
        flags: &[],
        about: "this list, or everything about one command",
        example,
    }
}

/// The row of `exit`; what leaving waits for is of the table's own.
pub const fn exit<O>(operation: O, about: &'static str) -> Verb<O> {
    Verb {
        operation,
        name: "exit",
        aliases: &["sair", "quit"],
        args: &[],
        flags: &[],
        about,
        example: "exit",
    }
}
