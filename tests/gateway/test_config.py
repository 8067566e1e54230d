"""gateway.toml: what is read from it, and one sentence with file and key for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.broker_url import parse_broker_url
from gateway.config import ConfigError, GatewayConfig, broker_url, load_config

SMALL = 'site = "s"\ngateway = "g"\n[mqtt]\nurl = "mqtt://broker"\n'


def load(directory: Path, text: str) -> GatewayConfig:
    """Writes and reads a configuration."""
    path = directory / "gateway.toml"
    path.write_text(text)
    return load_config(path)


def test_the_least_configuration(tmp_path: Path) -> None:
    """Site, gateway and broker are enough; everything else has a default."""
    config = load(tmp_path, SMALL)
    assert (config.site, config.gateway, config.window) == ("s", "g", 1.0)
    assert config.scanner.kind == "auto"
    assert config.spool.max_bytes == 32 * 1024 * 1024
    assert broker_url(config.mqtt) == "mqtt://broker"


def test_everything_set(tmp_path: Path) -> None:
    """Every key of the file reaches its place."""
    (tmp_path / "secret").write_text("s@cr:t\n")
    config = load(
        tmp_path,
        """
        site = "dock"
        gateway = "north-1"
        window = 0.5
        [mqtt]
        url = "mqtt://10.0.0.1:1884"
        username = "north 1"
        password_file = "secret"
        [scanner]
        kind = "bluez"
        adapter = "B8:27:EB:00:00:01"
        silence = 60
        [filters]
        ibeacon = ["E2C56DB5-DFFB-48D2-B060-D0F5A71096E0"]
        altbeacon = []
        eddystone = ["12345678901234678901"]
        mac = ["AC:23:3F"]
        random_mac = true
        [spool]
        max_batches = 100
        max_megabytes = 1.5
        """,
    )
    broker = parse_broker_url(broker_url(config.mqtt))
    assert (broker.host, broker.port) == ("10.0.0.1", 1884)
    assert (broker.username, broker.password) == ("north 1", "s@cr:t")
    assert config.scanner.adapter == "B8:27:EB:00:00:01"
    assert config.scanner.silence == 60.0
    assert config.spool.max_bytes == 1_572_864
    identities = config.filters.identities()
    assert identities.identify("AC:23:3F:00:00:01", {}, {}, random=True) == "mac:AC:23:3F:00:00:01"
    assert identities.identify("AC:23:30:00:00:01", {}, {}) is None


@pytest.mark.parametrize(
    ("text", "key", "word"),
    [
        ("site = ", "", "is not TOML"),
        ("\udcff", "", "is not TOML"),
        ("", "", "missing key `site`"),
        ('site = "s"\ngateway = "g"\n', "", "missing key `mqtt`"),
        (SMALL.replace("[mqtt]\nurl", "[mqtt]\nuri"), "mqtt", "unknown key `uri`"),
        ("windows = 1\n" + SMALL, "", "unknown key `windows`"),
        ('window = "1"\n' + SMALL, "window", "text"),
        ("window = 0.1\n" + SMALL, "window", ">= 0.25"),
        ("window = 61\n" + SMALL, "window", "<= 60"),
        ("window = nan\n" + SMALL, "window", "expected"),
        (SMALL.replace('"s"', '"a/b"'), "site", "without blanks"),
        (SMALL.replace('"g"', '""'), "gateway", "printable"),
        (SMALL.replace("mqtt://", "http://"), "mqtt.url", "mqtt://"),
        (SMALL + 'password = "x"\n', "mqtt.username", "missing"),
        (SMALL + 'username = "u"\npassword_file = "none"\n', "mqtt.password_file", "cannot be"),
        (
            SMALL + 'username = "u"\npassword = "x"\npassword_file = "y"\n',
            "mqtt.password_file",
            "one of them",
        ),
        (SMALL + '[scanner]\nkind = "radar"\n', "scanner.kind", "radar"),
        (SMALL + '[scanner]\nkind = "replay"\n', "scanner.recording", "path"),
        (SMALL + '[scanner]\nrecording = "x"\n', "scanner.recording", "only for"),
        (SMALL + "[scanner]\nsilence = 0\n", "scanner.silence", ">= 1"),
        (SMALL + "[scanner]\nspeed = 0\n", "scanner.speed", "above 0"),
        (SMALL + "[scanner]\nspeed = nan\n", "scanner.speed", "above 0"),
        (SMALL + '[filters]\nibeacon = ["x"]\n', "filters.ibeacon", "`x` is not a UUID"),
        (SMALL + '[filters]\nmac = ["x"]\n', "filters.mac", "`x` is not a MAC"),
        (SMALL + '[filters]\nmac = "AC"\n', "filters.mac", "list"),
        (SMALL + "[filters]\nmac = [1]\n", "filters.mac[0]", "expected a text"),
        (SMALL + "[spool]\nmax_batches = 0\n", "spool.max_batches", ">= 1"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, key: str, word: str) -> None:
    """Each mistake is one sentence that names file and key and says what was expected."""
    path = tmp_path / "gateway.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.key.replace("[...]", "[0]") == key, str(caught.value)
    assert word in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A path that leads nowhere is told with the system's reason."""
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load_config(tmp_path / "none.toml")
