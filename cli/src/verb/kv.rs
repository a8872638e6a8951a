//! The commands of the key-value store's own tool.

use super::shared::{self, REQUEST};
use super::spec::{Flag, Kind, Menu, Verb, maybe, one, switch, with};

/// What each does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is explained by its row of the table below")]
pub enum Kv {
    Set,
    Get,
    Update,
    Delete,
    DeleteVersion,
    TestAndSet,
    Scan,
    Range,
    Outcome,
    Wait,
    Help,
    Exit,
}

/// The most records of one scan.
pub const RECORDS_MAX: u64 = 1_000;

const LIMIT: Flag = with(
    "--limit",
    "N",
    Kind::Limit(RECORDS_MAX),
    "at most so many, up to 1000; 100 if left out; range goes on from the last key",
);
const TIMESTAMP: Flag =
    with("--timestamp", "MS", Kind::Integer, "the record's timestamp, milliseconds since 1970; else now");
const STALE: Flag = switch("--stale", "whatever any replica has applied; the answer says up to where");

/// The table.
pub static MENU: Menu<Kv> =
    Menu { title: "feira kv: the replicated store; answers come as they are ready", verbs: &VERBS };

static VERBS: [Verb<Kv>; 12] = [
    Verb {
        operation: Kv::Set,
        name: "set",
        aliases: &["create", "criar"],
        args: &[one("KEY", Kind::Key), one("DATA", Kind::Text)],
        flags: &[TIMESTAMP, REQUEST],
        about: "creates a record; ERROR and the record there if the key is taken",
        example: "set 17 'two kilos'",
    },
    Verb {
        operation: Kv::Get,
        name: "get",
        aliases: &["read", "ler"],
        args: &[one("KEY", Kind::Key)],
        flags: &[STALE],
        about: "reads a record; ERROR if it is absent",
        example: "get 17",
    },
    Verb {
        operation: Kv::Update,
        name: "update",
        aliases: &["atualizar"],
        args: &[one("KEY", Kind::Key), one("DATA", Kind::Text)],
        flags: &[TIMESTAMP, REQUEST],
        about: "replaces a record whatever its version; ERROR_NE if it is absent",
        example: "update 17 'three kilos'",
    },
    Verb {
        operation: Kv::Delete,
        name: "del",
        aliases: &["delete", "apagar"],
        args: &[one("KEY", Kind::Key)],
        flags: &[REQUEST],
        about: "deletes a record whatever its version; ERROR if it is absent",
        example: "del 17",
    },
    Verb {
        operation: Kv::DeleteVersion,
        name: "del-version",
        aliases: &["delVersion", "delete-version"],
        args: &[one("KEY", Kind::Key), one("VERSION", Kind::Count)],
        flags: &[REQUEST],
        about: "deletes a record of one version; ERROR_NE if absent, ERROR_WV and the record if of another",
        example: "del-version 17 2",
    },
    Verb {
        operation: Kv::TestAndSet,
        name: "test-and-set",
        aliases: &["testAndSet", "tas"],
        args: &[one("KEY", Kind::Key), one("VERSION", Kind::Count), one("DATA", Kind::Text)],
        flags: &[TIMESTAMP, REQUEST],
        about: "replaces a record of one version; ERROR_NE if absent, ERROR_WV and the record if of another",
        example: "test-and-set 17 1 'four kilos'",
    },
    Verb {
        operation: Kv::Scan,
        name: "scan",
        aliases: &["listar"],
        args: &[maybe("PREFIX", Kind::Key)],
        flags: &[LIMIT, STALE],
        about: "lists records in key order, all or those whose (text) key begins so",
        example: "scan p/",
    },
    Verb {
        operation: Kv::Range,
        name: "range",
        aliases: &["intervalo"],
        args: &[one("FROM", Kind::Key), one("TO", Kind::Key)],
        flags: &[LIMIT, STALE],
        about: "lists records from a key (inclusive) to a key (exclusive)",
        example: "range 1 100",
    },
    Verb {
        operation: Kv::Outcome,
        name: "outcome",
        aliases: &["desfecho"],
        args: &[one("KEY", Kind::Key), one("ID", Kind::Text)],
        flags: &[],
        about: "what became of the write with this request id; closes the id if it never ran",
        example: "outcome 17 order-66",
    },
    Verb {
        operation: Kv::Wait,
        name: "wait",
        aliases: &["esperar"],
        args: &[],
        flags: &[],
        about: "waits for all outstanding answers",
        example: "wait",
    },
    shared::help(Kv::Help, "help test-and-set"),
    shared::exit(Kv::Exit, "stops reading, waits for outstanding answers (at least the grace), leaves"),
];
