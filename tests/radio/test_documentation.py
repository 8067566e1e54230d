"""docs/simulation.md lists every parameter of the virtual radio with its present value."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gateway.radio.faults import LEVELS
from gateway.radio.parameters import RadioParameters, WalkParameters

PAGE = Path(__file__).parents[2] / "docs/simulation.md"


@pytest.mark.parametrize("parameters", [RadioParameters(), WalkParameters()], ids=["radio", "walk"])
def test_every_parameter_is_in_the_page(parameters: RadioParameters | WalkParameters) -> None:
    """By name and value, in one row each, and no row is of a parameter that is gone."""
    rows = [line.split("|") for line in PAGE.read_text("utf-8").splitlines()]
    listed = {row[1].strip(" `"): row[2].strip() for row in rows if len(row) == 5}
    for field in dataclasses.fields(parameters):
        value = getattr(parameters, field.name)
        said = f"{value[0]:g} to {value[1]:g}" if isinstance(value, tuple) else f"{value:g}"
        assert listed.get(field.name) == said, field.name


def test_the_levels_of_faults_are_in_the_page() -> None:
    """The table has the three levels there are."""
    text = PAGE.read_text("utf-8")
    assert "| | none | mild (default) | harsh |" in text
    assert list(LEVELS) == ["none", "mild", "harsh"]
    for level in ("mild", "harsh"):
        faults = LEVELS[level]
        for share in (faults.lost, faults.duplicated, faults.late):
            assert f"{100 * share:g} %" in text
        assert f"{1000 * faults.latency_s:g} ms" in text
        assert f"{faults.outage_s[0]:g} to {faults.outage_s[1]:g} s" in text
