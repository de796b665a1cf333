"""The SDK on the machine's own Python, with a host made up for it."""

import contextlib
import dataclasses
import datetime
import enum
import io
import json
import pathlib
import sys
import types
import typing
import unittest

import terapi
from terapi import Cursor, Link, Offset, PageNumber, _errors, _host, _http, _loop, _model, _script


class Error_Denied:
    def __init__(self, value):
        self.value = value


class Error_NotAllowed(Error_Denied):
    pass


class Level(enum.Enum):
    DEBUG = 0
    INFO = 1
    WARN = 2
    ERROR = 3


@dataclasses.dataclass
class Entry:
    id: str
    data: str


class Host:
    """Answers requests with `answer(request)`, and keeps what is saved. Requests finish in the reverse of their order."""

    def __init__(self, answer=lambda request: (200, [], b"[]")):
        self.answer, self.requests, self.saved, self.logged, self.started = answer, [], [], [], []
        record = lambda name, fields: dataclasses.make_dataclass(name, fields.split())
        self.Request = record("Request", "method url headers query body timeout_ms retries retry_on redirects")
        self.Entry, self.Level = Entry, Level
        self.Model = record("Model", "name schema ignore")
        self.SyncManifest = types.SimpleNamespace
        self.ActionManifest = types.SimpleNamespace
        self.SyncMode = enum.Enum("SyncMode", "FULL_REFRESH INCREMENTAL")
        self.FailureKind = enum.Enum("FailureKind", "TRANSIENT PERMANENT")
        self.Failure = types.SimpleNamespace
        self.moment, self.kept = None, None
        for name in ("http", "records", "state", "log", "types"):
            setattr(_host, name, self)

    def start(self, request):
        self.requests.append(request)
        if request.url == "/denied":
            raise _host.Err(Error_Denied("no such rule"))
        self.started.append((len(self.requests), request))
        return len(self.requests)

    def wait(self):
        ticket, request = self.started.pop()
        status, headers, body = self.answer(request)
        return ticket, _host.Ok(types.SimpleNamespace(status=status, headers=headers, body=body))

    def wait_for(self, timeout_ms):
        return types.SimpleNamespace(value=self.wait()) if self.started else types.SimpleNamespace()

    def batch_save(self, model, entries):
        self.saved.append((model, [(entry.id, entry.data) for entry in entries]))
        return types.SimpleNamespace(added=len(entries), updated=0, unchanged=0, repeated=0)

    def track_deletes_end(self, model):
        raise _host.Err(Error_NotAllowed("without start"))

    def last_sync_date(self):
        return self.moment

    def checkpoint(self):
        return self.kept

    def save_checkpoint(self, value):
        self.kept = value

    def log(self, level, message, fields):
        self.logged.append((level, message, fields))


@terapi.model
class Issue:
    """An issue."""

    id: int
    title: str


CONTEXT = types.SimpleNamespace(run_id="1", connection="acme", variant="base", config='{"repository": "a/b"}')


def run(function, host, **options):
    script = terapi.sync(models=[Issue], **options)(function)
    return _script.run(script, CONTEXT, {__file__})


def failure(function, host):
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            run(function, host)
    except _host.Err as error:
        return error.value
    raise AssertionError("it did not fail")


def query(request):
    return dict(request.query)


class Models(unittest.TestCase):
    def test_a_dataclass_has_a_schema_and_its_id_is_a_string(self):
        class Color(enum.Enum):
            RED = "red"

        @dataclasses.dataclass
        class Part:
            size: float

        @dataclasses.dataclass
        class Thing:
            """A thing."""

            id: int
            name: typing.Annotated[str, "What it is called"]
            tags: list[str]
            part: Part
            color: Color = Color.RED
            kind: typing.Literal["a", "b"] = "a"
            at: datetime.datetime | None = None
            more: dict[str, int] = dataclasses.field(default_factory=dict)

        globals().update(Part=Part, Color=Color)
        schema = _model.schema_of(Thing, record=True)
        self.assertEqual(schema["description"], "A thing.")
        self.assertEqual(schema["required"], ["id", "name", "tags", "part"])
        self.assertEqual(
            schema["properties"],
            {
                "id": {"type": "string"},
                "name": {"type": "string", "description": "What it is called"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "part": {"$ref": "#/$defs/Part"},
                "color": {"enum": ["red"]},
                "kind": {"enum": ["a", "b"]},
                "at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
                "more": {"type": "object", "additionalProperties": {"type": "integer"}},
            },
        )
        self.assertEqual(schema["$defs"]["Part"]["properties"], {"size": {"type": "number"}})
        moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, datetime.timezone(datetime.timedelta(hours=1)))
        thing = Thing(9007199254740993, "é", [], Part(1.5), at=moment)
        self.assertEqual(
            _model.entry(thing),
            ("9007199254740993", '{"id":"9007199254740993","name":"é","tags":[],"part":{"size":1.5},"color":"red","kind":"a",'
             '"at":"2026-01-02T02:04:05.678Z","more":{}}'),
        )

    def test_records_without_an_id_and_numbers_that_json_has_not_are_refused(self):
        with self.assertRaisesRegex(ValueError, "without `id`"):
            _model.entry({"title": "x"})
        with self.assertRaisesRegex(ValueError, "text or a whole number"):
            _model.entry({"id": 1.5})
        with self.assertRaises(ValueError):
            _model.entry({"id": "1", "x": float("nan")})


class Loop(unittest.TestCase):
    def test_requests_run_side_by_side_and_come_in_the_order_asked(self):
        host = Host(lambda request: (200, [], request.url.encode()))

        async def fetch_data(terapi):
            answers = await terapi.gather(*(terapi.get(f"/{n}") for n in range(40)))
            assert [answer.text for answer in answers] == [f"/{n}" for n in range(40)]

            async def twice(n):
                first = await terapi.get(f"/{n}")
                await terapi.sleep(0.001)
                return first.text + (await terapi.get(f"/{n}x")).text

            assert await terapi.gather(twice(1), twice(2)) == ["/1/1x", "/2/2x"]

        run(fetch_data, host)

    def test_what_is_not_terapis_cannot_be_awaited(self):
        class Foreign:
            def __await__(self):
                yield 1

        async def fetch_data(terapi):
            await Foreign()

        self.assertIn("only what terapi hands out", failure(fetch_data, Host()).message)

    def test_saving_happens_even_if_nobody_awaits_it(self):
        host = Host()

        async def fetch_data(terapi):
            terapi.batch_save([{"id": "1", "title": "x"}])

        run(fetch_data, host)
        self.assertEqual(host.saved, [("Issue", [("1", '{"id":"1","title":"x"}')])])


class Failures(unittest.TestCase):
    def test_a_failed_answer_says_whether_it_may_go_better_next_time(self):
        for status, transient in [(404, False), (429, True), (500, True), (401, False)]:
            host = Host(lambda request: (status, [("retry-after", "7")], b"why"))

            async def fetch_data(terapi):
                await terapi.get("/x?secret=1")

            failed = failure(fetch_data, host)
            self.assertEqual(failed.kind is host.FailureKind.TRANSIENT, transient)
            self.assertEqual(failed.retry_after_ms, 7000)
            self.assertRegex(failed.message, rf"GET /x: status {status}.*: why")

    def test_the_hosts_refusal_says_what_was_being_done(self):
        async def denied(terapi):
            await terapi.get("/denied")

        async def not_allowed(terapi):
            await terapi.track_deletes_end()

        self.assertEqual(failure(denied, Host()).message, "GET /denied: denied: no such rule")
        self.assertEqual(failure(not_allowed, Host()).message, "deleting what is gone of Issue: not allowed: without start")

    def test_another_exception_comes_with_the_authors_line(self):
        async def fetch_data(terapi):
            {}["title"]

        message = failure(fetch_data, Host()).message
        self.assertRegex(message, r"^KeyError: 'title'\n    at fetch_data \(test_sdk.py:\d+\): \{\}\[\"title\"\]$")

    def test_an_actions_error_keeps_its_payload(self):
        @terapi.action
        async def act(terapi, input):
            raise terapi_module.ActionError({"message": "no", "code": input})

        terapi_module = terapi
        Host()
        with self.assertRaises(_host.Err) as raised:
            _script.run(act, CONTEXT, set(), "7")
        self.assertEqual((raised.exception.value.message, raised.exception.value.details), ("no", '{"message":"no","code":7}'))


class Pages(unittest.TestCase):
    def collect(self, host, url, by, **options):
        pages = []

        async def fetch_data(terapi):
            async for page in terapi.paginate(url, by, **options):
                pages.append(list(page))

        run(fetch_data, host)
        return pages

    def test_links_are_followed_and_the_query_is_not_sent_again(self):
        def answer(request):
            if request.query:
                return 200, [("link", '<https://x.test/i?page=1>; rel="prev", <?page=2>; rel="next"')], b"[1]"
            return 200, [], b"[]"

        host = Host(answer)
        self.assertEqual(self.collect(host, "/v1/items", Link(), params={"since": None, "a": True}), [[1], []])
        self.assertEqual([(request.url, request.query) for request in host.requests], [("/v1/items", [("a", "true")]), ("/v1/items?page=2", [])])

    def test_cursors_go_into_the_query_or_the_body(self):
        def answer(request):
            after = query(request).get("after") or json.loads(request.body or b"{}").get("page", {}).get("after")
            return 200, [], json.dumps({"data": {"rows": [after]}, "next.cursor": {None: 5, "5": "b", 5: "b"}.get(after)}).encode()

        self.assertEqual(self.collect(Host(answer), "/x", Cursor("next.cursor", "after"), items="data.rows"), [[None], ["5"], ["b"]])
        by = Cursor("next.cursor", "page.after", in_body=True)
        host = Host(answer)
        self.assertEqual(self.collect(host, "/x", by, items="data.rows", method="POST", json={"page": {"size": 1}}), [[None], [5], ["b"]])
        self.assertEqual(json.loads(host.requests[1].body), {"page": {"size": 1, "after": 5}})

    def test_offsets_and_page_numbers_end_with_a_short_or_empty_page(self):
        def answer(request):
            at = int(query(request).get("offset") or query(request).get("page"))
            return 200, [], json.dumps(list(range(at, min(at + 2, 4)))).encode()

        self.assertEqual(self.collect(Host(answer), "/x", Offset()), [[0, 1], [2, 3]])
        host = Host(answer)
        self.assertEqual(self.collect(host, "/x", PageNumber(limit=2, limit_param="size")), [[1, 2], [2, 3], [3]])
        self.assertEqual(host.requests[0].query, [("page", "1"), ("size", "2")])

    def test_an_api_that_turns_in_circles_is_an_error(self):
        host = Host(lambda request: (200, [], b'{"items": [1], "next": "same"}'))

        async def fetch_data(terapi):
            async for _ in terapi.paginate("/x", Cursor("next", "cursor"), items="items"):
                pass

        self.assertIn("same next page twice", failure(fetch_data, host).message)
        self.assertEqual(len(host.requests), 2)

    def test_link_headers_are_read_as_rfc_8288_says(self):
        for header, expected in [
            ('<a>; title="x, <b>; rel=\\"next\\""; rel=prev, <https://x.test/?b=1,2;rel=next>;rel=next', "https://x.test/?b=1,2;rel=next"),
            ('<a>; REL="last NEXT"', "a"),
            ('<a>; rel="nextish"', None),
            ('<a>; rel=next; anchor="#other"', None),
            (" , ,<a>; rel=next, ", "a"),
        ]:
            self.assertEqual(_http.next_link([header]), expected, header)
        with self.assertRaises(terapi.HttpError):
            _http.next_link(["https://x.test; rel=next"])


class Scripts(unittest.TestCase):
    def test_a_manifest_says_what_the_decorator_says(self):
        host = Host()

        @terapi.sync(models=[Issue], mode="full-refresh", frequency="every hour", hosts=["x.test"], config={"type": "object"})
        async def fetch_data(terapi):
            """Keeps
            issues."""

        manifest = _script.manifest(fetch_data, "github_issues")
        self.assertEqual((manifest.name, manifest.description, manifest.mode), ("github-issues", "Keeps issues.", host.SyncMode.FULL_REFRESH))
        self.assertEqual((manifest.models[0].name, manifest.config_schema), ("Issue", '{"type":"object"}'))

    def test_state_is_plain_python(self):
        host = Host()
        host.moment = 1_767_323_045_678

        async def fetch_data(terapi):
            assert terapi.last_sync_date.isoformat() == "2026-01-02T03:04:05.678000+00:00"
            assert _http._text(terapi.last_sync_date) == "2026-01-02T03:04:05.678Z"
            assert terapi.config == {"repository": "a/b"}
            assert await terapi.checkpoint() is None
            await terapi.save_checkpoint({"page": 2})
            assert await terapi.checkpoint() == {"page": 2}
            saved = await terapi.batch_save(Issue(id=n, title="x") for n in range(2500))
            assert saved.added == 2500
            terapi.log("done", pages=3)

        run(fetch_data, host)
        self.assertEqual([len(entries) for _, entries in host.saved], [1000, 1000, 500])
        self.assertEqual(host.logged, [(Level.INFO, "done", '{"pages":3}')])


if __name__ == "__main__":
    unittest.main()
