"""Which gateway is not as it should be, told from what it hears of tags, and the likely reason.

The locator compares what it heard with the radio model at its own fixes (`stream.residuals`). Per
gateway that gives a level (how much louder than a common gateway it hears), a share of the adverts
it should have heard, and its part of all readings. Each is faded over minutes and held against a
reference that is learnt once and then follows slowly. The rule: what is tested does not depend on
the calibration in use, or a fit would explain a fault away. So a level is residual plus fitted
offset. In event time, without clocks; a fixed number of bytes a gateway.

What is lost shows less than it is: a gateway that went deaf by 15 dB still hears what is near, and
of that the louder adverts, so its level falls by 3 to 5 dB only, its share by a third at most, and
its part of the readings to a third. Hence the score, which adds them up.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.residuals import Checked
from stream.summary import GatewayCounts
from stream.watermark import CURRENT_S

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Reason = Literal["deaf", "obstructed", "clock", "moved"]

# Sums fade with this time constant: a fault is to be named within ten minutes, and minutes of work
# bring enough readings.
FADE_S: Final = 240.0
# Judged this often.
JUDGE_S: Final = 30.0
# A gateway is judged by so many readings of tags; fewer are a beacon or two that lie behind
# something.
LEAST_READINGS: Final = 60.0
# ... and its share by so many adverts that it should have heard.
LEAST_ADVERTS: Final = 200.0
# A reference is used when it has learnt for so long,
LEARN_S: Final = 480.0
# ... and then follows no faster than this an hour: goods that are put elsewhere are got used to in
# a day, a fault is not before somebody has seen the alarm.
FOLLOWS_DB: Final = 0.5
FOLLOWS_SHARE: Final = 0.02
FOLLOWS_LOG: Final = 0.1
# The score is 1 at any of these alone, or at parts of them that add up to it. A fall of level of
# 2.2 dB, of share of 0.07 is seen in halls where nothing is wrong.
SCORE_DB: Final = 4.0
SCORE_SHARE: Final = 0.2
# Its part of the readings counts at most this much: tags go elsewhere, too.
SCORE_PART: Final = 0.4
# It is taken for deaf when its part of the readings fell to this, else for obstructed.
DEAF_PART: Final = 0.6
# It is taken for moved when it misses adverts that it should hear, and what it hears is louder by
# this than before.
LOUDER_DB: Final = 2.0
# ... or, without a reference, when its residuals scatter so many times as the site's common
# gateway's do, and it hears such a part of the share that that one hears. In 10 simulated halls no
# sound gateway had both at once, with up to 2.5 and down to 0.06 of one alone; of 9 that hung 12 m
# off in the middle of a hall 8 had.
SCATTER: Final = 1.6
SCATTER_SHARE: Final = 0.6
SCATTER_HOLDS_S: Final = 120.0
# One that was named stays so until it is better than this in one of them.
SCATTER_STILL: Final = 1.3
SCATTER_SHARE_STILL: Final = 0.85
# Without a reference: so far below the site's common gateway. Sound ones are seen to 7 dB below.
DEAF_DB: Final = 9.0
# A score must hold for so long: a pallet that stands in the way for a moment is no fault. What is
# obstructed stays so; what is deaf cannot wait.
DEAF_HOLDS_S: Final = 60.0
OBSTRUCTED_HOLDS_S: Final = 600.0
# It is well again when its score has been below this for so long.
WELL_SCORE: Final = 0.6
WELL_S: Final = 300.0
# A clock is named when in this part of the time most of its batches came late, for so long. A
# backlog after an outage comes within a minute.
LATE_SHARE: Final = 0.5
LATE_S: Final = 240.0

NONE: Final = 0
REASONS: Final[tuple[Reason | None, ...]] = (None, "deaf", "obstructed", "clock", "moved")
_DEAF: Final = 1
_OBSTRUCTED: Final = 2
_CLOCK: Final = 3
_MOVED: Final = 4

GATEWAY: Final = np.dtype(
    [
        ("count", "<f8"),  # readings, fading, as are the next four
        ("level", "<f8"),  # sum of residual and fitted offset, dB
        ("square", "<f8"),  # sum of squared residuals, dB2
        ("heard", "<f8"),  # adverts over links that are loud without doubt
        ("expected", "<f8"),
        ("learnt", "<f8"),  # seconds that the reference has learnt for
        ("level_was", "<f8"),  # reference, dB above the site's median
        ("share_was", "<f8"),
        ("part_was", "<f8"),  # natural logarithm of its part of all readings
        ("late", "<f8"),  # faded seconds in which most of its batches came late, of
        ("timed", "<f8"),  # ... those in which any came
        ("lead", "<f8"),  # faded mean of seconds by which its stamps lead the site's median
        ("batches", "<f8"),  # counted up to the last judgement
        ("lates", "<f8"),
        ("bad", "<f8"),  # seconds that its score was 1 or more
        ("calm", "<f8"),  # seconds that a suspect looks well
        ("fall", "<f8"),  # dB, at the last judgement, for people
        ("share", "<f8"),  # likewise
        ("fewer", "<f8"),  # how much smaller its part of the readings is, 0 to 1, likewise
        ("reason", "<u1"),  # what it is suspected of
    ]
)
# What another calibration does not change.
_KEPT: Final = frozenset(
    ("reason", "fall", "share", "fewer", "late", "timed", "lead", "batches", "lates")
)
_HEADER: Final = struct.Struct("<4sIdd")
_MAGIC: Final = b"hea1"
_HOUR_S: Final = 3_600.0
_LONGEST_S: Final = 60.0


class Suspicion(NamedTuple):
    """What a gateway is suspected of, and a sentence for people."""

    reason: str
    text: str


class Seen(NamedTuple):
    """How gateways look now; NaN where too little was heard. Columns (gateways,).

    Attributes:
        level: dB above the site's median.
        share: of the adverts that it should have heard.
        part: natural logarithm of its part of the readings.
    """

    level: Floats
    share: Floats
    part: Floats


class GatewayHealth:
    """Follows the gateways of one site.

    Args:
        gateways: ids in the site's order; rows refer to it.
    """

    def __init__(self, gateways: Sequence[str]) -> None:
        self._names: Final = list(gateways)
        self._rows = np.zeros(len(self._names), GATEWAY)
        self._t = 0.0
        self._due = 0.0

    def follow(self, checked: Sequence[Checked], offsets: Floats, t: float) -> None:
        """Takes a tick.

        Args:
            checked: what the locator compared in it.
            offsets: fitted by the calibration that it was compared with, dB, (gateways,).
            t: the tick's end, Unix seconds; never before an earlier one's.
        """
        rows = self._rows
        fade = np.exp(-max(t - self._t, 0.0) / FADE_S)
        self._t = max(self._t, t)
        for name in ("count", "level", "square", "heard", "expected"):
            rows[name] *= fade
        for each in checked:
            rows["count"] += each.readings
            rows["level"] += each.residual + each.readings * offsets
            rows["square"] += each.square
            rows["heard"] += each.heard
            rows["expected"] += each.expected

    def judge(self, counts: Mapping[str, GatewayCounts], latest: Floats, t: float) -> bool:
        """Judges all gateways when it is time to; whether it was.

        Args:
            counts: batches taken so far, by gateway.
            latest: highest stamp per gateway, Unix seconds, 0 when never heard; (gateways,).
            t: as in `follow`.
        """
        if t < self._due:
            return False
        step = JUDGE_S if self._due == 0.0 else min(t - self._due + JUDGE_S, _LONGEST_S)
        self._due = t + JUDGE_S
        clock = self._judge_clocks(counts, latest, step)
        self._judge_hearing(step, clock)
        return True

    def suspicions(self) -> dict[str, Suspicion]:
        """The gateways that are suspected, in the site's order."""
        found = {}
        for row in np.flatnonzero(self._rows["reason"]).tolist():
            found[self._names[row]] = self._suspicion(row)
        return found

    def residuals(self, offsets: Floats) -> Floats:
        """Faded mean residual under a calibration with these offsets, dB; NaN where unknown."""
        rows = self._rows
        mean = rows["level"] / np.maximum(rows["count"], 1.0) - offsets
        return np.where(rows["count"] >= 1.0, mean, np.nan)

    def shares(self) -> Floats:
        """Share of the adverts that each should have heard and did; NaN where unknown."""
        rows = self._rows
        share = rows["heard"] / np.maximum(rows["expected"], 1.0)
        return np.where(rows["expected"] >= LEAST_ADVERTS, np.minimum(share, 1.0), np.nan)

    def forget(self) -> None:
        """Forgets sums and references, for levels mean something else now; suspicions stay."""
        for name in GATEWAY.names or ():
            if name not in _KEPT:
                self._rows[name] = 0.0

    def dump(self) -> bytes:
        """The state as bytes."""
        return _HEADER.pack(_MAGIC, len(self._names), self._t, self._due) + self._rows.tobytes()

    @classmethod
    def restore(cls, blob: bytes, gateways: Sequence[str]) -> GatewayHealth:
        """The state as it was at `dump`, of the same gateways.

        Raises:
            ValueError: when the bytes are no such state.
        """
        health = cls(gateways)
        whole = _HEADER.size + len(gateways) * GATEWAY.itemsize
        if len(blob) != whole or blob[:4] != _MAGIC:
            raise ValueError("the state of the gateways' health is of another kind")
        _, _, health._t, health._due = _HEADER.unpack_from(blob)
        health._rows = np.frombuffer(blob, GATEWAY, offset=_HEADER.size).copy()
        return health

    def carry_over(self, gateways: Sequence[str], anew: frozenset[str]) -> GatewayHealth:
        """The state under a changed site; gateways in `anew` begin blank, as new ones do."""
        was = {name: row for row, name in enumerate(self._names) if name not in anew}
        health = GatewayHealth(gateways)
        health._t, health._due = self._t, self._due
        for row, name in enumerate(gateways):
            if name in was:
                health._rows[row] = self._rows[was[name]]
        return health

    # -- Clocks --------------------------------------------------------------------------------

    def _judge_clocks(
        self, counts: Mapping[str, GatewayCounts], latest: Floats, step: float
    ) -> Bools:
        """Gateways whose batches come late for most of the time, or whose stamps make others'."""
        rows = self._rows
        batches, lates = (
            np.array([getattr(counts[name], what) for name in self._names], np.float64)
            for what in ("batches", "late")
        )
        came, late = batches - rows["batches"], lates - rows["lates"]
        rows["batches"], rows["lates"] = batches, lates
        fade = np.exp(-step / FADE_S)
        rows["timed"] = fade * rows["timed"] + step * (came > 0.0)
        rows["late"] = fade * rows["late"] + step * ((came > 0.0) & (late > 0.5 * came))
        heard = latest > 0.0
        middle = float(np.median(latest[heard])) if heard.any() else 0.0
        lead = np.where(heard, np.clip(latest - middle, -_LONGEST_S, _LONGEST_S), 0.0)
        rows["lead"] += (1.0 - fade) * (lead - rows["lead"])
        # A fading sum that has run for LATE_S, and never less than half of it.
        known = rows["timed"] >= FADE_S * (1.0 - np.exp(-LATE_S / FADE_S))
        share = rows["late"] / np.maximum(rows["timed"], 1.0)
        tardy = known & (share > LATE_SHARE)
        if tardy.sum() > 0.5 * max(known.sum(), 1):
            # Not most clocks are wrong: a few run ahead, and all others seem late to them.
            tardy = known & (rows["lead"] >= CURRENT_S) & ~tardy
        wrong: Bools = tardy
        return wrong

    # -- Hearing -------------------------------------------------------------------------------

    def _now(self) -> Seen:
        rows = self._rows
        enough = rows["count"] >= LEAST_READINGS
        level = np.where(enough, rows["level"] / np.maximum(rows["count"], 1.0), np.nan)
        middle = np.nanmedian(level) if enough.any() else 0.0
        total = max(float(rows["count"].sum()), 1.0)
        # One that hears next to nothing has a part, too.
        part = np.log(np.maximum(rows["count"], 1.0) / total)
        part = np.where(total >= LEAST_READINGS * 4.0, part, np.nan)
        return Seen(level - middle, self.shares(), part)

    def _judge_hearing(self, step: float, clock: Bools) -> None:
        rows, now = self._rows, self._now()
        known = np.isfinite(now.level)
        ready = rows["learnt"] >= LEARN_S
        fall, share, part = self._falls(now, ready)
        score = np.maximum(fall / SCORE_DB, 0.0) + np.maximum(share / SCORE_SHARE, 0.0)
        scored = score + np.clip((part - 1.0) * SCORE_PART, 0.0, SCORE_PART)
        # Without any sign of its own an empty aisle is no fault.
        score = np.where(score >= 0.4, scored, score)
        low = known & (now.level <= -DEAF_DB)
        scatters = self._scatters(now, SCATTER, SCATTER_SHARE)
        still = self._scatters(now, SCATTER_STILL, SCATTER_SHARE_STILL)
        score = np.where(low | scatters, np.maximum(score, 1.0), np.where(ready, score, 0.0))
        score = np.where(still & (rows["reason"] == _MOVED), np.maximum(score, WELL_SCORE), score)
        judged = (known | (ready & np.isfinite(now.share))) & ~clock
        rows["bad"] = np.where(judged & (score >= 1.0), rows["bad"] + step, 0.0)
        is_deaf = low | (part >= -np.log(DEAF_PART))
        named = np.where(rows["bad"] > OBSTRUCTED_HOLDS_S, _OBSTRUCTED, NONE)
        named = np.where(is_deaf & (rows["bad"] > DEAF_HOLDS_S), _DEAF, named)
        # What hears louder and misses more than before hears from elsewhere.
        elsewhere = known & ~low & (fall <= -LOUDER_DB) & (rows["bad"] > DEAF_HOLDS_S)
        elsewhere |= scatters & (rows["bad"] > SCATTER_HOLDS_S)
        named = np.where(elsewhere, _MOVED, named)
        named = np.where(clock, _CLOCK, named)
        fresh = (named != NONE) & (rows["reason"] == NONE)
        rows["reason"] = np.where(fresh, named, rows["reason"])
        # One that became deaf while it was taken for obstructed, or the reverse, keeps its name.
        well = np.where(rows["reason"] == _CLOCK, ~clock, judged & (score < WELL_SCORE))
        rows["calm"] = np.where(
            (rows["reason"] != NONE) & well, rows["calm"] + step, np.where(well, rows["calm"], 0.0)
        )
        over = rows["calm"] >= WELL_S
        rows["reason"][over] = NONE
        rows["calm"][over | (rows["reason"] == NONE)] = 0.0
        told = known & (rows["reason"] != NONE)
        rows["fall"] = np.where(told, np.where(low, -now.level, fall), rows["fall"])
        rows["fewer"] = np.where(told & ready, 1.0 - np.exp(-part), rows["fewer"])
        rows["share"] = np.where(np.isfinite(now.share), now.share, rows["share"])
        self._learn(now, known, step)

    def _scatters(self, now: Seen, times: float, part: float) -> Bools:
        """Gateways whose residuals scatter so many times as others', and that hear such a part."""
        rows = self._rows
        known = np.isfinite(now.level) & np.isfinite(now.share)
        if not known.any():
            return known
        spread = np.sqrt(rows["square"] / np.maximum(rows["count"], 1.0))
        wide = spread >= times * np.median(spread[np.isfinite(now.level)])
        found: Bools = known & wide & (now.share <= part * np.median(now.share[known]))
        return found

    def _falls(self, now: Seen, ready: Bools) -> tuple[Floats, Floats, Floats]:
        """How far level, share and part are below their references; 0 where not known."""
        rows = self._rows
        falls = []
        for name, value in (("level", now.level), ("share", now.share), ("part", now.part)):
            was = rows[f"{name}_was"]
            fall = np.where(ready & np.isfinite(was), was - value, np.nan)
            # What all share is the site's: other tags, another calibration.
            common = np.nanmedian(fall) if np.isfinite(fall).any() else 0.0
            falls.append(np.nan_to_num(fall - common))
        return falls[0], falls[1], falls[2]

    def _learn(self, now: Seen, known: Bools, step: float) -> None:
        rows = self._rows
        ready = rows["learnt"] >= LEARN_S
        gain = step / (rows["learnt"] + step)
        limits = (FOLLOWS_DB, FOLLOWS_SHARE, FOLLOWS_LOG)
        for name, value, limit in zip(("level", "share", "part"), now, limits, strict=True):
            was = rows[f"{name}_was"]
            # What was not known while the rest was learnt begins with what it is.
            begins = (rows["learnt"] == 0.0) | ~np.isfinite(was)
            away = np.where(begins, 0.0, value - was)
            most = limit * step / _HOUR_S
            moved = np.where(ready, np.clip(away, -most, most), gain * away)
            fresh = np.where(begins, value, was + moved)
            rows[f"{name}_was"] = np.where(known & (begins | np.isfinite(value)), fresh, was)
        rows["learnt"] = np.where(known, np.minimum(rows["learnt"] + step, LEARN_S), rows["learnt"])

    # -- For people ----------------------------------------------------------------------------

    def _suspicion(self, row: int) -> Suspicion:
        each, name = self._rows[row], self._names[row]
        reason = REASONS[int(each["reason"])] or ""
        if reason == "clock":
            lead = float(each["lead"])
            if lead >= CURRENT_S:
                return Suspicion(
                    reason,
                    f"`{name}` stamps its readings {lead:.0f} s ahead of the others, so that "
                    f"theirs come late; set its clock (NTP)",
                )
            return Suspicion(
                reason,
                f"most batches of `{name}` come too late for their tick; set its clock (NTP), and "
                f"look at its network",
            )
        if reason == "moved":
            return Suspicion(
                reason,
                f"`{name}` hears some tags louder than its place explains, and of those near to it "
                f"only {100.0 * float(each['share']):.0f} % of the adverts; see whether it was "
                f"moved or taken for another one, and correct its position",
            )
        fewer, fall = 100.0 * float(each["fewer"]), float(each["fall"])
        hears = f"{fall:.0f} dB weaker than others do"
        if fewer >= 5.0:
            hears = f"{fall:.0f} dB weaker and {fewer:.0f} % fewer than before"
        share = f"{100.0 * float(each['share']):.0f} % of the adverts that it surely should"
        if reason == "deaf":
            return Suspicion(
                reason,
                f"`{name}` hears tags {hears}, and {share}; look at its antenna and its case, and "
                f"start its radio again",
            )
        return Suspicion(
            reason,
            f"`{name}` hears tags {hears}, and {share}; see what was put before it",
        )
