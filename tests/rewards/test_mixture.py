"""Sums, limits and running scales of rewards, and the grammar that names them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from rewards import news_ratings as world
from tutelage._http import Service
from tutelage.errors import MissingInputError, UsageError
from tutelage.models.load import load_scorer
from tutelage.rewards import classical
from tutelage.rewards._named import FORMS, People, Tools, folders, model_of, named
from tutelage.rewards.classical import Classical
from tutelage.rewards.clipped import Clipped
from tutelage.rewards.function import Function
from tutelage.rewards.human import Human
from tutelage.rewards.judged import Judged
from tutelage.rewards.mixture import Mixture, Term
from tutelage.rewards.normalised import Normalised
from tutelage.rewards.remote import Remote
from tutelage.types import Prompt, Rating, Sample


def said(*texts: str) -> list[Sample]:
    return [Sample(f"s{n}", Prompt("p", "Say it."), text) for n, text in enumerate(texts)]


def length(prompt: str, completion: str) -> float:
    return float(len(completion))


def vowels(prompt: str, completion: str) -> float:
    return float(sum(character in "aeiou" for character in completion))


class Asked:
    """Tools that remember what they were asked for."""

    def __init__(self, tmp_path: Path) -> None:
        self.models: list[tuple[str, float]] = []
        self.people: list[People] = []
        self.warned: list[str] = []
        self.tools = Tools(self._model, self._people, tmp_path / "judged", self.warned.append)

    def _model(self, name: str, lower: float) -> Function:
        self.models.append((name, lower))
        return Function(length)

    def _people(self, wanted: People) -> Any:
        self.people.append(wanted)
        return (lambda samples: [[Rating("r", "x", 1, (0, 1))] for _ in samples]), None


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


def test_a_mixture_is_the_weighted_sum_of_its_parts() -> None:
    mixture = Mixture([Term("length", 0.7, Function(length)), Term("vowels", -2, Function(vowels))])
    found = mixture.score(said("aeb", "", "xyz"))
    torch.testing.assert_close(found.value, 0.7 * found.parts["length"] - 2 * found.parts["vowels"])
    assert found.parts["length"].tolist() == [3, 0, 3] and found.parts["vowels"].tolist() == [2, 0, 0]
    doubled = Mixture([Term("m", 2, mixture)]).score(said("aeb", "", "xyz"))
    torch.testing.assert_close(doubled.value, 2 * found.value)
    assert {"m", "m/length", "m/vowels"} == doubled.parts.keys()
    swapped = Mixture(mixture.terms[::-1]).score(said("aeb", "", "xyz"))
    torch.testing.assert_close(swapped.value, found.value)


def test_clipping_says_how_many_reached_a_limit() -> None:
    found = Clipped(Function(length), 1, 2).score(said("", "a", "aa", "aaa"))
    assert found.value.tolist() == [1, 1, 2, 2] and found.parts["clipped"].tolist() == [1, 0, 0, 1]
    with pytest.raises(UsageError, match="below the second"):
        Clipped(Function(length), 2, 2)


def test_a_running_scale_is_that_of_all_answers_of_the_steps_before() -> None:
    reward, seen = Normalised(Function(length)), list[float]()
    for step, texts in enumerate([("a", "aaa", "aaaaa"), ("aa",) * 4, ("a" * 9, "a" * 4)]):
        samples = said(*texts)
        before = torch.tensor(seen if step else [float(len(text)) for text in texts])
        wanted = (torch.tensor([len(text) for text in texts]) - before.mean()) / before.std(correction=0)
        for _ in range(2):
            torch.testing.assert_close(reward.score(samples).value, wanted)
        evaluated = reward.score(said("b" * 50))
        assert evaluated.parts["raw"].tolist() == [50], "looking on changes nothing"
        reward.score(samples)
        reward.settle()
        seen += [float(len(text)) for text in texts]
    state = json.loads(json.dumps(reward.state()))
    other = Normalised(Function(length))
    other.restore(state)
    assert other.score(said("aaaa")).value.tolist() == reward.score(said("aaaa")).value.tolist()


def test_alike_scores_have_no_scale_and_stay_finite() -> None:
    reward = Normalised(Function(length))
    assert reward.score(said("aa", "bb")).value.tolist() == [0, 0]
    reward.settle()
    assert reward.score(said("aaaaa")).value.tolist() == [3]


def test_a_mixture_hands_state_to_its_parts() -> None:
    def mixed() -> Mixture:
        return Mixture([Term("n", 1, Normalised(Function(length))), Term("v", 1, Function(vowels))])

    one, two = mixed(), mixed()
    one.score(said("a", "aaa"))
    one.settle()
    two.restore(json.loads(json.dumps(one.state())))
    assert two.score(said("aaaa")).value.tolist() == one.score(said("aaaa")).value.tolist()
    assert one.state().keys() == {"n"}


def test_preferring_by_score_knows_ties() -> None:
    assert Function(length).prefer(said("aa", "a", "b"), said("a", "aa", "c")).tolist() == [1, 0, 0.5]


def test_every_form_of_the_grammar_makes_its_source(asked: Asked, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "cl" / "model"
    folder.mkdir(parents=True)
    classical.fit("ridge", world.rated(6, 2, seed=1)).save(folder)
    kinds = {
        "operator:eq": Function,
        "http://localhost:1/x?q=1+2#timeout=3&batch=5&retries=0": Remote,
        "judge:http://localhost:1/v1#qwen3:8b?mode=pairs&high=5": Judged,
        "people:r.jsonl": Human,
        "normalise(operator:eq)": Normalised,
        "clip(normalise(operator:eq), -1, 1)": Clipped,
        "0.5*operator:eq": Mixture,
        str(folder): Classical,
        str(folder.parent): Classical,
    }
    for text, kind in kinds.items():
        assert isinstance(named(text, asked.tools), kind), text
    remote: Any = named("http://localhost:1/x?q=1+2#timeout=3&batch=5&retries=0", asked.tools)
    assert remote.service == Service("http://localhost:1/x?q=1+2", timeout=3, retries=0) and remote.batch == 5
    judged: Any = named("judge:http://localhost:1/v1#qwen3:8b?mode=pairs&high=5", asked.tools)
    assert (judged.judge.model, judged.mode, judged.judge.high) == ("qwen3:8b", "pairs", 5)
    assert judged.judge.service.url == "http://localhost:1/v1/chat/completions"
    named("people:r.db#faithful,safe?raters=default&taste=news&n=10&zscore=1&wait=5", asked.tools)
    assert asked.people[-1] == People("r.db", ("faithful", "safe"), 10, 5.0, raters="default", zscore=True)
    named("runs/x@lcb=0.5", asked.tools)
    named("org/model", asked.tools)
    assert asked.models == [("runs/x", 0.5), ("org/model", 0.0)]


def test_a_sum_is_read_with_weights_calls_and_its_parts_named_apart(asked: Asked, tmp_path: Path) -> None:
    folder = tmp_path / "a + b"
    folder.mkdir()
    named(str(folder), asked.tools)
    assert asked.models == [(str(folder), 0.0)], "a folder that is there is itself, whatever its name looks like"
    text = "0.7*runs/reward/model + -2e-1*operator:eq + clip(1*operator:eq + operator:ne, 0, 1) + operator:eq"
    mixture: Any = named(text, asked.tools)
    assert [(term.name, term.weight) for term in mixture.terms] == [
        ("reward", 0.7), ("eq", -0.2), ("clip", 1.0), ("eq-2", 1.0),
    ]  # fmt: skip
    assert isinstance(mixture.terms[2].source.inner, Mixture)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no reward was named"),
        ("pepole:r.db", "did you mean 'people'"),
        ("judge:http://localhost:1/v1", "lacks an address or a model"),
        ("judge:qwen", "lacks an address or a model"),
        ("clip(operator:eq, 1)", "a reward and two numbers"),
        ("clip(operator:eq)", "a reward and two numbers"),
        ("median(operator:eq)", "cannot import|names no reward"),
        ("operator:eq + ", "a part of the reward is empty"),
        ("no_such_module:f", "cannot import"),
    ],
)
def test_what_is_no_form_gets_the_list_of_forms(text: str, said: str, asked: Asked) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        named(text, asked.tools)
    assert all(form in str(caught.value) for form in FORMS) and caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("people:r.db?raterz=default", "unknown option 'raterz'[\\s\\S]*did you mean 'raters'"),
        ("people:r.db?n=many", "n=many cannot be read: 'many' is not a whole number"),
        ("human?deadline=soon", "deadline=soon cannot be read: 'soon' is not a number"),
        ("people:r.db?join=median", "choices: mean, max"),
        ("people:r.db?n=0", "n is 1 or more"),
        ("http://localhost:1/#batch=0", "batch is 1 or more"),
        ("http://localhost:1/#nonsense", "no list of options|cannot be read|unknown option"),
        ("judge:http://localhost:1#m?rubric=none.txt", "cannot be read"),
        ("judge:http://localhost:1#m?mode=both", "choices: score, pairs"),
    ],
)
def test_options_are_checked_with_a_suggestion(text: str, said: str, asked: Asked) -> None:
    with pytest.raises((UsageError, FileNotFoundError), match=said):
        named(text, asked.tools)


@pytest.mark.parametrize(("text", "near"), [("humn", "human"), ("0.5*peeple + taste:news", "people"), ("mymodel", "")])
def test_a_word_near_one_of_the_grammar_is_suggested_where_there_is_no_such_model(
    text: str, near: str, asked: Asked
) -> None:
    tools = replace(asked.tools, model=lambda name, lower: cast(Any, load_scorer(name)))
    with pytest.raises(MissingInputError, match="there is no model folder") as caught:
        named(text, tools)
    assert "check the path" in str(caught.value)
    assert ("did you mean" in str(caught.value)) is bool(near) and f"'{near}" in str(caught.value)


def test_the_maximum_of_raters_comes_with_a_warning_and_a_watched_reward_learns_nothing(asked: Asked) -> None:
    named("people:r.jsonl?join=max", asked.tools)
    assert "overstates" in asked.warned[0]
    with pytest.raises(UsageError, match="only looked at"):
        named("1*normalise(operator:eq)", asked.tools, watched=True)


def test_a_critic_starts_from_a_single_neural_model_only(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    assert model_of(str(folder)) == str(folder) and model_of("org/name") == "org/name"
    assert model_of(f"{folder}@lcb") == str(folder)
    for text in ("", "taste:news", "0.5*org/name", "a/b + c/d", "normalise(org/name)", "people:x.db"):
        assert model_of(text) is None, text
    (folder / classical.MARK).write_text("{}")
    assert model_of(str(folder)) is None
    other = tmp_path / "other"
    other.mkdir()
    assert folders(f"0.5*{folder} + clip({other}, 0, 1) + taste:news") == [str(folder), str(other)]
    assert folders(str(other)) == [], "the configuration names it already"
    assert folders(f"lack:{folder}") == [str(folder)]


def test_a_sum_may_be_longer_than_the_name_of_any_file(asked: Asked) -> None:
    long = " + ".join(["0.05*operator:eq"] * 20)
    assert len(long) > 255 and isinstance(named(long, asked.tools), Mixture)
    assert model_of(long) is None and folders(long) == []
