"""Names that mean a public address at first and a private one later, in a network of its own.

`run_apart` starts this module in a network and mount namespace that nothing leaves: there the
loopback interface has a public address too, the web listens at it and at 127.0.0.1, and
/etc/resolv.conf names a server of ours. So the crawler's own resolver, the C library's and its
connections are the real ones, and nothing is injected into its process.
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.crawler.testweb.exchange import page
from tests.crawler.testweb.hosts import GOOD, Host, by_table
from tests.crawler.testweb.judge import forbidden, wrong_pages
from tests.crawler.testweb.names import serve_names
from tests.crawler.testweb.server import serve
from tests.crawler.testweb.stage import stage_for
from tests.crawler.testweb.words import prose
from tests.crawler.testweb.world import web_of

PUBLIC, PRIVATE, PRIVATE_6 = "93.184.216.34", "127.0.0.1", "::1"
PLAIN = "plain.example"
NOWHERE = "nowhere.example"
ANSWERS = {
    PLAIN: [[PUBLIC]],
    "second.example": [[PUBLIC], [PRIVATE]],
    "third.example": [[PUBLIC], [PUBLIC], [PRIVATE]],
    "fifth.example": [[PUBLIC]] * 4 + [[PRIVATE]],
    "both.example": [[PRIVATE, PUBLIC]],
    "always.example": [[PRIVATE]],
    "mixed.example": [[PUBLIC, PRIVATE_6], [PRIVATE_6]],
}
PATHS = ("/", "/a", "/b", "/c", "/d", "/e")
SET_UP = """
set -e
ip link set lo up
ip address add "$1/32" dev lo
mount --bind "$2" /etc/resolv.conf
shift 2
exec "$@"
"""


def may_run_apart() -> bool:
    """True where a process may have a network of its own (it takes root)."""
    command = ["unshare", "--net", "--mount", "sh", "-c", "ip link set lo up"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def run_apart(folder: Path) -> "dict[str, object]":
    """Crawl there. Gives `faults`, `lookups` by name, `outcomes` by URL and `private` requests."""
    resolver = folder / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    module = [sys.executable, "-m", "tests.crawler.testweb.rebinding", str(folder)]
    apart = ["unshare", "--net", "--mount", "sh", "-c", SET_UP, "apart", PUBLIC, str(resolver)]
    done = subprocess.run([*apart, *module], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"status {done.returncode}: {(done.stdout + done.stderr)[-3000:]}")
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def hosts() -> list[Host]:
    """All of one kind: each answer ends its connection, so that the next one looks the name up again."""
    return [_host(name) for name in ANSWERS]


def _host(name: str) -> Host:
    closing = (("Connection", "close"),)
    table = {
        path: page(*PATHS, title=f"{path} of {name}", text=prose(name + path), headers=closing)
        for path in PATHS
    }
    known = frozenset(PATHS)
    return Host(
        name,
        GOOD,
        by_table(table),
        pages=known if name == PLAIN else frozenset(),
        may={} if name == PLAIN else dict.fromkeys(PATHS, frozenset()),
    )


def main(folder: Path) -> None:
    web = web_of(hosts())
    web.listen = ((PUBLIC, 80), (PRIVATE, 80))
    seeds = [*web.seeds, f"http://{NOWHERE}/"]
    with (
        serve_names(ANSWERS) as lookups,
        serve(web),
        stage_for(web, folder / "crawl", {"hosts": {}}, seeds=seeds, timeout_seconds=5.0) as stage,
    ):
        crawled = stage.finish()
    private = [f"{each.host}{each.path}" for each in web.log if each.address != PUBLIC]
    faults = [
        *wrong_pages(web.hosts.values(), web.log, crawled),
        *forbidden(web.hosts, web.log),
        *(f"{url}: asked at a private address" for url in private),
    ]
    outcomes = {line.url: line.outcome for line in crawled.logged}
    print(json.dumps({"faults": faults, "lookups": lookups, "outcomes": outcomes, "private": private}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
