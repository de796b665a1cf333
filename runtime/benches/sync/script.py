"""The script that one would write instead: the same pages, the same fields, the same promises as far as they come cheap.

    script.py full DATABASE URL         saves everything, and marks what is gone as deleted
    script.py incremental DATABASE URL  saves what is new since the last success

Records are compared by a hash, a page is a transaction, changes are numbered so that readers can ask what changed since
a number. Prints what it did as JSON.
"""

import hashlib
import sqlite3
import sys
import time

import httpx
import orjson

SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    id TEXT PRIMARY KEY, seq INTEGER NOT NULL, hash BLOB NOT NULL, deleted INTEGER NOT NULL, json BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS changes ON records (seq);
CREATE TABLE IF NOT EXISTS state (last_sync_date TEXT NOT NULL);
"""

UPSERT = """
INSERT INTO records (id, seq, hash, deleted, json) VALUES (?, ?, ?, 0, ?)
ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, deleted = 0, json = excluded.json
"""

# By how many ids are asked for, up to a page.
FIND = ["SELECT id, hash FROM records WHERE deleted = 0 AND id IN (%s)" % ",".join("?" * n) for n in range(101)]


def issue(api):
    return {
        "id": str(api["id"]),
        "number": api["number"],
        "title": api["title"],
        "state": api["state"],
        "author": api["user"]["login"] if api["user"] else None,
        "labels": [label["name"] for label in api["labels"]],
        "body": api["body"],
        "created_at": api["created_at"],
        "updated_at": api["updated_at"],
        "closed_at": api["closed_at"],
    }


def main():
    mode, path, url = sys.argv[1:]
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.executescript(SCHEMA)
    seq = db.execute("SELECT coalesce(max(seq), 0) FROM records").fetchone()[0]
    last = db.execute("SELECT last_sync_date FROM state").fetchone()
    params = {"state": "all", "per_page": 100}
    if mode == "incremental" and last:
        params["since"] = last[0]

    seen, done = set(), {"added": 0, "updated": 0, "unchanged": 0, "deleted": 0}
    # Whatever proxy the environment names is not for this machine itself.
    with httpx.Client(trust_env=False) as client:
        response = client.get(url, params=params)
        while True:
            response.raise_for_status()
            records = [issue(api) for api in orjson.loads(response.content) if "pull_request" not in api]
            ids = [record["id"] for record in records]
            seen.update(ids)
            db.execute("BEGIN IMMEDIATE")
            known = dict(db.execute(FIND[len(ids)], ids))
            rows = []
            for record in records:
                data = orjson.dumps(record)
                digest = hashlib.blake2b(data, digest_size=16).digest()
                old = known.get(record["id"])
                if old == digest:
                    done["unchanged"] += 1
                    continue
                done["updated" if old else "added"] += 1
                seq += 1
                rows.append((record["id"], seq, digest, data))
            db.executemany(UPSERT, rows)
            db.execute("COMMIT")
            following = response.links.get("next")
            if not following:
                break
            response = client.get(following["url"])

    db.execute("BEGIN IMMEDIATE")
    if mode == "full":
        gone = [id for (id,) in db.execute("SELECT id FROM records WHERE deleted = 0") if id not in seen]
        for id in gone:
            seq += 1
            db.execute("UPDATE records SET deleted = 1, seq = ? WHERE id = ?", (seq, id))
        done["deleted"] = len(gone)
    db.execute("DELETE FROM state")
    db.execute("INSERT INTO state VALUES (?)", (started,))
    db.execute("COMMIT")
    db.close()
    print(orjson.dumps(done).decode())


main()
