"""Losses of policies that learn from preferences, each with its equation and paper; the caller weights and averages.

Legend: `pc, pr` log-probabilities of the chosen and the rejected answer under the policy, summed over their tokens;
`rc, rr` the same under the frozen reference; a = pc − rc, b = pr − rr, h = a − b.
All work in the dtype they are given (float32 or float64) and never form log(sigmoid(·)), which is −inf at −1000.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def preference_gap(pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor) -> Tensor:
    """h = (pc − rc) − (pr − rr), in nats: β·h is the implicit reward margin, its sign the implicit accuracy."""
    return (pc - rc.detach()) - (pr - rr.detach())


def dpo(
    pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor, beta: float = 0.1, label_smoothing: float | Tensor = 0.0
) -> Tensor:
    """−(1 − ε)·log σ(βh) − ε·log σ(−βh), per pair (DPO, Rafailov et al. 2023, 2305.18290, eq. 7).

    ε > 0 is cDPO (Mitchell 2023); as a tensor per pair, 1 − ε is the probability that "chosen" is the better one.
    """
    logit = beta * preference_gap(pc, pr, rc, rr)
    return -(1 - label_smoothing) * logsigmoid(logit) - label_smoothing * logsigmoid(-logit)


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


def exo(pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor, beta: float = 0.1, label_smoothing: float = 1e-3) -> Tensor:
    """KL(σ(±βh) ‖ (1 − ε, ε)), per pair: the reverse KL to the labels (EXO, Ji et al. 2024, 2402.00856, eq. 16).

    Raises:
        ValueError: ε outside (0, 0.5); at 0 the divergence is infinite.
    """
    if not 0 < label_smoothing < 0.5:
        raise ValueError(f"label_smoothing {label_smoothing} must lie in (0, 0.5)")
    logit = beta * preference_gap(pc, pr, rc, rr)
    better = torch.sigmoid(logit) * (logsigmoid(logit) - math.log1p(-label_smoothing))
    return better + torch.sigmoid(-logit) * (logsigmoid(-logit) - math.log(label_smoothing))


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


def simpo(avg_c: Tensor, avg_r: Tensor, beta: float = 2.0, gamma: float = 0.5) -> Tensor:
    """−log σ(β(avg_c − avg_r) − γ), without a reference (SimPO, Meng et al. 2024, 2405.14734).

    `avg_c`, `avg_r`: *mean* log-probability per token of the answers under the policy.
    """
    return -logsigmoid(beta * (avg_c - avg_r) - gamma)


def orpo(avg_c: Tensor, avg_r: Tensor) -> Tensor:
    """−log σ(log odds_c − log odds_r), odds = p/(1 − p): the second term of ORPO (Hong et al. 2024, 2403.07691).

    `avg_c`, `avg_r`: mean log-probabilities per token, < 0; the first term is the chosen answer's `nll`.
    """
    return -logsigmoid((avg_c - _log1mexp(avg_c)) - (avg_r - _log1mexp(avg_r)))


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
