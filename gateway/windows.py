"""Windows: adverts summed up per beacon over an interval of event time.

Windows are aligned to multiples of their length on the gateway's clock, so that the windows of
all gateways of a site end together and a tick is complete at once. Knows no sockets and no
clock: the time comes with each call.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from gateway.adverts import Advert
from gateway.readings import Batch

# uint16 of the wire; a beacon at 20 ms over a 60 s window sends 3,000.
MAX_ADVERTS: Final = 65_535
# Windows that adverts may be collected for before anybody closes them.
MAX_OPEN: Final = 4_096
# A longer gap is a suspended machine or a clock that was set, not a gateway that heard nothing.
MAX_GAP_S: Final = 60.0


class Window(NamedTuple):
    """One closed window: columns by beacon, in order of first hearing.

    Attributes:
        end: Unix seconds.
        beacons: ids.
        rssi: mean in dBm.
        n: adverts.
        max: strongest in dBm.
        spread: population standard deviation in dB.
    """

    end: float
    beacons: list[str]
    rssi: array[float]
    n: array[int]
    max: array[float]
    spread: array[float]


def to_batch(window: Window, *, gateway: str, boot: str, seq: int, length: float) -> Batch:
    """A closed window as the batch that its gateway publishes; `length` in seconds."""
    return Batch(
        gateway=gateway,
        boot=boot,
        seq=seq,
        t=window.end,
        window=length,
        beacons=window.beacons,
        rssi=window.rssi,
        n=window.n,
        max=window.max,
        spread=window.spread,
    )


class Windows:
    """Sums adverts up.

    Args:
        length: seconds, above 0.
        max_beacons: beacons kept in one window; adverts of further ones are counted in `dropped`.
        grace: seconds that an advert may come after its window's end and still be taken
            (a scanner's callback is never exactly on time).

    Attributes:
        dropped: adverts not taken because a bound was reached, or thrown away because the clock
            was set back.
        late: adverts for windows already closed.
    """

    def __init__(self, length: float, *, max_beacons: int = 5_000, grace: float = 0.0) -> None:
        if not length > 0.0:
            raise ValueError(f"a window of {length} s is not possible; give a length above 0")
        self.length: Final = length
        self.max_beacons: Final = max_beacons
        self.grace: Final = grace
        self.dropped = 0
        self.late = 0
        # window index -> beacon -> [n, sum, sum of squares, max]
        self._open: dict[int, dict[str, list[float]]] = {}
        self._closed: int | None = None

    def add(self, advert: Advert) -> None:
        """Takes one advert into its window; one for a closed window is counted in `late`."""
        index = self._index(advert.t)
        if self._closed is None:
            self._closed = index - 1
        if index <= self._closed:
            self.late += 1
            return
        window = self._open.get(index)
        if window is None:
            if len(self._open) >= MAX_OPEN:
                self.dropped += 1
                return
            window = self._open[index] = {}
        sums = window.get(advert.beacon)
        rssi = advert.rssi
        if sums is None:
            if len(window) >= self.max_beacons:
                self.dropped += 1
                return
            window[advert.beacon] = [1.0, rssi, rssi * rssi, rssi]
            return
        if sums[0] >= MAX_ADVERTS:
            self.dropped += 1
            return
        sums[0] += 1.0
        sums[1] += rssi
        sums[2] += rssi * rssi
        sums[3] = max(sums[3], rssi)

    def close(self, now: float) -> Iterator[Window]:
        """Closes every window that has ended by `now - grace`, empty ones included.

        An empty window is news too: the gateway is alive and heard nothing. After a gap longer
        than a minute (a suspended machine, a clock that was set) the empty ones are left out.
        When the clock was set back by more than a window, everything begins anew at `now`.
        """
        last = self._index(now - self.grace) - 1
        if self._closed is None:
            self._closed = last
            return
        if last < self._closed - 1:
            self._begin_anew(last)
            return
        first = self._closed + 1
        indices: Iterable[int] = range(first, last + 1)
        if (last - first) * self.length > MAX_GAP_S:
            indices = sorted({last, *(index for index in self._open if index <= last)})
        for index in indices:
            self._closed = index
            yield self._summary(index, self._open.pop(index, {}))

    def flush(self) -> Iterator[Window]:
        """Closes every window that holds adverts, ended or not: the end of a recording."""
        for index in sorted(self._open):
            self._closed = index
            yield self._summary(index, self._open.pop(index))

    def _begin_anew(self, last: int) -> None:
        """Follows a clock that was set back: what was stamped by the old one is given up."""
        self._closed = last
        for index in [index for index in self._open if index > last + 1]:
            self.dropped += sum(int(sums[0]) for sums in self._open.pop(index).values())

    def _index(self, t: float) -> int:
        # The window [k * length, (k + 1) * length) has index k.
        return math.floor(t / self.length + 1e-9)

    def _summary(self, index: int, window: dict[str, list[float]]) -> Window:
        means = array("f")
        counts = array("H")
        strongest = array("f")
        spreads = array("f")
        for n, total, squares, peak in window.values():
            mean = total / n
            means.append(mean)
            counts.append(int(n))
            strongest.append(peak)
            spreads.append(math.sqrt(max(0.0, squares / n - mean * mean)))
        return Window((index + 1) * self.length, list(window), means, counts, strongest, spreads)
