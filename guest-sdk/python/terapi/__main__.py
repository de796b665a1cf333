"""`python -m terapi build script.py -o script.wasm`"""

from __future__ import annotations

import argparse
import importlib
import pathlib
import shutil
import subprocess
import sys
import tempfile

from . import _script

PACKAGE = pathlib.Path(__file__).resolve().parent
#: The contract: installed along, or where this package lies in Terapi's repository and in a project of `terapi init`.
WIT = next((folder for folder in (PACKAGE / "wit", PACKAGE.parents[2] / "wit") if folder.is_dir()), None)

ENTRY = """\
import {module}
from terapi._component import component
{class_name} = component({module})
"""


def build(file, output):
    """Makes a component of a script."""
    file = pathlib.Path(file).resolve()
    if not file.is_file() or file.suffix != ".py" or not file.stem.isidentifier():
        raise SystemExit(f"{file}: give a Python file whose name is a module's, such as github_issues.py")
    sys.path.insert(0, str(file.parent))
    sys.dont_write_bytecode = True
    script = _script.find(importlib.import_module(file.stem))
    componentize = shutil.which("componentize-py", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("componentize-py")
    if componentize is None:
        raise SystemExit("componentize-py is missing: pip install componentize-py==0.25.1")
    with tempfile.TemporaryDirectory() as folder:
        # Only what the component is made of: the script's folder may hold anything.
        entry = "terapi_entry"
        class_name = "SyncScript" if script.kind == "sync" else "ActionScript"
        pathlib.Path(folder, f"{entry}.py").write_text(ENTRY.format(module=file.stem, class_name=class_name))
        package = pathlib.Path(folder, "sdk", "terapi")
        package.mkdir(parents=True)
        for source in PACKAGE.glob("*.py"):
            shutil.copy(source, package)
        command = [componentize, "-q", "-d", str(WIT), "-w", script.kind, "componentize", entry]
        for path in (folder, str(package.parent), str(file.parent)):
            command += ["-p", path]
        done = subprocess.run([*command, "-o", str(pathlib.Path(output).resolve())], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"componentize-py failed:\n{done.stdout}{done.stderr}")
    print(f"{output}: {pathlib.Path(output).stat().st_size / 1e6:.1f} MB")


def main():
    parser = argparse.ArgumentParser(prog="python -m terapi", description="Terapi scripts in Python.")
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("build", help="make a component of a script")
    one.add_argument("script")
    one.add_argument("-o", "--output", help="the component; SCRIPT with .wasm if not given")
    arguments = parser.parse_args()
    try:
        build(arguments.script, arguments.output or arguments.script.removesuffix(".py") + ".wasm")
    except _script.Error as error:
        raise SystemExit(f"{arguments.script}: {error.message}") from None


if __name__ == "__main__":
    main()
