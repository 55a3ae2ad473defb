"""llama.cpp's own benchmark, built from the very source that the installed llama-cpp-python has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.edits import cache

PACKAGE = "llama-cpp-python"
_CACHE = cache()
"""The user's, also while a bench has one of its own."""
_OPTIONS = (
    # Whatever is not named is as llama-cpp-python builds it: release, for this processor, with OpenMP.
    *("-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF"),
    *("-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF"),
    *("-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF"),
)


class Missing(Exception):  # noqa: N818
    """llama-bench cannot be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What both sides run with."""

    model: Path
    threads: int
    batch: int
    kv_type: str = "f16"


def found(given: str) -> Path:
    """The program: the one given, else the one in the cache, else a new one. Raises Missing."""
    if given:
        path = Path(given)
        if not os.access(path, os.X_OK):
            raise Missing(f"--llama-bench {given} is no program.")
        return path.absolute()
    name = "llama-bench.exe" if os.name == "nt" else "llama-bench"
    target = _CACHE / f"llama-cpp-python-{version(PACKAGE)}" / name
    if not target.exists():
        _build(target)
    return target


def _build(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if shutil.which("cmake") is None:
        raise Missing("llama-bench is built with cmake and a C++ compiler: install them, or --llama-bench.")
    source = _source(target.parent) / "vendor" / "llama.cpp"
    build = target.parent / "build"
    sys.stderr.write(f"Building llama-bench in {build}: some minutes, once.\n")
    _run("cmake", "-S", str(source), "-B", str(build), *_OPTIONS)
    _run("cmake", "--build", str(build), "-t", "llama-bench", "-j", str(os.cpu_count() or 1))
    shutil.copy2(next(path for path in build.rglob(target.name) if path.is_file()), target)


def _source(folder: Path) -> Path:
    """The unpacked source distribution of the installed version."""
    release = version(PACKAGE)
    packed = list(folder.glob("*.tar.gz"))
    if not packed:
        pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:")
        _run(*pip, "-d", str(folder), f"{PACKAGE}=={release}")
        packed = list(folder.glob("*.tar.gz"))
    with tarfile.open(packed[0]) as archive:
        archive.extractall(folder, filter="data")
    return next(path.parent for path in folder.glob("*/pyproject.toml"))


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise Missing(f"llama-bench cannot be built: {' '.join(command)} failed: {done.stdout[-600:]}")


def measure(
    program: Path,
    setup: Setup,
    prompt: int,
    generated: int,
    *,
    depth: int = 0,
    repack: bool = False,
    repetitions: int = 1,
) -> tuple[float, float]:
    """Tokens per second of prompt and of generation; nan for what is not asked for. Raises Missing."""
    command = (
        *(str(program), "-m", str(setup.model), "-p", str(prompt), "-n", str(generated)),
        *("-b", str(setup.batch), "-ub", str(setup.batch), "-t", str(setup.threads), "-ngl", "0"),
        *("-d", str(depth)),
        *("-fa", "on", "-ctk", setup.kv_type, "-ctv", setup.kv_type, "-lm", "mmap"),
        *("--repack", str(int(repack)), "-r", str(repetitions), "-o", "json"),
    )
    # As in the worker, which sets the same.
    env = {**os.environ, "OMP_WAIT_POLICY": "passive", "GGML_NO_BACKTRACE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise Missing(
            f"llama-bench ended with status {done.returncode}: {' | '.join(done.stderr.splitlines()[-2:])}"
        )
    return speeds(json.loads(done.stdout))


def speeds(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """(prompt, generation) in tokens per second from llama-bench's JSON; nan where it has no such row."""
    prompt = [row["avg_ts"] for row in rows if row["n_prompt"] and not row["n_gen"]]
    generation = [row["avg_ts"] for row in rows if row["n_gen"] and not row["n_prompt"]]
    return (prompt or [float("nan")])[0], (generation or [float("nan")])[0]
