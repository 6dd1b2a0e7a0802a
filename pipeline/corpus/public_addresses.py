"""Which addresses are on the open internet: all others are nobody's website, and nothing leads there
unless the user names it."""

import ipaddress

SCHEMES = ("http", "https")
METADATA_ADDRESSES = frozenset({"168.63.129.16"})
"""Cloud metadata services at public addresses (Azure's); all others are link-local or private."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(text: str) -> bool:
    """True if `text` is an address on the open internet: not private, loopback, link-local,
    multicast, reserved or a metadata service, nor an IPv6 form that stands for such an IPv4 one."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(_is_open(each) for each in (address, *_embedded(address)))


def _is_open(address: Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and (address in NAT64 or not address.is_reserved)
        and not address.is_unspecified
        and str(address) not in METADATA_ADDRESSES
    )


def _embedded(address: Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address stands for (mapped, compatible, 6to4, Teredo, NAT64)."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    last_bits = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64 or int(address) >> 32 == 0:
        found.append(last_bits)
    return [each for each in found if each is not None]
