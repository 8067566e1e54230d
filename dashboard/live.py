"""The live feed: what is said to the page, encoded once and handed to every client.

The texts and the binary frame are described in docs/api.md. A client that does not keep up loses
what waits for it and is given a snapshot instead, so that no client can make the dashboard grow
or hold another one back. Knows no socket: a client is a bounded queue somebody else empties.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from dashboard.health import GatewayHealth
from dashboard.positions import Counts, Moves, Positions
from stream.fixes import Fixes
from stream.patience import Bools
from stream.site import Site

FRAME_VERSION: Final = 1
SNAPSHOT: Final = 1
HEADER: Final = struct.Struct("<BBHIdII")
BYTES_PER_FIX: Final = 16
# Eight seconds of ticks of one partition: a hiccup of the network, not a page in a closed laptop.
QUEUE_FRAMES: Final = 16
# One frame of 10,000 fixes is 160 kB; this many clients are the memory and the CPU of one machine.
MAX_CLIENTS: Final = 1_000

_to_json: Final = msgspec.json.Encoder().encode
RESYNC: Final = '{"type":"resync"}'

_U16: Final = 0xFFFF
_U8: Final = 0xFF


def encode_frame(
    fixes: Fixes,
    *,
    sequence: int,
    t: float,
    version: int,
    origin: tuple[float, float],
    ages: npt.NDArray[np.float64] | None = None,
) -> bytes:
    """Fixes as one binary frame.

    Args:
        fixes: FIX; shape (n,).
        sequence: the delta's number, or that of the last delta a snapshot contains.
        t: end of the tick, Unix seconds.
        version: the site version of the rows.
        origin: metres; what x and y are counted from.
        ages: seconds since each fix, shape (n,): the frame is a snapshot. None: it is a delta.
    """
    count = len(fixes)
    flags = 0 if ages is None else SNAPSHOT
    frame = bytearray(HEADER.size + BYTES_PER_FIX * count)
    HEADER.pack_into(frame, 0, FRAME_VERSION, flags, 0, sequence & 0xFFFFFFFF, t, count, version)
    place = HEADER.size
    columns: tuple[tuple[str, npt.NDArray[Any]], ...] = (
        ("<u4", fixes["trackable"]),
        ("<u2", _whole((fixes["x"] - origin[0]) * 100.0, _U16)),
        ("<u2", _whole((fixes["y"] - origin[1]) * 100.0, _U16)),
        ("<u2", np.zeros(count) if ages is None else _whole(ages, _U16)),
        ("<u2", _whole(fixes["accuracy"] * 100.0, _U16)),
        ("<u2", fixes["zone"]),
        ("u1", np.minimum(fixes["floor"], _U8)),
        ("u1", _whole(fixes["speed"] * 10.0, _U8)),
    )
    for kind, column in columns:
        np.frombuffer(frame, kind, count, place)[:] = column
        place += count * np.dtype(kind).itemsize
    return bytes(frame)


def _whole(column: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    """Rounded and kept within 0 and `most`; what is no number becomes `most`: not known."""
    known = np.nan_to_num(column, nan=most, posinf=most, neginf=0.0)
    whole: npt.NDArray[Any] = np.clip(np.rint(known), 0, most)
    return whole


def hello_text(site: Site, version: int) -> str:
    """The table that the rows of frames refer to."""
    x0, y0, _, _ = site.bounds()
    trackables = []
    for part in site.trackables:
        entry = {"id": part.id, "name": part.name, "kind": part.kind}
        if part.sku is not None:
            entry["sku"] = part.sku
        trackables.append(entry)
    return _text(
        {
            "type": "hello",
            "v": FRAME_VERSION,
            "site_version": version,
            "origin": [x0, y0],
            "floors": [floor.id for floor in site.floors],
            "zones": [zone.id for zone in site.zones],
            "trackables": trackables,
        }
    )


def gateways_text(healths: list[GatewayHealth]) -> str:
    """The gateways' health; ages in seconds, rates in readings a second, `suspect` where one is."""
    rows = []
    for health in healths:
        row = {
            "id": health.id,
            "state": health.state,
            "rate": round(health.rate, 1),
            "age": None if health.age_s is None else round(health.age_s, 1),
        }
        if health.counts.suspect:
            row["suspect"] = health.counts.suspect
        rows.append(row)
    return _text({"type": "gateways", "gateways": rows})


def zones_text(occupancy: Counts) -> str:
    """How many trackables are in each zone, in order of zone row."""
    return _text({"type": "zones", "counts": occupancy.sum(axis=1).tolist()})


def lost_text(lost: Bools) -> str:
    """Rows of the trackables that are lost."""
    return _text({"type": "lost", "rows": np.flatnonzero(lost).tolist()})


def _text(value: dict[str, Any]) -> str:
    return _to_json(value).decode()


class Client:
    """What waits to be sent to one client; made by `Hub.open`."""

    def __init__(self) -> None:
        self._frames: deque[bytes | str] = deque()
        self._wake = asyncio.Event()
        self._behind = True
        self._edition = 0

    def fall_behind(self) -> None:
        """Drops what waits; the next thing sent is a snapshot."""
        self._frames.clear()
        self._behind = True
        self._wake.set()

    def push(self, frame: bytes | str) -> bool:
        """Queues a frame; False when the queue was full and the client has fallen behind."""
        if self._behind:
            return True  # the snapshot that comes will contain it
        if len(self._frames) >= QUEUE_FRAMES:
            self.fall_behind()
            return False
        self._frames.append(frame)
        self._wake.set()
        return True

    async def next(self, hub: Hub) -> list[bytes | str]:
        """What to send now, waiting for it if need be; frames come one at a time."""
        while True:
            if self._behind and hub.ready:
                known, self._edition = self._edition, hub.edition
                self._behind = False
                return hub.start_frames(known)
            if self._frames:
                return [self._frames.popleft()]
            self._wake.clear()
            await self._wake.wait()


class Hub:
    """All clients of the live feed.

    Attributes:
        sequence: number of the last delta.
        edition: rises with every new table of rows; 0 before the first.
        changed: set when it rises, cleared by whoever tells the texts that go with it.
        resyncs: how often a client could not keep up.
        deltas: published since the start.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self.edition = 0
        self.changed: Final = asyncio.Event()
        self.resyncs = 0
        self.deltas = 0
        self._clients: set[Client] = set()
        self._positions: Positions | None = None
        self._hello = ""
        self._origin = (0.0, 0.0)
        self._texts: dict[str, str] = {}
        self._snapshot: tuple[int, bytes] | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a site to speak of."""
        return self._positions is not None

    def __len__(self) -> int:
        return len(self._clients)

    def open(self) -> Client | None:
        """A new client, or None when there are too many."""
        if len(self._clients) >= MAX_CLIENTS:
            return None
        client = Client()
        self._clients.add(client)
        return client

    def close(self, client: Client) -> None:
        """Forgets a client."""
        self._clients.discard(client)

    def show(self, positions: Positions) -> None:
        """Begins anew with this table, or with its changed site: every client gets a snapshot."""
        self._positions = positions
        self.edition += 1
        self._hello = hello_text(positions.site, positions.version)
        self._origin = positions.site.bounds()[:2]
        self._texts.clear()
        self.changed.set()
        self._snapshot = None
        for client in self._clients:
            client.fall_behind()

    def publish(self, moves: Moves) -> None:
        """Sends what a tick moved to all, encoded once."""
        if self._positions is None:
            return
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF
        self.deltas += 1
        self._snapshot = None
        if not self._clients:
            return
        frame = encode_frame(
            moves.fixes,
            sequence=self.sequence,
            t=moves.t,
            version=self._positions.version,
            origin=self._origin,
        )
        self._push(frame)

    def tell(self, kind: str, text: str) -> None:
        """Sends a text to all, and keeps it for those who come later."""
        self._texts[kind] = text
        self._push(text)

    def tell_news(self, kind: str, text: str) -> None:
        """As `tell`, unless it is what was told last."""
        if self._texts.get(kind) != text:
            self.tell(kind, text)

    def _push(self, frame: bytes | str) -> None:
        for client in self._clients:
            if not client.push(frame):
                self.resyncs += 1

    def start_frames(self, known: int) -> list[bytes | str]:
        """What brings a client up to date: [resync,] [hello,] snapshot, and the last texts.

        Args:
            known: the edition the client was greeted with, 0 when it is new.
        """
        frames: list[bytes | str] = [RESYNC] if known else []
        if known != self.edition:
            frames.append(self._hello)
        frames.append(self._snapshot_frame())
        frames += self._texts.values()
        return frames

    def _snapshot_frame(self) -> bytes:
        # Encoded once for all who need it at the same sequence.
        if self._snapshot is None or self._snapshot[0] != self.sequence:
            if self._positions is None:
                raise RuntimeError("a snapshot was asked for before there is a site")
            fixes, times = self._positions.snapshot()
            tick = self._positions.tick
            frame = encode_frame(
                fixes,
                sequence=self.sequence,
                t=tick,
                version=self._positions.version,
                origin=self._origin,
                ages=tick - times,
            )
            self._snapshot = (self.sequence, frame)
        return self._snapshot[1]
