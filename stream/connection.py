"""The wire to the store: commands out, raw values back, failures as errors of ours.

It knows Redis' (and Valkey's) protocol and nothing of what is stored. Replies come back as the
server sent them (bytes, integers, lists): the client library's own shaping of replies differs
between its versions and is switched off.

    UserError
    +-- StoreError       the store said no, or holds something unexpected
        +-- StoreDown    it cannot be reached, or is still loading
        +-- StoreGone    the stream or its group has vanished: the store lost its data
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

import redis.exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff

from gateway.errors import UserError

Value = str | bytes | int | float
Command = tuple[Value, ...]

# A blocking read must come back well before the socket's timeout.
MAX_BLOCK_MS: Final = 2_000
_SOCKET_TIMEOUT_S: Final = 5.0
_CONNECT_TIMEOUT_S: Final = 3.0
_DOWN: Final = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.BusyLoadingError,
    OSError,
    asyncio.IncompleteReadError,
)


class StoreError(UserError):
    """The store refused something, or does not hold what it should."""


class StoreDown(StoreError):  # noqa: N818  # a state of the store, named as one
    """The store cannot be reached now; trying again later is right."""


class StoreGone(StoreError):  # noqa: N818  # a state of the store, named as one
    """A stream or consumer group that must exist does not: the store lost its data."""


class Script:
    """A Lua script of this package, sent once and then called by its digest.

    Args:
        names: its files without `.lua`, put one after the other: shared functions first.
    """

    def __init__(self, *names: str) -> None:
        folder = files("stream") / "lua"
        self.text: Final = "\n".join((folder / f"{n}.lua").read_text("utf-8") for n in names)
        self.digest: Final = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Connection:
    """A pool of connections to one server.

    Args:
        url: redis://[user:pass@]host[:port][/db], rediss:// for TLS, or unix://path.
        retries: how often a command is sent again after a lost connection. Only 0 is right for
            commands that must not take effect twice unseen.
    """

    def __init__(self, url: str, retries: int = 0) -> None:
        self.place: Final = _without_password(url)
        backoff = ExponentialWithJitterBackoff(cap=0.5, base=0.05) if retries else NoBackoff()
        try:
            self._redis: Redis = Redis.from_url(
                url,
                protocol=2,
                retry=Retry(backoff, retries),
                socket_timeout=_SOCKET_TIMEOUT_S,
                socket_connect_timeout=_CONNECT_TIMEOUT_S,
            )
        except ValueError as error:
            raise StoreError(f"`{self.place}` is not an address of a store: {error}") from error
        self._redis.response_callbacks.clear()

    async def call(self, *command: Value) -> Any:  # noqa: ANN401  # a raw reply
        """One command's raw reply.

        Raises:
            StoreDown, StoreGone, StoreError
        """
        return await self._guard(self._send(*command))

    async def script(self, script: Script, keys: Sequence[str], *args: Value) -> Any:  # noqa: ANN401  # raw
        """Runs a script on one slot; `keys` are all the keys it touches."""
        try:
            return await self._guard(
                self._send("EVALSHA", script.digest, len(keys), *keys, *args),
            )
        except _NoScript:
            return await self.call("EVAL", script.text, len(keys), *keys, *args)

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Sends all at once; a refused command's place holds its `StoreError`.

        Raises:
            StoreDown: the connection broke; any part of the commands may have taken effect.
        """
        return await self._batch(commands, transaction=False)

    async def transaction(self, commands: Sequence[Command]) -> list[Any]:
        """As `pipeline`, with nothing of others in between; the keys must share a slot."""
        return await self._batch(commands, transaction=True)

    async def close(self) -> None:
        """Closes every connection."""
        await self._redis.aclose()

    def _send(self, *command: Value) -> Awaitable[Any]:
        reply: Awaitable[Any] = self._redis.execute_command(*command)  # type: ignore[no-untyped-call]  # untyped there
        return reply

    async def _batch(self, commands: Sequence[Command], *, transaction: bool) -> list[Any]:
        if not commands:
            return []
        replies = await self._guard(self._executed(commands, transaction))
        return [self._error(reply) if isinstance(reply, Exception) else reply for reply in replies]

    async def _executed(self, commands: Sequence[Command], transaction: bool) -> list[Any]:
        async with self._redis.pipeline(transaction=transaction) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            replies: list[Any] = await pipe.execute(raise_on_error=False)
        return replies

    async def _guard(self, reply: Awaitable[Any]) -> Any:  # noqa: ANN401  # a raw reply
        # The client library now and then swallows a cancellation; its caller would run on.
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        try:
            return await reply
        except (redis.exceptions.RedisError, OSError, asyncio.IncompleteReadError) as error:
            raise self._error(error) from error
        finally:
            if task and task.cancelling() > before:
                raise asyncio.CancelledError

    def _error(self, error: Exception) -> StoreError:
        if isinstance(error, redis.exceptions.NoScriptError):
            return _NoScript(str(error))
        if isinstance(error, _DOWN):
            return StoreDown(
                f"the store at {self.place} does not answer ({_brief(error)}); "
                "check that it runs and that the address is right"
            )
        if "NOGROUP" in str(error) or "no such key" in str(error):
            return StoreGone(f"the store at {self.place} has lost its streams: {_brief(error)}")
        return StoreError(f"the store at {self.place} refused a command: {_brief(error)}")


class _NoScript(StoreError):  # noqa: N818  # never leaves this module
    pass


def _brief(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:200].rstrip(".")


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an unreadable address"
    return f"{parts.scheme}://{host}{port}{parts.path}"
