"""A client of MQTT 5 request and response, as docs/API.md describes it, over paho-mqtt."""

import json
import re
import socket
import threading
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from answers import Answer, Refusal, refusal_of_problem

# docs/API.md: "repeat it under the same id after a second".
AGAIN_S = 1
ATTEMPTS = 30


class Mqtt:
    """The client portals of a cluster, whichever of them the broker chooses."""

    name = "mqtt"

    def __init__(self, host: str, port: int, cluster: str):
        self.prefix = f"feira/{cluster}/shop/"
        self.answers_to = f"strangers/{uuid.uuid4()}"
        self.answers: dict[bytes, mqtt.MQTTMessage] = {}
        self.changed = threading.Condition()
        granted = threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.on_message = self._heard
        self.client.on_connect = lambda client, *_: client.subscribe(self.answers_to, qos=1)
        self.client.on_subscribe = lambda *_: granted.set()
        # Without it each request waits 40 ms for the acknowledgement of the last packet (findings/rumqttc-nagle.sh: paho-mqtt does it too).
        self.client.on_socket_open = lambda _client, _userdata, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.connect(host, port)
        self.client.loop_start()
        assert granted.wait(30), "the broker grants a subscription"

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def _heard(self, _client, _userdata, message):
        with self.changed:
            self.answers[message.properties.CorrelationData] = message
            self.changed.notify_all()

    def publish(self, operation: str, body: str, user: list[tuple[str, str]], retain=False, **more) -> bytes:
        """One request; its correlation. `operation` is its name, as gRPC has it."""
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = self.answers_to
        properties.CorrelationData = uuid.uuid4().bytes
        for name, value in more.items():
            setattr(properties, name, value)
        properties.UserProperty = user
        topic = self.prefix + re.sub("(?<!^)([A-Z])", r"-\1", operation).lower()
        self.client.publish(topic, body, qos=1, retain=retain, properties=properties)
        return properties.CorrelationData

    def answer(self, correlation: bytes, within_s: float) -> Answer | Refusal | None:
        """The answer to a request, if it comes in time."""
        with self.changed:
            if not self.changed.wait_for(lambda: correlation in self.answers, within_s):
                return None
            message = self.answers.pop(correlation)
        user = dict(message.properties.UserProperty)
        status, session = int(user["status"]), user.get("feira-session")
        if status >= 400:
            return refusal_of_problem(status, message.properties.ContentType, message.payload, session)
        assert message.properties.ContentType == "application/json"
        return Answer(json.loads(message.payload), status, user.get("etag"), session)

    def ask(self, operation: str, request: dict, id=None, session=None, cluster=None) -> Answer | Refusal:
        """Asks, and asks again under the same id where nobody answers."""
        request = dict(request)
        user = [("cid", request.pop("cid"))] if "cid" in request else []
        if id:
            user.append(("request-id", id.text))
            if id.created_ms is not None:
                user.append(("request-created-ms", str(id.created_ms)))
        if session:
            user.append(("feira-session", session))
        if cluster:
            user.append(("feira-cluster-id", cluster))
        for _ in range(ATTEMPTS):
            correlation = self.publish(operation, json.dumps(request), user)
            answer = self.answer(correlation, AGAIN_S)
            if answer:
                return answer
        raise AssertionError(f"nobody answered {operation} {request}")
