"""Waiting for processes and conditions in tests: by condition and deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import psutil


def until(condition: Callable[[], bool], what: str, within_s: float = 10.0) -> float:
    """Waits until the condition holds; returns the seconds it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > within_s:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - began


async def until_async(
    condition: Callable[[], Awaitable[bool]] | Callable[[], bool],
    what: str,
    within_s: float = 10.0,
) -> float:
    """As `until`, leaving the event loop free."""
    began = time.monotonic()
    while True:
        answer = condition()
        if answer if isinstance(answer, bool) else await answer:
            return time.monotonic() - began
        if time.monotonic() - began > within_s:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int) -> list[psutil.Process]:
    """All processes below this one."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []
