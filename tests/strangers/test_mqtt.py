"""What only MQTT has: properties, topics and deliveries."""

import json

import pytest

from answers import Answer
from conftest import new_id
from test_operations import line


@pytest.fixture
def caller(connections):
    return connections["mqtt"][0]


def asked(caller, operation, user, body="{}", **more):
    correlation = caller.publish(operation, body, user, **more)
    answer = caller.answer(correlation, 30)
    assert answer is not None, "every request that can be answered is"
    return answer


def test_a_change_needs_an_id_of_its_own(market, caller):
    ana = market.client()
    refusal = asked(caller, "CreateOrder", [("cid", ana)])
    assert (refusal.reason, refusal["field"]) == ("INVALID_FIELD", "request-id")
    assert isinstance(asked(caller, "ListOrders", [("cid", ana)], body=""), Answer)


@pytest.mark.parametrize(
    ("operation", "more", "body", "field"),
    [
        ("DropTables", [], "{}", "topic"),
        ("InsertClient", [], "{}", "topic"),
        ("CreateOrder", [("cid", "bia")], "{}", "cid"),
        ("CreateOrder", [("request-created-ms", "soon")], "{}", "request-created-ms"),
        ("CreateOrder", [], '{"cid":"bia"}', "body"),
        ("CreateOrder", [], "[]", "body"),
        ("CreateOrder", [], '{"lines":[{"pid":"x","quantity":"2"}]}', "lines[0].quantity"),
        ("CreateOrder", [], '{"colour":"red"}', "colour"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_name(market, caller, operation, more, body, field):
    user = [("cid", market.client()), ("request-id", new_id().text), *more]
    refusal = asked(caller, operation, user, body)
    assert (refusal.reason, refusal["field"]) == ("INVALID_FIELD", field), refusal


def test_a_retained_request_is_refused(market, caller):
    ana, fig = market.client(), market.product()
    user = [("cid", ana), ("request-id", new_id().text)]
    refusal = asked(caller, "CreateOrder", user, json.dumps({"lines": [line(fig, 1)]}), retain=True)
    assert refusal["field"] == "retain"
    # The broker keeps it until somebody takes it away: an empty retained message does.
    caller.client.publish(f"{caller.prefix}create-order", b"", qos=1, retain=True).wait_for_publish(30)
    assert market.stock(fig) == (100, 0)


def test_a_message_that_is_delivered_twice_orders_once(market, caller):
    """QoS 1 may deliver twice: the same message, published ten times at once."""
    ana, fig = market.client(), market.product()
    user = [("cid", ana), ("request-id", new_id().text)]
    body = json.dumps({"lines": [line(fig, 3)]})
    answers = [caller.answer(one, 30) for one in [caller.publish("CreateOrder", body, user) for _ in range(10)]]
    assert all(isinstance(answer, Answer) for answer in answers), answers
    assert {json.dumps(answer.document) for answer in answers} == {json.dumps(answers[0].document)}
    assert market.stock(fig) == (97, 3)


def test_patience_is_the_expiry_and_a_content_type_is_json(market, caller):
    ana = market.client()
    answer = asked(caller, "ListOrders", [("cid", ana)], MessageExpiryInterval=5, ContentType="application/json")
    assert answer.document["orders"] == []
    refusal = asked(caller, "ListOrders", [("cid", ana)], ContentType="text/plain")
    assert (refusal.reason, refusal["field"]) == ("INVALID_FIELD", "content-type")
