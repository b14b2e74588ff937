"""AscendCL as pyACL gives it: initialised once in this process, and called with its codes checked."""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pspfast.runtimes.acl_codes import REPEATED_INIT, AclFault, explain
from pspfast.runtimes.runtime import RuntimeFault
from pspfast.system.cann_places import cann_places, how_to_enter
from pspfast.system.libraries import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

__all__ = ["AclCalls", "AclLibrary", "initialised_library"]


def _how_to_install() -> str:
    """Where pyACL comes from, and the line that enters the CANN of this machine, if there is one."""
    there = next((place for place in cann_places() if os.path.isdir(place)), None)
    if there is not None:
        return (
            f"pyACL comes with CANN, not from PyPI; it is installed in {there}: type `{how_to_enter(there)}` in this "
            "shell, and run the command again"
        )
    return (
        "pyACL comes with CANN, not from PyPI: install it, `source /usr/local/Ascend/ascend-toolkit/set_env.sh` "
        "(from 8.5 on /usr/local/Ascend/cann/set_env.sh) in this shell, and run the command again"
    )


class AclLibrary:
    """AscendCL, initialised once in this process, for all runtimes.

    It is closed when the process ends: older versions cannot be initialised a second time.
    """

    def __init__(self, acl: Any) -> None:
        self.acl = acl
        self._process = os.getpid()
        code = acl.init()
        if code not in (0, REPEATED_INIT):
            raise self.fault("", "acl.init", code, "")
        # Somebody else's, e.g. torch_npu's: theirs are the finalizing and the contexts of the threads.
        self.is_ours = code == 0
        self._is_final = False

    def fault(self, where: str, call: str, code: int, what: str) -> AclFault:
        """What a code is told as."""
        start = f"{where}: " if where else ""
        about = f" ({what})" if what else ""
        return AclFault(f"{start}{call}{about} gave {code}: {explain(code)}{self.last_words()}", call, code)

    def last_words(self) -> str:
        """What AscendCL has to say about the last failure in this thread, if it can."""
        try:
            said = self.acl.get_recent_err_msg()  # not in older versions
        except (AttributeError, TypeError, ValueError):
            return ""
        text = next((one for one in (said if isinstance(said, tuple) else (said,)) if isinstance(one, str)), "")
        return f"; AscendCL says: {text.strip()}" if text.strip() else ""

    def check_process(self) -> None:
        """Refuse a fork, and what comes behind the end."""
        if os.getpid() != self._process:
            raise RuntimeFault("AscendCL does not outlive a fork: start processes with multiprocessing's 'spawn'")
        if self._is_final:
            raise RuntimeFault("AscendCL has been closed in this process")

    @contextmanager
    def context_kept(self) -> Iterator[None]:
        """Give a thread its context back that others rely on."""
        if self.is_ours:
            yield
            return
        before, code = self.acl.rt.get_context()
        try:
            yield
        finally:
            if code == 0 and before:
                self.acl.rt.set_context(before)

    def finalize(self) -> None:
        """At the end of the process, when the models are closed."""
        if self._is_final or os.getpid() != self._process:
            return
        self._is_final = True
        if self.is_ours:
            self.acl.finalize()
        elif hasattr(self.acl, "finalize_reference"):  # there, even a repeated init counts
            self.acl.finalize_reference()


_libraries: list[AclLibrary] = []
_initialising = threading.Lock()


def initialised_library() -> AclLibrary:
    """AscendCL.

    Raises:
        MissingExtra: it is not installed here.
        AclFault: it cannot be initialised.
    """
    try:
        acl = import_module("acl")
    except ImportError as error:
        message = f"this needs pyACL, whose module acl cannot be imported ({error}); {_how_to_install()}"
        raise MissingExtra(message) from error
    if not (hasattr(acl, "rt") and hasattr(acl, "mdl")):
        file = getattr(acl, "__file__", None)
        raise MissingExtra(f"this needs pyACL, but {file} is another module of the name acl; {_how_to_install()}")
    with _initialising:
        if not _libraries or _libraries[-1].acl is not acl:
            library = AclLibrary(acl)
            _libraries.append(library)
            atexit.register(library.finalize)
        library = _libraries[-1]
    library.check_process()
    return library


class AclCalls:
    """Calls for one model: a code that is not 0 becomes an error, which says what it was about.

    Args:
        library: what is called.
        where: begins every message.

    Attributes:
        acl: the module.
        unreleased: what could not be released, a text each.
    """

    def __init__(self, library: AclLibrary, where: str) -> None:
        self.acl = library.acl
        self._library, self._where = library, where
        self.unreleased: list[str] = []

    def later(self, stack: ExitStack, call: str, release: Any, handle: int) -> None:
        """Release a handle when the stack is closed."""
        stack.callback(partial(self._release, call, release, handle))

    def _release(self, call: str, release: Any, handle: int) -> None:
        """The rest has to be released as well, so that this only takes note of what fails."""
        code = release(handle)
        if code != 0:
            self.unreleased.append(f"{call} gave {code} ({explain(code)})")

    def done(self, call: str, code: int, what: str = "") -> None:
        """Check what a call gave that gives its code alone."""
        if code != 0:
            raise self._library.fault(self._where, call, code, what)

    def value(self, call: str, given: tuple[Any, int], what: str = "") -> Any:
        """What a call gave besides its code."""
        value, code = given
        self.done(call, code, what)
        return value

    def handle(self, call: str, handle: Any) -> Any:
        """What a call gave that has no code, only a handle that is null, or a name that is empty."""
        if not handle:
            raise RuntimeFault(f"{self._where}: {call} gave nothing{self._library.last_words()}")
        return handle
