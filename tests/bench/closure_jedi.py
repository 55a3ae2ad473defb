"""Run by a Python with jedi: stdin {"root", "asked": [{"places"}]}; a line of [[path, line], …] for each."""

import json
import os
import sys

import jedi
from jedi.inference import references

references._PARSED_FILE_LIMIT = 100_000
references._OPENED_FILE_LIMIT = 100_000
asked = json.load(sys.stdin)
root = os.path.realpath(asked["root"])
project = jedi.Project(root, smart_sys_path=True)
for number, one in enumerate(asked["asked"], 1):
    found = set()
    for path, line, column in one["places"]:
        try:
            script = jedi.Script(path=f"{root}/{path}", project=project)
            names = script.get_references(line + 1, column, scope="project", include_builtins=False)
        except Exception as error:  # what jedi cannot do is no truth
            sys.stderr.write(f"{path}:{line + 1}: {error!r}\n")
            continue
        for name in names:
            if name.module_path is not None:
                where = os.path.relpath(os.path.realpath(name.module_path), root)
                found.add((where.replace(os.sep, "/"), name.line - 1))
        found.add((path, line))
    print(json.dumps(sorted(found)), flush=True)
    sys.stderr.write(f"{number} of {len(asked['asked'])}\n")
