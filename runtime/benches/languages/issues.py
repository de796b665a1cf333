import terapi
from terapi import Link, Terapi


@terapi.model
class Issue:
    id: int
    number: int
    title: str
    state: str
    author: str | None
    labels: list[str]
    body: str | None
    created_at: str
    updated_at: str
    closed_at: str | None


def to_issue(issue):
    return {
        "id": str(issue["id"]),
        "number": issue["number"],
        "title": issue["title"],
        "state": issue["state"],
        "author": issue["user"]["login"] if issue["user"] else None,
        "labels": [label["name"] for label in issue["labels"]],
        "body": issue["body"],
        "created_at": issue["created_at"],
        "updated_at": issue["updated_at"],
        "closed_at": issue["closed_at"],
    }


@terapi.sync(models=[Issue], frequency="every day")
async def fetch_data(terapi: Terapi):
    """Keeps the issues of a repository."""
    async for page in terapi.paginate("/repos/terapi/bench/issues", Link(), params={"state": "all", "per_page": 100}):
        await terapi.batch_save([to_issue(issue) for issue in page if "pull_request" not in issue], Issue)
