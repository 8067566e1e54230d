"""What the engine knows of its gateways' health: three witnesses, one verdict, told once.

What gateways hear of tags (`stream.gateway_health`), where they seem to hang by what they hear of
tags (`stream.gateway_places`), and what they hear of each other (`stream.mutual`), of which a
calibration follows, too. In event time, part of the engine's state; nothing here changes a fix
but by a calibration that has stood its trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from stream.calibration import Calibration, prior
from stream.calibrator import Calibrator
from stream.events import Event, EventKind
from stream.gateway_health import GatewayHealth, Suspicion
from stream.gateway_places import AWAY_M, Elsewhere, seems_at
from stream.layout import Layout
from stream.locator import Locator
from stream.mutual import FADE_S, Mutual
from stream.mutual_alarms import find_suspects
from stream.mutual_fit import calibrate
from stream.mutual_links import Links
from stream.mutual_places import Places
from stream.site import Site
from stream.summary import GatewayCounts

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# What gateways hear of each other is looked at after so long, and then this often.
FIRST_S: Final = 300.0
EVERY_S: Final = 600.0
# With more gateways that advertise their links are not fitted in the flow: it takes a tenth of a
# second for 24 gateways, 0.4 s for 48, and grows with their cube.
MOST_ADVERTISERS: Final = 48
# One gateway's place is looked for this often, in turn: 20 ms each, and five minutes for 60.
PLACE_EVERY_S: Final = 5.0
# One look may err by what is heard in ten minutes; a faded mean of scores, each so high at most,
# tells. In halls where all hang right it was seen up to 0.83, for most gateways that hang 12 m off
# at 1 to 1.5.
SCORE_MOST: Final = 1.5
SCORE_GAIN: Final = 0.3
MOVED_SCORE: Final = 0.9
WELL_SCORE: Final = 0.3
# Before anything was heard.
_NEVER: Final = -1e12


class WatchState(msgspec.Struct, array_like=True):
    """What a watch remembers.

    Attributes:
        health: `GatewayHealth.dump`.
        mutual: `Mutual.dump`.
        due: event time when the links are looked at next, 0 before the first was heard.
        off: when each gateway was last off line, float64 as bytes.
        linked: suspicions by the links: gateway to reason and text.
        placed: suspicions by where tags say that it hangs: likewise.
        doubt: faded mean of the scores of each gateway's place, float64 as bytes.
        turn: the gateway whose place is looked for next.
        place_due: event time when.
        told: suspicions that were told: likewise.
    """

    health: bytes
    mutual: bytes
    due: float = 0.0
    off: bytes = b""
    linked: dict[str, Suspicion] = {}
    told: dict[str, Suspicion] = {}
    placed: dict[str, Suspicion] = {}
    doubt: bytes = b""
    turn: int = 0
    place_due: float = 0.0


class GatewayWatch:
    """Follows the gateways of one partition.

    Args:
        layout: of the site.
        tells: whether gateways are suspected here; every partition sees every one, one tells.
        state: to go on from.

    Raises:
        ValueError: when the state does not fit the site.
    """

    def __init__(self, layout: Layout, *, tells: bool, state: WatchState | None = None) -> None:
        names = list(layout.gateway_row)
        self._layout: Final = layout
        self._tells: Final = tells
        self.advertiser: Final = {
            part.beacon: row for row, part in enumerate(layout.site.gateways) if part.beacon
        }
        self._links: Links | None = None
        self._places: Places | None = None
        self._offsets: tuple[Calibration | None, Floats] = (None, np.zeros(len(names)))
        if state is None:
            self._health = GatewayHealth(names)
            self._mutual = Mutual(names)
            self._due = 0.0
            self._off = np.full(len(names), _NEVER)
            self._linked: dict[str, Suspicion] = {}
            self._told: dict[str, Suspicion] = {}
            self._placed: dict[str, Suspicion] = {}
            self._doubt = np.zeros(len(names))
            self._turn, self._place_due = 0, 0.0
        else:
            self._health = GatewayHealth.restore(state.health, names)
            self._mutual = Mutual.restore(state.mutual, names)
            self._due = state.due
            self._off = np.frombuffer(state.off, "<f8").copy()
            self._doubt = np.frombuffer(state.doubt, "<f8").copy()
            if (len(self._off), len(self._doubt)) != (len(names), len(names)):
                raise ValueError("the state of the gateways' watch is of another site")
            self._linked, self._told = dict(state.linked), dict(state.told)
            self._placed = dict(state.placed)
            self._turn, self._place_due = state.turn, state.place_due

    def dump(self) -> WatchState:
        """The state."""
        return WatchState(
            self._health.dump(),
            self._mutual.dump(),
            self._due,
            self._off.tobytes(),
            self._linked,
            self._told,
            self._placed,
            self._doubt.tobytes(),
            self._turn,
            self._place_due,
        )

    def hear(self, hearer: Ints, advertiser: Ints, rssi: Floats, n: Floats, t: float) -> None:
        """Takes a tick's readings of gateways' own beacons; columns as `Mutual.update` has them."""
        self._mutual.update(hearer, advertiser, rssi, n, t)
        if not self._due and len(self._mutual):
            self._due = t + FIRST_S

    def follow(
        self,
        locator: Locator,
        calibrator: Calibrator,
        counts: Mapping[str, GatewayCounts],
        latest: Floats,
        online: Bools,
        t: float,
    ) -> list[Event]:
        """Takes a tick that the locator has located; gives what is to be told.

        Args:
            locator: under the calibration that it located with.
            calibrator: which puts on trial what follows from the links.
            counts: batches taken, by gateway.
            latest: highest stamp by gateway, (gateways,).
            online: gateways on line, (gateways,).
            t: the tick's end.
        """
        self._off[~online] = t
        self._health.follow(locator.checked, self._offsets_of(locator.calibration), t)
        judged = self._health.judge(counts, latest, t)
        if self._due and t >= self._due:
            self._due = t + EVERY_S
            self._look_at_links(locator, calibrator, t)
            judged = True
        if self._tells and locator.checked and t >= self._place_due:
            self._place_due = t + PLACE_EVERY_S
            self._look_at_place(locator, calibrator, online, t)
        return self._tell(t) if judged else []

    def fill(self, counts: Mapping[str, GatewayCounts], calibration: Calibration) -> None:
        """Writes what is known into the counts that people see."""
        residual = self._health.residuals(self._offsets_of(calibration))
        share = self._health.shares()
        for name, row in self._layout.gateway_row.items():
            count, told = counts[name], self._told.get(name)
            count.suspect, count.suspect_text = told or ("", "")
            count.residual_db = None if np.isnan(residual[row]) else round(float(residual[row]), 2)
            count.hears = None if np.isnan(share[row]) else round(float(share[row]), 3)

    def forget(self) -> None:
        """Another calibration was given: levels have to be learnt anew."""
        self._health.forget()

    def carry_over(self, before: Site, after: Layout) -> GatewayWatch:
        """The watch under a changed site. What hangs elsewhere by the document begins anew."""
        old = {part.id: part for part in before.gateways}
        new = {part.id: part for part in after.site.gateways}
        anew = frozenset(
            name
            for name, part in new.items()
            if name in old and (part.floor, part.position) != (old[name].floor, old[name].position)
        )
        was = {part.id: row for row, part in enumerate(before.gateways)}
        # A new one has not been on yet.
        off = np.append(self._off, self._mutual.t)[[was.get(name, -1) for name in new]]
        doubt = np.append(self._doubt, 0.0)[[-1 if n in anew else was.get(n, -1) for n in new]]
        state = WatchState(
            self._health.carry_over(list(new), anew).dump(),
            self._mutual.carry_over(before, after.site).dump(),
            self._due,
            off.tobytes(),
            {name: told for name, told in self._linked.items() if name in new and name not in anew},
            {name: told for name, told in self._told.items() if name in new},
            {name: told for name, told in self._placed.items() if name in new and name not in anew},
            doubt.tobytes(),
            0,
            self._place_due,
        )
        return GatewayWatch(after, tells=self._tells, state=state)

    def _look_at_links(self, locator: Locator, calibrator: Calibrator, t: float) -> None:
        if len(self.advertiser) > MOST_ADVERTISERS:
            return
        layout, calibration = self._layout, locator.calibration
        if self._links is None or self._places is None:
            self._links = Links(layout.site)
            self._places = Places(self._links, layout.grid, layout.geometry)
        # One that is back from an outage has no silence to be judged by yet.
        online = t - self._off >= FADE_S
        if self._tells:
            found = find_suspects(self._links, self._mutual.heard(t), self._places, online=online)
            self._linked = {each.gateway: Suspicion(each.reason, each.sentence) for each in found}
        # What was fitted to the work stands back here: which of the two explains new snapshots
        # better is for the trial to say.
        base = prior(calibration.site) if calibration.origin == "work" else calibration
        fitted = calibrate(self._mutual, self._links, t=t, online=online, base=base)
        if fitted is not None and fitted != calibration:
            calibrator.propose(fitted)

    def _look_at_place(
        self, locator: Locator, calibrator: Calibrator, online: Bools, t: float
    ) -> None:
        names = list(self._layout.gateway_row)
        row = self._turn % len(names)
        self._turn = row + 1
        found = seems_at(
            self._layout,
            locator.scene(online).sensing,
            calibrator.snapshots,
            locator.learnt.hears,
            row,
            t,
        )
        if found is None:
            return
        score = min(found.score, SCORE_MOST)
        self._doubt[row] += SCORE_GAIN * (score - self._doubt[row])
        if self._doubt[row] >= MOVED_SCORE and found.away_m >= AWAY_M:
            self._placed[names[row]] = _moved(names[row], found)
        elif self._doubt[row] < WELL_SCORE:
            self._placed.pop(names[row], None)

    def _tell(self, t: float) -> list[Event]:
        if not self._tells:
            return []
        # Places, and then links, tell more exactly what is wrong.
        now = self._health.suspicions() | self._placed | self._linked
        events = []
        for name in self._layout.gateway_row:
            if (name in now) != (name in self._told):
                kind: EventKind = "gateway_suspect" if name in now else "gateway_well"
                text = now[name].text if name in now else ""
                events.append(Event(f"{name}:{kind}:{t:.1f}", kind, t, name, None, text))
        # What was told stays as it was told.
        self._told = {name: self._told.get(name, each) for name, each in now.items()}
        return events

    def _offsets_of(self, calibration: Calibration) -> Floats:
        """What a calibration fitted itself; a survey's offsets are how gateways are."""
        if self._offsets[0] is not calibration:
            names = self._layout.gateway_row
            offsets = np.zeros(len(names))
            if calibration.origin != "survey":
                for name, fit in calibration.gateways.items():
                    if name in names:
                        offsets[names[name]] = fit.offset_db
            self._offsets = calibration, offsets
        return self._offsets[1]


def _moved(name: str, found: Elsewhere) -> Suspicion:
    return Suspicion(
        "moved",
        f"`{name}` hears tags as if it hung at [{found.x:.0f}, {found.y:.0f}], "
        f"{found.away_m:.0f} m from its place in the site; look, and hang it back or correct its "
        f"position",
    )
