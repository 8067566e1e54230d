"""The watermark: up to which event time everything is taken as heard.

Its rule is in docs/architecture.md under "Time". Knows stamps only, never a clock.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from stream.summary import Standing

TICK_S: Final = 0.5
# How long a tick waits for a gateway that has gone silent: once, when it dies. Long enough for a
# Wi-Fi gateway's retransmissions, short enough that nobody takes the map for frozen.
CURRENT_S: Final = 2.0
# How long a silent gateway may return without losing its first batch; gateways that publish
# only when they hear something are silent for seconds, not for minutes.
QUIET_S: Final = 60.0

# A gateway that has said nothing for longer may be off; its silence about a beacon says nothing.
# Longer than the pauses of those that publish only when they hear something.
ONLINE_S: Final = 10.0

CURRENT: Final = 0
QUIET: Final = 1
GONE: Final = 2
STANDINGS: Final[tuple[Standing, ...]] = ("current", "quiet", "gone")


class Watermark:
    """Follows the stamps of a site's gateways.

    Args:
        latest: highest stamp per gateway row, Unix seconds, 0 when never heard; shape (gateways,).
        front: highest stamp of all.
    """

    def __init__(self, latest: npt.NDArray[np.float64], front: float = 0.0) -> None:
        self.latest = latest
        self.front = front

    def hear(self, gateway: int, t: float) -> None:
        """Takes one batch's stamp."""
        if t > self.front + QUIET_S:
            # A start, or work resumed after a break: wait for every gateway once.
            np.maximum(self.latest, t - TICK_S, out=self.latest)
        self.front = max(self.front, t)
        if t > self.latest[gateway]:
            self.latest[gateway] = t

    def value(self) -> float:
        """The watermark, Unix seconds."""
        lag = self.front - self.latest
        current = lag <= CURRENT_S
        mark = float(self.latest[current].min(initial=self.front))
        if bool((~current & (lag <= QUIET_S)).any()):
            mark = min(mark, self.front - TICK_S)
        return mark

    def online(self, t: float) -> npt.NDArray[np.bool_]:
        """Gateways that are on line at t: heard within ONLINE_S, by gateway row."""
        return t - self.latest <= ONLINE_S

    def standings(self) -> npt.NDArray[np.int8]:
        """CURRENT, QUIET or GONE per gateway row."""
        lag = self.front - self.latest
        return np.where(lag <= CURRENT_S, CURRENT, np.where(lag <= QUIET_S, QUIET, GONE)).astype(
            np.int8
        )


def tick_of(t: float) -> int:
    """The number of the tick that holds the stamp: tick k covers ((k - 1) * 0.5, k * 0.5] s.

    A millisecond's slack lets stamps that were rounded on their way fall where they belong.
    """
    return int(-((-t + 0.001) // TICK_S))


def last_tick(watermark: float) -> int:
    """The number of the last tick that ends at or before the watermark."""
    return int((watermark + 0.001) // TICK_S)
