"""Passwords in command lines, tables, pairs of name and value, and sentences; and what looks like them."""

from __future__ import annotations

import pytest

from glm_lsp.core.secrets import mask
from glm_lsp.core.secrets.scan import find

PASSWORD = "k9#mQ2!vL7pX"
RANDOM = "9f86d0Kx1e4fWq7bZ2Lp"

HELD = {
    "curl": ("a.sh", "curl -u admin:{p} https://a.org/x\n"),
    "curl, quoted": ("a.md", "    curl -sS -u 'admin:{p}' https://a.org\n"),
    "curl, flags together": ("a.sh", "curl -sSLu bob:{p} http://x\n"),
    "curl, long": ("a.sh", 'curl -s --user="bob:{p}" https://a\n'),
    "curl in a program": ("a.py", 'os.system("curl -u bob:{p} http://x")\n'),
    "httpie": ("a.sh", "http -a bob:{p} x\n"),
    "mysql": ("a.sh", "mysql -uroot -p{p} db\n"),
    "mysqldump": ("a.sh", "mysqldump -h x -u root -p'{p}' db\n"),
    "mysqladmin in YAML": ("a.yml", "  command: mysqladmin ping -p{p}\n"),
    "sshpass": ("a.sh", "sshpass -p {p} ssh a@b\n"),
    "docker": ("a.sh", "docker login -u bob -p {p} registry\n"),
    "redis": ("a.sh", "redis-cli -h x -a {p} ping\n"),
    "mongo": ("a.sh", "mongosh -u a -p {p} x\n"),
    "ldap": ("a.sh", "ldapsearch -D cn=a -w {p} x\n"),
    "htpasswd": ("a.sh", "htpasswd -b file bob {p}\n"),
    "sqlcmd": ("a.sh", "sqlcmd -S a -U sa -P {p}\n"),
    "sudo": ("a.sh", "echo {p} | sudo -S ls\n"),
    "netrc": ("a.txt", "machine a.org login bob password {p}\n"),
    "a row": ("a.md", "| api key | `{r}` | prod |\n"),
    "a row of a password": ("a.md", "| DB_PASSWORD | {p} | x |\n"),
    "a column": ("a.md", "| name | password |\n|:---|---:|\n| bob | {p} |\n"),
    "a column of several": ("a.md", "| a | Token |\r\n|--|--|\r\n| x | - |\r\n| y | `{r}` |\r\n"),
    "bold": ("a.md", "- **Password**: {p}\n"),
    "bold with its colon": ("a.md", "**Token:** {r}\n"),
    "HTML cells": ("a.html", "<td>password</td><td><code>{p}</code></td>\n"),
    "an HTML field": ("a.html", '<input type="password" value="{p}">\n'),
    "JSON pairs": ("a.json", '{{"name": "PASSWORD", "value": "{p}"}}\n'),
    "YAML pairs": ("a.yml", "- name: API_TOKEN\n  value: {r}\n"),
    "a sentence": ("a.txt", "the token is {r}\n"),
    "a sentence of a password": ("notes.md", "Use password {p} for staging.\n"),
}


@pytest.mark.parametrize("name", HELD)
def test_a_password_that_stands_without_quotes_or_assignment(name: str) -> None:
    path, pattern = HELD[name]
    data = pattern.format(p=PASSWORD, r=RANDOM).encode()
    shown = mask(data, find(path, data).places)
    assert PASSWORD.encode() not in shown
    assert RANDOM.encode() not in shown
    assert len(shown) == len(data)
    assert data[:3] == shown[:3]


LEFT = {
    "ports": ("a.sh", "docker run --name mysql -p3306:3306 -d mysql\nmongo -p 27017 db\n"),
    "a variable": ("a.sh", 'curl -u "$USER:$PASS" http://a\nmysql -p$PASS\nsshpass -p "$P" ssh a\n'),
    "a stand-in": (
        "a.md",
        "curl -u user:password https://a\nmysql -uroot -ppassword\ndocker login -p secret\n",
    ),
    "a prompt": ("a.sh", "mysql -u root -p database\n"),
    "options": ("a.sh", "mysql -port=3306 x\ncurl --upload-file a:b http://x\n"),
    "prose": (
        "a.md",
        "The password is Base64-encoded (RFC2617), the token is then sent.\nmachine learning\n",
    ),
    "a table": ("a.md", "| name | token |\n|---|---|\n| a | authorization_code |\n| b | see section 2 |\n"),
    "a table without ruler": ("a.txt", "a | token | b\nc | d | e\n"),
    "a pair": (
        "a.yml",
        "- name: API_TOKEN\n  valueFrom: secretKeyRef2\n- name: PASSWORD\n  value: changeme\n",
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_only_looks_like_one_is_left(name: str) -> None:
    path, text = LEFT[name]
    assert find(path, text.encode()).places == ()
