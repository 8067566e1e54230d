"""Where everything is: the last fix of every trackable and its recent track, as columns.

Fed with ticks and with the fixes of a stored state, in any mixture: a fix counts only when it is
newer than what is known, so feeding twice changes nothing. Rows always are those of the newest
site version; what was written under another version is translated by id. Knows no store, no
socket and no clock.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dashboard.tracks import Points, Tracks
from stream.fixes import FIX, NONE, Fixes, TickFixes, empty
from stream.patience import Bools, Gaps, lost, usual_gaps
from stream.site import KINDS, Site

Times = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
_Rows = npt.NDArray[np.int64]

# Other versions whose ticks can be read: workers change over within a step of each other.
MAX_VERSIONS: Final = 4


class Moves(NamedTuple):
    """What a tick changed: `t` its end in Unix seconds, `fixes` by rows of the present site."""

    t: float
    fixes: Fixes


class _Layout(NamedTuple):
    """How another version's rows read today, -1 (or NONE for zones) where the part is gone."""

    trackables: _Rows
    floors: _Rows
    zones: _Rows


class Positions:
    """The live table.

    Args:
        site: the site document in use.
        version: its version.

    Attributes:
        site: the newest document.
        version: its version.
        tick: end of the newest tick taken in, Unix seconds, 0 before the first.
        t: time of each trackable's last fix, 0 when never located; shape (trackables,).
        last: each trackable's last fix, FIX; shape (trackables,).
        gaps: its usual seconds between fixes (`stream.patience`); shape (trackables,).
        kinds: each trackable's kind, its place in KINDS; shape (trackables,).
    """

    def __init__(self, site: Site, version: int) -> None:
        self.tick = 0.0
        self._tracks: Final = Tracks(len(site.trackables))
        self._others: OrderedDict[int, Site] = OrderedDict()
        self._layouts: dict[int, _Layout] = {}
        self._install(site, version)

    def _install(self, site: Site, version: int) -> None:
        count = len(site.trackables)
        self.site = site
        self.version = version
        self.t: Times = np.zeros(count)
        self.last: Fixes = empty(count)
        self.last["trackable"] = np.arange(count)
        self.last["zone"] = NONE
        self.gaps: Gaps = np.zeros(count, np.float32)
        self._row = {part.id: row for row, part in enumerate(site.trackables)}
        self.kinds = np.array([KINDS.index(part.kind) for part in site.trackables], np.int64)

    def knows(self, version: int) -> bool:
        """Whether ticks of that version can be applied."""
        return version == self.version or version in self._others

    def learn(self, site: Site, version: int) -> None:
        """Takes another version's document, so that its ticks can be read."""
        self._others[version] = site
        self._layouts.pop(version, None)
        while len(self._others) > MAX_VERSIONS:
            gone, _ = self._others.popitem(last=False)
            self._layouts.pop(gone, None)

    def change_site(self, site: Site, version: int) -> None:
        """Makes another document the present one; what is known follows by id."""
        old_site, old_version = self.site, self.version
        old_t, old_last, old_gaps = self.t, self.last, self.gaps
        self._layouts.clear()
        self._others.pop(version, None)
        self._install(site, version)
        self.learn(old_site, old_version)

        layout = self._layout(old_version)
        kept = _kept(old_last, layout)
        fixes, times = _translated(old_last[kept], layout), old_t[kept]
        known = times > 0.0
        rows = fixes["trackable"][known]
        self.last[rows] = fixes[known]
        self.t[rows] = times[known]
        self.gaps[rows] = old_gaps[kept][known]

        self._tracks.rearrange(layout.trackables, len(site.trackables), layout.floors)

    def apply(self, tick: TickFixes) -> Moves:
        """Takes a tick in and says what moved; a tick fed again moves nothing.

        Raises:
            KeyError: for a version that is not known; `learn` it first.
        """
        times = np.full(len(tick.fixes), tick.t)
        self.tick = max(self.tick, tick.t)
        return Moves(tick.t, self._take(tick.fixes, times, tick.version, None))

    def merge(
        self, fixes: Fixes, times: Times, version: int, tick: float, gaps: Gaps | None = None
    ) -> Moves:
        """Takes the last fixes of a stored state in.

        Args:
            fixes: FIX by the rows of `version`; shape (n,).
            times: when each was made, Unix seconds; shape (n,).
            version: the state's site version.
            tick: the state's last tick, Unix seconds.
            gaps: the trackables' usual gaps; shape (n,). None follows them from the times.

        Raises:
            KeyError: for a version that is not known; `learn` it first.
        """
        self.tick = max(self.tick, tick)
        return Moves(tick, self._take(fixes, times, version, gaps))

    def pass_time(self, tick: float) -> Moves:
        """Takes in that a tick, Unix seconds, has closed and nothing was located in it."""
        self.tick = max(self.tick, tick)
        return Moves(tick, empty())

    def row(self, trackable: str) -> int | None:
        """The row of a trackable's id, or None."""
        return self._row.get(trackable)

    def lost(self) -> Bools:
        """Which trackables are lost: unheard for too long by the newest tick; (trackables,)."""
        return lost(self.t, self.gaps, self.tick)

    def is_lost(self, row: int) -> bool:
        """Whether one trackable is lost."""
        one = slice(row, row + 1)
        return bool(lost(self.t[one], self.gaps[one], self.tick)[0])

    def snapshot(self) -> tuple[Fixes, Times]:
        """All last fixes in order of row, and when each was made (Unix seconds)."""
        known = self.t > 0.0
        return self.last[known], self.t[known]

    def track(self, row: int, seconds: float) -> Points:
        """A trackable's recent points, POINT, oldest first.

        Args:
            row: in site.trackables.
            seconds: how far back from its last fix.
        """
        points = self._tracks.read(row)
        recent: Points = points[points["t"] >= self.t[row] - seconds]
        return recent

    def occupancy(self, heard_within: float) -> Counts:
        """Trackables in each zone by kind; shape (zones, kinds).

        Args:
            heard_within: seconds before the newest tick; those last located earlier do not count.
        """
        zones = len(self.site.zones)
        there = (self.t > 0.0) & (self.t >= self.tick - heard_within)
        there &= self.last["zone"] < zones
        cells = self.last["zone"][there].astype(np.int64) * len(KINDS) + self.kinds[there]
        return np.bincount(cells, minlength=zones * len(KINDS)).reshape(zones, len(KINDS))

    def _take(self, fixes: Fixes, times: Times, version: int, gaps: Gaps | None) -> Fixes:
        if version != self.version:
            layout = self._layout(version)
            kept = _kept(fixes, layout)
            fixes, times = _translated(fixes[kept], layout), times[kept]
            gaps = None if gaps is None else gaps[kept]
        rows = fixes["trackable"].astype(np.int64)
        # A damaged entry must not crash the dashboard; rows outside the site cannot be shown.
        fits = (rows < len(self.t)) & (fixes["floor"] < len(self.site.floors))
        newer = fits & (times > np.take(self.t, rows, mode="clip")) if len(self.t) else fits
        if gaps is not None:
            # A state has heard more than we have, also of what is known already.
            told = fits & (times >= np.take(self.t, rows, mode="clip")) if len(self.t) else fits
            self.gaps[rows[told]] = gaps[told]
        if not newer.all():
            fixes, times, rows = fixes[newer], times[newer], rows[newer]
        if gaps is None:
            before = self.t[rows]
            passed = np.where(before > 0.0, times - before, np.inf)
            self.gaps[rows] = usual_gaps(self.gaps[rows], passed)
        self.last[rows] = fixes
        self.t[rows] = times
        self._tracks.write(rows, times, fixes)
        return fixes

    def _layout(self, version: int) -> _Layout:
        layout = self._layouts.get(version)
        if layout is None:
            other = self._others[version]
            layout = self._layouts[version] = _Layout(
                _places(other.trackables, self._row),
                _places(other.floors, _rows(self.site.floors)),
                _places(other.zones, _rows(self.site.zones)),
            )
        return layout


def _rows(parts: list[Any]) -> dict[str, int]:
    return {part.id: row for row, part in enumerate(parts)}


def _places(parts: list[Any], rows: dict[str, int]) -> _Rows:
    return np.array([rows.get(part.id, -1) for part in parts], np.int64)


def _kept(fixes: Fixes, layout: _Layout) -> _Rows:
    """Places of the fixes whose trackable and floor are still there."""
    fits = (fixes["trackable"] < len(layout.trackables)) & (fixes["floor"] < len(layout.floors))
    places = np.flatnonzero(fits)
    there = layout.trackables[fixes["trackable"][places]] >= 0
    there &= layout.floors[fixes["floor"][places]] >= 0
    kept: _Rows = places[there]
    return kept


def _translated(fixes: Fixes, layout: _Layout) -> Fixes:
    """The fixes by the present rows; all of them must be kept."""
    out = fixes.astype(FIX)  # a copy: the ones given are not ours to change
    out["trackable"] = layout.trackables[fixes["trackable"]]
    out["floor"] = layout.floors[fixes["floor"]]
    # One more place at the end stands for every zone that is gone or was NONE.
    zones = np.append(layout.zones, -1)
    mapped = zones[np.minimum(out["zone"], len(layout.zones))]
    out["zone"] = np.where(mapped < 0, NONE, mapped)
    out["zone_probability"][mapped < 0] = 0.0
    return out
