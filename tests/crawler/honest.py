"""Sites as usual software lays them out, and real documentation: nothing of them may be taken for a trap."""

from collections.abc import Iterator
from pathlib import Path

DOCUMENTATION = {
    "python": "/usr/share/doc/python3.11/html",
    "git": "/usr/share/doc/git-doc",
    "apache": "/usr/share/doc/apache2-doc/manual",
    "focalinux": "/usr/share/doc/focalinux/html",
}
"""Debian's python3.11-doc, git-doc, apache2-doc, focalinux-html."""


def real_pages(folder: str) -> Iterator[tuple[str, str]]:
    """URL and HTML of each page."""
    for path in sorted(Path(folder).rglob("*.html*")):
        if path.is_file():
            yield f"http://docs.example/{path.relative_to(folder)}", path.read_text("utf-8", errors="replace")


def blog() -> Iterator[str]:
    for year in range(1995, 2027):
        yield f"/{year}/"
        for month in range(1, 13):
            yield f"/{year}/{month:02}/"
            yield f"/archive/{year}-{month:02}.html"
            for day in (3, 17):
                yield f"/{year}/{month:02}/{day:02}/what-i-did-that-{day}-day-of-{month}"
                yield f"/?p={year * 400 + month * 31 + day}"
    for page in range(1, 400):
        yield f"/page/{page}/"
        yield f"/tag/travel/page/{page}"
        yield f"/category/tech/tech/?paged={page}&author=ann"


def forum() -> Iterator[str]:
    for topic in range(1, 500):
        yield f"/viewtopic.php?f={topic % 9}&t={topic}"
        yield f"/viewtopic.php?f={topic % 9}&start=25&t={topic}"
        yield f"/forum/{topic}/{2040 + topic % 30}"
        yield f"/t/a-question-about-things/{100_000 + topic}/{topic % 7}"
        yield f"/index.php?/topic/{topic}-some-title/&page={topic % 40}"
        yield f"/users/{topic}/posts?sort=date&order=desc&page={topic % 13}&per_page=50"


def shop() -> Iterator[str]:
    for product in range(1, 500):
        yield f"/p/B0{product:08}/ref=sr_1_{product}"
        yield f"/shop/shoes/women/boots/winter-boots-{product}.html"
        yield f"/product?category=12&id={7_000_000_000 + product}&variant={product % 5}"
        yield f"/c/shoes?brand[]=a&brand[]=b&color=red&color=blue&page={product}&size=40&size=41"
        yield f"/item/{product:032x}"
        yield f"/media/0/0/0/0/{product}/index.html"


def wiki() -> Iterator[str]:
    for page in range(1, 500):
        yield f"/wiki/Village_{page}"
        yield f"/wiki/{1500 + page}"
        yield f"/w/index.php?oldid={90_000_000 + page}&title=Village"
        yield f"/wiki/{'%D0%9F' * 80}_{page}"
        yield f"/src/org/example/project/core/internal/impl/util/impl/util/File{page}.java"
        yield f"/node_modules/a/node_modules/b/node_modules/c/node_modules/d/file{page}"
        yield f"/calendar/{1990 + page % 45}/{1 + page % 12}/"
        yield f"/events?date={2000 + page % 35}-0{1 + page % 9}-11&view=list"
        yield f"/commit/{page * 7919:040x}"
        yield f"/docs/docs/docs/page{page}.html"


SOFTWARE = {"blog": blog, "forum": forum, "shop": shop, "wiki": wiki}
