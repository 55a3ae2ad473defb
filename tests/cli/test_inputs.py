"""Bad input at the terminal: each is one clear sentence with the right exit code, and nothing is lost."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Ran, check_refused

WITHOUT_LLAMA = """
import sys, importlib.abc
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("llama_cpp", "numpy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import importlib.util
find_spec = importlib.util.find_spec
gone = ("llama_cpp", "numpy")
importlib.util.find_spec = lambda name, package=None: None if name in gone else find_spec(name, package)
from glm_lsp.__main__ import main
sys.exit(main())
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A small repository."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "shop.py").write_text("def total(prices):\n    return sum(prices)\n", encoding="utf-8")
    (tmp_path / "use.py").write_text("import shop\n\nprint(shop.total([1]))\n", encoding="utf-8")
    return tmp_path


def context(cli: Cli, where: str, cwd: Path) -> Ran:
    return cli("context", where, "--format", "json", cwd=cwd)


def test_without_version_control_the_repository_is_where_one_stands(cli: Cli, tmp_path: Path) -> None:
    files = {"tool.py": "def sharpen(blade):\n    return blade\n", "pkg/__init__.py": ""}
    files["pkg/use.py"] = "from tool import sharpen\n\n\ndef work():\n    return sharpen(1)\n"
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    seen = context(cli, "pkg/use.py:5:12", tmp_path)
    assert {block["path"] for block in json.loads(seen.out)["blocks"]} == {"pkg/use.py", "tool.py"}
    (tmp_path.parent / "somewhere").mkdir(exist_ok=True)
    elsewhere = context(cli, str(tmp_path / "pkg/use.py") + ":5:12", tmp_path.parent / "somewhere")
    assert {block["path"] for block in json.loads(elsewhere.out)["blocks"]} == {"use.py"}


FILES = [
    ("binary.py", b"a = 1\0\x01\x02\n" * 9, 2, "binary"),
    ("latin.py", "é = 'été'\n".encode("latin-1"), 2, "UTF-8"),
    ("huge.py", b"x = 1\n" * 200_000, 2, "max_file_bytes"),
    (".env", b"KEY=1\n", 8, ".env"),
    ("id_rsa", b"-----BEGIN OPENSSH PRIVATE KEY-----\n", 8, "id_rsa"),
    ("server.pem", b"-----BEGIN CERTIFICATE-----\n", 8, "server.pem"),
]


@pytest.mark.parametrize(("name", "data", "code", "words"), FILES, ids=[f[0] for f in FILES])
def test_a_file_that_must_not_be_read(
    name: str, data: bytes, code: int, words: str, shop: Path, cli: Cli
) -> None:
    (shop / name).write_bytes(data)
    for verb in ("context", "complete"):
        ran = cli(verb, f"{name}:1:1", "--format", "json", cwd=shop)
        check_refused(ran, code, words)
        assert words in ran.json["error"]
    assert (shop / name).read_bytes() == data


def test_an_ignored_file_and_one_outside(
    shop: Path, tmp_path_factory: pytest.TempPathFactory, cli: Cli
) -> None:
    (shop / ".gitignore").write_text("build/\n", encoding="utf-8")
    (shop / "build").mkdir()
    (shop / "build/made.py").write_text("x = 1\n", encoding="utf-8")
    check_refused(context(cli, "build/made.py:1:1", shop), 8)
    outside = tmp_path_factory.mktemp("outside") / "secret.py"
    outside.write_text("x = 1\n", encoding="utf-8")
    (shop / "link.py").symlink_to(outside)
    check_refused(context(cli, "link.py:1:1", shop), 8)


PLACES = [
    ("shop.py:4:1", "has 3 lines, so there is no line 4"),
    ("shop.py:2:24", "has 22 characters, so there is no column 24"),
    ("empty.py:2:1", "has 1 line, so there is no line 2"),
    ("empty.py:1:2", "has 0 characters"),
    ("dos.py:1:8", "has 6 characters"),
    ("astral.py:1:9", "has 7 characters"),
]


@pytest.mark.parametrize(("where", "words"), PLACES)
def test_a_place_that_is_not_there(where: str, words: str, shop: Path, cli: Cli) -> None:
    _odd_files(shop)
    check_refused(context(cli, where, shop), 2, words)


GOOD = [
    "empty.py:1:1",
    "dos.py:1:7",
    "dos.py:2:1",
    "astral.py:1:8",
    "shop.py:3:1",
    "bom.py:1:2",
    "notes.xyz:1:4",
]


@pytest.mark.parametrize("where", GOOD)
def test_odd_files_have_places_all_the_same(where: str, shop: Path, cli: Cli) -> None:
    _odd_files(shop)
    ran = context(cli, where, shop)
    assert (ran.code, ran.err) == (0, "")
    parts = {"blocks", "counting", "division", "dropped", "held_back", "notes", "shares"}
    assert {"budget_tokens", "tokens", *parts} == set(ran.json)
    assert 0 < ran.json["tokens"] <= ran.json["budget_tokens"]
    assert ran.json["blocks"][-1]["path"] == where.split(":", maxsplit=1)[0]


def _odd_files(shop: Path) -> None:
    (shop / "empty.py").write_bytes(b"")
    (shop / "dos.py").write_bytes(b"x = 10\r\ny = 2\r\n")
    (shop / "astral.py").write_text("s = '🙂'\n", encoding="utf-8")
    (shop / "bom.py").write_bytes(b"\xef\xbb\xbfx = 1\n")
    (shop / "notes.xyz").write_text("an unknown language\n", encoding="utf-8")


def test_a_directory_need_not_be_a_repository(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "alone.py").write_text("x = 1\n", encoding="utf-8")
    assert context(cli, "alone.py:1:1", tmp_path).code == 0
    assert cli("index", tmp_path, "--format", "json").json["files"] == 1


def test_a_budget_that_is_too_small_is_said_and_never_exceeded(shop: Path, cli: Cli) -> None:
    check_refused(cli("context", "shop.py:2:5", "--budget", "3", cwd=shop), 2, "budget")
    ran = cli("context", "shop.py:2:5", "--budget", "500", "--format", "json", cwd=shop)
    assert ran.json["tokens"] <= ran.json["budget_tokens"] == 500


def test_a_missing_or_broken_model_file(shop: Path, cli: Cli) -> None:
    cut = shop / "cut.gguf"
    whole = Path(__file__).parents[2] / "config/models/nano/nano.gguf"
    cut.write_bytes(whole.read_bytes()[:600_000])
    (shop / "page.gguf").write_text("<html>404</html>", encoding="utf-8")
    (shop / "empty.gguf").touch()
    for name, words in (
        ("absent.gguf", "does not exist"),
        (".", "is a directory"),
        ("empty.gguf", "is empty"),
        ("cut.gguf", "cut off"),
        ("page.gguf", "not a GGUF"),
    ):
        environ = {"GLM_LSP_MODEL_PATH": str(shop / name), "GLM_LSP_MODEL_PROFILE": "nano"}
        doctor = cli("doctor", "--format", "json", cwd=shop, environ=environ)
        assert doctor.code == 7
        assert words in doctor.json["model"]["error"]


@pytest.mark.parametrize(
    ("name", "words"), [("gone.gguf", "does not exist"), (".", "is a directory"), ("no.gguf", "is empty")]
)
def test_a_model_path_that_leads_to_no_model_is_told_as_what_it_is(
    shop: Path, cli: Cli, name: str, words: str
) -> None:
    pytest.importorskip("llama_cpp", reason="without it, that is what is told")
    (shop / "no.gguf").touch()
    environ = {"GLM_LSP_MODEL_PATH": str(shop / name), "GLM_LSP_MODEL_PROFILE": "nano"}
    check_refused(cli("complete", "shop.py:2:5", cwd=shop, environ=environ), 7, words, "set model.path")


def test_doctor_says_which_model_a_truncated_file_claims_to_be(shop: Path, cli: Cli) -> None:
    cut = shop / "cut.gguf"
    whole = Path(__file__).parents[2] / "config/models/nano/nano.gguf"
    cut.write_bytes(whole.read_bytes()[:600_000])
    doctor = cli("doctor", "--format", "json", cwd=shop, environ={"GLM_LSP_MODEL_PATH": str(cut)})
    model = doctor.json["model"]
    assert (doctor.code, model["profile"], model["name"]) == (7, "nano", "nano")
    assert (model["architecture"], model["file_bytes"]) == ("glm-dsa", 600_000)
    assert "cut off: it has 600,000 bytes and its tensors need" in model["error"]


@pytest.mark.embedded
def test_a_missing_or_broken_model_file_ends_a_completion_with_a_sentence(shop: Path, cli: Cli) -> None:
    pytest.importorskip("llama_cpp", reason="only the embedded engine reads model files")
    cut = shop / "cut.gguf"
    whole = Path(__file__).parents[2] / "config/models/nano/nano.gguf"
    cut.write_bytes(whole.read_bytes()[:600_000])
    for name in ("absent.gguf", "cut.gguf"):
        environ = {"GLM_LSP_MODEL_PATH": str(shop / name), "GLM_LSP_MODEL_PROFILE": "nano"}
        ran = cli("complete", "shop.py:2:5", cwd=shop, environ=environ)
        check_refused(ran, 7, name)


def test_without_llama_cpp_everything_but_the_embedded_engine_works(shop: Path, cli: Cli) -> None:
    def run(*arguments: str) -> Ran:
        return cli(*arguments, cwd=shop, code=WITHOUT_LLAMA)

    assert run("index", ".", "--format", "json").json["files"] == 2
    assert run("context", "shop.py:2:5", "--format", "json").json["blocks"]
    assert run("settings", "--format", "json").code == 0
    for verb in (("complete", "shop.py:2:5"), ("demo",)):
        check_refused(run(*verb), 7, "llama-cpp-python", "pip install llama-cpp-python==")
    for verb in ("engines", "doctor"):
        ran = run(verb, "--format", "json")
        assert ran.code == 7
        assert all("pip install" in route["remedy"] for route in ran.json["routes"])


class _Refuses(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b'{"error": {"message": "no such key"}}'
        self.send_response(401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def refusing() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refuses)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_remote_that_refuses_is_code_7_and_a_sentence_without_the_key(
    shop: Path, refusing: str, cli: Cli
) -> None:
    environ = {
        "GLM_LSP_ENGINE_DEFAULT": "remote",
        "GLM_LSP_REMOTE_ENDPOINT": refusing,
        "GLM_LSP_REMOTE_KEY": "sk-s3cret-s3cret",
        "NO_PROXY": "127.0.0.1",
    }
    ran = cli("complete", "shop.py:2:5", "--format", "json", cwd=shop, environ=environ)
    check_refused(ran, 7)
    assert ran.json["error"]
    assert "s3cret" not in ran.err + ran.out
    gone = {**environ, "GLM_LSP_REMOTE_ENDPOINT": "http://127.0.0.1:9/v1"}
    check_refused(cli("complete", "shop.py:2:5", cwd=shop, environ=gone), 7)


def test_without_an_address_nothing_is_asked(shop: Path, cli: Cli) -> None:
    ran = cli("complete", "shop.py:2:5", "--set", "engine.default=remote", cwd=shop)
    check_refused(ran, 7, "remote.endpoint")
