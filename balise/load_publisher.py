"""The publisher of `balise bench`: a process of its own, so that its work is not the pipeline's.

Encodes everything first and says `ready` on standard output. Then it publishes: each window at its
end, or as fast as the lines on its standard input allow, each saying how many messages may have
been published by now (an embedded broker drops silently what piles up beyond its bound, so a
flat-out publisher has to be held to what the pipeline has taken). Tells what it did in JSON lines.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Final

from balise.load import WINDOW_S, Load, make_load, window
from gateway.mqtt import Mqtt
from gateway.readings import encode
from gateway.topics import readings_topic

# Unacknowledged messages at a time: as many gateways of a hall would have under way together.
_UNDER_WAY: Final = 100

Messages = list[tuple[str, bytes]]


def encoded(load: Load, number: int, t: float, boot: str) -> Messages:
    """One window's messages."""
    return [
        (readings_topic(load.site.id, batch.gateway), encode(batch))
        for batch in window(load, number, t, boot)
    ]


async def main() -> None:
    """`--mqtt URL --beacons N --windows K --boot B [--ago SECONDS] [--paced]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mqtt", required=True)
    parser.add_argument("--beacons", type=int, required=True)
    parser.add_argument("--windows", type=int, required=True)
    parser.add_argument("--boot", required=True)
    parser.add_argument("--ago", type=int, default=0)
    parser.add_argument("--paced", action="store_true")
    args = parser.parse_args()
    load = make_load(args.beacons)
    mqtt = Mqtt(args.mqtt, f"balise-bench-{args.boot}")
    task = asyncio.create_task(mqtt.run())
    await mqtt.wait_connected()
    try:
        if args.paced:
            await _paced(mqtt, load, args.windows, args.boot)
        else:
            await _flat_out(mqtt, load, args.windows, args.boot, args.ago)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _flat_out(mqtt: Mqtt, load: Load, windows: int, boot: str, ago: int) -> None:
    # Stamps that end at the present: late ones would be counted instead of located.
    first = float(int(time.time())) - windows - ago
    messages = [
        message
        for k in range(windows)
        for message in encoded(load, k + 1, first + k * WINDOW_S, boot)
    ]
    _tell(ready=True)
    allowed = int(await asyncio.to_thread(sys.stdin.readline))
    began, cpu = time.time(), time.process_time()
    free = asyncio.Semaphore(_UNDER_WAY)
    for number, (topic, payload) in enumerate(messages):
        while number >= allowed:
            allowed = int(await asyncio.to_thread(sys.stdin.readline))
        await free.acquire()
        mqtt.publish(topic, payload).add_done_callback(lambda _: free.release())
    for _ in range(_UNDER_WAY):
        await free.acquire()
    _tell(
        began=began,
        ended=time.time(),
        cpu=time.process_time() - cpu,
        messages=len(messages),
        bytes=sum(len(payload) for _, payload in messages),
    )


async def _paced(mqtt: Mqtt, load: Load, windows: int, boot: str) -> None:
    _tell(ready=True)
    first = float(int(time.time())) + 2.0
    for k in range(windows):
        end = first + k * WINDOW_S
        messages = encoded(load, k + 1, end, boot)
        await asyncio.sleep(max(0.0, end - time.time()))
        began = time.time()
        sent = [mqtt.publish(topic, payload) for topic, payload in messages]
        handed = time.time()
        await asyncio.gather(*sent)
        _tell(t=end, began=began, handed=handed, acknowledged=time.time())


def _tell(**words: object) -> None:
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
