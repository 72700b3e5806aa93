"""docs/cli.md says what the commands say of themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage import registry
from tutelage.cli import _docs, _help, _train_help, _verbs

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "cli.md"


def test_the_page_is_what_the_commands_say():
    wanted = _docs.text()
    assert PAGE.read_text(encoding="utf-8") == wanted, "run: python -m tutelage.cli._docs docs/cli.md"
    assert all(f"## tutelage {name}" in wanted for name in _verbs.names())


def test_the_kept_help_pages_are_those_of_the_settings():
    assert _train_help.KEPT.read_text(encoding="utf-8") == _train_help.written(), "run: python -m tutelage.cli._docs"
    for name in registry.names("algorithms"):
        page = _train_help.kept(name)
        assert page is not None and _help.rendered(page, 90) == _help.page(_verbs.load(name), 90)


@pytest.mark.parametrize("name", ["ppo", "reward"])
def test_help_of_a_training_verb_imports_no_torch(name: str):
    code = (
        "import sys; from tutelage.cli.main import main; "
        f"code = main([{name!r}, '--help']); sys.exit(code or 3 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "--learning-rate" in done.stdout, done.stderr


@pytest.mark.parametrize("change", ["gone", "damaged", "another source", "a new algorithm"])
def test_what_is_not_kept_or_not_true_any_more_is_made_from_the_settings(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    found = json.loads(_train_help.KEPT.read_text(encoding="utf-8"))
    for page in found["pages"].values():
        page["summary"] = "KEPT"
    if change == "another source":
        found["fingerprint"] = "0"
    if change == "a new algorithm":
        del found["pages"]["dpo"]
    monkeypatch.setattr(_train_help, "KEPT", tmp_path / "kept.json")
    if change != "gone":
        _train_help.KEPT.write_text("{" if change == "damaged" else json.dumps(found), encoding="utf-8")
    assert _verbs.start(["dpo", "--help"]) == 0
    said = capsys.readouterr().out
    assert "KEPT" not in said and "--beta" in said


def test_the_fingerprint_follows_settings_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for folder in ("algorithms", "ops", "cli"):
        (tmp_path / folder).mkdir()
    for name in ("cli/_help.py", "cli/_verb.py", "config.py", "ops/losses.py"):
        (tmp_path / name).write_text("")
    monkeypatch.setattr(_train_help, "_ROOT", tmp_path)
    file = tmp_path / "algorithms" / "new.py"

    def mark(text: str) -> str:
        file.write_text(text)
        return _train_help.fingerprint()

    plain = (
        '''"""New."""\n\n\nclass Config:\n    beta: float = 0.1\n    """how much"""\n\n    def sane(self): return 1\n'''
    )
    first = mark(plain)
    assert mark(plain.replace("return 1", "return 2")) == first == mark(plain + "\n\ndef loss(): ...\n")
    changed = [("0.1", "0.2"), ("how much", "how far"), ("beta", "alpha"), ("float", "int"), ("New", "Old")]
    marks = [mark(plain.replace(*pair)) for pair in changed]
    (tmp_path / "ops/losses.py").write_text('Kind = Literal["a", "b"]\n')
    marks.append(mark(plain))
    file.rename(file.with_name("newer.py"))
    marks.append(_train_help.fingerprint())
    assert len({first, *marks}) == len(marks) + 1
