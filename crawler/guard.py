"""What the crawler never reaches: other schemes than HTTP, and addresses that are nobody's website.

The check is made on the address that is about to be connected to, after its name was resolved.
A name that resolves to a private address, also at a second look-up, a redirect to one, and every
spelling of one (`127.1`, `2130706433`, `[::ffff:7f00:1]`) therefore end at the same place.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from pipeline.corpus.public_addresses import is_public


@implementer(IHostnameResolver)
class GuardedResolver:
    """Resolves host names for every connection of this process and lets only public addresses through.

    `hosts` maps a name to the address:port to connect to in its place; the URL and the Host
    header keep the name. These names, and those in `private_hosts`, may be private.
    """

    def __init__(self, hosts: Mapping[str, str], private_hosts: Sequence[str]) -> None:
        self._original: Any = None
        self._hosts = {name.lower(): target for name, target in hosts.items()}
        self._trusted = {*self._hosts, *(name.lower() for name in private_hosts)}
        self.refused: dict[str, str] = {}
        """Host name → the address for which the latest connection was refused."""

    def take_over(self, reactor: Any) -> "GuardedResolver":
        """Resolve for this reactor from now on, by way of its own resolver."""
        self._original = reactor.nameResolver
        return self

    def install_on_reactor(self) -> None:
        """Called by Scrapy when its reactor starts."""
        from twisted.internet import reactor

        reactor.installNameResolver(self)

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[Any] | None = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """Twisted's way of asking for a host's addresses (IHostnameResolver)."""
        name = hostName.lower()
        target = self._hosts.get(name)
        receiver = resolutionReceiver
        if target is not None:
            hostName, _, port = target.rpartition(":")
            hostName, portNumber = hostName.strip("[]"), int(port)
        if name not in self._trusted:
            receiver = _Sieve(resolutionReceiver, name, self.refused)
        literal = _literal(hostName, portNumber)
        if literal is not None:
            receiver.resolutionBegan(_Resolved(hostName))
            receiver.addressResolved(literal)
            receiver.resolutionComplete()
            return _Resolved(hostName)
        assert self._original is not None, "take_over comes first"
        return self._original.resolveHostName(
            receiver, hostName, portNumber, addressTypes, transportSemantics
        )


def _literal(host: str, port: int) -> IPv4Address | IPv6Address | None:
    """An address that is already spelled out needs no look-up."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    return (IPv4Address if version == 4 else IPv6Address)("TCP", host, port)


@implementer(IHostResolution)
class _Resolved:
    """A look-up that is over as soon as it began."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """There is nothing to stop."""


@implementer(IResolutionReceiver)
class _Sieve:
    """Passes on the public ones of the addresses that a name resolves to."""

    def __init__(self, receiver: Any, name: str, refused: dict[str, str]) -> None:
        self._receiver, self._name, self._refused = receiver, name, refused
        refused.pop(name, None)

    def resolutionBegan(self, resolutionInProgress: Any) -> None:
        self._receiver.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: Any) -> None:
        if isinstance(address, IPv4Address | IPv6Address) and is_public(address.host):
            self._receiver.addressResolved(address)
        else:
            self._refused[self._name] = str(getattr(address, "host", address))

    def resolutionComplete(self) -> None:
        self._receiver.resolutionComplete()
