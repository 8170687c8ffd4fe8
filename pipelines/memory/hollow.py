"""Operations on tensors without data, as far as memory is concerned."""

from typing import Any

import torch
from torch import Tensor

from pipelines.memory.ledger import Ledger, aten, tensors

DEVICE, HOST = "meta", "cpu"


class Hollow(Ledger):
    """Counts operations on the meta device, which stands for the GPU.

    Nothing has a value there: every question to a tensor is answered with yes, and what is copied
    to the host has arbitrary content. `known` holds what operations gave for the same shapes, which
    is most of the time that a run takes; it may be shared between runs.
    """

    def __init__(self, known: dict[Any, Any] | None = None) -> None:
        super().__init__()
        self._known = {} if known is None else known

    def _instead(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        if func is aten.equal.default:
            return True
        if not any(tensor.device.type == DEVICE for tensor in tensors((args, kwargs))):
            return None
        if func in (aten.is_nonzero.default, aten._local_scalar_dense.default):
            return True
        if func is aten.scaled_dot_product_attention.default:
            query, _key, value, *more = args
            return self._attention(query, value, more[0] if more else kwargs.get("attn_mask"))
        if func is aten._to_copy.default and _kind(kwargs.get("device")) == HOST:
            with self:
                return torch.empty(
                    args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device=HOST
                )
        if func is aten.copy_.default and args[0].device.type == HOST:
            return args[0]
        return None

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        """One operation, made anew from its shapes where it was seen before."""
        if func.is_view or func._schema.is_mutable:
            return func(*args, **kwargs)
        key = (func, _signature(args), _signature(kwargs))
        if key in self._known:
            return _made(self._known[key])
        result = func(*args, **kwargs)
        given = {tensor.untyped_storage()._cdata for tensor in tensors((args, kwargs))}
        # Some that are no views by their schema give their input's memory all the same.
        shared = any(tensor.untyped_storage()._cdata in given for tensor in tensors(result))
        if not shared and (shapes := _shapes(result)) is not None:
            self._known[key] = shapes
        return result

    def _attention(self, query: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """What the fused kernels hold: the output and one float32 a query, never all pairs.

        A mask of yes and no becomes one of numbers first.
        """
        with self:
            scores = torch.empty(query.shape[:-1], dtype=torch.float32, device=DEVICE)
            if mask is not None and mask.dtype == torch.bool:
                numbers = torch.empty(mask.shape, dtype=query.dtype, device=DEVICE)
                del numbers
            shape = (*query.shape[:-1], value.shape[-1])
            output = torch.empty(shape, dtype=query.dtype, device=DEVICE)
            del scores
        return output


def _signature(value: Any) -> Any:  # noqa: ANN401 - arguments of operations
    if isinstance(value, Tensor):
        return (tuple(value.shape), value.stride(), value.dtype, value.device)
    if isinstance(value, (tuple, list)):
        return tuple(_signature(each) for each in value)
    if isinstance(value, dict):
        return tuple((name, _signature(each)) for name, each in value.items())
    return (type(value), value)  # 1 and True are equal


def _shapes(result: Any) -> Any:  # noqa: ANN401 - a tensor or several
    """How to make the result of an operation anew; None where that is not known."""
    if isinstance(result, (tuple, list)):
        each = [_shapes(one) for one in result]
        return None if None in each else (type(result), each)
    if not isinstance(result, Tensor) or result.device.type != DEVICE:
        return None
    shape = (tuple(result.shape), result.stride(), result.dtype)
    whole = torch.empty_strided(shape[0], shape[1], dtype=shape[2], device=DEVICE)
    same = whole.untyped_storage().nbytes() == result.untyped_storage().nbytes()
    return shape if same else None


def _made(shapes: Any) -> Any:  # noqa: ANN401
    if isinstance(shapes[0], type):
        return shapes[0](_made(each) for each in shapes[1])
    shape, stride, dtype = shapes
    return torch.empty_strided(shape, stride, dtype=dtype, device=DEVICE)


def _kind(device: Any) -> str | None:  # noqa: ANN401 - a name, a device or nothing
    return None if device is None else torch.device(device).type
