"""Values of secret names: with the characters that templates have, in the forms of many languages."""

from __future__ import annotations

import pytest

from glm_lsp.core.secrets import being_typed, find, masked
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document

ODD = (
    *("xK9mP2$vL5nQ8w", "Hx8$kd02Lq!z", "xK9mP2nQ8w$", "$xK9mP2nQ8wq", "xK9mP2vL5*nQ8w", "xK9mP2vL5%nQ8w"),
    *("xK9mP2{{vL5nQ8w", "xK9mP2<vL5nQ8w", "xK9mP2[vL5nQ8w", "Summer2024$"),
)
QUOTED = {
    "Python": ("a.py", 'DB_PASSWORD = "{}"\n'),
    "a connection string": ("a.cs", 'var c = "Server=db;User Id=sa;Password={};";\n'),
    "an element": ("a.xml", '<add key="DbPassword" value="{}"/>\n'),
    "SQL": ("a.sql", "CREATE USER x IDENTIFIED BY '{}';\n"),
    "a command": ("a.sh", "sshpass -p '{}' ssh x\n"),
    "a macro": ("a.h", '#define DB_PASSWORD "{}"\n'),
    "a macro's short name": ("a.h", '#define WIFI_PASS    "{}"\n'),
    "another one first": ("a.js", "const password = process.env.PW || '{}';\n"),
    "another one first, in Python": ("a.py", "pw = os.getenv('DB_PASSWORD') or '{}'\n"),
    "a field": ("a.py", "    password: str = Field(default='{}')\n"),
    "an argument's": ("a.py", "parser.add_argument('--password', default='{}')\n"),
    "Gradle": ("a.gradle", "    password '{}'\n"),
    "Clojure": ("a.clj", ':password "{}"\n'),
    "an array of characters": ("a.c", 'static const char db_password[] = "{}";\n'),
    "a secure string": ("a.ps1", '$p = ConvertTo-SecureString "{}" -AsPlainText -Force\n'),
    "basic authentication": ("a.py", "requests.get(u, auth=HTTPBasicAuth('admin', '{}'))\n"),
    "JDBC": ("a.java", 'DriverManager.getConnection(url, "root", "{}");\n'),
}
BARE = {
    "YAML": ("a.yml", "db:\n  password: {}\n"),
    "properties": ("a.properties", "spring.datasource.password={}\n"),
    "an image": ("Dockerfile", "ENV DB_PASSWORD {}\n"),
    "an image, with a sign": ("Dockerfile", "ENV DB_PASSWORD={}\n"),
    "curl": ("a.sh", "curl -u admin:{} https://x/\n"),
    "a batch file": ("a.bat", "set DB_PASSWORD={}\n"),
}


def check(path: str, pattern: str, value: str) -> None:
    """Exactly the value is held back."""
    text = pattern.format(value)
    data = text.encode()
    places = find(path, data).places
    assert [data[p.span.start : p.span.end].decode() for p in places] == [value], text


@pytest.mark.parametrize("value", [v.replace("{{", "{") for v in ODD])
@pytest.mark.parametrize("name", QUOTED)
def test_a_drawn_password_may_have_any_character(name: str, value: str) -> None:
    check(*QUOTED[name], value)


@pytest.mark.parametrize("value", [v for v in ODD if v[0] != "$"])
@pytest.mark.parametrize("name", BARE)
def test_a_drawn_password_without_quotes_may_too(name: str, value: str) -> None:
    check(*BARE[name], value.replace("{{", "{"))


def test_a_password_may_have_a_space_a_backslash_or_a_bar() -> None:
    check("a.py", 'DB_PASSWORD = "{}"\n', "xK9mP2 vL5nQ8w")
    check("a.py", 'DB_PASSWORD = "{}"\n', "xK9mP2\\\\vL5nQ8w")
    check("a.py", 'DB_PASSWORD = "{}"\n', "xK9mP2|vL5nQ8w")


TEMPLATES = (
    *(
        "${DB_PASSWORD_1}",
        "{password_1}",
        "%s",
        "%(password1)s",
        "$DB_PASSWORD1",
        "<password1>",
        "{{ password1 }}",
    ),
    *(
        "{{password1}}",
        "$(cat file1.txt)",
        "pre-${PW1}-post",
        "user1-%s-Ab",
        "#{password1}",
        "<%= pw1 %>",
        "{0}-Ab1x",
    ),
    *(
        "$PREFIX-Ab12",
        "%DB_PASS1%",
        "^[A-Za-z0-9]{8,}$",
        "(?=.*\\\\d)[A-Z]+",
        "[A-Z0-9]*",
        "C:\\\\Users\\\\Me1",
        "\\\\x1b[0m",
    ),
    *(
        "Optional[Str1]",
        "a1 || b2 || C3",
        "List<String1>",
        "<b>Pass1</b>",
        "Ab1->Cd2->Ef3",
        "The 2 Passwords do not match",
    ),
)
"""What is put in later, patterns, paths, types and prose."""


@pytest.mark.parametrize("value", TEMPLATES)
@pytest.mark.parametrize("name", [*QUOTED, *BARE])
def test_a_template_is_no_password(name: str, value: str) -> None:
    path, pattern = (QUOTED | BARE)[name]
    assert find(path, pattern.format(value).encode()).places == ()


DRAWN = "Bf51zWumYujequwHWHGm2uUKYcLiSRFiz5WdNdWr"
IN_ADDRESSES = {
    "a short password": ('u = "jdbc:mysql://db:3306/x?user=root&password={}";\n', "Kd93hfLw2x"),
    "a short token": ('u = "https://x/?token={}&a=1";\n', "Kd93hfLw2x"),
    "a short key": ('static const char api_key[] = "{}";\n', "rHyVD2sCkCQ1OWfaBg8o"),
    "a network": ('WiFi.begin("net", "{}");\n', "Kd93hfLw2x"),
    "a wallet": (
        "const w = new Wallet('{}');\n",
        "0x537de3e34ba7483e76e3624713248d9b3717bd5c2d6a9a5f04c5503b11606e46",
    ),
}


@pytest.mark.parametrize("name", IN_ADDRESSES)
def test_a_value_of_a_telling_place_is_held_back(name: str) -> None:
    check("a.c", *IN_ADDRESSES[name])


KEYED = (
    *(
        "createHmac('sha256', '{}')",
        "verifySignature(body, '{}')",
        "signature = sign(m, '{}')",
        "new Hashids('{}')",
    ),
    *("icon_key = '{}'", "wasm = '{}'", "image_upload = '{}'", "hashlib.sha256(b'{}')", "font = '{}'"),
)


@pytest.mark.parametrize("pattern", KEYED)
def test_the_word_for_a_digest_excuses_no_key(pattern: str) -> None:
    check("a.js", pattern + "\n", DRAWN)
    if "Hmac" in pattern:
        check("a.js", pattern + "\n", "mJ8vQ2ZkW4nT8vB3cR6mF1h5Jd0Gs7Kq2Wx9Ev4Zt8A=")


SHOWN = {
    "digests": (
        "a.py",
        "sha256 = 'mJ8vQ2ZkW4nT8vB3cR6mF1h5Jd0Gs7Kq2Wx9Ev4Zt8A='\nsum = 'mJ8vQ2ZkW4nT8vB3cR6mF1h5Jd0='\n",
    ),
    "a form": (
        "a.py",
        'body = {\n    "grant_type": grant,\n    "refresh_token": "refresh_token",\n'
        '    "client_id": "client_id",\n    "client_secret": "client_secret",\n    "z": compute(1),\n}\n',
    ),
    "addresses": (
        "a.ts",
        "export const USDC = '0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48'\n"
        "token: '0x5C221E77624690fff6dd741493D735a17716c26B'\n",
    ),
    "a sheet": ("a.ts", "const sheet = '1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms';\n"),
    "a source map": (
        "a.ts",
        "//# sourceMappingURL=data:application/json;charset=utf8;base64,\nx = "
        "'eyJ2ZXJzaW9uIjozLCJzb3VyY2VzIjpbInNyYy9hLnRzIl0sIm5hbWVzIjpbXX0='\n",
    ),
    "a badge": ("README.md", '<img src="https://codecov.io/gh/a/b/graph/badge.svg?token=RXP95LE2XL">\n'),
    "a token of a language": ("a.js", 'var i="Unknown token ",l=(0,y.d)(u,6),D=l[0],p=l[1],b="P"===p||!0\n'),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_only_looks_like_a_secret_is_shown(name: str) -> None:
    path, text = SHOWN[name]
    assert find(path, text.encode()).places == ()


def document(text: str) -> Document:
    return Document("a.py", text.encode(), digest(text.encode()), "python")


DRAWN_STRINGS = (
    "2oMO0VppCS02zG8FBIPY3jnow1v_eethElVDO974QDazeLcHB",
    "HDB8QfI6O3jz9MNfZZdURvMQtKKA8xVfOqJ2fZ",
)


@pytest.mark.parametrize("value", DRAWN_STRINGS)
def test_nothing_is_suggested_in_a_string_of_drawn_letters(value: str) -> None:
    for end in range(14, len(value)):
        line = f'x = "{value[:end]}'
        assert being_typed(masked(document(line)), len(line)), line


WORDS = (
    *("assets/images/2024/logo", "application/vnd.api+json", "1.2.3-beta.4+build", "getElementsByTagName2"),
    *("2026-01-02T03-04-05", "utf-8-sig-and-more", "SELECT_ALL_ROWS_2", "python3.11-slim-bookworm"),
)


@pytest.mark.parametrize("value", WORDS)
def test_something_is_suggested_in_other_strings(value: str) -> None:
    line = f'x = "{value}'
    assert not being_typed(masked(document(line)), len(line))
