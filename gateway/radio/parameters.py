"""Every number of the virtual radio, each with its reason; a pair is a range drawn from per site.

Nothing here may be imported by what locates, and nothing here is taken from there.
"""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class RadioParameters:
    """How the simulated air, tags, gateways and clocks behave.

    Ranges `(low, high)` are drawn from uniformly: once per site, or once per obstacle, person or
    tag where the field says so. All levels in dB or dBm, lengths in metres, times in seconds.
    """

    # -- Mean level over distance ------------------------------------------------------------
    power_1m_dbm: Range = (-62.0, -54.0)
    """RSSI at 1 m, per site: 0 dBm iBeacons are labelled -59, industrial tags send up to +4 dBm,
    coin-cell tags in their holders lose some."""
    path_loss_exponent: Range = (1.8, 3.5)
    """Per site without obstacles in its document: 1.8 in halls that guide waves, 3.5 where
    unlisted metal stands everywhere (ITU-R P.1238; Rappaport, Wireless
    Communications, 2002, chapter 4)."""
    path_loss_exponent_obstructed: Range = (1.8, 2.6)
    """Per site whose document lists racks or walls: those are charged one by one, as in the
    multi-wall model of COST 231, so that the exponent must not charge them again."""
    near_m: float = 0.3
    """Below this the far-field law does not hold; the level stays as it is here."""

    # -- Shadowing ---------------------------------------------------------------------------
    shadowing_sd_db: Range = (3.0, 9.0)
    """Per site: what racks' content and fittings add, log-normally (Rappaport,
    chapter 4)."""
    shadowing_correlation_m: Range = (2.0, 5.0)
    """Per site: distance over which it decays to 1/e, exponentially (Gudmundson 1991; indoor
    values of a few metres)."""
    shadowing_common: float = 0.3
    """Share of the variance that all gateways see alike, being made near the tag."""
    shadowing_waves: int = 96
    """Random waves summed per field: enough for a Gaussian marginal, cheap enough to go live."""

    # -- What stands in the way --------------------------------------------------------------
    rack_loss_db: Range = (2.0, 8.0)
    """Per rack, for one full crossing, unless the site gives `loss_db`."""
    wall_loss_db: Range = (3.0, 12.0)
    """Per wall: plasterboard about 3, masonry about 12 at 2.4 GHz."""
    obstacle_cap_db: float = 22.0
    """Rays over the tops and off the ceiling bound what racks in a row can take away."""
    slab_loss_db: Range = (15.0, 20.0)
    """Per floor between tag and gateway, per site (ITU-R P.1238: 15 to 19 dB for one floor)."""
    storey_m: float = 5.0
    """Height of a storey; the site document has levels but no heights."""
    body_loss_db: Range = (5.0, 10.0)
    """Per person, with the body straight between tag and gateway; a raised cosine between."""

    # -- Fading ------------------------------------------------------------------------------
    rice_k_db: Range = (6.0, 11.0)
    """Per link: direct over scattered power. Gives the 7 to 10 dB of short-term fluctuation
    (5 % to 95 %) that is measured on still tags and walkers."""
    still_share: float = 0.6
    """Share of the scattered power that stays the same on a still tag's link and channel; the
    rest comes off moving people and trucks and is new with every advert. For a walker all of
    it is new: 6 cm, half a wave, decorrelates it."""
    channel_sd_db: float = 2.0
    """Per tag and channel 37, 38, 39: antennas are tuned to one end of the band."""

    # -- Tags --------------------------------------------------------------------------------
    tag_sd_db: Range = (1.0, 2.0)
    """Spread of output power between tags of one model, per site."""
    item_interval_s: float = 1.0
    """Advertising interval of items; tags last years at it."""
    person_interval_s: float = 0.25
    """Advertising interval of what moves."""
    advert_delay_s: float = 0.010
    """advDelay of the Bluetooth Core specification: uniform up to 10 ms, new for each event."""
    item_height_m: Range = (0.3, 1.8)
    """Per item, where its slot has no height."""
    person_height_m: float = 1.2
    """A badge or belt clip."""

    # -- Receiving ---------------------------------------------------------------------------
    gateway_sd_db: Range = (2.0, 3.0)
    """Spread of receivers, cases and mountings, per site."""
    gateway_height_m: float = 3.0
    """Where the site gives no height."""
    detection_dbm: float = -91.0
    """Level at which half the adverts are decoded by a Pi's radio."""
    detection_slope_db: float = 1.2
    """Softness of that limit: logistic; from 5 % to 95 % in about 7 dB."""
    scan_interval_s: float = 0.1
    """A gateway listens on one channel this long, then on the next (interval = window)."""
    scan_duty: float = 0.98
    """Share of the time it hears: retuning, and the coexistence with Wi-Fi."""
    noise_db: float = 0.6
    """Error of the chip's own RSSI estimate before it is rounded to whole dBm."""
    corrupt_rate: float = 1e-5
    """Share of adverts with a nonsense RSSI, as measured data has."""

    deaf_gateways: int = 0
    """Gateways that have gone deaf, for those who test what happens then."""
    deaf_db: float = 15.0
    """How much less those hear: a broken antenna lead."""

    # -- Gateways that advertise -------------------------------------------------------------
    gateway_interval_s: float = 1.0
    """Advertising interval of a gateway whose site entry has a `beacon`."""
    gateway_power_db: Range = (-2.0, 4.0)
    """Their power over that of tags, per site: a Pi sends at 0 to +4 dBm from an unlucky place."""
    gateway_power_sd_db: Range = (1.0, 2.0)
    """Spread of it between gateways, per site; apart from the spread of what they hear."""

    # -- Collisions --------------------------------------------------------------------------
    advert_s: float = 376e-6
    """Air time of a full legacy advert (47 bytes at 1 Mbit/s)."""
    capture_db: float = 8.0
    """The stronger of two overlapping adverts survives from this difference on."""

    # -- Gateway clocks ----------------------------------------------------------------------
    clock_sd_s: float = 0.015
    """Offset of an NTP-disciplined clock, per gateway."""
    clock_wander_s: float = 0.005
    """Amplitude of its slow swing."""
    wrong_clocks: int = 0
    """Gateways with a grossly wrong clock, for those who test what happens then."""
    wrong_clock_s: float = -7.0
    """How wrong those are."""


@dataclass(frozen=True, slots=True)
class WalkParameters:
    """How people and carts move."""

    speed_m_s: Range = (0.8, 1.5)
    """Per walk between two stops: pickers with a trolley, 0.8, to brisk walkers, 1.5."""
    pick_median_s: float = 14.0
    """Stop at a face: search, grip, confirm."""
    pick_sigma: float = 0.5
    """Spread of its logarithm: 5 % take longer than 32 s."""
    pack_median_s: float = 45.0
    """Stop at the packing table between two tours."""
    pack_sigma: float = 0.4
    """Spread of its logarithm."""
    lines: tuple[int, int] = (6, 16)
    """Stops of a tour."""
    look_median_s: float = 25.0
    """A visitor's or cart's stop."""
    look_sigma: float = 0.8
    """Spread of its logarithm."""
    clearance_m: float = 0.45
    """Kept from racks and walls by the middle of a body's path."""
    sway_m: float = 0.25
    """How far a walker strays from the lane's middle; below the clearance, so never into racks."""
    popularity: float = 0.8
    """Exponent of the Zipf law of slots' demand: about 20 % of slots get half of the picks."""
