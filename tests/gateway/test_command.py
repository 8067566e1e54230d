"""`balise gateway` as a process: checks, sentences, publishing, and a clean end by signal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.listener import listening, until

BALISE = [sys.executable, "-m", "balise", "gateway"]


def configure(directory: Path, url: str, scanner: str = "") -> Path:
    """A configuration file."""
    path = directory / "gateway.toml"
    path.write_text(
        f'site = "s"\ngateway = "g"\nwindow = 0.5\n[mqtt]\nurl = "{url}"\n[scanner]\n{scanner}\n'
    )
    return path


def record(path: Path, seconds: int) -> None:
    """A recording of one beacon."""
    lines = [
        json.dumps(
            {
                "topic": "balise/v1/s/gateways/g/readings",
                "payload": {
                    "v": 1,
                    "gateway": "g",
                    "boot": "b",
                    "seq": i,
                    "t": 1_700_000_000.0 + i / 2,
                    "window": 0.5,
                    "beacons": ["a"],
                    "rssi": [-60.0],
                    "n": [2],
                },
            }
        )
        for i in range(2 * seconds)
    ]
    path.write_text("\n".join(lines))


def start(path: Path) -> subprocess.Popen[str]:
    """Starts the program."""
    return subprocess.Popen([*BALISE, "--config", str(path)], stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> str:
    """Makes sure that it has ended; what it said."""
    process.kill()
    return process.communicate()[1]


def test_check_says_what_the_file_means(tmp_path: Path) -> None:
    """--check sums the configuration up, without the password, and connects to nothing."""
    path = configure(tmp_path, "mqtt://dock:secret@broker", 'kind = "bluez"')
    done = subprocess.run(
        [*BALISE, "--config", str(path), "--check"], capture_output=True, text=True, check=True
    )
    assert "gateway g of site s" in done.stdout
    assert "mqtt://broker:1883 as dock" in done.stdout
    assert "bluez" in done.stdout
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("scanner", "word"),
    [
        ('kind = "radar"', "scanner.kind"),
        ('kind = "replay"\nrecording = "none.jsonl"', "none.jsonl: cannot be read"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, scanner: str, word: str) -> None:
    """A configuration that cannot work ends the program with 2 and one line."""
    path = configure(tmp_path, "mqtt://127.0.0.1:1", scanner)
    done = subprocess.run([*BALISE, "--config", str(path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert word in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(
    tmp_path: Path, any_broker_url: str, number: signal.Signals
) -> None:
    """Told to stop, the gateway says goodbye, and the program ends with 0."""
    record(tmp_path / "r.jsonl", 600)
    path = configure(
        tmp_path, any_broker_url, 'kind = "replay"\nrecording = "r.jsonl"\nspeed = 4.0'
    )
    async with listening(any_broker_url, "s") as heard:
        process = start(path)
        try:
            await until(lambda: len(heard.batches) >= 3, "three windows")
            process.send_signal(number)
            await until(lambda: process.poll() is not None, "the end")
            await until(lambda: heard.statuses[-1].state == "offline", "the goodbye")
        finally:
            errors = end(process)
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert heard.statuses[0].scanner == "replay"


async def test_a_killed_gateway_is_told_by_its_will(tmp_path: Path, any_broker_url: str) -> None:
    """A gateway that dies without a word is declared offline by the broker."""
    record(tmp_path / "r.jsonl", 600)
    path = configure(
        tmp_path, any_broker_url, 'kind = "replay"\nrecording = "r.jsonl"\nspeed = 4.0'
    )
    async with listening(any_broker_url, "s") as heard:
        process = start(path)
        try:
            await until(lambda: len(heard.batches) >= 1, "a window")
        finally:
            end(process)
        await until(lambda: heard.statuses[-1].state == "offline", "the will")
    assert heard.statuses[-1].boot == heard.batches[0].boot


async def test_a_recording_at_full_speed_ends_by_itself(
    tmp_path: Path, any_broker_url: str
) -> None:
    """An hour replayed as fast as it goes is published whole, then the program ends."""
    record(tmp_path / "r.jsonl", 3_600)
    path = configure(
        tmp_path, any_broker_url, 'kind = "replay"\nrecording = "r.jsonl"\nspeed = inf'
    )
    async with listening(any_broker_url, "s") as heard:
        process = start(path)
        try:
            await until(lambda: process.poll() is not None, "the end", 60.0)
        finally:
            end(process)
        await until(lambda: sum(len(b) for b in heard.batches) >= 7_200, "all readings")
    assert process.returncode == 0
    assert sum(len(b) for b in heard.batches) == 7_200
    assert len({b.seq for b in heard.batches}) == len(heard.batches)
