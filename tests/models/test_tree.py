"""Shared prompts: computed once, with the numbers and gradients of every sequence written out."""

from __future__ import annotations

import random

import pytest
import torch

from tests_support import random_rows
from tutelage.batches import TokenBatch
from tutelage.models.load import load_policy, load_scorer
from tutelage.models.tree import tree_of
from tutelage.ops import native


def drawn(seed: int) -> TokenBatch:
    """Rows with 1 to 4 answers to each of a few prompts, shuffled; some prompts are one token long."""
    draw, rows = random.Random(seed), list[tuple[list[int], list[bool]]]()
    for _ in range(draw.randint(1, 5)):
        prompt = [draw.randrange(10, 250) for _ in range(draw.choice([1, 2, 31, 32, 40]))]
        for _ in range(draw.randint(1, 4)):
            answer = [draw.randrange(10, 250) for _ in range(draw.choice([1, 2, 30, 33]))]
            rows.append((prompt + answer, [False] * len(prompt) + [True] * len(answer)))
    draw.shuffle(rows)
    return TokenBatch.of(rows)


@pytest.mark.parametrize("seed", range(40))
def test_the_tree_holds_every_row_with_its_positions_and_each_prompt_once(seed):
    batch = drawn(seed)
    prompts = {
        tuple(batch.tokens[start : start + int(batch.mask[start : start + length].int().argmax())].tolist())
        for start, length in zip(batch.starts.tolist(), batch.lengths.tolist(), strict=True)
    }
    tree = tree_of(batch)
    if tree is None:
        assert len(prompts) == len(batch)
        return
    assert torch.equal(tree.tokens[tree.where], batch.tokens)
    assert torch.equal(tree.positions[tree.where], batch.positions)
    assert len(tree.tokens) == sum(map(len, prompts)) + int(batch.mask.sum())
    segments = tree.segments
    assert segments.tokens == len(tree.tokens) and int(segments.trees[-1]) == len(segments.length)
    for row, (start, length) in enumerate(zip(batch.starts.tolist(), batch.lengths.tolist(), strict=True)):
        last = int(tree.where[start + length - 1])
        own = int(((segments.start <= last) & (last < segments.start + segments.length)).nonzero()[0])
        assert int(segments.before[own] + segments.length[own]) == length, row


def test_nothing_is_shared_by_rows_without_a_learned_token_or_with_different_prompts():
    rows = random_rows((5, 5, 9))
    assert tree_of(TokenBatch.of([(ids, [False] * len(ids)) for ids in [*rows, rows[0]]])) is None
    assert tree_of(TokenBatch.of([(ids, [False] + [True] * (len(ids) - 1)) for ids in rows])) is None


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "mistral", "gpt2"])
@pytest.mark.parametrize("seed", range(3))
def test_log_probabilities_and_gradients_are_those_of_the_rows_written_out(model_folder, architecture, seed):
    if not native.available("body"):
        pytest.skip(f"NOT TESTED: {native.why_not('body')}")
    batch, found = drawn(seed), list[list[torch.Tensor]]()
    for engine in ("fast", "plain"):
        policy = load_policy(str(model_folder(architecture)), device="cpu", engine=engine)
        logprobs = policy.logprobs(batch, 0.9).logprobs
        weights = torch.linspace(0.1, 1, logprobs.numel()).view_as(logprobs)
        gradients = torch.autograd.grad((logprobs * weights).sum(), list(policy.parameters()))
        found.append([logprobs.detach(), *gradients])
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm() + 1e-6


def test_scores_and_values_are_those_of_the_rows_written_out(model_folder):
    if not native.available("body"):
        pytest.skip(f"NOT TESTED: {native.why_not('body')}")
    batch = drawn(7)
    fast, plain = (load_scorer(str(model_folder("qwen3")), device="cpu", engine=e, seed=3) for e in ("fast", "plain"))
    assert tree_of(batch) is not None
    torch.testing.assert_close(fast.scores(batch), plain.scores(batch), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fast.values(batch), plain.values(batch), atol=1e-5, rtol=1e-5)
