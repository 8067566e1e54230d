"""Entity tags of documents with versions (RFC 9110, section 13.1): the tag is the version."""

from __future__ import annotations


def tag_of(version: object) -> str:
    """The tag of a version."""
    return f'"{version}"'


def matches(header: str, tag: str) -> bool:
    """Whether an If-Match or If-None-Match header names the tag, or any by `*`."""
    tags = [each.strip().removeprefix("W/") for each in header.split(",")]
    return "*" in tags or tag in tags
