"""Where the broker is: an MQTT URL as a checked value. Opens no connection."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from gateway.errors import UserError

_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
_TLS_KEYS: Final = frozenset({"ca", "cert", "key"})


class BrokerUrlError(UserError, ValueError):
    """A broker URL that cannot be used; the message never shows a password."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker's address and how to prove who we are.

    Attributes:
        host: name or address.
        port: TCP port.
        username: None connects without credentials.
        password: None when there is none.
        tls: the context to speak TLS with, None for plain TCP.
    """

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """The address without credentials, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def parse_broker_url(url: str) -> Broker:
    """Reads `mqtt://[user:password@]host[:port]` or `mqtts://...?ca=FILE&cert=FILE&key=FILE`.

    Without `ca`, mqtts trusts what the system trusts; `cert` and `key` are the client's.

    Raises:
        BrokerUrlError: one sentence that names the part that is wrong.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BrokerUrlError(f"the broker URL cannot be read: {error}") from error
    if parts.scheme not in _PORTS:
        raise BrokerUrlError(
            f"the broker URL starts with `{parts.scheme}:`; mqtt:// or mqtts:// is expected"
        )
    if not parts.hostname:
        raise BrokerUrlError("the broker URL has no host; mqtt://host:1883 is expected")
    if port == 0:
        raise BrokerUrlError("the broker URL has port 0; 1 to 65535 is expected")
    if parts.path not in ("", "/") or parts.fragment:
        raise BrokerUrlError("the broker URL has a path; mqtt://host:1883 is expected")
    files = _tls_files(parts.scheme, parts.query)
    return Broker(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        username=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        tls=_context(files) if parts.scheme == "mqtts" else None,
    )


def _tls_files(scheme: str, query: str) -> dict[str, str]:
    try:
        pairs = parse_qs(query, keep_blank_values=True, strict_parsing=True) if query else {}
    except ValueError as error:
        raise BrokerUrlError(f"the broker URL's query cannot be read: {error}") from error
    for key in pairs:
        if key not in _TLS_KEYS:
            raise BrokerUrlError(f"the broker URL has an unknown key `{key}`; ca, cert, key exist")
    if pairs and scheme != "mqtts":
        raise BrokerUrlError("the broker URL names TLS files; these need mqtts://, not mqtt://")
    return {key: values[-1] for key, values in pairs.items()}


class _Socket(ssl.SSLSocket):
    """A TLS socket that does not stay open when the other side cannot be trusted."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BlockingIOError:
            raise
        except (OSError, ValueError):
            self.close()
            raise


def _context(files: dict[str, str]) -> ssl.SSLContext:
    if "key" in files and "cert" not in files:
        raise BrokerUrlError("the broker URL names a key without cert, the certificate it is for")
    try:
        context = ssl.create_default_context(cafile=files.get("ca"))
    except (OSError, ssl.SSLError) as error:
        raise BrokerUrlError(
            f"the broker URL's ca `{files['ca']}` cannot be used: {_why(error)}"
        ) from error
    context.sslsocket_class = _Socket
    if "cert" in files:
        try:
            context.load_cert_chain(files["cert"], files.get("key"))
        except (OSError, ssl.SSLError) as error:
            names = " and ".join(f"{k} `{files[k]}`" for k in ("cert", "key") if k in files)
            raise BrokerUrlError(
                f"the broker URL's {names} cannot be used: {_why(error)}"
            ) from error
    return context


def _why(error: OSError) -> str:
    return error.strerror or str(error)
