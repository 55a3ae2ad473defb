"""What a request that fails is answered with: the protocol's code for an error of ours, and a sentence."""

from __future__ import annotations

import cattrs
from lsprotocol import types

from glm_lsp.core.errors import ConflictError, GlmError, UsageError

Code = types.ErrorCodes | types.LSPErrorCodes


class RequestError(GlmError):
    """A request that is answered with this protocol error."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def code_of(error: GlmError) -> Code:
    """The protocol error for an error of ours."""
    if isinstance(error, RequestError):
        return error.code
    if isinstance(error, UsageError):
        return types.ErrorCodes.InvalidParams
    if isinstance(error, ConflictError):
        return types.LSPErrorCodes.ContentModified
    return types.LSPErrorCodes.RequestFailed


def reason_of(error: Exception) -> str:
    """One sentence about parameters that do not have the protocol's shape."""
    if isinstance(error, RecursionError):
        return "the parameters are nested too deeply."
    try:
        reasons = cattrs.transform_error(error)
    except Exception:  # it knows the converter's own exceptions only
        reasons = [str(error) or type(error).__name__]
    return f"the parameters are invalid: {'; '.join(reasons)[:400]}."
