"""Where a document comes from, as coarse as a table can show."""

from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlsplit

OTHER = "other"
SHOWN = 12
"""Domains of a table; the smaller ones are together."""


def domains(urls: Mapping[str, str], sizes: Mapping[str, int]) -> dict[str, str]:
    """Document → its host; if all have the same host, the first folder there. `sizes`: bytes of each.

    All but the twelve that have most bytes are "other".
    """
    hosts = {document: urlsplit(url).netloc or urlsplit(url).scheme for document, url in urls.items()}
    if len(set(hosts.values())) == 1:
        hosts = {document: _folder(url) for document, url in urls.items()}
    total: Counter[str] = Counter()
    for document, host in hosts.items():
        total[host] += sizes.get(document, 0)
    order = sorted(total, key=lambda host: (-total[host], host))
    kept = set(order if len(order) <= SHOWN else order[: SHOWN - 1])
    return {document: host if host in kept else OTHER for document, host in hosts.items()}


def _folder(url: str) -> str:
    parts = [part for part in urlsplit(url).path.split("/") if part]
    return parts[0].removesuffix(".html") if parts else "/"
