"""The benchmark of the locator's cost runs and its tables have their rows; no time is judged."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.sources import ROOT


def rows(table: str) -> list[list[str]]:
    """The cells of a Markdown table, without its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()][
        2:
    ]


def test_the_benchmark_has_a_row_for_every_crowd_and_size() -> None:
    """Every crowd is there at every size, each figure is one, and scipy stands beside them."""
    pytest.importorskip("scipy", reason="the benchmark needs scipy: make test installs it")
    command = (sys.executable, "benchmarks/locator_cost.py", "--quick")
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    costs, scipy = (rows(table) for table in ran.stdout.strip().split("\n\n"))
    assert [row[:2] for row in costs] == [
        [crowd, size] for crowd in ("items", "pickers", "95 to 5") for size in ("20", "60")
    ]
    for row in costs:
        locator, locator_ratio, engine, engine_ratio, state = (float(cell) for cell in row[2:7])
        assert engine >= locator > 0.0
        assert min(locator_ratio, engine_ratio) >= 1.0
        assert state > 0.0
        assert row[7].endswith("%")
    # All pickers are followed walking; a filter of theirs takes its room in the state.
    assert {row[7] for row in costs if row[0] == "pickers"} == {"100 %"}
    assert len(scipy) == 2
    assert all(float(cell) > 0.0 for row in scipy for cell in row[1:])
