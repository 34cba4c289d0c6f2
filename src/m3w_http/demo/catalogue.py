"""
Who watches what on which device: the audience of an app that does not exist.

Device models are the ``Build.MODEL`` of real ones. Shares are weights that need not add up to one.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from zlib import crc32

from attrs import frozen

MINUTE_MS = 60_000


@frozen
class Network:
    """
    What a connection is like.

    Args:
        connection_type: As the SDK names it.
        median_kbps: Throughput.
        spread: Sigma of the throughput's logarithm.
        round_trip_ms: Of one request.
        unrest: How often throughput breaks down, a factor.
    """

    connection_type: str
    median_kbps: float
    spread: float
    round_trip_ms: float
    unrest: float


WIFI = Network("Wi-Fi", 26_000, 0.9, 35, 1.0)
CELLULAR = Network("Cellular", 10_000, 1.0, 75, 2.6)
ETHERNET = Network("Ethernet", 70_000, 0.6, 20, 0.5)
UNKNOWN = Network("Unknown", 7_000, 1.1, 90, 2.0)

PHONE = {WIFI: 61, CELLULAR: 37, UNKNOWN: 2}
TABLET = {WIFI: 92, CELLULAR: 6, UNKNOWN: 2}
TELEVISION = {WIFI: 68, ETHERNET: 31, UNKNOWN: 1}


@frozen
class Device:
    """
    A device model.

    Args:
        model: Android's ``Build.MODEL``.
        share: Of the sessions.
        api_levels: Android versions it is seen with, the most frequent last.
        slowness: Factor on what the processor has to do; 1 is a phone of the upper class.
        max_kbps: The best stream that it is given.
        networks: Shares of the connections it is used on.
    """

    model: str
    share: float
    api_levels: tuple[int, ...]
    slowness: float
    max_kbps: int
    networks: Mapping[Network, float]


_FULL_HD, _HD, _UHD = 7_000, 2_800, 15_000

#: The one that an incident hits.
GALAXY_A54 = Device("SM-A546B", 8.5, (33, 34, 35), 1.4, _FULL_HD, PHONE)

DEVICES = (
    GALAXY_A54,
    Device("SM-S921B", 6.0, (36, 34, 35), 1.0, _FULL_HD, PHONE),
    Device("SM-S911B", 5.5, (33, 35, 34), 1.0, _FULL_HD, PHONE),
    Device("SM-G991B", 4.5, (31, 33, 34), 1.1, _FULL_HD, PHONE),
    Device("SM-A536B", 5.5, (33, 34), 1.5, _FULL_HD, PHONE),
    Device("SM-A155F", 5.0, (34, 35), 2.0, _HD, PHONE),
    Device("Pixel 9", 3.0, (35, 36), 1.0, _FULL_HD, PHONE),
    Device("Pixel 8", 4.5, (34, 36, 35), 1.0, _FULL_HD, PHONE),
    Device("Pixel 7a", 3.5, (34, 35), 1.1, _FULL_HD, PHONE),
    Device("Pixel 6", 3.0, (33, 34, 35), 1.1, _FULL_HD, PHONE),
    Device("2201117TG", 4.0, (30, 31, 33), 2.0, _HD, PHONE),
    Device("23021RAAEG", 4.0, (33, 34), 1.9, _HD, PHONE),
    Device("M2101K6G", 3.0, (30, 31, 33), 1.7, _FULL_HD, PHONE),
    Device("RMX3085", 2.5, (30, 31, 33), 1.8, _HD, PHONE),
    Device("CPH2269", 2.0, (30,), 2.3, _HD, PHONE),
    Device("LE2113", 2.0, (31, 33, 34), 1.1, _FULL_HD, PHONE),
    Device("NE2213", 1.5, (33, 34), 1.0, _FULL_HD, PHONE),
    Device("moto g(60)", 1.5, (30, 31), 1.9, _HD, PHONE),
    Device("moto g54 5G", 2.0, (33, 34), 1.7, _FULL_HD, PHONE),
    Device("SM-X200", 3.0, (31, 33, 34), 1.8, _FULL_HD, TABLET),
    Device("SM-X710", 1.5, (33, 34), 1.1, _FULL_HD, TABLET),
    Device("Lenovo TB-X606F", 1.5, (28, 29), 2.4, _HD, TABLET),
    Device("Chromecast", 5.5, (29, 31, 34), 1.6, _UHD, TELEVISION),
    Device("AFTKA", 5.0, (28,), 1.5, _UHD, TELEVISION),
    Device("AFTMM", 2.5, (25,), 2.2, _UHD, TELEVISION),
    Device("SHIELD Android TV", 1.5, (30,), 1.0, _UHD, TELEVISION),
    Device("BRAVIA 4K VH2", 2.5, (28, 29), 1.7, _UHD, TELEVISION),
)

CUMULATIVE_DEVICE_SHARES = tuple(accumulate(device.share for device in DEVICES))

#: Video bitrates that every content is encoded in, kbit/s.
LADDER_KBPS = (400, 800, 1_500, 2_800, 4_500, 7_000, 15_000)


@frozen
class Release:
    """
    A release of the app.

    Args:
        app_version: As the app calls it.
        sdk_version: Of the Media3Watch SDK inside; None for SDK 0.x, which tells nothing about device and version.
    """

    app_version: str
    sdk_version: str | None


#: One after the other; each finds its way to most viewers within days.
RELEASES = (Release("5.2.4", "1.0.1"), Release("5.3.0", "1.1.0"), Release("5.4.0", "1.2.0"))

#: Television sets that nobody updates.
OLD_RELEASE = Release("4.9.1", None)

#: What an incident begins with.
BAD_RELEASE = Release("5.5.0", "1.3.0")


@frozen
class Content:
    """
    Something to watch.

    Args:
        content_id: The app's name for it.
        duration_ms: None for what never ends.
    """

    content_id: str
    duration_ms: int | None


def _contents() -> tuple[Content, ...]:
    kinds = (("clip", 40, 2, 9), ("episode", 60, 21, 52), ("film", 25, 84, 139))
    found = [Content("live-news", None), Content("live-sport", None)]
    for kind, count, shortest, longest in kinds:
        found += [
            Content(f"{kind}-{n:03}", (shortest + n * 7919 % (longest - shortest)) * MINUTE_MS)
            for n in range(1, count + 1)
        ]
    # What is popular is spread over all kinds.
    return tuple(sorted(found, key=lambda content: crc32(content.content_id.encode())))


CONTENTS = _contents()
CUMULATIVE_CONTENT_SHARES = tuple(accumulate(1 / (rank + 3) for rank in range(len(CONTENTS))))

#: By share, and how much longer the first segment takes than from the best.
CDNS: Mapping[str, tuple[float, float]] = {
    "edge-north": (55, 1.0),
    "edge-south": (35, 1.1),
    "origin": (10, 1.7),
}
