"""The plan as a picture: one SVG a floor, from strings alone.

Steps of colour are the same in every picture, so that two plans can be laid side by side. The
colours are of Viridis (van der Walt and Smith, matplotlib, CC0), which grow evenly in lightness:
they tell apart for colour-blind people and in grey. A site's words are escaped, never trusted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from html import escape
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.grid import Grid
from stream.planner import LEAST_GATEWAYS, FloorPlan, NextGateway, Plan
from stream.site import Obstacle, Ring, Site

Bools = npt.NDArray[np.bool_]

# Steps of the expected radius in metres and their colours; what is larger has the last. Fine where
# warehouses are, from 2 to 6 m. Light is good: dark places are where one sees badly.
STEPS: Final = (
    (1.5, "#f6e620"),
    (2.0, "#bddf26"),
    (2.5, "#83d34b"),
    (3.0, "#51c369"),
    (4.0, "#2bb07f"),
    (5.0, "#1f998a"),
    (6.0, "#26818e"),
    (8.0, "#31688e"),
    (10.0, "#414487"),
    (math.inf, "#481467"),
)
# The floor's longer side in pixels, and the least and the most of a metre.
LONG_PX: Final = 960.0
METRE_PX: Final = (2.0, 60.0)
# Around the floor: axes to the left and below, the legend to the right, words on top.
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 56.0, 176.0, 84.0, 46.0
LEGEND_ROW_PX: Final = 22.0
# Words in the head are of this size at most in relation to their letters.
LETTER_PX: Final = 7.2
# Gateways nearer to each other than this in pixels go without their ids, which would overlap.
CROWDED_PX: Final = 34.0
MOST_ID_CHARS: Final = 24
# Nearer than this to the floor's edge a gateway's id is turned inwards.
EDGE_PX: Final = 26.0
# Between two figures on an axis, at least.
TICK_PX: Final = 56.0
INK: Final = "#1a222b"
QUIET: Final = "#59636e"
# Of Okabe and Ito's palette: seen by all, and in no step above.
PROPOSED: Final = "#d55e00"

_STYLE: Final = f"""
text {{ font: 12px system-ui, "DejaVu Sans", Arial, sans-serif; fill: {INK}; }}
.title {{ font-size: 18px; font-weight: 600; }}
.quiet {{ fill: {QUIET}; }}
.id {{ font-size: 10.5px; }}
.halo {{ paint-order: stroke; stroke: #fff; stroke-width: 3px; stroke-linejoin: round; }}
.rack {{ fill: #fff; fill-opacity: .12; stroke: #fff; stroke-opacity: .95; stroke-width: 1.1; }}
.wall {{ fill: {INK}; stroke: {INK}; stroke-width: 1; }}
.outline {{ fill: none; stroke: {INK}; stroke-width: 2; stroke-linejoin: round; }}
.gateway {{ fill: #fff; stroke: {INK}; stroke-width: 1.8; }}
.next {{ fill: {PROPOSED}; stroke: #fff; stroke-width: 2; stroke-linejoin: round; }}
"""


def file_names(site: Site) -> list[str]:
    """A file name for each floor, `plan-<id>.svg`: of plain letters, and none twice."""
    names: list[str] = []
    for floor in site.floors:
        stem = "plan-" + re.sub(r"[^A-Za-z0-9._-]", "_", floor.id)
        name, turn = stem, 1
        # Some file systems hold capital letters and small ones for the same.
        while name.lower() in (other.lower() for other in names):
            turn += 1
            name = f"{stem}-{turn}"
        names.append(name)
    return [f"{name}.svg" for name in names]


def picture(site: Site, plan: Plan, row: int) -> str:
    """The floor of a row as an SVG document: the error map, what stands there, and the advice."""
    return "\n".join(_Sheet(site, plan, row).lines()) + "\n"


class _Sheet:
    """One picture: y grows upwards on the site, downwards on the sheet."""

    def __init__(self, site: Site, plan: Plan, row: int) -> None:
        self._site: Final = site
        self._plan: Final = plan
        self._row: Final = row
        outline = np.array(site.floors[row].outline)
        (self._x0, y0), (x1, self._y1) = outline.min(axis=0), outline.max(axis=0)
        wide, deep = float(x1 - self._x0), float(self._y1 - y0)
        self._scale: Final = min(max(LONG_PX / max(wide, deep), METRE_PX[0]), METRE_PX[1])
        self._size: Final = (wide * self._scale, deep * self._scale)
        self._metres: Final = (float(self._x0), float(x1), float(y0), float(self._y1))

    def lines(self) -> Iterator[str]:
        """The document's lines."""
        floor = self._plan.report.floors[self._row]
        words = _words(floor)
        title = f"{self._site.name}, {floor.name}: expected error"
        letters = max(1.45 * len(title), *(len(line) for line in words))
        wide = max(LEFT_PX + self._size[0] + RIGHT_PX, LEFT_PX + LETTER_PX * letters)
        legend = TOP_PX + (len(STEPS) + 7) * LEGEND_ROW_PX
        deep = max(TOP_PX + self._size[1] + BOTTOM_PX, legend)
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {deep:.0f}" '
            f'width="{wide:.0f}" height="{deep:.0f}" role="img">'
        )
        yield f"<title>{_text(title)}</title>"
        yield f"<desc>{_text(' '.join(words))}</desc>"
        yield f"<style>{_STYLE}</style>"
        yield (
            '<defs><pattern id="dead" width="7" height="7" patternUnits="userSpaceOnUse" '
            'patternTransform="rotate(45)"><path d="M0 0V7" stroke="#000" stroke-width="3.4"/>'
            '<path d="M0 0V7" stroke="#fff" stroke-width="1.8"/></pattern>'
            f'<clipPath id="floor"><path d="{self._ring(self._site.floors[self._row].outline)}"/>'
            "</clipPath></defs>"
        )
        yield f'<rect width="{wide:.0f}" height="{deep:.0f}" fill="#fff"/>'
        yield f'<text class="title" x="{LEFT_PX:.0f}" y="30">{_text(title)}</text>'
        for i, line in enumerate(words):
            yield f'<text class="quiet" x="{LEFT_PX:.0f}" y="{50 + 17 * i}">{_text(line)}</text>'
        yield from self._map()
        yield from self._obstacles()
        yield f'<path class="outline" d="{self._ring(self._site.floors[self._row].outline)}"/>'
        yield from self._axes()
        yield from self._gateways()
        if floor.next is not None:
            yield from self._next(floor.next)
        yield from self._legend()
        yield "</svg>"

    def _map(self) -> Iterator[str]:
        grid, plan = self._plan.grid, self._plan
        here = grid.floor == self._row
        step = np.searchsorted([most for most, _ in STEPS], plan.radius)
        # A cell that the outline cuts is drawn, and cut by it; its middle may be outside.
        shown = here & _grown(grid, self._row)
        yield '<g clip-path="url(#floor)">'
        for number, (_, colour) in enumerate(STEPS):
            if path := self._cells(shown & (step == number)):
                yield f'<path fill="{colour}" d="{path}"/>'
        if path := self._cells(here & plan.dead):
            yield f'<path class="dead" fill="url(#dead)" d="{path}"/>'
        yield "</g>"

    def _cells(self, chosen: Bools) -> str:
        """Cells as one path, those beside each other in a row as one box."""
        grid = self._plan.grid
        base, wide = grid.base[self._row], grid.wide[self._row]
        here = chosen[base : base + wide * grid.deep[self._row]].reshape(-1, wide)
        edges = np.diff(here.astype(np.int8), axis=1, prepend=0, append=0)
        starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)[:, 1]
        # A hair wider, or the background shines through the seams.
        side = grid.cell_m * self._scale + 0.3
        boxes = []
        for (j, i), end in zip(starts.tolist(), ends.tolist(), strict=True):
            x, y = self._at(
                grid.x0[self._row] + (i - 0.5) * grid.cell_m,
                grid.y0[self._row] + (j + 0.5) * grid.cell_m,
            )
            boxes.append(
                f"M{x:.1f} {y:.1f}h{(end - i) * grid.cell_m * self._scale + 0.3:.1f}"
                f"v{side:.1f}H{x:.1f}z"
            )
        return "".join(boxes)

    def _obstacles(self) -> Iterator[str]:
        here = [part for part in self._site.obstacles if part.floor == self._floor_id()]
        yield '<g clip-path="url(#floor)">'
        for part in sorted(here, key=_walls_last):
            ring = self._ring(part.polygon)
            yield f'<path class="{part.kind}" d="{ring}"><title>{_text(part.id)}</title></path>'
        yield "</g>"

    def _gateways(self) -> Iterator[str]:
        here = [part for part in self._site.gateways if part.floor == self._floor_id()]
        at = np.array([self._at(*part.position[:2]) for part in here]).reshape(-1, 2)
        for i, part in enumerate(here):
            x, y = at[i]
            yield (
                f'<circle class="gateway" cx="{x:.1f}" cy="{y:.1f}" r="5">'
                f"<title>{_text(part.id)}</title></circle>"
            )
            away = np.hypot(*(np.delete(at, i, axis=0) - at[i]).T)
            if away.min(initial=math.inf) >= CROWDED_PX:
                yield self._id(x, y, _short(part.id))

    def _id(self, x: float, y: float, name: str) -> str:
        """A gateway's id above it, or turned inwards where the sheet's edge is near."""
        left, right = x - LEFT_PX < EDGE_PX, LEFT_PX + self._size[0] - x < EDGE_PX
        anchor = "start" if left and not right else "end" if right and not left else "middle"
        below = y - TOP_PX < EDGE_PX
        aside = 0.0 if anchor == "middle" else 2.0 if left else -2.0
        return (
            f'<text class="id halo" text-anchor="{anchor}" x="{x + aside:.1f}" '
            f'y="{y + (18 if below else -9):.1f}">{_text(name)}</text>'
        )

    def _next(self, place: NextGateway) -> Iterator[str]:
        x, y = self._at(place.x, place.y)
        yield (
            f'<path class="next" d="{_star(x, y)}"><title>one more gateway at '
            f"x {place.x:.1f}, y {place.y:.1f}</title></path>"
        )
        below = f'text-anchor="middle" x="{x:.1f}" y="{y + 25:.1f}"'
        yield f'<text class="id halo" {below}>one more here</text>'

    def _axes(self) -> Iterator[str]:
        x0, x1, y0, y1 = self._metres
        step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200) if s * self._scale >= TICK_PX)
        bottom = TOP_PX + self._size[1]
        yield f'<g class="axes" stroke="{QUIET}">'
        for x in np.arange(math.ceil(x0 / step), math.floor(x1 / step) + 1) * step:
            px = self._at(float(x), y0)[0]
            yield f'<path d="M{px:.1f} {bottom + 4:.1f}v5"/>'
        for y in np.arange(math.ceil(y0 / step), math.floor(y1 / step) + 1) * step:
            yield f'<path d="M{LEFT_PX - 4:.1f} {self._at(x0, float(y))[1]:.1f}h-5"/>'
        yield "</g>"
        for x in np.arange(math.ceil(x0 / step), math.floor(x1 / step) + 1) * step:
            px = self._at(float(x), y0)[0]
            yield (
                f'<text class="quiet" text-anchor="middle" x="{px:.1f}" y="{bottom + 22:.1f}">'
                f"{x:.0f}</text>"
            )
        for y in np.arange(math.ceil(y0 / step), math.floor(y1 / step) + 1) * step:
            py = self._at(x0, float(y))[1]
            yield (
                f'<text class="quiet" text-anchor="end" x="{LEFT_PX - 13:.1f}" y="{py + 4:.1f}">'
                f"{y:.0f}</text>"
            )
        yield f'<text class="quiet" x="{LEFT_PX:.0f}" y="{bottom + 38:.1f}">metres</text>'

    def _legend(self) -> Iterator[str]:
        x, y = LEFT_PX + self._size[0] + 24, TOP_PX + 10
        yield f'<text x="{x:.0f}" y="{y:.0f}">68 % of errors within</text>'
        y += 10
        least = 0.0
        for most, colour in STEPS:
            label = f"{least:g} to {most:g} m" if math.isfinite(most) else f"over {least:g} m"
            yield (
                f'<rect x="{x:.0f}" y="{y:.0f}" width="26" height="{LEGEND_ROW_PX:.0f}" '
                f'fill="{colour}"/><text x="{x + 36:.0f}" y="{y + 15:.0f}">{label}</text>'
            )
            y += LEGEND_ROW_PX
            least = most
        limit = self._plan.report.limit_m
        hatched = f'<rect x="{x:.0f}" y="{{y:.0f}}" width="26" height="18" fill="url(#dead)"/>'
        ring = f'<circle class="gateway" cx="{x + 13:.0f}" cy="{{m:.0f}}" r="5"/>'
        rows = [
            (hatched, "dead: fewer than"),
            ("", f"{LEAST_GATEWAYS} gateways hear it,"),
            ("", f"or over {limit:g} m"),
            (ring, "gateway"),
            ('<path class="next" d="{star}"/>', "one more here"),
        ]
        y += 10
        for mark, label in rows:
            yield mark.format(y=y, m=y + 9, star=_star(x + 13, y + 9))
            yield f'<text x="{x + 36:.0f}" y="{y + 13:.0f}">{label}</text>'
            y += LEGEND_ROW_PX

    def _floor_id(self) -> str:
        return self._site.floors[self._row].id

    def _at(self, x: float, y: float) -> tuple[float, float]:
        """A place in metres as pixels."""
        return LEFT_PX + (x - self._x0) * self._scale, TOP_PX + (self._y1 - y) * self._scale

    def _ring(self, ring: Ring) -> str:
        return "M" + "L".join("{:.1f} {:.1f}".format(*self._at(x, y)) for x, y in ring) + "z"


def _grown(grid: Grid, row: int) -> Bools:
    """The cells of a floor that are inside or touch one that is."""
    base, wide, deep = grid.base[row], grid.wide[row], grid.deep[row]
    inside = np.pad(grid.inside[base : base + wide * deep].reshape(deep, wide), 1)
    near = np.zeros((deep, wide), np.bool_)
    for j in range(3):
        for i in range(3):
            near |= inside[j : j + deep, i : i + wide]
    grown = np.zeros(len(grid), np.bool_)
    grown[base : base + wide * deep] = near.ravel()
    return grown


def _words(floor: FloorPlan) -> list[str]:
    now = floor.now
    first = (
        f"{floor.gateways} gateways: median {now.median_m:.1f} m, nine of ten places within "
        f"{now.p90_m:.1f} m, {100 * now.dead_share:.0f} % dead."
    )
    lines = [first]
    if floor.next is not None:
        then = floor.next.then
        lines.append(
            f"One more at x {floor.next.x:.1f}, y {floor.next.y:.1f}: median "
            f"{then.median_m:.1f} m, nine of ten within {then.p90_m:.1f} m, "
            f"{100 * then.dead_share:.0f} % dead."
        )
    return lines


def _star(x: float, y: float) -> str:
    """A five-pointed star around a point, as a path."""
    corners = []
    for k in range(10):
        radius = 11.0 if k % 2 == 0 else 4.8
        angle = math.pi * (k / 5 - 0.5)
        corners.append(f"{x + radius * math.cos(angle):.1f} {y + radius * math.sin(angle):.1f}")
    return "M" + "L".join(corners) + "z"


def _walls_last(part: Obstacle) -> bool:
    return part.kind == "wall"


def _short(name: str) -> str:
    return name if len(name) <= MOST_ID_CHARS else name[: MOST_ID_CHARS - 3] + "..."


def _text(words: str) -> str:
    """Words of a site for XML, which cannot hold control characters even when escaped."""
    return escape("".join(c if c.isprintable() else "?" for c in words))
