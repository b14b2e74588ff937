"""What the numbers mean that AscendCL gives back instead of results."""

from __future__ import annotations

import re

from pspfast.runtimes.runtime import RuntimeFault

__all__ = ["REPEATED_INIT", "AclFault", "codes_in", "explain"]

REPEATED_INIT = 100002

_LOGS = "its log is in ~/ascend/log (ASCEND_GLOBAL_LOG_LEVEL=1 makes it write more)"
_CONVERT = "convert the model again with `pspfast atc`, with the toolkit that is installed here"
_MEMORY = "end other processes on the device (npu-smi info lists them), or take a smaller batch"
_DRIVER = "see whether `npu-smi info` lists the device as OK, and whether driver and firmware fit the toolkit"
_OURS = "this is a fault of pspfast, please report it"

# Code -> what it means, what to do. Names and numbers are those of the headers acl_base_rt.h and rt_error_codes.h.
_CODES = {
    100000: ("a parameter that is not valid", _OURS),
    100001: ("AscendCL is not initialised", "something in this process has called acl.finalize(); start it again"),
    100002: ("AscendCL is initialised already", "something else in this process uses it"),
    100003: ("the file cannot be used", "see that it is a whole .om file that this user may read"),
    100011: ("no such model is loaded", _OURS),
    100012: (
        "the model cannot be read",
        f"the file is damaged, no .om file, or an .om2 (ATC's --mode=7), which this CANN does not load; {_CONVERT}",
    ),
    100013: ("the model cannot be understood", f"it was made by a newer toolkit or is damaged; {_CONVERT}"),
    100014: ("the model file cannot be read", "see that it is whole and that this user may read it"),
    100015: ("the model's size is not what its file says", f"the file was cut short; {_CONVERT}"),
    100017: ("the input does not fit the model", "compare type, shape and batch with those of the model"),
    100018: ("the output does not fit the model", "compare type, shape and batch with those of the model"),
    100019: ("the model has no dynamic batch", "convert it with --dynamic-batch-size, or give it full batches"),
    100037: ("AscendCL was closed twice", "something else in this process closes it, too"),
    100038: ("the model has no static AIPP", "convert it with --insert-op-conf"),
    107000: ("the runtime was given a parameter that is not valid", _OURS),
    107001: ("no such device", "`npu-smi info` lists them; ASCEND_RT_VISIBLE_DEVICES may hide some"),
    107002: ("this thread has no context", _OURS),
    107003: ("a stream of another context", _OURS),
    107019: ("the device did not finish in time", f"it may hang or be overloaded; {_LOGS}"),
    148051: ("something is still in use that was to be released", _OURS),
    200000: ("memory cannot be had", _MEMORY),
    200001: ("this version of AscendCL cannot do that here", "use a newer toolkit"),
    200002: ("the device cannot be used", _DRIVER),
    207001: ("memory cannot be had", _MEMORY),
    207004: ("there is no device", f"{_DRIVER}; in a container it has to be passed through"),
    207018: ("the device has no memory left", _MEMORY),
    300000: ("a limit of storage was reached", _MEMORY),
    500000: ("an internal error of AscendCL", _LOGS),
    500001: ("AscendCL failed", _LOGS),
    500002: ("an error of the graph engine (GE)", f"{_CONVERT}; {_LOGS}"),
    500003: ("an error of the runtime", _LOGS),
    500004: ("an error of the driver", _DRIVER),
    507008: ("the model was made for another chip", "convert it with the --soc-version of this device"),
    507011: ("the model failed on the device", _LOGS),
    507014: ("the AI core did not finish in time", f"the device may need a reset; {_LOGS}"),
    507015: ("the AI core stopped at an error", f"the device may need a reset; {_LOGS}"),
    507018: ("the AI CPU stopped at an error", f"an operator that runs there failed; {_LOGS}"),
    507033: ("the device cannot be set up", f"another process may hold it; {_DRIVER}"),
    507899: ("an internal error of the driver", _DRIVER),
}  # fmt: skip

# First match wins: the first code of the range, the one behind its last, and what holds for all of them.
_FAMILIES = (
    (107000, 108000, "the runtime refuses how it was called", _OURS),
    (207000, 208000, "the runtime lacks something: memory, a device, a stream", _MEMORY),
    (507000, 508000, "the device, its driver or the model failed", f"{_DRIVER}; {_LOGS}"),
    (545000, 546000, "the graph engine (GE) cannot load or run the model", f"{_CONVERT}; {_LOGS}"),
    (100000, 200000, "AscendCL refuses how it was called", _LOGS),
    (200000, 300000, "AscendCL lacks something: memory, a device, a function", _MEMORY),
    (300000, 400000, "a limit of storage was reached", _MEMORY),
    (500000, 600000, "an internal error", _LOGS),
)


class AclFault(RuntimeFault):
    """A call that AscendCL refused, or that failed on the device.

    Attributes:
        call: the function's name.
        code: what it gave back.
    """

    def __init__(self, message: str, call: str, code: int) -> None:
        super().__init__(message)
        self.call = call
        self.code = code


def explain(code: int) -> str:
    """What a code means and what to do about it.

    Example:
        >>> explain(107001)
        'no such device; `npu-smi info` lists them; ASCEND_RT_VISIBLE_DEVICES may hide some'
        >>> explain(507999).partition(";")[0]
        'the device, its driver or the model failed'
    """
    if code in _CODES:
        return "; ".join(_CODES[code])
    for first, end, meaning, advice in _FAMILIES:
        if first <= code < end:
            return f"{meaning}; {advice}"
    return f"no code that is known; {_LOGS}"


def codes_in(text: str) -> list[int]:
    """The codes that a tool's message names, of those that are known here, each once.

    Example:
        >>> codes_in("[ERROR] acl open device 0 failed, ret = 507033")
        [507033]
    """
    return list(dict.fromkeys(code for code in map(int, re.findall(r"(?<!\d)\d{6}(?!\d)", text)) if code in _CODES))
