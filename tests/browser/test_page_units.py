"""The page's own tests, run against frames that the dashboard's encoder made a moment ago."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from dashboard.live import encode_frame
from stream.fixes import NONE, Fixes, empty

WEB: Final = Path(__file__).parents[2] / "dashboard" / "web"
VITEST: Final = WEB / "node_modules" / "vitest" / "vitest.mjs"


def vector(
    name: str, fixes: Fixes, ages: list[float] | None, origin: tuple[float, float]
) -> dict[str, Any]:
    """A frame in hexadecimal, and what must come out of it, computed without the encoder."""
    sequence, t, version = 4_000_000_000 + len(fixes), 1_785_153_600.5, 70_000

    def centimetres(values: Any, start: float) -> list[int]:
        return [min(max(round((float(value) - start) * 100), 0), 65_535) for value in values]

    frame = encode_frame(
        fixes,
        sequence=sequence,
        t=t,
        version=version,
        origin=origin,
        ages=None if ages is None else np.array(ages),
    )
    return {
        "name": name,
        "frame": frame.hex(),
        "snapshot": ages is not None,
        "sequence": sequence,
        "t": t,
        "site_version": version,
        "columns": {
            "row": fixes["trackable"].tolist(),
            "xCm": centimetres(fixes["x"], origin[0]),
            "yCm": centimetres(fixes["y"], origin[1]),
            "age": [0] * len(fixes) if ages is None else [min(round(age), 65_535) for age in ages],
            "accuracyCm": centimetres(fixes["accuracy"], 0.0),
            "zone": fixes["zone"].tolist(),
            "floor": fixes["floor"].tolist(),
            "speedDm": [min(round(float(speed) * 10), 255) for speed in fixes["speed"]],
        },
    }


def some_fixes(count: int) -> Fixes:
    """Fixes whose columns all differ, with the extremes of each among them."""
    fixes = empty(count)
    rows = np.arange(count)
    fixes["trackable"] = rows * 70_001
    fixes["floor"] = rows % 64
    fixes["x"] = -20.0 + rows * 1.25
    fixes["y"] = 30.0 + rows * 0.75
    fixes["accuracy"] = 0.5 + rows * 0.25
    fixes["speed"] = rows * 0.5
    fixes["zone"] = np.where(rows % 3, rows, NONE)
    return fixes


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of frames."""
    made = [
        vector("a delta", some_fixes(5), None, (-20.0, 30.0)),
        vector("a tick without fixes", some_fixes(0), None, (0.0, 0.0)),
        vector(
            "a snapshot with an odd number of fixes, of all ages",
            some_fixes(3),
            [0.0, 59.6, 1e9],
            (-20.0, 30.0),
        ),
        vector("values beyond the columns", some_fixes(600), None, (-20.0, 30.0)),
    ]
    path = tmp_path_factory.mktemp("vectors") / "frames.json"
    path.write_text(json.dumps(made), "ascii")
    return path


def test_the_page_reads_what_the_server_writes(vectors: Path) -> None:
    """The page's decoder, tags, camera and texts pass their tests, none of them left out."""
    node = shutil.which("node")
    if node is None or not VITEST.is_file():
        pytest.skip("the page's tools are not installed (npm ci in dashboard/web)")
    done = subprocess.run(
        [node, str(VITEST), "run", "--reporter=json"],
        cwd=WEB,
        env={**os.environ, "BALISE_VECTORS": str(vectors)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    said = done.stdout[done.stdout.find("{") :]
    assert said, done.stderr
    report = json.loads(said)
    failed = [
        f"{test['fullName']}: {' '.join(test['failureMessages'])[:400]}"
        for file in report["testResults"]
        for test in file["assertionResults"]
        if test["status"] != "passed"
    ]
    assert not failed, "\n".join(failed)
    assert report["success"], done.stderr
    assert report["numPassedTests"] >= 30
