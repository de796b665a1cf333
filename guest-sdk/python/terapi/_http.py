"""Requests, answers and pages."""

from __future__ import annotations

import json as _json
from urllib.parse import urlencode, urljoin, urlsplit

from . import _host, _loop
from ._errors import HttpError, from_host
from ._model import to_json

#: Tries after the first for a request that may be repeated: with the host's doubling waits this bridges short outages.
RETRIES = 3
#: The most redirects that the host follows.
REDIRECTS = 5
#: How much of a failed answer's body an error shows.
EXCERPT = 512


class Answer:
    """An answer: `status`, `headers` (names in lower case), `content` (bytes), `text`, `json()`."""

    __slots__ = ("status", "header_list", "content", "request")

    def __init__(self, status, header_list, content, request):
        self.status, self.header_list, self.content, self.request = status, header_list, content, request

    @property
    def headers(self):
        """The headers as a dict; those that came more than once are joined with `, `."""
        joined = {}
        for name, value in self.header_list:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return joined

    @property
    def text(self):
        """The body as text; what is no UTF-8 is replaced."""
        return self.content.decode("utf-8", "replace")

    def json(self):
        """The body as JSON. Whole numbers of any size stay exact."""
        try:
            return _json.loads(self.content)
        except ValueError as error:
            raise HttpError(f"{self.request}: the answer is no JSON: {error}: {self.excerpt()}", answer=self) from None

    def excerpt(self):
        """The start of the body, for messages."""
        return self.text if len(self.content) <= EXCERPT else self.content[:EXCERPT].decode("utf-8", "ignore") + "…"

    def check(self):
        """Raises if the status is 400 or above; else the answer itself."""
        if self.status < 400:
            return self
        message = f"{self.request}: status {self.status}"
        if self.status in (401, 403):
            message += " (check the connection's credential and its permissions)"
        if self.content:
            message += f": {self.excerpt()}"
        wait = self.headers.get("retry-after", "").strip()
        transient = self.status in (408, 425, 429) or self.status >= 500
        raise HttpError(message, transient=transient, answer=self, retry_after=int(wait) if wait.isdigit() else None)

    def __repr__(self):
        return f"<Answer {self.status} to {self.request}>"


def _pairs(values):
    items = values.items() if isinstance(values, dict) else values or ()
    pairs = []
    for name, value in items:
        if value is None:
            continue
        if isinstance(value, (list, tuple)):
            pairs.extend((name, _text(one)) for one in value)
        else:
            pairs.append((name, _text(value)))
    return pairs


def _text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return str(value)
    encoded = to_json(value)
    return encoded[1:-1] if encoded.startswith('"') else encoded


class _Sent(_loop.Pending):
    """A request under way."""

    __slots__ = ("_name", "_check")

    def __init__(self, name, check):
        super().__init__()
        self._name, self._check = name, check

    def finish(self, value=None, error=None):
        if error is None:
            try:
                value = self._answer(value)
            except HttpError as failed:
                value, error = None, failed
        super().finish(value, error)

    def _answer(self, result):
        if type(result).__name__ == "Err":
            raise from_host(self._name, result.value)
        response = result.value
        answer = Answer(response.status, response.headers, response.body, self._name)
        return answer.check() if self._check else answer


def send(method, url, params=None, headers=None, json=None, form=None, data=None, *, timeout=None, retries=None,
         retry_on=(), redirects=REDIRECTS, check=True):
    """Starts a request. Awaited it gives the `Answer`, or raises; see `Terapi.request`."""
    method = method.upper()
    name = f"{method} {url.partition('?')[0]}"  # without the query: some APIs want secrets there
    headers = _pairs(headers)
    body = None
    if json is not None:
        body, kind = to_json(json).encode(), "application/json"
    elif form is not None:
        body, kind = urlencode(_pairs(form)).encode(), "application/x-www-form-urlencoded"
    elif data is not None:
        body, kind = data.encode() if isinstance(data, str) else bytes(data), None
    if body is not None and kind and not any(key.lower() == "content-type" for key, _ in headers):
        headers.append(("content-type", kind))
    if retries is None:
        retries = RETRIES if method in ("GET", "HEAD") else 0
    request = _host.http.Request(
        method=method, url=url, headers=headers, query=_pairs(params), body=body,
        timeout_ms=None if timeout is None else int(timeout * 1000), retries=retries, retry_on=list(retry_on),
        redirects=redirects,
    )
    _loop.make_room()
    sent = _Sent(name, check)
    try:
        ticket = _host.http.start(request)
    except _host.Err as error:
        sent.finish(error=from_host(name, error.value))
    else:
        _loop.started(ticket, sent)
    return sent


# --- pages ---------------------------------------------------------------------------------------------------------


class Page(list):
    """The items of a page; `answer` is where they come from."""

    def __init__(self, items, answer):
        super().__init__(items)
        self.answer = answer


class Link:
    """The API hands out the URL of the next page: in the `Link` header (RFC 8288), or in the body at a path."""

    def __init__(self, path=None, rel="next"):
        self.path, self.rel = path, rel


class Cursor:
    """The API hands out a cursor at `path` of the body; the next request sends it back as `param`, in the query or, with
    `in_body`, at that dotted place of the JSON body. `more` is a path that is false on the last page."""

    def __init__(self, path, param, *, more=None, in_body=False):
        self.path, self.param, self.more, self.in_body = path, param, more, in_body


class Offset:
    """The API wants to know how many items to skip. Ends with an empty page, or one of fewer items than `limit`."""

    def __init__(self, param="offset", *, first=0, limit=None, limit_param=None, in_body=False):
        self.param, self.at, self.limit, self.limit_param, self.in_body = param, first, limit, limit_param, in_body
        self.step = None


class PageNumber(Offset):
    """The API wants the number of the page. Ends with an empty page, or one of fewer items than `limit`."""

    def __init__(self, param="page", *, first=1, limit=None, limit_param=None, in_body=False):
        super().__init__(param, first=first, limit=limit, limit_param=limit_param, in_body=in_body)
        self.step = 1


def at(value, path):
    """What stands at a dotted path of a JSON value; none if nothing does. A key that equals the whole path wins."""
    if not path:
        return value
    if isinstance(value, dict) and path in value:
        return value[path]
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.lstrip("-").isdigit() and -len(value) <= int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _with(value, path, new):
    """A copy of a JSON object with something else at a dotted path."""
    first, _, rest = path.partition(".")
    value = dict(value or {})
    value[first] = _with(value.get(first), rest, new) if rest else new
    return value


async def pages(method, url, by, items=None, params=None, json=None, **options):
    """See `Terapi.paginate`."""
    params, seen = dict(params or {}), set()

    def put(name, value):
        nonlocal json
        if by.in_body:
            json = _with(json, name, value)
        else:
            params[name] = value

    at_offset = None
    if isinstance(by, Offset):
        at_offset = by.at
        put(by.param, at_offset)
        if by.limit_param:
            put(by.limit_param, by.limit)
    while True:
        answer = await send(method, url, params, json=json, **options)
        body = answer.json() if answer.content else None
        found = at(body, items)
        if found is None and isinstance(by, (Link, Cursor)):
            found = []
        if not isinstance(found, list):
            raise HttpError(f"{answer.request}: no array at `{items or ''}` of the answer: {answer.excerpt()}", answer=answer)
        if isinstance(by, Offset) and not found:
            return
        yield Page(found, answer)
        if isinstance(by, Link):
            values = [value for name, value in answer.header_list if name == "link"]
            link = at(body, by.path) if by.path else next_link(values, by.rel, answer)
            if not link:
                return
            url, params, mark = _join(url, str(link)), {}, link
        elif isinstance(by, Cursor):
            mark = at(body, by.path)
            blank = mark is None or mark == "" or isinstance(mark, (bool, dict, list))
            if blank or (by.more is not None and not at(body, by.more)):
                return
            put(by.param, mark)
        else:
            if by.limit is not None and len(found) < by.limit:
                return
            at_offset += by.step or len(found)
            put(by.param, at_offset)
            mark = hash(answer.content)  # a parameter that the API does not know gives the same page for ever
        if mark in seen:
            raise HttpError(
                f"{answer.request}: the API gave the same next page twice, so the list would never end: check its pagination",
                answer=answer,
            )
        seen.add(mark)


def _join(url, link):
    """A link of an answer, seen from the request's URL; both may be a path on the integration's base URL."""
    if urlsplit(link).scheme:
        return link
    return urljoin(url if urlsplit(url).scheme else urljoin("/", url), link)


def next_link(values, rel="next", answer=None):
    """The URL with this relation in `Link` headers; none if there is none."""
    for value in values:
        rest = value.strip()
        while rest:
            rest = rest.lstrip(", \t")
            if not rest:
                break
            if not rest.startswith("<") or ">" not in rest:
                raise HttpError(f"a Link header that cannot be read: {value[:200]}", answer=answer)
            target, _, rest = rest[1:].partition(">")
            parameters, rest = _parameters(rest)
            if "anchor" not in parameters and rel in parameters.get("rel", "").lower().split():
                return target.strip()
    return None


def _parameters(text):
    """The parameters after a link's `<…>`, and the text after them, which begins with a comma or is empty."""
    found, position = {}, 0
    while position < len(text) and text[position] != ",":
        name, value, quoted = "", "", False
        position += 1 if text[position] in "; \t" else 0
        while position < len(text) and text[position] not in "=;,":
            name, position = name + text[position], position + 1
        if position < len(text) and text[position] == "=":
            position += 1
            while position < len(text) and (quoted or text[position] not in ";,"):
                character = text[position]
                if character == '"':
                    quoted = not quoted
                elif character == "\\" and quoted and position + 1 < len(text):
                    position += 1
                    value += text[position]
                else:
                    value += character
                position += 1
        if name.strip():
            found.setdefault(name.strip().lower(), value.strip())
    return found, text[position:]
