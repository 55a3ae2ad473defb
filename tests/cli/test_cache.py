"""`glm-lsp cache`: what is kept, what of it is removed, and that nothing else is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from glm_lsp.disk.store import Store
from glm_lsp.engines.worker import kvfile, shelf
from tests.cli.conftest import Cli, Ran, check_refused

MODELS = (
    {"model": "nano", "quantisation": "Q8_0", "kv_type": "f16"},
    {"model": "a \x1b[31mred\u202e one\n", "quantisation": "Q4_K", "kv_type": "q8_0"},
)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Prompts of two models, an index, and something that is not ours."""
    root = tmp_path / "cache"
    for model, count in ((MODELS[0], 2), (MODELS[1], 1)):
        for number in range(count):
            save(root / "kv", json.dumps(model), bytes([number, 0, 0, 0]) * 100, bytes(5000))
    index = Store(root / "outlines")
    index.set("key", b"value")
    index.close()
    ledgers = Store(root / "ledgers")
    ledgers.set("key", b"value")
    ledgers.close()
    (root / "mine").mkdir()
    (root / "mine/notes.txt").write_text("mine", encoding="utf-8")
    return root


def save(directory: Path, identity: str, tokens: bytes, data: bytes) -> None:
    with shelf.opened(directory, make=True) as handle:
        name = shelf.name_of(identity, tokens)
        part, file = shelf.reserve(handle, name, 0, 1 << 30)
        kvfile.write(file, identity, tokens, memoryview(data))
        os.replace(part, name, src_dir_fd=handle, dst_dir_fd=handle)
        os.close(file)


def ask(cli: Cli, root: Path, *arguments: str) -> Ran:
    return cli("cache", *arguments, environ={"GLM_LSP_CACHE": str(root)})


def there(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and p.name != "lock"}


def test_it_shows_each_model_and_each_kind(cache: Path, cli: Cli) -> None:
    ran = ask(cli, cache, "--format", "json")
    assert ran.code == 0
    assert ran.json["directory"] == str(cache)
    assert ran.json["cap_bytes"] == 20_000_000_000
    by_model = {m["identity"]["model"]: m for m in ran.json["models"]}
    assert by_model["nano"]["entries"] == 2
    assert by_model["nano"]["tokens"] == 200
    assert by_model["nano"]["bytes"] > 10_000
    assert by_model["nano"]["last_used"].endswith("+00:00")
    sizes = {c["kind"]: (c["files"], c["bytes"] > 0) for c in ran.json["caches"]}
    assert sizes == {
        "kv": (3, True),
        "index": (1, True),
        "repository": (0, False),
        "ledger": (1, True),
        "checkpoint": (0, False),
    }


def test_it_shows_them_to_people_whatever_they_are_called(cache: Path, cli: Cli) -> None:
    ran = ask(cli, cache, "show")
    assert ran.code == 0
    for word in ("nano", "Q8_0", "20.0 GB", "worker.saved_kv_gb", "outlines"):
        assert word in ran.out
    assert "\x1b" not in ran.out
    assert "\u202e" not in ran.out
    only = ask(cli, cache, "show", "--kind", "index")
    assert "nano" not in only.out


def test_an_empty_cache_is_shown_and_cleared(tmp_path: Path, cli: Cli) -> None:
    assert ask(cli, tmp_path / "none").code == 0
    ran = ask(cli, tmp_path / "none", "clear", "--kind", "all")
    assert (ran.code, ran.out) == (0, "There was nothing to remove.\n")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (("clear",), {"mine/notes.txt", "outlines/cache.db", "ledgers/cache.db"}),
        (("clear", "--kind", "kv"), {"mine/notes.txt", "outlines/cache.db", "ledgers/cache.db"}),
        (("clear", "--kind", "all"), {"mine/notes.txt"}),
    ],
)
def test_it_removes_what_was_named_and_says_so(
    arguments: tuple[str, ...], left: set[str], cache: Path, cli: Cli
) -> None:
    ran = ask(cli, cache, *arguments)
    assert ran.code == 0
    assert "kv: removed 3 files" in ran.out
    assert there(cache) == left


def test_clearing_tells_it_as_json_too(cache: Path, cli: Cli) -> None:
    ran = ask(cli, cache, "clear", "--kind", "index", "--format", "json")
    assert ran.code == 0
    (cleared,) = ran.json["cleared"]
    assert (cleared["kind"], cleared["removed_files"], cleared["problem"]) == ("index", 1, "")
    assert not (cache / "outlines").exists()


def test_an_index_that_is_open_survives_its_removal(cache: Path, cli: Cli) -> None:
    index = Store(cache / "outlines")
    assert ask(cli, cache, "clear", "--kind", "index").code == 0
    index.set("other", b"value")
    index.close()
    assert not list(cache.glob("outlines.*"))


def test_files_that_cannot_be_read_are_counted_and_cleared(cache: Path, cli: Cli) -> None:
    (cache / "kv" / f"{'0' * 32}-{'1' * 32}.kv").write_bytes(b"\xff" * 1000)
    os.mkfifo(cache / "kv" / f"{'0' * 32}-{'2' * 32}.kv")
    save(cache / "kv", "no json", bytes(8), bytes(8))
    save(cache / "kv", "[" * 10_000, bytes(8), bytes(8))
    ran = ask(cli, cache, "--format", "json")
    assert ran.code == 0
    unreadable = [m for m in ran.json["models"] if m["identity"]["model"] == "unreadable"]
    assert sum(m["entries"] for m in unreadable) == 4
    assert ask(cli, cache).code == 0
    assert ask(cli, cache, "clear").code == 0
    assert not list((cache / "kv").glob("*.kv"))


def a_link(path: Path) -> None:
    path.symlink_to(path.parent / "mine")


def a_file(path: Path) -> None:
    path.write_text("mine", encoding="utf-8")


@pytest.mark.parametrize("thing", [a_link, a_file], ids=lambda thing: thing.__name__)
@pytest.mark.parametrize("name", ["kv", "outlines", "ledgers", "checkpoints"])
def test_what_is_not_a_directory_of_ours_is_left_alone(
    name: str, thing: Callable[[Path], None], tmp_path: Path, cli: Cli
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine", encoding="utf-8")
    thing(tmp_path / name)
    check_refused(ask(cli, tmp_path, "clear", "--kind", "all"), 8, str(tmp_path / name), "not cleared")
    assert ask(cli, tmp_path, "show").code == 8
    assert os.path.lexists(tmp_path / name)
    assert (tmp_path / "mine/notes.txt").is_file()


def test_a_kind_that_there_is_not_is_wrong_usage(tmp_path: Path, cli: Cli) -> None:
    check_refused(ask(cli, tmp_path, "clear", "--kind", "everything"), 2, "--kind")
    check_refused(ask(cli, tmp_path, "burn"), 2, "burn")
