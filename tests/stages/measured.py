"""A real run on the CPU whose tensors are counted, with copies where a GPU would have them."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from PIL import Image
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from ltx2.engine import needed_parts
from pipelines.components import Components
from pipelines.memory.ledger import Ledger
from pipelines.memory.outline import tensor_bytes
from pipelines.recipes import RECIPES
from pipelines.residency import home, on_device, streams
from pipelines.upstream.block_streaming import block_list
from pipelines.values import Inputs


class Silent:
    def stage(self, _name, _steps=1):
        return nullcontext()

    def step(self):
        """Nothing to tell."""


class Counted(Components):
    """Counts what a device beside the host would hold.

    What lives on the device is counted while it is loaded, what visits it is copied, and of what
    streams through it the block at work is counted with the one after it, as diffusers' hooks have
    them on a GPU. What waits in host memory is not counted.
    """

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.ledger = Ledger()

    def _load(self, component, variant, device):
        with _disable_current_modes():
            return super()._load(component, variant, device)

    @contextmanager
    def _on_device(self, name, part) -> Iterator[None]:
        place = home(self.residency, name)
        with self._counted(part, there=place == "disk"):
            flows = streams(self.residency, name)
            move = torch.Tensor.to if flows else copied
            with (
                on_device(self.residency, name, part, self.device, move),
                self._streamed(part) if flows else nullcontext(),
            ):
                yield
        if place == "disk":
            self.drop(self.key(name))

    @contextmanager
    def _counted(self, part, *, there):
        nbytes = tensor_bytes(part) if there and isinstance(part, nn.Module) else 0
        self.ledger.add("cpu", nbytes)
        try:
            yield
        finally:
            self.ledger.add("cpu", -nbytes)

    @contextmanager
    def _streamed(self, part):
        blocks = list(block_list(part))
        outside = tensor_bytes(part) - tensor_bytes(block_list(part))
        sizes = [tensor_bytes(block) for block in blocks]
        held = [
            size + (sizes[index + 1] if index + 1 < len(sizes) else 0)
            for index, size in enumerate(sizes)
        ]
        hooks = []
        for block, nbytes in zip(blocks, held, strict=True):
            hooks += [
                block.register_forward_pre_hook(lambda *_, n=nbytes: self.ledger.add("cpu", n)),
                block.register_forward_hook(lambda *_, n=nbytes: self.ledger.add("cpu", -n)),
            ]
        self.ledger.add("cpu", outside)
        try:
            yield
        finally:
            self.ledger.add("cpu", -outside)
            for hook in hooks:
                hook.remove()


def copied(tensor, _device):
    return tensor.clone()


def measured(plan, model: Counted, picture: Image.Image) -> int:
    """The most bytes a run of the plan holds on the device, once everything is loaded."""
    names = {each.image for part in plan.passes.values() for each in part.conditions}
    inputs = Inputs(images=dict.fromkeys(names, picture))

    for name in needed_parts(plan, model):
        model.part(name)
    for part in plan.passes.values():  # adapters stay where they were once
        with model.using_transformer(part.variant, part.adapters):
            pass
    model.ledger = Ledger()
    for name in model.held:
        part = model.part(name)
        if isinstance(part, nn.Module) and home(model.residency, name) == "device":
            model.ledger.add("cpu", tensor_bytes(part))
    with model.ledger:
        clip = RECIPES[plan.task](model, in_three_steps(plan), inputs, Silent())
        for _ in clip.frames:
            pass
    return model.ledger.peak("cpu")


def in_three_steps(plan):
    """The same plan with three steps a pass: more of them hold no more."""

    def short(part):
        return part and replace(part, sigmas=(*part.sigmas[:3], 0.0))

    rounds, detail = plan.temporal_round, plan.detail
    return replace(
        plan,
        base=short(plan.base),
        refine=short(plan.refine),
        temporal_round=rounds and replace(rounds, denoise=short(rounds.denoise)),
        detail=detail and replace(detail, denoise=short(detail.denoise)),
    )
