"""What the routes share: the store, the feed, the hub, the watch and the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dashboard.feed import Feed
from dashboard.live import Hub
from dashboard.positions import Positions
from dashboard.problems import Problem
from dashboard.watch import Watch
from stream.store import Store

PREFIX = "/api/v1"


@dataclass(frozen=True, slots=True)
class Context:
    """Handed to every router when the app is made.

    Attributes:
        store: the site's store.
        feed: keeps the live table.
        hub: the live feed's clients.
        watch: looks at the pipeline.
        clock: Unix seconds.
    """

    store: Store
    feed: Feed
    hub: Hub
    watch: Watch
    clock: Callable[[], float]

    def positions(self) -> Positions:
        """The live table.

        Raises:
            Problem: 503 until there is a site.
        """
        positions = self.feed.positions
        if positions is None:
            raise Problem(503, "unavailable", self.feed.trouble, {"Retry-After": "2"})
        return positions
