"""`balise simulate --mqtt`: virtual gateways that publish as real ones do, in one process.

Each gateway is the daemon itself (`gateway.daemon.Gateway`) with its own connection, will, boot
and numbers; only its radio is virtual, and its link as faulty as asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Protocol, Self, TextIO

from balise.simulate import TRUTH_FILE, SimulationError, TruthWriter, plan_of, write_site
from gateway.broker_url import parse_broker_url
from gateway.daemon import WINDOW_S, Gateway
from gateway.mqtt import Mqtt, Will
from gateway.radio.air import STEP_S, VirtualRadio
from gateway.radio.faults import Clocks, Faults, FaultyLink, Power, outages
from gateway.radio.parameters import RadioParameters
from gateway.radio.scanner import LiveAir, VirtualScanner
from gateway.readings import decode
from stream.site import Site

# The air hands adverts over a step late, the clocks swing, and a busy loop takes its time.
GRACE_S: Final = STEP_S + 0.05
# How often outages and the truth are looked after.
LOOK_S: Final = 0.25


class Publish(Protocol):
    """What `Mqtt.publish` is."""

    def __call__(
        self, topic: str, payload: bytes, qos: int = 1, retain: bool = False
    ) -> asyncio.Future[None]:
        """The future is done when the broker acknowledged, and fails when it did not."""
        ...


class Ledger:
    """What the broker acknowledged: a line `gateway,boot,seq,readings` per batch, as it happens.

    Args:
        path: the file, appended to; None keeps no ledger.

    Raises:
        SimulationError: when the file cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self.batches = 0
        self.readings = 0
        self._file: TextIO | None = None
        if path is not None:
            try:
                # Line by line, so that it is complete whenever the process ends.
                self._file = path.open("a", buffering=1, encoding="utf-8")
            except OSError as error:
                raise SimulationError(f"{path} cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def note(self, payload: bytes) -> None:
        """Notes a batch that the broker has."""
        batch = decode(payload)
        self.batches += 1
        self.readings += len(batch)
        if self._file is not None and not self._file.closed:
            self._file.write(f"{batch.gateway},{batch.boot},{batch.seq},{len(batch)}\n")


class FaultyPublish:
    """A gateway's way to the broker over a faulty link: readings come late, twice, or get lost.

    Args:
        publish: as `Mqtt.publish`, the sound way.
        link: decides each message's fate; statuses always go straight.
        ledger: notes what the broker acknowledged.
    """

    def __init__(self, publish: Publish, link: FaultyLink, ledger: Ledger) -> None:
        self._publish: Final = publish
        self._link: Final = link
        self._ledger: Final = ledger

    def __call__(
        self, topic: str, payload: bytes, qos: int = 1, retain: bool = False
    ) -> asyncio.Future[None]:
        """Publishes, in the time and number of copies that the link decides."""
        if not topic.endswith("/readings"):
            return self._publish(topic, payload, qos, retain)
        delays = self._link.delays()
        if not delays:
            # Lost behind the broker's back: the gateway believes that it was taken.
            taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            taken.set_result(None)
            return taken
        send = partial(self._publish, topic, payload, qos, retain)
        first, *copies = [_after(delay, send) for delay in delays]
        first.add_done_callback(partial(self._settled, payload))
        for copy in copies:
            # Nobody waits for it; its failure is looked at, so that nobody complains of it.
            copy.add_done_callback(lambda done: done.cancelled() or done.exception())
        return first

    def _settled(self, payload: bytes, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._ledger.note(payload)


def _after(delay: float, send: Callable[[], asyncio.Future[None]]) -> asyncio.Future[None]:
    """Sends after `delay` seconds; the future settles as the sent one does."""
    if delay <= 0.0:
        return send()
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(sent: asyncio.Future[None]) -> None:
        error = None if sent.cancelled() else sent.exception()
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
            done.exception()

    loop.call_later(delay, lambda: send().add_done_callback(settle))
    return done


class _FaultyMqtt(Mqtt):
    """The real client, whose messages pass a faulty link first."""

    def __init__(
        self,
        link: FaultyLink,
        ledger: Ledger,
        url: str,
        client_id: str,
        *,
        will: Callable[[], Will],
        on_up: Callable[[], None],
    ) -> None:
        super().__init__(url, client_id, will=will, on_up=on_up)
        self._over: Final = FaultyPublish(super().publish, link, ledger)

    def publish(
        self, topic: str, payload: bytes, qos: int = 1, retain: bool = False
    ) -> asyncio.Future[None]:
        """As `Mqtt.publish`, in the time and number of copies that the link decides."""
        return self._over(topic, payload, qos, retain)


class _Seat:
    """One virtual gateway's place: it runs, loses its power, and starts again with a new boot.

    Args:
        make: a new gateway on the `client` given.
        link: its link's faults, which outlive a boot.
        ledger: notes what the broker acknowledged.
    """

    def __init__(self, make: Callable[..., Gateway], link: FaultyLink, ledger: Ledger) -> None:
        self._make: Final = make
        self._link: Final = link
        self._ledger: Final = ledger
        self._mqtt: Mqtt | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending: Final[set[asyncio.Task[None]]] = set()

    def power_on(self) -> None:
        """Starts the gateway unless it runs."""
        if self._task is not None:
            return
        self._task = asyncio.create_task(self._make(client=self._connection).run())

    def _connection(
        self, url: str, client_id: str, *, will: Callable[[], Will], on_up: Callable[[], None]
    ) -> Mqtt:
        """The daemon's connection, over the faulty link; called as Mqtt is."""
        self._mqtt = _FaultyMqtt(self._link, self._ledger, url, client_id, will=will, on_up=on_up)
        return self._mqtt

    def power_off(self) -> None:
        """Ends the gateway without a goodbye: the broker publishes its will."""
        if self._task is None or self._mqtt is None:
            return
        self._mqtt.cut()
        self._ending.add(self._task)
        self._task.add_done_callback(self._ending.discard)
        self._task.cancel()
        self._task = None

    def check(self) -> None:
        """Raises what ended the gateway, if anything did."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Ends the gateway in good order: what it holds is sent first, as far as that goes."""
        tasks = [*self._ending, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def live(
    site: Site,
    url: str,
    stop: asyncio.Event,
    ledger: Ledger,
    *,
    seed: int = 1,
    window_s: float = WINDOW_S,
    faults: Faults | None = None,
    out: Path | None = None,
    seconds: float | None = None,
    radio: RadioParameters | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Publishes a site's gateways until `stop` is set, or for some seconds.

    Args:
        site: the site.
        url: the broker.
        stop: ends it in good order.
        ledger: notes what the broker acknowledged.
        seed: of everything random but boots.
        window_s: the gateways' window in seconds.
        faults: of links and power; none by default.
        out: directory for site.json and truth.csv, which must exist; None writes neither.
        seconds: how long; None is until stopped.
        radio: how the air behaves.
        clock: Unix seconds.

    Raises:
        BrokerUrlError: the URL cannot be used.
        SimulationError: there is nothing to simulate.
    """
    faults = faults or Faults()
    begin = clock() // STEP_S * STEP_S
    radio_ = VirtualRadio(plan_of(site), seed, begin, radio)
    clocks = Clocks(radio_.parameters, len(radio_.gateways), seed)
    power = Power(outages(faults, len(radio_.gateways), seed, begin))
    air = LiveAir(radio_, clocks, clock)
    seats = [
        _Seat(
            partial(
                Gateway,
                site.id,
                name,
                VirtualScanner(air, row),
                url,
                window=window_s,
                grace=GRACE_S,
            ),
            FaultyLink(faults, seed, row),
            ledger,
        )
        for row, name in enumerate(radio_.gateways)
    ]
    truth = None
    if out is not None:
        write_site(out, site)
        truth = TruthWriter(out / TRUTH_FILE, site, radio_.world)
    # Making all this took time; what was sent meanwhile would only be late.
    radio_.skip(clock() - radio_.now)
    for seat in seats:
        seat.power_on()
    airing = asyncio.create_task(air.run())
    try:
        while not (stop.is_set() or airing.done() or clock() - begin >= (seconds or math.inf)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await stop.wait()
            off = set(power.off(clock()))
            for row, seat in enumerate(seats):
                seat.check()
                if row in off:
                    seat.power_off()
                else:
                    seat.power_on()
            if truth is not None:
                truth.upto(radio_.now)
                truth.flush()
    finally:
        # The air first: what was said is still to be published, nothing is to be added.
        airing.cancel()
        await asyncio.wait([airing])
        await asyncio.gather(*(seat.stop() for seat in seats))
        if truth is not None:
            truth.close()
    if not airing.cancelled():
        airing.result()


def run_live(
    site: Site,
    url: str,
    *,
    seed: int,
    window_s: float,
    faults: Faults,
    out: Path | None,
    seconds: float | None,
    ledger_file: Path | None,
) -> int:
    """`live` as a program: SIGTERM and Ctrl-C end it in good order. Returns the exit status."""

    async def main(ledger: Ledger) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        # Said when it can be stopped.
        print(
            f"site {site.id}: {len(site.gateways)} virtual gateways and {beacons} beacons "
            f"publish to {broker}; Ctrl-C stops",
            flush=True,
        )
        await live(
            site,
            url,
            stop,
            ledger,
            seed=seed,
            window_s=window_s,
            faults=faults,
            out=out,
            seconds=seconds,
        )

    broker = parse_broker_url(url)
    beacons = sum(len(part.beacons) for part in site.trackables)
    with Ledger(ledger_file) as ledger:
        asyncio.run(main(ledger))
        print(f"published {ledger.readings:,} readings in {ledger.batches:,} batches")
    return 0
