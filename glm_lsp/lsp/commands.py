"""Commands: slow work under progress that can be cancelled, then one versioned edit or one explanation.

Each command takes one argument, an object: `uri`, and a `range` (or a `position`) of the protocol;
`version`, when the range was made for one; `instruction`, for a refactor. Code actions send `path`, `title`
and `argument` back as they were listed. The result is `{"status": …, "message": …}` with `"text"` for an
explanation.

An edit is sent only if every document still has the text that the edit was made for; else the user gets a
sentence and nothing changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from glm_lsp.core.errors import ConfigError, ConflictError, GlmError, UsageError
from glm_lsp.core.generation import Work
from glm_lsp.core.text import visible
from glm_lsp.core.values import Document, EditPlan, Refusal, Span
from glm_lsp.lsp import explanations
from glm_lsp.lsp.actions import COMMANDS
from glm_lsp.lsp.convert import place_of, workspace_edit
from glm_lsp.lsp.documents import OpenDocument
from glm_lsp.lsp.folders import View
from glm_lsp.lsp.progress import Report

if TYPE_CHECKING:
    from glm_lsp.app import Runtime
    from glm_lsp.features.catalogue import Offer
    from glm_lsp.lsp.server import Server

log = logging.getLogger(__name__)

INSTRUCTION_CHARS = 4000
DISCARDED = "discarded"
"""The `failureReason` of a client that showed the edit to its user first, who did not want it."""


class Status(StrEnum):
    """How a command ended."""

    APPLIED = "applied"
    EXPLAINED = "explained"
    NOTHING = "nothing"
    REFUSED = "refused"
    CONFLICT = "conflict"
    CANCELLED = "cancelled"
    FAILED = "failed"
    STARTED = "started"
    """The client wants an answer at once; the rest comes under progress."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`message` is a sentence, empty where there is nothing to say."""

    status: Status
    message: str = ""
    text: str = ""

    def plain(self) -> dict[str, str]:
        result = {"status": self.status.value, "message": self.message}
        return {**result, "text": self.text} if self.text else result


@dataclass(frozen=True, slots=True)
class Call:
    """A command's argument, checked."""

    kind: str
    uri: str
    range: types.Range
    version: int | None
    path: str
    title: str
    argument: str
    listed: bool
    """It came from a code action of ours, so its span is the catalogue's."""


class Commands:
    """Handler of `workspace/executeCommand`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def execute(self, params: types.ExecuteCommandParams) -> dict[str, str]:
        """Raises UsageError for an unknown command, a bad argument and a document that is not open."""
        call = call_of(params.command, params.arguments or ())
        server = self._server
        document = server.folders.document(call.uri)
        span, version = _span(document, call.range), document.version
        runtime = server.runtime or await server.ready()
        view = server.folders.view(runtime, server.settings, call.uri)
        if call.kind == "explain":  # nothing is written: what stands there now can be explained at any time
            span = _span(document, call.range)
        elif version != view.document.version or call.version not in (None, version):
            return self._told(Outcome(Status.CONFLICT, _stale(view.document.path))).plain()
        offer = self._offer(call, view, span)
        if isinstance(offer, Outcome):
            return self._told(offer).plain()
        work = self._work(runtime, view, offer)
        if server.client.quick_commands:
            server.protocol.spawn(work, params.command)
            return Outcome(Status.STARTED).plain()
        return (await work).plain()

    def _offer(self, call: Call, view: View, span: Span) -> Offer | Outcome:
        """What to do: as it was listed, or what the catalogue offers here for a command called by itself."""
        from glm_lsp.features import catalogue  # noqa: PLC0415 (after `initialize`)

        path = view.document.path
        if call.kind == "refactor" and not call.argument:
            return Outcome(
                Status.REFUSED,
                "Say what should change: pass an `instruction`, or write it as a comment that begins with "
                "`glm:` inside the selection.",
            )
        kind = catalogue.OfferKind(call.kind)
        if call.listed or call.argument:
            return catalogue.Offer(kind, call.title or call.kind.title(), path, span, call.argument)
        offers = catalogue.offers(view.snapshot, path, span, ())
        found = next((offer for offer in offers if offer.kind == kind), None)
        return found or Outcome(Status.NOTHING, f"There is nothing to {call.kind} here.")

    async def _work(self, runtime: Runtime, view: View, offer: Offer) -> Outcome:
        """Do it under progress; the user's cancellation is an outcome, the client's is an exception."""
        work: asyncio.Task[Outcome] | None = None
        pressed = False

        def cancel() -> None:
            nonlocal pressed
            pressed = True
            if work is not None:
                work.cancel()

        async with self._server.progress.work(offer.title, cancel) as report:
            work = asyncio.get_running_loop().create_task(self._perform(runtime, view, offer, report))
            try:
                outcome = await work
            except asyncio.CancelledError:
                if not pressed:
                    raise
                outcome = Outcome(Status.CANCELLED)
            except ConflictError as error:
                outcome = Outcome(Status.CONFLICT, str(error))
            except GlmError as error:
                outcome = Outcome(Status.FAILED, str(error))
            except Exception as error:
                log.exception("%s failed", offer.kind)
                message = f"glm-lsp failed ({type(error).__name__}); its log on stderr has the details."
                outcome = Outcome(Status.FAILED, message)
            report.conclude(outcome.status.value)
        return self._told(outcome)

    async def _perform(self, runtime: Runtime, view: View, offer: Offer, report: Report) -> Outcome:
        from glm_lsp.features import actions  # noqa: PLC0415

        session = await runtime.session_soon(view.home.repository, Work.ACTION)
        result = await actions.perform(session, view.snapshot, offer, report.say)
        self._server.works_again()
        if not isinstance(result, EditPlan):
            return await self._explain(view, offer, result.text)
        reasons = " ".join(dict.fromkeys(refusal.reason for refusal in result.refusals))
        if not result.changes:
            return Outcome(
                Status.REFUSED if reasons else Status.NOTHING, reasons or "There is nothing to change."
            )
        outcome = await self._apply(view, result)
        return Outcome(outcome.status, f"{outcome.message} {reasons}".strip()) if reasons else outcome

    async def _apply(self, view: View, plan: EditPlan) -> Outcome:
        """Send the edit. Raises ConflictError if a text is not the one that the edit was made for."""
        server = self._server
        if not server.client.apply_edit:
            return Outcome(
                Status.REFUSED, "This editor does not take edits from a server (workspace/applyEdit)."
            )
        if plan.notes and not await self._confirmed(plan):
            return Outcome(Status.CANCELLED)
        disk = {
            change.path: await view.home.repository.read(change.path)
            for change in plan.changes
            if self._open(view, change.path) is None
        }
        bases: dict[str, Document] = {}
        for change in plan.changes:  # no await from here to the request
            base = self._open(view, change.path) or disk.get(change.path)
            if isinstance(base, Refusal):
                raise ConflictError(f"Nothing was changed: {base.reason}")
            if base is None or base.digest != change.base_digest:
                raise ConflictError(_stale(change.path))
            bases[change.path] = base
        uris = {path: server.folders.uri(view.home.repository, path) for path in bases}
        params = types.ApplyWorkspaceEditParams(
            edit=workspace_edit(plan, bases, {**uris, view.document.path: view.uri}, server.client),
            label=plan.title,
            metadata=types.WorkspaceEditMetadata(is_refactoring=True)
            if server.client.edit_metadata
            else None,
        )
        try:
            answer: types.ApplyWorkspaceEditResult = await server.protocol.ask(
                types.WORKSPACE_APPLY_EDIT, params
            )
        except JsonRpcException as error:
            return Outcome(Status.FAILED, f"The editor refused the edit: {error}")
        if not answer.applied and answer.failure_reason == DISCARDED:
            return Outcome(Status.CANCELLED)
        if not answer.applied:
            why = answer.failure_reason or "it gave no reason"
            return Outcome(Status.CONFLICT, f"The editor did not apply the edit: {why}.")
        return Outcome(Status.APPLIED)

    def _open(self, view: View, path: str) -> Document | None:
        """The text of `path` as the editor has it now; None where it is not open."""
        uri = view.uri if path == view.document.path else self._server.folders.uri(view.home.repository, path)
        document = self._server.documents.get(uri)
        return document.freeze(path) if document is not None else None

    async def _confirmed(self, plan: EditPlan) -> bool:
        """Show what a person should look at first. No answer is no consent."""
        notes = " ".join(f"{note.path}: {note.text}" for note in plan.notes)
        accept = types.MessageActionItem("Apply")
        params = types.ShowMessageRequestParams(
            types.MessageType.Warning, f"glm-lsp: {notes}", [accept, types.MessageActionItem("Discard")]
        )
        try:
            answer = await self._server.protocol.ask(types.WINDOW_SHOW_MESSAGE_REQUEST, params)
        except JsonRpcException:
            return False
        return answer is not None and answer.title == accept.title

    async def _explain(self, view: View, offer: Offer, text: str) -> Outcome:
        """Show a text: by the client's own code, as a document, or as a message."""
        client = self._server.client
        text = visible(text)
        outcome = Outcome(Status.EXPLAINED, text=text)
        if client.returns_results:
            return outcome
        if client.show_document:
            try:
                uri = explanations.write(view.document.path, offer.title, text)
                params = types.ShowDocumentParams(uri=uri, take_focus=True)
                answer = await self._server.protocol.ask(types.WINDOW_SHOW_DOCUMENT, params)
            except (ConfigError, JsonRpcException) as error:
                log.info("the explanation is shown as a message: %s", error)
                answer = None
            if answer is not None and answer.success:
                return outcome
        self._server.tell(text, types.MessageType.Info)
        return outcome

    def _told(self, outcome: Outcome) -> Outcome:
        """Tell the user what the outcome says."""
        if outcome.message:
            bad = outcome.status is Status.FAILED
            self._server.tell(outcome.message, types.MessageType.Error if bad else types.MessageType.Warning)
        return outcome


def call_of(command: str, arguments: Sequence[Any]) -> Call:
    """Check a command's argument. Raises UsageError with what is wrong with it."""
    kind = COMMANDS.get(command)
    if kind is None:
        raise UsageError(f"There is no command {command!r}; there are {', '.join(COMMANDS)}.")
    given: object = arguments[0] if len(arguments) == 1 else None
    if not isinstance(given, Mapping):
        raise UsageError(f'{command} takes one object: {{"uri": …, "range": …}}.')
    argument = cast("Mapping[str, Any]", given)
    uri = argument.get("uri")
    if not isinstance(uri, str):
        raise UsageError(f"{command}: `uri` must be the document's URI.")
    version = argument.get("version")
    if version is not None and type(version) is not int:
        raise UsageError(f"{command}: `version` must be a whole number.")
    said = argument.get("instruction") or argument.get("argument") or ""
    if not isinstance(said, str) or len(said) > INSTRUCTION_CHARS:
        raise UsageError(
            f"{command}: `instruction` must be a text of at most {INSTRUCTION_CHARS} characters."
        )
    path, title = argument.get("path", ""), argument.get("title", "")
    if not isinstance(path, str) or not isinstance(title, str):
        raise UsageError(f"{command}: `path` and `title` must be texts.")
    return Call(kind, uri, _range(command, argument), version, path, title[:200], said, bool(path))


def _span(document: OpenDocument, range_: types.Range) -> Span:
    return Span(*sorted((document.offset(place_of(range_.start)), document.offset(place_of(range_.end)))))


def _range(command: str, argument: Mapping[str, Any]) -> types.Range:
    position = argument.get("position")
    given = argument.get("range", {"start": position, "end": position})
    try:
        ends = [
            types.Position(line=int(given[e]["line"]), character=int(given[e]["character"]))
            for e in ("start", "end")
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{command}: `range` must be a range, or `position` a position.") from error
    return types.Range(*ends)


def _stale(path: str) -> str:
    return f"{path} has changed in the meantime: nothing was changed. Ask again."
