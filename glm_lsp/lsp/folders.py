"""Which repository a document belongs to, and what a request may see of it.

A workspace folder is a repository of its own; a document in several belongs to the deepest. A document
outside every folder gets its directory as root, without an index: what is open there and what it names is
all that is used. A document that is no file (untitled) stands in a directory of its own that does not
exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from glm_lsp.core.errors import PolicyError, UsageError
from glm_lsp.core.settings import Settings
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.values import Document, Refusal
from glm_lsp.lsp.convert import name_of, path_of, uri_of
from glm_lsp.lsp.documents import Documents, OpenDocument

if TYPE_CHECKING:
    from glm_lsp.app import Runtime
    from glm_lsp.workspace.repository import Repository


@dataclass(frozen=True, slots=True)
class Home:
    """Where a document lives: its repository, and its path in there."""

    repository: Repository
    path: str
    on_disk: bool


@dataclass(frozen=True, slots=True)
class View:
    """What one request sees, taken at once and never changed."""

    home: Home
    snapshot: Snapshot
    document: Document
    uri: str


class Folders:
    """The workspace folders and the repositories behind them."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self.before_view: Callable[[str], None] = lambda uri: None
        """Brings up to date what a request about this document may see of others."""
        self.roots: list[Path] = []
        self._named: dict[Path, Path] = {}
        """Under which name the client knows a root, which may be a link."""

    def add(self, uris: Iterable[str]) -> list[Path]:
        """Add the folders that are directories here; return the new ones."""
        new: list[Path] = []
        for uri in uris:
            path = path_of(uri)
            if path is not None and path.is_dir() and (root := path.resolve()) not in self.roots:
                self.roots.append(root)
                self._named[root] = path
                new.append(root)
        return new

    def remove(self, uris: Iterable[str]) -> None:
        gone = {path.resolve() for path in map(path_of, uris) if path is not None}
        self.roots = [root for root in self.roots if root not in gone]

    def home(self, runtime: Runtime, uri: str) -> Home:
        """The document's repository. Raises PolicyError where nothing of that file may be used."""
        path = path_of(uri)
        if path is None or not path.parent.is_dir():
            root = self.roots[0] if self.roots else Path.cwd()
            return Home(runtime.repository(root), f"untitled/{name_of(uri)}", on_disk=False)
        path = path.parent.resolve() / path.name
        inside = [root for root in self.roots if path.is_relative_to(root)]
        root = max(inside, key=lambda root: len(root.parts), default=path.parent)
        repository = runtime.repository(root)
        relative = repository.relative(path)
        if isinstance(relative, Refusal):
            raise PolicyError(relative.reason)
        return Home(repository, relative, on_disk=True)

    def view(self, runtime: Runtime, settings: Settings, uri: str) -> View:
        """What a request about `uri` sees. Raises UsageError if it is not open, and PolicyError if it is
        protected, binary, or larger than `index.max_file_bytes`."""
        document = self.document(uri)
        home = self.home(runtime, uri)
        self.before_view(uri)
        # Imported late: what it brings along is not needed before `initialize` is answered.
        from glm_lsp.core.secrets import masked  # noqa: PLC0415

        frozen = masked(document.freeze(home.path), open_=True, allowed=home.repository.allowed)
        self._check(frozen, settings, name_of(uri))
        snapshot = home.repository.snapshot()
        documents = {**snapshot.documents, home.path: frozen}
        return View(home, replace(snapshot, documents=documents, settings=settings), frozen, uri)

    def document(self, uri: str) -> OpenDocument:
        document = self._documents.get(uri)
        if document is None:
            raise UsageError(f"{name_of(uri)} is not open; send textDocument/didOpen first.")
        return document

    def uri(self, repository: Repository, path: str) -> str:
        """The name under which the client knows a file of `repository`."""
        for document in self._documents:
            if self._path_in(repository, document) == path:
                return document.uri
        return uri_of(self._named.get(repository.root, repository.root) / path)

    def _path_in(self, repository: Repository, document: OpenDocument) -> str | None:
        path = path_of(document.uri)
        if path is None:
            return None
        try:
            relative = (path.parent.resolve() / path.name).relative_to(repository.root)
        except (ValueError, OSError):
            return None
        if isinstance(repository.relative(path), Refusal):
            return None
        return relative.as_posix()

    @staticmethod
    def _check(document: Document, settings: Settings, name: str) -> None:
        limit = settings.integer("index.max_file_bytes")
        if len(document.data) > limit:
            raise PolicyError(
                f"{name} has {len(document.data):,} bytes, more than the {limit:,} of index.max_file_bytes: "
                "nothing is suggested in it. Raise that setting to change this."
            )
        if b"\0" in document.data:
            raise PolicyError(f"{name} is binary (it holds null bytes): nothing is suggested in it.")
        if document.left_out:
            raise PolicyError(f"{name} is left out: {document.left_out}. Nothing of it is sent to a model.")
