"""Decoders against published advertisements, near misses, filters and noise."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decoders import APPLE, EDDYSTONE, Identities
from gateway.readings import is_beacon

MAC = "6A:6B:C9:A2:3E:43"


class Data(NamedTuple):
    """An advertisement's data as scanners hand it over."""

    manufacturer: dict[int, bytes]
    service: dict[str, bytes]


def parse(payload: str) -> Data:
    """Splits an advertising payload (hexadecimal) into its manufacturer and service data."""
    data = bytes.fromhex(payload)
    manufacturer: dict[int, bytes] = {}
    service: dict[str, bytes] = {}
    while len(data) > 1 and data[0]:
        kind, body, data = data[1], data[2 : 1 + data[0]], data[1 + data[0] :]
        if kind == 0xFF:
            manufacturer[int.from_bytes(body[:2], "little")] = body[2:]
        elif kind == 0x16:
            short = int.from_bytes(body[:2], "little")
            service[f"0000{short:04x}-0000-1000-8000-00805f9b34fb"] = body[2:]
    return Data(manufacturer, service)


# Published advertisements. Sources:
# ble_monitor: test_ibeacon_parser.py, test_altbeacon_parser.py (recorded packets; HCI header cut).
# android-beacon-library: AltBeaconParserTest.java.
# beacontools: tests/test_parser.py.
PUBLISHED = [
    pytest.param(
        "02011A1AFF4C000215E2C56DB5DFFB48D2B060D0F5A71096E000640000C5",
        "ibeacon:e2c56db5-dffb-48d2-b060-d0f5a71096e0:100:0",
        id="ble_monitor iBeacon",
    ),
    pytest.param(
        "0201061aff4c0002154142434445464748494041424344454600010002f8",
        "ibeacon:41424344-4546-4748-4940-414243444546:1:2",
        id="beacontools iBeacon",
    ),
    pytest.param(
        "0201041aff4c00021500050001000010008000008" + "05f9b013100026c66c3",
        "ibeacon:00050001-0000-1000-8000-00805f9b0131:2:27750",
        id="beacontools iBeacon of a Cypress sensor",
    ),
    pytest.param(
        "1BFFFFFFBEACD3162F5AF3EE494799DB09756062D0FC005A0005C400",
        "altbeacon:d3162f5a-f3ee-4947-99db-09756062d0fc:90:5",
        id="ble_monitor AltBeacon",
    ),
    pytest.param(
        "02011a1bff1801beac2f234454cf6d4a0fadf2f4911ba9ffa600010002c50900",
        "altbeacon:2f234454-cf6d-4a0f-adf2-f4911ba9ffa6:1:2",
        id="android-beacon-library AltBeacon",
    ),
    pytest.param(
        "02011a1bff1801beac2f234454cf6d4a0fadf2f4911ba9ffa600050003be02"
        "0e09526164426561636f6e20555342020a0300000000000000000000000000",
        "altbeacon:2f234454-cf6d-4a0f-adf2-f4911ba9ffa6:5:3",
        id="android-beacon-library AltBeacon of a RadBeacon",
    ),
    pytest.param(
        "0201060303aafe1716aafe00e3123456789012346789010000000000010000",
        "eddystone:12345678901234678901:000000000001",
        id="beacontools Eddystone-UID",
    ),
]

# Published too, but of nobody whom we name: phones, other frames, other formats.
NAMELESS = [
    pytest.param("02011A020A0C0FFF4C000F06A033BD08C5001002440C", id="ble_monitor iPhone 1"),
    pytest.param("02011A020A0C0AFF4C001005441CBD08C5", id="ble_monitor iPhone 2"),
    pytest.param(
        "02011a1aff1801ffff2f234454cf6d4a0fadf2f4911ba9ffa600010002c509",
        id="android-beacon-library wrong format",
    ),
    pytest.param(
        "02011a1bff1801aabb2f234454cf6d4a0fadf2f4911ba9ffa600010002c50900",
        id="android-beacon-library other type code",
    ),
    pytest.param("0303AAFE1316AAFE10F803676974687562006369747275" + "7a", id="beacontools URL"),
    pytest.param("0201060303aafe1116aafe20000b18130000001467" + "00002ac4", id="beacontools TLM"),
    pytest.param("0201060303aafe0d16aafe30e34549445f74657374", id="beacontools EID"),
    pytest.param(
        "0201060303abfe1716abfe00e3123456789012346789010000000000010000",
        id="beacontools wrong service",
    ),
    pytest.param("", id="no data at all"),
]


@pytest.mark.parametrize(("payload", "beacon"), PUBLISHED)
def test_published_adverts_are_named(payload: str, beacon: str) -> None:
    """Every published advertisement gets its one id, whatever its address is."""
    for random in (False, True):
        assert Identities().identify(MAC, *parse(payload), random=random) == beacon


@pytest.mark.parametrize("payload", NAMELESS)
def test_others_go_by_their_public_address_only(payload: str) -> None:
    """What has no id of its own is named by its MAC, unless that is a random one."""
    data = parse(payload)
    assert Identities().identify(MAC, *data) == f"mac:{MAC}"
    assert Identities().identify(MAC, *data, random=True) is None
    assert Identities(random_mac=True).identify(MAC, *data, random=True) == f"mac:{MAC}"


@pytest.mark.parametrize("payload", [row.values[0] for row in PUBLISHED])
def test_one_byte_more_or_less_is_another_format(payload: str) -> None:
    """Lengths are strict: a byte too many or too few, and the advertisement has no id."""
    data = parse(payload)
    for extra, cut in ((b"\0", None), (b"", -1)):
        bent = Data(
            {k: (v + extra)[:cut] for k, v in data.manufacturer.items()},
            {k: (v + extra)[:cut] for k, v in data.service.items()},
        )
        assert Identities().identify(MAC, *bent, random=True) is None


def test_eddystone_without_its_reserved_bytes_is_read() -> None:
    """Makers that leave out the two reserved bytes are understood."""
    frame = bytes([0, 0xE3, *range(10), *range(6)])
    beacon = Identities().identify(MAC, {}, {EDDYSTONE: frame}, random=True)
    assert beacon == "eddystone:00010203040506070809:000102030405"


ONE, TWO = "e2c56db5-dffb-48d2-b060-d0f5a71096e0", "41424344-4546-4748-4940-414243444546"


@pytest.mark.parametrize(
    ("filters", "row", "heard"),
    [
        ({"ibeacon": [ONE.upper()]}, 0, True),
        ({"ibeacon": [ONE]}, 1, False),
        ({"ibeacon": [ONE, TWO.replace("-", "")]}, 1, True),
        ({"ibeacon": []}, 0, False),
        ({"altbeacon": ["d3162f5a-f3ee-4947-99db-09756062d0fc"]}, 3, True),
        ({"altbeacon": [ONE]}, 3, False),
        ({"altbeacon": []}, 3, False),
        ({"altbeacon": []}, 0, True),
        ({"eddystone": ["12345678901234678901"]}, 6, True),
        ({"eddystone": ["12345678901234678902"]}, 6, False),
        ({"eddystone": []}, 6, False),
    ],
)
def test_filters(filters: dict[str, list[str]], row: int, heard: bool) -> None:
    """A list lets its own through and nobody else, and leaves the other kinds alone."""
    payload, beacon = PUBLISHED[row].values
    assert isinstance(payload, str)
    found = Identities(**filters).identify(MAC, *parse(payload), random=True)  # type: ignore[arg-type]  # the table holds lists only
    assert found == (beacon if heard else None)


def test_a_foreign_beacon_does_not_come_back_as_a_mac() -> None:
    """Another owner's iBeacon is dropped; with iBeacons switched off it is a plain MAC."""
    payload = PUBLISHED[0].values[0]
    assert isinstance(payload, str)
    data = parse(payload)
    assert Identities(ibeacon=[TWO]).identify(MAC, *data) is None
    assert Identities(ibeacon=[]).identify(MAC, *data) == f"mac:{MAC}"


def test_a_beacon_of_two_formats_goes_by_the_one_that_is_listened_to() -> None:
    """A tag that sends iBeacon and Eddystone frames keeps one id."""
    first, last = (PUBLISHED[i].values[0] for i in (0, 6))
    assert isinstance(first, str)
    assert isinstance(last, str)
    both = (parse(first).manufacturer, parse(last).service)
    assert str(Identities().identify(MAC, *both)).startswith("ibeacon:")
    assert str(Identities(ibeacon=[]).identify(MAC, *both)).startswith("eddystone:")
    assert str(Identities(ibeacon=[TWO]).identify(MAC, *both)).startswith("eddystone:")


@pytest.mark.parametrize(
    ("prefixes", "heard"),
    [
        (None, True),
        ([], False),
        (["6a:6b:c9"], True),
        (["6A"], True),
        ([MAC], True),
        (["AC:23:3F"], False),
        (["AC:23:3F", "6A:6B"], True),
    ],
)
def test_mac_prefixes(prefixes: list[str] | None, heard: bool) -> None:
    """MACs are let through by their beginnings."""
    assert Identities(mac=prefixes).identify(MAC, {}, {}) == (f"mac:{MAC}" if heard else None)


def test_an_address_that_is_no_mac_names_nobody() -> None:
    """Platforms that hide the MAC give something else, which is no id."""
    assert Identities().identify("9D5FA8D0-4C2B-4E9A-9C39-2B8B7F9B7C21", {}, {}) is None
    assert Identities().identify(f"{MAC}\n", {}, {}) is None


@pytest.mark.parametrize(
    ("filters", "word"),
    [
        ({"ibeacon": ["e2c56db5"]}, "UUID"),
        ({"altbeacon": ["x"]}, "UUID"),
        ({"eddystone": ["1234"]}, "20 hexadecimal"),
        ({"eddystone": ["0x345678901234678901"]}, "20 hexadecimal"),
        ({"mac": ["AC:23:3"]}, "MAC"),
        ({"mac": [""]}, "MAC"),
        ({"mac": ["AC-23-3F"]}, "MAC"),
    ],
)
def test_wrong_filters_are_named(filters: dict[str, list[str]], word: str) -> None:
    """A filter that cannot be read is refused with a sentence that quotes it."""
    with pytest.raises(ValueError, match=word) as caught:
        Identities(**filters)  # type: ignore[arg-type]  # the table holds lists only
    assert f"`{next(iter(filters.values()))[0]}`" in str(caught.value)


@given(
    st.text(max_size=20),
    st.dictionaries(
        st.sampled_from([APPLE, 0x0118, 0xFFFF]) | st.integers(0, 0xFFFF),
        st.binary(max_size=30)
        | st.binary(max_size=24).map(lambda b: b"\x02\x15" + b)
        | st.binary(max_size=24).map(lambda b: b"\xbe\xac" + b),
        max_size=3,
    ),
    st.dictionaries(
        st.sampled_from([EDDYSTONE, "x"]),
        st.binary(max_size=22) | st.binary(max_size=22).map(lambda b: b"\0" + b),
        max_size=2,
    ),
    st.booleans(),
)
def test_noise_is_named_rightly_or_not_at_all(
    address: str, manufacturer: dict[int, bytes], service: dict[str, bytes], random: bool
) -> None:
    """Whatever is on the air, the answer is None or an id that the contract accepts."""
    found = Identities(random_mac=True).identify(address, manufacturer, service, random=random)
    assert found is None or is_beacon(found)
