"""The exception tree. Every message is a sentence: what happened, where, what to do.

    GlmError
    ├── UsageError        the request itself is wrong (position past the end, unknown verb, bad setting)
    ├── ConfigError       a settings file, profile or model file cannot be used
    ├── BudgetError       the least that must be sent does not fit the budget
    ├── SpentError        the time or the tokens that somebody gave are used up
    ├── PolicyError       refused on purpose: path, secret, protected file
    ├── ConflictError     the file changed under us, or somebody else holds the lock
    └── EngineError       the engine cannot answer
        ├── EngineUnavailable   refused, missing, out of credit: asking again at once is useless
        │   └── ModelFileError  the model file is damaged, cut off or of another kind (a ConfigError too)
        ├── EngineDied          the worker or the connection ended in the middle; asking again may help
        ├── EngineStalled       no progress for longer than the stall time-out
        └── PromptTooLong       the engine counted more tokens than it takes

Expected outcomes (a refused edit, a file that cannot be parsed) are values, not exceptions.
"""

NOTICES = "glm_lsp.notices"
"""The log of what went wrong and went on all the same. Whoever serves a person shows it."""


class GlmError(Exception):
    """Base of every error this package raises on purpose; `str(error)` is fit to be shown."""


class UsageError(GlmError):
    """The request cannot be served as it was made."""


class ConfigError(GlmError):
    """A settings file, model profile or model file cannot be used."""


class BudgetError(GlmError):
    """What must be in the prompt does not fit the budget."""


class SpentError(GlmError):
    """The time or the tokens that somebody gave are used up; what was done until then stands."""


class PolicyError(GlmError):
    """Refused on purpose."""


class ConflictError(GlmError):
    """The world changed between plan and action."""


class EngineError(GlmError):
    """The engine cannot answer."""


class EngineUnavailable(EngineError):  # noqa: N818 (reads as the state that it is)
    """The engine is missing, refused or out of credit; asking again at once is useless."""


class ModelFileError(EngineUnavailable, ConfigError):
    """The model file cannot be used, so its engine cannot serve."""


class EngineDied(EngineError):  # noqa: N818
    """The engine ended in the middle of an answer; asking again may help."""


class EngineStalled(EngineError):  # noqa: N818
    """No progress for longer than the stall time-out."""


class PromptTooLong(EngineError):  # noqa: N818
    """The engine counted more prompt tokens than it takes.

    `counted` and `taken` are its figures, 0 where it does not say; `taken` may have to hold the reply too.
    """

    def __init__(self, message: str, counted: int = 0, taken: int = 0) -> None:
        super().__init__(message)
        self.counted, self.taken = counted, taken
