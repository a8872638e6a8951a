"""What only HTTP has: its statuses, headers and members, as a client by hand meets them."""

import pytest
import requests

from test_operations import line


@pytest.fixture
def at(connections):
    return connections["http"][0].base


def test_what_is_made_has_a_place_and_a_version(market, at):
    ana, fig = market.client(), market.product()
    made = requests.post(f"{at}/v1/clients/{ana}/orders", json={"lines": [line(fig, 1)]}, timeout=30)
    oid = made.json()["oid"]
    assert (made.status_code, made.headers["location"]) == (201, f"/v1/clients/{ana}/orders/{oid}".replace("-", "%2D"))
    assert made.headers["etag"] == f'"{made.json()["etag"]}"'


@pytest.mark.parametrize(
    ("headers", "body", "status", "field"),
    [
        ({"content-type": "text/plain"}, "{}", 400, "content-type"),
        ({"content-type": "application/json"}, '{"lines":[],"lines":[]}', 400, "body"),
        ({"content-type": "application/json"}, '{"colour":"red"}', 400, "colour"),
        ({"content-type": "application/json"}, "[]", 400, "body"),
        ({"content-type": "application/json"}, '{"cid":"bia"}', 400, "body"),
        ({"content-type": "application/json", "if-none-match": "*"}, "{}", 400, "if-none-match"),
        ({"content-type": "application/json", "idempotency-key": '""'}, "{}", 400, "idempotency-key"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_name(market, at, headers, body, status, field):
    url = f"{at}/v1/clients/{market.client()}/orders"
    answer = requests.post(url, data=body, headers=headers, timeout=30)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text


def test_paths_and_methods_that_are_not_there_are_told_in_the_same_form(at):
    for method, path, status in [("GET", "/nothing", 404), ("GET", "/v1/clients", 404), ("PUT", "/v1/clients/ana/orders", 405)]:
        answer = requests.request(method, at + path, timeout=30)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["status"] == status
