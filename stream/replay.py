"""Replay: a recording through the very same engine as the workers, offline, as fast as it can."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gateway.readings import Batch
from stream.engine import Engine
from stream.fixes import TickFixes
from stream.site import Site
from stream.summary import Summary


class Replayed(NamedTuple):
    """What a replay gave: its ticks in order, and the engine's counts at the end."""

    ticks: list[TickFixes]
    summary: Summary


def replay_ticks(
    site: Site, batches: Iterable[Batch], engine: Engine | None = None
) -> Iterator[TickFixes]:
    """The ticks of a recording, in order; at its end what still waits is located too.

    Args:
        site: the site, as its version 1.
        batches: in the recording's order.
        engine: the engine to use, for a caller that wants its counts; a new one by default.
    """
    engine = engine or Engine(site, 1)
    for number, batch in enumerate(batches):
        engine.feed(batch, str(number))
        yield from engine.take().ticks
    engine.flush()
    yield from engine.take().ticks


def replay(site: Site, batches: Iterable[Batch]) -> Replayed:
    """The whole of a replay in memory."""
    engine = Engine(site, 1)
    return Replayed(list(replay_ticks(site, batches, engine)), engine.summary())
