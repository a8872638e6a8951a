//! The administrators' commands, one row each: names, words, help and an example that works.

use super::shared::{
    self, BACKORDER_LIMIT, BY, IF_LEFT, IF_MATCH, LIMIT, LOW_STOCK, NEW, QUANTITY_MAX, QUANTITY_MIN, REASON,
    REQUEST, SAFETY_STOCK, TRACKED, UNTRACKED, WORD, after,
};
use super::spec::{Arg, Flag, Kind, Menu, Verb, many, maybe, one, switch, with};

/// What each does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is explained by its row of the table below")]
pub enum Admin {
    InsertClient,
    UpdateClient,
    GetClient,
    DeleteClient,
    ListClients,
    InsertProduct,
    UpdateProduct,
    GetProduct,
    DeleteProduct,
    ListProducts,
    AdjustStock,
    ListOrders,
    GetOrder,
    ModifyOrder,
    ConfirmOrder,
    CancelOrder,
    PayOrder,
    PackOrder,
    SendOrder,
    ReturnOrder,
    RefundOrder,
    Portal,
    Help,
    Exit,
}

/// The table.
pub static MENU: Menu<Admin> = Menu { title: "feira admin: clients, products, stock, orders", verbs: &VERBS };

/// An order is named by its client and its id, as a list shows both.
const ORDER: [Arg; 2] = [one("CID", Kind::Cid), one("OID", Kind::Oid)];
/// What goes with each change of an order.
const OF_CHANGE: [Flag; 4] = [REASON, BY, IF_MATCH, REQUEST];

/// What goes with each move of a confirmed order that needs no reason.
const OF_MOVE: [Flag; 4] = [WORD, BY, IF_MATCH, REQUEST];

/// A move of a confirmed order that needs no reason.
const fn moving(
    operation: Admin,
    name: &'static str,
    aliases: &'static [&'static str],
    about: &'static str,
    example: &'static str,
) -> Verb<Admin> {
    Verb { operation, name, aliases, args: &ORDER, flags: &OF_MOVE, about, example }
}

static VERBS: [Verb<Admin>; 24] = [
    Verb {
        operation: Admin::InsertClient,
        name: "insert-client",
        aliases: &["inserirCliente", "new-client"],
        args: &[many("[CID] DATA", Kind::Data, 0)],
        flags: &[with("--cid", "CID", Kind::Cid, "the id; else made from the name"), NEW, REQUEST],
        about: "registers a client; asks for the data if none is given",
        example: "insert-client name='Maria Silva' city=Recife",
    },
    Verb {
        operation: Admin::UpdateClient,
        name: "update-client",
        aliases: &["modificarCliente"],
        args: &[one("CID", Kind::Cid), many("DATA", Kind::Data, 0)],
        flags: &[IF_MATCH, NEW, REQUEST],
        about: "replaces a client's data (a JSON document), or changes the members named (NAME=VALUE)",
        example: "update-client maria-silva city=Olinda",
    },
    Verb {
        operation: Admin::GetClient,
        name: "get-client",
        aliases: &["recuperarCliente", "client"],
        args: &[one("CID", Kind::Cid)],
        flags: &[],
        about: "shows a client",
        example: "get-client maria-silva",
    },
    Verb {
        operation: Admin::DeleteClient,
        name: "delete-client",
        aliases: &["apagarCliente"],
        args: &[one("CID", Kind::Cid)],
        flags: &[switch("--cascade", "cancel its open orders first"), IF_MATCH, REQUEST],
        about: "deletes a client that has no open orders",
        example: "delete-client maria-silva",
    },
    Verb {
        operation: Admin::ListClients,
        name: "list-clients",
        aliases: &["listarClientes", "clients"],
        args: &[maybe("PREFIX", Kind::Cid)],
        flags: &[LIMIT, after("CID", Kind::Cid)],
        about: "lists clients, all or those whose id begins so",
        example: "list-clients maria",
    },
    Verb {
        operation: Admin::InsertProduct,
        name: "insert-product",
        aliases: &["inserirProduto", "new-product"],
        args: &[many("[PID] DATA", Kind::Data, 0)],
        flags: &[
            with("--pid", "PID", Kind::Pid, "the id; else made from the description"),
            SAFETY_STOCK,
            BACKORDER_LIMIT,
            QUANTITY_MIN,
            QUANTITY_MAX,
            UNTRACKED,
            LOW_STOCK,
            NEW,
            REQUEST,
        ],
        about: "adds a product: description, quantity, price; asks for them if none is given",
        example: "insert-product description='Umbu' quantity=120 price=6.90 unit=kg",
    },
    Verb {
        operation: Admin::UpdateProduct,
        name: "update-product",
        aliases: &["modificarProduto"],
        args: &[one("PID", Kind::Pid), many("DATA", Kind::Data, 0)],
        flags: &[
            SAFETY_STOCK,
            BACKORDER_LIMIT,
            QUANTITY_MIN,
            QUANTITY_MAX,
            UNTRACKED,
            TRACKED,
            LOW_STOCK,
            IF_MATCH,
            IF_LEFT,
            NEW,
            REQUEST,
        ],
        about: "replaces a product's document, or changes the members named (NAME=VALUE); quantity= sets what is left",
        example: "update-product banana-prata price=7.20",
    },
    Verb {
        operation: Admin::GetProduct,
        name: "get-product",
        aliases: &["recuperarProduto", "product"],
        args: &[one("PID", Kind::Pid)],
        flags: &[],
        about: "shows a product and its stock",
        example: "get-product banana-prata",
    },
    Verb {
        operation: Admin::DeleteProduct,
        name: "delete-product",
        aliases: &["apagarProduto"],
        args: &[one("PID", Kind::Pid)],
        flags: &[switch("--cascade", "take it out of open orders first"), IF_MATCH, REQUEST],
        about: "deletes a product that is in no open order",
        example: "delete-product umbu",
    },
    Verb {
        operation: Admin::ListProducts,
        name: "list-products",
        aliases: &["listarProdutos", "products"],
        args: &[maybe("PREFIX", Kind::Pid)],
        flags: &[LIMIT, after("PID", Kind::Pid)],
        about: "lists products, all or those whose id begins so",
        example: "list-products banana",
    },
    Verb {
        operation: Admin::AdjustStock,
        name: "adjust-stock",
        aliases: &["ajustarEstoque", "stock"],
        args: &[one("PID", Kind::Pid), one("AMOUNT", Kind::Integer)],
        flags: &[REQUEST],
        about: "moves stock by a signed amount; never below zero, or what its rules keep",
        example: "adjust-stock banana-prata -5",
    },
    Verb {
        operation: Admin::ListOrders,
        name: "list-orders",
        aliases: &["listarPedidos", "orders"],
        args: &[maybe("CID", Kind::Cid)],
        flags: &[
            with(
                "--state",
                "STATE",
                Kind::State,
                "only those in this state: open, confirmed, cancelled, paid, packed, sent, returned, refunded",
            ),
            with("--product", "PID", Kind::Pid, "only those with a line of this product"),
            with(
                "--since",
                "TIME",
                Kind::Time,
                "only those last changed then or later: 2026-11-29T08:30 (UTC), 12h, 7d",
            ),
            with("--until", "TIME", Kind::Time, "only those last changed before"),
            LIMIT,
            with(
                "--after",
                "CID/OID",
                Kind::Text,
                "only what comes after this order: goes on where a list was cut",
            ),
        ],
        about: "lists the orders of all clients, or of one, by client and id; also of removed clients",
        example: "list-orders --state open --since 12h",
    },
    Verb {
        operation: Admin::GetOrder,
        name: "get-order",
        aliases: &["consultarPedido", "recuperarPedido", "order"],
        args: &ORDER,
        flags: &[],
        about: "shows an order: lines, total, when it was changed, and what staff did to it",
        example: "get-order maria-silva 0193",
    },
    Verb {
        operation: Admin::ModifyOrder,
        name: "modify-order",
        aliases: &["modificarPedido"],
        args: &[ORDER[0], ORDER[1], many("PID=QUANTITY", Kind::Line, 1)],
        flags: &OF_CHANGE,
        about: "sets quantities of a client's open order; 0 removes the line; the client sees the reason",
        example: "modify-order maria-silva 0193 banana-prata=5 --reason 'two were bruised' --by joana",
    },
    Verb {
        operation: Admin::ConfirmOrder,
        name: "confirm-order",
        aliases: &["confirmarPedido"],
        args: &ORDER,
        flags: &OF_CHANGE,
        about: "confirms a client's open order for good; the client sees the reason",
        example: "confirm-order maria-silva 0193 --reason 'agreed by telephone' --by joana",
    },
    Verb {
        operation: Admin::CancelOrder,
        name: "cancel-order",
        aliases: &["cancelarPedido"],
        args: &ORDER,
        flags: &OF_CHANGE,
        about: "cancels a client's open order and puts its stock back; the client sees the reason",
        example: "cancel-order maria-silva 0193 --reason 'asked for by telephone' --by joana",
    },
    moving(
        Admin::PayOrder,
        "pay-order",
        &["pagarPedido"],
        "notes that a confirmed order is paid",
        "pay-order maria-silva 0193 --by joana",
    ),
    moving(
        Admin::PackOrder,
        "pack-order",
        &["embalarPedido"],
        "notes that a paid order is packed",
        "pack-order maria-silva 0193",
    ),
    moving(
        Admin::SendOrder,
        "send-order",
        &["enviarPedido"],
        "notes that a packed order has left: what it held is sold",
        "send-order maria-silva 0193 --reason 'by motorcycle'",
    ),
    Verb {
        operation: Admin::ReturnOrder,
        name: "return-order",
        aliases: &["devolverPedido"],
        args: &ORDER,
        flags: &[
            switch("--restock", "its goods are sold again; else they are written off"),
            REASON,
            BY,
            IF_MATCH,
            REQUEST,
        ],
        about: "notes that a sent order came back; the client sees the reason",
        example: "return-order maria-silva 0193 --restock --reason 'nobody was at home'",
    },
    Verb {
        operation: Admin::RefundOrder,
        name: "refund-order",
        aliases: &["reembolsarPedido"],
        args: &ORDER,
        flags: &OF_CHANGE,
        about: "notes that the money of a paid, packed or returned order went back, and lets go what it held",
        example: "refund-order maria-silva 0193 --reason 'paid twice' --by joana",
    },
    shared::portal(Admin::Portal),
    shared::help(Admin::Help, "help insert-client"),
    shared::exit(Admin::Exit, "leaves"),
];
