"""The adapter kinds beside plain LoRA, each as factors that PEFT's LoRA layer takes as a variant.

PEFT has LoKr and LoHa as layers of their own, which do not act together with LoRA on one linear
layer, and its DoRA takes what earlier adapters made of the layer for the layer itself. As variants
of one layer, every adapter is a change of the untouched weight W, and changes add up in any order:

    lora  c BA         lokr  c w1 ⊗ w2         loha  c (w1a w1b) ∘ (w2a w2b)

With magnitudes m (DoRA) the change D becomes g (W + D) - W, g being m over the lengths of the rows
or columns of W + D. The request's strength multiplies the whole change, as in ComfyUI: 0 is the
model itself, and 1 the file's weights exactly. PEFT's own DoRA puts it on the factors instead.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, cast

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import LoraVariant
from torch import Tensor, nn
from torch.nn import functional as F

from loras.kinds import Kind, Role, Update

# A weight of another type is stored for a cast before use (float8) or quantised; factors are not.
_PLAIN = (torch.float32, torch.bfloat16, torch.float16)
_ROWS = 1024  # of an identity that is sent through a layer at a time


class Factors(nn.Module, ABC):
    """One layer's change: its factors in the layer's type, its constant, and DoRA's gains."""

    excess: nn.Parameter | None

    def __init__(self, tensors: Mapping[Role, Tensor], scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.axis: str | None = None
        self.excess = None
        for role, tensor in tensors.items():
            self.register_parameter(role, nn.Parameter(tensor, requires_grad=False))

    @property
    def weight(self) -> Tensor:
        """Any of the factors: PEFT asks it for the type."""
        return next(self.parameters())

    @abstractmethod
    def product(self, dtype: torch.dtype | None = None) -> Tensor:
        """The factors multiplied out, (outputs, inputs), in their own type or in `dtype`."""

    def applied(self, x: Tensor) -> Tensor:
        """The product times `x` (..., inputs)."""
        return F.linear(x, self.product())

    @torch.no_grad()
    def normalise(self, base: nn.Linear, magnitudes: Tensor, axis: str) -> None:
        """Take DoRA's magnitudes in: gains over the lengths of the base weight with this change.

        Kept as what they exceed 1 by, in float32: in bfloat16 a gain near 1 has two digits.
        """
        whole = weight_of(base) + self.product(torch.float32) * self.scale
        lengths = torch.linalg.vector_norm(whole, dim=1 if axis == "outputs" else 0)
        excess = magnitudes.to(lengths.device, torch.float32).flatten() / lengths - 1
        if not excess.isfinite().all():
            raise ValueError("its magnitudes and the weight's lengths give no finite gains")
        self.excess, self.axis = nn.Parameter(excess, requires_grad=False), axis

    def added(self, x: Tensor, base: nn.Linear, plain: Tensor | None) -> Tensor:
        """What the adapter adds at strength 1. `plain` is the base layer's output where known."""
        if self.excess is None:
            return self.applied(x) * self.scale
        excess = self.excess.to(x.dtype)
        if self.axis == "inputs":
            return _unbiased(base, base(x * excess)) + self.applied(x + x * excess) * self.scale
        plain = _unbiased(base, base(x) if plain is None else plain)
        return plain * excess + self.applied(x) * self.scale * (1 + excess)


class LowRank(Factors):
    """B A, as of a LoRA; here only where magnitudes go with it."""

    A: nn.Parameter
    B: nn.Parameter

    def product(self, dtype: torch.dtype | None = None) -> Tensor:
        """(outputs, rank) @ (rank, inputs)."""
        return _typed(self.B, dtype) @ _typed(self.A, dtype)

    def applied(self, x: Tensor) -> Tensor:
        """One factor after the other."""
        return F.linear(F.linear(x, self.A), self.B)


class Hadamard(Factors):
    """LoHa: two products of a low rank, multiplied number by number."""

    hada_w1_a: nn.Parameter
    hada_w1_b: nn.Parameter
    hada_w2_a: nn.Parameter
    hada_w2_b: nn.Parameter

    def product(self, dtype: torch.dtype | None = None) -> Tensor:
        """Of rank^2, so that nothing smaller stands for it."""
        first = _typed(self.hada_w1_a, dtype) @ _typed(self.hada_w1_b, dtype)
        return first * (_typed(self.hada_w2_a, dtype) @ _typed(self.hada_w2_b, dtype))


class Kronecker(Factors):
    """LoKr: a small matrix whose every number stands for as many copies of a second one."""

    lokr_w1: nn.Parameter

    def _second(self) -> list[Tensor]:
        """The second factor, whole or as two."""
        names = ("lokr_w2",) if "lokr_w2" in self._parameters else ("lokr_w2_a", "lokr_w2_b")
        return [self.get_parameter(name) for name in names]

    def product(self, dtype: torch.dtype | None = None) -> Tensor:
        """The Kronecker product."""
        second = [_typed(factor, dtype) for factor in self._second()]
        whole = second[0] if len(second) == 1 else second[0] @ second[1]
        return torch.kron(_typed(self.lokr_w1, dtype), whole)

    def applied(self, x: Tensor) -> Tensor:
        """Without the product: each factor along its own side of `x` laid out as a matrix."""
        x = x.unflatten(-1, (self.lokr_w1.shape[1], -1))
        for factor in reversed(self._second()):
            x = F.linear(x, factor)
        return F.linear(x.transpose(-1, -2), self.lokr_w1).transpose(-1, -2).flatten(-2)


_CLASSES: dict[Kind, type[Factors]] = {"lora": LowRank, "loha": Hadamard, "lokr": Kronecker}


def _typed(factor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return factor if dtype is None else factor.to(dtype)


def _unbiased(base: nn.Linear, output: Tensor) -> Tensor:
    return output if base.bias is None else output - base.bias.to(output.dtype)


class FactorsVariant(LoraVariant):
    """PEFT's hook for what an adapter does in a LoRA layer: here, what its Factors say."""

    @staticmethod
    def init(module: LoraLayer, adapter_name: str, **_options: Any) -> None:  # noqa: ANN401
        """Refuse a layer whose adapter has no factors."""
        if not isinstance(module.lora_A[adapter_name], Factors):
            raise TypeError(f"{adapter_name} has no factors")

    @staticmethod
    def forward(
        module: LoraLayer,
        active_adapter: str,
        x: Tensor,
        result: Tensor,
        **_options: Any,  # noqa: ANN401
    ) -> Tensor:
        """`result` with the adapter's part."""
        factors = cast("Factors", module.lora_A[active_adapter])
        # Others may have changed `result` already; the first finds the layer's own output in it.
        first = module.active_adapters[0] == active_adapter
        base = cast("nn.Linear", module.base_layer)
        added = factors.added(x, base, result if first else None)
        return result + added * module.scaling[active_adapter]

    @staticmethod
    def merge_safe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:  # noqa: ARG004 - PEFT's
        """Refuse: a weight that was added to and subtracted from is not what it was."""
        raise RuntimeError(f"{active_adapter} cannot be fused into {type(module).__name__}")

    @staticmethod
    def merge_unsafe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> None:
        """As `merge_safe`."""
        FactorsVariant.merge_safe(module, active_adapter, orig_weight)

    @staticmethod
    def unmerge(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """As `merge_safe`."""
        return FactorsVariant.merge_safe(module, active_adapter, orig_weight)


def factors_of(
    update: Update, tensors: Mapping[Role, Tensor], base: nn.Linear, scale: float
) -> Factors:
    """An update's tensors, as they were read, as factors of its layer.

    On the layer's device, in its type (bfloat16 where that is for storage only).
    """
    kept = {role: tensor for role, tensor in tensors.items() if role not in ("alpha", "magnitude")}
    if "lokr_w1_a" in kept:
        kept["lokr_w1"] = kept.pop("lokr_w1_a").float() @ kept.pop("lokr_w1_b").float()
    device, dtype = base.weight.device, factor_type(base)
    # Copies, so that no weight is a view of the mapped file.
    own = {role: tensor.to(device, dtype, copy=True) for role, tensor in kept.items()}
    factors = _CLASSES[update.kind](own, scale)
    if update.magnitude is not None:
        factors.normalise(base, tensors["magnitude"], update.magnitude)
    return factors


def factor_type(linear: nn.Linear) -> torch.dtype:
    """The type of a layer's factors: its own, or bfloat16 where that one is for storage only.

    A layer of packed bytes, as of a GGUF file, names the type it computes in.
    """
    stored = getattr(linear, "compute_dtype", linear.weight.dtype)
    return stored if stored in _PLAIN else torch.bfloat16


@torch.no_grad()
def weight_of(linear: nn.Linear) -> Tensor:
    """A layer's weight (outputs, inputs) in float32, as it acts.

    Of a layer that keeps its weight quantised, it is what the layer makes of an identity matrix.
    """
    weight, inputs = linear.weight, linear.in_features
    if type(weight) in (nn.Parameter, Tensor) and weight.is_floating_point():
        return weight.float()
    columns: list[Tensor] = []
    layer: Any = linear  # whose bias may be None, which its annotation does not say
    bias, layer.bias = layer.bias, None  # added to the weight it would cost digits of it
    try:
        for start in range(0, inputs, _ROWS):
            rows = torch.zeros(
                min(_ROWS, inputs - start), inputs, device=weight.device, dtype=factor_type(linear)
            )
            rows[:, start:].fill_diagonal_(1)
            columns.append(layer(rows).float())
    finally:
        layer.bias = bias
    return torch.cat(columns).T.contiguous()
