"""Broker URLs: what is read from them, and one sentence for everything that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.broker_url import BrokerUrlError, parse_broker_url


@pytest.mark.parametrize(
    ("url", "host", "port", "username", "password", "shown"),
    [
        ("mqtt://broker", "broker", 1883, None, None, "mqtt://broker:1883"),
        ("mqtt://10.0.0.2:9883/", "10.0.0.2", 9883, None, None, "mqtt://10.0.0.2:9883"),
        ("mqtt://dock-1@b", "b", 1883, "dock-1", None, "mqtt://b:1883"),
        ("mqtt://dock:s%40crt%3A@b", "b", 1883, "dock", "s@crt:", "mqtt://b:1883"),
        ("mqtt://[::1]:1884", "::1", 1884, None, None, "mqtt://[::1]:1884"),
        ("mqtts://b", "b", 8883, None, None, "mqtts://b:8883"),
    ],
)
def test_reads(
    url: str, host: str, port: int, username: str | None, password: str | None, shown: str
) -> None:
    """Every part is read, percent signs are undone, and the address shows no credentials."""
    broker = parse_broker_url(url)
    assert (broker.host, broker.port, broker.username, broker.password) == (
        host,
        port,
        username,
        password,
    )
    assert str(broker) == shown
    assert (broker.tls is not None) == url.startswith("mqtts:")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("broker:1883", "mqtt://"),
        ("http://broker", "`http:`"),
        ("mqtt://", "no host"),
        ("mqtt://b:0", "port 0"),
        ("mqtt://b:70000", "cannot be read"),
        ("mqtt://b:x", "cannot be read"),
        ("mqtt://b/topic", "path"),
        ("mqtt://b?ca=x", "mqtts://"),
        ("mqtts://b?password=x", "`password`"),
        ("mqtts://b?ca", "cannot be read"),
        ("mqtts://b?key=x", "without cert"),
        ("mqtts://b?ca=/nowhere/ca.pem", "`/nowhere/ca.pem`"),
        ("mqtts://b?cert=/nowhere/c.pem", "`/nowhere/c.pem`"),
    ],
)
def test_refuses(url: str, word: str) -> None:
    """A URL that cannot be used is refused with one sentence that names the part."""
    with pytest.raises(BrokerUrlError, match=r".") as caught:
        parse_broker_url(url)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    """A CA file of the wrong content is refused like a missing one."""
    wrong = tmp_path / "ca.pem"
    wrong.write_text("not a certificate")
    with pytest.raises(BrokerUrlError, match=r"ca\.pem"):
        parse_broker_url(f"mqtts://b?ca={wrong}")


def test_no_password_is_shown() -> None:
    """Neither the value's text nor its representation holds the password."""
    broker = parse_broker_url("mqtt://dock:secret@b")
    assert "secret" not in f"{broker}{broker!r}"
