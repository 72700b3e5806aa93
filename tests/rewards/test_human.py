"""People's own scores as the reward: means and their bias, severity, waiting, and never a made-up number."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from rewards import news_ratings as world
from tutelage.data.sources.news import taste
from tutelage.errors import DataError, TryAgainError, UsageError
from tutelage.labelers._live import Live, Plan, Trainer
from tutelage.labelers._scores import Recorded, asking, scales_of
from tutelage.labelers.simulated import DEFAULT, Simulated
from tutelage.rewards._live import LiveHuman
from tutelage.rewards._named import People
from tutelage.rewards.human import Human
from tutelage.statistics.severity import RaterScales
from tutelage.store.store import Store
from tutelage.types import Judgement, Message, Prompt, Rating, Sample


def said(*texts: str) -> list[Sample]:
    return [Sample(f"s{n}", Prompt("p", "Say it."), text) for n, text in enumerate(texts)]


def given(*scores: float, scale: tuple[float, float] = (0, 5), aspect: str = "overall") -> list[Rating]:
    return [Rating(f"r{n}", aspect, score, scale) for n, score in enumerate(scores)]


def test_ten_raters_of_0_to_5_become_their_mean_of_0_to_1_with_its_standard_error() -> None:
    told = [given(5, 4, 5, 3, 4, 5, 5, 4, 4, 5), given(*[0.0] * 10), given(*[5.0] * 10)]
    found = Human(lambda samples: told).score(said("a", "b", "c"))
    torch.testing.assert_close(found.value, torch.tensor([0.88, 0.0, 1.0]))
    wanted = torch.tensor([one.score / 5 for one in told[0]]).std() / 10**0.5
    torch.testing.assert_close(found.parts["people/se"], torch.tensor([float(wanted), 0.0, 0.0]))
    assert found.parts["people/raters"].tolist() == [10.0] * 3


def test_aspects_count_alike_and_scales_are_joined() -> None:
    told = [[*given(4, 2, aspect="kind"), *given(1, 2, scale=(1, 2), aspect="true")]]
    found = Human(lambda samples: told).score(said("a"))
    assert found.value.item() == pytest.approx(((0.8 + 0.0) / 2 + (0.4 + 1.0) / 2) / 2)
    assert found.parts["people/kind"].item() == pytest.approx(0.6)
    assert Human(lambda samples: told, ["true"]).score(said("a")).value.item() == pytest.approx(0.5)


def test_the_mean_of_n_is_unbiased_and_the_maximum_is_not() -> None:
    """At unit noise E[max of 3] = +0.846 and of 5 = +1.163 (order statistics of the normal); the mean stays at 0."""
    rng = Random(0)
    for n, bias in ((3, 0.846), (5, 1.163)):
        told = [given(*(rng.gauss(0, 1) for _ in range(n)), scale=(0, 1)) for _ in range(4000)]
        asked = [Sample(str(k), Prompt("p", "x"), str(k)) for k in range(4000)]
        assert Human(lambda samples, told=told: told).score(asked).value.mean().item() == pytest.approx(0, abs=0.04)
        highest = Human(lambda samples, told=told: told, join="max").score(asked)
        assert highest.value.mean().item() == pytest.approx(bias, abs=0.04)


def test_more_raters_come_nearer_to_the_truth() -> None:
    """Correlation with the truth at unit noise: .71, .87, .91 for 1, 3, 5 raters."""
    rng = Random(1)
    truth = [rng.gauss(0, 1) for _ in range(4000)]
    asked = [Sample(str(k), Prompt("p", "x"), str(k)) for k in range(4000)]
    for n, wanted in ((1, 0.71), (3, 0.87), (5, 0.91)):
        told = [given(*(t + rng.gauss(0, 1) for _ in range(n)), scale=(0, 1)) for t in truth]
        value = Human(lambda samples, told=told: told).score(asked).value
        assert torch.corrcoef(torch.stack([value, torch.tensor(truth)]))[0, 1].item() == pytest.approx(wanted, abs=0.02)


def test_an_answer_without_a_score_is_refused_and_named() -> None:
    other = given(1, aspect="other")
    for told, aspects in (([given(3), given()], []), ([other, given(3)], ["other"])):
        with pytest.raises(DataError, match=r"1 of 2 answers have no score[\s\S]*s1: 'b'") as caught:
            Human(lambda samples, told=told: told, aspects).score(said("a", "b"))
        assert caught.value.exit_code == 65


def test_severity_is_taken_out_and_a_restart_goes_on_with_the_same_scales() -> None:
    """The mild and the severe rater see different answers of equal quality: raw scores differ, levelled ones do not."""
    rng = Random(2)
    scales = RaterScales(prior=10)
    scales.add((rater, rng.gauss(0.5, 0.1) + shift) for rater, shift in (("mild", 0.2), ("severe", -0.2)) * 300)
    told = [[Rating("mild", "x", 0.7, (0, 1))], [Rating("severe", "x", 0.3, (0, 1))]]
    human = Human(lambda samples: told, scales=scales)
    found = human.score(said("a", "b"))
    assert found.parts["people/raw"].tolist() == pytest.approx([0.7, 0.3])
    assert abs(found.value[0] - found.value[1]) < 0.03 and found.value.mean().item() == pytest.approx(0.5, abs=0.02)
    before = human.state()
    assert human.score(said("a", "b")).value.tolist() == found.value.tolist() and human.state() == before
    human.settle()
    assert human.state() != before
    other = Human(lambda samples: told, scales=RaterScales())
    other.restore(json.loads(json.dumps(human.state())))
    assert other.score(said("a", "b")).value.tolist() == human.score(said("a", "b")).value.tolist()


def test_a_rater_of_few_scores_is_taken_for_an_ordinary_one() -> None:
    scales = RaterScales(prior=10)
    scales.add([("many", 0.4), ("many", 0.6)] * 50 + [("new", 0.9)])
    assert scales.level("stranger", 0.7) == pytest.approx(0.7)
    assert 0.75 < scales.level("new", 0.9) < 0.9


def rated_file(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_recorded_scores_are_found_by_their_content(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "你好"}]
    file = rated_file(
        tmp_path / "r.jsonl",
        [
            {
                "prompt": "Say it.",
                "completion": "a",
                "ratings": [{"rater": "x", "aspect": "q", "score": 4, "scale": [0, 5]}],
            },
            {
                "prompt": turns,
                "completion": [{"role": "assistant", "content": "好"}],
                "ratings": [{"rater": "x", "aspect": "q", "score": 1, "scale": [0, 5]}],
            },
        ],
    )
    source = Recorded(file)
    asked = [*said("a"), Sample("z", Prompt("q", (Message("user", "你好"),)), "好")]
    assert Human(source).score(asked).value.tolist() == pytest.approx([0.8, 0.2])
    with pytest.raises(DataError, match="no score"):
        Human(source).score(said("never rated"))
    assert scales_of(source, 10).everybody.count == 2


def simulated(url: Path, **more: Any) -> Live:
    labeler = Simulated(DEFAULT, taste, 3)
    told: dict[str, Any] = {"raters": 10} | more
    return Live(str(url), Plan(**told), simulated=labeler)


def test_ten_simulated_raters_answer_through_the_real_store_once(tmp_path: Path) -> None:
    asked = [sample for group in world.answers(6, 2, seed=1) for sample in group]
    source = simulated(tmp_path / "r.db")
    found = Human(source, ["overall"]).score(asked)
    truth = torch.tensor([world.truth(sample) for sample in asked])
    assert torch.corrcoef(torch.stack([found.value, truth]))[0, 1] > 0.7
    assert found.parts["people/raters"].tolist() == [10.0] * 12
    with Store(tmp_path / "r.db", create=False) as store:
        assert store.stats()["judgements"] == 120
    again = Human(simulated(tmp_path / "r.db"), ["overall"]).score(asked[::-1])
    assert again.value.flip(0).tolist() == found.value.tolist(), "a restarted run hears the same"
    with Store(tmp_path / "r.db", create=False) as store:
        assert store.stats()["judgements"] == 120 and store.stats()["questions"] == 12


def test_a_run_stops_at_the_deadline_where_it_was_told_to_and_goes_on_later(tmp_path: Path) -> None:
    url, heard = tmp_path / "r.db", list[str]()
    asked = world.answers(1, 2, seed=1)[0]

    def source(wait: float) -> Live:
        return Live(str(url), Plan(raters=2, wait=wait, late="stop"), Trainer(tmp_path / "run"), say=heard.append)

    with pytest.raises(TryAgainError, match=r"2 of 2 answers lack judgements by 2 raters") as caught:
        source(0).wait(asked, 0)
    assert caught.value.exit_code == 75 and "same command again" in str(caught.value)

    def people() -> None:
        while not heard:  # the run waits
            time.sleep(0.02)
        with Store(url, create=False) as store:
            for rater in ("ann", "bob"):
                while (question := store.next_question(rater)) is not None:
                    score = 4.0 if rater == "ann" else 2.0
                    store.answer(Judgement(f"{rater}-{question.id}", question.id, rater, scores={"overall": score}))
                    time.sleep(0.02)

    rater = threading.Thread(target=people)
    rater.start()
    later = LiveHuman(source(60))
    assert later.ready(asked, 0) == [True, True]
    rater.join()
    assert later.score(asked).value.tolist() == pytest.approx([0.6, 0.6])
    assert "waiting for people" in heard[1]


def test_what_people_said_already_is_not_asked_again(tmp_path: Path) -> None:
    asked = world.answers(2, 2, seed=1)
    first = simulated(tmp_path / "r.db", raters=3)
    first([*asked[0]])
    later = Live(str(tmp_path / "r.db"), Plan(raters=3, wait=0, late="stop"), Trainer(tmp_path))
    later.wait(asked[0], 0)
    assert [len(ratings) for ratings in later(asked[0])] == [3, 3]
    with pytest.raises(TryAgainError, match="2 of 4"):
        later.wait([*asked[0], *asked[1]], 1)


def test_known_scores_are_counted_once_for_severity(tmp_path: Path) -> None:
    """They were told to the scales when the source was made; hearing them again at every step must change nothing."""
    rows = [
        {"prompt": "Say it.", "completion": text, "ratings": [{"rater": rater, "score": score, "scale": [0, 5]}]}
        for text, rater, score in (("a", "x", 4), ("b", "y", 1), ("c", "x", 5), ("d", "y", 2))
    ]
    file = rated_file(tmp_path / "r.jsonl", rows)
    source, scales = asking(print)(People(file, zscore=True))
    human = Human(source, scales=scales)
    before = human.score(said("a", "b")).value.tolist()
    for _ in range(5):
        human.settle()
        assert human.score(said("a", "b")).value.tolist() == before
    assert isinstance(scales, RaterScales) and scales.everybody.count == 4


def test_rows_say_how_far_each_rater_is_believed(tmp_path: Path) -> None:
    ratings = [{"rater": name, "score": score, "scale": [0, 5]} for name, score in (("good", 5), ("bad", 0), ("no", 0))]
    weights = {"good": 0.9, "bad": 0.1, "no": 0.0}
    rows = [{"prompt": "Say it.", "completion": "a", "ratings": ratings, "meta": {"rater_weights": weights}}]
    rows += [{"prompt": "Say it.", "completion": "b", "ratings": ratings}]
    source, _ = asking(print)(People(rated_file(tmp_path / "r.jsonl", rows)))
    found = Human(source).score(said("a", "b"))
    assert found.value.tolist() == pytest.approx([0.9, 1 / 3]), "plain means ignore what the rows say"
    assert found.parts["people/raters"].tolist() == [2, 3]


def test_the_names_of_raters_are_checked_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="more raters than the 10"):
        asking(print)(People(str(tmp_path / "r.db"), raters="default", n=11))
    with pytest.raises(UsageError, match="training steps only"):
        asking(print)(People(str(tmp_path / "r.db")))
    source, scales = asking(print)(People(str(tmp_path / "r.db"), raters="fresh:4", n=4, zscore=True))
    assert isinstance(source, Live) and scales is not None
