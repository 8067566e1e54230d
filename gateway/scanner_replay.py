"""A recording as a scanner: one gateway's recorded readings become adverts again.

A reading of n adverts becomes n adverts of its mean RSSI, spread evenly over its window, so that
windows of the same length sum up to the same readings. The clock stands where the recording is.
"""

from __future__ import annotations

import asyncio
import gzip
import math
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from gateway.adverts import Advert, Hear
from gateway.errors import UserError
from gateway.readings import Batch, ReadingsError, decode
from gateway.topics import parse_topic

# At full speed others get a turn after so many batches.
_TURN: Final = 16
_HOLD_S: Final = 0.01


class ReplayError(UserError, ValueError):
    """A recording that cannot be replayed: the sentence names the file, the line and why."""


class _Line(msgspec.Struct):
    topic: str
    payload: msgspec.Raw


_decode: Final = msgspec.json.Decoder(_Line).decode


class ReplayScanner:
    """Plays one gateway of a recording once.

    Args:
        recording: JSON Lines of {"topic", "payload"}, gzipped when the name ends in .gz.
        gateway: whose readings are played.
        speed: times real time; infinity is as fast as it goes.
        hold: asked at full speed; while it returns True nothing is played (a full spool).

    Raises:
        ReplayError: the recording cannot be read or holds nothing of that gateway.
    """

    name = "replay"

    def __init__(
        self,
        recording: Path,
        gateway: str,
        *,
        speed: float = 1.0,
        hold: Callable[[], bool] = lambda: False,
    ) -> None:
        if not speed > 0.0:
            raise ReplayError(f"speed is {speed}; a number above 0 is expected")
        self.hold = hold
        self._speed: Final = speed
        self._batches: Final = _batches(recording, gateway)
        first = next(self._batches, None)
        if first is None:
            raise ReplayError(f"{recording}: holds no readings of gateway `{gateway}`")
        self._first: Final[Batch] = first
        self._at = first.t - first.window
        self._since: float | None = None

    def now(self) -> float:
        """Where the recording is, Unix seconds."""
        if self._since is None or math.isinf(self._speed):
            return self._at
        return self._at + (time.monotonic() - self._since) * self._speed

    async def run(self, hear: Hear) -> None:
        """Plays to the recording's end.

        Raises:
            ReplayError: a line cannot be read.
        """
        self._since = time.monotonic()
        await self._play(self._first, hear)
        for count, batch in enumerate(self._batches, 1):
            await self._play(batch, hear)
            if count % _TURN == 0:
                await asyncio.sleep(0)
            while self.hold():  # noqa: ASYNC110  # a spool's length has no event
                await asyncio.sleep(_HOLD_S)

    async def _play(self, batch: Batch, hear: Hear) -> None:
        for advert in adverts(batch):
            if math.isinf(self._speed):
                self._at = max(self._at, advert.t)
            else:
                ahead = (advert.t - self.now()) / self._speed
                if ahead > 0.0:
                    await asyncio.sleep(ahead)
            hear(advert)


def adverts(batch: Batch) -> list[Advert]:
    """The adverts that a batch may have been made of, in order of time."""
    found = [
        Advert(batch.t - batch.window + (k + 0.5) / n * batch.window, beacon, rssi)
        for beacon, rssi, n in zip(batch.beacons, batch.rssi, batch.n, strict=True)
        for k in range(n)
    ]
    found.sort(key=lambda advert: advert.t)
    return found


def _batches(recording: Path, gateway: str) -> Iterator[Batch]:
    number = 0
    try:
        opened = gzip.open if recording.suffix == ".gz" else open
        with opened(recording, "rb") as lines:
            for text in lines:
                number += 1
                if not text.strip():
                    continue
                line = _decode(text)
                topic = parse_topic(line.topic)
                if topic is None or topic.kind != "readings" or topic.gateway != gateway:
                    continue
                yield decode(bytes(line.payload))
    except (msgspec.MsgspecError, ReadingsError, UnicodeDecodeError) as error:
        raise ReplayError(f"{recording}: line {number}: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ReplayError(f"{recording}: cannot be read after line {number}: {reason}") from error
