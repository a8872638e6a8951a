//! The shoppers' commands, one row each: names, words, help and an example that works.

use super::shared::{
    self, CATEGORY, CURSOR, EXTRA, IF_MATCH, LIMIT, LINE_EXTRA, REQUEST, SORT_PRODUCTS, TOTAL, WORDS, after,
};
use super::spec::{Flag, Kind, Menu, Verb, many, maybe, one, with};

/// What each does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is explained by its row of the table below")]
pub enum Shop {
    Use,
    CreateOrder,
    ModifyOrder,
    GetOrder,
    ListOrders,
    ConfirmOrder,
    CancelOrder,
    Products,
    Product,
    Settle,
    Portal,
    Help,
    Exit,
}

const CID: Flag = with("--cid", "CID", Kind::Cid, "in the name of this client");

/// The table.
pub static MENU: Menu<Shop> = Menu { title: "feira shop: orders", verbs: &VERBS };

static VERBS: [Verb<Shop>; 13] = [
    Verb {
        operation: Shop::Use,
        name: "use",
        aliases: &["entrar", "login"],
        args: &[one("CID", Kind::Cid)],
        flags: &[],
        about: "says who you are; every command after it is in that name",
        example: "use joaquim-sousa",
    },
    Verb {
        operation: Shop::CreateOrder,
        name: "create-order",
        aliases: &["criarPedido", "order"],
        args: &[many("PID=QUANTITY", Kind::Line, 0)],
        flags: &[CID, EXTRA, LINE_EXTRA, REQUEST],
        about: "opens an order, with its first lines if any are given; lines of one product are added up; =2@1.50: only at that price",
        example: "create-order banana-prata=3 limao-tahiti=1",
    },
    Verb {
        operation: Shop::ModifyOrder,
        name: "modify-order",
        aliases: &["modificarPedido"],
        args: &[one("OID", Kind::Oid), many("PID=QUANTITY", Kind::Line, 0)],
        flags: &[CID, EXTRA, LINE_EXTRA, IF_MATCH, REQUEST],
        about: "sets quantities of an order; 0 removes the line, lines of one product are added up; =2@1.50: only at that price",
        example: "modify-order 0193 banana-prata=5 limao-tahiti=0",
    },
    Verb {
        operation: Shop::GetOrder,
        name: "get-order",
        aliases: &["listarPedido", "recuperarPedido"],
        args: &[one("OID", Kind::Oid)],
        flags: &[CID],
        about: "shows an order: lines and total",
        example: "get-order 0193",
    },
    Verb {
        operation: Shop::ListOrders,
        name: "list-orders",
        aliases: &["listarPedidos", "orders"],
        args: &[],
        flags: &[CID, LIMIT, after("OID", Kind::Oid)],
        about: "lists your orders with their totals",
        example: "list-orders",
    },
    Verb {
        operation: Shop::ConfirmOrder,
        name: "confirm-order",
        aliases: &["confirmarPedido"],
        args: &[one("OID", Kind::Oid)],
        flags: &[CID, TOTAL, REQUEST],
        about: "freezes an order: it is neither changed nor cancelled any more",
        example: "confirm-order 0193",
    },
    Verb {
        operation: Shop::CancelOrder,
        name: "cancel-order",
        aliases: &["cancelarPedido"],
        args: &[one("OID", Kind::Oid)],
        flags: &[CID, REQUEST],
        about: "cancels an order and puts its stock back; a second time changes nothing",
        example: "cancel-order 0193",
    },
    Verb {
        operation: Shop::Products,
        name: "products",
        aliases: &["listarProdutos", "list-products", "browse"],
        args: &[maybe("PREFIX", Kind::Pid)],
        flags: &[CID, SORT_PRODUCTS, WORDS, CATEGORY, LIMIT, CURSOR],
        about: "lists what is sold, all or what begins so, by id, description or price",
        example: "products --sort price --words banana",
    },
    Verb {
        operation: Shop::Product,
        name: "product",
        aliases: &["recuperarProduto", "get-product"],
        args: &[one("PID", Kind::Pid)],
        flags: &[CID],
        about: "shows a product and how many are left",
        example: "product banana-prata",
    },
    shared::settle(Shop::Settle, &[CID], "settle 0193f7a2-5b1c-7c3e-9a4d-2f6b8c1d0e5a"),
    shared::portal(Shop::Portal),
    shared::help(Shop::Help, "help modify-order"),
    shared::exit(Shop::Exit, "leaves"),
];
