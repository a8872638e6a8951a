"""A shop that runs, its transports, and a customer with a session of its own for each test.

Told by the environment: MARKET_STAFF and MARKET_SHOPS (addresses of portals; commas between), MARKET_BROKER (host:port) and
MARKET_CLUSTER (its name). `cargo xtask strangers` starts such shops and runs this.
"""

import os
import time
import uuid
from dataclasses import dataclass

import pytest

import over_grpc
from answers import Answer, Refusal
from over_http import Http
from over_mqtt import Mqtt

TRANSPORTS = ["grpc", "http", "mqtt"]


@dataclass(frozen=True)
class Id:
    """A request's own id, and when it was made if it says so."""

    text: str
    created_ms: int | None = None


def new_id() -> Id:
    return Id(str(uuid.uuid4()), time.time_ns() // 1_000_000)


class Session:
    """What was seen: for each shard the larger number (docs/API.md, Sessions)."""

    def __init__(self):
        self.cluster, self.offsets = "", {}

    def token(self) -> str | None:
        return ";".join([self.cluster, *(f"{shard}={at}" for shard, at in self.offsets.items())]) or None

    def saw(self, token: str | None):
        self.cluster, *pairs = (token or self.cluster).split(";")
        for shard, at in (pair.split("=") for pair in pairs if pair):
            self.offsets[shard] = max(int(at), self.offsets.get(shard, 0))


class Shop:
    """One transport to the shoppers' portals, in turn where the caller can choose; all of one session."""

    def __init__(self, portals: list, session: Session):
        self.portals, self.session, self.asked = portals, session, 0

    def ask(self, operation: str, request: dict, id: Id | None = None, cluster=None) -> Answer | Refusal:
        portal = self.portals[self.asked % len(self.portals)]
        self.asked += 1
        answer = portal.ask(operation, request, id, self.session.token(), cluster)
        self.session.saw(answer.session)
        return answer

    def done(self, operation: str, request: dict, under: Id | None = None) -> dict:
        """Asks what must succeed; its document. What changes something has an id of its own."""
        changes = not operation.startswith(("Get", "List", "Browse"))
        answer = self.ask(operation, request, under or (new_id() if changes else None))
        assert isinstance(answer, Answer), answer
        assert answer.etag == (str(answer.document["etag"]) if "etag" in answer.document else None)
        return answer.document

    def refused(self, reason: str, operation: str, message: dict, under: Id | None = None, **says) -> Refusal:
        """Asks what must be refused for this reason, which says so."""
        changes = not operation.startswith(("Get", "List", "Browse"))
        refusal = self.ask(operation, message, under or (new_id() if changes else None))
        assert refusal.reason == reason, refusal
        for name, value in says.items():
            assert refusal[name] == str(value), refusal
        return refusal


class Market:
    """Staff at their portal, and every transport of shoppers."""

    def __init__(self, connections: dict[str, list]):
        self.connections, self.session = connections, Session()
        self.staff = Shop(connections["staff"], self.session)

    def shop(self, transport: str) -> Shop:
        return Shop(self.connections[transport], self.session)

    def client(self) -> str:
        cid = f"ana-{uuid.uuid4()}"
        self.staff.done("InsertClient", {"cid": cid, "data": {"name": "Ana"}})
        return cid

    def product(self, quantity=100, price="1.50", rules=None, **data) -> str:
        pid = data.pop("pid", None) or f"fig-{uuid.uuid4()}"
        data = {"description": "Fig", "price": price, "quantity": quantity, **data}
        request = {"pid": pid, "data": data, **({"rules": rules} if rules else {})}
        self.staff.done("InsertProduct", request)
        return pid

    def stock(self, pid: str) -> tuple[int, int]:
        """What is available of a product, and what is held."""
        stock = self.staff.done("GetProduct", {"pid": pid})["stock"]
        assert stock["initial"] + stock["adjusted"] == stock["available"] + stock["held"] + stock["sold"]
        return stock["available"], stock["held"]


@pytest.fixture(scope="session")
def connections(tmp_path_factory):
    over_grpc.make_stubs(tmp_path_factory.mktemp("stubs"))
    shops = os.environ["MARKET_SHOPS"].split(",")
    host, port = os.environ["MARKET_BROKER"].rsplit(":", 1)
    all_of = {
        "staff": [Http(os.environ["MARKET_STAFF"])],
        "grpc": [over_grpc.Grpc(address) for address in shops],
        "http": [Http(address) for address in shops],
        "mqtt": [Mqtt(host, int(port), os.environ["MARKET_CLUSTER"])],
    }
    yield all_of
    for connection in sum(all_of.values(), []):
        connection.close()


@pytest.fixture
def market(connections):
    return Market(connections)


@pytest.fixture(params=TRANSPORTS)
def shop(request, market):
    """A customer's way in: each test that takes it runs over each transport."""
    return market.shop(request.param)
