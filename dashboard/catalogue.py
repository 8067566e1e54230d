"""Finding trackables: filters and keyset paging over the live table, as a function of values.

Pages go by id, so that a page asked for later neither repeats nor skips what was there all the
time, whatever was added or removed in between.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dashboard.positions import Positions
from stream.site import KINDS, Kind, Site

MAX_CURSOR_CHARS: Final = 1_024


class CursorError(ValueError):
    """A cursor that none of our pages gave out."""


class Query(NamedTuple):
    """What is looked for; None leaves a filter out.

    Attributes:
        kind: the trackables' kind.
        zone: row of the zone they were last in.
        floor: row of the floor they were last on.
        text: part of the id, name or SKU, whatever the case.
        lost: whether they are lost; those never located are neither lost nor not.
    """

    kind: Kind | None = None
    zone: int | None = None
    floor: int | None = None
    text: str = ""
    lost: bool | None = None


class Catalogue:
    """A site's trackables in order of id; made once for a site version."""

    def __init__(self, site: Site) -> None:
        self.site: Final = site
        order = sorted(range(len(site.trackables)), key=lambda row: site.trackables[row].id)
        self._rows: Final = order
        self._ids: Final = [site.trackables[row].id for row in order]
        # Lines keep a text from matching across two fields.
        self._texts: Final = [
            f"{part.id}\n{part.name}\n{part.sku or ''}".casefold()
            for part in (site.trackables[row] for row in order)
        ]

    def page(
        self, positions: Positions, query: Query, after: str | None, limit: int
    ) -> tuple[list[int], str | None]:
        """Rows of one page in order of id, and the cursor of the next, None when it is the last.

        Args:
            positions: the live table of this very site.
            query: the filters.
            after: the last page's cursor.
            limit: most rows.

        Raises:
            CursorError: for a cursor that is none.
        """
        start = 0 if after is None else bisect_right(self._ids, decode_cursor(after))
        text = query.text.casefold()
        fits = _fitting(positions, query).tolist()
        found: list[int] = []
        for place in range(start, len(self._rows)):
            row = self._rows[place]
            if fits[row] and (not text or text in self._texts[place]):
                if len(found) == limit:
                    return found, encode_cursor(self.site.trackables[found[-1]].id)
                found.append(row)
        return found, None


def _fitting(positions: Positions, query: Query) -> npt.NDArray[np.bool_]:
    """Which rows pass the filters but the text; shape (trackables,)."""
    fits = np.ones(len(positions.t), bool)
    if query.kind is not None:
        fits &= positions.kinds == KINDS.index(query.kind)
    if query.zone is not None or query.floor is not None or query.lost is not None:
        fits &= positions.t > 0.0
    if query.lost is not None:
        fits &= positions.lost() == query.lost
    if query.zone is not None:
        fits &= positions.last["zone"] == query.zone
    if query.floor is not None:
        fits &= positions.last["floor"] == query.floor
    return fits


def encode_cursor(id_: str) -> str:
    """The cursor that stands after an id."""
    return base64.urlsafe_b64encode(id_.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The id a cursor stands after.

    Raises:
        CursorError: it was not made by `encode_cursor`.
    """
    try:
        if len(cursor) > MAX_CURSOR_CHARS:
            raise ValueError("too long")
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded.encode("ascii"), b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise CursorError("`after` is not a cursor of this API; leave it out") from error
