"""An engine that fits itself on schedule, for tests of what is around it.

Its fixes tell which calibration was in use: their accuracy is its `offset_dbm`, turned positive.
Every so many ticks it takes a calibration of its own into use, as the real one does when it has
heard enough; what it needs to go on is in its state, as the real one's is.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Self

import msgspec
import pytest

from gateway.readings import Batch
from stream import holding
from stream.calibration import Calibration, encode_calibration, parse_calibration, prior
from stream.engine import Engine, Step
from stream.fixes import TickFixes
from stream.site import Site
from stream.state import stored_version

_SOURCE: Final = "the state"


def own_fit(site: str, number: int, t: float) -> Calibration:
    """What it fits the n-th time."""
    return Calibration(1, site, "work", t, 100 * number, -70.0 - number)


class FittingEngine(Engine):
    """See above.

    Attributes:
        every: ticks between fits; 0 for never.
    """

    every: ClassVar[int] = 0

    def __init__(
        self,
        site: Site,
        version: int,
        partition: int = 0,
        partitions: int = 1,
        calibration: Calibration | None = None,
        calibration_number: int = 0,
    ) -> None:
        super().__init__(site, version, partition, partitions, calibration, calibration_number)
        self._place: Final = site.id
        self._used = calibration or prior(site.id)
        self._mine: Calibration | None = None
        self._count = 0
        self._fits = 0
        self._final: list[TickFixes] = []
        self._fitted: list[Calibration] = []
        self._rest: tuple[list[Any], list[str]] = ([], [])

    def feed(self, batch: Batch, token: str) -> None:
        """As the engine's; then stamps what became final, and fits."""
        super().feed(batch, token)
        step = super().take()
        self._rest[0].extend(step.events)
        self._rest[1].extend(step.done)
        for tick in step.ticks:
            fixes = tick.fixes.copy()
            fixes["accuracy"] = -(self._mine or self._used).offset_dbm
            self._final.append(tick._replace(fixes=fixes))
            self._count += 1
            if self.every and self._count % self.every == 0:
                self._fits += 1
                self._mine = own_fit(self._place, self._fits, tick.t)
                self._fitted.append(self._mine)

    def change_calibration(self, calibration: Calibration, number: int, token: str) -> None:
        """As the engine's; its own fit is dropped for a newer version."""
        if number > self.calibration_number:
            self._used, self._mine = calibration, None
        super().change_calibration(calibration, number, token)

    def take(self) -> Step:
        """As the engine's, with what it fitted."""
        step = super().take()
        events, done = self._rest
        whole = step._replace(
            ticks=self._final + step.ticks,
            events=events + step.events,
            done=done + step.done,
            calibrations=self._fitted,
        )
        self._final, self._fitted, self._rest = [], [], ([], [])
        return whole

    def dump(self) -> bytes:
        """The engine's state, and its own."""
        own = None if self._mine is None else encode_calibration(self._mine)
        return msgspec.msgpack.encode(
            [super().dump(), self.calibration_number, own, self._count, self._fits]
        )

    @classmethod
    def restore(
        cls,
        blob: bytes,
        site: Site,
        version: int,
        partition: int = 0,
        partitions: int = 1,
        calibration: Calibration | None = None,
    ) -> Self:
        """What `dump` gave; needs the site's calibration of the number in it."""
        inner, number, own, count, fits = msgspec.msgpack.decode(blob)
        made = super().restore(inner, site, version, partition, partitions, calibration)
        used = calibration or prior(site.id)
        made.change_calibration(used, number, "")
        made.take()
        made._used, made._count, made._fits = used, count, fits
        made._mine = None if own is None else parse_calibration(own, _SOURCE)
        return made


def use_fitting_engine(monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    """Workers of this process use it from now on."""
    monkeypatch.setattr(FittingEngine, "every", every)
    monkeypatch.setattr(holding, "Engine", FittingEngine)
    monkeypatch.setattr(
        holding, "stored_version", lambda blob: stored_version(msgspec.msgpack.decode(blob)[0])
    )
    monkeypatch.setattr(
        holding, "stored_calibration", lambda blob: int(msgspec.msgpack.decode(blob)[1])
    )
