"""The classes that componentize-py looks for in a component's entry module."""

from __future__ import annotations

# In the sandbox there are no files, so what Python would import when it is first needed has to be there from the start.
import _strptime  # datetime.strptime
import encodings.ascii
import encodings.cp1252
import encodings.idna
import encodings.latin_1
import encodings.utf_16
import encodings.utf_16_be
import encodings.utf_16_le
import encodings.utf_8_sig
import linecache
import sys

from . import _script


def component(module):
    """The class that exports the script of `module`: `SyncScript` or `ActionScript`."""
    script = _script.find(module)
    stem = module.__name__.rpartition(".")[2]
    files = _keep_lines(module)
    described = _script.manifest(script, stem)

    class SyncScript:
        def describe(self):
            return described

        def run(self, context):
            _script.run(script, context, files)

    class ActionScript:
        def describe(self):
            return described

        def run(self, context, input):
            return _script.run(script, context, files, input)

    return SyncScript if script.kind == "sync" else ActionScript


def _keep_lines(module):
    """Keeps the text of the author's files for messages: in the sandbox there are no files. Gives their names."""
    folder = module.__file__.rpartition("/")[0]
    sdk = __file__.rpartition("/")[0]
    files = set()
    for other in list(sys.modules.values()):
        name = getattr(other, "__file__", None)
        if not name or name.rpartition("/")[0].startswith(sdk):
            continue
        if name == module.__file__ or (folder and name.startswith(folder + "/")):
            lines = linecache.getlines(name)
            # Without a time of change it is not looked for again.
            linecache.cache[name] = (sum(map(len, lines)), None, lines, name)
            files.add(name)
    return files
