"""Classical rewards: the numbers of a second implementation, Chinese, 200 judgements, and a folder without pickle."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize

from rewards import news_ratings as world
from tutelage.cli.main import main
from tutelage.errors import DataError, UsageError
from tutelage.rewards import _fitting, _machines, classical
from tutelage.rewards._examples import Examples, examples
from tutelage.rewards._features import Reader, Scaling, embedder
from tutelage.rewards._fitting import Strength, choose, solve, split
from tutelage.rewards.classical import Classical
from tutelage.types import Preference, Prompt, Ranking, Rated, Rating, Sample, Unpaired


def made(target: Any, n: int = 60, d: int = 5, seed: int = 0) -> tuple[Any, Examples]:
    """Random features and judgements with weights and margins."""
    draw = np.random.default_rng(seed)
    X = draw.normal(size=(n, d))
    truth = X @ draw.normal(size=d) + 0.3 * draw.normal(size=n)
    first, second = np.arange(n), np.arange(n)
    y = 0.5 + truth / 10 if target == "score" else np.where(truth > 0.2, 1.0, -1.0)
    if target == "pair":
        i, j = draw.integers(0, n, (2, 80))
        i, j = i[truth[i] != truth[j]], j[truth[i] != truth[j]]
        first, second = np.where(truth[i] > truth[j], i, j), np.where(truth[i] > truth[j], j, i)
        y = 1 + draw.choice([0.0, 1 / 3, 1.0], len(first))
    weight = draw.uniform(0.5, 2, len(y))
    said = tuple((f"prompt {k % 9}", f"answer {k}") for k in range(n))
    return sp.csr_matrix(X), Examples(target, said, first, second, y, weight, first % 9)


@pytest.mark.parametrize("alpha", [1e-2, 1.0, 100.0])
def test_ridge_is_its_closed_form_with_the_intercept_unpenalised(alpha: float) -> None:
    X, found = made("score")
    A = np.hstack([X.toarray(), np.ones((60, 1))])
    W, penalty = np.diag(found.weight), np.diag([alpha] * 5 + [0.0])
    wanted = np.linalg.solve(A.T @ W @ A + penalty, A.T @ W @ found.y)
    machine = solve("ridge", X, found, Strength(alpha))
    np.testing.assert_allclose(np.append(machine.weights, machine.intercept), wanted, atol=1e-6)


def test_ridge_on_pairs_is_the_closed_form_on_differences_and_a_tie_wants_no_difference() -> None:
    X, found = made("pair")
    found = replace(found, y=np.where(np.arange(len(found)) % 7, found.y, 0.0))
    D = (X[found.first] - X[found.second]).toarray()
    wanted = np.linalg.solve(D.T @ np.diag(found.weight) @ D + 2 * np.eye(5), D.T @ (found.weight * found.y))
    np.testing.assert_allclose(solve("ridge", X, found, Strength(2.0)).weights, wanted, atol=1e-6)


def test_the_linear_machines_agree_with_scikit_learn_on_dense_rows() -> None:
    from sklearn.svm import SVR, LinearSVC

    X, found = made("class")
    C = 0.3
    ours = solve("svm", X, found, Strength(C))
    theirs = LinearSVC(C=C, loss="hinge", max_iter=100_000, intercept_scaling=100).fit(
        X.toarray(), found.y, sample_weight=found.weight
    )
    np.testing.assert_allclose(ours.weights, theirs.coef_[0], atol=0.03)
    X, found = made("score")
    theirs = SVR(C=C, kernel="linear", epsilon=0.05).fit(X.toarray(), found.y, sample_weight=found.weight)
    np.testing.assert_allclose(solve("svm", X, found, Strength(C))(X), theirs.predict(X.toarray()), atol=1e-6)


def rank_svm_loss(scores_of: Any, w: Any, found: Examples, C: float, penalty: float) -> float:
    """½‖w‖² + C Σ weight·max(0, y − (score_i − score_j)): the definition, margins as they are asked for."""
    scores = scores_of(w)
    slack = np.maximum(0, found.y - (scores[found.first] - scores[found.second]))
    return float(0.5 * penalty + C * np.sum(found.weight * slack))


def test_rank_svm_with_margins_minimises_its_definition() -> None:
    X, found = made("pair")
    dense, C = X.toarray(), 0.2

    def loss(w: Any) -> float:
        return rank_svm_loss(lambda w: dense @ w, w, found, C, float(w @ w))

    ours = solve("svm", X, found, Strength(C)).weights
    best = minimize(loss, ours, method="Powell", options={"maxiter": 20_000, "xtol": 1e-8, "ftol": 1e-12})
    assert loss(ours) == pytest.approx(best.fun, rel=1e-3)
    np.testing.assert_allclose(ours, best.x, atol=0.03)


def test_a_kernel_rank_svm_with_a_nearly_linear_kernel_is_the_linear_one() -> None:
    """For a tiny γ, exp(−γ‖x−z‖²) ≈ 1 − γ‖x−z‖², whose differences of differences are 2γ⟨d, d'⟩."""
    X, found = made("pair")
    gamma = 1e-5
    kernel = solve("svm-rbf", X, found, Strength(0.2 / (2 * gamma), gamma), variance=1.0)
    linear = solve("svm", X, found, Strength(0.2))
    a, b = kernel(X), linear(X)
    np.testing.assert_allclose(a[found.first] - a[found.second], b[found.first] - b[found.second], atol=0.03)
    assert kernel.intercept == 0


@pytest.mark.parametrize("target", ["pair", "class", "score"])
def test_nystrom_through_all_answers_is_the_kernel_itself(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    X, found = made(target)
    exact = solve("svm-rbf", X, found, Strength(3.0, 1.0), variance=5.0)
    monkeypatch.setattr(_machines, "EXACT_ROWS", 10)
    monkeypatch.setattr(_machines, "_PASSES", 100_000)
    assert _machines.landmarks("svm-rbf", found) == len(found.used) and not _machines.landmarks("svm", found)
    close = solve("svm-rbf", X, found, Strength(3.0, 1.0), variance=5.0)
    a, b = exact(X), close(X)
    if target == "pair":  # only differences mean something
        a, b = a[found.first] - a[found.second], b[found.first] - b[found.second]
    assert np.corrcoef(a, b)[0, 1] > 0.99
    if target == "pair":
        np.testing.assert_allclose(a, b, atol=0.05)


def test_few_landmarks_cost_little_and_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = world.preferred(300, seed=1)
    monkeypatch.setattr(_machines, "EXACT_ROWS", 100)
    monkeypatch.setattr(_machines, "LANDMARKS", 64)
    fitted = classical.fit("svm-pair-rbf", rows)
    assert fitted.report["fit/landmarks"] == 64 and fitted.machine.support.shape[0] == 64
    assert classical.held_out(fitted, world.true_pairs(150, seed=99))["eval/accuracy"] > 0.8
    assert classical.fit("svm-pair", rows).report["fit/landmarks"] == 0


def test_strengths_that_only_learn_by_heart_are_left_untried() -> None:
    rows = world.preferred(120, seed=1)
    found = examples(rows)
    blocks = Reader()(found.answers)
    chosen = choose("svm", blocks, found)
    assert 3 <= chosen.tried <= len(_fitting._SVM)
    whole = max(
        (_fitting.Chosen(Strength(C), *_marks(blocks, found, C)) for C in _fitting._SVM),
        key=lambda one: (round(one.score, 9), -one.strength.value),
    )
    assert chosen.strength == whole.strength and chosen.score == pytest.approx(whole.score)


def _marks(blocks: Any, found: Examples, C: float) -> tuple[float, float, float]:
    marks = []
    for train, held_out in split(found):
        X = Scaling.of(blocks.take(train.used))(blocks)
        marks.append(_fitting.quality(solve("svm", X, train, Strength(C))(X), held_out, train))
    return float(np.mean(marks)), 0.0, 0.0


def test_no_prompt_stands_on_both_sides_of_a_split_and_every_judgement_is_held_out_once() -> None:
    _, found = made("pair")
    seen = []
    for train, held_out in split(found):
        assert not set(train.group.tolist()) & set(held_out.group.tolist())
        seen += held_out.weight.tolist()
    assert sorted(seen) == sorted(found.weight.tolist())
    one = replace(found, group=np.zeros_like(found.group))
    with pytest.raises(DataError, match="one prompt only"):
        list(split(one))


def test_features_are_scaled_by_the_training_rows_alone() -> None:
    said = [(f"prompt {n}", "wort " * (n + 1) + "周一开放。" * (n % 3)) for n in range(12)]
    blocks = Reader()(said)
    scaling = Scaling.of(blocks.take(range(8)))
    moved = [*said[:8], *(("x", "something else entirely" * n) for n in range(9, 13))]
    other = Scaling.of(Reader()(moved).take(range(8)))
    for name in scaling.scale:
        np.testing.assert_array_equal(scaling.scale[name], other.scale[name])
    X = scaling(blocks)[:8].toarray()
    plain = X[:, 4096:]
    np.testing.assert_allclose(plain.mean(0), 0, atol=1e-12)
    assert set(np.round(plain.std(0), 6)) <= {0.0, 1.0}
    assert X[:, :2048].var(0).sum() == pytest.approx(X[:, 2048:4096].var(0).sum())


def test_chinese_is_read_by_character_like_english_by_word() -> None:
    english = Reader()([("The mayor opened a bridge in Norwick.", "The mayor opened a bridge.")]).parts
    chinese = Reader()([("周一，北城市长为新桥剪彩。", "北城市长为新桥剪彩。")]).parts
    for parts in (english, chinese):
        assert parts["words"].nnz > 5 and parts["characters"].nnz > 10
        shared = parts["plain"][0][3]
        assert shared == 1.0, "every word of the answer stands in its prompt"
    strange = Reader()([("周一，北城市长为新桥剪彩。", "东港失火")]).parts["plain"][0][3]
    assert strange == 0.0


@pytest.mark.parametrize("kind", ["ridge", "svm", "svm-rbf", "svm-class", "svm-pair", "svm-pair-rbf"])
def test_200_judgements_make_a_reward_that_beats_length_by_far(kind: str) -> None:
    rows = world.rated(50, 4, seed=2) if "-class" in kind or kind != "svm" else world.preferred(200, seed=1)
    assert len(rows) == 200
    began = time.process_time()
    fitted = classical.fit(kind, rows)
    assert time.process_time() - began < 5
    told = classical.held_out(fitted, world.true_pairs(150, seed=99))
    assert told["eval/accuracy"] > 0.8 > 0.65 > told["eval/length_only"]
    assert fitted.report["cv/score"] > fitted.report["cv/length_only"] + 0.15


def test_it_works_in_chinese_alone() -> None:
    def chinese(rows: list[Any]) -> list[Any]:
        return [row for row in rows if "\u4e00" <= row.prompt[0] <= "\u9fff"]

    fitted = classical.fit("ridge", chinese(world.rated(80, 4, seed=5)))
    told = classical.held_out(fitted, chinese(world.true_pairs(200, seed=98)))
    assert told["eval/judgements"] > 60 and told["eval/accuracy"] > 0.8


def test_rankings_and_classes_are_learned_from_as_they_are() -> None:
    fitted = classical.fit("svm", world.ranked(40, 4, seed=3))
    assert fitted.target == "pair" and fitted.report["data/judgements"] == 40 * 6
    good = [Unpaired(row.prompt, row.completion, row.ratings[0].score > 2.5) for row in world.rated(40, 3, seed=4)]
    fitted = classical.fit("ridge", good)
    assert fitted.target == "class"
    assert classical.held_out(fitted, world.true_pairs(100, seed=97))["eval/accuracy"] > 0.75


def test_a_saved_reward_scores_the_same_and_holds_no_pickle(tmp_path: Path) -> None:
    asked = [
        Sample(f"s{n}", Prompt(f"p{n}", row.prompt), row.completion) for n, row in enumerate(world.rated(5, 2, seed=6))
    ]
    for kind in ("ridge", "svm-rbf"):
        folder = tmp_path / kind / "model"
        folder.mkdir(parents=True)
        fitted = classical.fit(kind, world.rated(20, 3, seed=2))
        fitted.save(folder)
        value = Classical(fitted).score(asked).value
        for place in (folder, folder.parent):
            assert Classical.load(place).score(asked).value.tolist() == value.tolist()
        assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    everything = Classical(fitted).of([(row.prompt, row.completion) for row in world.rated(20, 3, seed=2)])
    assert everything.mean() == pytest.approx(0, abs=1e-9) and everything.std() == pytest.approx(1)


def test_a_damaged_folder_is_said_to_be_one(tmp_path: Path) -> None:
    fitted = classical.fit("ridge", world.rated(10, 2, seed=2))
    fitted.save(tmp_path)
    whole = (tmp_path / classical.ARRAYS).read_bytes()
    (tmp_path / classical.ARRAYS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not the reward that was written here"):
        Classical.load(tmp_path)
    (tmp_path / classical.ARRAYS).write_bytes(whole)
    told = json.loads((tmp_path / classical.MARK).read_text())
    (tmp_path / classical.MARK).write_text(json.dumps(told | {"plain": ["length"]}))
    with pytest.raises(DataError, match="other features"):
        Classical.load(tmp_path)
    with pytest.raises(DataError, match="there is no classical.json"):
        Classical.load(tmp_path / "nowhere")


def test_a_policy_adds_its_mean_hidden_state(tiny_model: Path) -> None:
    embed = embedder(str(tiny_model))
    said = [("Summarise.", "A bridge."), ("Summarise.", ""), ("总结。", "一座桥。")]
    found = embed(said)
    assert found.shape == (3, 32) and np.isfinite(found).all()
    np.testing.assert_allclose(embed(said[2:]), found[2:], atol=1e-5)
    fitted = classical.fit("ridge", world.rated(8, 2, seed=2), str(tiny_model))
    assert "embedding" in fitted.scaling.scale and fitted.model == str(tiny_model)


def test_weights_ties_and_unequal_raters_are_read_as_they_are_meant() -> None:
    pairs = examples(
        [
            Preference("p", "a", "b", margin=1.0, weight=0.5),
            Preference("p", "a", "c", tie=True),
            Ranking("q", ("x", "y", "z"), (2, 1, 2), weight=2.0),
            Preference("p", "d", "e", weight=0.0),
        ]
    )
    told = [(pairs.answers[i][1], pairs.answers[j][1]) for i, j in zip(pairs.first, pairs.second, strict=True)]
    assert told == [("a", "b"), ("a", "c"), ("y", "x"), ("x", "z"), ("y", "z")]
    assert pairs.y.tolist() == [2.0, 0.0, 1.0, 0.0, 1.0] and pairs.weight.tolist() == [0.5, 1.0, 1.0, 1.0, 1.0]
    marks = (Rating("a", "x", 5), Rating("a", "y", 0), Rating("b", "x", 1, (1, 2)))
    assert examples([Rated("p", "a", marks), Rated("q", "b", marks[:1])]).y.tolist() == [0.25, 1.0]


def test_answers_count_by_their_weight_and_raters_as_far_as_they_are_believed() -> None:
    assert examples([Unpaired("p", "a", True, weight=3.0), Unpaired("q", "b", False)]).weight.tolist() == [3.0, 1.0]
    marks = (Rating("ann", "x", 5), Rating("bob", "x", 0))
    believed = Rated("p", "a", marks, meta={"rater_weights": {"ann": 0.9, "bob": 0.1}})
    nobody = Rated("q", "b", marks, meta={"rater_weights": {"ann": 0.0, "bob": 0.0}})
    found = examples([believed, nobody])
    assert found.y == pytest.approx([0.9]) and len(found) == 1


@pytest.mark.parametrize("kind", ["ridge", "svm-pair", "svm-pair-rbf"])
def test_a_prompt_with_nothing_but_a_tie_does_not_spoil_the_choice_of_strength(kind: str) -> None:
    clear = [Preference(f"p{n}", f"a good answer {n}", f"bad {n}") for n in range(6)]
    fitted = classical.fit(kind, [*clear, Preference("q", "one", "two", tie=True)])
    assert fitted.report["cv/score"] == 1.0 and fitted.report["cv/score_se"] == 0.0


def test_what_cannot_be_learned_from_is_refused_in_words() -> None:
    pair, scored = Preference("p", "a", "b"), Rated("p", "a", (Rating("r", "x", 3),))
    for kind, rows, said in [
        ("svm-class", [pair], "cannot be read as 'class'"),
        ("ridge", [pair, scored], "pairs and scores"),
        ("svm-pair", [scored], "nothing to learn"),
        ("svm-class", [scored], "all are alike"),
        ("svm", [pair, Preference("q", "a", "b")], "too little is left"),
        ("svm-rbf", [pair, *(Preference(f"q{n}", "a", "b", tie=True) for n in range(4))], "only ties"),
        ("svm", [Unpaired("p", "a", True), Unpaired("q", "b", False)], "too little is left"),
    ]:
        with pytest.raises(DataError, match=said):
            classical.fit(kind, rows)
    with pytest.raises(UsageError, match="choices: ridge"):
        classical.fit("forest", [pair])


def test_the_last_line_tells_folds_and_held_out_rows_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, numbers in (("learned", range(12)), ("held", range(20, 26))):
        rows = [{"prompt": f"What is {n}? ", "chosen": "good yes", "rejected": "bad no"} for n in numbers]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    told = ["--data", str(tmp_path / "learned.jsonl"), "--eval-data", str(tmp_path / "held.jsonl")]
    assert main(["reward", "--kind", "ridge", *told, "--out", str(tmp_path / "run")]) == 0
    shown = "".join(capsys.readouterr())
    assert "cross-validated accuracy 1.000" in shown
    assert "held.jsonl: 1.000 of pairs in the right order, by length alone 1.000" in shown
