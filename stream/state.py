"""The engine's state as it is stored: one blob per partition, written whole with every commit.

What a crash must not lose and what readers of the store may see. Batches of open ticks are not in
it: they are not acknowledged either, and come again.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stream.calibration import Calibration
from stream.calibrator import CalibratorState
from stream.fixes import FIX, Fixes
from stream.gateway_watch import WatchState
from stream.summary import GatewayCounts
from stream.watermark import TICK_S

STATE_VERSION: Final = 2


class EngineError(ValueError):
    """A state that does not belong to this engine (another version, site or partition)."""


class Latest(NamedTuple):
    """The last fix of every trackable that was ever located.

    Attributes:
        tick: end of the last closed tick, Unix seconds.
        version: the site version that the rows refer to.
        fixes: by trackable row.
        t: Unix seconds of each fix.
    """

    tick: float
    version: int
    fixes: Fixes
    t: npt.NDArray[np.float64]


class State(msgspec.Struct, array_like=True):
    """The whole state as it is stored; arrays as bytes."""

    state_version: int
    site_version: int
    partition: int
    partitions: int
    closed: int
    front: float
    latest: bytes
    standing: bytes
    seen: dict[str, list[Any]]
    counts: dict[str, GatewayCounts]
    totals: dict[str, int]
    strangers: list[Any]
    calibration_number: int
    own: Calibration | None
    calibrator: CalibratorState
    watch: WatchState
    slots: bytes
    heard: bytes
    tracks: bytes
    walkers: bytes
    chances: bytes
    learnt: bytes
    fixes: bytes
    fixed: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(State).decode


def pack_state(state: State) -> bytes:
    """The state as bytes."""
    return _encode(state)


def stored_version(blob: bytes) -> int:
    """The site version that a state refers to.

    Raises:
        EngineError: when the state cannot be read.
    """
    return open_state(blob).site_version


def stored_calibration(blob: bytes) -> int:
    """The site's calibration that a state refers to, 0 for the prior.

    Raises:
        EngineError: when the state cannot be read.
    """
    return open_state(blob).calibration_number


def latest(blob: bytes) -> Latest:
    """The last fixes inside a state, for readers of the store.

    Raises:
        EngineError: when the state cannot be read.
    """
    state = open_state(blob)
    t = np.frombuffer(state.fixed, "<f8")
    ever = np.flatnonzero(t > 0.0)
    fixes = np.frombuffer(state.fixes, FIX)[ever]
    return Latest(state.closed * TICK_S, state.site_version, fixes, t[ever])


def open_state(blob: bytes) -> State:
    """What `pack_state` packed.

    Raises:
        EngineError: when the bytes are no state, or one of another format.
    """
    try:
        state = _decode(blob)
    except msgspec.MsgspecError as error:
        raise EngineError(f"the stored state cannot be read: {error}") from error
    if state.state_version != STATE_VERSION:
        raise EngineError(
            f"the stored state has format {state.state_version}; this version reads {STATE_VERSION}"
        )
    return state


def stored_array(blob: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A writable array from stored bytes."""
    return np.frombuffer(blob, dtype).reshape(shape).copy()
