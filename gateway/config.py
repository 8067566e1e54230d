"""A gateway's configuration: gateway.toml as checked values, or one sentence about what is wrong.

docs/install-gateways.md describes the file for those who write it.
"""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from gateway.broker_url import BrokerUrlError, parse_broker_url
from gateway.decoders import Identities
from gateway.errors import UserError
from gateway.publisher import MAX_BATCHES, MAX_BYTES
from gateway.readings import is_name

MIN_WINDOW_S: Final = 0.25
MAX_WINDOW_S: Final = 60.0
_MEGABYTE: Final = 1024 * 1024
_PATH: Final = re.compile(r" - at `(?:key in )?\$\.?(?P<path>.*?)`$")


class ConfigError(UserError, ValueError):
    """A configuration that cannot be used.

    Attributes:
        source: the file.
        key: where in it, as `mqtt.url`.
        reason: what is wrong there and what was expected.
    """

    def __init__(self, source: str, key: str, reason: str) -> None:
        super().__init__(f"{source}: {key}: {reason}" if key else f"{source}: {reason}")
        self.source: Final = source
        self.key: Final = key
        self.reason: Final = reason


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shared settings: immutable, and unknown keys are errors."""


class MqttConfig(_Part, frozen=True):
    """The broker; credentials may stand here rather than in the URL, the password in a file."""

    url: str
    username: str | None = None
    password: str | None = None
    password_file: str | None = None


class ScannerConfig(_Part, frozen=True):
    """What hears; `adapter` is a name or a MAC, `silence` in seconds, `speed` times real time."""

    kind: Literal["auto", "bluez", "portable", "replay"] = "auto"
    adapter: str = ""
    silence: Annotated[float, msgspec.Meta(ge=1.0, le=3600.0)] = 30.0
    recording: str = ""
    speed: float = 1.0


class FilterConfig(_Part, frozen=True):
    """Whom to listen to, as in `gateway.decoders.Identities`; absent lists are everybody."""

    ibeacon: list[str] | None = None
    altbeacon: list[str] | None = None
    eddystone: list[str] | None = None
    mac: list[str] | None = None
    random_mac: bool = False

    def identities(self) -> Identities:
        """The decoder with these filters.

        Raises:
            ValueError: an entry cannot be read.
        """
        return Identities(
            ibeacon=self.ibeacon,
            altbeacon=self.altbeacon,
            eddystone=self.eddystone,
            mac=self.mac,
            random_mac=self.random_mac,
        )


class SpoolConfig(_Part, frozen=True):
    """How much waits for the broker at most; beyond, the oldest is dropped and counted."""

    max_batches: Annotated[int, msgspec.Meta(ge=1)] = MAX_BATCHES
    max_megabytes: Annotated[float, msgspec.Meta(gt=0.0)] = MAX_BYTES / _MEGABYTE

    @property
    def max_bytes(self) -> int:
        """The bound in bytes."""
        return int(self.max_megabytes * _MEGABYTE)


class GatewayConfig(_Part, frozen=True):
    """The whole file; `window` in seconds."""

    site: str
    gateway: str
    mqtt: MqttConfig
    window: Annotated[float, msgspec.Meta(ge=MIN_WINDOW_S, le=MAX_WINDOW_S)] = 1.0
    scanner: ScannerConfig = ScannerConfig()
    filters: FilterConfig = FilterConfig()
    spool: SpoolConfig = SpoolConfig()


def load_config(path: Path) -> GatewayConfig:
    """Reads and checks a configuration; a password file is read into `mqtt.password`.

    Raises:
        ConfigError: one sentence with file, key and reason.
    """
    source = str(path)
    try:
        text = path.read_bytes().decode()
        document = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(source, "", f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(source, "", f"is not TOML: {error}") from error
    try:
        config = msgspec.convert(document, GatewayConfig)
    except msgspec.ValidationError as error:
        place = _PATH.search(str(error))
        key = place["path"] if place else ""
        raise ConfigError(source, key, _plain(_PATH.sub("", str(error)))) from error
    return _checked(config, path)


def broker_url(mqtt: MqttConfig) -> str:
    """The URL with the credentials in it, as the client takes it."""
    if mqtt.username is None:
        return mqtt.url
    parts = urlsplit(mqtt.url)
    user = quote(mqtt.username, safe="")
    if mqtt.password is not None:
        user = f"{user}:{quote(mqtt.password, safe='')}"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}@{host}"))


def _checked(config: GatewayConfig, path: Path) -> GatewayConfig:
    source = str(path)
    for key in ("site", "gateway"):
        if not is_name(getattr(config, key)):
            raise ConfigError(
                source, key, "must be 1 to 64 printable characters without blanks or / + #"
            )
    mqtt = _with_password(config.mqtt, path)
    try:
        parse_broker_url(broker_url(mqtt))
    except BrokerUrlError as error:
        raise ConfigError(source, "mqtt.url", str(error)) from error
    for key in ("ibeacon", "altbeacon", "eddystone", "mac"):
        try:
            msgspec.structs.replace(
                FilterConfig(), **{key: getattr(config.filters, key)}
            ).identities()
        except ValueError as error:
            raise ConfigError(source, f"filters.{key}", str(error)) from error
    scanner = config.scanner
    if scanner.kind == "replay" and not scanner.recording:
        raise ConfigError(source, "scanner.recording", "a replay needs the path of a recording")
    if scanner.recording and scanner.kind != "replay":
        raise ConfigError(source, "scanner.recording", 'is only for kind = "replay"')
    if math.isnan(scanner.speed) or scanner.speed <= 0.0:
        raise ConfigError(source, "scanner.speed", "a number above 0 is expected, or inf")
    return msgspec.structs.replace(config, mqtt=mqtt)


def _with_password(mqtt: MqttConfig, path: Path) -> MqttConfig:
    source = str(path)
    if mqtt.username is None and (mqtt.password is not None or mqtt.password_file is not None):
        raise ConfigError(source, "mqtt.username", "is missing; a password needs a user's name")
    if mqtt.password_file is None:
        return mqtt
    if mqtt.password is not None:
        raise ConfigError(source, "mqtt.password_file", "password is given too; keep one of them")
    file = path.parent / mqtt.password_file
    try:
        password = file.read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        reason = f"`{file}` cannot be read: {error.strerror}"
        raise ConfigError(source, "mqtt.password_file", reason) from error
    except UnicodeDecodeError as error:
        raise ConfigError(source, "mqtt.password_file", f"`{file}` is not UTF-8") from error
    return msgspec.structs.replace(mqtt, password=password, password_file=None)


def _plain(message: str) -> str:
    """Says msgspec's sentence in the words of the file."""
    message = message.replace("Object contains unknown field", "unknown key")
    message = message.replace("Object missing required field", "missing key")
    message = message.replace(" | null`", "`")
    for name, word in (("object", "table"), ("str", "text"), ("array", "list")):
        message = message.replace(f"`{name}`", f"a {word}")
    return message[:1].lower() + message[1:]
