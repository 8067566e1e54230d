"""From a tick's readings to its fixes: evidence, likelihood over cells, motion, zones.

A trackable walks or, if it is an item, rests. A walker is followed by the walk filter
(`stream.walk`), which takes each reading once. What rests is located from all that its gateways
heard since it lies there, all over again with every tick, so that it neither drifts nor jitters;
when its levels change by more than they flutter it was carried, and is found anew. Every now and
then all places around are compared with the present one, so that a wrong aisle or floor is left
again. docs/locating.md tells it at length.

Deterministic, without sockets and clocks: the same readings in the same ticks give the same
fixes. One numpy batch per tick, so the cost per beacon does not depend on how many there are.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from stream.around import LOOK_AROUND, look_around
from stream.calibration import Calibration, prior
from stream.conclude import conclude
from stream.evidence import Evidence, Pairs, Readings, summed
from stream.fixes import Fixes, empty
from stream.grid import WINDOW
from stream.layout import Layout
from stream.learnt import Learnt
from stream.motion import MODES, STEP_S
from stream.patience import FADE_READINGS, FORGET_S, forgotten, lost, usual_gaps
from stream.residuals import Checked, check, learn
from stream.rest import rouse
from stream.scene import Part, Scene
from stream.sensing import Sensing
from stream.track import NOWHERE, RESTS, ROUSED, WALKS, LocatorState, Tracks, blank_state
from stream.walk import begin, moved_window, pack, standing, step, unpack, weighed

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Trackables worked on together: their tables stay within the processor's cache.
CHUNK: Final = 128
# The radius that holds 68 % of a round normal error is 1.515 standard deviations
# (sqrt(-2 ln 0.32)).
R68: Final = 1.515
# Evidence of one who walks fades with this time constant; it says where to look around.
WALK_FADE_S: Final = 1.5
# That of what rests fades with this share of the time it has rested, within these bounds: so the
# place is the surer the longer it lies, and follows soon when it was carried.
REST_FADE_SHARE: Final = 0.5
REST_FADES_S: Final = (2.5, 30.0)
# Readings within this time share their shadowing: a walker has then gone its correlation length,
# some 2 m; who stands is turned and passed by others.
WALK_SHARES_S: Final = 1.8
STAND_SHARES_S: Final = 2.5
# By then a slow tag's walker may be anywhere in its window: more steps only cost time.
MOST_STEPS: Final = 64
# What was roused may be this far from where it lay, or, with the chance below, anywhere near.
ROUSED_SD_M: Final = 2.5
_ROUSED_AFAR: Final = 1e-3
# A window that a trackable has left the middle of by more cells than this follows.
WINDOW_SLACK: Final = 2


class Locator:
    """Locates a site's trackables tick by tick.

    Args:
        layout: of the site.
        state: to go on from.
        calibration: the site's radio model; the prior by default.
    """

    def __init__(
        self,
        layout: Layout,
        state: LocatorState | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        state = blank_state(layout) if state is None else state
        self.layout: Final = layout
        self.calibration: Final = calibration or prior(layout.site.id)
        self.evidence: Final = Evidence(state.slots, state.heard)
        self.tracks: Final[Tracks] = state.tracks
        self._pool = Pool(state.walkers, state.chances)
        self.learnt: Final = Learnt(state.learnt)
        self._scene: Scene | None = None
        self.checked: list[Checked] = []

    @property
    def state(self) -> LocatorState:
        """The live arrays (not copies)."""
        return LocatorState(
            self.evidence.slots,
            self.evidence.t,
            self.tracks,
            self._pool.walkers,
            self._pool.chances,
            self.learnt.sums,
        )

    def locate(self, readings: Readings, t: float, online: Bools | None = None) -> Fixes:
        """Takes a tick's readings and gives a fix for every trackable they touch, by row.

        Args:
            readings: of the tick.
            t: the tick's end, Unix seconds.
            online: gateways that are on line, (gateways,); all by default.
        """
        self.checked = []
        if not len(readings.beacon):
            return empty()
        layout = self.layout
        self.learnt.take_levels(readings.rssi)
        scene = self.scene(np.ones(len(layout.gateway_row), np.bool_) if online is None else online)
        pairs = summed(readings)
        owner = layout.trackable[pairs.rows]
        trackables = np.unique(owner)
        place = np.searchsorted(trackables, owner)
        self._remember(pairs, place, trackables, t)

        by_owner = np.argsort(owner, kind="stable")
        ends = np.searchsorted(owner[by_owner], trackables, side="right")
        now = pairs.table()
        low = first = 0
        while low < len(trackables):
            high = min(low + CHUNK, len(trackables))
            which = by_owner[first : ends[high - 1]]
            beacons = pairs.rows[which]
            slots = self.evidence.slots[beacons]
            part = Part(
                trackables[low:high],
                place[which] - low,
                beacons,
                (now[0][which], now[1][which], now[2][which]),
                (
                    slots["gateway"].astype(np.int64),
                    slots["rssi"].astype(np.float64),
                    slots["n"].astype(np.float64),
                ),
                pairs.age[which],
            )
            self._locate(scene, part, t)
            low, first = high, int(ends[high - 1])
        self._pool.close(self.tracks["mode"] == WALKS)
        learn(self.learnt, self.checked)
        return self.fixes(trackables)

    def fixes(self, trackables: Ints) -> Fixes:
        """The present fixes of the rows; they must have been located."""
        track = self.tracks[trackables]
        fixes = empty(len(trackables))
        floor = track["floor"].astype(np.int64)
        x, y = track["x"].astype(np.float64), track["y"].astype(np.float64)
        x, y = self.layout.confine(x, y, floor)
        fixes["trackable"], fixes["beacon"] = trackables, track["beacon"]
        fixes["floor"], fixes["x"], fixes["y"] = floor, x, y
        fixes["accuracy"] = R68 * track["sd"]
        fixes["speed"] = np.hypot(track["vx"], track["vy"])
        fixes["heading"] = np.arctan2(track["vy"], track["vx"])
        fixes["zone"], fixes["zone_probability"] = track["zone"], track["chance"]
        return fixes

    def newly_lost(self, t: float) -> Ints:
        """Rows of trackables that have been unheard for too long by now; each is told once."""
        tracks = self.tracks
        gone = np.flatnonzero(lost(tracks["t"], tracks["gap"], t) & ~tracks["lost"])
        tracks["lost"][gone] = True
        # It will be found anew in any case, and the filter of one who left is dead weight.
        tracks["mode"][gone] = NOWHERE
        return gone

    def newly_found(self, rows: Ints) -> Ints:
        """Those of the rows, which were just located, that had been told to be lost."""
        found: Ints = rows[self.tracks["lost"][rows]]
        self.tracks["lost"][found] = False
        return found

    def scene(self, online: Bools) -> Scene:
        """The tables, in step with the gateways on line and the weakest levels heard."""
        limit = self.learnt.limit_dbm
        scene = self._scene
        if scene is None or scene.sensing.limit_dbm != limit:
            sensing = Sensing(self.layout, self.calibration, online, limit)
            scene = self._scene = Scene(self.layout, sensing, self.learnt)
        elif not np.array_equal(scene.sensing.online, online):
            scene.sensing.switch(online)
        return scene

    def _remember(self, pairs: Pairs, place: Ints, trackables: Ints, t: float) -> None:
        """Takes the readings into the evidence; forgets and rouses what they say to."""
        track = self.tracks[trackables]
        passed = np.where(track["t"] > 0.0, t - track["t"], np.inf)
        gone = forgotten(track["gap"], passed)
        track["gap"] = usual_gaps(track["gap"], passed)
        track["mode"][gone] = NOWHERE
        track["since"][track["mode"] == NOWHERE] = t
        track["looks"] = (track["looks"] + 1) % LOOK_AROUND
        # Those found together do not look around together.
        track["looks"][gone] = trackables[gone] % LOOK_AROUND
        rouse(self.evidence, self.learnt, pairs, place, track, np.minimum(passed, FORGET_S))
        # What was roused or found begins with what is heard now.
        anew = (track["mode"] == NOWHERE) | (track["mode"] == ROUSED)
        self.evidence.forget(self.layout.beacons_of(trackables[anew]))
        rested = np.clip(REST_FADE_SHARE * track["calm"], *REST_FADES_S)
        fade = np.where(self.layout.motions.rests[trackables], rested, WALK_FADE_S)
        fade = np.maximum(fade, FADE_READINGS * track["gap"])
        self.evidence.update(pairs, t, fade[place])
        self.tracks[trackables] = track

    def _locate(self, scene: Scene, part: Part, t: float) -> None:
        """One chunk of a tick."""
        track = self.tracks[part.rows]
        remembered = scene.terms(part.memory, np.ones(len(part.beacons)))
        found = look_around(scene, part, track, remembered, t)
        rests = self.layout.motions.rests[part.rows]
        walkers, resting = np.flatnonzero(~rests), np.flatnonzero(rests)
        posterior = np.zeros((len(part.rows), WINDOW, WINDOW), np.float32)
        chances = self._walk(scene, part, track, walkers, found, t)
        posterior[walkers] = chances.sum(axis=1)
        posterior[resting] = self._rest(scene, part, track, resting, t)
        track["t"] = t
        conclude(scene, part, track, posterior, walkers, chances)
        checked = check(scene, part, track, remembered)
        if checked is not None:
            self.checked.append(checked)
        self._pool.put(part.rows[walkers], pack(_follow(scene, track, walkers, chances)))
        _recentre(scene, track, resting)
        self.tracks[part.rows] = track

    def _walk(
        self, scene: Scene, part: Part, track: Tracks, walkers: Ints, found: Bools, t: float
    ) -> Singles:
        """Walk filters up to now: of those just found, begun; of the others, gone on with."""
        chances = np.zeros((len(walkers), MODES, WINDOW, WINDOW), np.float32)
        fresh = np.flatnonzero(found[walkers])
        if len(fresh):
            likelihood = scene.likelihood(part, track, walkers[fresh], part.memory, None)
            chances[fresh] = begin(likelihood)
        track["mode"][walkers] = WALKS
        goes = np.flatnonzero(~found[walkers])
        if not len(goes):
            return chances
        which = walkers[goes]
        some, rows = track[which], part.rows[which]
        motions, cell_m = self.layout.motions, self.layout.grid.cell_m
        before = unpack(self._pool.get(rows))
        passed = t - some["t"]
        steps = np.clip(np.rint(passed / STEP_S).astype(np.int64), 1, MOST_STEPS)
        free = scene.free[scene.starts(some)]
        change = motions.change[rows]
        reach = np.minimum(motions.speed_m_s[rows] * (STEP_S / cell_m), 1.0).astype(np.float32)
        # A random walk: its variance after a step is 2 stray cells squared along each axis.
        strays = motions.strays_m2_s[rows] * (STEP_S / (2.0 * cell_m**2))
        stray = np.minimum(strays, 0.2).astype(np.float32)
        for k in range(int(steps.max())):
            go = np.flatnonzero(steps > k)
            before[go] = step(before[go], change[go], free[go], reach[go], stray[go])
        stands = standing(before).astype(np.float64)
        shares = WALK_SHARES_S + (STAND_SHARES_S - WALK_SHARES_S) * stands
        weight = np.minimum(1.0, np.maximum(passed, STEP_S) / shares)
        likelihood = scene.likelihood(part, track, which, part.now, weight)
        chances[goes] = weighed(before, likelihood)
        return chances

    def _rest(self, scene: Scene, part: Part, track: Tracks, resting: Ints, t: float) -> Singles:
        """Posteriors of what rests, from all that is remembered of it."""
        posterior = np.zeros((0, WINDOW, WINDOW), np.float32)
        if not len(resting):
            return posterior
        some = track[resting]
        posterior = scene.likelihood(part, track, resting, part.memory, None)
        roused = np.flatnonzero(some["mode"] == ROUSED)
        posterior[roused] *= _near(scene, track[resting[roused]])
        posterior /= posterior.sum(axis=(1, 2), keepdims=True)
        stays = some["mode"] == RESTS
        track["calm"][resting] = np.where(stays, some["calm"] + (t - some["t"]), 0.0)
        track["mode"][resting] = RESTS
        return posterior


class Pool:
    """The walk filters: those from before, and those that take their place in a tick.

    Attributes:
        walkers: trackable rows, ascending.
        chances: their filters as `stream.walk.pack` gives them.
    """

    def __init__(self, walkers: Ints, chances: npt.NDArray[np.uint8]) -> None:
        self.walkers = walkers
        self.chances = chances
        self._rows: list[Ints] = []
        self._new: list[npt.NDArray[np.uint8]] = []

    def get(self, rows: Ints) -> npt.NDArray[np.uint8]:
        """The filters of some rows that walked before."""
        return self.chances[np.searchsorted(self.walkers, rows)]

    def put(self, rows: Ints, chances: npt.NDArray[np.uint8]) -> None:
        """Keeps the filters of rows for the next tick; rows ascend over all calls of a tick."""
        self._rows.append(rows)
        self._new.append(chances)

    def close(self, walk: Bools) -> None:
        """Ends a tick: new filters take the old ones' place, of those that walk, (trackables,)."""
        rows = np.concatenate([np.zeros(0, np.int64), *self._rows])
        fresh = np.zeros(len(walk), np.bool_)
        fresh[rows] = True
        old = np.flatnonzero(walk[self.walkers] & ~fresh[self.walkers])
        every = np.concatenate((rows, self.walkers[old]))
        self.chances = np.concatenate((*self._new, self.chances[old]))
        if len(old):
            order = np.argsort(every, kind="stable")
            every, self.chances = every[order], self.chances[order]
        self.walkers = every
        self._rows, self._new = [], []


def _near(scene: Scene, track: Tracks) -> Singles:
    """How likely what was roused is at a window's cells, by where it lay."""
    x, y = scene.axes(track)
    sharp = -0.5 / ROUSED_SD_M**2
    near_x = np.exp(sharp * (x - track["x"][:, None]) ** 2)
    near_y = np.exp(sharp * (y - track["y"][:, None]) ** 2)
    near: Singles = (near_x[:, None, :] * near_y[:, :, None] + _ROUSED_AFAR).astype(np.float32)
    return near


def _follow(scene: Scene, track: Tracks, which: Ints, chances: Singles) -> Singles:
    """Moves the windows of walkers that have left the middle, and their chances."""
    ix, iy = track["ix"][which].astype(np.int64), track["iy"][which].astype(np.int64)
    _recentre(scene, track, which)
    dx, dy = track["ix"][which] - ix, track["iy"][which] - iy
    moved = np.flatnonzero((dx != 0) | (dy != 0))
    if len(moved):
        chances[moved] = moved_window(chances[moved], dx[moved], dy[moved])
    return chances


def _recentre(scene: Scene, track: Tracks, which: Ints) -> None:
    some = track[which]
    ix, iy = scene.layout.grid.window(
        some["x"].astype(np.float64), some["y"].astype(np.float64), some["floor"].astype(np.int64)
    )
    off = (np.abs(ix - some["ix"]) > WINDOW_SLACK) | (np.abs(iy - some["iy"]) > WINDOW_SLACK)
    track["ix"][which] = np.where(off, ix, some["ix"])
    track["iy"][which] = np.where(off, iy, some["iy"])
