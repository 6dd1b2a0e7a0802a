"""The whole test web: good hosts, hosts with rules, traps, and hosts that break what can be broken."""

from collections.abc import Sequence
from pathlib import Path

from tests.crawler.testweb.broken import broken_hosts
from tests.crawler.testweb.certificates import Certificates
from tests.crawler.testweb.changing import changing_host, sitemap_hosts
from tests.crawler.testweb.good import SPELLINGS, Size, Spelling, good_hosts
from tests.crawler.testweb.hosts import Host
from tests.crawler.testweb.rules import opt_out_hosts, robots_hosts
from tests.crawler.testweb.server import Web
from tests.crawler.testweb.traps import trap_hosts


def hostile_hosts() -> list[Host]:
    return [*trap_hosts(), *broken_hosts()]


def ruled_hosts() -> list[Host]:
    return [*robots_hosts(), *opt_out_hosts(), *sitemap_hosts(), changing_host()]


def good_web(seed: int, size: Size, spellings: Sequence[Spelling] = SPELLINGS) -> Web:
    """Good hosts alone."""
    return web_of(good_hosts(seed, size, spellings))


def whole_web(seed: int, size: Size, folder: Path) -> Web:
    """All of it; `folder` gets the certificates, whose authority the crawler must be told to trust."""
    hosts = [*good_hosts(seed, size), *ruled_hosts(), *hostile_hosts()]
    return web_of(hosts, Certificates(folder))


def web_of(hosts: list[Host], certificates: Certificates | None = None) -> Web:
    web = Web({host.name: host for host in hosts}, certificates)
    if len(web.hosts) != len(hosts):
        raise ValueError("two hosts of the test web have one name")
    return web
