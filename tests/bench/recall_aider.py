"""Runs in aider's own environment: aider's repository map, asked over pipes.

First line in: {"root", "tokenizer"}; then {"file", "idents", "budgets"} each, and {"maps": [text, …]} out.
Only `RepoMap` itself is used, with its defaults, and our tokenizer to count.
"""

import json
import os
import sys
from pathlib import Path

from aider.repomap import RepoMap
from tokenizers import Tokenizer


class Model:
    def __init__(self, path):
        self.tokenizer = Tokenizer.from_file(path)

    def token_count(self, text):
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)


class Io:
    def read_text(self, path):
        return Path(path).read_text(encoding="utf-8", errors="replace")

    def tool_output(self, *_):
        pass

    tool_warning = tool_error = tool_output


def main():
    out, sys.stdout = sys.stdout, sys.stderr
    first = json.loads(sys.stdin.readline())
    root = first["root"]
    os.chdir(root)
    files = [f"{root}/{path}" for path in first["files"]]
    repo_map = RepoMap(root=root, main_model=Model(first["tokenizer"]), io=Io(), refresh="always")
    ranked = repo_map.get_ranked_tags
    for line in sys.stdin:
        asked = json.loads(line)
        own = f"{root}/{asked['file']}"
        others = [path for path in files if path != own]
        tags = ranked([own], others, set(), set(asked["idents"]))
        repo_map.get_ranked_tags = lambda *_, tags=tags, **__: tags  # the same for each budget
        maps = []
        for budget in asked["budgets"]:
            repo_map.max_map_tokens = budget
            maps.append(repo_map.get_repo_map([own], others, set(), set(asked["idents"])) or "")
        print(json.dumps({"maps": maps}), file=out, flush=True)


main()
