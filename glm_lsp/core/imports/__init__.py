"""Where an import leads: for each language the rules by which a name in one file means another file.

Pure: what is known are the outlines of the files, and in them what configuration says (`config`). A module is
the path of a file, or a folder with a slash at its end where a package is a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from glm_lsp.core.imports.ecmascript import ScriptModules
from glm_lsp.core.imports.folders import HeaderFiles, JavaModules, RustModules
from glm_lsp.core.imports.go import GoModules, package_name
from glm_lsp.core.imports.python import PythonModules, shared
from glm_lsp.core.syntax.languages import language_of
from glm_lsp.core.values import FileOutline, Import

__all__ = ["Modules", "shared"]

_SCRIPTS = frozenset({"javascript", "javascriptreact", "typescript", "typescriptreact"})
_C = frozenset({"c", "cpp"})


class Modules:
    """The modules of an index. `outlines` is read when this is made, and only its keys later on."""

    def __init__(self, outlines: Mapping[str, FileOutline]) -> None:
        paths = frozenset(outlines)
        languages = {outline.language for outline in outlines.values()}
        configs = {path: outline.project for path, outline in outlines.items() if outline.project}
        self._python = PythonModules(paths)
        self._script = ScriptModules(paths, configs) if languages & _SCRIPTS else None
        self._go = GoModules(paths, configs) if "go" in languages else None
        self._java = JavaModules(paths) if "java" in languages else None
        self._rust = RustModules(paths) if "rust" in languages else None
        headers = (p for p, outline in outlines.items() if outline.language in _C)
        self._headers = HeaderFiles(headers) if languages & _C else None

    def module(
        self, name: str, path: str, level: int = 0, imports_back: Callable[[str], bool] = lambda _: False
    ) -> str:
        """What `name`, imported in `path`, is; empty where it is not in the repository."""
        language = language_of(path)
        if language == "python":
            return self._python.module(name, path, level, imports_back)
        if language in _SCRIPTS and self._script is not None:
            return self._script.module(name, path)
        if language == "go" and self._go is not None:
            return self._go.module(name, path)
        if language == "java" and self._java is not None:
            return self._java.module(name, path)
        if language == "rust" and self._rust is not None:
            return self._rust.module(name, path)
        if language in _C and self._headers is not None:
            return self._headers.module(name, path)
        return ""

    def files(self, module: str) -> tuple[str, ...]:
        """The files that a module consists of."""
        if not module.endswith("/"):
            return (module,) if module else ()
        found = self._go.files(module) if self._go is not None else ()
        return found or (self._java.files(module) if self._java is not None else ())

    def beside(self, path: str) -> tuple[str, ...]:
        """The other files whose definitions a file can use without an import."""
        if path.endswith(".go") and self._go is not None:
            return self._go.beside(path)
        if path.endswith(".java") and self._java is not None:
            return self._java.beside(path)
        return ()

    @staticmethod
    def submodule(item: Import, path: str) -> str:
        """What `item` may mean as a module of its own; empty where a name is never one."""
        language = language_of(path)
        joint = {"python": ".", "java": ".", "rust": "::"}.get(language, "")
        if not joint or not item.name or item.name == "*":
            return ""
        return f"{item.module}{joint}{item.name}" if item.module else item.name

    @staticmethod
    def bound(item: Import, path: str) -> str:
        """The name by which code speaks of an imported module; empty: by none."""
        if item.alias:
            return item.alias
        language = language_of(path)
        if language == "python":
            return item.module
        return package_name(item.module) if language == "go" else ""
