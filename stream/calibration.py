"""The calibration document: the fitted radio model of a site, versioned, as JSON.

What a site's radio is like as far as somebody measured it: path loss and noise per gateway, losses
of obstacles and slabs, and a radio map where a survey made one. Everything is optional; what is
not said stays at the priors below, which are those of a site nobody has measured. This module
knows the document and its rules. What the numbers mean over space is in `stream.radio_model`.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.errors import UserError

Floats = npt.NDArray[np.float64]

FORMAT: Final = 1
MAX_DOCUMENT_BYTES: Final = 32 * 1024 * 1024
MAX_REASON_CHARS: Final = 300

# The priors: what holds for a site of which nothing is known but where its gateways hang.
# RSSI at 1 m of a common tag at 0 dBm.
OFFSET_DBM: Final = -61.0
# ... and how far models, powers, and the bodies that wear them stray from it.
OFFSET_SD_DB: Final = 7.0
# Free space has 2.0, measured halls 1.8 to 3.5 (ITU-R P.1238).
EXPONENT: Final = 2.5
# One crossing of a rack costs 2 to 8 dB, of a wall 3 to 12, of a slab 15 to 19 (ITU-R P.1238).
RACK_DB: Final = 4.5
WALL_DB: Final = 5.0
SLAB_DB: Final = 17.0
# Rays over the tops and off the ceiling bound what obstacles in a row can take away.
OBSTACLES_MOST_DB: Final = 22.0
# What shadowing leaves after any number of adverts.
SD_DB: Final = 5.0
# One step of a radio map's signed bytes.
MAP_STEP_DB: Final = 0.25

Origin = Literal["prior", "survey", "gateways", "work"]


class CalibrationError(UserError, ValueError):
    """A calibration that cannot be used: the sentence says where it came from and what is wrong."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Shared settings of the document's parts: immutable, and unknown keys are errors."""


class GatewayFit(_Part, frozen=True):
    """How one gateway differs.

    Attributes:
        offset_db: how much louder it hears than the site's common gateway, dB.
        exponent: its path-loss exponent; the site's where it is not said.
        sd_db: standard deviation of what the model leaves unexplained at it, dB.
    """

    offset_db: float = 0.0
    exponent: float | None = None
    sd_db: float | None = None


class MapPatch(_Part, frozen=True):
    """What a survey found beyond path loss, at one gateway over one floor.

    Attributes:
        gateway: its id.
        floor: the floor's id.
        corner: the middle of the first cell, metres.
        shape: cells along x and y.
        db: base64 of signed bytes by row of y, in steps of MAP_STEP_DB: what to add to the
            expected RSSI.
    """

    gateway: str
    floor: str
    corner: tuple[float, float]
    shape: tuple[int, int]
    db: str

    def values(self) -> Floats:
        """The corrections in dB, shape (y, x)."""
        steps = np.frombuffer(base64.b64decode(self.db), np.int8)
        return steps.reshape(self.shape[1], self.shape[0]).astype(np.float64) * MAP_STEP_DB


class Calibration(_Part, frozen=True):
    """The whole document.

    Attributes:
        v: format, 1.
        site: the site's id.
        origin: what it was made from.
        t: event time up to which it saw readings, Unix seconds.
        readings: how many readings it was made from.
        offset_dbm: RSSI at 1 m of the site's common tag.
        offset_sd_db: how far the tags stray from it, standard deviation.
        exponent: path-loss exponent.
        sd_db: standard deviation of what the model leaves unexplained.
        rack_db, wall_db: loss of one crossing of an obstacle that says nothing itself.
        slab_db: loss of one slab.
        gateways: by gateway id.
        obstacles: loss of one crossing by obstacle id, dB.
        map_cell_m: the radio map's cell, metres; 0 without a map.
        radio_map: its patches.
        note: anything, for people.
    """

    v: int
    site: str
    origin: Origin = "prior"
    t: float = 0.0
    readings: int = 0
    offset_dbm: float = OFFSET_DBM
    offset_sd_db: float = OFFSET_SD_DB
    exponent: float = EXPONENT
    sd_db: float = SD_DB
    rack_db: float = RACK_DB
    wall_db: float = WALL_DB
    slab_db: float = SLAB_DB
    gateways: dict[str, GatewayFit] = {}
    obstacles: dict[str, float] = {}
    map_cell_m: float = 0.0
    radio_map: list[MapPatch] = []
    note: str = ""


def prior(site: str) -> Calibration:
    """What is taken to hold where nothing was measured."""
    return Calibration(FORMAT, site)


def pack_map(values: Floats) -> str:
    """Corrections in dB, shape (y, x), as a patch's `db`."""
    steps = np.clip(np.round(values / MAP_STEP_DB), -127, 127).astype(np.int8)
    return base64.b64encode(steps.tobytes()).decode()


_decode: Final = msgspec.json.Decoder(Calibration).decode


def encode_calibration(calibration: Calibration) -> bytes:
    """The document as JSON bytes; equal calibrations give equal bytes."""
    return msgspec.json.encode(calibration, order="deterministic")


def load_calibration(path: Path, site: str | None = None) -> Calibration:
    """Reads and checks a calibration file.

    Args:
        path: the file.
        site: the site's id that it must be of, where that is known.

    Raises:
        CalibrationError: one sentence with file and reason.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read: {error.strerror}") from error
    calibration = parse_calibration(text, str(path))
    if site is not None and calibration.site != site:
        raise CalibrationError(f"{path}: is of the site `{calibration.site[:64]}`, not of `{site}`")
    return calibration


def parse_calibration(text: bytes, source: str) -> Calibration:
    """Decodes and checks a calibration; `source` names it in errors.

    Raises:
        CalibrationError: one sentence with source and reason.
    """
    if len(text) > MAX_DOCUMENT_BYTES:
        raise CalibrationError(f"{source}: {len(text)} bytes; at most {MAX_DOCUMENT_BYTES}")
    try:
        calibration = _decode(text)
    except msgspec.ValidationError as error:
        raise CalibrationError(f"{source}: is no calibration: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CalibrationError(f"{source}: is not JSON: {error}") from error
    for fault in _faults(calibration):
        # It may quote the document, which may hold anything; a sentence is one short line.
        short = fault if len(fault) <= MAX_REASON_CHARS else f"{fault[:MAX_REASON_CHARS]}..."
        raise CalibrationError(
            f"{source}: " + "".join(c if c.isprintable() else "?" for c in short)
        )
    return calibration


def _faults(c: Calibration) -> Iterator[str]:
    if c.v != FORMAT:
        yield f"v: format {c.v}; this version reads {FORMAT}"
    numbers: dict[str, tuple[float, float, float]] = {
        "offset_dbm": (c.offset_dbm, -120.0, 0.0),
        "offset_sd_db": (c.offset_sd_db, 0.1, 40.0),
        "exponent": (c.exponent, 0.5, 8.0),
        "sd_db": (c.sd_db, 0.1, 30.0),
        "rack_db": (c.rack_db, 0.0, 60.0),
        "wall_db": (c.wall_db, 0.0, 60.0),
        "slab_db": (c.slab_db, 0.0, 60.0),
        "t": (c.t, 0.0, 1e11),
        "readings": (float(c.readings), 0.0, 1e15),
    }
    for name, fit in c.gateways.items():
        numbers[f"gateways.{name}.offset_db"] = (fit.offset_db, -60.0, 60.0)
        numbers[f"gateways.{name}.exponent"] = (
            EXPONENT if fit.exponent is None else fit.exponent,
            0.5,
            8.0,
        )
        numbers[f"gateways.{name}.sd_db"] = (SD_DB if fit.sd_db is None else fit.sd_db, 0.1, 30.0)
    for name, loss in c.obstacles.items():
        numbers[f"obstacles.{name}"] = (loss, 0.0, 60.0)
    for key, (value, least, most) in numbers.items():
        if not least <= value <= most:
            yield f"{key}: {value:g} is outside of {least:g} to {most:g}"
    if c.radio_map and not (math.isfinite(c.map_cell_m) and 0.05 <= c.map_cell_m <= 50.0):
        yield f"map_cell_m: {c.map_cell_m:g}; a radio map needs cells of 0.05 to 50 m"
    for i, patch in enumerate(c.radio_map):
        wide, deep = patch.shape
        try:
            size = len(base64.b64decode(patch.db, validate=True))
        except (binascii.Error, ValueError):
            size = -1
        if not all(map(math.isfinite, patch.corner)) or min(wide, deep) < 1 or size != wide * deep:
            yield f"radio_map[{i}]: `db` must be the base64 of {wide} x {deep} signed bytes"
