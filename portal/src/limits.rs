//! Every bound of the portals, with the relations between them checked by the compiler.

/// Longest CID, PID or OID, bytes.
pub const ID_BYTES_MAX: usize = 128;
/// Longest request id, bytes (the store's own limit).
pub const REQUEST_ID_BYTES_MAX: usize = 64;
/// Largest JSON document that a person may send, bytes.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of such a document.
pub const DOCUMENT_DEPTH_MAX: usize = 32;
/// Longest description of a product, bytes: it is copied into every order line.
pub const DESCRIPTION_BYTES_MAX: usize = 256;
/// Largest quantity of one product in one order.
pub const LINE_QUANTITY_MAX: i64 = 1_000_000;
/// Largest quantity of a product that may be inserted, or moved by one adjustment.
pub const STOCK_QUANTITY_MAX: i64 = 1_000_000_000_000;
/// Most lines named in one request.
pub const REQUEST_LINES_MAX: usize = 1_000;
/// Most lines of one order.
pub const ORDER_LINES_MAX: usize = 2_000;
/// Longest reason that staff give for changing an order, bytes.
pub const STAFF_REASON_BYTES_MAX: usize = 500;
/// Longest name of who gives it, bytes.
pub const STAFF_NAME_BYTES_MAX: usize = 128;
/// Most bytes of the data of staff and shops on an order, without blanks between its parts.
pub const EXTRA_ORDER_BYTES_MAX: usize = 1_024;
/// The same, on a line.
pub const EXTRA_LINE_BYTES_MAX: usize = 256;
/// Deepest nesting of such data.
pub const EXTRA_DEPTH_MAX: usize = 8;
/// Most decimals that totals are shown with.
pub const DECIMALS_MAX: u32 = 8;
/// Decimals that totals are shown with where the shop says nothing.
pub const DECIMALS_DEFAULT: u32 = 2;
/// How far after the log time the times of an imported order may be, ms: clocks elsewhere are set to other days, not to other years.
pub const IMPORT_AHEAD_MS_MAX: i64 = 24 * 3_600 * 1_000;
/// Notes of staff that an order keeps.
pub const STAFF_NOTES_MAX: usize = 8;
/// Most bytes of such a note in a record: an open order has room for one, so that staff can always end it.
pub const STAFF_NOTE_BYTES_MAX: usize = 1_400;
/// Most bytes of an open order.
pub const ORDER_RECORD_BYTES_MAX: usize = proto::check::DATA_BYTES_MAX - STAFF_NOTE_BYTES_MAX;
/// Most bytes of the transaction that cancels an open order.
pub const ORDER_BYTES_MAX: usize = proto::check::TXN_BYTES_MAX - 4_096 - STAFF_NOTE_BYTES_MAX;
/// Longest time that an open order is held, minutes: a year.
pub const HOLD_MINUTES_MAX: u32 = 366 * 24 * 60;
/// Bytes of the lines that an event has of an order whose units are moved as a whole; the lines of a longer one are in the order alone.
pub const EVENT_LINES_BYTES_MAX: usize = 4_096;
/// Stocks with a threshold that an event tells of.
pub const EVENT_LOW_MAX: usize = 32;
/// Names of changed members that an event has.
pub const EVENT_MEMBERS_MAX: usize = 32;
/// Bytes of such a name; of a longer one the beginning.
pub const EVENT_MEMBER_BYTES_MAX: usize = 64;
/// Bytes of the events of one group that are kept, beyond which the oldest go whatever their age.
pub const FEED_BYTES_MAX: u64 = 1 << 30;
/// Events that one transaction drops.
pub const FEED_DROPPED_MAX: u32 = 500;
/// Lines of orders after which a page of sales ends: one order has no more.
pub const SALES_LINES_MAX: usize = ORDER_LINES_MAX;
/// Longest time that a request waits for an event, milliseconds.
pub const FEED_WAIT_MS_MAX: u32 = 30_000;
/// Readers to whom a portal tells events as they come.
pub const FEED_READERS_MAX: usize = 64;
/// Days that events are kept, unless staff say otherwise.
pub const FEED_DAYS_DEFAULT: u32 = 30;
/// Most days that staff may say: ten years.
pub const FEED_DAYS_MAX: u32 = 3_660;
/// Bytes of a portal's name in an event; of a longer one the beginning.
pub const PORTAL_NAME_BYTES_MAX: usize = 64;
/// Letters of a currency's code (ISO 4217).
pub const CURRENCY_LETTERS: usize = 3;
/// Rows of open orders that one round of the sweeper looks at, at most.
pub const SWEPT_MAX: usize = 8_000;
/// Orders that are listed or swept at the same time.
pub const SWEEP_PARALLEL: usize = 8;
/// Ids that are tried to find a free one like an id that is kept.
pub const FREE_IDS_MAX: u32 = 32;
/// Digits before the decimal point of a price.
pub const PRICE_WHOLE_DIGITS_MAX: usize = 12;
/// Digits after the decimal point of a price (the Online Retail data has 0.001).
pub const PRICE_DECIMALS_MAX: usize = 6;
/// Longest token of a session, bytes: the cluster, and two numbers for each of 64 shards.
pub const SESSION_TOKEN_BYTES_MAX: usize = 16 + 64 * 42;
/// Largest page of a list, and the page when none is asked for.
pub const PAGE_MAX: u32 = 1_000;
/// A page when no size is asked for.
pub const PAGE_DEFAULT: u32 = 100;
/// Pages of the store that one request of a list with filters looks through, at most.
pub const FILTERED_PAGES_MAX: usize = 8;
/// Most bytes of the sorted part of an index key; what is longer is cut.
pub const SORTED_BYTES_MAX: usize = 64;
/// Bytes of a description or name whose words lists find: of what is longer, the beginning.
pub const FOUND_BYTES_MAX: usize = 256;
/// Longest category that lists find, and longest words that they are asked for, bytes.
pub const CATEGORY_BYTES_MAX: usize = 128;
/// Bytes of records after which a page with filters or of another order than by id ends.
pub const LISTED_BYTES_MAX: usize = 1024 * 1024;
/// Records of a page that are read at the same time.
pub const LISTED_PARALLEL: usize = 128;
/// Records whose rows one step of a reindex makes at the same time.
pub const REINDEX_PARALLEL: usize = 32;
/// Largest request that a portal reads, bytes.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// Things that hold a deletion back, or short products, named in one error.
pub const ERROR_LIST_MAX: usize = 100;
/// Bytes of such a list: details travel in HTTP/2 trailers, of which clients take 16 KiB by default.
pub const ERROR_LIST_BYTES_MAX: usize = 5_000;
/// Longest message of an error, bytes (percent-encoded in a trailer: up to three times that).
pub const ERROR_MESSAGE_BYTES_MAX: usize = 800;
/// Requests that one portal works on at once, unless configured.
pub const REQUESTS_MAX: usize = 4_096;
/// Reads of single records that a portal has under way at one group of the store: cached ones need none.
pub const REFILLS_MAX: usize = 128;
/// Further ones that wait for their turn, in order; more are refused with RESOURCE_EXHAUSTED.
pub const REFILLS_WAITING_MAX: usize = 4 * REQUESTS_MAX;
/// How long one waits at most, milliseconds: as long as a portal waits for the store, unless configured.
pub const REFILL_WAIT_MS_MAX: u64 = 5_000;
/// Reads of the store that one request has under way at once.
pub const READS_PARALLEL: usize = 32;
/// Tries of one user operation whose guards failed, each with what was just read.
pub const ATTEMPTS_MAX: u32 = 16;
/// Remembered refusals of earlier calls with the same request id that one call passes over.
pub const ATTEMPTS_REMEMBERED_MAX: u32 = 1_024;
/// Nonces of one portal and group that no freshness heartbeat has named yet.
pub const NONCES_OUTSTANDING_MAX: usize = 16;
/// Orders that the answer of a cascade names.
pub const CASCADE_NAMED_MAX: usize = 1_000;
/// Orders of a cascade that are changed at the same time.
pub const CASCADE_PARALLEL: usize = 8;
/// Pages of a client's orders that are searched for the open ones that hold its deletion back.
pub const HOLDER_PAGES_MAX: usize = 20;

/// Parts of a transaction for a new line: two guards, three adds, the holder record.
pub const PARTS_NEW_LINE: usize = 6;
/// Parts for a line that is taken out: three adds, the holder record.
pub const PARTS_GONE_LINE: usize = 4;
/// Parts besides those of lines: the client, the order, its state, its row from where and to where, the shop, the event.
pub const PARTS_ORDER: usize = 13;

const _: () = assert!(REQUEST_LINES_MAX <= ORDER_LINES_MAX);
// The note, or what is available of the stock, is quoted, too.
const _: () = assert!(EVENT_LOW_MAX < proto::check::QUOTES_MAX);
const _: () = assert!(REQUEST_LINES_MAX * PARTS_NEW_LINE + PARTS_ORDER <= proto::check::TXN_PARTS_MAX);
const _: () = assert!(ORDER_LINES_MAX * PARTS_GONE_LINE + PARTS_ORDER <= proto::check::TXN_PARTS_MAX);
const _: () = assert!(DOCUMENT_DEPTH_MAX + 2 < proto::check::JSON_DEPTH_MAX);
// An order, its lines, a line.
const _: () = assert!(EXTRA_DEPTH_MAX + 3 < proto::check::JSON_DEPTH_MAX);
const _: () = assert!(DOCUMENT_BYTES_MAX + 4_096 < proto::check::DATA_BYTES_MAX);
// Quotes and backslashes are written as two bytes, and nothing else of a line is longer in JSON; the rest are names and a time.
const _: () = assert!(2 * (STAFF_REASON_BYTES_MAX + STAFF_NAME_BYTES_MAX) + 128 <= STAFF_NOTE_BYTES_MAX);
const _: () = assert!(REQUEST_ID_BYTES_MAX == proto::check::USER_ID_BYTES_MAX);
const _: () = assert!(PAGE_MAX == proto::check::SCAN_LIMIT_MAX);
const _: () = assert!(LINE_QUANTITY_MAX <= STOCK_QUANTITY_MAX);
// A row's key: `i/p/d/`, the sorted part, `/{`, an id of which each byte is three, `}`.
const _: () = assert!(6 + SORTED_BYTES_MAX + 2 + 3 * ID_BYTES_MAX < proto::check::KEY_BYTES_MAX);
const _: () = assert!(PRICE_WHOLE_DIGITS_MAX + 1 + PRICE_DECIMALS_MAX <= SORTED_BYTES_MAX);
const _: () = assert!(DESCRIPTION_BYTES_MAX <= FOUND_BYTES_MAX);
const _: () = assert!(LISTED_PARALLEL <= REFILLS_MAX);
// A total is exact in rust_decimal (28 digits): price × quantity × lines.
const _: () = assert!(PRICE_WHOLE_DIGITS_MAX + PRICE_DECIMALS_MAX + 6 + 4 <= 28);
const _: () = assert!(LINE_QUANTITY_MAX <= 1_000_000 && ORDER_LINES_MAX <= 10_000);
// The longest request: each line an id, a quantity, a price, data, tags and lengths.
const _: () = assert!(
    REQUEST_LINES_MAX * (ID_BYTES_MAX + EXTRA_LINE_BYTES_MAX + 64) + EXTRA_ORDER_BYTES_MAX + 1_024
        <= REQUEST_BYTES_MAX
);
// An error's trailers: details in base64 (4/3), the message percent-encoded, and a session's token, under 16 KiB.
const _: () = assert!(
    (ERROR_LIST_BYTES_MAX + 2_000) * 4 / 3 + 3 * ERROR_MESSAGE_BYTES_MAX + SESSION_TOKEN_BYTES_MAX
        < 16 * 1024
);
