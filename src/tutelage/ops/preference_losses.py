"""Losses of policies that learn from preferences, each with its equation and paper; the caller weights and averages.

Legend: `pc, pr` log-probabilities of the chosen and the rejected answer under the policy, summed over their tokens;
`rc, rr` the same under the frozen reference; a = pc − rc, b = pr − rr, h = a − b.
All work in the dtype they are given (float32 or float64) and never form log(sigmoid(·)), which is −inf at −1000.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

PairLoss = Literal[
    "sigmoid",
    "sigmoid_norm",
    "robust",
    "ipo_sum",
    "ipo_avg",
    "hinge",
    "exo_pair",
    "nca_pair",
    "sppo_hard",
    "apo_zero",
    "apo_down",
    "discopop",
]
"""Losses on pairs with a reference, TRL's names except for IPO, which comes in two (`ipo_avg` is TRL's)."""
PER_TOKEN: frozenset[PairLoss] = frozenset({"sigmoid_norm", "ipo_avg"})
"""Those that take mean log-probabilities per token in the place of sums."""
_LEAST_SMOOTHING = 1e-3


def preference_gap(pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor) -> Tensor:
    """h = (pc − rc) − (pr − rr), in nats: β·h is the implicit reward margin, its sign the implicit accuracy."""
    return (pc - rc.detach()) - (pr - rr.detach())


def logistic(logit: Tensor, label_smoothing: float | Tensor = 0.0) -> Tensor:
    """−(1 − ε)·log σ(x) − ε·log σ(−x), per pair: x says "chosen is better", and is so with probability 1 − ε."""
    return -(1 - label_smoothing) * logsigmoid(logit) - label_smoothing * logsigmoid(-logit)


def dpo(
    pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor, beta: float = 0.1, label_smoothing: float | Tensor = 0.0
) -> Tensor:
    """−(1 − ε)·log σ(βh) − ε·log σ(−βh), per pair (DPO, Rafailov et al. 2023, 2305.18290, eq. 7).

    ε > 0 is cDPO (Mitchell 2023); as a tensor per pair, 1 − ε is the probability that "chosen" is the better one.
    """
    return logistic(beta * preference_gap(pc, pr, rc, rr), label_smoothing)


def robust(pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor, beta: float = 0.1, label_smoothing: float = 0.1) -> Tensor:
    """[−(1 − ε)·log σ(βh) + ε·log σ(−βh)] / (1 − 2ε), per pair (robust DPO, Chowdhury et al. 2024, 2403.00409).

    Unbiased for the loss on clean labels when a share ε of the labels is flipped.

    Raises:
        ValueError: ε outside [0, 0.5).
    """
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing {label_smoothing} must lie in [0, 0.5): at 0.5 a label says nothing")
    logit, flip = beta * preference_gap(pc, pr, rc, rr), label_smoothing
    return (-(1 - flip) * logsigmoid(logit) + flip * logsigmoid(-logit)) / (1 - 2 * flip)


def ipo(pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor, tau: float = 0.1) -> Tensor:
    """(h − 1/(2τ))², per pair (IPO, Azar et al. 2023, 2310.12036, eq. 17).

    On *summed* log-probabilities this is the paper's loss; on per-token means it is TRL's. The two have other optima,
    and neither has DPO's.
    """
    return (preference_gap(pc, pr, rc, rr) - 1 / (2 * tau)) ** 2


def hinge(pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor, beta: float = 0.1) -> Tensor:
    """max(0, 1 − βh), per pair (SLiC, Zhao et al. 2023, 2305.10425; RSO, Liu et al. 2023, 2309.06657)."""
    return torch.relu(1 - beta * preference_gap(pc, pr, rc, rr))


def exo(
    pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor, beta: float = 0.1, label_smoothing: float | Tensor = 1e-3
) -> Tensor:
    """KL(σ(±βh) ‖ (1 − ε, ε)), per pair: the reverse KL to the labels (EXO, Ji et al. 2024, 2402.00856, eq. 16).

    Raises:
        ValueError: ε outside (0, 1); at the ends the divergence is infinite.
    """
    flip = torch.as_tensor(label_smoothing, dtype=pc.dtype, device=pc.device)
    if not bool(((flip > 0) & (flip < 1)).all()):
        raise ValueError(f"label_smoothing {label_smoothing} must lie in (0, 1)")
    logit = beta * preference_gap(pc, pr, rc, rr)
    better = torch.sigmoid(logit) * (logsigmoid(logit) - torch.log1p(-flip))
    return better + torch.sigmoid(-logit) * (logsigmoid(-logit) - torch.log(flip))


def nca(pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor, beta: float = 0.1) -> Tensor:
    """−log σ(βa) − ½·log σ(−βa) − ½·log σ(−βb), a = pc − rc, b = pr − rr (NCA, Chen et al. 2024, 2402.05369)."""
    better, worse = beta * (pc - rc.detach()), beta * (pr - rr.detach())
    return -logsigmoid(better) - 0.5 * logsigmoid(-better) - 0.5 * logsigmoid(-worse)


def sppo(pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor, beta: float = 0.1) -> Tensor:
    """(a − 1/(2β))² + (b + 1/(2β))², with hard labels (SPPO, Wu et al. 2024, 2405.00675)."""
    return (pc - rc.detach() - 0.5 / beta) ** 2 + (pr - rr.detach() + 0.5 / beta) ** 2


def apo_zero(pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor, beta: float = 0.1) -> Tensor:
    """1 − σ(βa) + σ(βb): for chosen answers better than the policy's own (APO, D'Oosterlinck 2024, 2408.06266)."""
    return 1 - torch.sigmoid(beta * (pc - rc.detach())) + torch.sigmoid(beta * (pr - rr.detach()))


def apo_down(pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor, beta: float = 0.1) -> Tensor:
    """σ(βa) + 1 − σ(βh): for chosen answers worse than the policy's own (APO, 2408.06266)."""
    return torch.sigmoid(beta * (pc - rc.detach())) + 1 - torch.sigmoid(beta * preference_gap(pc, pr, rc, rr))


def discopop(pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor, beta: float = 0.1, tau: float = 0.05) -> Tensor:
    """(1 − m)·(−log σ(βh)) + m·exp(−βh), m = σ(βh/τ) (DiscoPOP, Lu et al. 2024, 2406.08414)."""
    logit = beta * preference_gap(pc, pr, rc, rr)
    share = torch.sigmoid(logit / tau)
    return -(1 - share) * logsigmoid(logit) + share * torch.exp(-logit)


def doubt(flipped: float | Tensor, label_smoothing: float) -> float | Tensor:
    """P(the label is wrong), where it was believed wrong with probability `flipped`, and is flipped once more by ε."""
    return flipped * (1 - label_smoothing) + (1 - flipped) * label_smoothing


def pair_loss(
    kind: PairLoss,
    sums: tuple[Tensor, Tensor, Tensor, Tensor],
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    flipped: float | Tensor = 0.0,
) -> Tensor:
    """The loss `kind`, per pair, where labels may be wrong.

    Args:
        sums: pc, pr, rc, rr, [P] each; per token for those of PER_TOKEN
        label_smoothing: ε, the share of labels that are flipped by accident; `exo_pair` takes at least 0.001, `robust`
            undoes the flips, all others learn the expected loss (1 − ε)·L(chosen, rejected) + ε·L(rejected, chosen)
        flipped: per pair, the probability that its "rejected" is the better one (a soft label); goes into every loss

    Returns:
        [P]
    """
    pc, pr, rc, rr = sums
    other = pr, pc, rr, rc
    if kind == "robust":
        return (1 - flipped) * robust(*sums, beta, label_smoothing) + flipped * robust(*other, beta, label_smoothing)
    wrong = doubt(flipped, label_smoothing)
    if kind == "exo_pair":
        soft = torch.as_tensor(wrong, dtype=pc.dtype, device=pc.device)
        return exo(*sums, beta, soft.clamp(_LEAST_SMOOTHING, 1 - _LEAST_SMOOTHING))
    loss = PAIR_LOSSES[kind]
    return (1 - wrong) * loss(*sums, beta) + wrong * loss(*other, beta)


PAIR_LOSSES: Mapping[PairLoss, Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]] = {
    "sigmoid": dpo,
    "sigmoid_norm": dpo,
    "ipo_sum": ipo,
    "ipo_avg": ipo,
    "hinge": hinge,
    "nca_pair": nca,
    "sppo_hard": sppo,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "discopop": discopop,
}
"""Those whose label smoothing is the plain expectation over flips; `robust` and `exo` have their own."""


# Preferences, per pair, without a reference


def simpo(
    avg_c: Tensor,
    avg_r: Tensor,
    beta: float = 2.0,
    gamma: float | Tensor = 0.5,
    label_smoothing: float | Tensor = 0.0,
) -> Tensor:
    """−log σ(β(avg_c − avg_r) − γ), without a reference (SimPO, Meng et al. 2024, 2405.14734, eq. 6).

    `avg_c`, `avg_r`: *mean* log-probability per token of the answers under the policy; ε as in `logistic`.
    """
    return logistic(beta * (avg_c - avg_r) - gamma, label_smoothing)


def cpo(
    pc: Tensor,
    pr: Tensor,
    beta: float = 0.1,
    margin: float | Tensor = 0.0,
    label_smoothing: float | Tensor = 0.0,
) -> Tensor:
    """−log σ(β(pc − pr) − margin): the first term of CPO, DPO under a uniform reference (Xu et al. 2024, 2401.08417).

    `pc`, `pr`: *summed* log-probabilities under the policy; the second term is the chosen answer's `nll`.
    """
    return logistic(beta * (pc - pr) - margin, label_smoothing)


def log_odds_ratio(avg_c: Tensor, avg_r: Tensor) -> Tensor:
    """log [odds(chosen) / odds(rejected)], odds = p/(1 − p), log p = mean log-probability per token, < 0."""
    return (avg_c - _log1mexp(avg_c)) - (avg_r - _log1mexp(avg_r))


def orpo(avg_c: Tensor, avg_r: Tensor, margin: float | Tensor = 0.0, label_smoothing: float | Tensor = 0.0) -> Tensor:
    """−log σ(log odds_c − log odds_r − margin): the second term of ORPO (Hong et al. 2024, 2403.07691, eq. 7).

    `avg_c`, `avg_r`: mean log-probabilities per token, < 0; the first term is the chosen answer's `nll`.
    """
    return logistic(log_odds_ratio(avg_c, avg_r) - margin, label_smoothing)


# Single answers, good or bad


def kto(gap: Tensor, desirable: Tensor, baseline: Tensor, beta: float = 0.1) -> Tensor:
    """1 − σ(β(gap − z)) for a desirable answer, 1 − σ(β(z − gap)) for the others (KTO, Ethayarajh 2024, 2402.01306).

    Args:
        gap: [N], log π − log π_ref of each answer
        desirable: bool [N]
        baseline: [], an estimate of KL(π ‖ π_ref) from *mismatched* prompts and answers; held at ≥ 0, no gradient
        beta: > 0
    """
    sign = torch.where(desirable.bool(), 1.0, -1.0).to(gap.dtype)
    return 1 - torch.sigmoid(beta * sign * (gap - baseline.detach().clamp(min=0)))


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 − eˣ) for x < 0, exact at both ends; x is held at −1e-7, where the model is certain."""
    x = x.clamp(max=-1e-7)
    near_zero = x > -math.log(2)
    return torch.where(
        near_zero,
        torch.log(-torch.expm1(torch.where(near_zero, x, -1.0))),
        torch.log1p(-torch.exp(torch.where(near_zero, -1.0, x))),
    )
