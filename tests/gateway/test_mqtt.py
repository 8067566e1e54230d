"""The MQTT client against real brokers: embedded, and Debian's mosquitto where it is installed."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from gateway.mqtt import Message, Mqtt, MqttError, Will
from tests.support.servers import Server, free_port, missing

DEADLINE_S = 20.0
Received = list[Message]


@asynccontextmanager
async def running(mqtt: Mqtt) -> AsyncIterator[Mqtt]:
    """A client that runs and is connected for the length of a with block."""
    task = asyncio.create_task(mqtt.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            await mqtt.wait_connected()
        yield mqtt
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for a condition, at most the deadline."""
    limit = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < limit, f"waited {DEADLINE_S} s for {what}"
        await asyncio.sleep(0.005)


def has_more(received: Received, count: int) -> bool:
    """Whether more messages than `count` have come."""
    return len(received) > count


def tells(mqtt: Mqtt, word: str) -> bool:
    """Whether the client's problem holds a word."""
    return word in mqtt.problem


async def test_messages_arrive_whole_and_in_order(any_broker_url: str) -> None:
    """A thousand messages of QoS 1, some large, arrive once each, in order, and are confirmed."""
    got: Received = []
    payloads = [b"%d:" % i + bytes(i % 7 * 10_000) for i in range(1_000)]
    subscriber = Mqtt(any_broker_url, "sub", on_message=got.append, subscriptions=[("t/#", 1)])
    async with running(subscriber), running(Mqtt(any_broker_url, "pub")) as publisher:
        await asyncio.gather(*(publisher.publish("t/x", p) for p in payloads))
        await until(lambda: len(got) >= len(payloads), "all messages")
    assert [m.payload for m in got] == payloads
    assert {(m.topic, m.qos, m.retain) for m in got} == {("t/x", 1, False)}


async def test_qos_0_is_done_when_sent(any_broker_url: str) -> None:
    """A message of QoS 0 is done without an acknowledgement."""
    async with running(Mqtt(any_broker_url, "pub")) as publisher:
        await asyncio.wait_for(publisher.publish("t", b"x", qos=0), DEADLINE_S)


async def test_unacknowledged_messages_come_again(any_broker_server: Server) -> None:
    """What was not acknowledged when the connection dropped comes again, in order, marked anew."""
    got: Received = []
    url = any_broker_server.url
    subscriber = Mqtt(
        url,
        "ingest",
        clean_start=False,
        session_expiry_s=3_600,
        manual_ack=True,
        on_message=got.append,
        subscriptions=[("t", 1)],
    )
    async with running(subscriber), running(Mqtt(url, "pub")) as publisher:
        for i in range(10):
            await publisher.publish("t", b"%d" % i)
        await until(lambda: len(got) == 10, "the first delivery")
        for message in got[:4]:
            subscriber.ack(message)
        # An answered round trip on the same connection: the broker has seen the four.
        await subscriber.publish("other", b"")
        first = got[0].connection
        break_connection(subscriber)
        await until(lambda: len(got) >= 16, "the second delivery")
        assert [m.payload for m in got[10:16]] == [b"%d" % i for i in range(4, 10)]
        assert {m.connection for m in got[10:]} == {first + 1}
        subscriber.ack(got[5])  # of the lost connection: nothing may happen
        for message in got[10:]:
            subscriber.ack(message)
        await subscriber.wait_connected()  # a session's messages may come before its subscription
        await subscriber.publish("other", b"")
        seen = len(got)
        break_connection(subscriber)
        await until(lambda: not subscriber.connected, "the break")
        await asyncio.wait_for(subscriber.wait_connected(), DEADLINE_S)
        await publisher.publish("t", b"last")
        await until(lambda: len(got) > seen, "the last message")
    assert [m.payload for m in got[seen:]] == [b"last"]


async def test_a_session_is_kept_while_away(any_broker_url: str) -> None:
    """What is published while a subscriber with a session is away waits for it."""
    got: Received = []

    def subscriber() -> Mqtt:
        return Mqtt(
            any_broker_url,
            "ingest",
            clean_start=False,
            session_expiry_s=3_600,
            manual_ack=True,
            on_message=got.append,
            subscriptions=[("t", 1)],
        )

    async with running(Mqtt(any_broker_url, "pub")) as publisher:
        async with running(subscriber()):
            pass
        await asyncio.gather(*(publisher.publish("t", b"%d" % i) for i in range(50)))
        assert got == []
        async with running(subscriber()):
            await until(lambda: len(got) >= 50, "the messages kept")
    assert [m.payload for m in got] == [b"%d" % i for i in range(50)]


async def test_a_clean_start_forgets_the_session(any_broker_url: str) -> None:
    """With clean_start nothing published meanwhile comes."""
    got: Received = []
    async with running(Mqtt(any_broker_url, "pub")) as publisher:
        for clean in (False, True):
            client = Mqtt(
                any_broker_url,
                "sub",
                clean_start=clean,
                session_expiry_s=60,
                on_message=got.append,
                subscriptions=[("t", 1)],
            )
            async with running(client):
                pass
            await publisher.publish("t", b"away")
        fresh = Mqtt(any_broker_url, "sub", on_message=got.append, subscriptions=[("t", 1)])
        async with running(fresh):
            await publisher.publish("t", b"here")
            await until(lambda: bool(got), "the message")
    assert [m.payload for m in got] == [b"here"]


async def test_it_comes_back_after_the_broker_was_killed(any_broker_server: Server) -> None:
    """A killed broker fails what was under way; when it is back, messages flow again."""
    got: Received = []
    url = any_broker_server.url
    ups: list[int] = []
    subscriber = Mqtt(url, "sub", on_message=got.append, subscriptions=[("t", 1)])
    publisher = Mqtt(url, "pub", on_up=lambda: ups.append(1))
    async with running(subscriber), running(publisher):
        any_broker_server.kill9()
        # The loop has had no chance to notice yet.
        assert not publisher.problem
        under_way = publisher.publish("t", b"lost")
        with pytest.raises(MqttError, match="lost"):
            await asyncio.wait_for(under_way, DEADLINE_S)
        assert not publisher.connected
        assert "lost" in publisher.problem
        with pytest.raises(MqttError, match="not connected"):
            await publisher.publish("t", b"too early")
        await until(lambda: "cannot be reached" in publisher.problem, "a failed attempt")
        any_broker_server.restart()
        for client in (subscriber, publisher):
            await asyncio.wait_for(client.wait_connected(), DEADLINE_S)
        assert publisher.problem == ""
        await publisher.publish("t", b"again")
        await until(lambda: bool(got), "the message")
    assert [m.payload for m in got] == [b"again"]
    assert len(ups) == 2


async def test_a_short_break_is_mended_at_once(any_broker_url: str) -> None:
    """After a mere break of the connection the client is back within a second, loop included."""
    async with running(Mqtt(any_broker_url, "pub")) as publisher:
        break_connection(publisher)
        await until(lambda: not publisher.connected, "the break")
        start = time.monotonic()
        await asyncio.wait_for(publisher.wait_connected(), DEADLINE_S)
        assert time.monotonic() - start < 5.0
        await publisher.publish("t", b"x")


async def test_the_will_speaks_for_the_dead_only(any_broker_url: str) -> None:
    """A broken connection publishes the will, a clean goodbye does not."""
    got: Received = []
    said: list[int] = []

    def will() -> Will:
        said.append(1)
        return Will("status", b"gone %d" % len(said))

    watcher = Mqtt(any_broker_url, "watch", on_message=got.append, subscriptions=[("status", 1)])
    async with running(watcher):
        async with running(Mqtt(any_broker_url, "pub", will=will)) as publisher:
            break_connection(publisher)
            await until(lambda: bool(got), "the will")
            await asyncio.wait_for(publisher.wait_connected(), DEADLINE_S)
        await watcher.publish("status", b"marker")
        await until(lambda: got[-1].payload == b"marker", "the marker")
    assert [m.payload for m in got] == [b"gone 1", b"marker"]
    assert len(said) == 2


async def test_retained_messages_are_kept_for_newcomers(any_broker_url: str) -> None:
    """A retained message reaches who subscribes later, marked as retained."""
    got: Received = []
    async with running(Mqtt(any_broker_url, "pub")) as publisher:
        await publisher.publish("status", b"online", retain=True)
    async with running(
        Mqtt(any_broker_url, "sub", on_message=got.append, subscriptions=[("status", 1)])
    ):
        await until(lambda: bool(got), "the retained message")
    assert [(m.payload, m.retain) for m in got] == [(b"online", True)]


async def test_the_receive_maximum_holds_the_broker_back(any_broker_server: Server) -> None:
    """No more un-acknowledged messages are under way than asked for; acknowledging frees."""
    if any_broker_server.kind == "iotcore":
        pytest.skip("the embedded broker does not heed a client's receive maximum")
    any_broker_url = any_broker_server.url
    got: Received = []
    subscriber = Mqtt(
        any_broker_url,
        "sub",
        manual_ack=True,
        receive_maximum=5,
        on_message=got.append,
        subscriptions=[("t", 1)],
    )
    async with running(subscriber), running(Mqtt(any_broker_url, "pub")) as publisher:
        await asyncio.gather(*(publisher.publish("t", b"%d" % i) for i in range(20)))
        await until(lambda: len(got) == 5, "the first five")
        # A round trip through the broker on this connection: more would have come by now.
        await subscriber.publish("other", b"")
        assert len(got) == 5
        for i in range(20):
            await until(partial(has_more, got, i), "the next message")
            subscriber.ack(got[i])
    assert [m.payload for m in got] == [b"%d" % i for i in range(20)]


async def test_more_than_the_broker_takes_at_once_is_queued(any_broker_url: str) -> None:
    """Five thousand publishes at once are all confirmed, however few may be in flight."""
    async with running(Mqtt(any_broker_url, "pub")) as publisher:
        done = await asyncio.gather(*(publisher.publish("t", b"%d" % i) for i in range(5_000)))
    assert len(done) == 5_000


async def test_a_fault_in_the_callback_does_not_stop_the_flow(
    any_broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception of on_message is logged and the next message is delivered."""
    got: list[bytes] = []

    def on_message(message: Message) -> None:
        if message.payload == b"bad":
            raise RuntimeError("a fault of ours")
        got.append(message.payload)

    client = Mqtt(any_broker_url, "sub", on_message=on_message, subscriptions=[("t", 1)])
    async with running(client):
        for payload in (b"bad", b"good"):
            await client.publish("t", payload)
        await until(lambda: bool(got), "the good message")
    assert "a fault of ours" in caplog.text


async def test_a_silent_listener_is_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who accepts and says nothing is given up on, and the sentence says so."""
    monkeypatch.setattr("gateway.mqtt.HANDSHAKE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        mqtt = Mqtt(f"mqtt://127.0.0.1:{server.getsockname()[1]}", "x")
        task = asyncio.create_task(mqtt.run())
        await until(lambda: "does not speak MQTT 5" in mqtt.problem, "the sentence")
        assert not mqtt.connected
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_attempts_do_not_hold_up_the_loop_and_can_be_cancelled() -> None:
    """While a connection attempt hangs the loop runs, and cancelling ends at once."""
    # A full backlog leaves further connections hanging, as a firewall that drops would.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        fill = [socket.socket() for _ in range(4)]
        for s in fill:
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", port))
        mqtt = Mqtt(f"mqtt://127.0.0.1:{port}", "x")
        task = asyncio.create_task(mqtt.run())
        turns = 0
        limit = time.monotonic() + 0.2
        while time.monotonic() < limit:
            await asyncio.sleep(0.001)
            turns += 1
        assert turns > 20
        assert not mqtt.connected
        start = time.monotonic()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert time.monotonic() - start < 2.0
        for s in fill:
            s.close()


@pytest.mark.debian
async def test_credentials_tls_and_refusal(secured: str) -> None:
    """Mosquitto with TLS, client certificates and a password lets in only who has them all."""
    got: Received = []
    async with running(
        Mqtt(secured, "gw", on_message=got.append, subscriptions=[("t", 1)])
    ) as client:
        # More than one TLS record, and several messages in one.
        payloads = [bytes(100_000), *(b"%d" % i for i in range(500))]
        await asyncio.gather(*(client.publish("t", p) for p in payloads))
        await until(lambda: len(got) == len(payloads), "all over TLS")
    assert [m.payload for m in got] == payloads
    assert client.broker.tls is not None
    assert client.broker.tls.verify_mode is ssl.CERT_REQUIRED
    for url, word in (
        (secured.replace("s%40crt", "wrong"), "refuses"),
        (secured.partition("?")[0], "certificate verify failed"),
    ):
        mqtt = Mqtt(url, "gw")
        task = asyncio.create_task(mqtt.run())
        await until(partial(tells, mqtt, word), word)
        assert not mqtt.connected
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[str]:
    """URL of a mosquitto that wants a client certificate and a password."""
    if reason := missing("mosquitto"):
        pytest.skip(reason)
    make_certificates(tmp_path)
    (tmp_path / "passwords").write_text("")
    (tmp_path / "passwords").chmod(0o600)
    subprocess.run(
        ["mosquitto_passwd", "-b", str(tmp_path / "passwords"), "dock", "s@crt"], check=True
    )
    port = free_port()
    (tmp_path / "m.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\nuser root\n"
        f"password_file {tmp_path}/passwords\nrequire_certificate true\n"
        f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key\n"
    )
    process = subprocess.Popen(
        ["mosquitto", "-c", str(tmp_path / "m.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        limit = time.monotonic() + DEADLINE_S
        while not listens(port):
            assert time.monotonic() < limit, "mosquitto does not answer"
            time.sleep(0.01)
        files = f"ca={tmp_path}/ca.pem&cert={tmp_path}/client.pem&key={tmp_path}/client.key"
        yield f"mqtts://dock:s%40crt@localhost:{port}?{files}"
    finally:
        process.terminate()
        process.wait(10)


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def break_connection(mqtt: Mqtt) -> None:
    """Cuts the client's connection as a pulled cable would, without a goodbye."""
    client = mqtt._client  # there is no public way to fail
    assert client is not None
    sock = client.socket()
    assert isinstance(sock, socket.socket)
    sock.shutdown(socket.SHUT_RDWR)


def make_certificates(directory: Path) -> None:
    """A certificate authority, a server's and a client's certificate, by openssl."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=directory)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    # Python 3.13 checks as strictly as RFC 5280 asks: an authority says what its key is for.
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl("req", "-x509", *new, "-subj", "/CN=ca", *usage, "-keyout", "ca.key", "-out", "ca.pem")
    for name, subject in (("server", "/CN=localhost"), ("client", "/CN=dock")):
        extra = ("-addext", "subjectAltName=DNS:localhost") if name == "server" else ()
        openssl(
            *("req", "-x509", *new, "-subj", subject, *extra),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", f"{name}.key", "-out", f"{name}.pem"),
        )
