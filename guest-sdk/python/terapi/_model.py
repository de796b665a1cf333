"""Models: JSON Schemas of dataclasses, and the JSON of their records."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import types
import typing

_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def model(cls=None, /, *, name=None, ignore=()):
    """Makes a class a model: a dataclass whose fields are the record's. A plain `@dataclass` is one as well.

    `name` is the model's, if not the class's. A change of only the fields in `ignore` is no change.
    """

    def decorate(cls):
        if not dataclasses.is_dataclass(cls):
            cls = dataclasses.dataclass(cls)
        cls.__terapi_name__ = name or cls.__name__
        cls.__terapi_ignore__ = tuple(ignore)
        return cls

    return decorate(cls) if cls is not None else decorate


def name_of(kind):
    """The name of a model given as a class or by its name."""
    return kind if isinstance(kind, str) else getattr(kind, "__terapi_name__", kind.__name__)


def schema_of(kind, *, record=False):
    """The JSON Schema (draft 2020-12) of a dataclass or any type that JSON has. A record's `id` is always a string."""
    if isinstance(kind, dict):
        return kind
    definitions, names = {}, {}
    schema = _schema(kind, definitions, names, top=True)
    if record:
        schema = {**schema, "properties": {**schema.get("properties", {}), "id": {"type": "string"}}}
        schema["required"] = list(dict.fromkeys([*schema.get("required", []), "id"]))
    if definitions:
        schema = {**schema, "$defs": definitions}
    return schema


def _schema(kind, definitions, names, top=False):
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is typing.Any or kind is object:
        return {}
    if origin is typing.Annotated:
        schema = _schema(arguments[0], definitions, names)
        notes = [note for note in arguments[1:] if isinstance(note, str)]
        return {**schema, "description": notes[0]} if notes else schema
    if origin in (typing.Union, types.UnionType):
        parts = [_schema(one, definitions, names) for one in arguments]
        if all(set(part) == {"type"} and isinstance(part["type"], str) for part in parts):
            return {"type": [part["type"] for part in parts]}
        return {"anyOf": parts}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if kind in _SCALARS:
        return {"type": _SCALARS[kind]}
    if kind is datetime.datetime:
        return {"type": "string", "format": "date-time"}
    if kind is datetime.date:
        return {"type": "string", "format": "date"}
    if (origin or kind) in (list, tuple, set, frozenset):
        items = [argument for argument in arguments if argument is not Ellipsis]
        return {"type": "array", "items": _schema(items[0], definitions, names)} if items else {"type": "array"}
    if (origin or kind) is dict:
        values = _schema(arguments[1], definitions, names) if len(arguments) == 2 else {}
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    if dataclasses.is_dataclass(kind):
        if top:
            return _object(kind, definitions, names)
        if kind not in names:
            names[kind] = kind.__name__
            definitions[kind.__name__] = _object(kind, definitions, names)
        return {"$ref": f"#/$defs/{names[kind]}"}
    raise TypeError(f"{kind!r} has no JSON Schema: use str, int, float, bool, list, dict, Any, a dataclass, or give a schema as a dict")


def _object(kind, definitions, names):
    hints = typing.get_type_hints(kind, include_extras=True)
    properties, required = {}, []
    for field in dataclasses.fields(kind):
        properties[field.name] = _schema(hints[field.name], definitions, names)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            required.append(field.name)
    schema = {"type": "object", "properties": properties, "required": required}
    text = (kind.__doc__ or "").strip()
    if text and not text.startswith(kind.__name__ + "("):  # that one is the dataclass's own
        schema = {"description": text, **schema}
    return schema


def from_json(kind, value, where):
    """A dataclass of a JSON object; unknown fields are passed over. Other types are taken as they are."""
    if not dataclasses.is_dataclass(kind):
        return value
    hints = typing.get_type_hints(kind)
    if not isinstance(value, dict):
        raise ValueError(f"{where} is not a JSON object")
    given = {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            given[field.name] = from_json(hints[field.name], value[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where} has no `{field.name}`")
    return kind(**given)


def plain(value):
    """What the JSON of something that is no JSON by itself is made of."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime.datetime):
        return iso(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def iso(moment):
    """RFC 3339 in UTC, with milliseconds where there are any. A moment without a zone is taken as UTC."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds" if moment.microsecond >= 1000 else "seconds") + "Z"


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain, check_circular=False).encode


def to_json(value):
    """The JSON text of a value: dataclasses are objects, dates are RFC 3339."""
    return _encode(value)


def entry(record):
    """The id of a record, as text, and its JSON."""
    fields = record if isinstance(record, dict) else getattr(record, "__dict__", None) or plain(record)
    try:
        key = fields["id"]
    except KeyError:
        raise ValueError(f"a record without `id`: {to_json(fields)[:200]}") from None
    if not isinstance(key, str):
        if isinstance(key, bool) or not isinstance(key, int):
            raise ValueError(f"the id of a record is text or a whole number, not {key!r}")
        key = str(key)
        fields = {**fields, "id": key}
    return key, _encode(fields)
