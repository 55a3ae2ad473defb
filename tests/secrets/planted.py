"""A repository with a made-up secret of every rule, in every kind of place that a prompt could quote."""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass
from pathlib import Path

from glm_lsp.core.secrets.rules import rules
from tests.secrets.canaries import canary

PLACES = (
    "CONSTANT_{n} = '''{text}'''\n",
    "def function_{n}(value='''{text}'''):\n    return {n}\n",
    "def function_{n}():\n    '''{text}'''\n    return {n}\n",
    "def function_{n}():\n    # {text}\n    return {n}\n",
    "class Class_{n}:\n    '''Use it with {text}'''\n\n    field = 1\n",
    "class Class_{n}:\n    field = '''{text}'''\n\n    def method(self, key='''{text}'''): return key\n",
    "@decorated('''{text}''')\ndef function_{n}():\n    return {{'''{text}''': {n}}}\n",
    "def function_{n}():\n    return [\n        1,\n        '''{text}''',\n    ]\n",
)
OTHERS = {
    "deploy/values_{n}.yml": "key: '''{text}'''\nlist:\n  - {n}\n",
    "docs/page_{n}.md": "# Page\n\nUse '''{text}''' here.\n",
    "web/client_{n}.ts": "export const v{n} = `'{text}'`;\nexport function f{n}(a = `'{text}'`) {{}}\n",
    "conf/app_{n}.ini": "[app]\nvalue = '''{text}'''\n",
}


@dataclass(frozen=True, slots=True)
class Planted:
    """`secrets` are what must be seen nowhere; `files` what stands on the disk, by path."""

    files: dict[str, str]
    secrets: frozenset[str]
    texts: tuple[str, ...]
    """What each is a part of, as a person would quote it."""

    def write(self, root: Path) -> Path:
        for path, text in self.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return root

    def leaked(self, *where: str | bytes) -> list[str]:
        """The secrets that stand in a text, or most of which does."""
        texts = [part if isinstance(part, bytes) else part.encode("utf-8", "replace") for part in where]
        return sorted(s for s in self.secrets if any(s.encode()[:-4] in text for text in texts))


def block(seed: str) -> tuple[str, list[str]]:
    """A private key in text form, and its lines."""
    body = base64.b64encode(random.Random(seed).randbytes(180)).decode()
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    return "\n".join(("-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----")), lines


def planted() -> Planted:
    drawn = [found for rule in rules().rules if (found := canary(rule.id)) and len(found[1]) >= 12]
    secrets = {secret for _, secret in drawn}
    files: dict[str, str] = {"pkg/__init__.py": ""}
    names: list[str] = []
    for number, group in enumerate(drawn[at : at + 24] for at in range(0, len(drawn), 24)):
        body = "".join(
            PLACES[(number + n) % len(PLACES)].format(n=n, text=text) + "\n\n"
            for n, (text, _) in enumerate(group)
        )
        names.append(f"module_{number}")
        files[f"pkg/module_{number}.py"] = f"'''Use {group[0][0]} here.'''\n\n{body}"
    for n, (text, _) in enumerate(drawn[::9]):
        path, body = list(OTHERS.items())[n % len(OTHERS)]
        files[path.format(n=n)] = body.format(n=n, text=text)
    for name in (".env", "server.pem", "id_rsa", "conf/secrets.yml"):
        text, lines = block(name)
        secrets |= set(lines)
        files[name] = f"KEY=\n{text}\n"
    text, lines = block("source")
    secrets |= set(lines)
    uses = "".join(f"    {name}.function_1()\n" for name in names)
    imports = "".join(f"from pkg import {name}\n" for name in names)
    files["main.py"] = f"{imports}\nKEY = '''{text}'''\n\n\ndef main():\n{uses}    return KEY\n"
    return Planted(files, frozenset(secrets), tuple(text for text, _ in drawn))
