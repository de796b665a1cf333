"""What a hand-written script does to find out that nothing is new: asks the API, looks at the answer, and writes down when it
asked. Standard library only. Arguments: URL of the issues, database."""
import json
import sqlite3
import sys
import urllib.request
from datetime import datetime, timezone

url, database = sys.argv[1:]
db = sqlite3.connect(database)
db.execute("create table if not exists issues (id text primary key, data text, modified text)")
db.execute("create table if not exists state (name text primary key, value text)")
started = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
row = db.execute("select value from state where name = 'last'").fetchone()
since = row[0] if row else "1970-01-01T00:00:00Z"
with urllib.request.urlopen(f"{url}?state=all&per_page=100&since={since}") as answer:
    issues = json.load(answer)
for issue in issues:
    db.execute("insert or replace into issues values (?, ?, ?)", (str(issue["id"]), json.dumps(issue), started))
db.execute("insert or replace into state values ('last', ?)", (started,))
db.commit()
