"""Which gateway is not as it should be, and why, from what gateways hear of each other.

Two kinds of test. Against its own reference a gateway needs no model: shadowing is the same before
and after, and a change of some dB in most of its links is one. Without a reference the fitted model
must do, from which every link is off by the shadowing, for good: only a gateway whose links are
explained far better otherwise is named. A gateway is named once, by the first that fits: deaf and
quiet leave the other direction alone, moved changes both, obstructed lowers both towards one side.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stream.mutual import LEARN_S, Heard
from stream.mutual_fit import LinkFit, fit_links
from stream.mutual_links import (
    LEAST_COUNT,
    Links,
    Paths,
    online_of,
    paths_of,
    sends_of,
    true_levels,
)
from stream.mutual_places import Better, Places, ends_of

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

Reason = Literal["moved", "mis-surveyed", "deaf", "quiet transmitter", "obstructed"]

# Links by which a gateway is judged, at least.
LEAST_LINKS: Final = 4
# A change of one direction, by its median over links; the other direction may change by so much.
FALL_DB: Final = 6.0
STEADY_DB: Final = 3.0
# What shows at all on a faint link.
FELL_DB: Final = 2.0
# A link that changed: goods and doors do that much to some links, to most they do less.
CHANGE_DB: Final = 5.0
# Links that fell one way and not the other: two are enough, for nothing on the way does that.
ONE_WAY_LINKS: Final = 2
# A gateway that hangs elsewhere changes the links to what is near; those to what is far stay nearly
# as they were. So many links, such a part of its links, and so many times what others' links do.
CHANGED_LINKS: Final = 3
CHANGED_SHARE: Final = 0.15
CHANGED_TIMES: Final = 4.0
# A link is lost when this part of what was heard of it is left.
LOST: Final = 0.3
LOST_BELOW_DB: Final = 2.0
# A sector has this many links or more within so many degrees.
SECTOR_LINKS: Final = 3
SECTOR_DEG: Final = 150.0
# Hearing minus sending differs between sound gateways by 3 to 3.6 dB (standard deviation): three
# of those, or three and a half of what the site shows.
ODD_DB: Final = 10.5
ODD_SPREADS: Final = 3.3
ODD_ALONE_DB: Final = 7.5
# Log likelihood ratio for another place, and how far it must be. Shadowing of 3 to 9 dB looks like
# another place now and then, and stays. Of 800 simulated halls of 24 gateways, shadowing drawn
# from that range, with racks and without, 9 had one gateway named (7 of them misplaced, 2 deaf).
GAIN: Final = 11.5
AWAY_M: Final = 5.0
# The same for a gateway whose links did change.
MOVED_GAIN: Final = 2.0
MOVED_AWAY_M: Final = 2.5
# More than this at once is no site with faults but a document with another site's places.
MOST_SUSPECTS: Final = 16


class Suspect(msgspec.Struct, frozen=True):
    """A gateway that is not as it should be.

    Attributes:
        gateway: its id.
        reason: the likely one.
        sentence: what it looks like and what to do, for people.
        evidence: numbers by name: dB, metres, links.
        floor: id of the floor where it seems to hang, for moved and mis-surveyed.
        position: [x, y] there, metres.
    """

    gateway: str
    reason: Reason
    sentence: str
    evidence: dict[str, float]
    floor: str | None = None
    position: tuple[float, float] | None = None


class _Changes(NamedTuple):
    """dB against the reference; NaN where nothing can be said. (hearers, advertisers)."""

    hears: Floats
    both: Floats


def find_suspects(
    links: Links, heard: Heard, places: Places, *, online: Bools | None = None
) -> list[Suspect]:
    """Tests all gateways; in the site's order.

    Args:
        links: the site's.
        heard: what was heard, with its references.
        places: where gateways are looked for.
        online: gateways that were on for the last FADE_S, (G,): one that is back from an outage
            is no suspect yet. None takes those that hear much, so that one that hears next to
            nothing is not found.
    """
    if online is None:
        online = online_of(heard)
    fit = fit_links(links, heard, online=online)
    if fit is None:
        return []
    case = _Case(links, heard, places, online)
    case.changed(fit)
    case.odd(fit)
    case.misplaced(fit)
    return [case.found[row] for row in sorted(case.found)]


class _Case:
    """The tests of one moment; `found` by gateway row."""

    def __init__(self, links: Links, heard: Heard, places: Places, online: Bools) -> None:
        self._links: Final = links
        self._heard: Final = heard
        self._places: Final = places
        self._online: Final = online
        self._names: Final = [part.id for part in links.site.gateways]
        self._nobody: Final = np.zeros(len(self._names), np.bool_)
        self.found: Final[dict[int, Suspect]] = {}

    # -- Against the reference -----------------------------------------------------------------

    def changed(self, fit: LinkFit) -> None:
        """Deaf, quiet, moved and obstructed gateways: the one that changed most comes first."""
        hears = _changes(self._links, self._heard, self._online, fit.limit_dbm)
        for _ in range(MOST_SUSPECTS):
            both = np.where(np.isnan(hears), hears.T, np.where(np.isnan(hears.T), hears, 0.0))
            both = np.where(np.isnan(hears) | np.isnan(hears.T), both, (hears + hears.T) / 2.0)
            changes = _Changes(hears, both)
            scores = [self._score(row, changes) for row in range(len(hears))]
            row = int(np.argmax(scores))
            if scores[row] <= 0.0:
                return
            suspect = self._changed(row, changes, fit)
            if suspect is not None:
                self.found[row] = suspect
            # Its links are explained, or cannot be: they do not count against their other ends.
            hears = hears.copy()
            hears[row], hears[:, row] = np.nan, np.nan

    def _score(self, row: int, changes: _Changes) -> float:
        """How much speaks for a change of this gateway; 0 is nothing."""
        rx, tx, both = _columns(row, changes)
        one_way = 0.0
        if _is_one_way(rx, tx) or _is_one_way(tx, rx):
            one_way = 1.0 + abs(_median(rx) - _median(tx)) / 100.0
        odd = np.abs(both) >= CHANGE_DB
        if odd.sum() < CHANGED_LINKS:
            return one_way
        # How many links change elsewhere: goods that were put away change some of them all.
        rest = np.delete(np.delete(changes.both, row, axis=0), row, axis=1)
        usual = float((np.abs(rest[np.isfinite(rest)]) >= CHANGE_DB).sum())
        usual /= max(float(np.isfinite(rest).sum()), 1.0)
        enough = float(odd.mean()) >= max(CHANGED_SHARE, CHANGED_TIMES * usual)
        return max(one_way, float(odd.mean()) if enough else 0.0)

    def _changed(self, row: int, changes: _Changes, fit: LinkFit) -> Suspect | None:
        name = self._names[row]
        rx, tx, both = _columns(row, changes)
        if _is_one_way(rx, tx):
            return _one_way(name, "deaf", _fall(rx), _median(tx), len(rx), "than before")
        if _is_one_way(tx, rx):
            return _one_way(
                name, "quiet transmitter", _median(rx), _fall(tx), len(tx), "than before"
            )
        sector = self._sector(row, changes.both[row])
        if sector is not None:
            return sector
        evidence = {
            "changed_links": float((np.abs(both) >= CHANGE_DB).sum()),
            "links": float(len(both)),
            "change_db": float(np.abs(both).mean()),
        }
        better = self._better(row, fit, self._paths(self._nobody))
        if better and better.gain >= MOVED_GAIN and better.away_m >= MOVED_AWAY_M:
            return self._elsewhere(row, "moved", better, evidence)
        rounded = {key: round(value, 1) for key, value in evidence.items()}
        if _median(both) <= -FALL_DB:
            return Suspect(
                name,
                "obstructed",
                f"`{name}` hears and is heard {-_median(both):.0f} dB less than before on all "
                f"sides; see whether something covers it or its antenna came off",
                rounded,
            )
        return Suspect(
            name,
            "moved",
            f"`{name}` hears and is heard differently than before, by {evidence['change_db']:.0f} "
            f"dB; see whether it was moved or turned, or what was put beside it",
            rounded,
        )

    def _sector(self, row: int, change: Floats) -> Suspect | None:
        fell = np.flatnonzero(change <= -FALL_DB)
        steady = np.flatnonzero(np.abs(change) < STEADY_DB)
        same = self._links.floor == self._links.floor[row]
        fell, steady = fell[same[fell]], steady[same[steady]]
        if len(fell) < SECTOR_LINKS or len(steady) < 2 or (change >= FALL_DB).sum() > 1:
            return None
        away = self._links.place[:, :2] - self._links.place[row, :2]
        bearing = np.degrees(np.arctan2(away[:, 1], away[:, 0]))
        middle = np.degrees(np.angle(np.exp(1j * np.radians(bearing[fell])).sum()))
        off = np.abs((bearing - middle + 180.0) % 360.0 - 180.0)
        if off[fell].max() > SECTOR_DEG / 2.0 or (off[steady] <= off[fell].max()).sum() > 1:
            return None
        name, fall = self._names[row], -float(change[fell].mean())
        towards = ", ".join(f"`{self._names[j]}`" for j in fell[:4])
        return Suspect(
            name,
            "obstructed",
            f"`{name}` hears and is heard {fall:.0f} dB less than before towards {towards}, and as "
            f"before elsewhere; see what was put there",
            {"change_db": round(-fall, 1), "links": float(len(fell)), "bearing_deg": round(middle)},
        )

    # -- Against the model ---------------------------------------------------------------------

    def odd(self, fit: LinkFit) -> None:
        """Gateways that hear far less than they are heard, or the reverse."""
        heard = self._heard.adverts >= LEAST_COUNT
        paths = paths_of(self._links, self._heard, self._online, self._nobody)
        apart = np.bincount(
            np.concatenate([paths.i, paths.j]),
            np.tile(paths.to_i_known | paths.to_j_known, 2),
            len(heard),
        )
        differ = fit.hear_db - fit.send_db
        judged = (apart >= LEAST_LINKS) & self._links.advertises
        if judged.sum() < LEAST_LINKS:
            return
        differ = differ - np.median(differ[judged])
        spread = 1.4826 * float(np.median(np.abs(differ[judged])))
        limit = max(ODD_DB, ODD_SPREADS * spread)
        hears, sends = (v - float(np.median(v[judged])) for v in (fit.hear_db, fit.send_db))
        for row in np.flatnonzero(judged & (np.abs(differ) >= limit)).tolist():
            if row in self.found:
                continue
            name, rx, tx = self._names[row], float(hears[row]), float(sends[row])
            if differ[row] < 0.0 and rx <= -ODD_ALONE_DB:
                what: Reason = "deaf"
            elif differ[row] > 0.0 and tx <= -ODD_ALONE_DB:
                what = "quiet transmitter"
            else:
                continue
            self.found[row] = _one_way(name, what, rx, tx, int(apart[row]), "than others")

    def misplaced(self, fit: LinkFit) -> None:
        """Gateways that another place explains far better, the clearest first."""
        skip = set(self.found)
        without = self._nobody.copy()
        for row in skip:
            without[row] = True
        start = len(self.found)
        ranked: list[tuple[float, int]] | None = None
        for _ in range(MOST_SUSPECTS):
            paths = self._paths(without)
            if ranked is None:
                ranked = self._ranked(fit, paths, skip)
            if not ranked:
                break
            row = ranked.pop()[1]
            skip.add(row)
            # Again, by a model that it has not bent.
            apart = without.copy()
            apart[row] = True
            refit = fit_links(self._links, self._heard, online=self._online, without=apart)
            better = self._better(row, refit, paths) if refit else None
            if refit and better and better.gain >= GAIN and better.away_m >= AWAY_M:
                self.found[row] = self._elsewhere(row, "mis-surveyed", better, {})
                without, fit, ranked = apart, refit, None
        if len(self.found) - start > 1:
            self._swapped()

    def _ranked(self, fit: LinkFit, paths: Paths, skip: set[int]) -> list[tuple[float, int]]:
        """Gateways that another place explains better at all, the clearest last."""
        ranked = []
        for row in range(len(self._names)):
            better = None if row in skip else self._better(row, fit, paths)
            if better and better.away_m >= AWAY_M and better.gain >= GAIN / 2.0:
                ranked.append((better.gain, row))
        return sorted(ranked)

    def _paths(self, without: Bools) -> Paths:
        return paths_of(self._links, self._heard, self._online, without, everywhere=True)

    def _better(self, row: int, fit: LinkFit, paths: Paths) -> Better | None:
        ends = ends_of(row, paths, fit)
        if int((~ends.bound).sum()) < LEAST_LINKS:
            return None
        return self._places.better(row, ends, fit)

    def _elsewhere(
        self, row: int, reason: Reason, better: Better, evidence: dict[str, float]
    ) -> Suspect:
        name, floor = self._names[row], self._links.site.floors[better.floor].id
        where = f"[{better.x:.1f}, {better.y:.1f}] on floor `{floor}`"
        far = f"{better.away_m:.0f} m from" if np.isfinite(better.away_m) else "not on the floor of"
        if reason == "moved":
            sentence = (
                f"`{name}` was moved: its links have changed and now fit {where}, {far} its place "
                f"in the site; hang it back, or correct its position"
            )
        else:
            sentence = (
                f"`{name}` seems to hang at {where}, {far} its place in the site; look, and "
                f"correct its position"
            )
        evidence = evidence | {"log_likelihood_ratio": better.gain}
        if np.isfinite(better.away_m):
            evidence["away_m"] = better.away_m
        rounded = {key: round(value, 2) for key, value in evidence.items()}
        return Suspect(
            name, reason, sentence, rounded, floor, (round(better.x, 2), round(better.y, 2))
        )

    def _swapped(self) -> None:
        """Says of two gateways that seem to hang at each other's place that they do."""
        rows = [row for row, each in self.found.items() if each.reason == "mis-surveyed"]
        for row in rows:
            mine = self.found[row].position
            if mine is None:
                continue
            gaps = {
                other: float(np.hypot(*(self._links.place[other, :2] - mine)))
                for other in rows
                if other != row
            }
            near = min(gaps, key=lambda other: gaps[other])
            apart = float(np.hypot(*(self._links.place[near] - self._links.place[row])[:2]))
            if gaps[near] <= apart / 3.0:
                other, name = self._names[near], self._names[row]
                self.found[row] = msgspec.structs.replace(
                    self.found[row],
                    sentence=f"`{name}` seems to hang where the site has `{other}`; look whether "
                    f"the two were mistaken for each other, and correct their positions",
                )


def _changes(links: Links, heard: Heard, online: Bools, limit: float) -> Floats:
    """DB that each hearer hears each advertiser louder than before, NaN where it is not known."""
    known = (heard.learnt >= LEARN_S) & (heard.reference_share >= 0.5) & ~links.near
    now = true_levels(heard.level, heard.share)
    before = true_levels(heard.reference, heard.reference_share)
    change = np.where(known & (heard.adverts >= LEAST_COUNT), now - before, np.nan)
    gone = heard.share < LOST * heard.reference_share
    alive = online[:, None] & (online & sends_of(heard))
    # All that is known of a lost link is that it is below the limit, where half would be heard.
    lost = known & gone & alive
    change = np.where(lost, np.minimum(limit - LOST_BELOW_DB - before, 0.0), change)
    # Of one that was at the limit it means little.
    change[lost & (change > -FELL_DB)] = np.nan
    common = np.nanmedian(change) if np.isfinite(change).any() else 0.0
    out: Floats = change - common
    return out


def _columns(row: int, changes: _Changes) -> tuple[Floats, Floats, Floats]:
    """What is known of how a gateway hears, how it is heard, and of both together."""
    rx, tx, both = (
        column[np.isfinite(column)]
        for column in (changes.hears[row], changes.hears[:, row], changes.both[row])
    )
    return rx, tx, both


def _is_one_way(fallen: Floats, steady: Floats) -> bool:
    """Whether one direction fell and the other did not; what lies between lowers both."""
    return (
        len(fallen) >= ONE_WAY_LINKS
        and len(steady) > 0
        # Faint links cannot show how far they fell: a third must, and nearly all have to fall.
        and _fall(fallen) <= -FALL_DB
        and float(np.quantile(fallen, 0.8)) <= -FELL_DB
        and _median(steady) > -STEADY_DB
    )


def _fall(values: Floats) -> float:
    """How far links fell, by those that can show it."""
    return float(np.quantile(values, 1.0 / 3.0)) if len(values) else 0.0


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _one_way(
    name: str, reason: Reason, hears: float, sends: float, links: int, than: str
) -> Suspect:
    evidence = {"hears_db": round(hears, 1), "is_heard_db": round(sends, 1), "links": float(links)}
    if reason == "deaf":
        sentence = (
            f"`{name}` hears at least {-hears:.0f} dB less {than}, and others hear it well; look "
            f"at its antenna and its case, and start its radio again"
        )
    else:
        sentence = (
            f"`{name}` is heard at least {-sends:.0f} dB less {than}, and hears others well; look "
            f"at its sending power and its antenna"
        )
    return Suspect(name, reason, sentence, evidence)
