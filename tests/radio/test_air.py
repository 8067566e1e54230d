"""The air, advert by advert: timing, fading, bodies, collisions, the detection limit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.radio.air import VirtualRadio
from gateway.radio.parameters import RadioParameters
from gateway.radio.plan import RadioError, read_plan
from gateway.radio.warehouse import warehouse
from tests.support.radio import START, box, listen, plan, quiet


def test_a_tag_sends_at_its_interval_with_up_to_10_ms_of_delay() -> None:
    """Gaps between adverts are interval + U(0, 10 ms)."""
    radio = VirtualRadio(plan([(0.0, 0.0)], [(3.0, 0.0)]), 1, START, quiet())
    gaps = np.diff(listen(radio, 120.0).t)
    assert gaps.min() >= 1.0 - 1e-6
    assert gaps.max() <= 1.010 + 1e-6
    assert gaps.mean() == pytest.approx(1.005, abs=0.001)


def test_what_moves_sends_four_times_a_second() -> None:
    """Pickers' tags have the shorter interval."""
    radio = VirtualRadio(plan([(0.0, 0.0)], [(3.0, 0.0)], kind="picker"), 1, START, quiet())
    assert len(listen(radio, 60.0).t) == pytest.approx(60.0 / 0.255, abs=3)


def test_adverts_are_in_order_and_within_their_time() -> None:
    """Over a whole warehouse; levels are whole dBm."""
    radio = VirtualRadio(read_plan(warehouse(3, items=100, pickers=4)), 3, START)
    heard = listen(radio, 20.0)
    assert (np.diff(heard.t) >= 0.0).all()
    assert heard.t.min() >= START
    assert heard.t.max() < radio.now
    assert radio.now == pytest.approx(START + 20.0)
    assert np.array_equal(heard.rssi, np.rint(heard.rssi))


def test_half_the_adverts_are_decoded_at_the_limit() -> None:
    """And nearly all or none a few dB from it: a logistic curve."""
    for level, expected in ((-84.0, 1.0), (-89.8, 0.731), (-91.0, 0.5), (-93.4, 0.119)):
        tags = [(1.0, 0.0, 3.0)] * 30
        radio = VirtualRadio(
            plan([(0.0, 0.0, 3.0)], tags),
            1,
            START,
            quiet(power_1m_dbm=(level, level), advert_s=0.0),
        )
        share = len(listen(radio, 100.5).t) / (30 * 100)
        assert share == pytest.approx(expected, abs=0.03), level


@pytest.mark.parametrize("count", [2, 40, 100])
def test_collisions_follow_the_formula(count: int) -> None:
    """Without capture P(no overlap) is exp(-2 (N - 1) 376 us / (I + 5 ms))."""
    interval = 0.1
    radio = VirtualRadio(
        plan([(0.0, 0.0, 3.0)], [(5.0, 0.0, 1.0)] * count),
        7,
        START,
        quiet(item_interval_s=interval, capture_db=math.inf),
    )
    seconds = max(10.0, 2_000.0 / count)
    sent = count * seconds / (interval + 0.005)
    share = len(listen(radio, seconds).t) / sent
    expected = math.exp(-2.0 * (count - 1) * 376e-6 / (interval + 0.005))
    assert share == pytest.approx(expected, abs=0.02)


def test_the_stronger_of_two_survives_a_collision() -> None:
    """With capture the near tags lose nothing to the far ones, which lose to them."""
    near, far = [(2.0, 0.0, 3.0)] * 30, [(30.0, 0.0, 3.0)] * 30
    radio = VirtualRadio(
        plan([(0.0, 0.0, 3.0)], [*near, *far]), 7, START, quiet(item_interval_s=0.1)
    )
    heard = listen(radio, 10.0)
    counts = np.bincount(heard.tag >= 30) / (30 * 10.0 / 0.105)
    alone = math.exp(-2.0 * 29 * 376e-6 / 0.105)
    assert counts[0] == pytest.approx(alone, abs=0.02)
    assert counts[1] == pytest.approx(math.exp(-2.0 * 59 * 376e-6 / 0.105), abs=0.03)


def test_adverts_collide_across_a_weaker_one_between_them() -> None:
    """Two strong ones with a weak one between them spoil each other, but not a later one."""
    radio = VirtualRadio(plan([(0.0, 0.0)] * 2), 1, START, quiet())
    t = np.array([0.0, 100e-6, 200e-6, 900e-6, 150e-6])
    gateway = np.array([0, 0, 0, 0, 1])
    level = np.array([-50.0, -90.0, -52.0, -60.0, -51.0])
    lost = radio._collided(t, gateway, level)
    assert lost.tolist() == [True, True, True, False, False]


def test_a_body_takes_its_loss_behind_and_half_aside() -> None:
    """Turning a person before a gateway changes the level as a raised cosine."""
    # A floor too small to walk on: the person stays, and looks where we say.
    radio = VirtualRadio(
        plan([(30.0, 0.0, 1.2)], [(0.0, 0.0)], kind="picker", outline=box(0.0, -0.3, 0.6, 0.3)),
        1,
        START,
        quiet(body_loss_db=(8.0, 8.0)),
    )
    means = []
    for heading in (0.0, math.pi / 2.0, math.pi):
        radio.world.heading[:] = heading
        means.append(listen(radio, 5.0).rssi.mean())
    assert means[0] - means[1] == pytest.approx(4.0, abs=1.0)
    assert means[0] - means[2] == pytest.approx(8.0, abs=1.0)


def test_items_have_no_body() -> None:
    """The loss is drawn per person, 5 to 10 dB; goods have none."""
    radio = VirtualRadio(read_plan(warehouse(1, items=20, pickers=30)), 1, START)
    assert (radio.body_db[:20] == 0.0).all()
    assert radio.body_db[20:].min() >= 5.0
    assert radio.body_db[20:].max() <= 10.0


@pytest.mark.parametrize("kind", ["item", "picker"])
def test_short_term_fluctuation_is_7_to_10_db(kind: str) -> None:
    """From the 5 % to the 95 % quantile, over tags: still ones across channels, and walkers."""
    tags = [(10.0, 0.1 * i, 3.0) for i in range(40)]
    radio = VirtualRadio(
        plan([(0.0, 0.0, 3.0)], tags, kind=kind, outline=box(10.0, 0.0, 10.6, 0.6)),
        1,
        START,
        quiet(rice_k_db=RadioParameters().rice_k_db, channel_sd_db=2.0, noise_db=0.6, advert_s=0.0),
    )
    heard = listen(radio, 120.0)
    spans = [
        np.diff(np.percentile(heard.rssi[heard.tag == tag], [5.0, 95.0]))[0] for tag in range(40)
    ]
    assert 7.0 <= float(np.mean(spans)) <= 10.0


def test_a_still_tags_channels_differ_and_stay_different() -> None:
    """The mean per channel is a property of the link, not a fluctuation that averages out."""
    radio = VirtualRadio(
        plan([(0.0, 0.0, 3.0)], [(10.0, 0.0, 3.0)]),
        1,
        START,
        quiet(channel_sd_db=3.0, item_interval_s=0.05, advert_s=0.0),
    )
    heard = listen(radio, 30.0)
    assert set(heard.rssi.tolist()) == set(np.rint(-60.0 + radio.channel_db[0]).tolist())


def test_reflections_of_still_links_stay_and_those_of_walkers_do_not() -> None:
    """Still tags' links differ for good by their scatter; walkers' links are alike on average."""
    spreads = []
    for kind in ("item", "picker"):
        # All as far from the gateway; on spots too small to walk on.
        tags = [(10.0, 0.0, 1.2)] * 30
        radio = VirtualRadio(
            plan([(0.0, 0.0, 1.2)], tags, kind=kind, outline=box(9.7, -0.3, 10.3, 0.3)),
            1,
            START,
            quiet(rice_k_db=(8.0, 8.0), advert_s=0.0, item_interval_s=0.25),
        )
        heard = listen(radio, 60.0)
        channel = ((heard.t - START + radio._phase[0]) / 0.1).astype(int) % 3
        spreads.append(
            np.std(
                [heard.rssi[(heard.tag == tag) & (channel == 1)].mean() for tag in range(len(tags))]
            )
        )
    assert spreads[0] > 1.5
    assert spreads[1] < 0.8


def test_corrupt_values_come_at_their_rate_only() -> None:
    """Nonsense RSSI values, as in measured data, and none at rate zero."""
    place = plan([(0.0, 0.0, 3.0)], [(5.0, 0.0, 3.0)] * 20)
    shares = []
    for rate in (0.0, 0.05):
        radio = VirtualRadio(place, 1, START, quiet(corrupt_rate=rate, advert_s=0.0))
        rssi = listen(radio, 200.0).rssi
        shares.append(float(np.mean((rssi > -10.0) | (rssi < -120.0))))
    assert shares[0] == 0.0
    assert shares[1] == pytest.approx(0.05, abs=0.012)


def test_a_gateway_hears_only_while_it_scans() -> None:
    """The duty cycle is the share of adverts heard."""
    place = plan([(0.0, 0.0, 3.0)], [(5.0, 0.0, 3.0)] * 20)
    radio = VirtualRadio(place, 1, START, quiet(scan_duty=0.5, advert_s=0.0))
    share = len(listen(radio, 201.0).t) / (20 * 200)
    assert share == pytest.approx(0.5, abs=0.03)


def test_tags_differ_by_their_offsets() -> None:
    """Spread of output power between tags, 1 to 2 dB."""
    radio = VirtualRadio(plan([(0.0, 0.0)], [(5.0, 0.0)] * 500), 1, START, RadioParameters())
    assert 0.9 < radio.tag_db.std() < 2.1


def test_the_same_seed_gives_the_same_adverts() -> None:
    """And another seed does not."""
    place = read_plan(warehouse(2, items=60, pickers=6, visitors=3, carts=2))
    one, same, other = (listen(VirtualRadio(place, seed, START), 10.0) for seed in (5, 5, 6))
    for a, b in zip(one, same, strict=True):
        assert np.array_equal(a, b)
    assert len(one.t) != len(other.t) or not np.array_equal(one.rssi, other.rssi)


def test_what_was_slept_through_is_not_heard_afterwards() -> None:
    """After a skip tags go on at their own pace, without a burst of what they missed."""
    radio = VirtualRadio(plan([(0.0, 0.0)], [(3.0, 0.0)] * 50), 1, START, quiet(advert_s=0.0))
    listen(radio, 5.0)
    radio.skip(3_600.0)
    heard = listen(radio, 4.0)
    assert heard.t.min() >= START + 3_605.0 - 1e-6
    assert len(heard.t) == pytest.approx(200, abs=12)


def test_a_site_without_gateways_is_refused() -> None:
    """In a sentence, since it may come from a person's file."""
    with pytest.raises(RadioError, match="no gateways"):
        VirtualRadio(plan([], [(3.0, 0.0)]), 1, START)


def test_a_site_without_tags_is_silent() -> None:
    """Nothing to hear is not an error of the air."""
    assert len(listen(VirtualRadio(plan([(0.0, 0.0)]), 1, START), 1.0).t) == 0
