"""What is read from a root, and what never is."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_lsp.core.values import RefusalKind
from glm_lsp.workspace.files import MAX_LINE_BYTES, Unreadable, as_text, is_relative, load, read_bytes
from glm_lsp.workspace.secrets import named_secret
from tests.workspace.trees import grow

LIMIT = 100_000
SECRET = b"outside"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_bytes(SECRET)
    return grow(tmp_path / "root", {"a.py": "x = 1\n", "d/b.py": "y = 2\n"})


def check(root: Path, path: str, reason: str) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        load(root, path, LIMIT)
    assert reason in caught.value.reason
    return caught.value


PATHS = [
    "../outside/secret.txt",
    "/etc/passwd",
    "d/../../outside/secret.txt",
    "",
    ".",
    "..",
    "d//b.py",
    "./a.py",
]


@pytest.mark.parametrize("path", [*PATHS, "a.py\0.txt"])
def test_a_path_outside_is_refused(root: Path, path: str) -> None:
    assert check(root, path, "not a path below the root").kind is RefusalKind.POLICY


@given(st.text(max_size=30))
@settings(deadline=None)
def test_any_path_is_a_file_below_or_refused(path: str) -> None:
    if is_relative(path):
        assert not {"..", "."} & set(path.split("/"))
        assert not path.startswith("/")
    with pytest.raises(Unreadable):
        read_bytes(Path("/nonexistent-root"), path, LIMIT)


def test_links_are_followed_inside_and_refused_outside(root: Path) -> None:
    links = {
        "inside": "d/b.py",
        "d/up": "../a.py",
        "chain": "d/up",
        "absolute": str(root / "a.py"),
        "directory": "d",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    assert read_bytes(root, "inside", LIMIT).path == "d/b.py"
    assert read_bytes(root, "chain", LIMIT).data == b"x = 1\n"
    assert read_bytes(root, "absolute", LIMIT).path == "a.py"
    assert read_bytes(root, "directory/b.py", LIMIT).path == "d/b.py"
    with pytest.raises(Unreadable, match="is a link to"):
        load(root, "inside", LIMIT, links=False)
    outside = {
        "out": "../outside/secret.txt",
        "far": "/etc/passwd",
        "dir": "../outside",
        "sly": "d/../../outside/secret.txt",
        "sibling": f"{root}-evil/x",
    }
    for name, target in outside.items():
        (root / name).symlink_to(target)
    for path in ("out", "far", "dir/secret.txt", "sly", "sibling"):
        assert check(root, path, "link out of the repository").kind is RefusalKind.POLICY


def test_links_in_a_loop_end(root: Path) -> None:
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("one")
    (root / "self").symlink_to("self/self")
    check(root, "one", "loop")
    check(root, "self", "loop")


def test_a_link_to_a_secret_is_a_secret(root: Path) -> None:
    grow(root, {".env": "KEY=1\n"})
    (root / "harmless.txt").symlink_to(".env")
    check(root, "harmless.txt", "environment file")


def test_a_swap_between_check_and_use_reads_nothing_outside(root: Path) -> None:
    """One thread swaps a directory and a link to the outside while another one reads through the name."""
    outside = root.parent / "outside"
    grow(root, {"swap/secret.txt": "inside"})
    stop = threading.Event()

    def swap() -> None:
        real, link = root / "swap", root / "link"
        while not stop.is_set():
            link.symlink_to(outside)
            real.rename(root / "kept")
            link.rename(real)
            real.unlink()
            (root / "kept").rename(real)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(3000):
            try:
                assert read_bytes(root, "swap/secret.txt", LIMIT).data == b"inside"
            except Unreadable:
                continue
    finally:
        stop.set()
        swapper.join()


def test_what_is_no_file_is_not_opened(root: Path) -> None:
    os.mkfifo(root / "pipe")
    check(root, "pipe", "is a pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(root)
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
    check(root, "socket", "is a socket")
    check(root, "d", "is a directory")
    check(root, "missing.py", "no such file")
    check(root, "a.py/b", "not a directory")
    check(root, "x" * 300, "too long")
    if Path("/dev/zero").exists():
        with pytest.raises(Unreadable, match="is a device"):
            read_bytes(Path("/dev"), "zero", LIMIT)


@pytest.mark.usefixtures("permissions")
def test_an_unreadable_file_says_so(root: Path) -> None:
    (root / "a.py").chmod(0)
    check(root, "a.py", "permission denied")


CONTENTS = {
    "binary": (b"x\0y", "is binary"),
    "UTF-16": ("x = 1\n".encode("utf-16"), "UTF-16"),
    "Latin-1": ("é".encode("latin-1"), "not valid UTF-8"),
    "cut off": ("é".encode()[:1], "not valid UTF-8"),
    "surrogates": (b"\xed\xa0\x80", "not valid UTF-8"),
    "one long line": (b"x" * (MAX_LINE_BYTES + 1), "minified"),
    "a long last line": (b"x\n" * 9000 + b"y" * (MAX_LINE_BYTES + 1), "minified"),
    "huge": (b"x\n" * LIMIT, "larger than 100,000 bytes"),
}


@pytest.mark.parametrize(("data", "reason"), CONTENTS.values(), ids=CONTENTS.keys())
def test_content_that_is_not_read(root: Path, data: bytes, reason: str) -> None:
    grow(root, {"f.txt": data})
    check(root, "f.txt", reason)


def test_a_sparse_file_of_a_terabyte_is_not_read(root: Path) -> None:
    with (root / "big.py").open("wb") as file:
        file.truncate(1 << 40)
    check(root, "big.py", "larger than")


ORDINARY = [
    b"",
    b"x = 1",
    b"a\r\nb\r\n",
    "𝔘𝔫𝔦 é\n".encode(),
    b"x" * MAX_LINE_BYTES,
    b"y\n" * 40_000,
    b'HEADER = "-----BEGIN PRIVATE KEY-----"\n',
    b"AKIAIOSFODNN7EXAMPLE\n",
    b"# see ghp_ tokens\n",
    b"-----BEGIN PUBLIC KEY-----\n" + b"MIIEow" * 20,
]


@pytest.mark.parametrize("data", ORDINARY)
def test_ordinary_content_is_read_as_it_is(root: Path, data: bytes) -> None:
    grow(root, {"f.txt": data})
    document = load(root, "f.txt", LIMIT)
    assert document.data == data
    assert document.version is None


def test_the_byte_order_mark_is_taken_off() -> None:
    assert as_text(b"\xef\xbb\xbfx = 1\n") == b"x = 1\n"


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_text_or_refused(data: bytes) -> None:
    try:
        text = as_text(data)
    except Unreadable:
        return
    assert text.decode("utf-8").encode() == text == data.removeprefix(b"\xef\xbb\xbf")


_NAMED = """
.env .env.local prod.env .ENV server.pem TLS.KEY id_rsa id_rsa.pub id_ed25519 .netrc .npmrc .pypirc
.ssh/config credentials credentials.json sub/Credentials.JSON my-service-account.json kubeconfig
x/.kube/config db.kdbx terraform.tfstate terraform.tfstate.backup prod.tfvars keystore.p12
app.jks .git-credentials .aws/config
"""
_PLAIN = """
env.py environment.md keys.py credentials.py google/auth/credentials.ts secrets.py token.py public.txt
a.keyboard config kube/config docker/config.json README.md credentials_test.go
"""


@pytest.mark.parametrize("path", _NAMED.split())
def test_secret_names(path: str) -> None:
    assert named_secret(path)


@pytest.mark.parametrize("path", _PLAIN.split())
def test_plain_names(path: str) -> None:
    assert not named_secret(path)


CONTROLS = (
    "a\n# Source\nx.py",
    "a\r.py",
    "a\tb.py",
    "a\x1b[2J.py",
    "a\x7f.py",
    "a\x85.py",
    "a\u2028.py",
    "d\u2029/a.py",
)


@pytest.mark.parametrize("path", CONTROLS)
def test_a_name_that_could_end_a_line_of_a_prompt_is_left_out(root: Path, path: str) -> None:
    grow(root, {path: "def hidden(): ...\n"})
    found = check(root, path, "is left out: its name holds a control character")
    assert found.kind is RefusalKind.POLICY
