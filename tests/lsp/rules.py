"""What the protocol allows: shapes by its types, and what each side has declared."""

from __future__ import annotations

from typing import Any

from lsprotocol import converters, types

Json = dict[str, Any]
_converter = converters.get_converter()
NEEDS = {
    "window/workDoneProgress/create": "window.workDoneProgress",
    "workspace/applyEdit": "workspace.applyEdit",
    "workspace/configuration": "workspace.configuration",
    "window/showDocument": "window.showDocument.support",
}
"""What the client must have declared for a request of the server."""
PROVIDES = {
    "textDocument/inlineCompletion": "inlineCompletionProvider",
    "textDocument/completion": "completionProvider",
    "textDocument/codeAction": "codeActionProvider",
    "textDocument/hover": "hoverProvider",
    "codeAction/resolve": "codeActionProvider.resolveProvider",
    "workspace/executeCommand": "executeCommandProvider",
}
"""What the server must have declared for a request of the client."""
REGISTERED = {
    "workspace/didChangeConfiguration": "workspace.didChangeConfiguration.dynamicRegistration",
    "workspace/didChangeWatchedFiles": "workspace.didChangeWatchedFiles.dynamicRegistration",
}
FREE = {"window/showMessage", "window/showMessageRequest", "window/logMessage", "$/progress"}


def at(table: Any, path: str) -> Any:
    """The value at a dotted path, or None."""
    for name in path.split("."):
        table = table.get(name) if isinstance(table, dict) else None
    return table


def pruned(value: Any) -> Any:
    """Without what is null or absent, which are the same to the types."""
    if isinstance(value, dict):
        return {k: pruned(v) for k, v in value.items() if v is not None}
    return [pruned(v) for v in value] if isinstance(value, list | tuple) else value


def check_shape(message: Json, kind: type | None) -> None:
    """The message is exactly what its type says: nothing missing, nothing more."""
    if kind is None:
        return
    again = _converter.unstructure(_converter.structure(message, kind))
    assert pruned(again) == pruned(message), (kind.__name__, message)


def check_request_shape(message: Json) -> None:
    check_shape(message, types.METHOD_TO_TYPES.get(message["method"], (None,))[0])


def check_reply_shape(method: str, message: Json) -> None:
    assert ("result" in message) != ("error" in message), message
    if "error" in message:
        check_shape(message, types.ResponseErrorMessage)
        assert message["error"]["message"].endswith("."), message
        assert "Traceback" not in message["error"]["message"]
    elif method == "textDocument/codeAction":  # lsprotocol takes every action with a command for a Command
        for action in message["result"] or ():
            check_shape(action, types.Command if isinstance(action.get("command"), str) else types.CodeAction)
    else:
        check_shape(message, types.METHOD_TO_TYPES.get(method, (None, None))[1])


def check_edit(edit: Json, can: Json) -> None:
    """The edit uses only what the client declared, and every annotation exactly as it is defined."""
    takes = at(can, "workspace.workspaceEdit") or {}
    if takes.get("documentChanges"):
        assert "changes" not in edit
        used = {e.get("annotationId") for change in edit["documentChanges"] for e in change["edits"]}
        uris = [change["textDocument"]["uri"] for change in edit["documentChanges"]]
        assert len(uris) == len(set(uris)), uris
    else:
        assert "documentChanges" not in edit
        used = {e.get("annotationId") for edits in edit["changes"].values() for e in edits}
    defined = set(edit.get("changeAnnotations") or {})
    assert used - {None} == defined
    assert not defined or "changeAnnotationSupport" in takes
    assert not defined or None not in used


def check_action(action: Json, can: Json, server: Json) -> None:
    """A literal only for clients that take literals; its kind was announced; tagged only where that is
    shown."""
    literal = at(can, "textDocument.codeAction.codeActionLiteralSupport")
    assert isinstance(action.get("command"), str) == (not literal), action
    if not literal:
        return
    assert action["kind"] in at(server, "codeActionProvider.codeActionKinds")
    assert "edit" in action or "command" in action
    assert ("tags" in action) == bool(at(can, "textDocument.codeAction.tagSupport"))


def check_result(message: Json, params: Json, method: str, can: Json, server: Json) -> None:
    """Results whose rules the types do not know."""
    result = message.get("result")
    if method == "textDocument/codeAction":
        for action in result or ():
            check_action(action, can, server)
    items = result.get("items", ()) if isinstance(result, dict) else ()
    where = params.get("position") if isinstance(params, dict) else None
    for item in items:
        range_ = item.get("range") or item["textEdit"]["range"]
        start, end = range_["start"], range_["end"]
        assert start["line"] == end["line"] == where["line"], (
            "a completion's range stands on the cursor's line"
        )
        assert start["character"] <= where["character"]
        assert end["character"] >= where["character"] or start == end, (
            "only a position past the line's end is moved"
        )
        if method == "textDocument/completion":
            kinds = at(can, "textDocument.completion.completionItem.documentationFormat") or ()
            assert isinstance(item["documentation"], str) or item["documentation"]["kind"] in kinds
            assert "\n" not in item["label"]
