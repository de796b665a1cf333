"""The host's functions, as componentize-py binds them. Outside of a component there are none: tests put their own here."""

try:
    from componentize_py_types import Err, Ok
    from wit_world.imports import http, log, records, state, types
except ImportError:
    http = log = records = state = types = None

    class Err(Exception):
        """Stands in for the component's error."""

        def __init__(self, value):
            super().__init__(value)
            self.value = value

    class Ok:
        """Stands in for the component's success."""

        def __init__(self, value):
            self.value = value
