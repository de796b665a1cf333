"""A small event loop over the host's `start` and `wait`.

Requests are started when they are made and run side by side; a coroutine that awaits one gives way to the others. Nothing
but what this package hands out can be awaited: the sandbox has no sockets, files or threads to wait for.
"""

from __future__ import annotations

import heapq
import time
from collections import deque

from . import _host

#: The most requests that the host lets be under way and not yet waited for.
MAX_STARTED = 32


class Pending:
    """Something that will have a value or an error. Await it once or often."""

    __slots__ = ("done", "value", "error", "_waiters")

    def __init__(self):
        self.done = False
        self.value = None
        self.error = None
        self._waiters = []

    def __await__(self):
        if not self.done:
            yield self
        if self.error is not None:
            raise self.error
        return self.value

    def finish(self, value=None, error=None):
        self.done, self.value, self.error = True, value, error
        _ready.extend(self._waiters)
        self._waiters.clear()


class Done:
    """What was done already: to await it takes no time. Forgetting to await it does no harm."""

    __slots__ = ("value",)

    def __init__(self, value=None):
        self.value = value

    def __await__(self):
        return self.value
        yield  # makes this a generator


class _Task(Pending):
    __slots__ = ("_coroutine",)

    def __init__(self, coroutine):
        super().__init__()
        self._coroutine = coroutine
        _ready.append(self)

    def step(self):
        try:
            awaited = self._coroutine.send(None)
            if not isinstance(awaited, Pending):
                self._coroutine.close()
                raise TypeError(f"only what terapi hands out can be awaited here, not {type(awaited).__name__}")
        except StopIteration as end:
            self.finish(end.value)
        except BaseException as error:  # whoever awaits the task gets it
            self.finish(error=error)
        else:
            if awaited.done:
                _ready.append(self)
            else:
                awaited._waiters.append(self)


_ready = deque()
_started = {}  # ticket -> Pending
_timers = []  # (time, number, Pending)


def started(ticket, pending):
    """Registers a request that the host has under way."""
    _started[ticket] = pending


def make_room():
    """Waits until one more request may be started."""
    while len(_started) >= MAX_STARTED:
        _take(_host.http.wait())


def _take(answer):
    if answer is None:
        raise RuntimeError("the host has no request under way that the script waits for")
    ticket, result = answer
    _started.pop(ticket).finish(result)


def sleep(seconds):
    """Waits for this many seconds; other coroutines go on, and no fuel is used."""
    pending = Pending()
    heapq.heappush(_timers, (time.monotonic() + seconds, len(_timers), pending))
    return pending


async def gather(*awaitables):
    """Runs coroutines and requests side by side; a list of their results in the order given. The first error is raised."""
    tasks = [_Task(one) if hasattr(one, "send") else one for one in awaitables]
    return [await task for task in tasks]


def run(coroutine):
    """Runs a coroutine to its end."""
    _ready.clear(), _started.clear(), _timers.clear()
    main = _Task(coroutine)
    while not main.done:
        if _ready:
            _ready.popleft().step()
        elif _timers:
            left = _timers[0][0] - time.monotonic()
            if left <= 0:
                heapq.heappop(_timers)[2].finish()
                continue
            waited = _host.http.wait_for(min(int(left * 1000) + 1, 2**31))
            if hasattr(waited, "value"):
                _take(waited.value)
        elif _started:
            _take(_host.http.wait())
        else:
            raise RuntimeError("the script waits for something that never comes")
    if main.error is not None:
        raise main.error
    return main.value
