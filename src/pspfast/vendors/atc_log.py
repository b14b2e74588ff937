"""What ATC prints: whether it succeeded, its errors in the three styles of its versions, and what they are about."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["FAILURE", "SUCCESS", "Log", "Message", "family", "read_log"]

SUCCESS = "ATC run success"
FAILURE = "ATC run failed"


@dataclass(frozen=True, slots=True)
class Message:
    """An error or warning of ATC's.

    Attributes:
        code: e.g. ``"E10001"``; empty where it has none.
        text: in one line.
        cause, solution: as ATC says; may be empty.
        meaning: what errors of this kind are about; may be empty.
    """

    code: str
    text: str
    cause: str = ""
    solution: str = ""
    meaning: str = ""

    def __str__(self) -> str:
        head = f"{self.code}: {self.text}" if self.code else self.text
        parts = [("which is about", self.meaning), ("possible cause:", self.cause), ("solution:", self.solution)]
        return "\n".join([head, *(f"  {what} {text}" for what, text in parts if text)])


@dataclass(frozen=True, slots=True)
class Log:
    """What ATC printed: whether it says that it succeeded, or failed, and why. The first error is the one to mend."""

    succeeded: bool
    failed: bool
    errors: tuple[Message, ...]
    warnings: tuple[Message, ...]


_CODE = r"[EW](?:\d{5}|[A-Z]\d{3,4})"
_STAMP = r"\[PID:\s*\d+\]\s*(?:[\d\-:.]{8,}\s+)?"
_STYLES = (
    # Newest: [PID: 1] time Title(E10001): text
    re.compile(rf"^\s*(?:{_STAMP})?(?P<title>[^()]*)\((?P<code>{_CODE})\):\s*(?P<text>.*)"),
    # 8.x: E10001: [PID: 1] time text; before: E10001: text
    re.compile(rf"^\s*(?:\[?(?:ERROR|WARNING)\]?:?\s+)?(?P<code>{_CODE}):\s*(?:{_STAMP})?(?P<text>.*)"),
    re.compile(rf"^(?P<text>.*\b(?P<code>{_CODE})\b.*)"),
)
_PART = re.compile(r"^\s+(?:\[?)(Possible Cause|Solution|TraceBack[^:]*)(?:\]?)\s*:\s*(.*)", re.IGNORECASE)
_WITHOUT_CODE = (
    (
        re.compile(r"ERROR: unknown command line flag '([^']*)'"),
        "a flag that this version of ATC does not know; leave it out, or use a newer CANN",
    ),
    (
        re.compile(r"ModuleNotFoundError: No module named '([^']*)'"),
        "a Python module that CANN needs: pip install it for the python3 that is first in PATH",
    ),
    (
        re.compile(r"error while loading shared libraries: ([^:]*)"),
        "a library that LD_LIBRARY_PATH does not lead to: source CANN's set_env.sh; on a host without NPU add "
        "<toolkit>/<arch>-linux/devlib",
    ),
)

_NO_PARSER = "an operator that has no parser: another opset (pspfast export --opset 11), or simplify the model"
_NO_OPERATOR = (
    "an operator that this CANN does not have: another opset or another form of it in the model (pspfast doctor names "
    "those that no list has), or a newer CANN"
)
_NO_KERNEL = (
    "an operator that this chip does not have, or not in these types and shapes: is the ops package of the chip "
    "installed? Else another form of it in the model (pspfast doctor), or a newer CANN"
)

# The longest beginning of a code that is here tells what it is about.
_FAMILIES = {
    "E10": "arguments and shapes",
    "E10001": "a value that the flag does not take",
    "E10002": "the form of --input_shape: name:n,c,h,w",
    "E10004": "an empty value",
    "E10007": "--framework",
    "E10010": "the level of --log",
    "E10011": "a dimension that is not positive",
    "E10016": "a node that is not in the model: look at the names of its inputs",
    "E10040": "a dynamic size without -1 in --input_shape",
    "E10041": "a model that cannot be loaded",
    "E10049": "a shape with more or fewer dimensions than the input has",
    "E10052": "the AIPP file",
    "E10054": "a flag that has to be there, such as --soc_version",
    "E10055": "something that is not supported",
    "E10410": "a file that cannot be read",
    "E10501": "an operator that is not registered: a newer CANN, or another form of it in the model",
    "E11": "Caffe models",
    "E12": "TensorFlow models",
    "E13": "files and operators",
    "E14": "an operator's parameters",
    "E16": "the ONNX model",
    "E16001": "a node that is not in the ONNX model",
    "E16002": _NO_PARSER,
    "E16005": "an ONNX model with several versions of one set of operators",
    "E19": "ATC itself, as a rule about one operator or about the installation",
    "E19010": _NO_PARSER,
    "E2": "fusing and compiling operators: is the ops package of the target chip installed?",
    "E4": "compiling operators: the Python environment of CANN",
    "EC": "compiling operators: the Python environment of CANN",
    "EC0010": "a Python module that CANN needs: pip install it for the python3 that is first in PATH, and source "
    "set_env.sh of the same CANN",
    "EZ": "an operator's own code",
    "EZ0501": _NO_OPERATOR,
    "EZ3002": _NO_KERNEL,
    "EZ3003": _NO_KERNEL,
    "EZ9010": _NO_PARSER,
    "EE": "the runtime",
    "EH": "the acl interface",
    "EP": "dumping data",
    "EK": "profiling",
    "EL": "the driver",
    "W11001": "an operator without a fast form for this chip: it may be slow",
    "W11": "operators without a fast form",
}


def family(code: str) -> str:
    """What errors of a code are about; empty if that is not known.

    Example:
        >>> family("E10002"), family("E10999")
        ('the form of --input_shape: name:n,c,h,w', 'arguments and shapes')
    """
    known = [start for start in _FAMILIES if code.startswith(start)]
    return _FAMILIES[max(known, key=len)] if known else ""


def read_log(text: str) -> Log:
    """Read what ATC printed; errors come in three styles, by version, and some without a code."""
    succeeded = failed = False
    found: list[tuple[str, dict[str, str]]] = []
    part = ""
    for line in text.splitlines():
        # With ASCEND_SLOG_PRINT_TO_STDOUT the log itself is here, whose lines name codes of every kind.
        is_log = re.match(r"\s*\[(ERROR|WARNING|INFO|DEBUG|EVENT|TRACE)\]\s*\w+\(", line) is not None
        succeeded = succeeded or SUCCESS in line
        failed = failed or FAILURE in line
        if is_log or SUCCESS in line or FAILURE in line:
            part = ""
            continue
        if found and (heading := _PART.match(line)):
            part = heading[1].lower().replace("possible ", "").partition(" ")[0]
            if part in ("cause", "solution"):
                found[-1][1][part] = heading[2].strip()
            continue
        new = _message(line)
        if new is not None and part == "traceback" and line[:1].isspace():
            continue  # what the traceback goes through, not another error
        if new is not None:
            found.append(new)
            part = "text"
        elif found and part in ("cause", "solution", "text") and line[:1].isspace() and line.strip():
            known = found[-1][1]
            known[part] = f"{known.get(part, '')} {line.strip()}".strip()
        elif not line[:1].isspace():
            part = ""
    messages = [Message(code, meaning=known.pop("meaning", "") or family(code), **known) for code, known in found]
    messages = list({(message.code, message.text): message for message in reversed(messages)}.values())[::-1]
    return Log(
        succeeded,
        failed,
        tuple(message for message in messages if not message.code.startswith("W")),
        tuple(message for message in messages if message.code.startswith("W")),
    )


def _message(line: str) -> tuple[str, dict[str, str]] | None:
    for style in _STYLES:
        if found := style.match(line):
            title = found.groupdict().get("title") or ""
            text = found["text"].strip()
            return found["code"], {"text": f"{title.strip()}: {text}" if title.strip() else text}
    for form, meaning in _WITHOUT_CODE:
        if found := form.search(line):
            return "", {"text": line.strip(), "meaning": meaning}
    return None
