"""docs/api.md is true: its calls are the app's, its examples run, its metrics exist."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import sys
from typing import Any, Final

import pytest

from dashboard.app import create_app
from dashboard.health import STATES
from dashboard.problems import TITLES
from stream.site import Site, parse_site
from stream.store import IngestHealth, Store
from tests.support.dashboards import dashboard
from tests.support.sources import ROOT
from tests.support.stepper import T0, pipeline

PAGE: Final = (ROOT / "docs/api.md").read_text("utf-8")
ADDRESS: Final = "127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    """The page's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def example_site() -> Site:
    """The complete example of docs/site.md."""
    text = (ROOT / "docs/site.md").read_text("utf-8")
    found = re.search(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found
    return parse_site(found[1].encode(), "docs/site.md")


@pytest.fixture
async def document(valkey_url: str) -> dict[str, Any]:
    """The OpenAPI document."""
    store = await Store.connect(valkey_url, "depot")
    app = create_app(store)
    await store.close()
    return app.openapi()


def test_the_calls_are_those_of_the_app(document: dict[str, Any]) -> None:
    """The table in the page and the OpenAPI document list the same calls."""
    told = set(re.findall(r"^\| `([A-Z]+) (/\S*)` \|", PAGE, re.MULTILINE))
    there = {
        (method.upper(), path) for path, calls in document["paths"].items() for method in calls
    }
    assert told == there


def test_the_document_is_complete(document: dict[str, Any]) -> None:
    """Every call has a summary and problem documents; every reference leads somewhere."""
    parts = document["components"]["schemas"]
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            assert call["summary"], (method, path)
            assert call["description"], (method, path)
            problem = call["responses"]["default"]["content"]["application/problem+json"]
            assert problem == {"schema": {"$ref": "#/components/schemas/Problem"}}
            assert "422" not in call["responses"]
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= set(parts)
    assert {"Site", "Trackable", "Zone", "Problem"} <= references


def test_fields_say_their_units(document: dict[str, Any]) -> None:
    """Numbers of the answers are described."""
    parts = document["components"]["schemas"]
    for name in ("Position", "TrackPoint", "Gateway", "UnassignedBeacon"):
        for field, schema in parts[name]["properties"].items():
            kinds = json.dumps(schema)
            if '"number"' in kinds or '"integer"' in kinds:
                assert schema.get("description"), f"{name}.{field}"


def test_kinds_of_problems_and_states_are_told() -> None:
    """Every type of problem and every state of a gateway stands in a table."""
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))
    for word in (*TITLES, *STATES):
        assert f"`{word}`" in rows, word


async def test_the_metrics_are_those_of_the_app(valkey_url: str) -> None:
    """The table of metrics names each with its labels, and no other."""
    async with pipeline(valkey_url) as worker:
        await worker.move(T0, {"mac:9": (1.0, 1.0)})
        store = worker.store
        await store.link.call("HSET", store.keys.refused, "gw-1 clock-ahead", 3)
        health = IngestHealth(T0, T0)
        await store.link.call("SET", store.keys.ingest, b'{"t":%f,"started":1}' % health.t)
        async with dashboard(valkey_url) as board:
            text = (await board.http.get("/metrics")).text
    there = set()
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, labels = line.rpartition(" ")[0].partition("{")
            keys = ",".join(re.findall(r'(\w+)="', labels))
            there.add(f"{name}{{{keys}}}" if keys else name)
    assert set(re.findall(r"^\| `(balise_\S+)` \|", PAGE, re.MULTILINE)) == there


async def run(*words: str) -> str:
    """What a command says; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(), 20.0)
    assert process.returncode == 0, stderr
    return stdout.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_curl_examples_run(valkey_url: str) -> None:
    """In order, against the example site of docs/site.md; none is answered by a problem."""
    commands = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    assert len(commands) > 8
    async with pipeline(valkey_url, example_site()), dashboard(valkey_url, "hall-3") as board:
        for command in commands:
            assert command.startswith("curl -s ")
            here = command.replace(ADDRESS, f"127.0.0.1:{board.port}")
            answer = json.loads(await run(*shlex.split(here)))
            assert "urn:balise:problem" not in json.dumps(answer), command
            assert answer, command
        found = await board.get("/api/v1/trackables?kind=item&q=pallet&limit=50")
        assert [part["id"] for part in found["trackables"]] == ["pallet-17"]


async def test_the_python_example_runs(valkey_url: str) -> None:
    """The client of the page prints what a worker commits."""
    (source,) = blocks("python")
    site = example_site()
    async with pipeline(valkey_url, site) as worker, dashboard(valkey_url, "hall-3") as board:
        beacon = site.trackables[0].beacons[0]
        await worker.move(T0, {beacon: (6.0, 4.0)})
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", source.replace(ADDRESS, f"127.0.0.1:{board.port}")),
            stdout=asyncio.subprocess.PIPE,
        )
        assert client.stdout is not None
        try:
            async with asyncio.timeout(20.0):
                first = (await client.stdout.readline()).decode().split()
                assert first[:2] == [f"{T0:.1f}", "pallet-17"]
                await worker.move(T0 + 0.5, {beacon: (7.0, 4.0)})
                second = (await client.stdout.readline()).decode().split()
        finally:
            client.kill()
            await client.wait()
        fix = worker.committed[-1].fixes[0]
        assert second[:2] == [f"{T0 + 0.5:.1f}", "pallet-17"]
        assert float(second[2]) == pytest.approx(float(fix["x"]), abs=0.011)
        assert float(second[3]) == pytest.approx(float(fix["y"]), abs=0.011)


def test_the_json_examples_are_json() -> None:
    """Each block is one value, or one on a line."""
    for block in blocks("json"):
        decoder, rest = json.JSONDecoder(), block.strip()
        while rest:
            _, end = decoder.raw_decode(rest)
            rest = rest[end:].strip()
