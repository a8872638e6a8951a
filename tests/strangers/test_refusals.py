"""What shoppers are refused, over each transport: the reason, and what it says of it (docs/SCHEMA.md, Errors)."""

import time
import uuid

from conftest import Id, new_id
from test_operations import line


def order(shop, cid, *lines):
    return shop.done("CreateOrder", {"cid": cid, "lines": list(lines)})


def test_nobody_unknown_gets_past_any_operation(market, shop):
    fig = market.product()
    oid = order(shop, market.client(), line(fig, 1))["oid"]
    nobody = f"nobody-{uuid.uuid4()}"
    for operation, request in [
        ("CreateOrder", {"lines": [line(fig, 1)]}),
        ("ModifyOrder", {"oid": oid, "lines": [line(fig, 1)]}),
        ("ConfirmOrder", {"oid": oid}),
        ("CancelOrder", {"oid": oid}),
        ("GetOrder", {"oid": oid}),
        ("ListOrders", {}),
        ("BrowseProducts", {}),
        ("GetProduct", {"pid": fig}),
    ]:
        shop.refused("CLIENT_UNKNOWN", operation, {"cid": nobody, **request}, cid=nobody)


def test_anothers_order_and_one_that_is_not_there_are_told_apart(market, shop):
    ana, bia, fig = market.client(), market.client(), market.product()
    oid = order(shop, ana, line(fig, 1))["oid"]
    for operation, request in [
        ("ModifyOrder", {"lines": [line(fig, 2)]}),
        ("ConfirmOrder", {}),
        ("CancelOrder", {}),
        ("GetOrder", {}),
    ]:
        shop.refused("ORDER_OF_ANOTHER_CLIENT", operation, {"cid": bia, "oid": oid, **request}, oid=oid)
        shop.refused("NOT_FOUND", operation, {"cid": ana, "oid": "nope", **request}, kind="order", id="nope")
    assert market.stock(fig) == (99, 1)


def test_what_is_not_sold_is_not_found(market, shop):
    ana, fig = market.client(), market.product()
    made, none = order(shop, ana, line(fig, 1)), f"none-{uuid.uuid4()}"
    shop.refused("NOT_FOUND", "GetProduct", {"cid": ana, "pid": none}, kind="product", id=none)
    shop.refused("NOT_FOUND", "CreateOrder", {"cid": ana, "lines": [line(none, 1)]}, kind="product", id=none)
    change = {"cid": ana, "oid": made["oid"], "lines": [line(none, 1)]}
    shop.refused("NOT_FOUND", "ModifyOrder", change, kind="product", id=none)


def test_too_many_say_how_many_are_left_and_move_nothing(market, shop):
    ana, fig, kiwi = market.client(), market.product(3), market.product()
    wanted = {"cid": ana, "lines": [line(fig, 5), line(kiwi, 1)]}
    refusal = shop.refused("STOCK_SHORT", "CreateOrder", wanted)
    assert refusal.short == [{"pid": fig, "wanted": 5, "left": 3, "holds": 0}]
    made = order(shop, ana, line(fig, 2))
    refusal = shop.refused("STOCK_SHORT", "ModifyOrder", {"cid": ana, "oid": made["oid"], "lines": [line(fig, 4)]})
    assert refusal.short == [{"pid": fig, "wanted": 2, "left": 1, "holds": 2}]
    assert (market.stock(fig), market.stock(kiwi)) == ((1, 2), (100, 0))


def test_a_products_bounds_bind_every_order(market, shop):
    ana, fig = market.client(), market.product(rules={"quantity_min": 2, "quantity_max": 6})
    for quantity in (1, 7):
        says = {"pid": fig, "quantity": quantity, "least": 2, "most": 6}
        shop.refused("QUANTITY_OUTSIDE", "CreateOrder", {"cid": ana, "lines": [line(fig, quantity)]}, **says)
    made = order(shop, ana, line(fig, 2))
    change = {"cid": ana, "oid": made["oid"], "lines": [line(fig, 7)]}
    shop.refused("QUANTITY_OUTSIDE", "ModifyOrder", change, pid=fig)
    assert market.stock(fig) == (98, 2)


def test_only_open_orders_with_lines_go_on(market, shop):
    ana, fig = market.client(), market.product()
    empty = order(shop, ana)["oid"]
    shop.refused("ORDER_EMPTY", "ConfirmOrder", {"cid": ana, "oid": empty}, oid=empty)
    sold, gone = order(shop, ana, line(fig, 1))["oid"], order(shop, ana, line(fig, 1))["oid"]
    shop.done("ConfirmOrder", {"cid": ana, "oid": sold})
    shop.done("CancelOrder", {"cid": ana, "oid": gone})
    for oid, state in [(sold, "confirmed"), (gone, "cancelled")]:
        change = {"cid": ana, "oid": oid, "lines": [line(fig, 2)]}
        shop.refused("ORDER_NOT_OPEN", "ModifyOrder", change, oid=oid, state=state)
    shop.refused("ORDER_NOT_OPEN", "CancelOrder", {"cid": ana, "oid": sold}, state="confirmed")
    shop.refused("ORDER_NOT_OPEN", "ConfirmOrder", {"cid": ana, "oid": gone}, state="cancelled")
    assert market.stock(fig) == (99, 1)


def test_what_has_changed_since_is_not_changed_again(market, shop):
    ana, fig = market.client(), market.product()
    made = order(shop, ana, line(fig, 1))
    change = {"cid": ana, "oid": made["oid"], "if_match": made["etag"]}
    changed = shop.done("ModifyOrder", {**change, "lines": [line(fig, 2)]})
    late = {**change, "lines": [line(fig, 3)]}
    shop.refused("CHANGED", "ModifyOrder", late, kind="order", id=made["oid"], etag=changed["etag"])
    assert market.stock(fig) == (98, 2)


def test_wrong_members_are_named(market, shop):
    ana, fig = market.client(), market.product()
    made = order(shop, ana, line(fig, 1))
    named = {"cid": ana, "oid": made["oid"]}
    for operation, request, field in [
        ("CreateOrder", {"cid": ana, "lines": [line(fig, 1), line(fig, -1)]}, "lines[1].quantity"),
        ("CreateOrder", {"cid": ana, "lines": [line(fig, 0)]}, "lines[0].quantity"),
        ("CreateOrder", {"cid": ana, "lines": [line(fig, 1_000_001)]}, "lines[0].quantity"),
        ("CreateOrder", {"cid": ana, "lines": [line("", 1)]}, "lines[0].pid"),
        ("CreateOrder", {"cid": ana, "lines": [line(f"p{at}", 1) for at in range(1_001)]}, "lines"),
        ("CreateOrder", {"cid": "x" * 129, "lines": []}, "cid"),
        ("ModifyOrder", {**named, "lines": []}, "lines"),
        ("ModifyOrder", {**named, "lines": [line(fig, -1)]}, "lines[0].quantity"),
        ("ListOrders", {"cid": ana, "limit": 1_001}, "limit"),
        ("ListOrders", {"cid": ana, "after": "nope"}, "after"),
        ("BrowseProducts", {"cid": ana, "limit": 1_001}, "limit"),
        ("BrowseProducts", {"cid": ana, "sort": "name"}, "sort"),
        ("GetProduct", {"cid": ana, "pid": "x" * 129}, "pid"),
    ]:
        shop.refused("INVALID_FIELD", operation, request, field=field)
    shop.refused("INVALID_FIELD", "ConfirmOrder", named, Id("r" * 65), field="request.id")
    assert market.stock(fig) == (99, 1)


def test_ids_of_requests_are_for_one_request_and_not_for_ever(market, shop):
    ana, fig, id = market.client(), market.product(), new_id()
    made = shop.done("CreateOrder", {"cid": ana, "lines": [line(fig, 1)]}, id)
    other = {"cid": ana, "lines": [line(fig, 2)]}
    shop.refused("REQUEST_ID_REUSED", "CreateOrder", other, id, request=id.text)
    shop.refused("REQUEST_ID_REUSED", "CancelOrder", {"cid": ana, "oid": made["oid"]}, id, request=id.text)
    old = Id(str(uuid.uuid4()), 1)
    shop.refused("REQUEST_ID_EXPIRED", "CreateOrder", other, old, request=old.text)
    ahead = Id(str(uuid.uuid4()), time.time_ns() // 1_000_000 + 3 * 86_400_000)
    shop.refused("CLOCKS_APART", "CreateOrder", other, ahead)
    assert market.stock(fig) == (99, 1)


def test_another_clusters_request_is_refused(market, shop):
    ana, fig = market.client(), market.product()
    refusal = shop.ask("CreateOrder", {"cid": ana, "lines": [line(fig, 1)]}, new_id(), cluster="00000000000000ff")
    assert refusal.reason == "WRONG_CLUSTER", refusal
    assert market.stock(fig) == (100, 0)
