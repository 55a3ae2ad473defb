"""What reads like a secret and is none: rules of fields, names of models, addresses without a password."""

from __future__ import annotations

import pytest

from glm_lsp.core.secrets import find

SHOWN = {
    "rules of a password": ("a.php", "'password' => 'required|string|min:8|max:255',\n"),
    "rules that end in a word": ("a.php", "'password' => 'required|string|min:8|confirmed',\n"),
    "rules of a token": ("a.php", "'token' => 'required|string|max:64',\n"),
    "where a token is looked for": ("a.ts", 'authToken: "header|query:auth|cookie:jwt2",\n'),
    "what may be given": ("a.go", 'PasswordUsage = "user[:pass1]@host|socket"\n'),
    "a model": ("a.py", 'tokenizer = "Qwen/Qwen2-7B"\n'),
    "another model": ("a.py", 'tokenizer = "BAAI/bge-small-en-v1.5"\n'),
    "a model's name": ("a.yml", "tokenizer_name: BAAI/bge-small-en-v1.5\n"),
    "an assembly's element": (
        "a.xml",
        '<x name="X" publicKeyToken="31bf3856ad364e35" culture="neutral" />\n',
    ),
    "an assembly's setting": ("a.ini", "public_key_token = b77a5c561934e089\n"),
    "a port that is none": ("a.py", 'make_request("get", "http://python.org:123e/")\n'),
    "another port": ("a.py", 'url = "redis://localhost:6379a/0"\n'),
    "names in an address": (
        "a.py",
        'url = "dynamodb://aws_access_key_id:aws_secret_access_key@region"\n',
    ),
    "a form's boundary": ("a.js", "const b = '----WebKitFormBoundary7MA4YWxkTrZu0gWq8Zr2mW';\n"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_only_looks_like_a_secret_is_shown(name: str) -> None:
    path, text = SHOWN[name]
    assert find(path, text.encode()).places == ()


HELD = {
    "bars in a password": ("a.py", 'password = "x9K|qvT2w|Zp4"\n', "x9K|qvT2w|Zp4"),
    "a key of a tokenizer": ("a.py", 'tokenizer_api_key = "q8Zr2mWk5tBx9vNc"\n', "q8Zr2mWk5tBx9vNc"),
    "a token beside a public key": (
        "a.py",
        'public_key = 1\ntoken = "b77a5c561934e089"\n',
        "b77a5c561934e089",
    ),
    "a password of words": ("a.py", 'u = "redis://bob:super_secret@h/0"\n', "super_secret"),
    "a password of digits first": ("a.py", 'u = "redis://bob:6379aKq9@h/0"\n', "6379aKq9"),
}


@pytest.mark.parametrize("name", HELD)
def test_a_secret_beside_such_words_is_held_back(name: str) -> None:
    path, text, secret = HELD[name]
    data = text.encode()
    assert [data[p.span.start : p.span.end].decode() for p in find(path, data).places] == [secret]
