"""`python -P -m glm_lsp.engines.worker SLOT`: become that slot's worker, unless there is one.

Two processes. The keeper takes the lock, starts the worker proper, waits for it and writes down how it ended,
which a crashed process cannot do itself. The worker loads llama.cpp and serves the socket. Both have left
whoever started them.
"""

from __future__ import annotations

import os
import signal
import sys

from glm_lsp.core.errors import EngineUnavailable
from glm_lsp.engines import rendezvous
from glm_lsp.engines.worker import INSTALL


def main(arguments: list[str]) -> int:
    if not 1 <= len(arguments) <= 2 or arguments[0] not in rendezvous.SLOTS:
        sys.stderr.write(f"usage: python -m glm_lsp.engines.worker {'|'.join(rendezvous.SLOTS)}\n")
        return 2
    try:
        at = rendezvous.place(arguments[0])
        if len(arguments) == 1:
            from glm_lsp.engines.worker.keeper import keep  # noqa: PLC0415

            return keep(at)
    except EngineUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return _work(at)


def _work(at: rendezvous.Place) -> int:
    os.umask(0o077)
    # Native code prints where it likes: from here on that is the log, and only we know the keeper's pipe.
    beats = os.dup(1)
    os.dup2(2, 1)
    # Ctrl+C in a terminal is for those in its foreground; closing it must not end what others use.
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # Before the native libraries load: spinning threads ruin shared cores, and a failed assertion starts gdb.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    from glm_lsp.engines.worker.keeper import FAREWELL  # noqa: PLC0415
    from glm_lsp.engines.worker.listener import Listener  # noqa: PLC0415
    from glm_lsp.engines.worker.scheduler import Scheduler  # noqa: PLC0415

    scheduler = Scheduler()
    # It answers from now on: the libraries below may take seconds to load.
    try:
        listener = Listener(at, beats, scheduler)

        def end(_number: int, _frame: object) -> None:
            listener.end("The worker was ended by SIGTERM, from outside.")

        signal.signal(signal.SIGTERM, end)
        listener.start()
    except OSError as error:
        reason = f"The worker cannot listen at {at.socket} ({error.strerror or error})."
        sys.stderr.write(f"{reason}\n")
        os.write(beats, f"{FAREWELL} EngineUnavailable {reason}\n".encode())
        return 1
    try:
        from glm_lsp.engines.worker.serve import Server  # noqa: PLC0415
    except (ImportError, OSError, RuntimeError) as error:
        reason = f"llama-cpp-python cannot be used here ({error}). Install it: {INSTALL}"
        listener.end(reason, kind="EngineUnavailable")
        listener.finish()
        return 0
    return Server(listener, scheduler).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
