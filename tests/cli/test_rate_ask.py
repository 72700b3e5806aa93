"""`rate ask`: questions for people, the same ones that simulated raters would be asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.cli.main import main
from tutelage.store.projects import Projects
from tutelage.store.store import Store


@pytest.fixture
def answers(tmp_path: Path) -> str:
    rows: list[str] = []
    for number in range(12):
        meta = {"lang": ("en", "zh")[number % 2]}
        for place, text in enumerate(("one", "two", "three")):
            told = {"id": f"p{number}/{place}", "prompt_id": f"p{number}", "prompt": f"Say {number}.", "meta": meta}
            rows.append(json.dumps(told | {"completion": f"{text} {number}", "model": "m", "seed": place, "run": "r"}))
    (tmp_path / "answers.jsonl").write_text("\n".join(rows) + "\n")
    return str(tmp_path / "answers.jsonl")


def asked(tmp_path: Path, samples: str, *words: str, name: str = "a.db") -> list[tuple[str, str]]:
    db = str(tmp_path / name)
    assert main(["rate", "ask", "--db", db, "--samples", samples, "--quiet", *words]) == 0
    with Store(db) as store:
        assert store.judgements() == []
        return [(one.id, str(one.prompt.meta["lang"])) for one in store.comparisons()]


def test_some_pairs_of_one_language_are_drawn_by_seed_and_asking_again_adds_none(tmp_path: Path, answers: str):
    words = ("--kinds", "pair", "--pairs", "1", "--limit", "4", "--where", "lang=zh")
    found = asked(tmp_path, answers, *words)
    assert len(found) == 4 and {lang for _, lang in found} == {"zh"}
    assert asked(tmp_path, answers, *words) == found
    assert asked(tmp_path, answers, *words, "--seed", "1", name="b.db") != found


def test_they_are_among_those_that_simulated_raters_are_asked(tmp_path: Path, answers: str):
    few = asked(tmp_path, answers, "--kinds", "pair", "--pairs", "1", "--limit", "5", "--seed", "3")
    db = ("--db", str(tmp_path / "all.db"), "--samples", answers)
    assert main(["rate", "ask", *db, "--pairs", "1", "--scored", "1", "--seed", "3", "--quiet"]) == 0
    with Store(tmp_path / "all.db") as store:
        assert {name for name, _ in few} < {one.id for one in store.comparisons()}


@pytest.mark.parametrize(("words", "code"), [
    (("--where", "lang=fr"), 65), (("--where", "lang"), 2), (("--limit", "-1"), 2), (("--overlap", "0"), 2),
])  # fmt: skip
def test_what_asks_nothing_is_refused(words: tuple[str, ...], code: int, tmp_path: Path, answers: str):
    assert main(["rate", "ask", "--db", str(tmp_path / "a.db"), "--samples", answers, *words]) == code
    assert not (tmp_path / "a.db").exists()


def test_without_answers_there_is_nothing_to_ask_about(tmp_path: Path):
    assert main(["rate", "ask", "--db", str(tmp_path / "a.db")]) == 2


def test_the_only_project_need_not_be_named_and_is_said(
    tmp_path: Path, answers: str, capsys: pytest.CaptureFixture[str]
):
    words = ("rate", "ask", "--db", str(tmp_path / "a.db"), "--samples", answers, "--kinds", "pair")
    assert main([*words, "--limit", "2", "--project", "news"]) == 0
    assert "the only one" not in capsys.readouterr().out
    assert main([*words, "--limit", "4"]) == 0
    assert "project news, the only one in" in capsys.readouterr().out
    assert main([*words, "--limit", "1", "--project", "sport"]) == 0
    capsys.readouterr()
    for several in (words, ("rate", "project", *words[2:4], "goal=7"), ("rate", "invite", *words[2:4])):
        assert main([*several]) == 65, "where there are several, none is guessed and none is made"
        said = capsys.readouterr()
        assert "several projects" in said.err and "--project news or sport" in said.err and said.out == ""
    with Store(tmp_path / "a.db") as store:
        assert Projects(store.database).names() == ["news", "sport"]
        assert [len(store.comparisons(name)) for name in ("news", "sport")] == [4, 1]


def test_a_project_that_is_new_beside_others_is_made_and_said(
    tmp_path: Path, answers: str, capsys: pytest.CaptureFixture[str]
):
    db, pairs = str(tmp_path / "a.db"), tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
    ask = ("rate", "ask", "--db", db, "--samples", answers, "--limit", "1", "--quiet", "--project")
    assert main([*ask, "school"]) == main([*ask, "school"]) == 0
    assert "is new" not in capsys.readouterr().err, "the first one is mistaken for no other"
    assert main([*ask, "skool"]) == 0
    assert f"project skool is new in {db}; there is: school (did you mean 'school'?)" in capsys.readouterr().err
    assert main(["rate", "import", "--db", db, "--data", str(pairs), "--quiet", "--project", "other"]) == 0
    assert "project other is new" in capsys.readouterr().err
    assert main(["rate", "project", "--db", db, "--quiet", "--project", "third", "goal=7"]) == 0
    assert "project third is new" in capsys.readouterr().err
    with Store(db) as store:
        assert Projects(store.database).names() == ["other", "school", "skool", "third"]


def test_a_project_that_is_made_by_asking_takes_its_kinds_and_overlap(tmp_path: Path, answers: str):
    def settings(project: str) -> tuple[tuple[str, ...], int]:
        with Store(tmp_path / "a.db") as store:
            told = Projects(store.database).settings(project)
        return told.kinds, told.overlap

    ask = ("rate", "ask", "--db", str(tmp_path / "a.db"), "--samples", answers, "--ranking-size", "3", "--quiet")
    assert main([*ask, "--project", "all", "--overlap", "2"]) == 0
    assert settings("all") == (("pair", "ranking", "scores"), 2)
    assert main([*ask, "--project", "all", "--overlap", "5", "--kinds", "pair"]) == 0
    assert settings("all") == (("pair", "ranking", "scores"), 2), "it is an admin's word from now on"
    assert main([*ask, "--project", "few", "--overlap", "1", "--kinds", "scores"]) == 0
    assert settings("few") == (("scores",), 1)
    assert main([*ask, "--project", "many", "--overlap", "101"]) == 65
    with Store(tmp_path / "a.db") as store:
        assert Projects(store.database).names() == ["all", "few"]


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ("strength=12", 65, "out of range: strength (0 to 9)"),
        ("kinds=duel", 65, "kinds (some of pair, ranking, scores, best, edit)"),
        ("strength=two", 2, "'two' is not a whole number"),
        ("gold_rate=often", 2, "'often' is not a number"),
        ("tie=perhaps", 2, "'perhaps' is not yes or no"),
    ],
)
def test_a_setting_that_does_not_fit_says_what_is_wanted(
    change: str, code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["rate", "project", "--db", str(tmp_path / "a.db"), change]) == code
    assert said in capsys.readouterr().err
