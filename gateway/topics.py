"""MQTT topics of the contract: how they are built and read, nothing about their payloads."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from gateway.readings import is_name

ROOT: Final = "balise/v1"
Kind = Literal["readings", "status"]


class GatewayTopic(NamedTuple):
    """A parsed gateway topic."""

    site: str
    gateway: str
    kind: Kind


def readings_topic(site: str, gateway: str) -> str:
    """Where a gateway publishes its readings (QoS 1)."""
    return f"{ROOT}/{site}/gateways/{gateway}/readings"


def status_topic(site: str, gateway: str) -> str:
    """Where a gateway keeps its retained status: birth, health, will."""
    return f"{ROOT}/{site}/gateways/{gateway}/status"


def site_filter(site: str) -> str:
    """All of a site's topics, malformed ones included, so that they can be refused and counted."""
    return f"{ROOT}/{site}/#"


def parse_topic(topic: str) -> GatewayTopic | None:
    """The parts of a gateway topic, or None when the topic is not one."""
    levels = topic.split("/")
    if len(levels) != 6 or f"{levels[0]}/{levels[1]}" != ROOT or levels[3] != "gateways":
        return None
    site, gateway, kind = levels[2], levels[4], levels[5]
    if not is_name(site) or not is_name(gateway):
        return None
    if kind == "readings":
        return GatewayTopic(site, gateway, "readings")
    if kind == "status":
        return GatewayTopic(site, gateway, "status")
    return None
