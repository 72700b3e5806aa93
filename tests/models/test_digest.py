"""A digest names weights: the same after saving and loading, another after any change, of an adapter with its base."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests_support import ARCHITECTURES
from tutelage.models.load import load_policy
from tutelage.models.lora import LoRA
from tutelage.models.policy import Policy


def nudged(policy: Policy) -> Policy:
    """The same, as if it had learned: one number of one trained weight is the next float."""
    with torch.no_grad():
        weight = [one for one in policy.parameters() if one.requires_grad][-1].view(-1)
        weight[-1] = torch.nextafter(weight[-1], torch.tensor(9.0))
    return policy


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_was_saved_and_loaded_has_the_digest_it_had(
    architecture: str, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    policy = load_policy(str(model_folder(architecture)), device="cpu")
    first = policy.digest()
    assert len(first) == 32 and copy.deepcopy(policy).digest() == first == policy.digest()
    policy.save(tmp_path / "same")
    assert load_policy(str(tmp_path / "same"), device="cpu", engine="plain").digest() == first
    learned = nudged(policy).digest()
    policy.save(tmp_path / "learned")
    assert learned == load_policy(str(tmp_path / "learned"), device="cpu").digest() != first


def test_an_adapters_digest_is_of_the_adapter_and_its_base(tiny_model: Path, tmp_path: Path) -> None:
    bare = load_policy(str(tiny_model), device="cpu")
    nudged(bare).save(tmp_path / "other")
    names = [str(tiny_model), str(tiny_model), str(tmp_path / "other")]
    one, same, other = (load_policy(name, device="cpu", lora=LoRA(rank=2), seed=1) for name in names)
    first = one.digest()
    assert first == same.digest() != other.digest(), "the same adapter on another base is another model"
    assert nudged(one).digest() == nudged(same).digest() != first
    assert one.digest() == one.digest() != bare.digest()


def test_the_base_under_an_adapter_is_read_once(tiny_model: Path) -> None:
    policy = load_policy(str(tiny_model), device="cpu", lora=LoRA(rank=2))
    first = policy.digest()
    base = next(weight for weight in policy.parameters() if not weight.requires_grad)
    with torch.no_grad():
        base.add_(1)  # nothing does: it shows that the numbers are not looked at again
    assert policy.digest() == first


def test_weights_that_were_frozen_once_and_learn_later_are_read_again(tiny_model: Path) -> None:
    policy = load_policy(str(tiny_model), device="cpu").requires_grad_(False)
    first = policy.digest()
    assert nudged(policy.requires_grad_(True)).digest() != first
