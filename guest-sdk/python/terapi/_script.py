"""The decorators, the object that a script is handed, and what the host calls."""

from __future__ import annotations

import datetime
import inspect
import json
import re

from . import _host, _http, _loop
from ._errors import ActionError, Error, describe as describe_error, from_host, report
from ._model import entry, from_json, iso, name_of, schema_of, to_json

#: The most entries that the host takes in one call.
BATCH_ENTRIES = 1000
#: A batch is sent once its JSON is this long: beyond some hundred records a larger one saves nothing.
BATCH_BYTES = 1 << 20
#: Records in one call of `list`.
LIST_PAGE = 500


class Script:
    """What a decorator makes of a function: the function itself stays callable."""

    def __init__(self, kind, function, **options):
        self.kind, self.function, self.options = kind, function, options
        self.models = models_of(options.get("models") or ())

    def __call__(self, *arguments, **options):
        return self.function(*arguments, **options)


def models_of(models):
    """Models by name: from a list of classes, or a dict of schemas by name."""
    if isinstance(models, dict):
        pairs = models.items()
    else:
        pairs = ((name_of(kind), kind) for kind in (models if isinstance(models, (list, tuple)) else [models]))
    return dict(pairs)


def sync(function=None, /, *, models=(), mode="incremental", frequency=None, name=None, version="1.0.0", description=None,
         base_url=None, hosts=(), auto_start=True, config=None, metadata=None):
    """Makes a function a sync script: `async def fetch_data(terapi): …`.

    models
        What it saves: dataclasses, or a dict of JSON Schemas by name.
    mode
        `incremental` (a run saves what changed) or `full-refresh` (each run saves everything; the rest is deleted).
    frequency
        How often it wants to run: `every 5 minutes`, `every hour`, `every day`.
    base_url, hosts
        Where paths go, and what else it wants to reach. The operator grants or refuses.
    config, metadata
        A dataclass or JSON Schema of `terapi.config` and of the connection's metadata.
    name, version, description
        If not the file's name, 1.0.0, and the function's docstring.
    """
    options = dict(models=models, mode=mode, frequency=frequency, name=name, version=version, description=description,
                   base_url=base_url, hosts=hosts, auto_start=auto_start, config=config, metadata=metadata)
    if mode not in ("incremental", "full-refresh"):
        raise ValueError(f"mode is `incremental` or `full-refresh`, not {mode!r}")
    return (lambda function: Script("sync", function, **options)) if function is None else Script("sync", function, **options)


def action(function=None, /, *, input=None, output=None, models=(), name=None, version="1.0.0", description=None,
           base_url=None, hosts=(), config=None, metadata=None):
    """Makes a function an action script: `async def create_issue(terapi, input): …`, which returns its output.

    `input` and `output` are dataclasses or JSON Schemas; of a dataclass the function gets an instance. For the rest see `sync`.
    """
    options = dict(input=input, output=output, models=models, name=name, version=version, description=description,
                   base_url=base_url, hosts=hosts, config=config, metadata=metadata)
    return (lambda function: Script("action", function, **options)) if function is None else Script("action", function, **options)


def find(module):
    """The script of a module: what a decorator made, or its function `fetch_data` with the module's `models`."""
    scripts = [value for value in vars(module).values() if isinstance(value, Script)]
    if not scripts and callable(getattr(module, "fetch_data", None)):
        if not getattr(module, "models", None):
            raise Error("`fetch_data` needs `models = [Issue]` beside it, or the decorator `@terapi.sync(models=[Issue])`")
        return sync(module.fetch_data, models=module.models)
    if len(scripts) != 1:
        what = "no script in it" if not scripts else "more than one script in it"
        raise Error(f"{what}: decorate one function with `@terapi.sync` or `@terapi.action`")
    return scripts[0]


class Terapi:
    """What a script works with. All that can be awaited has begun already when it is called."""

    def __init__(self, context, script):
        #: The id of this run.
        self.run_id = context.run_id
        #: The name of the connection: one account at the external system.
        self.connection_name = context.connection
        #: Which of several syncs of the same script on the same connection.
        self.variant = context.variant
        config = json.loads(context.config)
        #: What the operator configured: a dict, or the dataclass that the decorator names.
        self.config = from_json(script.options.get("config"), config, "config")
        self._models = script.models

    # --- state

    @property
    def last_sync_date(self):
        """When the last successful run started, a `datetime` in UTC; none on the first run and after a reset."""
        moment = _host.state.last_sync_date()
        if moment is None:
            return None
        return datetime.datetime.fromtimestamp(moment // 1000, datetime.timezone.utc) + datetime.timedelta(milliseconds=moment % 1000)

    def checkpoint(self):
        """The checkpoint last saved; none at first, after a reset and after `clear_checkpoint`."""
        text = _host.state.checkpoint()
        return _loop.Done(None if text is None else json.loads(text))

    def save_checkpoint(self, value):
        """Saves progress, a JSON object of at most 64 KiB. It and every batch before it survive a power cut."""
        return self._call("saving the checkpoint", _host.state.save_checkpoint, to_json(value))

    def clear_checkpoint(self):
        """Forgets the checkpoint, at the end of a pass for example."""
        return self._call("clearing the checkpoint", _host.state.clear_checkpoint)

    def metadata(self):
        """The connection's metadata, a dict."""
        return _loop.Done(json.loads(_host.state.metadata()))

    def set_metadata(self, value):
        """Replaces the metadata."""
        return self._call("saving the connection's metadata", _host.state.set_metadata, to_json(value))

    def update_metadata(self, fields):
        """Replaces the given top-level fields of the metadata."""
        return self._call("updating the connection's metadata", _host.state.update_metadata, to_json(fields))

    def connection(self):
        """What the operator configured for the connection: a dict with `id`, and maybe `integration`, `config`, `pagination`."""
        return _loop.Done(json.loads(_host.state.connection()))

    # --- records

    def batch_save(self, records, model=None):
        """Saves records: dataclasses or dicts with an `id`. The model may be left out if it is a dataclass's, or the only one.

        Any number; the host takes up to 1,000 or 1 MiB of them at a time. Gives how many were added, updated, unchanged.
        """
        return self._save("saving", _host.records.batch_save, records, model)

    def batch_update(self, records, model=None):
        """Merges top-level fields into records that exist; unknown ids are added as they are given."""
        return self._save("updating", _host.records.batch_update, records, model)

    def batch_delete(self, ids, model=None):
        """Marks records as deleted, by id; gives how many there were."""
        model, ids, deleted = self._model(model), [_id(one) for one in ids], 0
        for first in range(0, len(ids), BATCH_ENTRIES):
            deleted += self._call(f"deleting {model}", _host.records.batch_delete, model, ids[first : first + BATCH_ENTRIES]).value
        return _loop.Done(deleted)

    def get_by_ids(self, ids, model=None):
        """The records with these ids that exist, as dicts by id."""
        model, ids, found = self._model(model), [_id(one) for one in ids], {}
        for first in range(0, len(ids), BATCH_ENTRIES):
            entries = self._call(f"reading {model}", _host.records.get_by_ids, model, ids[first : first + BATCH_ENTRIES]).value
            found.update((one.id, json.loads(one.data)) for one in entries)
        return _loop.Done(found)

    async def list(self, model=None):
        """All records that exist, as dicts, those that changed longest ago first: `async for record in terapi.list(Issue)`."""
        model, after = self._model(model), None
        while True:
            page = self._call(f"listing {model}", _host.records.list, model, after, LIST_PAGE).value
            for one in page.entries:
                yield json.loads(one.data)
            after = page.next
            if after is None:
                return

    def track_deletes_start(self, model=None):
        """From now on Terapi notes which records are saved, until `track_deletes_end`; also over several runs."""
        model = self._model(model)
        return self._call(f"tracking deletes of {model}", _host.records.track_deletes_start, model)

    def track_deletes_end(self, model=None):
        """Marks for deletion what was not saved since `track_deletes_start`; gives how many. Done when the run succeeds."""
        model = self._model(model)
        return self._call(f"deleting what is gone of {model}", _host.records.track_deletes_end, model)

    # --- requests

    def request(self, method, url, params=None, **options):
        """Starts a request; awaited it gives the `Answer`. A status of 400 and above raises `HttpError`, unless `check=False`.

        `params` is the query (`None` is left out), `headers` a dict; the body is one of `json=`, `form=`, `data=`.
        `timeout` in seconds, `retries` (3 for GET, else 0), `retry_on` further statuses, `redirects` (5).
        The URL is absolute, or a path on the integration's base URL. The connection's credential is added by the host.
        """
        return _http.send(method, url, params, **options)

    def get(self, url, params=None, **options):
        """A GET; see `request`."""
        return _http.send("GET", url, params, **options)

    def post(self, url, json=None, **options):
        """A POST; see `request`."""
        return _http.send("POST", url, json=json, **options)

    def put(self, url, json=None, **options):
        """A PUT; see `request`."""
        return _http.send("PUT", url, json=json, **options)

    def patch(self, url, json=None, **options):
        """A PATCH; see `request`."""
        return _http.send("PATCH", url, json=json, **options)

    def delete(self, url, **options):
        """A DELETE; see `request`."""
        return _http.send("DELETE", url, **options)

    def paginate(self, url, by, *, items=None, params=None, method="GET", **options):
        """The pages of a list, each a list of its items: `async for page in terapi.paginate("/issues", Link()): …`.

        `by` is `Link()`, `Cursor(…)`, `Offset(…)` or `PageNumber(…)`; `items` is the dotted path of the array in the body.
        Everything else is as in `request`. The list never asks for a page twice.
        """
        return _http.pages(method, url, by, items, params, **options)

    def sleep(self, seconds):
        """Waits; costs no fuel."""
        return _loop.sleep(seconds)

    def gather(self, *awaitables):
        """Runs coroutines and requests side by side; a list of their results."""
        return _loop.gather(*awaitables)

    def log(self, message, level="info", **fields):
        """Adds a line to the run's log; `level` is debug, info, warn or error."""
        levels = _host.log.Level
        _host.log.log(getattr(levels, level.upper()), str(message), to_json(fields) if fields else None)

    # --- inside

    def _call(self, doing, function, *arguments):
        try:
            return _loop.Done(function(*arguments))
        except _host.Err as error:
            raise from_host(doing, error.value) from None

    def _model(self, model, record=None):
        if model is not None:
            return name_of(model)
        if record is not None and not isinstance(record, dict) and name_of(type(record)) in self._models:
            return name_of(type(record))
        if len(self._models) == 1:
            return next(iter(self._models))
        raise Error(f"say which model: one of {', '.join(self._models) or 'none'}")

    def _save(self, doing, function, records, model):
        saved, batch, size = Saved(), [], 0
        name = None
        for record in records:
            if name is None:
                name = self._model(model, record)
                doing = f"{doing} {name}"
            key, text = entry(record)
            batch.append(_host.records.Entry(key, text))
            size += len(text)
            if len(batch) >= BATCH_ENTRIES or size >= BATCH_BYTES:
                saved.add(self._call(doing, function, name, batch).value)
                batch, size = [], 0
        if batch:
            saved.add(self._call(doing, function, name, batch).value)
        return _loop.Done(saved)


class Saved:
    """What saving did: how many were `added`, `updated`, `unchanged`, and `repeated` in their batch."""

    def __init__(self):
        self.added = self.updated = self.unchanged = self.repeated = 0

    def add(self, summary):
        """Adds a batch's."""
        self.added += summary.added
        self.updated += summary.updated
        self.unchanged += summary.unchanged
        self.repeated += summary.repeated

    def __repr__(self):
        return f"Saved(added={self.added}, updated={self.updated}, unchanged={self.unchanged}, repeated={self.repeated})"


def _id(value):
    return value if isinstance(value, str) else str(value)


# --- what the host calls ----------------------------------------------------------------------------------------------


def kebab(name):
    """`github_issues` and `GithubIssues` as `github-issues`."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()).strip("-")


def manifest(script, stem):
    """What a script says of itself."""
    options = script.options
    schema = lambda kind: None if kind is None else to_json(schema_of(kind))
    described = options["description"] or inspect.getdoc(script.function) or ""
    models = [
        _host.types.Model(name, to_json(schema_of(kind, record=not isinstance(kind, dict))), list(getattr(kind, "__terapi_ignore__", ())))
        for name, kind in script.models.items()
    ]
    shared = dict(
        name=options["name"] or kebab(stem), version=options["version"], description=" ".join(described.split()), models=models,
        base_url=options["base_url"], hosts=list(options["hosts"]), config_schema=schema(options["config"]),
        metadata_schema=schema(options["metadata"]),
    )
    if script.kind == "sync":
        mode = _host.types.SyncMode.FULL_REFRESH if options["mode"] == "full-refresh" else _host.types.SyncMode.INCREMENTAL
        return _host.types.SyncManifest(mode=mode, frequency=options["frequency"], auto_start=options["auto_start"], **shared)
    return _host.types.ActionManifest(input_schema=schema(options["input"]), output_schema=schema(options["output"]), **shared)


def run(script, context, files, input=None):
    """Runs a script to its end; what it raises becomes a failure."""
    try:
        arguments = [Terapi(context, script)]
        if script.kind == "action":
            arguments.append(from_json(script.options["input"], json.loads(input), "input"))
        result = script.function(*arguments)
        if inspect.isawaitable(result):
            result = _loop.run(_whole(result))
        return to_json(result) if script.kind == "action" else None
    except Exception as error:
        if not isinstance(error, Error):
            report(error)
        details = getattr(error, "details", None)
        if details is None and getattr(error, "answer", None) is not None:
            details = {"status": error.answer.status}
        wait = getattr(error, "retry_after", None)
        kinds = _host.types.FailureKind
        failure = _host.types.Failure(
            kind=kinds.TRANSIENT if getattr(error, "transient", False) else kinds.PERMANENT,
            message=describe_error(error, files), details=None if details is None else to_json(details),
            retry_after_ms=None if wait is None else int(wait * 1000),
        )
        raise _host.Err(failure) from None


async def _whole(awaitable):
    return await awaitable
