"""GLM's chat and fill-in-the-middle templates, written out: a model file's own template is never executed.

Source: the published chat templates of GLM-5.2, 4.7 and 4.6. Thinking off carries no effort line; toggling it
changes the tokens right after `<sop>` and so throws away the whole reusable prefix: one mode per trunk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby

from glm_lsp.core.errors import UsageError
from glm_lsp.core.generation import Form, Prompt, Role, Segment, Thinking

END_TOKENS = ("<|endoftext|>", "<|user|>", "<|observation|>")
SPECIAL_TOKENS = (
    *("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>", "<think>", "</think>", "/nothink"),
    *("<|code_prefix|>", "<|code_middle|>", "<|code_suffix|>"),
    *("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    *("<tool_response>", "</tool_response>"),
)


class TemplateName(StrEnum):
    GLM_5_2 = "glm-5.2"
    GLM_4_7 = "glm-4.7"
    GLM_4_6 = "glm-4.6"


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of prompt text. Special tokens are recognised in it only where `special`; user text never is."""

    text: str
    special: bool = False


def render(prompt: Prompt, thinking: Thinking = Thinking.OFF, template: str = "glm-5.2") -> tuple[Piece, ...]:
    """Return the pieces to tokenise, in order; each is tokenised by itself, so prefixes stay stable.

    Raises UsageError for an unknown template, or for a prefilled answer together with thinking.
    """
    if prompt.form is Form.FIM:
        return _render_fim(prompt)
    if template not in set(TemplateName):
        raise UsageError(f"There is no chat template '{template}'; choose one of {', '.join(TemplateName)}.")
    if prompt.prefill and thinking is not Thinking.OFF:
        raise UsageError("An answer can be started for the model only with thinking off.")
    newline = "\n" if template == TemplateName.GLM_4_6 else ""
    pieces = [Piece("[gMASK]<sop>", special=True)]
    if template == TemplateName.GLM_5_2 and thinking is not Thinking.OFF:
        pieces += [Piece("<|system|>", special=True)]
        pieces += [Piece(f"Reasoning Effort: {'High' if thinking is Thinking.HIGH else 'Max'}")]
    if system := [Piece(s.text) for s in prompt.segments if s.role is Role.SYSTEM and s.text]:
        pieces += [Piece("<|system|>" + newline, special=True), *system]
    said = [s for s in prompt.segments if s.role is not Role.SYSTEM and s.text]
    turns = [(role, [s.text for s in turn]) for role, turn in groupby(said, key=lambda s: s.role)]
    if not turns or turns[0][0] is Role.ASSISTANT:
        turns.insert(0, (Role.USER, []))
    if turns[-1][0] is Role.USER:
        turns.append((Role.ASSISTANT, []))
    for number, (role, texts) in enumerate(turns, 1):
        if role is Role.USER:
            pieces.append(Piece("<|user|>" + newline, special=True))
            pieces += [Piece(text) for text in texts]
            if template == TemplateName.GLM_4_6 and thinking is Thinking.OFF:
                pieces.append(Piece("/nothink", special=True))
        else:
            # What the model has thought in earlier turns is left out by the published templates too.
            mode = thinking if number == len(turns) else Thinking.OFF
            pieces.append(Piece("<|assistant|>" + _think(template, mode), special=True))
            pieces += [Piece(text) for text in texts]
    return tuple(pieces)


def trunk_pieces(prompt: Prompt, thinking: Thinking = Thinking.OFF, template: str = "glm-5.2") -> int:
    """Return how many of `render`'s pieces, the first ones, belong to the prompt's trunk."""
    shared = prompt.segments[: prompt.trunk_segments]
    if not shared:
        return 0
    after = Segment(Role.USER, "\0")
    pieces = render(replace(prompt, segments=(*shared, after)), thinking, template)
    return pieces.index(Piece(after.text))


def _think(template: str, thinking: Thinking) -> str:
    off = thinking is Thinking.OFF
    match template:
        case TemplateName.GLM_4_7:
            return "</think>" if off else "<think>"
        case TemplateName.GLM_4_6:
            return "\n<think></think>\n" if off else ""
        case _:
            return "<think></think>" if off else "<think>"


def _render_fim(prompt: Prompt) -> tuple[Piece, ...]:
    """Prefix, suffix, middle, the order in which the three tokens are named in GLM's vocabulary."""
    before = [Piece(s.text) for s in prompt.segments if s.role in (Role.USER, Role.ASSISTANT) and s.text]
    return (
        Piece("<|code_prefix|>", special=True),
        *before,
        Piece("<|code_suffix|>", special=True),
        Piece(prompt.suffix),
        Piece("<|code_middle|>", special=True),
    )
