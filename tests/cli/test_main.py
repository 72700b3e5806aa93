"""The command line as its users meet it: help, flags, endings."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from tutelage.cli import _flags, _help, _verbs
from tutelage.cli._endings import EXIT_CODES, guarded, without_secrets
from tutelage.cli._ui import UI, duration
from tutelage.cli._verb import Verb
from tutelage.cli.main import main
from tutelage.config import Resolved
from tutelage.errors import DataError, TutelageError, UsageError


@dataclass(frozen=True, kw_only=True)
class Config:
    model: str = "m"
    """Folder or hub id."""
    batch_size: int = 32
    """Sequences per step."""
    shuffle: bool = True
    dtype: Literal["auto", "float32"] = "auto"
    targets: tuple[str, ...] = ()
    penalty: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Words:
    files: tuple[Path, ...] = ()
    """What to look at."""
    positional: ClassVar[str] = "files"
    handles_dry_run: ClassVar[bool] = True


class Ran:
    """A verb that remembers how it was run."""

    def __init__(self, config: type = Config, **options: Any) -> None:
        self.resolved: list[Resolved[Any]] = []
        self.uis: list[UI] = []
        self.verb = Verb("try", config, self.run, "Tries things.", **options)

    def run(self, resolved: Resolved[Any], ui: UI) -> int:
        self.resolved.append(resolved)
        self.uis.append(ui)
        return 0

    def __call__(self, *words: str) -> Any:
        assert _verbs.execute(self.verb, words) == 0
        return self.resolved[-1].config if self.resolved else None


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=60, check=False)


def test_help_is_quick_and_imports_no_torch():
    code = "import sys; from tutelage.cli.main import main; main(['--help']); print('torch' in sys.modules)"
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        answer = python("-c", code)
        seconds.append(time.perf_counter() - began)
    assert answer.stdout.endswith("False\n") and answer.returncode == 0, answer.stderr
    assert min(seconds) <= 0.5, seconds


def test_the_overview_lists_every_verb_and_every_exit_code(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name}" in shown for name in _verbs.names())
    assert all(f"{code} {meaning}" in shown for code, meaning in EXIT_CODES.items())
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("tutelage ")


def test_every_verb_can_be_loaded_and_does_not_shadow_a_common_flag():
    for name in _verbs.names():
        for sub in _verbs.subverbs(name) or [None]:
            verb = _verbs.load(name, sub)
            assert verb.summary, f"{verb.name}: the first line of its docstring is its help line"
            page = _help.page(verb, width=100)
            assert f"Usage: tutelage {verb.name}" in page
            flags = [line.split()[0] for line in page.splitlines() if line.startswith("  --")]
            assert len(flags) == len(set(flags)), f"{verb.name}: a flag stands twice"
            with pytest.raises(UsageError, match="no-such-flag"):
                _flags.read(verb, ["--no-such-flag-here", "1"])


def test_given_flags_are_known_and_the_rest_is_default():
    config = Ran()("--batch-size", "4", "--no-shuffle", "--targets", "a,b", "--penalty", "-1e-3")
    assert config == Config(batch_size=4, shuffle=False, targets=("a", "b"), penalty=-1e-3)


@pytest.mark.parametrize("word", ["--batch_size", "--batch-size", "--per_device_train_batch_size"])
def test_a_flag_goes_by_any_of_its_names(word: str):
    ran = Ran()
    assert ran(word, "3").batch_size == ran(f"{word}=3").batch_size == 3
    assert ran.resolved[0].origins["batch_size"] == "flag --batch-size"


def test_a_yaml_file_is_the_positional_argument(tmp_path: Path):
    (tmp_path / "c.yaml").write_text("batch-size: 5\nmodel: y\n")
    config = Ran()(str(tmp_path / "c.yaml"), "--model", "z", "--set", "penalty=2")
    assert config == Config(batch_size=5, model="z", penalty=2.0)
    with pytest.raises(UsageError, match="given twice"):
        Ran()(str(tmp_path / "c.yaml"), "--config", "d.yaml")


def test_a_verb_may_take_words_instead():
    assert Ran(Words)("a", "b,c").files == (Path("a"), Path("b,c"))
    assert Ran(Words)("--files", "a", "--files", "b").files == (Path("a"), Path("b"))
    with pytest.raises(UsageError, match="given twice"):
        Ran(Words)("a", "--files", "b")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--batch-sice", "3"], "Did you mean --batch-size?"),
        (["--batch-size", "three"], "'three' is not a whole number"),
        (["--batch-size"], "requires an argument"),
        (["--dtype", "float23"], "did you mean 'float32'?"),
        (["a.yaml", "b.yaml"], "b.yaml"),
        (["--set", "modle=x"], "did you mean 'model'?"),
        (["--set", "model"], "expected KEY=VALUE"),
    ],
)
def test_a_wrong_flag_is_refused_with_a_suggestion(words: list[str], said: str):
    with pytest.raises(UsageError) as caught:
        Ran()(*words)
    assert said in str(caught.value)


def test_print_config_shows_origins_and_runs_nothing(capsys: pytest.CaptureFixture[str]):
    ran = Ran()
    ran("--batch-size", "2", "--print-config")
    assert "batch_size: 2  # flag --batch-size\n" in capsys.readouterr().out and not ran.uis


def test_dry_run_stops_before_a_verb_that_does_not_handle_it(capsys: pytest.CaptureFixture[str]):
    ran = Ran()
    ran("--dry-run")
    assert "nothing was run" in capsys.readouterr().out and not ran.uis
    ran = Ran(handles_dry_run=True)
    ran("--dry-run", "--quiet", "--json", "--debug")
    assert ran.uis == [UI(quiet=True, json_lines=True, dry_run=True, debug=True)]


def test_help_of_a_verb_shows_defaults_choices_and_aliases(capsys: pytest.CaptureFixture[str]):
    Ran()("--help")
    shown = capsys.readouterr().out
    assert "--batch-size INT            Sequences per step. [default: 32]" in shown
    assert "[auto | float32] [default: auto]" in shown and "--[no-]shuffle" in shown and "--targets TEXT,…" in shown
    assert "--penalty NUMBER            [default: 0.0]" in shown
    assert "--model_name_or_path = --model" in shown and "--output_dir" not in shown


def test_a_mistyped_command_is_refused_with_a_suggestion(capsys: pytest.CaptureFixture[str]):
    assert main(["doctr"]) == 2
    assert "did you mean 'doctor'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (DataError("bad row", where="a:1:2", fix="mend it"), 65, "error: bad row\n  where: a:1:2\n  fix: mend it"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (SystemExit(143), 143, ""),
        (SystemExit(), 0, ""),
        (SystemExit("text"), 1, "text"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 74, "No space left"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 77, "/x"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/x"), 66, "there is no '/x'"),
        (ZeroDivisionError("oh"), 1, "ZeroDivisionError: oh"),
        (MemoryError(), 1, "--tokens-per-part"),
    ],
)
def test_every_ending_has_its_exit_code(
    raised: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
):
    def fail() -> int:
        raise raised

    assert guarded(fail) == code
    assert said in capsys.readouterr().err


def test_every_error_of_ours_has_a_documented_exit_code():
    kinds = [TutelageError, *TutelageError.__subclasses__()]
    assert {kind.exit_code for kind in kinds} <= set(EXIT_CODES)


def test_a_bug_leaves_its_traceback_in_a_private_file_without_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("HF_TOKEN", "hf_canary_0123456789")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail() -> int:
        raise ValueError("with hf_canary_0123456789 inside")

    assert guarded(fail, json_lines=True) == 1
    shown = capsys.readouterr()
    (file,) = tmp_path.glob("tutelage-crash-*.txt")
    assert str(file) in shown.err and file.stat().st_mode & 0o077 == 0
    assert "Traceback" in file.read_text() and "canary" not in file.read_text() + shown.err + shown.out
    assert "Traceback" not in shown.err and json.loads(shown.out)["exit_code"] == 1
    assert without_secrets("a hf_canary_0123456789 b") == "a <HF_TOKEN> b"


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]):
    def fail() -> int:
        raise DataError("bad")

    assert guarded(fail, debug=True) == 65
    assert "Traceback" in capsys.readouterr().err


def test_a_closed_pipe_ends_quietly():
    script = f"{sys.executable} -m tutelage.cli.main --help"
    answer = subprocess.run(
        ["bash", "-c", f"set -o pipefail; for i in 1 2 3 4 5; do {script}; done | head -c 1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.stderr == ""


def test_the_ui_keeps_stdout_for_results(capsys: pytest.CaptureFixture[str]):
    UI(json_lines=True).say("for people")
    UI(json_lines=True).table([{"a": 1}])
    UI(json_lines=True).result({"文": 1, "path": Path("x")})
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"文": 1, "path": "x"} and shown.err == "for people\n"
    UI(quiet=True).say("no")
    UI(quiet=True).table([{"a": 1}])
    UI().result({"a": 1})
    UI(quiet=True).warn("yes")
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err == "warning: yes\n"
    UI().table([{"name": "[b]x[/b]", "score": 0.123456}, {"name": "文", "extra": None}], title="T")
    shown = capsys.readouterr().out
    assert "[b]x[/b]" in shown and "0.1235" in shown and "文" in shown


def test_progress_off_a_terminal_is_plain_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(UI(interval=0.0).track(iter(range(3)), "rows", total=3)) == [0, 1, 2]
    lines = sys.stderr.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].startswith("rows: 1/3 (33%, ") and "left" in lines[0] and lines[-1].startswith("rows: 3/3 (100%")
    assert [duration(seconds) for seconds in (5, 75, 3700)] == ["5s", "1m15s", "1h01m"]
