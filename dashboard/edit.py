"""Edits of the site through the API: adopting beacons as trackables.

Edits are functions from a site to a site; `edit` carries one into the store, again when somebody
else was faster. What an edit makes is checked as a whole document before it is written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from dashboard.problems import Problem, not_found
from stream.site import Kind, Site, Trackable, canonical_site, check_site
from stream.store import StaleSite, Store

# Each failure means that somebody else succeeded; this many in a row is a script gone wild.
MAX_TRIES: Final = 8
# A person's list of beacons on one thing.
MAX_BEACONS: Final = 16
_SLUG_CHARS: Final = 40


async def edit(store: Store, change: Callable[[Site], Site]) -> tuple[int, Site]:
    """Makes `change` of the current site its next version.

    Returns:
        The new version and document.

    Raises:
        Problem: what `change` raises.
        SiteError: the document that would come out is not valid.
        StaleSite: somebody else was faster every time.
        StoreError: the store cannot be written.
    """
    tries = 0
    while True:
        version, site = await store.read_site()
        changed = canonical_site(change(site))
        check_site(changed, "the changed site")
        try:
            return await store.write_site(changed, version), changed
        except StaleSite:
            tries += 1
            if tries == MAX_TRIES:
                raise


def with_trackable(
    site: Site,
    *,
    id_: str | None,
    name: str,
    kind: Kind,
    beacons: list[str],
    sku: str | None = None,
    quantity: float | None = None,
) -> Site:
    """The site with one trackable more; without an id it is made from the name.

    Raises:
        Problem: 409 when the id or a beacon is taken.
    """
    taken = {part.id for part in site.trackables}
    if id_ is not None and id_ in taken:
        raise Problem(409, "conflict", f"there already is a trackable `{id_}`")
    for beacon in beacons:
        _check_free(site, beacon)
    part = Trackable(
        id=_free_id(name, kind, taken) if id_ is None else id_,
        name=name,
        kind=kind,
        beacons=beacons,
        sku=sku,
        quantity=quantity,
    )
    return replace(site, trackables=[*site.trackables, part])


def with_beacon(site: Site, id_: str, beacon: str) -> Site:
    """The site with one beacon more on a trackable.

    Raises:
        Problem: 404 when there is no such trackable, 409 when the beacon is another's; one that
            it wears already changes nothing.
    """
    row = next((row for row, part in enumerate(site.trackables) if part.id == id_), None)
    if row is None:
        raise not_found(f"there is no trackable `{id_}`")
    part = site.trackables[row]
    if beacon in part.beacons:
        return site
    _check_free(site, beacon)
    if len(part.beacons) >= MAX_BEACONS:
        raise Problem(409, "conflict", f"`{id_}` wears {MAX_BEACONS} beacons already")
    trackables = list(site.trackables)
    trackables[row] = replace(part, beacons=[*part.beacons, beacon])
    return replace(site, trackables=trackables)


def _check_free(site: Site, beacon: str) -> None:
    row = site.beacons().get(beacon)
    if row is not None:
        owner = site.trackables[row].id
        raise Problem(
            409, "conflict", f"the beacon `{beacon}` already belongs to trackable `{owner}`"
        )


def _free_id(name: str, kind: str, taken: set[str]) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG_CHARS].strip("-") or kind
    free, number = slug, 1
    while free in taken:
        number += 1
        free = f"{slug}-{number}"
    return free
