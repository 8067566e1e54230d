"""docs/install-gateways.md keeps its word: its file loads, its sentences are the code's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.config import GatewayConfig, load_config

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs/install-gateways.md").read_text("utf-8")
TOML: Final = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def load(directory: Path, text: str) -> GatewayConfig:
    """Reads a configuration with its password beside it."""
    (directory / "mqtt-password").write_text("secret\n")
    path = directory / "gateway.toml"
    path.write_text(text)
    return load_config(path)


def test_the_configuration_loads(tmp_path: Path) -> None:
    """The example is a configuration, with the password from its file."""
    config = load(tmp_path, TOML[0])
    assert (config.site, config.gateway, config.mqtt.password) == ("hall-3", "dock-1", "secret")
    assert config.filters.altbeacon == []


def test_the_defaults_are_as_said(tmp_path: Path) -> None:
    """What the example sets to its default is the default."""
    shown = load(tmp_path, TOML[0])
    least = load(tmp_path, 'site = "s"\ngateway = "g"\n[mqtt]\nurl = "mqtt://b"\n')
    assert (shown.window, shown.spool) == (least.window, least.spool)
    assert (shown.scanner.kind, shown.scanner.silence) == ("auto", least.scanner.silence)
    assert shown.filters.random_mac == least.filters.random_mac


def every_key(part: Any, prefix: str = "") -> set[str]:
    """The dotted names of all settings."""
    found: set[str] = set()
    for name in part.__struct_fields__:
        value = getattr(part, name)
        if hasattr(value, "__struct_fields__"):
            found |= every_key(value, f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found


def test_the_table_lists_every_key(tmp_path: Path) -> None:
    """Each setting has its line, and no line names another."""
    part = PAGE.split("\n## gateway.toml\n", 1)[1].split("\n## ", 1)[0]
    cells = re.findall(r"^\| (`[^|]+) \|", part, re.MULTILINE)
    listed = {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}
    assert listed == every_key(load(tmp_path, TOML[0]))


SAID: Final = PAGE.split("| it says | do |\n|---|---|\n")[1].split("\n\n")[0].splitlines()


@pytest.mark.parametrize("row", SAID)
def test_the_sentences_are_the_code_s(row: str) -> None:
    """What the page says that a gateway says stands in the code, names filled in."""
    sentence = row.strip("| ").split(" | ")[0]
    code = "".join(
        (ROOT / "gateway" / name).read_text("utf-8")
        for name in ("bluez.py", "scanner_bleak.py", "mqtt.py")
    )
    joined = re.sub(r'"\s*f?"', "", code)  # strings over several lines
    pattern = re.escape(sentence)
    for word in ("hci0", "the\\ broker"):
        pattern = pattern.replace(word, r"\{[a-z._]+\}")
    pattern = pattern.replace("a\\ message\\ is", r"a message of \{size\} bytes is")
    assert re.search(pattern, joined), sentence
