"""The command `icemapper`: options to keywords, results to lines. Everything heavy is imported inside a command."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Final

from cyclopts import CycloptsError

from icemapper_xr import progress, redact

# Each of these modules adds its commands to the application when it is imported.
from icemapper_xr.cli import catalogs, inventory, learning, mapping, results, running, simulation, weights  # noqa: F401
from icemapper_xr.cli._app import app, one_line
from icemapper_xr.errors import IcemapperError

__all__ = ["app", "main"]

_TERMINATED: Final = 128 + signal.SIGTERM
"""Exit code that a shell gives a command that SIGTERM ended."""
_BURST: Final = 10.0
"""Seconds after SIGTERM in which another one, as schedulers send, does not cut off the cleaning up."""
_GOES_ON: Final = "the same command again goes on where it was (of `train`: with --resume)"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; a mistake of the user's is one line and exit code 2, never a traceback."""
    progress.enable(sys.stderr.isatty() or "ICEMAPPER_PROGRESS" in os.environ)
    # TensorFlow's start-up messages say nothing to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if isinstance(sys.stdout, io.TextIOWrapper):  # names that its encoding lacks; standard error is like that anyway
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.showwarning = lambda message, *_, **__: print(
        f"warning: {redact.text(one_line(message))}", file=sys.stderr
    )
    for noisy in (DeprecationWarning, FutureWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", noisy)
    try:
        with _ended_in_order():
            app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except (IcemapperError, CycloptsError) as error:
        _fail(one_line(error), 2)
    except KeyboardInterrupt:
        _fail(f"stopped; {_GOES_ON}", 130)
    except SystemExit as error:
        if error.code == _TERMINATED:
            _fail(f"stopped by SIGTERM; {_GOES_ON}", _TERMINATED)
        raise
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(0) from None
    except Exception as error:
        if "ICEMAPPER_DEBUG" in os.environ:
            raise
        if isinstance(error, OSError) and error.filename is not None:
            reason = error.strerror or type(error).__name__
            _fail(f"{error.filename} cannot be read or written ({reason}): name another path or mend its rights", 2)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):  # standard output has no name
            _fail(f"what was to be written does not fit ({error.strerror}): make room on the disk of the output", 2)
        if isinstance(error, MemoryError):
            reason = one_line(error) or type(error).__name__
            _fail(f"the memory does not suffice ({reason}): take a smaller area, size or batch", 2)
        _fail(
            f"{type(error).__name__}: {one_line(error)} (a defect of icemapper or of a library it uses; "
            "ICEMAPPER_DEBUG=1 shows where)",
            1,
        )


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM, which SLURM sends at the time limit, end the command as Ctrl-C does: nothing half written stays."""
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # somebody else has a say in it
        yield
        return
    process, last = os.getpid(), -_BURST

    def end(*_: object) -> None:
        nonlocal last
        if os.getpid() != process:  # a fork: what its parent has begun is not its own to clean up
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        now = time.monotonic()
        if now - last >= _BURST:
            last = now
            raise SystemExit(_TERMINATED)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if last < 0:  # else the process ends, and another one must not cut off what it says
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _fail(message: str, code: int) -> None:
    print(f"icemapper: {redact.text(message)}", file=sys.stderr)
    raise SystemExit(code)
