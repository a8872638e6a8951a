"""A session that goes from transport to transport and from portal to portal, and never reads what is older than it has seen."""

from conftest import TRANSPORTS
from test_operations import line


def test_what_was_written_over_one_transport_is_read_over_the_others(market):
    ana, fig = market.client(), market.product()
    shops = [market.shop(transport) for transport in TRANSPORTS]
    made = shops[0].done("CreateOrder", {"cid": ana, "lines": [line(fig, 1)]})
    named = {"cid": ana, "oid": made["oid"]}
    for at in range(60):
        change = {**named, "lines": [line(fig, at % 7 + 1)]}
        changed = shops[at % 3].done("ModifyOrder", change)
        for shop in (shops[(at + 1) % 3], shops[(at + 2) % 3]):
            assert shop.done("GetOrder", named) == changed, at


def test_a_token_that_is_none_is_refused_with_one_to_begin_anew(market, connections):
    ana = market.client()
    for transport in TRANSPORTS:
        portal = connections[transport][0]
        refusal = portal.ask("ListOrders", {"cid": ana}, session="nonsense")
        assert (refusal.reason, refusal["field"]) == ("INVALID_FIELD", "feira-session"), (transport, refusal)
        assert refusal.session, f"{transport}: a token to begin anew with"
        answer = portal.ask("ListOrders", {"cid": ana}, session=refusal.session)
        assert answer.document["orders"] == [], answer
