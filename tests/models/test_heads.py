"""A scorer of several heads: what its labels mean is saved beside it, stock transformers read it, a critic joins it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests_support import batch_of, random_rows
from tutelage.errors import DataError
from tutelage.models.heads import CARD, Heads
from tutelage.models.load import load_scorer
from tutelage.models.lora import LoRA

HEADS = Heads((("faithful", 1.0), ("concise", -0.5)), ensemble=3, learned={"tie": 0.25})


def test_the_score_is_the_weighted_sum_of_the_means_and_the_spread_is_that_of_whole_scores() -> None:
    labels = torch.tensor([[1.0, 2.0, 3.0, 4.0, 4.0, 10.0]])
    assert HEADS.value(labels).item() == pytest.approx(2 - 0.5 * 6)
    members = torch.tensor([1 - 2, 2 - 2, 3 - 5.0])
    torch.testing.assert_close(HEADS.members(labels)[0], members)
    torch.testing.assert_close(HEADS.spread(labels)[0], members.std())
    assert HEADS.parts(labels)["concise"].item() == 6 and set(Heads().parts(labels[:, :1])) == set()


@pytest.mark.parametrize("lora", [None, LoRA(rank=2)], ids=["whole", "lora"])
def test_several_heads_come_back_from_their_folder_and_in_stock_transformers(
    tiny_model: Path, tmp_path: Path, lora: LoRA | None
) -> None:
    scorer = load_scorer(str(tiny_model), heads=HEADS, seed=3, lora=lora)
    weight = (
        scorer.state_dict()[next(name for name in scorer.state_dict() if name.endswith("score.weight"))]
        if not lora
        else None
    )
    if weight is not None:
        assert weight.shape[0] == 6 and len({round(float(row.norm()), 6) for row in weight}) == 6, (
            "each starts elsewhere"
        )
    batch = batch_of(random_rows((9, 5, 14)))
    with torch.no_grad():
        wanted = scorer.labels(batch)
        scorer.save(tmp_path)
        again = load_scorer(str(tmp_path), head="trained")
        assert again.heads == HEADS
        torch.testing.assert_close(again.labels(batch), wanted, atol=1e-5, rtol=0)
        torch.testing.assert_close(again.scores(batch), HEADS.value(wanted), atol=1e-5, rtol=0)
        stock = AutoModelForSequenceClassification.from_pretrained(tmp_path, **({"num_labels": 6} if lora else {}))
        row = random_rows((9, 5, 14))[1]
        torch.testing.assert_close(stock(torch.tensor([row])).logits[0], wanted[1], atol=1e-5, rtol=0)
        critic = load_scorer(str(tmp_path), head="trained", single=True)
        assert critic.labels(batch).shape == (3, 1)
        torch.testing.assert_close(critic.scores(batch), HEADS.value(wanted), atol=1e-5, rtol=0)
        silent = load_scorer(str(tmp_path), head="zero", single=True)
        assert silent.scores(batch).abs().max() == 0


def test_other_heads_start_anew_and_other_weights_do_not(tiny_model: Path, tmp_path: Path) -> None:
    batch = batch_of(random_rows((9, 5)))
    with torch.no_grad():
        load_scorer(str(tiny_model), heads=HEADS, seed=3).save(tmp_path)
        kept = load_scorer(str(tmp_path), head="trained")
        reweighed = load_scorer(str(tmp_path), heads=Heads((("faithful", 2.0), ("concise", 1.0)), 3))
        torch.testing.assert_close(reweighed.labels(batch), kept.labels(batch))
        assert load_scorer(str(tmp_path), heads=Heads(), seed=1).labels(batch).shape == (2, 1)


def test_a_card_that_says_nothing_is_refused(tmp_path: Path) -> None:
    assert Heads.read(str(tmp_path)) is None
    for text in ("[]", "{", '{"aspects": {}, "ensemble": 1, "learned": {}}', '{"aspects": {"a": 1}}'):
        (tmp_path / CARD).write_text(text, encoding="utf-8")
        with pytest.raises(DataError):
            Heads.read(str(tmp_path))


def test_the_score_is_read_at_the_last_real_token_in_any_company(tiny_model: Path) -> None:
    """A mutant that reads the state before it, or one of the neighbour, is another number."""
    scorer = load_scorer(str(tiny_model), seed=3)
    rows = random_rows((9, 5, 14))
    with torch.no_grad():
        together = scorer.scores(batch_of(rows))
        alone = torch.cat([scorer.scores(batch_of([row])) for row in rows])
        torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
        hidden = scorer.core.base_model(torch.tensor([rows[1]])).last_hidden_state[0]
        torch.testing.assert_close(scorer.head(hidden[-1:])[0, 0], alone[1], atol=1e-5, rtol=0)
        assert abs(float(scorer.head(hidden[-2:-1])[0, 0]) - float(alone[1])) > 1e-3
