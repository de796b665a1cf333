"""Terapi scripts in Python.

    import terapi
    from terapi import Link, Terapi

    @terapi.model
    class Issue:
        id: int  # written as a string, as every id
        title: str

    @terapi.sync(models=[Issue], frequency="every hour", base_url="https://api.github.com")
    async def fetch_data(terapi: Terapi):
        since = terapi.last_sync_date
        async for page in terapi.paginate("/repos/acme/app/issues", Link(), params={"since": since}):
            await terapi.batch_save(Issue(id=issue["id"], title=issue["title"]) for issue in page)

Build it with `python -m terapi build github_issues.py -o github-issues.wasm`.
"""

from ._errors import ActionError, Error, HttpError, TransientError
from ._http import Answer, Cursor, Link, Offset, Page, PageNumber
from ._loop import gather, sleep
from ._model import iso, model, schema_of
from ._script import Saved, Script, Terapi, action, sync

__all__ = [
    "ActionError", "Answer", "Cursor", "Error", "HttpError", "Link", "Offset", "Page", "PageNumber", "Saved", "Script", "Terapi",
    "TransientError", "action", "gather", "iso", "model", "schema_of", "sleep", "sync",
]
__version__ = "0.1.0"
