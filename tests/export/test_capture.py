"""What libraries print is kept back, from C and from Python, and told if they fail."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest

from pspfast.system.captured_output import captured, first_line


def test_nothing_gets_out(capfd: pytest.CaptureFixture[str]) -> None:
    with captured("it"):
        os.write(1, b"from C\n")
        os.write(2, b"from C\n")
        print("from Python")
        warnings.warn("a warning", stacklevel=1)
    print("after")
    assert capfd.readouterr() == ("after\n", "")


def test_a_failure_tells_the_end_of_it(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), captured("the tool"):
        for number in range(40):
            os.write(1, f"line {number}\n".encode())
        warnings.warn("careful", stacklevel=1)
        raise KeyError
    out, err = capfd.readouterr()
    assert not out
    lines = err.splitlines()
    assert lines[0].startswith("the tool printed, the last 30 of ") and "  line 39" in lines and "line 5" not in err
    assert "careful" in err


def test_a_failure_after_silence_tells_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="x"), captured("the tool"):
        raise ValueError("x")
    assert capfd.readouterr() == ("", "")


def test_filters_and_streams_are_as_before() -> None:
    before = sys.stdout, sys.stderr, warnings.showwarning, list(warnings.filters)
    with captured("it"):
        pass
    assert before == (sys.stdout, sys.stderr, warnings.showwarning, list(warnings.filters))


def test_no_descriptor_is_left_open() -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with captured("it"):
            print("x")
    assert os.listdir("/proc/self/fd") == before


def test_closed_streams_do_no_harm() -> None:
    code = "from pspfast.system.captured_output import captured\nwith captured('it'): print('x')\nprint('after')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "after\n"


@pytest.mark.parametrize(("text", "line"), [("\n a\nb", "a"), ("", "ValueError"), (" \n", "ValueError")])
def test_the_first_line_is_never_empty(text: str, line: str) -> None:
    assert first_line(ValueError(text)) == line
