"""A name server on the loopback address whose answers change from one look-up to the next."""

import contextlib
import ipaddress
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from twisted.names import dns

PORT = 53
"""The C library asks no other."""
POLL_SECONDS = 0.1

Answers = Mapping[str, Sequence[Sequence[str]]]
"""Name → the addresses of its first look-up, of its second, and so on; the last ones stay."""


@contextlib.contextmanager
def serve_names(answers: Answers, address: str = "127.0.0.1", port: int = PORT) -> Iterator[Counter[str]]:
    """Answer until the block ends. The counter says how often each name was looked up (IPv4)."""
    asked: Counter[str] = Counter()
    ending = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.bind((address, port))
        plain.settimeout(POLL_SECONDS)

        def run() -> None:
            while not ending.is_set():
                with contextlib.suppress(TimeoutError):
                    data, sender = plain.recvfrom(4096)
                    plain.sendto(reply_to(data, answers, asked), sender)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield asked
        finally:
            ending.set()
            thread.join()


def reply_to(data: bytes, answers: Answers, asked: Counter[str]) -> bytes:
    """A question's answer: addresses of the kind it asks for, or that there is no such name."""
    message = dns.Message()
    message.fromStr(data)
    query = message.queries[0]
    name = str(query.name).lower().rstrip(".")
    message.answer, message.recAv, message.auth = 1, 1, 1
    if name not in answers:
        message.rCode = dns.ENAME
        return bytes(message.toStr())
    turns = answers[name]
    turn = turns[min(asked[name], len(turns) - 1)]
    if query.type == dns.A:
        asked[name] += 1
    for each in turn:
        version = ipaddress.ip_address(each).version
        if (version, query.type) in ((4, dns.A), (6, dns.AAAA)):
            record = dns.Record_A(each, ttl=0) if version == 4 else dns.Record_AAAA(each, ttl=0)
            message.answers.append(dns.RRHeader(query.name.name, query.type, ttl=0, payload=record))
    return bytes(message.toStr())
