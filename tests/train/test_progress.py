"""What a person sees: a bar on a terminal, plain lines elsewhere, JSON when asked, nothing when quiet."""

from __future__ import annotations

import io
import json
import os
import pty
from contextlib import suppress

import pytest

from tutelage.train.progress import Reporter, duration, pace


def ran(reporter: Reporter, total: int = 30) -> None:
    reporter.start(0)
    for step in range(1, total + 1):
        reporter.update(step, {"loss": 1 / step, "policy/kl": float("nan")})
    reporter.say("done")
    reporter.warn("odd")
    reporter.close()
    reporter.close()


def test_elsewhere_than_on_a_terminal_lines_are_plain_and_few() -> None:
    stream = io.StringIO()
    ran(Reporter(total=30, title="sft", stream=stream))
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("sft 1/30")
    assert (
        lines[1].startswith("sft 30/30")
        and "steps/s" in lines[1]
        and "0s left" in lines[1]
        and "loss 0.0333" in lines[1]
    )
    assert lines[2:] == ["done", "warning: odd"]
    assert "\x1b" not in stream.getvalue()


def test_json_lines_are_json_and_have_no_nan() -> None:
    stream = io.StringIO()
    ran(Reporter(total=30, title="sft", stream=stream, json_lines=True, interval=0))
    rows = [json.loads(line, parse_constant=pytest.fail) for line in stream.getvalue().splitlines()]
    assert rows[4]["step"] == 5 and rows[4]["steps"] == 30 and rows[4]["policy/kl"] is None
    assert {"steps_per_second", "seconds_left", "loss"} <= rows[4].keys()
    assert rows[-2:] == [{"message": "done"}, {"warning": "odd"}]


def test_quiet_shows_warnings_only() -> None:
    stream = io.StringIO()
    ran(Reporter(total=30, title="sft", stream=stream, quiet=True))
    assert stream.getvalue() == "warning: odd\n"


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    reading, writing = pty.openpty()
    with os.fdopen(writing, "w") as stream:
        ran(Reporter(total=30, title="sft", stream=stream))
    shown = everything(reading)
    assert "30/30" in shown and "━" in shown and "done" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # the cursor comes back


def everything(handle: int) -> str:
    """What was written to the other end of a terminal that is closed by now."""
    shown = b""
    with suppress(OSError):  # how Linux says that it was all
        while piece := os.read(handle, 4096):
            shown += piece
    os.close(handle)
    return shown.decode()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59.6, "1m00s"), (125, "2m05s"), (7325, "2h02m"), (-1, "0s")])
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_slow_steps_are_told_as_seconds_per_step() -> None:
    assert pace(0.25) == "4.0 s/step"
    assert pace(3.21) == "3.2 steps/s"
