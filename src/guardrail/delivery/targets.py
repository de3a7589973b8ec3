"""Which addresses may be connected to: a target that comes from data must not reach into our own network.

A host is looked up once, all that it stands for is judged, and what was judged is what is connected to.
"""

from __future__ import annotations

import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from guardrail.errors import InvalidInput

PORTS: Final = (443, 8443)
_LONGEST: Final = 2048
_PLEASE: Final = "write an https:// URL of a host that everybody can reach"

# What hands out credentials of the machine itself: AWS (also ECS, EKS), Azure, Google, Oracle and Alibaba.
_METADATA: Final = frozenset(
    ip_address(each)
    for each in (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "168.63.129.16", "192.0.0.192", "100.100.100.200",
        "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
    )
)  # fmt: skip
# From the special-purpose registries of IANA; spelled out, since what `ipaddress` calls private differs between Pythons.
_FOUR: Final = tuple(
    (IPv4Network(network), word)
    for network, word in (
        ("0.0.0.0/8", "unspecified"), ("10.0.0.0/8", "private"), ("100.64.0.0/10", "private"), ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"), ("172.16.0.0/12", "private"), ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "reserved"), ("192.88.99.0/24", "reserved"), ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "reserved"), ("198.51.100.0/24", "reserved"), ("203.0.113.0/24", "reserved"),
        ("224.0.0.0/4", "multicast"), ("240.0.0.0/4", "reserved"),
    )
)  # fmt: skip
_SIX: Final = tuple(
    (IPv6Network(network), word)
    for network, word in (
        ("::/128", "unspecified"), ("::1/128", "loopback"), ("fc00::/7", "private"), ("fe80::/10", "link-local"),
        ("fec0::/10", "private"), ("ff00::/8", "multicast"), ("2001::/23", "reserved"), ("2001:db8::/32", "reserved"),
        ("3fff::/20", "reserved"),
    )
)  # fmt: skip
_GLOBAL: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_OURS: Final = frozenset({"private", "loopback"})


class Target(NamedTuple):
    """A target that was checked.

    Attributes:
        host: The name, for the certificate and the `Host` header.
        port: Where.
        path: With its query, as in the URL.
        addresses: What the name stands for. Only these are connected to.
    """

    host: str
    port: int
    path: str
    addresses: tuple[str, ...]


def checked_target(url: str, *, allow_private: bool = False, ports: Collection[int] = PORTS) -> Target:
    """Check a URL that comes from data, such as a caller's webhook, and look its host up once and for all.

    Args:
        url: What somebody else wrote.
        allow_private: Let private and loopback addresses pass; never link-local ones, nor those of a metadata service.
        ports: The ports that may be used.

    Returns:
        The target, to be given to `Client.to`. Check again for every delivery: names move.

    Raises:
        InvalidInput: It is no https URL, or leads to where nobody from outside has any business. The text holds nothing of it.
        OSError: The name is not known at the moment.
    """
    if len(url) > _LONGEST or not url.isascii() or any(each <= " " or each in "\\\x7f" for each in url):
        raise InvalidInput("the target is not a URL in plain characters", hint=_PLEASE)
    try:
        parts = urlsplit(url)
        port = 443 if parts.port is None else parts.port
    except ValueError:
        raise InvalidInput("the target is not a URL", hint=_PLEASE) from None
    host = parts.hostname or ""
    if parts.scheme != "https" or not host or "%" in host:
        raise InvalidInput("the target is not an https URL", hint=_PLEASE)
    if "@" in parts.netloc:
        raise InvalidInput("the target holds a user or password", hint=_PLEASE)
    if port not in ports:
        raise InvalidInput("the target has a port that is not allowed", hint=f"allowed are {', '.join(map(str, sorted(ports)))}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise InvalidInput("the target names no host", hint=_PLEASE) from None
    addresses = tuple(dict.fromkeys(str(each[4][0]) for each in found))
    for each in addresses:  # one bad address among good ones is how a name is rebound
        word = refusal(each)
        if word and not (allow_private and word in _OURS):
            raise InvalidInput(f"the target leads to a {word} address", hint=_PLEASE)
    query = f"?{parts.query}" if parts.query else ""
    return Target(host, port, (parts.path or "/") + query, addresses)


def refusal(address: str) -> str:
    """Return the word for what makes an address none of everybody's, such as "private"; "" for one that all can reach.

    An IPv4 address inside an IPv6 one (mapped, 6to4, NAT64) is judged as what it stands for.
    """
    found = _plain(address)
    if found in _METADATA:
        return "metadata"
    if isinstance(found, IPv4Address):
        return next((word for network, word in _FOUR if found in network), "")
    return next((word for network, word in _SIX if found in network), "" if found in _GLOBAL else "reserved")


def is_metadata(address: str) -> bool:
    """Say whether an address is that of a service which gives the machine's own credentials away."""
    return _plain(address) in _METADATA


def _plain(address: str) -> IPv4Address | IPv6Address:
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv4Address):
        return found
    inside = found.ipv4_mapped or found.sixtofour
    if inside is None and found in _NAT64:
        inside = IPv4Address(int(found) & 0xFFFF_FFFF)
    return inside or found
