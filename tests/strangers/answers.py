"""An answer of a portal in one form, whichever way it came: a document, or a refusal with its reason and what it says of it.

docs/API.md says that an answer is the same document over every transport, and docs/SCHEMA.md which status each reason has in which
transport. Both are checked here whenever something is asked, so that no test can forget to.
"""

import json
import pathlib
import re
from dataclasses import dataclass, field

SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "docs" / "SCHEMA.md"


def _statuses() -> dict[str, tuple[str, int]]:
    """The table of errors in docs/SCHEMA.md: for each reason the status of gRPC and that of HTTP."""
    rows = {}
    for line in SCHEMA.read_text(encoding="utf-8").split("## Errors")[1].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) >= 6 and re.fullmatch("[A-Z_]+", cells[0]) and re.fullmatch("[A-Z_]+", cells[1]):
            rows[cells[1]] = (cells[0], int(cells[-1]))
    assert len(rows) > 20, "docs/SCHEMA.md has its table of errors"
    return rows


STATUSES = _statuses()


@dataclass
class Answer:
    """What a portal did: its answer as a document."""

    document: dict
    status: int | None = None  # None: gRPC has only one status for what was done
    etag: str | None = None
    session: str | None = None

    @property
    def reason(self) -> str:
        return ""


@dataclass
class Refusal:
    """What a portal did not do: why, as programs and as people are told."""

    reason: str
    detail: str
    says: dict[str, str] = field(default_factory=dict)
    short: list[dict] = field(default_factory=list)
    session: str | None = None

    def __getitem__(self, name: str) -> str:
        return self.says[name]


def refusal_of_problem(status: int, content_type: str, text: bytes, session: str | None) -> Refusal:
    """Problem details (RFC 9457), of HTTP and MQTT."""
    problem = json.loads(text)
    assert content_type == "application/problem+json", (content_type, problem)
    assert problem["status"] == status, (status, problem)
    reason = problem.get("reason", "")
    if reason:
        assert problem["type"] == f"urn:feira:{reason}", problem
        assert STATUSES[reason][1] == status, (status, problem)
    assert problem["title"] and problem["detail"], "a person is told nothing"
    own = {"type", "title", "status", "detail", "reason", "short", "by"}
    says = {name: str(value) for name, value in problem.items() if name not in own}
    return Refusal(reason, problem["detail"], says, problem.get("short", []), session)
