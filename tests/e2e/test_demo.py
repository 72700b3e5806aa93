"""The demo: its commands are real ones; the whole of it reaches its targets, even when it is interrupted."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo_room import sampled
from tutelage.cli.demo import Config, commands
from tutelage.cli.main import main
from tutelage.store.store import Store
from tutelage.types import Judgement

KEYS = {
    "gold_before", "gold_after", "gold_gain", "gold_gain_low", "win_rate", "win_rate_low", "stop_rate", "kl",
    "reward_accuracy", "rater_agreement", "length_only_accuracy", "seconds", "peak_gib", "seed",
}  # fmt: skip


@pytest.mark.parametrize("algorithm", ["ppo", "dpo"])
@pytest.mark.parametrize("serve", [False, True])
def test_every_command_of_the_demo_is_one_that_the_command_line_understands(algorithm, serve, capsys):
    for command in commands(Config(algorithm=algorithm, serve=serve)):
        assert main([*command.words, "--print-config"]) == 0, command
    assert capsys.readouterr().err == ""


def test_commands_are_printed_and_nothing_is_run(capsys, tmp_path):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--commands", "--seed", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [shlex.split(line)[:2] for line in lines[:2]] == [["tutelage", "data"], ["tutelage", "pretrain"]]
    assert all("--seed 3" in line for line in lines if "export" not in line and "report" not in line)
    assert not out.exists()


def test_to_be_a_rater_adds_four_commands_and_changes_none(tmp_path):
    alone, served = (commands(Config(out=tmp_path, serve=serve)) for serve in (False, True))
    added = [command for command in served if command not in alone]
    assert [command.words[:2] for command in added] == [("rate", name) for name in ("project", "ask", "serve", "stats")]
    assert [command for command in served if command not in added] == alone
    simulated = [command.words[1] for command in served].index("simulate")
    assert [served.index(command) - simulated for command in added] == [-3, -2, -1, 1]


def test_the_printed_commands_alone_tell_how_the_user_chose(tmp_path):
    sampled(tmp_path)
    served = commands(Config(out=tmp_path, serve=True, serve_tasks=2))
    for command in [one for one in served if one.words[0] in ("rate", "report")]:
        if command.words[1] == "serve":
            with Store(tmp_path / "ratings.db") as store:
                asked = store.comparisons()
                store.answer_many([Judgement(f"y{one.id}", one.id, "you", (1, 2), shown=(0, 1)) for one in asked])
        elif command.words[1] != "export":
            assert main([*command.words, "--quiet"]) == 0, command
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'scope="row">you</th>' in page


def demo(out: Path, *flags: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tutelage", "demo", "--out", str(out), *flags]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "dpo"])
def test_an_interrupted_demo_goes_on_and_reaches_its_targets(tmp_path, algorithm):
    out = tmp_path / "demo"
    for seconds, kind in ((25, signal.SIGINT), (60, signal.SIGKILL)):
        running = demo(out, "--algorithm", algorithm)
        time.sleep(seconds)
        running.send_signal(kind)
        running.communicate(timeout=60)
        assert running.returncode == (130 if kind == signal.SIGINT else -signal.SIGKILL)
    text = demo(out, "--algorithm", algorithm).communicate(timeout=1800)[0]
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert set(summary) >= KEYS, text
    assert summary["gold_gain_low"] > 0
    if algorithm == "ppo":
        assert summary["win_rate"] >= 0.6 and summary["win_rate_low"] > 0.5
        assert summary["stop_rate"] >= 0.95
    assert summary["reward_accuracy"] > summary["length_only_accuracy"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    again = demo(out, "--algorithm", algorithm)
    assert again.communicate(timeout=60)[0].count("win_rate") and again.returncode == 0
