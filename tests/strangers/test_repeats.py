"""Each write, repeated under its id over each other transport: one effect, and the answer of then to the letter."""

import time
import uuid

import pytest

from answers import Answer
from conftest import TRANSPORTS, Id, new_id
from test_operations import line


def a_time_sorted_uuid() -> str:
    """A UUID of version 7 (RFC 9562, 5.7), which Python makes by itself only from 3.14 on."""
    number = (time.time_ns() // 1_000_000) << 80 | uuid.uuid4().int & ((1 << 80) - 1)
    return str(uuid.UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62))


@pytest.fixture(params=TRANSPORTS)
def first(request):
    return request.param


@pytest.fixture
def repeated(market, first):
    """Asks over one transport and then over each, the first too; the one answer to all."""

    def ask(operation, message, id):
        answer = market.shop(first).ask(operation, message, id)
        for again in TRANSPORTS:
            repeated = market.shop(again).ask(operation, message, id)
            if isinstance(answer, Answer):
                assert isinstance(repeated, Answer), (again, repeated)
                assert (repeated.document, repeated.etag) == (answer.document, answer.etag), again
            else:
                want = (answer.reason, answer.detail, answer.says, answer.short)
                assert (repeated.reason, repeated.detail, repeated.says, repeated.short) == want, again
        return answer

    return ask


@pytest.mark.parametrize(
    "make", [new_id, lambda: Id(f"by hand {uuid.uuid4()}"), lambda: Id(a_time_sorted_uuid())], ids=["timed", "untimed", "uuid7"]
)
def test_each_write_has_one_effect_and_one_answer(market, repeated, first, make):
    ana, fig, shop = market.client(), market.product(), market.shop(first)
    made = repeated("CreateOrder", {"cid": ana, "lines": [line(fig, 4)]}, make()).document
    assert market.stock(fig) == (96, 4)
    named = {"cid": ana, "oid": made["oid"]}
    id, change = make(), {**named, "lines": [line(fig, 9)], "if_match": made["etag"]}
    changed = repeated("ModifyOrder", change, id).document
    assert (changed["version"], market.stock(fig)) == (2, (91, 9))
    # Another change comes after it: the repetition is answered as then, and moves nothing back.
    back = shop.done("ModifyOrder", {**named, "lines": [line(fig, 1)]})
    assert repeated("ModifyOrder", change, id).document == changed
    assert (shop.done("GetOrder", named), market.stock(fig)) == (back, (99, 1))
    confirmed = repeated("ConfirmOrder", named, make()).document
    assert (confirmed["state"], confirmed["version"]) == ("confirmed", 4)
    other = shop.done("CreateOrder", {"cid": ana, "lines": [line(fig, 5)]})
    cancelled = repeated("CancelOrder", {"cid": ana, "oid": other["oid"]}, make()).document
    assert (cancelled["state"], market.stock(fig)) == ("cancelled", (99, 1))
    listed = shop.done("ListOrders", {"cid": ana})["orders"]
    assert {one["oid"] for one in listed} == {made["oid"], other["oid"]}, "no request made two orders"


def test_a_refusal_is_the_answer_too(market, repeated):
    """What was short stays refused under its id, though there is enough by now."""
    ana, fig, id = market.client(), market.product(1), new_id()
    wanted = {"cid": ana, "lines": [line(fig, 2)]}
    assert repeated("CreateOrder", wanted, id).reason == "STOCK_SHORT"
    market.staff.done("AdjustStock", {"pid": fig, "amount": 9})
    assert repeated("CreateOrder", wanted, id).reason == "STOCK_SHORT"
    assert market.stock(fig) == (10, 0)


def test_an_id_is_of_one_request_over_all_transports(market, repeated, first):
    ana, bia, fig, id = market.client(), market.client(), market.product(), new_id()
    shop = market.shop(first)
    made = shop.done("CreateOrder", {"cid": ana, "lines": [line(fig, 1)]}, id)
    assert repeated("CreateOrder", {"cid": ana, "lines": [line(fig, 2)]}, id).reason == "REQUEST_ID_REUSED"
    assert repeated("CancelOrder", {"cid": ana, "oid": made["oid"]}, id).reason == "REQUEST_ID_REUSED"
    theirs = repeated("CreateOrder", {"cid": bia, "lines": [line(fig, 1)]}, id).document
    assert theirs["oid"] != made["oid"], "ids are a client's own"
    assert market.stock(fig) == (98, 2)
