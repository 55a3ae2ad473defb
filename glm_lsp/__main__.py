"""The front door: `serve` is the editor's, everything else is the terminal's.

The verbs stand here with their one-line help, so that `--help` and `--version` import next to nothing; the
module of a verb is imported when it is called.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from glm_lsp import __version__

VERBS: dict[str, tuple[str, str]] = {
    "serve": ("glm_lsp.lsp.serve", "Speak LSP over stdin and stdout, for editors."),
    "demo": ("glm_lsp.cli.demo", "Show everything on this repository, offline, with the bundled model."),
    "refactor": ("glm_lsp.cli.refactor", "Propose, check or write a refactor over files."),
    "complete": ("glm_lsp.cli.complete", "Complete the code at FILE:LINE:COL."),
    "context": ("glm_lsp.cli.context", "Show what a prompt for a place or a task would be made of, and why."),
    "replay": (
        "glm_lsp.cli.replay",
        "Replay an edit session: the tokens that an engine would evaluate, prompt by prompt.",
    ),
    "index": ("glm_lsp.cli.index", "Index a directory and say what was found and skipped."),
    "settings": ("glm_lsp.cli.settings", "Show every setting, its value and where the value comes from."),
    "engines": ("glm_lsp.cli.engines", "Show which engine serves which work, and why."),
    "cache": ("glm_lsp.cli.cache", "Show or clear what is kept on the disk to save time."),
    "worker": ("glm_lsp.cli.worker", "Show what the machine's workers do, or stop them."),
    "doctor": ("glm_lsp.cli.doctor", "Say what is installed, what is missing and the line that mends it."),
}


def overview() -> str:
    """The text of `glm-lsp --help`."""
    width = max(map(len, VERBS)) + 2
    verbs = "".join(f"  {name:{width}}{text}\n" for name, (_, text) in VERBS.items())
    return (
        "usage: glm-lsp VERB [arguments]\n\n"
        "A language server and command line that make GLM-5.2 practical where the code is.\n\n"
        f"verbs:\n{verbs}\n"
        "options, after any verb:\n"
        "  --set SECTION.KEY=VALUE  a setting for this call; may stand several times\n"
        "  --debug                  show where an error comes from\n"
        "  --help, --version\n\n"
        "`glm-lsp VERB --help` explains a verb.\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; only `--help` and wrong arguments leave by SystemExit."""
    _open_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    first = arguments[0] if arguments else ""
    if first in ("-h", "--help"):
        return _say(overview())
    if first in ("-V", "--version"):
        return _say(f"glm-lsp {__version__}\n")
    if first not in VERBS:
        import difflib  # noqa: PLC0415 (only for a mistake)

        near = difflib.get_close_matches(first, VERBS, 1)
        said = f"There is no verb {first!r}" if first else "No verb was given"
        hint = f"did you mean `glm-lsp {near[0]}`?" if near else "`glm-lsp --help` lists them."
        sys.stderr.write(f"glm-lsp: {said}; {hint}\n")
        return 2
    _speak_utf8()
    try:
        from glm_lsp.cli import door  # noqa: PLC0415

        return door.run(VERBS[first][0], first, arguments[1:])
    except KeyboardInterrupt:  # while it was starting
        sys.stderr.write(f"glm-lsp {first}: interrupted before it was done.\n")
        return 130


def _open_streams() -> None:
    """What our caller has closed is empty and takes everything; no socket or file gets its number later."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest number that is free, which is the one of this stream.
            handle = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(handle, True)
            setattr(sys, name, open(handle, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _say(text: str) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would complain once more
        sys.stderr.write(f"glm-lsp: The text could not be written to stdout: {error.strerror or error}.\n")
        return 2
    return 0


def _speak_utf8() -> None:
    """Paths and code are UTF-8 whatever the locale says; what cannot be encoded is escaped, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
