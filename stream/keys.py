"""Names of the store's keys: every key of the store is built here and nowhere else.

What each holds stands in docs/architecture.md. Braces are the hash tag of a Redis or Valkey
Cluster: all keys of a site share a slot, and all keys of one partition share one, so that one
script can change them together.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.readings import is_name


class PartitionKeys(NamedTuple):
    """The keys of one partition, all in one slot."""

    readings: str
    lease: str
    epoch: str
    step: str
    state: str
    summary: str
    fixes: str
    events: str
    calibration: str


class SiteKeys:
    """The keys of one site."""

    def __init__(self, site_id: str) -> None:
        if not is_name(site_id) or any(c in site_id for c in "{}:"):
            raise ValueError(f"`{site_id}` cannot be a site's id")
        self._site = site_id
        base = f"balise:{{{site_id}}}:"
        self.site = base + "site"
        self.imported = base + "imported"
        self.partitions = base + "partitions"
        self.gateways = base + "gateways"
        self.refused = base + "refused"
        self.workers = base + "workers"
        self.ingest = base + "ingest"
        self.calibration = base + "calibration"

    def document(self, version: int) -> str:
        """Where the site document of this version is."""
        return f"{self.site}:{version}"

    def partition(self, number: int) -> PartitionKeys:
        """The keys of one partition, counted from 0."""
        base = f"balise:{{{self._site}:{number}}}:"
        return PartitionKeys(*(base + name for name in PartitionKeys._fields))
