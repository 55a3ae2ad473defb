"""What this editor can do: read once from `initialize`, so that no other file looks at capabilities.

Five things a client may say in `initializationOptions`, besides the settings of section `glm-lsp`:
`{"results": true}`: its own code runs our commands and shows what they return, so that an explanation comes
back as the command's result and opens no document. `{"quickCommands": true}`: answer commands at once and
go on under progress, as is done for Helix, which gives up on a request after 20 seconds. `{"prompts":
true}`: it asks its user for the instruction of a `glm-lsp.refactor` command that carries none, as ours for
VS Code and Neovim do. `{"inlineReady": true}`: it asks for a completion again when `glm/inlineReady` says so.
`{"statusChanges": true}`: it is told by `glm/statusChanged` when `glm-lsp/status` has another answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from lsprotocol import types

from glm_lsp.lsp.positions import Encoding

SECTION = "glm-lsp"
OWN_OPTIONS = frozenset({"results", "quickCommands", "prompts", "inlineReady", "statusChanges"})
_PROMPTING = ("visual studio code", "code-server", "vscodium", "neovim")


@dataclass(frozen=True, slots=True)
class Client:
    """Capabilities and habits of the editor at the other end."""

    name: str = ""
    version: str = ""
    encoding: Encoding = Encoding.UTF16
    inline_completion: bool = False
    hover: bool = False
    apply_edit: bool = False
    document_changes: bool = False
    """It takes versioned edits."""
    change_annotations: bool = False
    edit_metadata: bool = False
    progress: bool = False
    show_document: bool = False
    configuration: bool = False
    """It answers `workspace/configuration`."""
    register_configuration: bool = False
    register_files: bool = False
    tells_of_files: bool = False
    """It tells of files that other programs change."""
    workspace_folders: bool = False
    action_literals: bool = False
    llm_tag: bool = False
    markdown_documentation: bool = False
    returns_results: bool = False
    quick_commands: bool = False
    prompts: bool = False
    inline_ready: bool = False
    status_changes: bool = False


DEFAULT_CLIENT = Client()


def client_of(params: types.InitializeParams) -> Client:
    """Read `params`; what is missing is not supported."""
    can = params.capabilities
    workspace = can.workspace or types.WorkspaceClientCapabilities()
    document = can.text_document or types.TextDocumentClientCapabilities()
    window = can.window or types.WindowClientCapabilities()
    edit = workspace.workspace_edit or types.WorkspaceEditClientCapabilities()
    action = document.code_action or types.CodeActionClientCapabilities()
    item = document.completion.completion_item if document.completion else None
    name = params.client_info.name if params.client_info else ""
    options = options_of(params)
    return Client(
        name=name,
        version=(params.client_info.version or "") if params.client_info else "",
        encoding=_encoding(can.general.position_encodings if can.general else None),
        inline_completion=document.inline_completion is not None,
        hover=document.hover is not None,
        apply_edit=bool(workspace.apply_edit),
        document_changes=bool(edit.document_changes),
        change_annotations=bool(edit.document_changes) and edit.change_annotation_support is not None,
        edit_metadata=bool(edit.metadata_support),
        progress=bool(window.work_done_progress),
        show_document=bool(window.show_document and window.show_document.support),
        configuration=bool(workspace.configuration),
        register_configuration=_registers(workspace.did_change_configuration),
        register_files=_registers(workspace.did_change_watched_files),
        # Helix takes the registration, and tells of the files that it writes itself.
        tells_of_files=_registers(workspace.did_change_watched_files) and name.lower() != "helix",
        workspace_folders=bool(workspace.workspace_folders),
        action_literals=action.code_action_literal_support is not None,
        llm_tag=action.tag_support is not None
        and types.CodeActionTag.LlmGenerated in action.tag_support.value_set,
        markdown_documentation=types.MarkupKind.Markdown in ((item and item.documentation_format) or ()),
        returns_results=options.get("results") is True,
        quick_commands=options.get("quickCommands") is True or name.lower() == "helix",
        prompts=options.get("prompts", name.lower().startswith(_PROMPTING)) is True,
        inline_ready=options.get("inlineReady") is True,
        status_changes=options.get("statusChanges") is True,
    )


def options_of(params: types.InitializeParams) -> Mapping[str, Any]:
    """`initializationOptions`, or nothing where it is no object."""
    options: object = params.initialization_options
    return cast("Mapping[str, Any]", options) if isinstance(options, Mapping) else {}


def settings_of(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings in `initializationOptions`: under the section's name, or bare."""
    section: object = options.get(SECTION)
    if isinstance(section, Mapping):
        return cast("Mapping[str, Any]", section)
    return {name: value for name, value in options.items() if name not in OWN_OPTIONS and name != SECTION}


def _registers(capability: Any) -> bool:
    return bool(capability is not None and capability.dynamic_registration)


def _encoding(offered: Sequence[str] | None) -> Encoding:
    """What the client offers first, which costs it least; UTF-16 where it offers none, as is demanded."""
    known = {encoding.value: encoding for encoding in Encoding}
    return next((known[name] for name in offered or () if name in known), Encoding.UTF16)
