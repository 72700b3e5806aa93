"""Ten raters, three of them bad: believing them by what they are worth beats counting heads, on the hidden truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from random import Random
from typing import Any

import pytest

from tutelage.labelers._consensus import Weighting, consensus, report
from tutelage.labelers._export import Export, Wanted
from tutelage.labelers._pairing import ASPECTS, Pairing, questions
from tutelage.labelers.simulated import DEFAULT, Rater, Simulated
from tutelage.store.decisions import Decisions
from tutelage.store.export import preferences
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, Message, Prompt, Sample


def taste(meta: Mapping[str, Any], text: str) -> dict[str, float]:
    random = Random(text)
    aspects = {aspect: random.random() for aspect in ASPECTS}
    return {**aspects, "overall": sum(aspects.values()) / len(aspects)}


@pytest.fixture(scope="module", params=[0, 1, 2])
def judged(request: pytest.FixtureRequest) -> Store:
    """250 prompts with four answers each, judged threefold by the default ten."""
    seed: int = request.param
    store = Store(":memory:")
    said = [
        Sample(f"p{n}-{j}", prompt, f"answer {j} to {n} of {seed}", model="weak" if j % 2 else "other")
        for n in range(250)
        for prompt in [Prompt(f"p{n}", (Message("user", f"? {n}"),), {})]
        for j in range(4)
    ]
    store.ask(questions(said, "default", Pairing(seed=seed)).comparisons, overlap=3)
    Simulated(DEFAULT, taste, seed).label(store)
    return store


def _right(store: Store, weighting: Weighting, pool: bool) -> tuple[int, float, float]:
    """(rows, share of right labels, the same weighted) against the hidden taste."""
    found = consensus(store, weighting=weighting, pool=pool)
    rows = preferences(found.votes, found.model.first, found.model.ties, weighted=weighting != "none").rows
    truth = [_quality(row, "chosen") > _quality(row, "rejected") for row in rows]
    weights = [row["weight"] for row in rows]
    weighted = sum(weight for weight, fact in zip(weights, truth, strict=True) if fact) / sum(weights)
    return len(rows), sum(truth) / len(truth), weighted


def _quality(row: Mapping[str, Any], side: str) -> float:
    return taste({}, row[side][0]["content"])["overall"]


@pytest.mark.parametrize("pool", [True, False])
def test_weighting_beats_the_majority_on_the_hidden_truth(judged: Store, pool: bool) -> None:
    rows, right, weighted = _right(judged, "reliability", pool)
    majority_rows, majority, _ = _right(judged, "none", pool)
    assert right > majority + 0.01
    assert weighted > right  # the weights know where the labels are doubtful
    assert rows > 0.95 * majority_rows  # and not by leaving the hard ones out


def test_pooling_halves_the_wrong_labels(judged: Store) -> None:
    assert 1 - _right(judged, "reliability", True)[1] < 0.7 * (1 - _right(judged, "reliability", False)[1])


def test_the_bad_raters_are_found(judged: Store) -> None:
    weights = consensus(judged).weights
    assert weights["adversary"] == 0
    ordinary = [weight for name, weight in weights.items() if name not in ("adversary", "careless", "lefty")]
    assert max(weights["careless"], weights["lefty"]) < min(ordinary)
    assert min(ordinary) > 0.5


@pytest.mark.parametrize("without", [(), ("ada", "lefty")])
def test_a_rater_weighs_in_the_report_what_they_weigh_in_every_export(without: tuple[str, ...]) -> None:
    store = Store(":memory:")
    said = [
        Sample(f"p{n}-{j}", prompt, f"answer {j} to {n}", model=f"m{j % 2}")
        for n in range(30)
        for prompt in [Prompt(f"p{n}", f"? {n}", {})]
        for j in range(4)
    ]
    store.ask(questions(said, "default", Pairing()).comparisons, overlap=3)
    Simulated(DEFAULT, taste, 0).label(store)
    told = {line["rater"]: line["weight"] for line in report(store, without=without)["raters"]}
    assert len(told) == len(DEFAULT) and {told[name] for name in without} <= {None}
    for kind, pool in product(("preference", "unpaired", "ranking", "rated", "per-rater"), (True, False)):
        made = Export(store, "default", Wanted(kind, pool=pool), without=without)
        assert list(made.rows())
        weights = {name: round(weight, 4) for name, weight in made.weights.items()}
        assert told == weights | dict.fromkeys(without), (kind, pool)


def test_excluded_raters_change_no_others_line_and_keep_their_own() -> None:
    def lines(raters: tuple[Rater, ...], without: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
        store = Store(":memory:")
        said = [
            Sample(f"p{n}-{j}", prompt, f"answer {j} to {n}", model=f"m{j % 2}")
            for n in range(40)
            for prompt in [Prompt(f"p{n}", f"? {n}", {})]
            for j in range(4)
        ]
        store.ask(questions(said, "default", Pairing()).comparisons, overlap=len(raters))
        Simulated(raters, taste, 0).label(store)
        return {line["rater"]: line for line in report(store, without=without)["raters"]}

    bad = {"adversary", "careless"}
    alone = lines(tuple(rater for rater in DEFAULT[:6] if rater.name not in bad))
    raters = tuple(rater for rater in DEFAULT if rater.name in {*alone, *bad})
    told = lines(raters, tuple(bad))
    assert {name: line for name, line in told.items() if name not in bad} == alone
    assert told.keys() == {*alone, *bad} and all(told[name]["agrees_with_others"] is not None for name in bad)
    assert lines(raters)["bo"] != told["bo"], "taken in, they would"


def test_preference_weights_are_loss_weights(judged: Store) -> None:
    found = consensus(judged)
    rows = preferences(found.votes, found.model.first, found.model.ties).rows
    assert all(0 < row["weight"] <= 1 for row in rows)
    by_prompt: dict[str, float] = {}
    for row in rows:
        by_prompt[row["group"]] = by_prompt.get(row["group"], 0) + row["weight"]
    assert max(by_prompt.values()) <= 2 + 1e-6  # four answers weigh as two pairs at most


def test_the_report_says_what_was_planted(judged: Store) -> None:
    told = json.loads(json.dumps(report(judged)))
    lines = {line["rater"]: line for line in told["raters"]}
    assert lines["lefty"]["left_low"] > 0.8
    assert lines["ada"]["left"] == pytest.approx(0.5, abs=0.15)  # about a hundred pairs: three standard errors
    assert lines["gita"]["severity"] - lines["fang"]["severity"] == pytest.approx(1.6, abs=0.45)
    assert lines["careless"]["self_consistency"] < 0.75 < lines["ada"]["self_consistency"]
    kinds = [line["question"] for line in told["agreement"]]
    assert kinds == ["pair", "ranking", *(f"scores: {aspect}" for aspect in ASPECTS)]
    assert all(line["alpha_low"] <= line["alpha"] <= line["alpha_high"] for line in told["agreement"])
    assert told["ceiling"]["low"] < told["ceiling"]["value"] < told["ceiling"]["high"] < 1
    strengths = {line["model"]: line for line in told["models"]["strengths"]}
    assert strengths["weak"]["low"] < 0.15 and strengths["weak"]["high"] > -0.15  # no better and no worse


def test_a_better_model_leads_the_board() -> None:
    store = Store(":memory:")
    said: list[Sample] = []
    for n in range(80):
        prompt = Prompt(f"p{n}", f"? {n}", {})
        best = max((f"try {j} of {n}" for j in range(4)), key=lambda text: taste({}, text)["overall"])
        said += [Sample(f"b{n}", prompt, best, model="better"), Sample(f"w{n}", prompt, f"any {n}", model="worse")]
    store.ask(questions(said, "default", Pairing(kinds=("pair",))).comparisons, overlap=3)
    Simulated([Rater(name) for name in "abc"], taste).label(store)
    board = report(store)["models"]
    assert [line["model"] for line in board["strengths"]] == ["better", "worse"]
    assert board["strengths"][0]["low"] > 0


def test_nothing_judged_is_undefined_not_an_error() -> None:
    store = Store(":memory:")
    prompt = Prompt("p", "?", {})
    store.ask(questions([Sample(f"a{j}", prompt, f"{j}") for j in range(3)], "default", Pairing()).comparisons)
    told = report(store)
    assert (told["judgements"], told["ceiling"], told["models"], told["raters"]) == (0, None, None, [])


def test_what_an_admin_has_decided_is_no_doubt_any_more_and_scores_that_differ_are_none() -> None:
    store, prompt = Store(":memory:"), Prompt("p", "?", {})
    first, second = (Sample(name, prompt, f"text {name}") for name in "ab")
    scored = [Comparison(f"s{one.id}", "scores", prompt, (one,), ("overall",)) for one in (first, second)]
    store.ask([*scored, Comparison("pair", "pair", prompt, (first, second))], overlap=2)
    for rater, low, high in (("ann", 0.0, 5.0), ("bo", 5.0, 0.0)):
        for name, score in (("sa", low), ("sb", high)):
            flags = ("unsafe",) if name == "sa" else ()
            store.answer(Judgement(f"{rater}{name}", name, rater, scores={"overall": score}, flags=flags))
        store.answer(Judgement(f"{rater}pair", "pair", rater, (1, 2) if rater == "ann" else (2, 1), shown=(0, 1)))
    doubts = lambda: {line["question"]: line["reason"] for line in report(store)["adjudicate"]}  # noqa: E731
    assert doubts() == {"sa": "flagged", "pair": "split"}
    decisions = Decisions(store.database)
    decisions.decide("default", 1, Judgement("", "", "", scores={"overall": 1.0}), actor="admin")
    assert doubts() == {"pair": "split"}
    decisions.decide("default", 3, Judgement("", "", "", (1, 1)), actor="admin")
    assert doubts() == {}


def _three_ranked(store: Store, prompts: int) -> None:
    """On each prompt a ranking and a pair of answers by two models, which two raters order against each other."""
    asked: list[Comparison] = []
    for number in range(prompts):
        prompt = Prompt(f"p{number}", f"? {number}", {})
        said = tuple(Sample(f"{name}{number}", prompt, f"{name} {number}", model=name) for name in "abc")
        asked += [Comparison(f"r{number}", "ranking", prompt, said), Comparison(f"c{number}", "pair", prompt, said[:2])]
    store.ask(asked, overlap=2)
    for one in asked:
        for rater, order in (("ann", (1, 2, 3)), ("bo", (3, 2, 1))):
            ranks = order if one.kind == "ranking" else (1, 2) if rater == "ann" else (2, 1)
            shown = tuple(range(len(ranks)))
            store.answer(Judgement(f"{rater}-{one.id}", one.id, rater, ranks, shown=shown))


@pytest.mark.parametrize("prompts", [1, 2, 3])
def test_fewer_than_three_prompts_give_no_interval(prompts: int) -> None:
    store = Store(":memory:")
    _three_ranked(store, prompts)
    told = report(store)
    names = ("agreement", "alpha", "fleiss", "ac1")
    found = [(line[name], line[f"{name}_low"]) for line in told["agreement"] for name in names]
    ranking = next(line for line in told["agreement"] if line["question"] == "ranking")
    found.append((ranking["tau_b"], ranking["tau_b_low"]))
    found += [(one["value"], one["low"]) for one in (told["ceiling"], told["models"]["side"])]
    found += [(one["value"], one["low"]) for one in told["models"]["strengths"]]
    assert all(value is not None for value, _ in found)
    assert {low is None for _, low in found} == {prompts < 3}
    assert {line["prompts"] for line in told["agreement"]} == {prompts} == {ranking["tau_b_prompts"]}
    assert told["ceiling"]["prompts"] == told["models"]["prompts"] == prompts


def test_a_question_is_to_be_looked_at_once_however_many_of_its_pairs_are_in_doubt() -> None:
    store = Store(":memory:")
    _three_ranked(store, 2)
    store.answer(Judgement("eve-r0", "r0", "eve", (2, 3, 1), shown=(0, 1, 2), flags=("unsafe",)))
    doubts = report(store)["adjudicate"]
    assert sorted(line["question"] for line in doubts) == ["c0", "c1", "r0", "r1"]
    told = {line["question"]: (line["reason"], line["votes"]) for line in doubts}
    assert told == {"r0": ("flagged", 3), "r1": ("split", 2), "c0": ("split", 2), "c1": ("split", 2)}
    assert all(0.5 <= line["certainty"] < 0.95 for line in doubts)
