"""When a host that puts us off, or does not answer, is asked again.

For the loop that fetches: count the failures of a host in a row (`failed(status)` says what is one, so
does an answer that never came), and after each ask

    seconds = wait_seconds(host.failures, retry_after(reply.headers.get("Retry-After"), time.time()))

None: give the host up for this crawl, its URLs are `given-up`. Otherwise put the host off for so long
and ask for the same URL again; any other answer sets the count to 0. Other hosts are not disturbed.
Back-off (RFC 9110, section 10.2.3; RFC 6585, section 4) is apart from the delay between two requests
and from robots.txt's Crawl-delay: of the three the longest counts.
"""

import datetime
import re
from email.utils import parsedate_to_datetime

FIRST_SECONDS = 2.0
"""After the first failure; doubled with each that follows."""
LONGEST_SECONDS = 3600.0
"""A host that asks for more is given up."""
FAILURES = 10
"""In a row: then the host is given up, after 17 minutes of waiting."""
PUT_OFF = frozenset({429, 503})

SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]+)?")


def failed(status: int) -> bool:
    """True if the answer means that the host is to be left alone for a while. Other errors of a server,
    such as 500 for one page, concern that page."""
    return status in PUT_OFF


def retry_after(value: str | None, now: float) -> float | None:
    """The seconds that a Retry-After header asks for, 0 for a time that is over; None if it says nothing
    that can be read. `now`: seconds since 1970."""
    text = (value or "").strip()
    if SECONDS.fullmatch(text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        return max(0.0, date.timestamp() - now)
    except (ValueError, OverflowError, TypeError):
        return None


def wait_seconds(failures: int, asked_for: float | None = None) -> float | None:
    """Until a host is asked again that has just failed for the `failures`-th time in a row (from 1);
    None if it is given up. `asked_for`: what its Retry-After said."""
    if failures >= FAILURES or (asked_for is not None and asked_for > LONGEST_SECONDS):
        return None
    return max(FIRST_SECONDS * 2.0 ** (failures - 1), asked_for or 0.0)
