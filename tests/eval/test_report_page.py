"""The report: everything that was found is on the page, its source too; nothing hostile or from outside gets in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tutelage.cli.main import main
from tutelage.errors import DataError, MissingInputError
from tutelage.eval._report_charts import Series, line_chart, short, thinned, ticks
from tutelage.eval._report_words import WORDS
from tutelage.eval.report import render
from tutelage.store.people import People
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, Prompt, Sample

ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"' {{ 7*7 }}"


class Page(HTMLParser):
    """Tags, attributes and the text outside scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "line", "circle", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "path"):
            assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data


def test_a_finished_demo_is_shown_whole_and_well_formed(demo: Path) -> None:
    page = Page(render([demo]))
    assert page.open == []
    for words in ("78.1%", "0.556 → 0.838", "clipped (limit 30%)", "评分者", "hidden quality", "4-ppo"):
        assert words in page.text
    ids = {attributes["id"] for _, attributes in page.tags if attributes.get("id")}
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links and all(link and link[1:] in ids for link in links)


def test_every_number_names_its_file_and_key(demo: Path) -> None:
    text = Page(render([demo])).text
    for source in (
        "demo/summary.json › win_rate",
        "demo/eval/eval.json › measures.{baseline/gold, model/gold, gain/gold}",
        "demo/4-ppo/metrics.jsonl › reward/mean, gold/mean",
        "eval/answers.jsonl",
    ):
        assert source in text
    assert str(demo.parent) not in text


def test_nothing_is_loaded_from_outside(demo: Path) -> None:
    html = render([demo])
    page = Page(html)
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)""", html)
    assert not re.search(r"@import|url\(", html)
    assert [tag for tag, _ in page.tags].count("script") == 1
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    script = html.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy and "default-src 'none'" in policy and f"'sha256-{digest}'" in policy


def test_hostile_text_stays_text(demo: Path) -> None:
    row = {"id": ATTACK, "lang": ATTACK, "prompt": ATTACK, "reference": ATTACK, "baseline": ATTACK, "model": ATTACK}
    (demo / "eval" / "answers.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    question = {"id": ATTACK, "kind": ATTACK, "prompt": ATTACK, "candidates": [{"text": ATTACK, "model": ATTACK}] * 2}
    vote = {"rater": ATTACK, "ranks": [1, 2], "shown": [0, 1]}
    (demo / "eval" / "judgements.jsonl").write_text(
        json.dumps(question | {"judgements": [vote]}) + "\n", encoding="utf-8"
    )
    sample = {"step": 1, ATTACK: ATTACK, "prompt": ATTACK, "completion": ATTACK}
    (demo / "4-ppo" / "samples.jsonl").write_text(json.dumps(sample) + "\n", encoding="utf-8")
    event = {"step": 1, "event": "alarm", "message": ATTACK, "advice": ATTACK}
    lines = [event, {"step": 1, ATTACK: 1.0}, {"step": 2, ATTACK: 2.0}]
    (demo / "4-ppo" / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")
    (demo / "4-ppo" / "config.yaml").write_text(f"# tutelage {ATTACK}\n{ATTACK}\n", encoding="utf-8")
    html = render([demo], title=ATTACK)
    page = Page(html)
    assert page.open == [] and [tag for tag, _ in page.tags].count("script") == 1
    assert not any(tag == "img" or any(name.startswith("on") for name in attributes) for tag, attributes in page.tags)
    assert ATTACK in page.text


def test_the_words_stand_in_both_languages(demo: Path) -> None:
    html = render([demo])
    assert '<span class="en" lang="en">Before and after</span><span class="zh" lang="zh">训练前后对比</span>' in html
    for key, words in WORDS.items():
        blanks = [sorted(re.findall(r"{\w+}", one)) for one in words]
        assert blanks[0] == blanks[1], key


def test_a_model_that_did_not_get_better_is_not_praised(demo: Path) -> None:
    summary = {"win_rate": 0.52, "win_rate_low": 0.45, "gold_before": 0.5, "gold_after": 0.51, "gold_gain": 0.01}
    (demo / "summary.json").write_text(json.dumps(summary | {"gold_gain_low": -0.02}), encoding="utf-8")
    text = Page(render([demo])).text
    assert "no preference is proven" in text and "no gain is proven" in text


def test_a_lone_run_is_enough(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n', encoding="utf-8")
    page = Page(render([tmp_path]))
    assert "No evaluation was found" in page.text and "No alarm was raised" in page.text
    assert any(tag == "svg" and attributes.get("aria-label") == "loss" for tag, attributes in page.tags)


def test_the_row_of_step_0_is_no_step(tmp_path: Path) -> None:
    rows = '{"step": 0, "preflight/kl": 0.0}\n{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n'
    (tmp_path / "metrics.jsonl").write_text(rows, encoding="utf-8")
    assert "2 steps" in Page(render([tmp_path])).text


def test_a_torn_line_is_left_out_and_said(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": null}\n{"step": 2, "lo', encoding="utf-8")
    assert "1 unreadable lines were left out of" in Page(render([tmp_path])).text


def test_the_ratings_of_a_database_are_shown(demo: Path) -> None:
    prompt = Prompt("p", "Which tea?")
    candidates = (Sample("a", prompt, "Green tea.", model="m1"), Sample("b", prompt, "Black tea.", model="m2"))
    with Store(demo / "ratings.db") as store:
        store.ask([Comparison("tea-question", "pair", prompt, candidates)], "demo")
        store.answer(Judgement("j", "tea-question", "ann", ranks=(2, 1), shown=(1, 0)))
        store.answer(Judgement("k", "tea-question", "SPITE", ranks=(1, 2), shown=(1, 0)))
        store.answer(Judgement("l", "tea-question", "gold", ranks=(1, 2)))
        People(store.database, b"").exclude("demo", "SPITE", True, reason="spite", actor="test")
    text = Page(render([demo])).text
    assert "Black tea." in text and "demo/ratings.db › demo › tea-question" in text
    assert "ann" in text and "SPITE" not in text, "who counts for nothing is left out"


def test_a_fall_of_quality_under_a_rising_proxy_is_named(tmp_path: Path) -> None:
    rows = [
        {"step": s, "reward/mean": s / 10, "gold/mean": 0.8 - abs(s - 20) / 100, "policy/kl": s / 5} for s in range(60)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert "Over-optimised: quality fell by" in Page(render([tmp_path])).text


def test_the_same_folder_gives_the_same_page(demo: Path) -> None:
    made = datetime(2026, 1, 1, tzinfo=UTC)
    assert render([demo], made=made) == render([demo], made=made)


def test_a_missing_or_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such run folder"):
        render([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="nothing to report"):
        render([tmp_path])
    (tmp_path / "eval.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="not a JSON file"):
        render([tmp_path])


def test_the_command_writes_the_page_into_the_folder(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(demo)]) == 0
    assert (demo / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main(["report", "--run", str(demo), "--out", str(demo)]) == 73
    assert "this is a folder" in capsys.readouterr().err


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1, 4) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert ticks(3, 47, 4) == [20.0, 40.0]
    assert ticks(2, 2, 4) == [2]


def test_short_numbers_stay_short() -> None:
    assert [short(x) for x in (0, 0.5, 1234, 12345, 2_500_000, 0.00025, 1e-5)] == [
        *["0", "0.5", "1234", "12.3k", "2.5M", "2.5e-4", "1e-5"]
    ]


def test_thinning_keeps_the_spike() -> None:
    values = [0.0] * 5000
    values[2345] = 9.0
    found = thinned(Series("x", tuple(map(float, range(5000))), tuple(values)))
    assert len(found.xs) <= 305 and max(found.ys) == 9.0 and found.xs[-1] == 4999


def test_a_chart_of_one_point_or_a_constant_is_drawn() -> None:
    assert "<circle" in line_chart([Series("x", (1.0,), (2.0,))], label="x")
    assert "<path" in line_chart([Series("x", (1.0, 2.0), (2.0, 2.0))], label="x")
    assert line_chart([Series("x", (), ())], label="x") == ""


def _ended(folder: Path, command: str, beta: float, kl: float | None, gold: float) -> Path:
    """A run folder as far as the comparison reads it."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"command": command, "config": {"kl": beta}}), encoding="utf-8")
    (folder / "config.yaml").write_text(f"# tutelage {command}\nkl: {beta}\n", encoding="utf-8")
    row = {"step": 1, "reward/mean": 2 * gold, "gold/mean": gold} | ({} if kl is None else {"policy/kl": kl})
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return folder


def test_several_runs_are_drawn_side_by_side_in_both_languages(tmp_path: Path) -> None:
    runs = [
        _ended(tmp_path / f"ppo-{n}", "ppo", beta, kl, 0.5 + kl / 20)
        for n, (beta, kl) in enumerate([(0.5, 1.0), (0.05, 4.0)])
    ]
    runs.append(_ended(tmp_path / "rloo", "rloo", 0.05, 9.0, 0.9))
    runs.append(_ended(tmp_path / "sft", "sft", 0.0, None, 0.1))
    html = render(runs)
    page = Page(html)
    assert page.open == [] and "Runs side by side" in page.text and "多次训练对比" in page.text
    section = "<section><h2" + html.partition('<h2 id="compared"')[2].partition("</section>")[0] + "</section>"
    charts = [json.loads(unescape(found)) for found in re.findall(r'data-series="(.*?)"', section)]
    assert [[(line["name"], [point[:2] for point in line["points"]]) for line in chart] for chart in charts][0] == [
        ("ppo", [[1.0, 0.55], [2.0, 0.7]]),
        ("rloo", [[3.0, 0.9]]),
    ]
    text = Page(section).text
    assert "kl 0.05" in text and "rloo/metrics.jsonl" in text and "sft/" not in text
    assert "Highest hidden quality: 0.900, rloo, at 9.00 nats." in text


def test_one_run_alone_is_compared_with_nothing(demo: Path, tmp_path: Path) -> None:
    assert "Runs side by side" not in Page(render([demo])).text
    alone = _ended(tmp_path / "ppo", "ppo", 0.05, 1.0, 0.5)
    assert "Runs side by side" not in Page(render([alone])).text


def test_a_measured_end_is_taken_before_the_training_numbers(tmp_path: Path) -> None:
    runs = [_ended(tmp_path / name, "rloo", 0.1, 1.0, 0.5) for name in ("a", "b")]
    (runs[0] / "eval").mkdir()
    measures = {"kl": {"value": 4.0, "n": 3}, "model/gold": {"value": 0.8, "n": 3}}
    (runs[0] / "eval/eval.json").write_text(json.dumps({"measures": measures}), encoding="utf-8")
    text = Page(render(runs)).text
    assert "a/eval.json" in text and "b/metrics.jsonl" in text and "0.800, a, at 4.00 nats" in text
