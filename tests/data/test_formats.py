"""Each layout that people bring becomes the typed row it means; what is written is read back the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tutelage.data import jsonl
from tutelage.data.convert import to_dict
from tutelage.data.formats import KINDS, as_chat, detect_kind, load
from tutelage.errors import DataError, DeniedError, MissingInputError, UsageError
from tutelage.types import Demonstration, Message, Preference, Prompt, Ranking, Rated, Rating, TextRow, Unpaired

U, A, S = (lambda text, role=role: Message(role, text) for role in ("user", "assistant", "system"))


def rows_of(tmp_path: Path, kind: str, *rows: dict[str, Any]) -> list[Any]:
    """The typed rows without their places and other columns."""
    jsonl.write(tmp_path / "rows.jsonl", rows)
    return [replace(row, **_bare(row)) for row in load(tmp_path / "rows.jsonl", kind)]  # type: ignore[call-overload]


def _bare(row: Any) -> dict[str, Any]:
    return {name: value for name, value in {"where": "", "meta": {}}.items() if name in row.__dataclass_fields__}


def test_string_rows_stay_strings(tmp_path: Path) -> None:
    row = {"prompt": " p ", "completion": " c\n"}
    assert rows_of(tmp_path, "demonstration", row) == [Demonstration(" p ", " c\n")]


def test_messages_are_split_before_the_first_answer_and_nothing_is_lost(tmp_path: Path) -> None:
    turns = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    assert rows_of(tmp_path, "demonstration", row) == [Demonstration((S("s"), U("a")), (A("b"), U("c"), A("d")))]


def test_alpaca_rows_become_messages(tmp_path: Path) -> None:
    row = {"instruction": "Add.", "input": "1 2", "output": "3", "history": [["hi", "hello"]], "system": "Be brief."}
    prompt = (S("Be brief."), U("hi"), A("hello"), U("Add.\n\n1 2"))
    assert rows_of(tmp_path, "demonstration", row) == [Demonstration(prompt, (A("3"),))]
    assert rows_of(tmp_path, "prompt", row)[0].content == prompt
    pair = {"instruction": "Add.", "input": "", "chosen": "3", "rejected": "4"}
    assert rows_of(tmp_path, "preference", pair) == [Preference((U("Add."),), (A("3"),), (A("4"),))]


def test_sharegpt_rows_become_messages(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    row = {"conversations": talk, "system": "s"}
    assert rows_of(tmp_path, "demonstration", row) == [Demonstration((S("s"), U("a")), (A("b"),))]
    pair = {"conversations": talk[:1], "chosen": {"from": "gpt", "value": "b"}, "rejected": talk[1] | {"value": "c"}}
    assert rows_of(tmp_path, "preference", pair) == [Preference((U("a"),), (A("b"),), (A("c"),))]
    tagged = {"conversations": talk, "kto_tag": False}
    assert rows_of(tmp_path, "unpaired", tagged) == [Unpaired((U("a"),), (A("b"),), False)]


def test_trl_preferences_with_and_without_a_prompt_mean_the_same(tmp_path: Path) -> None:
    user, good, bad = ({"role": r, "content": c} for r, c in (("user", "q"), ("assistant", "g"), ("assistant", "b")))
    forms: list[dict[str, Any]] = [
        {"prompt": [user], "chosen": [good], "rejected": [bad]},
        {"prompt": [user], "chosen": "g", "rejected": "b"},
        {"chosen": [user, good], "rejected": [user, bad]},
        {"prompt": "q", "chosen": [user, good], "rejected": [user, bad]},
        {"prompt": [user], "chosen": [user, good], "rejected": [user, bad]},
    ]
    assert rows_of(tmp_path, "preference", *forms) == [Preference((U("q"),), (A("g"),), (A("b"),))] * 5


def test_an_implicit_string_prompt_ends_at_the_last_shared_assistant_mark(tmp_path: Path) -> None:
    talk = "\n\nHuman: hi\n\nAssistant:"
    row = {"chosen": f"{talk} I am well", "rejected": f"{talk} I am not"}
    assert rows_of(tmp_path, "preference", row) == [Preference(talk, " I am well", " I am not")]


def test_optional_columns_are_read_and_the_rest_is_kept_in_meta(tmp_path: Path) -> None:
    row = {
        "prompt": "p",
        "chosen": "a",
        "rejected": "b",
        "margin": 1,
        "weight": 0.5,
        "group": "g",
        "id": 7,
        "tie": False,
    }
    jsonl.write(tmp_path / "rows.jsonl", [row | {"meta": {"lang": "en"}}])
    rows = load(tmp_path / "rows.jsonl", "preference")
    assert (rows[0].margin, rows[0].weight, rows[0].group) == (1.0, 0.5, "g")
    assert rows[0].meta == {"id": 7, "lang": "en"}
    assert rows.report.lines()[1] == "other columns, kept in meta: id"


def test_prompt_messages_are_preferred_to_their_plain_rendering(tmp_path: Path) -> None:
    row = {"prompt": "Human: q", "prompt_messages": [{"role": "user", "content": "q"}], "chosen": "a", "rejected": "b"}
    assert rows_of(tmp_path, "preference", row)[0].prompt == (U("q"),)


def test_votes_become_one_ranking_per_rater(tmp_path: Path) -> None:
    row = {"prompt": "p", "response_a": "x", "response_b": "y", "votes": ["a", "b", "tie"], "raters": ["r", "s", "t"]}
    found = rows_of(tmp_path, "ranking", row)
    assert [(one.rater, one.ranks) for one in found] == [("r", (1, 2)), ("s", (2, 1)), ("t", (1, 1))]


def test_ratings_are_read_in_three_layouts(tmp_path: Path) -> None:
    listed = {"prompt": "p", "completion": "c", "ratings": [{"rater": "r", "aspect": "x", "score": 2, "scale": [1, 5]}]}
    assert rows_of(tmp_path, "rated", listed) == [Rated("p", "c", (Rating("r", "x", 2.0, (1.0, 5.0)),))]
    named = {"prompt": "p", "completion": "c", "ratings": {"x": 2}, "rating_scale": [1, 5]}
    assert rows_of(tmp_path, "rated", named) == [Rated("p", "c", (Rating("mean", "x", 2.0, (1.0, 5.0)),))]
    scored = [{"prompt": "p", "completion": "c", "scores": scores} for scores in ([10, 40], [90])]
    first = rows_of(tmp_path, "rated", *scored)[0]
    assert first.ratings == (
        Rating("rater1", "score", 10.0, (10.0, 90.0)),
        Rating("rater2", "score", 40.0, (10.0, 90.0)),
    )


def test_prompts_take_their_id_or_file_and_line_and_refuse_repeated_ids(tmp_path: Path) -> None:
    found = load(_prompts(tmp_path, [{"prompt": "a"}, {"id": 5, "prompt": "b"}]), "prompt")
    assert [prompt.id for prompt in found] == ["p.jsonl:1", "5"]
    with pytest.raises(DataError, match="more than once"):
        load(_prompts(tmp_path, [{"id": "x", "prompt": "a"}, {"id": "x", "prompt": "b"}]), "prompt")


def test_prompts_of_conversations_leave_the_last_answer_out_and_say_so(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = load(_prompts(tmp_path, [{"messages": turns}]), "prompt")
    assert rows[0].content == (U("a"),) and "the last answer was left out" in rows.report.notes[0]


def _prompts(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    jsonl.write(tmp_path / "p.jsonl", rows)
    return tmp_path / "p.jsonl"


def test_columns_can_be_renamed_and_the_error_says_how(tmp_path: Path) -> None:
    jsonl.write(tmp_path / "qa.jsonl", [{"question": "q", "answer": "a"}])
    with pytest.raises(DataError, match="found the columns answer, question") as caught:
        load(tmp_path / "qa.jsonl", "demonstration")
    assert "--columns prompt=question,completion=answer" in str(caught.value)
    rows = load(tmp_path / "qa.jsonl", "demonstration", columns={"prompt": "question", "completion": "answer"})
    assert (rows[0].prompt, rows[0].completion) == ("q", "a")


def test_the_wrong_kind_is_named_with_the_way_to_convert_it(tmp_path: Path) -> None:
    jsonl.write(tmp_path / "pairs.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b"}])
    with pytest.raises(DataError) as caught:
        load(tmp_path / "pairs.jsonl", "demonstration")
    assert "this is preference data: tutelage data convert" in str(caught.value)


ROWS: dict[str, Any] = {
    "text": TextRow("你好 \u2028 world"),
    "prompt": Prompt("a", (S("s"), U("u")), {"lang": "zh", "facts": {"who": "x"}}),
    "demonstration": Demonstration((U("a"),), (A("b"), U("c"), A("d")), meta={"id": "1"}),
    "preference": Preference("p", "a", "b", 0.5, 0.25, "g", meta={"id": 3}),
    "unpaired": Unpaired("p", "c", False),
    "ranking": Ranking((U("p"),), ((A("a"),), (A("b"),), (A("c"),)), (2, 1, 2), "r", 0.5),
    "rated": Rated("p", "c", (Rating("r", "fluent", 4.5, (0.0, 5.0)), Rating("s", "safe", 0.0, (0.0, 1.0)))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_row_is_detected_and_read_back_the_same(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.gz"
    jsonl.write(file, [to_dict(ROWS[kind])])
    assert detect_kind(file) == kind
    back = load(file, kind)[0]  # type: ignore[call-overload]
    assert (back if kind == "prompt" else replace(back, where="")) == ROWS[kind]


def test_string_rows_can_be_turned_into_messages() -> None:
    assert as_chat(Preference("p", "a", "b")) == Preference((U("p"),), (A("a"),), (A("b"),))
    assert as_chat(Ranking("p", ("a", "b"), (1, 2))).completions == ((A("a"),), (A("b"),))
    assert as_chat(Prompt("1", "p")).content == (U("p"),)


def test_mixed_styles_over_files_are_noted(tmp_path: Path) -> None:
    jsonl.write(tmp_path / "a.jsonl", [{"prompt": "p", "completion": "c"}])
    jsonl.write(tmp_path / "b.jsonl", [{"instruction": "p", "output": "c"}])
    rows = load(f"{tmp_path / 'a.jsonl'},{tmp_path / 'b.jsonl'}", "demonstration")
    assert len(rows) == 2 and "two styles" in rows.report.notes[-1]


def test_wrong_paths_kinds_and_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such file"):
        load(tmp_path / "none.jsonl", "text")
    with pytest.raises(MissingInputError, match="holds no .jsonl"):
        load(tmp_path, "text")
    with pytest.raises(UsageError, match="no kind of data"):
        load(tmp_path, "pairs")  # type: ignore[call-overload]
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(UsageError, match="no known file ending"):
        load(tmp_path / "a.csv", "text")
    with pytest.raises(UsageError, match="no data file"):
        load("", "text")


def test_a_written_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 2"):
        jsonl.write(tmp_path / "x.jsonl", [{"a": 1}, {"a": float("nan")}])
    with pytest.raises(DataError):
        jsonl.write(tmp_path / "x.jsonl", [{"a": "\ud800"}])
    assert list(tmp_path.iterdir()) == []
    assert jsonl.write(tmp_path / "deep" / "x.jsonl", [{"a": "é"}]) == 1
    assert json.loads((tmp_path / "deep" / "x.jsonl").read_text(encoding="utf-8")) == {"a": "é"}


def test_an_unreadable_file_is_denied(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"text": "a"}\n')
    file.chmod(0)
    try:
        file.read_bytes()
    except PermissionError:
        with pytest.raises(DeniedError, match="no permission"):
            load(file, "text")
    else:
        pytest.skip("this user may read everything")


def test_ties_are_read_where_they_are_asked_for_and_both_bad_is_no_tie(tmp_path: Path) -> None:
    ask, two = {"prompt": "p", "weight": 0.5}, ["a", "b"]
    rows = [
        ask | {"chosen": "a", "rejected": "b", "tie": True},
        ask | {"completions": two, "ranks": [1, 1], "tie": True, "both_bad": False, "group": "g"},
        ask | {"completions": two, "ranks": [1, 1], "tie": True, "both_bad": True, "group": "h"},
        ask | {"completions": ["a", "b", "c"], "ranks": [2, 1, 2]},
    ]
    for number, row in enumerate(rows):
        (tmp_path / f"{number}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    found = load(tmp_path, "preference", ties=True)
    assert [(row.chosen, row.rejected, row.tie, row.weight) for row in found] == [
        ("a", "b", True, 0.5),
        ("a", "b", True, 0.5),
        ("b", "a", False, 0.25),
        ("b", "c", False, 0.25),
        ("a", "c", True, 0.25),
    ]
    assert found[1].group == "g" and len({row.group for row in found[2:]}) == 1, "a ranking's pairs stay together"
    assert any("both answers are bad" in note for note in found.report.notes) and not found[1].meta
    with pytest.raises(DataError, match="prefers neither"):
        load(tmp_path / "0.jsonl", "preference")
