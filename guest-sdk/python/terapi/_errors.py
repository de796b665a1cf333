"""What a script raises, and what the host's refusals become."""

from __future__ import annotations

import json
import sys
import traceback


class Error(Exception):
    """Why a script gives up. It will come again until somebody changes something; see `TransientError` for the others.

    `details` is anything that has a JSON form. `retry_after` is the earliest next try, in seconds.
    """

    transient = False

    def __init__(self, message, details=None, retry_after=None):
        super().__init__(message)
        self.message = message
        self.details = details
        self.retry_after = retry_after


class TransientError(Error):
    """It may go better next time: Terapi tries again, later and later."""

    transient = True


class HttpError(Error):
    """There is no answer, or one with a status of 400 and above, which is `answer`."""

    def __init__(self, message, *, transient=False, answer=None, retry_after=None):
        super().__init__(message, retry_after=retry_after)
        self.transient = transient
        self.answer = answer

    @property
    def status(self):
        """The answer's status; none if there is no answer."""
        return self.answer.status if self.answer is not None else None


class ActionError(Error):
    """An action's error: any JSON becomes its body."""

    def __init__(self, payload):
        message = payload if isinstance(payload, str) else (payload or {}).get("message") if isinstance(payload, (dict, type(None))) else None
        super().__init__(message or json.dumps(payload, ensure_ascii=False), details=payload)


def case_of(error):
    """The name of a variant's case, as in the contract: `Error_TimedOut` is `timed-out`."""
    name = type(error).__name__.rpartition("_")[2]
    return "".join("-" + c.lower() if c.isupper() else c for c in name).lstrip("-")


def from_host(doing, error):
    """The exception that a refusal of the host becomes."""
    case, value = case_of(error), getattr(error, "value", None)
    match case:
        case "invalid-request":
            return HttpError(f"{doing}: not a valid request: {value}")
        case "denied":
            return HttpError(f"{doing}: denied: {value}")
        case "timed-out":
            return HttpError(f"{doing}: no complete answer within the time", transient=True)
        case "body-too-large":
            return HttpError(f"{doing}: the answer is over {value} bytes: ask for smaller pages")
        case "transport":
            return HttpError(f"{doing}: {value}", transient=True)
        case "exhausted":
            budget = getattr(value, "name", str(value)).lower().replace("_", "-")
            return Error(f"{doing}: this run used up its budget ({budget}): do less in a run, or raise the limit")
        case "unknown-model":
            return Error(f"{doing}: the script has no model `{value}`: name it under `models` of its decorator")
        case "invalid" if isinstance(value, tuple):
            return Error(f"{doing}: entry {value[0]}: {value[1]}")
        case "not-allowed":
            return Error(f"{doing}: not allowed: {value}")
        case "lease-lost":
            return TransientError(f"{doing}: another run took over this sync")
        case "storage":
            return TransientError(f"{doing}: {value}")
        case _:
            return Error(f"{doing}: {value}")


def describe(error, files):
    """What an operator reads of an exception: its message, and where in the author's `files` it was raised."""
    message = error.message if isinstance(error, Error) else "".join(traceback.format_exception_only(error)).strip()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    if frames and not isinstance(error, Error):
        last = frames[-1]
        message += f"\n    at {last.name} ({last.filename.rpartition('/')[2]}:{last.lineno})"
        if last.line:
            message += f": {last.line}"
    return message


def report(error):
    """The whole traceback, into the run's log."""
    traceback.print_exception(error, file=sys.stderr)
