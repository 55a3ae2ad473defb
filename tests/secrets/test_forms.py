"""Secrets in the forms in which files hold them: commands, keys without blocks, tables, manifests."""

from __future__ import annotations

import base64
import random
import string

import pytest

from glm_lsp.core.secrets import mask
from glm_lsp.core.secrets.scan import find
from glm_lsp.workspace.secrets import named_secret

_DICE = random.Random(3)
ALNUM, HEX = string.ascii_letters + string.digits, "0123456789abcdef"
PASSWORD = "Kw7tmBq2xVh9"
RANDOM = "9f86d0Kx1e4fWq7bZ2Lp8Tn3"


def drawn(count: int, letters: str = ALNUM) -> str:
    return "".join(_DICE.choice(letters) for _ in range(count))


def encoded(count: int) -> str:
    return base64.b64encode(_DICE.randbytes(count)).decode()


COMMANDS = (
    r"net use \\files\share {p} /user:corp\bob",
    r"net use Z: \\srv\data /user:bob {p} /persistent:yes",
    "net user bob {p} /add",
    "schtasks /create /tn x /ru bob /rp {p}",
    "psexec \\\\host -u bob -p {p} cmd",
    "openssl enc -aes-256-cbc -k {p} -in x",
    "keytool -storepass {p} -list",
    "jarsigner -keypass {p} a.jar k",
    "zip -P {p} a.zip b",
    "unzip -P {p} a.zip",
    "7z a -p{p} a.7z b",
    "smbclient //h/s -U 'bob%{p}'",
    "lftp -u bob,{p} ftp.x.org",
    "xfreerdp /u:bob /p:{p} /v:h",
    "echo '{p}' | docker login -u bob --password-stdin",
    'echo "bob:{p}" | chpasswd',
    "echo {p} | passwd --stdin bob",
    "sqlplus scott/{p}@orcl",
    "sqlplus system/{p}",
    "impacket-psexec corp/bob:{p}@10.0.0.1",
    "bcp db.t out f -U sa -P {p}",
    "mysqladmin -u root password '{p}'",
    "cf login -u bob -p {p}",
    "ipmitool -H h -U root -P {p} power on",
    "nmcli dev wifi connect Home password {p}",
    "wpa_passphrase Home {p}",
    "ansible-vault encrypt_string '{p}' --name x",
    "redis-server --requirepass {p}",
    "export PW={p}",
)
FORMS = {
    **{command.split()[0] + f" {n}": ("a.sh", command + "\n") for n, command in enumerate(COMMANDS)},
    "redis, a user": ("redis.conf", "user bob on >{p} ~* +@all\n"),
    "a wireless network": ("w.conf", 'network={{\n ssid="Home"\n psk="{p}"\n}}\n'),
    "words of a connection": ("a.py", 'A = "host=h user=bob password={p} dbname=d"\n'),
    "Oracle": ("a.py", 'A = "jdbc:oracle:thin:scott/{p}@h:1521:x"\n'),
    "Go": ("a.go", 'const a = "root:{p}@tcp(127.0.0.1:3306)/d"\n'),
    "Redis": ("a.cs", 'var a = "redis:6379,password={p},ssl=True";\n'),
    "a dictionary": ("a.py", "E = {{'PASSWORD': '{p}', 'HOST': 'localhost'}}\n"),
    "a log": ("a.log", "INFO connect password={p} user=x\n"),
    "a header": ("a.http", "Authorization: Token {r}{r}\n"),
    "two of a query": ("a.py", "u = 'https://x/y?key=xxxxxxxxxxxxxxxxxxxx&token={r}'\n"),
    "a short name": ("a.tf", 'admin_pw = "{p}"\n'),
    "a variable of Terraform": (
        "a.tf",
        'variable "db_password" {{\n  type = string\n  default = "{p}"\n}}\n',
    ),
    "a value of an output": ("a.json", '{{"db_password": {{"value": "{p}"}}}}\n'),
    "an environment's key": ("a.yml", "env:\n  MY_KEY: {r}{r}\n"),
    "a Telegram bot": ("a.py", 'u = "https://api.telegram.org/bot1234509876:AA{t}/send"\n'),
    "a Discord bot": ("a.py", "T = 'MTk4NjIyNDgzNDcx{r}.Cl2FMQ.{s}'\n"),
    "a session": ("a.http", "Cookie: JSESSIONID={h}\n"),
    "a Django key": ("a.py", "SECRET = 'k!7x@q#2w$9e%4r^1t&6y*3u(8i_5o=0p+asdfghjklzxcvbnm'\n"),
    "a key of WireGuard": ("w.conf", "PresharedKey = {k}\n"),
    "age, for plugins": ("a.txt", "AGE-PLUGIN-YUBIKEY-1QQPZRY9X8GF2TVDW0S3JN54\n"),
    "minisign": ("a.txt", "untrusted comment: minisign encrypted secret key\nRWRTY0Iy{l}\n"),
    "DER": ("a.py", "K = 'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC{l}'\n"),
    "DER in lines": ("a.txt", "MIIEowIBAAKCAQEA{b}\n{b}\n{b}\n"),
    "OpenSSH's": ("a.go", 'var k = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU{l}"\n'),
    "a Java key store": ("a.yml", "keystore: /u3+7QAAAAIAAAABAAAAAQAD{l}\n"),
    "PKCS 12": ("a.yml", "p12: |\n  MIIKYQIBAzCCCicGCSqGSIb3DQEHAaCC{b}\n  {b}\n"),
    "a vault": ("a.yml", "x: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  {d}\n  {d}\n  3931\ny: 1\n"),
    "OpenVPN": ("a.conf", "-----BEGIN OpenVPN Static key V1-----\n{h}\n{h}\n-----END"),
    "a directory's hash": ("a.ldif", "userPassword: {{SSHA}}{k}\n"),
    "CSV": ("a.csv", "id,username,password\n1,eve,{p}\n2,bob,{p}\n"),
    "CSV of keys": ("a.csv", "service,api_key,created\nmail,{r},2024-01-01\n"),
    "CSV with quotes": ("a.csv", '"host";"password"\n"a;b";"{p}"\n"say ""x""";"{p}"\n'),
    "TSV": ("a.tsv", "host\tsecret\tnote\nh\t{r}\tx\n"),
    "a wide table": ("a.md", f"| {'x | ' * 900}password |\n|{'---|' * 901}\n| {'y | ' * 900}{{p}} |\n"),
    "a long table": ("a.md", "| a | password |\n|---|---|\n" + "| word | {p} |\n" * 400),
    "a grid": (
        "a.rst",
        "+---+----------+\n| u | password |\n+===+==========+\n| e | {p} |\n+---+----------+\n",
    ),
    "a simple table": ("a.rst", "===  ========\nu    password\n===  ========\neve  {p}\n===  ========\n"),
    "a list of lists": ("a.rst", ".. list-table::\n\n   * - user\n     - password\n   * - eve\n     - {p}\n"),
    "HTML": (
        "a.html",
        "<table><tr><th>u</th><th>password</th></tr>\n<tr><td>e</td><td>{p}</td></tr></table>",
    ),
    "rows": ("a.sql", "INSERT INTO u (id, password) VALUES (1, '{p}'), (lower('x'), '{p}');\n"),
    "copied rows": ("a.sql", "COPY public.u (id, password) FROM stdin;\n1\t{p}\n2\t{p}\n\\.\n"),
    "the next line": ("a.md", "The API key:\n\n    {r}\n\nToken:\n\n```\n{h}\n```\n"),
    "a Secret": (
        "a.yaml",
        "kind: Secret\ndata:\n  db: S3c3\n  x: {p}\nstringData:\n  c: |\n    a={p}\nx: 1\n",
    ),
    "a Secret, named last": ("a.yaml", "a: 1\n---\ndata:\n  key: {p}\nkind: Secret\n"),
    "a Secret in JSON": ("a.json", '{{"kind": "Secret", "data": {{"db": "{p}"}}}}\n'),
}


@pytest.mark.parametrize("name", FORMS)
def test_what_a_file_holds_in_its_own_way_is_held_back(name: str) -> None:
    path, pattern = FORMS[name]
    parts = {
        "p": PASSWORD,
        "r": RANDOM,
        "t": drawn(33),
        "s": drawn(38),
        "h": drawn(32, HEX),
        "k": encoded(32),
        "l": encoded(300).rstrip("="),
        "b": encoded(48),
        "d": drawn(80, string.digits),
    }
    data = pattern.format(**parts).encode()
    shown = mask(data, find(path, data).places)
    here = [part for key, part in parts.items() if f"{{{key}}}" in pattern]
    assert here or shown != data
    for part in here:
        assert part.encode() not in shown
        assert part[-8:].encode() not in shown
    assert len(shown) == len(data)


SPACED, KEY = "x9$ KqvT2w", "q8Zr2mWk5tBx9vNc"
QUOTED = {
    "sshpass -p '{}' ssh h": SPACED,
    'sshpass -p "{}" ssh h': "x9 KqvT2w",
    "mysql -uroot -p'{}'": SPACED,
    'redis-cli -a "{}" ping': "x9 KqvT2w",
    "CREATE USER bob IDENTIFIED BY '{}';": SPACED,
    "ALTER ROLE bob WITH PASSWORD '{}';": SPACED,
    'createHmac("sha256", "{}")': KEY,
    'crypto.createHmac("sha256", "{}")': "9f86d081884c7d659a2feaa0c55ad015",
    "createHmac('sha512', '{}')": "x9$KqvT2w",
    'jwt.sign(p, "{}")': KEY,
    "jwt.verify(token, '{}', done)": KEY,
    "jwt.sign({{ id: user.id }}, '{}')": KEY,
}


@pytest.mark.parametrize("pattern", QUOTED)
def test_what_is_quoted_in_a_call_or_command_is_held_back_whole(pattern: str) -> None:
    data = (pattern.format(QUOTED[pattern]) + "\n").encode()
    held = [data[p.span.start : p.span.end].decode() for p in find("a.ts", data).places]
    assert held == [QUOTED[pattern]]


LEFT = {
    "words in quotes": (
        "a.sh",
        "sshpass -p 'the 1 password' x\nmysql -p 'database 2 of them'\nmysql -p \"$A 1\" 'b 2'\n",
    ),
    "signing with what is no key": (
        "a.ts",
        "createHmac('sha256', secret); jwt.sign(p, 'shhhhh'); jwt.sign(p, key, 'RS256')\n"
        "jwt.verify(t, 'your-256-bit-secret'); createHmac('sha256', `${key1}:${key2}`)\n",
    ),
    "tokens that are words": ("a.csv", "token,count\nthe,12\nQuick,7\nA1b2C3d4E5,3\n"),
    "what is said of passwords": ("a.csv", "name,password,changed\na,required,2024-01-01\nb,optional,3.14\n"),
    "heads of a form": ("a.html", "<tr><th>Password1:</th><td></td></tr>\n<tr><th>Name123:</th></tr>\n"),
    "a column of notes": ("a.md", "| password | default |\n|---|---|\n| the login's | none |\n"),
    "a manifest": ("a.yaml", "kind: ConfigMap\ndata:\n  colour: blue1234\nspec:\n  kind: Secretary\n"),
    "a reference": ("a.yaml", "kind: Secret\nmetadata:\n  name: abc\ndata:\n  x: {{ .Values.x }}\n"),
    "a heading": ("a.md", "## Password:\n\nset_by_the_user1\n\ntoken:\n  PORT_FILE=port/port_posix1.cc\n"),
    "a result": ("a.log", "    --- PASS: TestVet/5 (0.07s)\n"),
    "statements": ("a.sql", "INSERT INTO t (id, name) VALUES (1, 'Kw7tmBq2xVh9');\ncopy that (please)\n"),
    "commands": (
        "a.sh",
        "net use Z: /delete\nzip -r a.zip b\nunzip -P $PW a\nkeytool -storepass pass:env -list\n",
    ),
    "colons": ("a.py", "u = 'http://2001:db8::ff00:42:8329/x', 'ircs://irc.libera.chat:+6697/x'\n"),
    "words after basic": ("a.txt", "basic --shuffle, basic CUDA/C++, Basic ManyToMany, basic PyMemoryView\n"),
    "names like tokens": ("a.c", "napi_int8_array napi_register_wasm_v re_comp.h tss_dtor_t ghs_toolpath\n"),
    "settings": ("a.py", "'HF_HUB_OFFLINE=1', 'hf_xet/__pycache__/__init__.cpython-311.pyc', re_sign=1\n"),
    "a string that ends": ("a.go", 'cmd.Env = append(os.Environ(), "PWD="+cmd.Dir)\n'),
    "Perl": ("a.pm", "$s =~ s|a|$1/$1$2/$1$2$3$4|; $r =~ s/(.)/$1$trailer/o; # v1.0-68c8a7c\n"),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_only_looks_so_is_left(name: str) -> None:
    path, text = LEFT[name]
    assert find(path, text.encode()).places == ()


@pytest.mark.parametrize(
    "path",
    [
        *("pgpass.conf", "a/htpasswd", "etc/shadow", "home/.config/gcloud/access_tokens.db", "vpn/bob.ovpn"),
        *(".bash_history", "x/prod.tfvars.json", "rclone.conf", "config/master.key", "npmrc"),
    ],
)
def test_files_that_are_left_out_by_their_names(path: str) -> None:
    assert named_secret(path)
