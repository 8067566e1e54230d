"""`balise simulate --mqtt`: virtual gateways at a real broker, and a ledger that reconciles."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from balise.simulate import SimulationError, warehouse_site
from balise.simulate_live import Ledger, live
from gateway.radio.faults import Faults
from gateway.readings import Batch
from stream.site import Site, load_site
from stream.truth import load_truth
from tests.support.listener import Listener, listening, until
from tests.support.processes import until as until_sync

# The command by its module, since the test is of it and not of the dispatcher.
PROGRAM = """
import argparse, sys
from balise.commands import simulate
parser = argparse.ArgumentParser()
simulate.add_arguments(parser)
sys.exit(simulate.run(parser.parse_args()))
"""


@pytest.fixture(scope="module")
def site() -> Site:
    """A small warehouse."""
    return warehouse_site(1, width_m=24, depth_m=20, gateways=4, items=20, pickers=3)


def key(batch: Batch) -> str:
    """A batch as the ledger writes it."""
    return f"{batch.gateway},{batch.boot},{batch.seq},{len(batch)}"


@asynccontextmanager
async def running(
    site: Site, url: str, ledger: Ledger, faults: Faults | None = None, out: Path | None = None
) -> AsyncIterator[Listener]:
    """The simulation and a listener; when the block ends, the simulation has ended in order."""
    stop = asyncio.Event()
    async with listening(url, site.id) as listener:
        task = asyncio.create_task(
            live(site, url, stop, ledger, window_s=0.25, faults=faults, out=out)
        )
        try:
            yield listener
        finally:
            stop.set()
            await task
            if faults is None:
                await until(lambda: len(listener.batches) >= ledger.batches, "the last batches")


async def test_the_ledger_is_what_arrived(site: Site, broker_url: str, tmp_path: Path) -> None:
    """Without faults nothing is lost or doubled: broker, gateways' numbers and ledger agree."""
    path = tmp_path / "ledger.csv"
    with Ledger(path) as ledger:
        async with running(site, broker_url, ledger) as listener:
            await until(lambda: len(listener.batches) > 60, "60 batches")
    arrived = Counter(map(key, listener.batches))
    assert set(arrived.values()) == {1}
    assert Counter(path.read_text().split()) == arrived
    assert ledger.readings == sum(map(len, listener.batches)) > 0
    for gateway in site.gateways:
        own = [batch for batch in listener.batches if batch.gateway == gateway.id]
        assert [batch.seq for batch in own] == list(range(1, len(own) + 1))
        assert len({batch.boot for batch in own}) == 1


async def test_the_ledger_is_written_as_it_happens(
    site: Site, broker_url: str, tmp_path: Path
) -> None:
    """Whole lines are in the file while the simulation runs."""
    path = tmp_path / "ledger.csv"
    with Ledger(path) as ledger:
        async with running(site, broker_url, ledger):
            await until(lambda: path.read_text().count("\n") > 10, "10 lines of the ledger")
            assert all(len(line.split(",")) == 4 for line in path.read_text().splitlines())


async def test_gateways_say_who_they_are_and_goodbye(site: Site, broker_url: str) -> None:
    """Every gateway has its own retained status, online and then offline."""
    with Ledger(None) as ledger:
        async with running(site, broker_url, ledger) as listener:
            await until(lambda: len(listener.statuses) >= 4, "all births")
            assert {status.scanner for status in listener.statuses} == {"virtual"}
            assert {status.state for status in listener.statuses} == {"online"}
        await_offline = {gateway.id for gateway in site.gateways}
    async with listening(broker_url, site.id, "later") as later:
        await until(
            lambda: {s.gateway for s in later.statuses if s.state == "offline"} == await_offline,
            "all goodbyes, retained",
        )


async def test_a_power_cut_publishes_the_will_and_a_new_boot_follows(
    site: Site, broker_url: str
) -> None:
    """Outages end gateways without a goodbye; they return under a new boot, numbered from 1."""
    faults = Faults(outage_every_s=0.4, outage_s=(0.3, 0.6))
    with Ledger(None) as ledger:
        async with running(site, broker_url, ledger, faults) as listener:
            await until(
                lambda: len({(b.gateway, b.boot) for b in listener.batches}) > 6,
                "gateways that came back",
                60.0,
            )
    # A will was written when the connection began, so it knows of no batch; a goodbye does.
    sent = {(batch.gateway, batch.boot) for batch in listener.batches}
    assert any(
        status.state == "offline"
        and status.published == 0
        and (status.gateway, status.boot) in sent
        for status in listener.statuses
    )
    firsts: dict[tuple[str, str], int] = {}
    for batch in listener.batches:
        firsts.setdefault((batch.gateway, batch.boot), batch.seq)
    assert set(firsts.values()) == {1}


async def test_a_faulty_link_loses_doubles_and_delays(site: Site, broker_url: str) -> None:
    """What the gateway believes published has gaps at the broker, and copies; statuses go well."""
    faults = Faults(
        latency_s=0.005, latency_sigma=0.5, lost=0.2, duplicated=0.3, late=0.2, late_s=(0.5, 1.0)
    )
    with Ledger(None) as ledger:
        async with running(site, broker_url, ledger, faults) as listener:
            await until(lambda: len(listener.batches) > 120, "120 batches", 60.0)
    arrived = Counter(map(key, listener.batches))
    assert max(arrived.values()) == 2
    own = [batch.seq for batch in listener.batches if batch.gateway == "gw-01"]
    assert set(own) < set(range(1, max(own) + 1))
    assert own != sorted(own)


async def test_the_truth_is_written_too(site: Site, broker_url: str, tmp_path: Path) -> None:
    """With --out: the site and, second by second, where everything is."""
    with Ledger(None) as ledger:
        async with running(site, broker_url, ledger, out=tmp_path):
            await until(
                lambda: (
                    (tmp_path / "truth.csv").exists()
                    and (tmp_path / "truth.csv").read_text().count("\n") > 46
                ),
                "two seconds of truth",
            )
    assert load_site(tmp_path / "site.json") == site
    assert len(load_truth(tmp_path / "truth.csv", site)) == 23


async def test_it_ends_by_itself_after_its_seconds(site: Site, broker_url: str) -> None:
    """`--seconds` holds live too."""
    with Ledger(None) as ledger:
        async with asyncio.timeout(20):
            await live(site, broker_url, asyncio.Event(), ledger, window_s=0.25, seconds=1.0)
        assert ledger.batches > 0


async def test_a_terminated_program_leaves_a_complete_ledger(
    site: Site, broker_url: str, tmp_path: Path
) -> None:
    """After SIGTERM the ledger holds every batch that arrived, and the program says its sum."""
    path = tmp_path / "ledger.csv"
    words = ("--warehouse", "1", "--width", "24", "--depth", "20", "--gateways", "4")
    more = ("--items", "20", "--pickers", "3", "--faults", "none", "--window", "0.25")
    live_words = ("--mqtt", broker_url, "--ledger", str(path))
    async with listening(broker_url, site.id) as listener:
        program = subprocess.Popen(  # noqa: ASYNC220  # started at once; what it does is awaited
            [sys.executable, "-c", PROGRAM, *words, *more, *live_words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            await until(lambda: len(listener.batches) > 20, "20 batches")
            program.send_signal(signal.SIGTERM)
            said, complaints = await asyncio.to_thread(program.communicate, timeout=20)
        finally:
            program.kill()
            program.wait()
        lines = path.read_text().split()
        await until(lambda: len(listener.batches) >= len(lines), "the last batches")
    assert program.returncode == 0, complaints
    assert Counter(lines) == Counter(map(key, listener.batches))
    assert f"in {len(lines):,} batches" in said
    assert "Traceback" not in complaints


def test_a_ledger_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """Named by its path."""
    with pytest.raises(SimulationError, match=r"ledger\.csv cannot be written"):
        Ledger(tmp_path / "none" / "ledger.csv")


def test_the_program_waits_for_a_broker(tmp_path: Path) -> None:
    """Without a broker it neither fails nor forgets to end at SIGTERM."""
    words = ("--warehouse", "1", "--items", "5", "--gateways", "2")
    more = ("--ledger", str(tmp_path / "ledger.csv"))
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words, *more, "--mqtt", "mqtt://127.0.0.1:1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert program.stdout is not None
        assert "2 virtual gateways" in program.stdout.readline()
        program.send_signal(signal.SIGTERM)
        until_sync(lambda: program.poll() is not None, "the program ended", 20.0)
        assert program.returncode == 0
        assert "published 0 readings" in program.stdout.read()
    finally:
        program.kill()
        program.communicate()
