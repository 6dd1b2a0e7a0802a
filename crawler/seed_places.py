"""Where seeds lie: private addresses are not asked unless that is meant, and beyond this machine whoever
runs a site is told who asks. Found before anything is started, as far as the URLs themselves say it."""

import ipaddress
import socket
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import urlsplit

from crawler.urls import canonical, host_of
from pipeline.errors import InputError

TOLD_SEEDS = 5
"""Seeds that an error message names."""


class NoContactError(InputError):
    """A crawl beyond this machine does not say whose it is."""

    remedy = "Set crawl.contact to a URL or an e-mail address at which you can be reached."


class PrivateSeedError(InputError):
    """A seed's address is not on the open internet, and the configuration does not say that it is meant."""

    remedy = "Correct the seed, or name its host in crawl.private_hosts if that address is meant."


def check_addresses(seeds: Sequence[str], trusted: Collection[str]) -> None:
    """Of seeds with an address in place of a name. `trusted`: hosts that may be private, in lower case.
    What names lead to shows when they are looked up. Raises PrivateSeedError."""
    found = [(seed, host) for seed in seeds if (host := host_of(canonical(seed) or "")) not in trusted]
    found = [(seed, host) for seed, host in found if is_private(host)]
    if found:
        seeds = [seed for seed, _ in found[:TOLD_SEEDS]]
        more = f" and {len(found) - TOLD_SEEDS} more" if len(found) > TOLD_SEEDS else ""
        hosts = ", ".join(dict.fromkeys(f'"{host}"' for _, host in found[:TOLD_SEEDS]))
        raise PrivateSeedError(
            f"seed {', '.join(seeds)}{more}: an address that is not on the open internet is not asked; "
            f"if it is meant, set crawl.private_hosts to [{hosts}]"
        )


def is_private(host: str) -> bool:
    """Of an address, also as systems read it (`127.1`, `2130706433`), and of this machine's own name."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = host if ":" in host else socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return False
    from pipeline.corpus.public_addresses import is_public

    return not is_public(address)


def check_contact(
    agent: str, seeds: Sequence[str], private_hosts: Collection[str], mapped: Mapping[str, str]
) -> None:
    """Those whose pages are fetched are told by whom. `agent`: the user agent, `mapped`: hosts that are
    looked for at another address. Raises NoContactError."""
    if "@" in agent or "://" in agent:
        return
    for seed in seeds:
        host = (urlsplit(seed).hostname or "").lower()
        place = mapped.get(host, host).removeprefix("[").partition("]")[0]
        if place.count(":") == 1:
            place = place.partition(":")[0]
        if not (host in private_hosts or is_local(place)):
            raise NoContactError(
                f"crawl.contact is not set, and {seed} lies beyond this machine; set it to a "
                "URL or an e-mail address, so that whoever runs that site can reach you"
            )


def is_local(place: str) -> bool:
    """True for an address that is not on the open internet, and for names of this machine."""
    try:
        return not ipaddress.ip_address(place).is_global
    except ValueError:
        return place == "localhost" or place.endswith(".localhost")
