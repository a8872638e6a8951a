"""A client of HTTP/JSON that is made of the description which a portal serves (OpenAPI), and of nothing else."""

import urllib.parse

import requests

from answers import Answer, Refusal, refusal_of_problem


class Http:
    """One portal of either kind."""

    name = "http"

    def __init__(self, address: str):
        self.base = f"http://{address}"
        self.connection = requests.Session()
        served = self.connection.get(f"{self.base}/openapi.json", timeout=30)
        assert served.status_code == 200, served.text
        self.operations = {}
        for path, methods in served.json()["paths"].items():
            for method, operation in methods.items():
                self.operations[operation["operationId"]] = (method, path, operation)

    def close(self):
        self.connection.close()

    def ask(self, operation: str, request: dict, id=None, session=None, cluster=None) -> Answer | Refusal:
        """Each member goes where the description says: into the path, the query, a header or the body."""
        method, path, described = self.operations[operation]
        request, query, headers = dict(request), {}, {}
        for parameter in described["parameters"]:
            name, place = parameter["name"], parameter["in"]
            if place == "path":
                path = path.replace("{%s}" % name, urllib.parse.quote(request.pop(name), safe=""))
            elif place == "query" and name in request:
                query[name] = request.pop(name)
            elif name == "If-Match" and request.get("if_match"):
                headers[name] = f'"{request.pop("if_match")}"'
        if id:
            headers["Idempotency-Key"] = f'"{id.text}"'
            if id.created_ms is not None:
                headers["Idempotency-Key-Created-Ms"] = str(id.created_ms)
        if session:
            headers["Feira-Session"] = session
        if cluster:
            headers["Feira-Cluster-Id"] = cluster
        query = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
        body = request if "requestBody" in described or request else None
        url = self.base + path
        answer = self.connection.request(method, url, params=query, json=body, headers=headers, timeout=30)
        return self._read(answer, described)

    def _read(self, answer: requests.Response, described: dict) -> Answer | Refusal:
        content_type, session = answer.headers["content-type"], answer.headers.get("feira-session")
        assert answer.headers["cache-control"] == "no-store"
        if not answer.ok:
            return refusal_of_problem(answer.status_code, content_type, answer.content, session)
        assert str(answer.status_code) in described["responses"], answer.status_code
        assert content_type == "application/json"
        if answer.status_code == 201:
            made = self.connection.get(self.base + answer.headers["location"], timeout=30)
            assert made.status_code == 200, "what was made is where the answer says"
        etag = answer.headers.get("etag")
        return Answer(answer.json(), answer.status_code, etag and etag.strip('"'), session)
