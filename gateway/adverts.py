"""What a scanner hands over: one advertisement heard once, already reduced to a beacon's id."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol


class Advert(NamedTuple):
    """One BLE advertisement heard once.

    Attributes:
        t: when it was heard, Unix seconds of the gateway's clock.
        beacon: the beacon's id, as in the readings contract.
        rssi: dBm.
    """

    t: float
    beacon: str
    rssi: float


Hear = Callable[[Advert], None]


class Scanner(Protocol):
    """A source of adverts: a radio, a virtual radio, or a recording.

    `run` hears until it is cancelled or, for a recording, until its end. A fault of the radio is
    raised as ScannerError; the daemon reports it and runs the scanner again.
    """

    name: str

    async def run(self, hear: Hear) -> None:
        """Calls `hear` for every advert, in order of time."""
        ...

    def now(self) -> float:
        """The gateway's clock in Unix seconds (a replay's clock stands where the recording is)."""
        ...


class ScannerError(Exception):
    """The radio cannot be heard at present; the message says what to mend."""
