"""The spool: batches that wait for the broker's acknowledgement, oldest first, bounded.

Knows no broker and no clock: it says what is to be sent next and forgets what was acknowledged.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, NamedTuple


class Spooled(NamedTuple):
    """A batch that waits: its number and its bytes."""

    seq: int
    payload: bytes


class Spool:
    """Keeps batches in order until they are acknowledged; drops the oldest when full.

    Args:
        max_batches: batches kept.
        max_bytes: bytes of payload kept.

    Attributes:
        dropped: batches given up because the spool was full or the broker can never take them.
        bytes: payload bytes waiting.
    """

    def __init__(self, max_batches: int, max_bytes: int) -> None:
        self.max_batches: Final = max_batches
        self.max_bytes: Final = max_bytes
        self.dropped = 0
        self.bytes = 0
        self._waiting: Final[OrderedDict[int, bytes]] = OrderedDict()
        self._unsent: Final[deque[int]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, batch: Spooled) -> None:
        """Takes a batch in; numbers must rise."""
        self._waiting[batch.seq] = batch.payload
        self._unsent.append(batch.seq)
        self.bytes += len(batch.payload)
        while len(self._waiting) > self.max_batches or self.bytes > self.max_bytes:
            _, payload = self._waiting.popitem(last=False)
            self.bytes -= len(payload)
            self.dropped += 1
        # While the broker is away nobody takes, so the numbers of what was dropped go here.
        while self._unsent and self._unsent[0] not in self._waiting:
            self._unsent.popleft()

    def take(self) -> Spooled | None:
        """The next batch to send; it stays until it is acknowledged."""
        while self._unsent:
            seq = self._unsent.popleft()
            payload = self._waiting.get(seq)
            if payload is not None:
                return Spooled(seq, payload)
        return None

    def acknowledged(self, seq: int) -> bool:
        """Forgets a batch that the broker has; False for one that was no longer here."""
        payload = self._waiting.pop(seq, None)
        if payload is None:
            return False
        self.bytes -= len(payload)
        return True

    def give_up(self, seq: int) -> None:
        """Drops a batch that can never be sent."""
        if self.acknowledged(seq):
            self.dropped += 1

    def rewind(self) -> None:
        """Everything unacknowledged is to be sent again, from the oldest on."""
        self._unsent.clear()
        self._unsent.extend(self._waiting)
