"""A client of gRPC that is made of the .proto files alone: grpcio-tools makes the stubs when the tests begin."""

import importlib
import json
import pathlib
import sys

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from grpc_tools import protoc

from answers import STATUSES, Answer, Refusal

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"

# docs/API.md, JSON: a field that holds a document is that document.
DOCUMENTS = {"data", "extra"}


def make_stubs(folder: pathlib.Path):
    """Makes the modules of the portals' schemas in a folder, from where they can be imported."""
    files = [str(path) for path in (PROTO / "feira" / "portal" / "v1").glob("*.proto")]
    arguments = ["protoc", f"-I{PROTO}", f"--python_out={folder}", f"--grpc_python_out={folder}", *files]
    assert protoc.main(arguments) == 0, "the schemas are compiled"
    sys.path.insert(0, str(folder))


class Grpc:
    """One portal of shoppers."""

    name = "grpc"

    def __init__(self, address: str):
        client_pb2 = importlib.import_module("feira.portal.v1.client_pb2")
        client_pb2_grpc = importlib.import_module("feira.portal.v1.client_pb2_grpc")
        self.channel = grpc.insecure_channel(address)
        self.stub = client_pb2_grpc.ShopStub(self.channel)
        self.service = client_pb2.DESCRIPTOR.services_by_name["Shop"]

    def close(self):
        self.channel.close()

    def ask(self, operation: str, request: dict, id=None, session=None, cluster=None) -> Answer | Refusal:
        request = dict(request)
        if "sort" in request:
            request["sort"] = f"LIST_SORT_{request['sort'].upper()}"
        if id:
            request["request"] = {"id": id.text, "created_ms": id.created_ms or 0}
        kind = self.service.methods_by_name[operation].input_type._concrete_class
        message = json_format.ParseDict(request, kind())
        metadata = [("feira-session", session)] if session else []
        metadata += [("feira-cluster-id", cluster)] if cluster else []
        call = getattr(self.stub, operation).with_call
        try:
            response, call = call(message, timeout=30, metadata=metadata)
        except grpc.RpcError as error:
            return _refusal(error)
        session = dict(call.initial_metadata()).get("feira-session")
        document = _document(response)
        return Answer(document, None, str(document["etag"]) if "etag" in document else None, session)


def _document(message) -> dict:
    """The JSON form that docs/API.md promises of a message, by its schema."""
    return {field.name: _value(message, field) for field in message.DESCRIPTOR.fields}


def _value(message, field):
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_document(one) if field.message_type else one for one in value]
    if field.message_type:
        return _document(value) if message.HasField(field.name) else None
    if field.type == FieldDescriptor.TYPE_ENUM:
        return field.enum_type.values_by_number[value].name.lower()
    if field.name in DOCUMENTS:
        return json.loads(value) if value else None
    return value


def _refusal(error: grpc.RpcError) -> Refusal:
    """The status, with its details of google.rpc."""
    info = bad = failed = None
    for detail in rpc_status.from_call(error).details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.PreconditionFailure):
            if detail.Is(kind.DESCRIPTOR):
                message = kind()
                detail.Unpack(message)
                info = message if kind is error_details_pb2.ErrorInfo else info
                bad = message if kind is error_details_pb2.BadRequest else bad
                failed = message if kind is error_details_pb2.PreconditionFailure else failed
    assert info is not None and info.domain == "feira", error
    assert STATUSES[info.reason][0] == error.code().name, error
    assert error.details(), "a person is told nothing"
    says = dict(info.metadata)
    if bad is not None:
        assert [one.field for one in bad.field_violations] == [says.get("field", "request.id")]
    session = dict(error.trailing_metadata() or ()).get("feira-session")
    session = session or dict(error.initial_metadata() or ()).get("feira-session")
    return Refusal(info.reason, error.details(), says, _short(failed), session)


def _short(failed) -> list[dict]:
    """What is short, as `left=3 wanted=5 holds=2`; what an order does not hold yet is not said."""
    short = []
    for one in failed.violations if failed is not None else []:
        numbers = dict(pair.split("=") for pair in one.description.split())
        short.append({"pid": one.subject, **{name: int(numbers.get(name, 0)) for name in ("wanted", "left", "holds")}})
    return short
