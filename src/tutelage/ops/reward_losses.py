"""Losses of reward models per pair, ranking or rating, each with its equation and paper; the caller weighs them.

Scores are in log odds. Ties have two models: Davidson 1970 (a tie is likelier the nearer the two) and Rao & Kupper 1967
(a difference below a threshold is not seen). All work in the dtype they are given (float32 or float64), and never form
log(sigmoid(·)), which is −inf at −1000.
"""

from __future__ import annotations

import itertools
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

MOST_RANKED = 10
"""Answers in one ranking with ties: all subsets are summed over, 2 to that power."""


def bradley_terry(chosen: Tensor, rejected: Tensor, margin: float | Tensor = 0.0) -> Tensor:
    """−log σ(s_chosen − s_rejected − margin), per pair (Bradley & Terry 1952; margin: Llama 2, 2307.09288, eq. 2)."""
    return -logsigmoid(chosen - rejected - margin)


def centering(chosen: Tensor, rejected: Tensor) -> Tensor:
    """(s_chosen + s_rejected)², per pair: pins the free offset of a pairwise scorer (Eisenstein et al. 2312.09244)."""
    return (chosen + rejected) ** 2


def davidson(gap: Tensor, log_tie: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(log P(first better), log P(second better), log P(tie)), each as `gap` (Davidson 1970, eq. 2.3).

    P ∝ e^{g/2}, e^{−g/2}, ν with g = s_first − s_second: as ν → 0 it is Bradley–Terry; equals tie with ν / (2 + ν).

    Args:
        gap: g, any shape
        log_tie: log ν, broadcast to it
    """
    logits = torch.stack([gap / 2, -gap / 2, log_tie.expand_as(gap)])
    first, second, tie = torch.log_softmax(logits, 0).unbind(0)
    return first, second, tie


def rao_kupper(gap: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(log P(first better), log P(second better), log P(tie)), each as `gap` (Rao & Kupper 1967, eq. 2.5).

    P(first) = σ(g − η), P(second) = σ(−g − η), P(tie) = (e^{2η} − 1)·σ(g − η)·σ(−g − η), which is the rest.

    Args:
        gap: g = s_first − s_second, any shape
        threshold: η > 0, in log odds, broadcast to it
    """
    first, second = logsigmoid(gap - threshold), logsigmoid(-gap - threshold)
    return first, second, first + second + _log_expm1(2 * threshold)


def plackett_luce(scores: Tensor, order: Tensor) -> Tensor:
    """−Σ_j [s_(j) − log Σ_{i≥j} exp s_(i)], per ranking: the likelihood of picking best, next best, … (Plackett 1975).

    With two candidates it is Bradley–Terry.

    Args:
        scores: [..., K]
        order: int64 [..., K], the candidates' indices *best first* (an ordering, not ranks); −1 pads a shorter ranking

    Returns:
        [...]
    """
    present = order >= 0
    sorted_scores = torch.gather(scores, -1, order.clamp(min=0))
    size = order.shape[-1]
    later = torch.ones(size, size, dtype=torch.bool, device=order.device).triu() & present[..., None, :]
    later = later | torch.eye(size, dtype=torch.bool, device=order.device)  # pads too: a row of −inf alone is NaN
    left = torch.logsumexp(sorted_scores[..., None, :].masked_fill(~later, -torch.inf), -1)
    return torch.where(present, left - sorted_scores, torch.zeros_like(left)).sum(-1)


def order_of(ranks: Tensor) -> Tensor:
    """Ranks (1 = best, 0 = no candidate) → the ordering that `plackett_luce` reads; both int64 [..., K].

    `[2, 3, 1]` (the third is best) is the ordering `[2, 0, 1]`: one is the inverse of the other, and they differ as
    soon as K > 2. Ties stay in the order in which they stand.
    """
    order = torch.argsort(ranks.masked_fill(ranks == 0, torch.iinfo(torch.int64).max), dim=-1, stable=True)
    return order.masked_fill(torch.gather(ranks, -1, order) == 0, -1)


def plackett_luce_any_order(scores: Tensor, ranks: Tensor) -> Tensor:
    """−log Σ over every order that the ranks allow of its Plackett–Luce probability, per ranking: exact.

    Tied answers stand in *some* order that the rater did not tell (the exact marginal; Allison & Christakis 1994);
    nothing is learned about those within a tie, so a pair that ties has the loss 0. Without ties it is `plackett_luce`.

    Args:
        scores: [E, K]; ranks: int64 [E, K], 1 = best, equal = tied, 0 = no candidate

    Raises:
        ValueError: more than `MOST_RANKED` candidates.
    """
    return torch.stack([_any_order(row[rank > 0], rank[rank > 0]) for row, rank in zip(scores, ranks, strict=True)])


def davidson_luce(scores: Tensor, ranks: Tensor, log_tie: Tensor) -> Tensor:
    """−Σ_j log P(group j is picked next), per ranking (Davidson–Luce; Firth, Kosmidis & Turner 2019, 1810.12068, §3).

    P(C | left over R) ∝ δ_|C| · (Π_{i∈C} e^{s_i})^{1/|C|} over the subsets C of R, with δ_t = ν^{t−1}: one tie
    parameter for ties of all sizes (the paper has one per size). With two candidates it is `davidson`.

    Args:
        scores: [E, K]; ranks: int64 [E, K], 1 = best, equal = tied, 0 = no candidate
        log_tie: [] log ν

    Raises:
        ValueError: more than `MOST_RANKED` candidates.
    """
    rows = zip(scores, ranks, strict=True)
    return torch.stack([_davidson_luce(row[rank > 0], rank[rank > 0], log_tie) for row, rank in rows])


def huber(scores: Tensor, targets: Tensor, width: float) -> Tensor:
    """½(s − t)² up to |s − t| = width, straight beyond (Huber 1964); width 0 is ½(s − t)² everywhere."""
    gap = (scores - targets).abs()
    return 0.5 * gap**2 if width == 0 else torch.where(gap <= width, 0.5 * gap**2, width * (gap - 0.5 * width))


def ordinal(scores: Tensor, level: Tensor, thresholds: Tensor) -> Tensor:
    """−log P(level), P(level ≤ j) = σ(θ_j − s), per rating: the cumulative logit (McCullagh 1980, eq. 2.1).

    Args:
        scores: any shape
        level: int64, as `scores`: 0 … J for J thresholds
        thresholds: [..., J] ascending, broadcast to `scores` plus one axis
    """
    below = thresholds.expand(*scores.shape, -1) - scores[..., None]
    edge = torch.full_like(below[..., :1], torch.inf)
    upper = torch.gather(torch.cat([below, edge], -1), -1, level[..., None])[..., 0]
    lower = torch.gather(torch.cat([-edge, below], -1), -1, level[..., None])[..., 0]
    # σ(u) − σ(l) = σ(u)·σ(−l)·(1 − e^{l−u}); at the ends, ±inf would make NaN gradients of 0·inf
    top, bottom = torch.isinf(upper), torch.isinf(lower)
    u, low = upper.masked_fill(top, 0.0), lower.masked_fill(bottom, 0.0)
    width = torch.where(top | bottom, torch.ones_like(u), u - low)
    inner = torch.where(top | bottom, torch.zeros_like(u), torch.log(-torch.expm1(-width)))
    zero = torch.zeros_like(u)
    return -(torch.where(top, zero, logsigmoid(u)) + torch.where(bottom, zero, logsigmoid(-low)) + inner)


def _groups(ranks: Tensor) -> list[Tensor]:
    """Candidates of each rank, best first."""
    if len(ranks) > MOST_RANKED:
        raise ValueError(f"{len(ranks)} answers in one ranking with ties, at most {MOST_RANKED} can be summed over")
    return [(ranks == rank).nonzero()[:, 0] for rank in ranks.unique(sorted=True)]


def _any_order(scores: Tensor, ranks: Tensor) -> Tensor:
    total, rest = scores.new_zeros(()), torch.arange(len(scores), device=scores.device)
    for group in _groups(ranks):
        later = rest[~torch.isin(rest, group)]
        total = total + _log_any_order(scores[group], scores[later])
        rest = later
    return -total


def _log_any_order(tied: Tensor, later: Tensor) -> Tensor:
    """log P(all of `tied` before all of `later`): over subsets S already picked, f(S) = Σ_{i∈S} f(S∖i)·P(i | S∖i)."""
    count, done = len(tied), {0: tied.new_zeros(())}
    for picked in range(1, 2**count):
        ways = []
        for i in range(count):
            before = picked & ~(1 << i)
            if before != picked:
                left = [tied[j] for j in range(count) if not before >> j & 1]
                ways.append(done[before] + tied[i] - torch.logsumexp(torch.cat([torch.stack(left), later]), 0))
        done[picked] = torch.logsumexp(torch.stack(ways), 0)
    return done[2**count - 1]


def _davidson_luce(scores: Tensor, ranks: Tensor, log_tie: Tensor) -> Tensor:
    total, rest = scores.new_zeros(()), torch.arange(len(scores), device=scores.device)
    for group in _groups(ranks):
        member = _subsets(len(rest)).to(scores)
        size = member.sum(1)
        every = member @ scores[rest] / size + (size - 1) * log_tie
        picked = scores[group].mean() + (len(group) - 1) * log_tie
        total = total + torch.logsumexp(every, 0) - picked
        rest = rest[~torch.isin(rest, group)]
    return total


@cache
def _subsets(count: int) -> Tensor:
    """bool [2^count − 1, count]: every subset of `count` things but the empty one."""
    return torch.tensor(list(itertools.product([False, True], repeat=count))[1:])


def _log_expm1(x: Tensor) -> Tensor:
    """log(eˣ − 1) for x > 0, without overflow."""
    return x + torch.log(-torch.expm1(-x))
