"""Which IP addresses the outside world consists of, and which belong to us or to our cloud."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_CARRIER_GRADE_NAT: Final = IPv4Network("100.64.0.0/10")  # RFC 6598; also holds Alibaba Cloud's metadata server
_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")  # RFC 791: Linux connects 0.0.0.0 to itself
_RELAY_6TO4: Final = IPv4Network("192.88.99.0/24")  # RFC 7526
_AZURE_PLATFORM: Final = IPv4Address("168.63.129.16")  # looks public, but is the virtual machine's own host

_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052, the well-known prefix
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")  # RFC 4291: all that is routed on the internet
_6TO4: Final = IPv6Network("2002::/16")  # RFC 3056
_TEREDO: Final = IPv6Network("2001::/32")  # RFC 4380


def why_forbidden(address: str) -> str | None:
    """Return what is wrong with connecting to an address (`loopback`, `private`, ...), None if it is a public one.

    IPv4 addresses inside IPv6 ones (mapped, NAT64) count as what they hold; the other ways to wrap one (6to4, Teredo)
    are refused whole. `address` is in the text form of RFC 4291 or dotted decimal; anything else is refused.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return "malformed"
    return _why_v4(parsed) if isinstance(parsed, IPv4Address) else _why_v6(parsed)


def _why_v4(address: IPv4Address) -> str | None:
    rules: tuple[tuple[bool, str], ...] = (
        (address in _THIS_NETWORK, "unspecified"),
        (address.is_loopback, "loopback"),
        (address.is_link_local, "link-local"),
        (address in _CARRIER_GRADE_NAT, "carrier-grade NAT"),
        (address.is_multicast, "multicast"),
        (address == _AZURE_PLATFORM, "cloud metadata"),
        (address in _RELAY_6TO4, "6to4"),
        (address.is_private, "private"),
        (address.is_reserved or not address.is_global, "reserved"),
    )
    return next((name for holds, name in rules if holds), None)


def _why_v6(address: IPv6Address) -> str | None:
    if address.ipv4_mapped is not None:
        return _why_v4(address.ipv4_mapped)
    if address in _NAT64:
        return _why_v4(IPv4Address(int(address) & 0xFFFF_FFFF))
    rules: tuple[tuple[bool, str], ...] = (
        (address.is_unspecified, "unspecified"),
        (address.is_loopback, "loopback"),
        (address.is_link_local, "link-local"),
        (address.is_multicast, "multicast"),
        (address in _6TO4, "6to4"),
        (address in _TEREDO, "Teredo"),
        (address.is_private, "private"),
        (address not in _GLOBAL_UNICAST or not address.is_global, "reserved"),
    )
    return next((name for holds, name in rules if holds), None)
