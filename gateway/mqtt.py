"""MQTT for asyncio: one client that stays connected, over paho-mqtt on the loop's own sockets.

The rule: this module owns the connections, one after the other; `gateway.mqtt_link` is one. Each
has a fresh paho client, so nothing of a lost connection leaks into the next: what was published
and not acknowledged fails, and its owner (the publisher's spool) sends it again. Knows no topics
and no payloads.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.broker_url import Broker, parse_broker_url
from gateway.mqtt_connect import backoff, connect
from gateway.mqtt_link import Link

if TYPE_CHECKING:
    from paho.mqtt.reasoncodes import ReasonCode

_log: Final = logging.getLogger(__name__)

# How long a broker may take over CONNACK and SUBACK before we try again.
HANDSHAKE_S: Final = 5.0
# A connection that lived this long starts the backoff anew. Shorter ones do not: two clients
# with one id would otherwise throw each other out ten times a second.
STABLE_S: Final = 3.0
GOODBYE_S: Final = 1.0
# Un-acknowledged publishes at once; a broker may ask for fewer.
MAX_IN_FLIGHT: Final = 1_000
# Fixed header, topic length, packet id and property length of a PUBLISH, rounded up.
_PUBLISH_OVERHEAD: Final = 16
# Topic name invalid, payload format invalid. Others (a right not granted yet, a quota) may pass.
_FINAL_REASONS: Final = frozenset({0x90, 0x99})


class MqttError(Exception):
    """A publish that the broker has not taken.

    Attributes:
        final: the broker refused this message itself, so sending it again cannot help.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final: Final = final


class Message(NamedTuple):
    """A message received; `connection` tells which connection its acknowledgement belongs to."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    mid: int
    connection: int


class Will(NamedTuple):
    """What the broker publishes in our name when the connection breaks."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


class _Outgoing(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool
    done: asyncio.Future[None]


class Mqtt:
    """An MQTT 5 client that reconnects for ever.

    Args:
        url: as in `gateway.broker_url`.
        client_id: unique at the broker; the same one finds its session again.
        session_expiry_s: how long the broker keeps the session while we are away, 0 for not.
        clean_start: False takes up the session kept under this client id.
        will: published by the broker when we vanish; a callable is asked at every connection.
        manual_ack: messages of QoS 1 are acknowledged by `ack`, not on arrival.
        receive_maximum: un-acknowledged messages that the broker may send at once.
        on_message: called for every message, in order; must not raise and must not block.
        on_up: called when a connection stands and its subscriptions are granted.
        subscriptions: (topic filter, QoS), made at every connection.

    Attributes:
        connected: whether a connection stands and its subscriptions are granted.
        problem: why not, in one sentence; empty while connected.

    Raises:
        BrokerUrlError: the URL cannot be used.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        *,
        session_expiry_s: int = 0,
        clean_start: bool = True,
        will: Will | Callable[[], Will] | None = None,
        manual_ack: bool = False,
        receive_maximum: int = 1000,
        on_message: Callable[[Message], None] | None = None,
        on_up: Callable[[], None] | None = None,
        subscriptions: Sequence[tuple[str, int]] = (),
    ) -> None:
        self.broker: Final[Broker] = parse_broker_url(url)
        self.client_id: Final = client_id
        self.connected = False
        self.problem = "not connected yet"
        self._session_expiry_s: Final = session_expiry_s
        self._clean_start: Final = clean_start
        self._will: Final = will
        self._manual_ack: Final = manual_ack
        self._receive_maximum: Final = receive_maximum
        self._on_message: Final = on_message
        self._on_up: Final = on_up
        self._subscriptions: Final = tuple(subscriptions)
        self._up: Final = asyncio.Event()
        self._lost: Final = asyncio.Event()
        self._client: Client | None = None
        self._link: Link | None = None
        self._connection = 0
        self._refusal = ""
        self._leaving = False
        self._handled = 0
        self._waiting: Final[deque[_Outgoing]] = deque()
        self._pending: Final[dict[int, _Outgoing]] = {}
        self._in_flight = 0
        self._max_in_flight = MAX_IN_FLIGHT
        self._max_packet: int | None = None

    async def run(self) -> None:
        """Connects, and connects again whenever the connection is lost, until cancelled.

        Cancelled, it says goodbye to the broker, so that the will is not published.
        """
        loop = asyncio.get_running_loop()
        attempt = 0
        self._leaving = False
        while True:
            self._lost.clear()
            try:
                lived = await self._connection_life(loop)
            finally:
                self._drop()
            attempt = 0 if lived > STABLE_S else attempt + 1
            await asyncio.sleep(backoff(attempt))

    async def wait_connected(self) -> None:
        """Returns once a connection stands and its subscriptions are granted."""
        await self._up.wait()

    def publish(
        self, topic: str, payload: bytes, qos: int = 1, retain: bool = False
    ) -> asyncio.Future[None]:
        """Sends a message; the future is done when the broker acknowledged it (QoS 0: when sent).

        It fails with MqttError when the connection is lost first, or when the broker refuses.
        A caller who does not care may drop the future.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        outgoing = _Outgoing(topic, payload, qos, retain, done)
        size = len(payload) + 4 * len(topic) + _PUBLISH_OVERHEAD
        if not self.connected:
            _fail(outgoing, MqttError(f"not connected to {self.broker}"))
        elif self._max_packet is not None and size > self._max_packet:
            _fail(
                outgoing,
                MqttError(
                    f"a message of {size} bytes is more than {self.broker} takes "
                    f"({self._max_packet}); raise its packet size",
                    final=True,
                ),
            )
        elif qos and self._in_flight >= self._max_in_flight:
            self._waiting.append(outgoing)
        else:
            self._send(outgoing)
        return done

    def ack(self, message: Message) -> None:
        """Acknowledges a message; one of a lost connection comes again, so that is ignored."""
        if message.qos and message.connection == self._connection and self._client is not None:
            self._client.ack(message.mid, message.qos)

    # -- one connection ---------------------------------------------------------------------

    async def _connection_life(self, loop: asyncio.AbstractEventLoop) -> float:
        """Connects once and serves until the connection is lost; returns the seconds it stood."""
        client = self._new_client()
        try:
            await connect(
                client, self.broker, clean_start=self._clean_start, properties=self._properties()
            )
        except (OSError, ssl.SSLError, ValueError) as error:
            self._trouble(f"{self.broker} cannot be reached: {error}")
            return 0.0
        self._adopt(loop, client)
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                await _first(self._up, self._lost)
        except TimeoutError:
            self._trouble(f"{self.broker} accepts connections but does not speak MQTT 5")
            return 0.0
        except asyncio.CancelledError:
            await self._goodbye(client)
            raise
        since = loop.time()
        try:
            while not self._lost.is_set():
                try:
                    async with asyncio.timeout(1.0):
                        await self._lost.wait()
                except TimeoutError:
                    client.loop_misc()
        except asyncio.CancelledError:
            await self._goodbye(client)
            raise
        return loop.time() - since

    def _new_client(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=self._manual_ack,
        )
        # 0 is no limit: paho walks all its messages at every acknowledgement to keep its own.
        client.max_inflight_messages_set(0)
        if self.broker.username is not None:
            client.username_pw_set(self.broker.username, self.broker.password)
        if self.broker.tls is not None:
            client.tls_set_context(self.broker.tls)
        will = self._will() if callable(self._will) else self._will
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        return client

    def _properties(self) -> Properties:
        """The properties of our CONNECT."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's
        # paho makes these attributes at run time, so no type checker knows them.
        dynamic = cast("Any", properties)
        dynamic.ReceiveMaximum = self._receive_maximum
        if self._session_expiry_s:
            dynamic.SessionExpiryInterval = self._session_expiry_s
        return properties

    def _adopt(self, loop: asyncio.AbstractEventLoop, client: Client) -> None:
        """Puts a client whose CONNECT is queued on the loop."""
        self._connection += 1
        self._refusal = ""
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._disconnected
        client.on_message = self._received
        client.on_publish = self._published
        self._client = client
        self._link = Link(loop, client, lambda: self._handled)

    async def _goodbye(self, client: Client) -> None:
        self._leaving = True
        client.disconnect()
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._lost.wait()
        except TimeoutError:
            _log.debug("%s did not take our goodbye in time", self.broker)

    def cut(self) -> None:
        """Ends the connection without a goodbye, as a power cut does: the broker sends the will.

        `run`, while it goes on, connects again.
        """
        self._drop()

    def _drop(self) -> None:
        """Forgets the connection; what was not acknowledged has failed."""
        link, self._link, self._client = self._link, None, None
        self.connected = False
        self._up.clear()
        if link is not None:
            link.close()
        unsent = [*self._pending.values(), *self._waiting]
        self._pending.clear()
        self._waiting.clear()
        self._in_flight = 0
        for outgoing in unsent:
            _fail(outgoing, MqttError(f"the connection to {self.broker} was lost"))

    def _trouble(self, sentence: str) -> None:
        if sentence != self.problem:
            _log.warning("%s", sentence)
        self.problem = sentence

    # -- what paho calls --------------------------------------------------------------------

    def _connected(
        self,
        client: Client,
        _userdata: object,
        _flags: object,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._handled += 1
        if reason.is_failure:
            self._refusal = f"{self.broker} refuses `{self.client_id}`: {reason}"
            return
        wanted = getattr(properties, "ReceiveMaximum", MAX_IN_FLIGHT)
        self._max_in_flight = min(MAX_IN_FLIGHT, wanted)
        self._max_packet = getattr(properties, "MaximumPacketSize", None)
        if not self._subscriptions:
            self._stands()
            return
        client.subscribe([(topic, SubscribeOptions(qos)) for topic, qos in self._subscriptions])

    def _subscribed(
        self,
        client: Client,
        _userdata: object,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._handled += 1
        refused = [
            topic
            for (topic, _), reason in zip(self._subscriptions, reasons, strict=False)
            if reason.is_failure
        ]
        if refused:
            self._refusal = f"{self.broker} does not let `{self.client_id}` subscribe {refused[0]}"
            client.disconnect()
            return
        self._stands()

    def _stands(self) -> None:
        self.connected = True
        self.problem = ""
        self._up.set()
        _log.info("connected to %s as %s", self.broker, self.client_id)
        if self._on_up is not None:
            self._on_up()

    def _disconnected(
        self,
        _client: Client,
        _userdata: object,
        _flags: object,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._handled += 1
        if self._leaving:
            self.problem = "not connected any more"
        elif self.connected:
            self._trouble(f"the connection to {self.broker} was lost: {reason}")
        else:
            self._trouble(
                self._refusal
                or f"{self.broker} closed the connection before it stood: {reason}; "
                "is it an MQTT 5 listener?"
            )
        self.connected = False
        self._up.clear()
        self._lost.set()

    def _received(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self._handled += 1
        if self._on_message is None:
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            # Whoever reads topics refuses and counts this one.
            topic = "\ufffd"
        try:
            self._on_message(
                Message(
                    topic,
                    bytes(message.payload),
                    message.qos,
                    message.retain,
                    message.mid,
                    self._connection,
                )
            )
        except Exception:  # noqa: BLE001  # logged with its traceback, see below
            # A fault of our own must not leave paho's reader half way through a packet.
            _log.exception("a message on %s could not be handled", topic)

    def _published(
        self,
        _client: Client,
        _userdata: object,
        mid: int,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._handled += 1
        outgoing = self._pending.pop(mid, None)
        if outgoing is None:
            return
        if outgoing.qos:
            self._in_flight -= 1
        if reason.is_failure:
            final = reason.value in _FINAL_REASONS
            _fail(outgoing, MqttError(f"{self.broker} refuses the message: {reason}", final=final))
        elif not outgoing.done.done():
            outgoing.done.set_result(None)
        while self._waiting and self._in_flight < self._max_in_flight:
            self._send(self._waiting.popleft())

    def _send(self, outgoing: _Outgoing) -> None:
        if self._client is None:
            _fail(outgoing, MqttError(f"not connected to {self.broker}"))
            return
        topic, payload, qos, retain, _ = outgoing
        info = self._client.publish(topic, payload, qos, retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            _fail(outgoing, MqttError(f"{self.broker}: {info.rc.name}"))
            return
        self._pending[info.mid] = outgoing
        if qos:
            self._in_flight += 1


def _fail(outgoing: _Outgoing, error: MqttError) -> None:
    if not outgoing.done.done():
        outgoing.done.set_exception(error)
        # Looked at: a caller who dropped the future does not want it in the log.
        outgoing.done.exception()


async def _first(*events: asyncio.Event) -> None:
    """Waits until one of the events is set."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
