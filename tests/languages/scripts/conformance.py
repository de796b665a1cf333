"""The sync that every language does alike; tests/guests/conformance says what."""

from dataclasses import dataclass

import terapi
from terapi import Link, Terapi


@dataclass
class Milestone:
    title: str
    due_on: str | None


@terapi.model
class Issue:
    """An issue of the repository."""

    id: int  # written as a string, as every id
    number: int
    title: str
    state: str
    author: str | None
    labels: list[str]
    weight: int
    reactions: dict[str, int]
    milestone: Milestone | None
    body: str | None
    updated_at: str


@dataclass
class Config:
    repository: str
    all: bool = False


def to_issue(issue):
    reactions, milestone = issue["reactions"], issue["milestone"]
    return Issue(
        id=issue["id"],
        number=issue["number"],
        title=issue["title"],
        state=issue["state"],
        author=issue["user"]["login"] if issue["user"] else None,
        labels=[label["name"] for label in issue["labels"]],
        weight=issue["weight"],
        reactions={name: reactions[name] for name in ("total_count", "+1", "heart")},
        milestone=Milestone(milestone["title"], milestone["due_on"]) if milestone else None,
        body=issue["body"],
        updated_at=issue["updated_at"],
    )


@terapi.sync(models=[Issue], config=Config, frequency="every hour", base_url="https://api.github.com")
async def fetch_data(terapi: Terapi):
    """Keeps the issues of a repository."""
    since = None if terapi.config.all else terapi.last_sync_date
    if since is None:
        await terapi.track_deletes_start(Issue)
    pages = 0
    params = {"state": "all", "per_page": 3, "since": since}
    async for page in terapi.paginate(f"/repos/{terapi.config.repository}/issues", Link(), params=params):
        await terapi.batch_save(to_issue(issue) for issue in page if not issue.get("pull_request"))
        pages += 1
        if since is None:
            await terapi.save_checkpoint({"pages": pages})
    if since is None:
        await terapi.track_deletes_end(Issue)
        await terapi.clear_checkpoint()
