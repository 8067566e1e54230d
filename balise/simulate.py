"""`balise simulate` to files: a site, a recording as it would have arrived, and the truth.

The virtual radio's adverts go through the gateways' own windows; everything is in simulated
time, so that the same arguments give the same bytes.
"""

from __future__ import annotations

import csv
import heapq
import io
import itertools
import json
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from gateway.adverts import Advert
from gateway.errors import UserError
from gateway.radio.air import STEP_S, VirtualRadio
from gateway.radio.faults import Clocks, Faults, FaultyLink, Power, outages
from gateway.radio.parameters import RadioParameters, WalkParameters
from gateway.radio.plan import Plan, read_plan
from gateway.radio.warehouse import warehouse
from gateway.radio.world import World
from gateway.readings import Batch
from gateway.windows import Window, Windows, to_batch
from stream.recording import RecordingWriter
from stream.site import Site, encode_site, parse_site
from stream.truth import HEADER as TRUTH_HEADER

SITE_FILE: Final = "site.json"
RECORDING_FILE: Final = "recording.jsonl.gz"
TRUTH_FILE: Final = "truth.csv"

# A Monday, 2026-01-05 09:00 UTC: fixed, because the same arguments must give the same bytes.
START: Final = 1_767_603_600.0
# Truth has a row per beacon this often: a walker makes 1.5 m in it, straight enough.
TRUTH_EVERY_S: Final = 1.0


class SimulationError(UserError, ValueError):
    """A simulation that cannot be run as asked."""


class Report(NamedTuple):
    """What a simulation wrote."""

    beacons: int
    adverts: int
    batches: int
    readings: int
    lost: int
    duplicated: int


def plan_of(site: Site) -> Plan:
    """The site as the virtual radio sees it.

    Raises:
        SimulationError: when there is nothing to hear or nobody to hear it.
    """
    if not site.gateways:
        raise SimulationError(f"site `{site.id}` has no gateways: nobody would hear anything")
    if not site.gateway_beacons() and not any(part.beacons for part in site.trackables):
        raise SimulationError(f"site `{site.id}` has no beacons: there is nothing to hear")
    return read_plan(msgspec.to_builtins(site))


def warehouse_site(
    seed: int,
    *,
    width_m: float = 60.0,
    depth_m: float = 40.0,
    gateways: int = 24,
    items: int = 300,
    pickers: int = 12,
    carts: int = 0,
    visitors: int = 0,
    floors: int = 1,
    gateway_adverts: bool = False,
) -> Site:
    """A generated warehouse as a checked site.

    Raises:
        gateway.radio.plan.RadioError: when the sizes do not fit together.
        stream.site.SiteError: when they are beyond what a site may be.
    """
    document = warehouse(
        seed,
        width_m=width_m,
        depth_m=depth_m,
        gateways=gateways,
        items=items,
        pickers=pickers,
        carts=carts,
        visitors=visitors,
        floors=floors,
        gateway_adverts=gateway_adverts,
    )
    return parse_site(json.dumps(document).encode(), f"warehouse {seed}")


def claim(out: Path, *, force: bool) -> None:
    """Makes the output directory, and refuses one that already holds something.

    Raises:
        SimulationError: when it does, or cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not force and any(out.iterdir()):
            raise SimulationError(
                f"{out} is not empty; give another --out, or --force to write over it"
            )
    except OSError as error:
        raise SimulationError(f"{out} cannot be used as --out: {error.strerror}") from error


def write_site(out: Path, site: Site) -> None:
    """Writes the site's document into the output directory."""
    (out / SITE_FILE).write_bytes(msgspec.json.format(encode_site(site), indent=1) + b"\n")


class TruthWriter:
    """Appends where every tag is, once per TRUTH_EVERY_S.

    Args:
        path: the file; a new one begins with the header.
        site: for the floors' ids.
        world: what moves.
    """

    def __init__(self, path: Path, site: Site, world: World) -> None:
        self._world: Final = world
        self._floors: Final = [floor.id for floor in site.floors]
        self._file: Final[io.TextIOBase] = path.open("w", newline="", encoding="utf-8")
        self._csv: Final = csv.writer(self._file, lineterminator="\n")
        self._csv.writerow(TRUTH_HEADER)
        self._next: float | None = None

    def upto(self, t: float) -> None:
        """Writes the rows that are due at `t`, Unix seconds."""
        if self._next is None or t - self._next > 60.0:
            self._next = t // TRUTH_EVERY_S * TRUTH_EVERY_S + TRUTH_EVERY_S
        while self._next <= t + 1e-6:
            self._write(self._next)
            self._next += TRUTH_EVERY_S

    def flush(self) -> None:
        """Hands what was written to the system."""
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, t: float) -> None:
        world = self._world
        world.move(t)
        stamp = f"{t:.3f}"
        for beacon, x, y, floor in zip(
            world.beacons, world.x.tolist(), world.y.tolist(), world.floor.tolist(), strict=True
        ):
            self._csv.writerow((stamp, beacon, f"{x:.3f}", f"{y:.3f}", self._floors[floor]))


class _VirtualGateway:
    """A gateway in simulated time: its windows, boots and numbers."""

    def __init__(self, name: str, window_s: float, link: FaultyLink) -> None:
        self._name: Final = name
        self._window_s: Final = window_s
        self._boot = 0
        self.link: Final = link
        self.on = False
        self.windows: Windows
        self.power_on()

    def power_on(self) -> None:
        """Starts a new boot with empty windows."""
        self.on = True
        self._boot += 1
        self._seq = 0
        self.windows = Windows(self._window_s)

    def close(self, now: float) -> list[Batch]:
        """The batches of the windows that have ended by its clock."""
        return [self._batch(window) for window in self.windows.close(now)]

    def _batch(self, window: Window) -> Batch:
        self._seq += 1
        boot = f"{self._boot:04d}"
        return to_batch(window, gateway=self._name, boot=boot, seq=self._seq, length=self._window_s)


def simulate(
    site: Site,
    out: Path,
    *,
    seconds: float,
    seed: int = 1,
    window_s: float = 1.0,
    faults: Faults | None = None,
    start: float = START,
    radio: RadioParameters | None = None,
    walk: WalkParameters | None = None,
) -> Report:
    """Writes site.json, recording.jsonl.gz and truth.csv into `out`, which must exist.

    Args:
        site: the site; its movers walk, its items lie in their slots.
        out: directory.
        seconds: of simulated time.
        seed: of everything random.
        window_s: the gateways' window in seconds.
        faults: of links and power; none by default.
        start: Unix seconds of the first advert.
        radio: how the air behaves.
        walk: how people move.

    Raises:
        SimulationError: when there is nothing to simulate.
    """
    faults = faults or Faults()
    air = VirtualRadio(plan_of(site), seed, start, radio, walk)
    clocks = Clocks(air.parameters, len(air.gateways), seed)
    power = Power(outages(faults, len(air.gateways), seed, start))
    gateways = [
        _VirtualGateway(name, window_s, FaultyLink(faults, seed, row))
        for row, name in enumerate(air.gateways)
    ]
    write_site(out, site)
    truth = TruthWriter(out / TRUTH_FILE, site, air.world)
    adverts = batches = readings = lost = duplicated = 0
    # Messages on their way: arrival, a number that keeps equal arrivals in order, the batch.
    under_way: list[tuple[float, int, Batch]] = []
    number = itertools.count()
    try:
        with RecordingWriter(out / RECORDING_FILE) as recording:
            for _ in range(round(seconds / STEP_S)):
                off = set(power.off(air.now))
                for row, gateway in enumerate(gateways):
                    if row in off:
                        gateway.on = False
                    elif not gateway.on:
                        gateway.power_on()
                adverts += _hear(air, clocks, gateways)
                ahead = clocks.offsets(air.now).tolist()
                for gateway, offset in zip(gateways, ahead, strict=True):
                    if not gateway.on:
                        continue
                    for batch in gateway.close(air.now + offset):
                        delays = gateway.link.delays()
                        lost += not delays
                        duplicated += len(delays) > 1
                        batches += 1
                        readings += len(batch)
                        for delay in delays:
                            heapq.heappush(under_way, (air.now + delay, next(number), batch))
                while under_way and under_way[0][0] <= air.now:
                    recording.write_batch(site.id, heapq.heappop(under_way)[2])
                truth.upto(air.now)
            while under_way:
                recording.write_batch(site.id, heapq.heappop(under_way)[2])
    finally:
        truth.close()
    return Report(len(air.beacons), adverts, batches, readings, lost, duplicated)


def _hear(air: VirtualRadio, clocks: Clocks, gateways: list[_VirtualGateway]) -> int:
    """Lets the gateways that are on hear one step; returns the adverts heard."""
    heard = air.step()
    stamps = (heard.t + clocks.offsets(air.now)[heard.gateway]).tolist()
    add = [gateway.windows.add if gateway.on else None for gateway in gateways]
    beacons = air.beacons
    count = 0
    for t, tag, row, rssi in zip(
        stamps, heard.tag.tolist(), heard.gateway.tolist(), heard.rssi.tolist(), strict=True
    ):
        hear = add[row]
        if hear is not None:
            hear(Advert(t, beacons[tag], rssi))
            count += 1
    return count
