"""Beacons that belong to no trackable: counted and listed, so that an installer can adopt them.

Bounded: a car park of phones must not fill the memory. The beacon heard longest ago leaves first.
"""

from __future__ import annotations

from typing import Any, Final

from stream.summary import Unassigned

# Kept in all, and shown. A site with more strangers than this needs an identity filter.
MAX_KEPT: Final = 2_000
MAX_SHOWN: Final = 200
# The loudest reading fades by this, so that the list follows an installer who carries the beacon.
FADE_DB_PER_S: Final = 1.0
# Not listed any more after this long unheard.
SHOWN_FOR_S: Final = 600.0


class Strangers:
    """The table, by beacon id, the one heard longest ago first."""

    def __init__(self, kept: dict[str, Unassigned] | None = None) -> None:
        self._kept: dict[str, Unassigned] = kept if kept is not None else {}

    def __len__(self) -> int:
        return len(self._kept)

    def hear(self, beacon: str, gateway: str, rssi: float, n: int, t: float) -> None:
        """Takes one reading."""
        known = self._kept.pop(beacon, None)
        if known is None:
            known = Unassigned(beacon, gateway, rssi, t, 0)
            if len(self._kept) >= MAX_KEPT:
                del self._kept[next(iter(self._kept))]
        known.rssi -= FADE_DB_PER_S * max(0.0, t - known.t)
        if rssi >= known.rssi:
            known.gateway, known.rssi = gateway, rssi
        known.t = max(known.t, t)
        known.n += n
        self._kept[beacon] = known

    def forget(self, beacon: str) -> None:
        """Takes a beacon off the list, because it was adopted."""
        self._kept.pop(beacon, None)

    def listed(self, now: float) -> list[Unassigned]:
        """Those heard lately, the strongest and latest first, at most MAX_SHOWN."""
        lately = (u for u in self._kept.values() if u.t > now - SHOWN_FOR_S)
        return sorted(lately, key=lambda u: (-u.rssi, -u.t, u.beacon))[:MAX_SHOWN]

    def dump(self) -> list[Any]:
        """Plain values for the state, in order."""
        return [[u.beacon, u.gateway, u.rssi, u.t, u.n] for u in self._kept.values()]

    @classmethod
    def restore(cls, dumped: list[Any]) -> Strangers:
        """What `dump` gave, as a table."""
        return cls({row[0]: Unassigned(*row) for row in dumped})
