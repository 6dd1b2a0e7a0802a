"""The tables of a frontier's file, and the statements on them."""

WAITING, DONE, OUTGOING, SENT, ASIDE, FRESH, NEARER = range(7)
"""States of a URL. OUTGOING is another partition's and yet to be handed over, SENT was, NEARER is to be once
more, with a smaller depth; ASIDE is of a host of which it is not known yet whether it is wanted. FRESH ones
are waiting too, but are in no index: their host is not big, or not known to be."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS urls (
    host INTEGER, place TEXT, state INTEGER, level INTEGER, priority INTEGER, depth INTEGER,
    redirects INTEGER, source INTEGER, tries INTEGER, PRIMARY KEY (host, place)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting ON urls (host, level, priority) WHERE state = 0;
CREATE INDEX IF NOT EXISTS outgoing ON urls (host) WHERE state IN (2, 6);
CREATE TABLE IF NOT EXISTS sources (id INTEGER PRIMARY KEY, url TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS seeds (host INTEGER, place TEXT, PRIMARY KEY (host, place)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lowered (host INTEGER, place TEXT);
CREATE TABLE IF NOT EXISTS visits (
    host INTEGER, place TEXT, outcome TEXT NOT NULL, status INTEGER, content_type TEXT, bytes INTEGER,
    warc TEXT, offset INTEGER, length INTEGER, sha256 TEXT, fetched TEXT, detail TEXT,
    etag TEXT, last_modified TEXT, refresh_seconds REAL, opt_outs TEXT, PRIMARY KEY (host, place)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS links (
    host INTEGER, place TEXT, urls BLOB, PRIMARY KEY (host, place)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept_files (url TEXT PRIMARY KEY, fetched REAL NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
    url TEXT PRIMARY KEY, outcome TEXT NOT NULL, fetched TEXT, detail TEXT, level INTEGER, depth INTEGER,
    referrer TEXT, sent INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS out_of_scope (
    reason TEXT, number INTEGER, url TEXT NOT NULL, PRIMARY KEY (reason, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS position (
    id INTEGER PRIMARY KEY, number INTEGER, offset INTEGER, seconds REAL, round INTEGER, ended INTEGER,
    known INTEGER, settled INTEGER, outcomes TEXT
);
"""
ADD = """
INSERT INTO urls (host, place, state, level, priority, depth, redirects, source)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (host, place) DO UPDATE SET depth = nearer(host, place, excluded.depth), level = excluded.level,
    redirects = excluded.redirects, source = excluded.source,
    state = CASE state WHEN 3 THEN 6 ELSE state END
WHERE excluded.depth < depth
"""
# The function `nearer` is told which rows are lowered, and returns the depth. A trigger would see them too,
# but by being there it makes each row that is inserted cost a third more.
LOWERED = "INSERT INTO lowered VALUES (?, ?)"
VISIT_COLUMNS = (
    *("outcome", "status", "content_type", "bytes", "warc", "offset", "length", "sha256", "fetched"),
    *("detail", "etag", "last_modified", "refresh_seconds", "opt_outs"),
)
VISIT = f"""
INSERT OR REPLACE INTO visits (host, place, {", ".join(VISIT_COLUMNS)})
VALUES (?, ?{", ?" * len(VISIT_COLUMNS)})
"""
MOVE = "UPDATE urls SET state = ? WHERE host = ? AND state = ?"
REFUSE = f"""
INSERT OR REPLACE INTO visits (host, place, outcome, fetched, detail)
SELECT host, place, ?, ?, 'not asked for any more' FROM urls WHERE host = ? AND state IN ({WAITING}, {FRESH})
"""
REFUSED = """
INSERT OR IGNORE INTO refused (url, outcome, fetched, detail, level, depth, referrer)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
ALL_REFUSED = "SELECT url, outcome, fetched, detail, level, depth, referrer FROM refused"
TO_REFUSE = f"{ALL_REFUSED} WHERE sent = 0"
ENTRY_COLUMNS = "hosts.name, place, level, depth, redirects, priority, tries"
ENTRY_FIELDS = 7
TAKE, TAKE_ORDERED = (
    f"""
SELECT {ENTRY_COLUMNS} FROM urls JOIN hosts ON hosts.id = host WHERE host = ?1 AND state {waiting}
    AND level = (SELECT min(level) FROM urls WHERE host = ?1 AND state {waiting})
ORDER BY priority, place LIMIT ?2
"""
    for waiting in (f"IN ({WAITING}, {FRESH})", f"= {WAITING}")
)
COUNT, COUNT_ORDERED = (
    f"SELECT count(*) FROM (SELECT 1 FROM urls WHERE host = ? AND state {waiting} LIMIT ?)"
    for waiting in (f"IN ({WAITING}, {FRESH})", f"= {WAITING}")
)
LOG_COLUMNS = (
    *("url", "outcome", "status", "content_type", "bytes", "depth", "referrer"),
    *("warc", "offset", "length", "sha256", "fetched", "detail"),
)
LOG = f"""
SELECT url_of(hosts.name, place), outcome, status, content_type, visits.bytes, depth,
    (SELECT url FROM sources WHERE sources.id = source), {", ".join(LOG_COLUMNS[7:])}
FROM visits JOIN urls USING (host, place) JOIN hosts ON hosts.id = host ORDER BY 1
"""
