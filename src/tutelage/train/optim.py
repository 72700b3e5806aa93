"""One optimiser step: a batch cut into parts that fit, their gradients joined exactly, clipped, checked and applied."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.algorithms import Algorithm, TrainConfig
from tutelage.batches import Batch, largest, load, parts
from tutelage.errors import DivergedError, UsageError
from tutelage.models import kept
from tutelage.ops import adamw, memory
from tutelage.train.health import culprit
from tutelage.train.room import backbones, estimated

logger = logging.getLogger(__name__)

_RATE, _SIZE = 6e-4, 125e6
_LAX = 5.0
_LOW = 1e-9


def odd_rates(algorithm: Algorithm[Any, Any]) -> list[str]:
    """Sentences about learning rates far from what has worked for a model of this size.

    High is more than five times the rate at which GPT-3's sizes were pretrained, 6e-4·(125e6/parameters)^¼ (Brown et
    al. 2020, 2005.14165, table 2.1); ten times more where few of the weights are trained (LoRA). Tuning wants less.
    """
    said = list[str]()
    rates = algorithm.learning_rates()
    for name, module in algorithm.modules().items():
        whole = sum(parameter.numel() for parameter in module.parameters())
        trained = sum(parameter.numel() for parameter in _trained(module).values())
        peak = rates[name]
        limit = _LAX * _RATE * (_SIZE / max(whole, 1)) ** 0.25 * (10 if 2 * trained < whole else 1)
        if peak > limit:
            said.append(
                f"the learning rate of the {name} is {peak:g}; with {whole / 1e6:.3g} million parameters training "
                f"tends to diverge above {limit:.1g}: see --help for what is usual"
            )
        if peak < _LOW:
            said.append(f"the learning rate of the {name} is {peak:g}: below {_LOW:g} float32 weights stay as they are")
    return said


class Optimizer:
    """AdamW (Loshchilov & Hutter 2019, 1711.05101) over the modules of an algorithm, each at its own learning rate."""

    def __init__(self, algorithm: Algorithm[Any, Any], config: TrainConfig, steps: int) -> None:
        """
        Args:
            steps: of the whole run; the schedule is a function of the step's number.
        """
        self.config = config
        self.steps = steps
        self.halved = 0
        """tokens per part that memory has forced, or 0; kept over a restart, for how a batch is cut sets last bits"""
        room = estimated(algorithm.modules().values())
        self.estimated = room.part
        """tokens per part that memory is thought to hold; kept likewise"""
        self._fitting = room.fitting
        self._short = False
        """whether memory did not suffice for one element alone"""
        self._told = config.gradient_checkpointing == "on"
        self.names: dict[str, Tensor] = {}
        self.modules = {name: _trained(module) for name, module in algorithm.modules().items()}
        groups = []
        for module, peak in algorithm.learning_rates().items():
            self.names |= {f"{module}.{name}": parameter for name, parameter in self.modules[module].items()}
            for decays in (True, False):
                chosen = [p for p in self.modules[module].values() if (p.ndim >= 2) == decays]
                decay = config.weight_decay if decays else 0.0
                if chosen:
                    about = {"lr": 0.0, "peak": peak, "weight_decay": decay, "module": module}
                    groups.append({"params": chosen} | about)
        self._models = [each for module in algorithm.modules().values() for each in backbones(module)]
        self._shared = bool(self._models) and all(model.shares_prompts for model in self._models)
        self._make_room()
        fixed = [type(model.core).__name__ for model in self._models if not model.recomputes]
        if config.gradient_checkpointing == "on" and fixed:
            raise UsageError(
                f"the layers of {fixed[0]} cannot be computed again", fix="leave --gradient-checkpointing at auto"
            )
        kind = adamw.AdamW if self._wants_loop() else torch.optim.AdamW
        self.adam: torch.optim.AdamW = kind(
            groups, betas=(config.adam_beta1, config.adam_beta2), eps=config.adam_eps, fused=True
        )

    def _wants_loop(self) -> bool:
        """Whether our own loop takes the step: where it fits, and no model is to be computed plainly."""
        if not self._models or any(model.engine == "plain" or model.device.type != "cpu" for model in self._models):
            return False
        reason = adamw.why_not(self.names.values())
        if reason:
            logger.warning("the optimiser's steps are taken by PyTorch, which is slower than our own way: %s", reason)
        return not reason

    def begin(self, step: int) -> float:
        """Set the learning rates of run step `step` (0-based); returns the share of the peak."""
        share = schedule(step, self.steps, self.config.warmup, self.config.schedule)
        for group in self.adam.param_groups:
            group["lr"] = group["peak"] * share
        return share

    def step(self, algorithm: Algorithm[Any, Any], batch: Batch) -> dict[str, float]:
        """Learn from `batch`; its loss and gradient do not depend on how it was cut.

        Raises:
            DivergedError: the loss or a gradient is not finite; nothing has been applied.
        """
        try:
            means, whole = self._fitting_gradients(algorithm, batch)
            norms = {f"gradient/{name}": self._clip(name, members, whole) for name, members in self.modules.items()}
        except DivergedError as error:
            error.add_note(culprit(batch))
            raise
        if isinstance(self.adam, adamw.AdamW):
            self._step_and_copy(self.adam)
        else:
            self.adam.step()
        return means | norms

    def _step_and_copy(self, adam: adamw.AdamW) -> None:
        """A step in which the copies of weights that products read are made as well."""
        kept = [model.copies for model in self._models if model.copies is not None]
        targets = {weight: place for each in kept for weight, place in each.targets().items()}
        adam.copies = {weight: place for weight, place in targets.items() if weight.grad is not None}
        adam.step()
        for each in kept:
            each.renewed(adam.copies)
        adam.copies = {}

    def _fitting_gradients(self, algorithm: Algorithm[Any, Any], batch: Batch) -> tuple[dict[str, float], float]:
        """`_gradients`, in parts half as large from now on whenever memory does not suffice; the batch stays whole.

        Raises:
            MemoryError: not even one element fits.
        """
        while True:
            self.adam.zero_grad(set_to_none=True)
            try:
                return self._gradients(algorithm, batch)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not memory.ran_out(error):
                    raise
                if kept.drop_all():
                    continue
                used = max(load(batch.select(rows), shared=self._shared) for rows in self._parts(batch))
                alone = used <= largest(batch, shared=self._shared)
                tried = any(model.room.recompute for model in self._models)
                if alone and (tried or not self._may_recompute()):
                    raise MemoryError(
                        f"a part of {used} tokens does not fit in memory, and is one element already; "
                        "lower --max-length, or take a smaller model or --lora"
                    ) from error
            if alone:
                self._short = True
                self._make_room()
                continue
            self.halved = max(used // 2, 1)
            self._make_room()
            torch.cuda.empty_cache()
            logger.warning(
                "memory does not suffice for parts of %d tokens: now %d, the batch as before", used, self.halved
            )

    def _gradients(self, algorithm: Algorithm[Any, Any], batch: Batch) -> tuple[dict[str, float], float]:
        """Leave the *summed* gradient of all parts in place; returns the mean metrics and the weight of the whole."""
        sums: dict[str, float] = {}
        whole = 0.0
        for rows in self._parts(batch):
            part = batch.select(rows) if len(rows) < len(batch) else batch
            self._choose_recomputing(load(part, shared=self._shared))
            loss = algorithm.loss(part)
            weight = float(loss.weight)
            _require_finite(float(loss.total.detach()), "loss", rows)
            (loss.total * loss.weight).backward()
            whole += weight
            for name, value in {"loss": loss.total.detach(), **loss.metrics}.items():
                sums[name] = sums.get(name, 0.0) + float(value) * weight
        if not whole > 0:
            raise DivergedError(
                "nothing in this batch is learned: all weights are zero",
                fix="check the data with `tutelage data inspect`",
            )
        return {name: value / whole for name, value in sums.items()}, whole

    def _may_recompute(self) -> bool:
        return self.config.gradient_checkpointing != "off" and any(model.recomputes for model in self._models)

    def _choose_recomputing(self, tokens: int) -> None:
        """Whether the next part keeps what is in its layers; that never changes its gradient."""
        how = self.config.gradient_checkpointing
        large = self._short or (self._fitting is not None and tokens > self._fitting)
        wanted = how == "on" or (how == "auto" and large)
        if wanted and not self._told and self._may_recompute():
            self._told = True
            logger.warning("layers are computed again in the backward pass of %d tokens, to save memory", tokens)
        for model in self._models:
            model.room.recompute = wanted

    def _clip(self, name: str, members: dict[str, Tensor], whole: float) -> float:
        """Turn sums into means and hold the module's norm under the limit; the modules do not shrink each other."""
        gradients = [p.grad for p in members.values() if p.grad is not None]
        if isinstance(self.adam, adamw.AdamW):
            return self._share(name, gradients, whole)
        if gradients:
            # one kernel on a GPU, instead of one for each parameter
            torch._foreach_div_(gradients, whole)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        norm = float(nn.utils.get_total_norm(gradients)) if gradients else 0.0
        _require_finite(norm, f"gradient of the {name}", None)
        if norm > self.config.max_grad_norm > 0:
            share = self.config.max_grad_norm / norm
            torch._foreach_mul_(gradients, share)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        return norm

    def _share(self, name: str, gradients: list[Tensor], whole: float) -> float:
        """`_clip` by a factor that the step multiplies gradients with on its way; they themselves stay sums."""
        norm = adamw.total_norm(gradients) / whole
        _require_finite(norm, f"gradient of the {name}", None)
        limit = self.config.max_grad_norm
        for group in self.adam.param_groups:
            if group["module"] == name:
                group["share"] = (limit / norm if norm > limit > 0 else 1.0) / whole
        return norm

    def _parts(self, batch: Batch) -> Iterator[list[int]]:
        return parts(batch, self._tokens_per_part(), shared=self._shared)

    def _tokens_per_part(self) -> int:
        return self.halved or self.config.tokens_per_part or self.estimated

    def _make_room(self) -> None:
        """What asks the models without a gradient cuts as learning does."""
        part = self._tokens_per_part()
        again = self.config.gradient_checkpointing == "on" or self._short
        lasting = 0 if again else part if self._fitting is None else min(part, self._fitting)
        for model in self._models:
            model.room.tokens, model.room.shared, model.room.lasting = part, self._shared, lasting

    def tensors(self) -> dict[str, Tensor]:
        """Adam's moments, `<module>.<parameter>/<moment>`, for a checkpoint."""
        return {
            f"{name}/{key}": value
            for name, parameter in self.names.items()
            for key, value in self.adam.state.get(parameter, {}).items()
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` gave."""
        self.adam.state.clear()
        for path, value in tensors.items():
            name, _, key = path.rpartition("/")
            parameter = self.names[name]
            place = "cpu" if key == "step" and parameter.device.type == "cpu" else parameter.device
            self.adam.state[parameter][key] = value.to(place)

    def state(self) -> dict[str, Any]:
        """How batches are cut; rates are a function of the step."""
        return {"tokens_per_part": self.estimated} | ({"halved": self.halved} if self.halved else {})

    def restore(self, state: dict[str, Any]) -> None:
        """Go on as `state` says."""
        self.halved = int(state.get("halved", 0))
        self.estimated = int(state.get("tokens_per_part", self.estimated))
        self._make_room()


def schedule(step: int, steps: int, warmup: float, kind: str) -> float:
    """Share of the peak learning rate at 0-based `step`: a linear rise, then constant, linear or cosine fall to 0."""
    rise = round(steps * warmup)
    if step < rise:
        return (step + 1) / rise
    left = (step - rise) / max(1, steps - rise)
    if kind == "constant":
        return 1.0
    return max(0.0, 1 - left) if kind == "linear" else 0.5 * (1 + math.cos(math.pi * min(1.0, left)))


def _trained(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def _require_finite(value: float, what: str, rows: list[int] | None) -> None:
    if not math.isfinite(value):
        raise DivergedError(
            f"the {what} is {value}; this step has not been applied",
            where=f"elements {rows[:8]} of the step's batch" if rows else None,
            fix="lower --learning-rate, look at rows with `tutelage data inspect`, or go on from the last checkpoint",
        )
