"""Every operation of shoppers as it succeeds, over each transport."""

import time
import uuid


def line(pid, quantity):
    return {"pid": pid, "quantity": quantity}


def test_an_order_is_made_shown_changed_and_confirmed(market, shop):
    ana, fig, kiwi = market.client(), market.product(), market.product(price="0.999")
    begun_ms = time.time() * 1000
    made = shop.done("CreateOrder", {"cid": ana, "lines": [line(fig, 2), line(kiwi, 1), line(fig, 1)]})
    assert [(one["pid"], one["quantity"], one["subtotal"]) for one in made["lines"]] == [
        (fig, 3, "4.50"),
        (kiwi, 1, "0.999"),
    ]
    assert (made["cid"], made["state"], made["total"], made["version"]) == (ana, "open", "5.499", 1)
    assert abs(made["created_ms"] - begun_ms) < 60_000
    assert shop.done("GetOrder", {"cid": ana, "oid": made["oid"]}) == made
    assert market.stock(fig) == (97, 3)
    change = {"cid": ana, "oid": made["oid"], "lines": [line(fig, 10), line(kiwi, 0)], "if_match": made["etag"]}
    changed = shop.done("ModifyOrder", change)
    assert [(one["pid"], one["quantity"]) for one in changed["lines"]] == [(fig, 10)]
    assert (market.stock(fig), market.stock(kiwi)) == ((90, 10), (100, 0))
    named = {"cid": ana, "oid": made["oid"]}
    confirmed = shop.done("ConfirmOrder", named)
    assert (confirmed["state"], confirmed["total"]) == ("confirmed", "15.00")
    assert shop.done("ConfirmOrder", named) == confirmed, "once more it is answered with it"


def test_a_cancelled_order_gives_back_what_it_held_once(market, shop):
    ana, fig = market.client(), market.product()
    made = shop.done("CreateOrder", {"cid": ana, "lines": [line(fig, 7)]})
    named = {"cid": ana, "oid": made["oid"]}
    cancelled = shop.done("CancelOrder", named)
    assert (cancelled["state"], market.stock(fig)) == ("cancelled", (100, 0))
    assert (shop.done("CancelOrder", named), market.stock(fig)) == (cancelled, (100, 0))


def test_orders_are_listed_page_by_page(market, shop):
    ana, fig = market.client(), market.product()
    made = [shop.done("CreateOrder", {"cid": ana, "lines": [line(fig, 1)] * at}) for at in range(5)]
    listed, after = [], ""
    while True:
        page = shop.done("ListOrders", {"cid": ana, "limit": 2, **({"after": after} if after else {})})
        assert len(page["orders"]) <= 2
        listed += page["orders"]
        after = page["next"]
        if not after:
            break
    of = {one["oid"]: one for one in made}
    assert [one["oid"] for one in listed] == sorted(of)
    assert all((one["total"], one["lines"]) == (of[one["oid"]]["total"], len(of[one["oid"]]["lines"])) for one in listed)
    assert shop.done("ListOrders", {"cid": market.client()})["orders"] == []


def test_products_are_found_sorted_and_paged(market, shop):
    ana, tag = market.client(), uuid.uuid4().hex
    for name, price, category in [("Maçã Fuji", "3", "fruit"), ("Figo", "1.5", "fruit"), ("Maçaneta", "20", "doors")]:
        pid = f"{tag}-{name[:4]}"
        market.product(7, price, pid=pid, description=f"{name} {tag}", category=category, kept={"a": [1, 2.50]})
    def found(**asked):
        return [one["description"].split()[0] for one in shop.done("BrowseProducts", {"cid": ana, **asked})["products"]]
    assert found(prefix=tag) == ["Figo", "Maçaneta", "Maçã"], "by the bytes of their ids"
    assert found(words=tag, sort="price") == ["Figo", "Maçã", "Maçaneta"]
    assert found(words=f"maca {tag[:6]}", sort="description") == ["Maçã", "Maçaneta"]
    assert found(words=tag, category="doors") == ["Maçaneta"]
    first = shop.done("BrowseProducts", {"cid": ana, "prefix": tag, "limit": 2})
    rest = shop.done("BrowseProducts", {"cid": ana, "prefix": tag, "limit": 2, "after": first["next"]})
    assert (len(first["products"]), len(rest["products"]), rest["next"]) == (2, 1, "")
    assert first["products"][0]["extra"] == {"category": "fruit", "kept": {"a": [1, 2.50]}}
    one = shop.done("GetProduct", {"cid": ana, "pid": first["products"][0]["pid"]})
    assert (one["price"], one["stock"]["available"]) == ("1.50", 7)


def test_an_id_of_any_letters_is_itself(market, shop):
    """A CID and a PID are any text: they go through paths, properties and messages unchanged."""
    ana, fig = f"ana/é ?&%#+ {uuid.uuid4()}", f"fig/ü ?&%#+\"' {uuid.uuid4()}"
    market.staff.done("InsertClient", {"cid": ana, "data": {"name": "Ana"}})
    market.product(pid=fig)
    made = shop.done("CreateOrder", {"cid": ana, "lines": [line(fig, 1)]})
    assert (made["cid"], made["lines"][0]["pid"]) == (ana, fig)
    assert shop.done("GetOrder", {"cid": ana, "oid": made["oid"]}) == made
    assert shop.done("GetProduct", {"cid": ana, "pid": fig})["pid"] == fig
