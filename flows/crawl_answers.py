"""What a crawl answers about a URL, as labels and values."""

import time

from crawler.inquiry import HostFacts
from crawler.why import Answer, Target


def answer_lines(answer: Answer, host: HostFacts | None) -> list[tuple[str, str]]:
    """Label and value of what there is to tell; what there is not has no line."""
    known, visit = answer.known, answer.known.visit if answer.known else None
    lines = [("url", answer.url or answer.asked)]
    if answer.url is not None and answer.url != answer.asked:
        lines.append(("asked", answer.asked))
    lines.append(("state", f"{visit.outcome if visit else answer.state}: {answer.told}"))
    if answer.rule is not None:
        lines.append(("rule", f"{answer.rule} (in robots.txt)"))
    if visit is not None:
        size = None if visit.bytes is None else f"{visit.bytes:,} bytes"
        status = None if visit.status is None else f"status {visit.status}"
        parts = [status, visit.content_type, size, f"at {visit.fetched}"]
        lines.append(("answer", ", ".join(part for part in parts if part)))
        lines.append(("detail", visit.detail or ""))
        lines.append(("opt-outs", visit.opt_outs or ""))
        if visit.warc is not None:
            lines.append(("archived", f"{visit.warc} at {visit.offset}, {visit.length} bytes"))
    if answer.leads_to is not None:
        lines += _target_lines(answer.leads_to)
    if known is not None:
        lines.append(("tries", f"{known.tries} in vain" if known.tries else ""))
        lines += [
            ("way" if not number else "", _step(step.url, step.outcome))
            for number, step in enumerate(answer.way)
        ]
        lines.append(("depth", f"{known.depth} links from a seed"))
    if host is not None:
        lines.append(("host", _host_line(host)))
    return [line for line in [*lines, ("to do", answer.advice or "")] if line[1]]


def _target_lines(target: Target) -> list[tuple[str, str]]:
    """Where a URL redirects to, and what became of that."""
    word = f"{target.outcome}: {target.told}" if target.outcome else target.told
    other = f"of another host, {target.host}; " if target.host is not None else ""
    return [("leads to", target.url), ("", f"{other}{word}")]


def _step(url: str, outcome: str | None) -> str:
    return f"{url} ({outcome or 'waiting'})"


def _host_line(host: HostFacts) -> str:
    parts = [
        f"{host.name}: {host.pages:,} pages, {host.requests:,} requests, {host.errors:,} errors",
        f"{host.latency:.2f} s to an answer" if host.latency else "",
        f"{host.delay:.1f} s between requests" if host.delay else "",
        f"{host.failures} failures in a row" if host.failures else "",
        f"not before {time.strftime('%H:%M:%S', time.localtime(host.due))}" if host.due > time.time() else "",
        f"asked no more: {host.closed}" if host.closed else "",
    ]
    return ", ".join(part for part in parts if part)
