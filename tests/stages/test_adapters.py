"""LoRAs on a real, small transformer: exact, switched by strength, gone without a trace."""

import os
import weakref

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import nn

from loras.adapters import (
    AdapterStore,
    LoraMismatch,
    acts_on_text,
    applied,
    load,
    metadata,
    unload,
)
from loras.headers import read
from tests.stages.adapted import (
    CONNECTOR,
    FF,
    LAYERS,
    OUT,
    THEIR_CONNECTOR,
    TOLERANCE,
    Q,
    build,
    connectors,
    factors,
    fused,
    run,
    size,
    state,
    write,
)


@pytest.fixture
def model():
    return build()


def test_the_update_is_strength_times_alpha_over_rank_times_b_a(model, tmp_path):
    pairs = factors(model, ranks=(2, 4, 8, 3))
    alphas = {Q: 1.5, FF: 16.0}
    base = run(model)
    expected = {s: fused(model, (pairs, s, alphas)) for s in (1.0, 0.5, -0.75)}
    loaded = load(model, write(tmp_path / "a.safetensors", pairs, alphas), "a")
    assert (loaded.name, loaded.rank, loaded.layers) == ("a", 8, 4)
    assert loaded.nbytes == 4 * sum(a.numel() + b.numel() for a, b in pairs.values())
    for strength, reference in expected.items():
        with applied(model, [("a", strength)]):
            difference = (run(model) - reference).abs().max()
        assert difference < TOLERANCE
        assert (base - reference).abs().max() > 100 * TOLERANCE


def test_several_adapters_add_up_on_the_layers_they_share(model, tmp_path):
    one = factors(model, seed=3)
    two = factors(model, layers=(Q, OUT), ranks=(2, 6), seed=4)
    reference = fused(model, (one, 0.5, {}), (two, 2.0, {}))
    load(model, write(tmp_path / "one.safetensors", one), "one")
    load(model, write(tmp_path / "two.safetensors", two), "two")
    with applied(model, [("two", 1.5), ("one", 0.5), ("two", 0.5)]):
        assert (run(model) - reference).abs().max() < TOLERANCE


def test_without_an_active_adapter_the_output_is_bit_identical(model, tmp_path):
    before, parameters = run(model), {id(p): p.requires_grad for p in model.parameters()}
    file = write(tmp_path / "a.safetensors", factors(model))
    load(model, file, "a")
    assert torch.equal(run(model), before)
    with applied(model, [("a", 1.0)]):
        assert not torch.equal(run(model), before)
        assert not any(p.requires_grad for p in model.parameters() if id(p) not in parameters)
    assert torch.equal(run(model), before)
    with applied(model, [("a", 0.0)]):
        assert torch.equal(run(model), before)
        assert all(active == () for active, _, _ in state(model).values())
    with applied(model, []):
        assert torch.equal(run(model), before)
    now = {id(p): p.requires_grad for p in model.parameters()}
    assert {key: now[key] for key in parameters} == parameters
    assert not any(now[key] for key in now.keys() - parameters.keys())


def test_unloading_leaves_the_very_modules_of_before(model, tmp_path):
    modules, names = list(model.modules()), list(model.state_dict())
    load(model, write(tmp_path / "a.safetensors", factors(model)), "a")
    load(model, write(tmp_path / "b.safetensors", factors(model, (Q,), (2,))), "b")
    unload(model, "a")
    assert list(state(model)) == [Q]
    assert state(model)[Q] == ((), {"b": 1.0}, False)
    unload(model, "b")
    assert [id(module) for module in model.modules()] == [id(module) for module in modules]
    assert list(model.state_dict()) == names


def cancelled_with(model, name, strength):
    """A pass with one adapter on some layers that ends in an error."""
    with applied(model, [(name, strength)]):
        assert state(model)[Q] == ((name,), {"a": 0.25, name: strength}, False)
        assert state(model)[OUT] == ((), {"a": 0.25}, False)
        raise RuntimeError("cancelled")


def test_strengths_and_adapters_are_restored_after_an_error(model, tmp_path):
    load(model, write(tmp_path / "a.safetensors", factors(model)), "a")
    load(model, write(tmp_path / "b.safetensors", factors(model, (Q, FF), (2, 2))), "b")
    with applied(model, [("a", 0.25)]):
        outer = state(model)
        assert outer[OUT] == (("a",), {"a": 0.25}, False)
        assert outer[Q][0] == ("a",)
        with pytest.raises(RuntimeError, match="cancelled"):
            cancelled_with(model, "b", 2.0)
        assert state(model) == outer
    assert all(active == () for active, _, _ in state(model).values())


def test_loading_while_another_is_applied_changes_nothing(model, tmp_path):
    load(model, write(tmp_path / "a.safetensors", factors(model, (Q,), (4,))), "a")
    with applied(model, [("a", 1.0)]):
        before = run(model)
        load(model, write(tmp_path / "b.safetensors", factors(model, seed=9)), "b")
        assert torch.equal(run(model), before)
        unload(model, "b")
        assert torch.equal(run(model), before)


def test_adapters_that_were_disabled_act_inside_and_are_disabled_again(model, tmp_path):
    pairs = factors(model)
    reference = fused(model, (pairs, 1.0, {}))
    load(model, write(tmp_path / "a.safetensors", pairs), "a")
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.enable_adapters(False)
    before = state(model)
    with applied(model, [("a", 1.0)]):
        assert (run(model) - reference).abs().max() < TOLERANCE
    assert state(model) == before


def test_names_that_are_not_loaded_are_refused_with_those_that_are(model, tmp_path):
    load(model, write(tmp_path / "a.safetensors", factors(model)), "a")
    before = state(model)
    with (
        pytest.raises(LookupError, match="not loaded: b; there are a"),
        applied(model, [("a", 1.0), ("b", 1.0)]),
    ):
        pytest.fail("unreachable")
    with pytest.raises(ValueError, match="no finite number"), applied(model, [("a", float("nan"))]):
        pytest.fail("unreachable")
    for name in ("a", "", "x.y"):
        with pytest.raises(ValueError, match="is taken, empty or has a dot"):
            load(model, tmp_path / "a.safetensors", name)
    assert state(model) == before


def test_fused_adapters_are_refused(model, tmp_path):
    load(model, write(tmp_path / "a.safetensors", factors(model)), "a")
    layer = model.get_submodule(Q)
    layer.set_adapter(["a"])
    layer.merge()
    with pytest.raises(RuntimeError, match="unfuse"), applied(model, [("a", 1.0)]):
        pytest.fail("unreachable")


@pytest.mark.parametrize(
    ("stored", "factor"), [(torch.bfloat16, torch.bfloat16), (torch.float8_e4m3fn, torch.bfloat16)]
)
def test_factors_have_the_type_of_their_layer(model, tmp_path, stored, factor):
    file = write(tmp_path / "a.safetensors", factors(model))
    model.get_submodule(Q).to(stored)
    loaded = load(model, file, "a")
    layer = model.get_submodule(Q)
    assert layer.lora_A["a"].weight.dtype == layer.lora_B["a"].weight.dtype == factor
    assert model.get_submodule(FF).lora_A["a"].weight.dtype == torch.float32
    parameters = [p for name, p in model.named_parameters() if ".lora_" in name]
    assert loaded.nbytes == sum(p.numel() * p.element_size() for p in parameters)


def test_a_half_precision_model_runs_with_an_adapter(tmp_path):
    model = build().to(torch.bfloat16)
    load(model, write(tmp_path / "a.safetensors", factors(model)), "a")
    base = run(model, torch.bfloat16)
    with applied(model, [("a", 1.0)]):
        with_lora = run(model, torch.bfloat16)
    assert with_lora.dtype == torch.bfloat16
    assert with_lora.isfinite().all()
    assert (with_lora - base).abs().max() > 0.01


def test_weights_outlive_their_file(model, tmp_path):
    file = write(tmp_path / "a.safetensors", factors(model))
    load(model, file, "a")
    with applied(model, [("a", 1.0)]):
        before = run(model)
        with file.open("r+b") as stream:
            stream.seek(-4096, 2)
            stream.write(bytes(4096))
        assert torch.equal(run(model), before)


def test_adapters_loaded_in_inference_mode_serve_outside_of_it(model, tmp_path):
    file = write(tmp_path / "a.safetensors", factors(model))
    with torch.inference_mode():
        load(model, file, "a")
    assert not any(p.is_inference() for p in model.parameters())


def foreign(model):
    pairs = factors(model)
    outputs, _ = size(model, Q)
    pairs[Q] = (torch.randn(4, 99), torch.randn(outputs, 4))
    return pairs


@pytest.mark.parametrize("bad", ["shape", "name", "kind", "pickle", "short", "size"])
def test_a_file_that_does_not_fit_leaves_the_model_untouched(model, tmp_path, bad):
    before, modules = run(model), [id(module) for module in model.modules()]
    file = write(tmp_path / "bad.safetensors", foreign(model) if bad == "shape" else factors(model))
    limit = 2**20
    if bad == "name":
        save_file({"diffusion_model.blocks.0.self_attn.q.lora_A.weight": torch.zeros(1, 1)}, file)
    elif bad == "kind":
        save_file({f"diffusion_model.{Q}.oft_blocks": torch.zeros(1, 1)}, file)
    elif bad == "pickle":
        torch.save({"a": torch.zeros(1)}, file)
    elif bad == "short":
        file.write_bytes(file.read_bytes()[:-1])
    elif bad == "size":
        limit = 1000
    reasons = {
        "shape": "other shapes than 1 layer",
        "name": "none of its 1 tensor fits .* made for Wan",
        "kind": "an OFT adapter",
        "pickle": "is a pickle, which could run any code",
        "short": "its header promises",
        "size": "the limit is",
    }
    with pytest.raises(LoraMismatch, match=f"bad.safetensors.*{reasons[bad]}"):
        load(model, file, "a", max_file_bytes=limit)
    assert [id(module) for module in model.modules()] == modules
    assert torch.equal(run(model), before)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float8_e5m2])
def test_weights_that_are_no_numbers_are_refused_with_file_and_layer(model, tmp_path, bad, stored):
    before, modules = run(model), [id(module) for module in model.modules()]
    pairs = factors(model)
    pairs[FF][1][3, 2] = bad
    pairs = {path: tuple(f.to(stored) for f in pair) for path, pair in pairs.items()}
    file = write(tmp_path / "bad.safetensors", pairs)
    with pytest.raises(LoraMismatch, match=f"bad.safetensors: {FF}: .*lora_B.weight has numbers"):
        load(model, file, "a")
    assert [id(module) for module in model.modules()] == modules
    assert torch.equal(run(model), before)
    assert load(model, write(file, factors(model)), "a").layers == len(LAYERS)


def test_what_only_the_reader_of_the_data_finds_is_a_mismatch_too(model, tmp_path):
    file = write(tmp_path / "bad.safetensors", factors(model), note="a word")
    file.write_bytes(file.read_bytes().replace(b"a word", rb"\ud800"))
    with pytest.raises(LoraMismatch, match=r"bad.safetensors cannot be read: "):
        load(model, file, "a")
    assert state(model) == {}


def test_tensors_of_every_type_and_in_any_order_are_read(tmp_path):
    save = {"i": torch.zeros(3, dtype=torch.int64), "e": torch.zeros(0, 4)}
    save |= {"f": torch.zeros(2, 2, dtype=torch.float8_e4m3fn), "b": torch.zeros(5).bool()}
    save_file(save, tmp_path / "x")
    assert {name: entry.shape for name, entry in read(tmp_path / "x").tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in save.items()
    }


class NoRoom(nn.Linear):
    """A layer that cannot be adapted, which only shows when it is tried."""

    def train(self, mode=True):
        raise torch.OutOfMemoryError("no room")


def test_a_load_that_breaks_halfway_is_undone(model, tmp_path):
    file = write(tmp_path / "a.safetensors", factors(model))
    outputs, inputs = size(model, OUT)
    fine, full = model.get_submodule(OUT), NoRoom(inputs, outputs)
    parent = model.get_submodule(OUT.rpartition(".")[0])
    parent[0] = full
    modules = [id(module) for module in model.modules()]
    with pytest.raises(torch.OutOfMemoryError):
        load(model, file, "a")
    assert [id(module) for module in model.modules()] == modules
    parent[0] = fine
    assert load(model, file, "a").layers == len(LAYERS)


def test_a_files_metadata_come_with_it(model, tmp_path):
    file = write(tmp_path / "a.safetensors", factors(model), reference_downscale_factor="2")
    assert metadata(file)["reference_downscale_factor"] == "2"
    assert load(model, file, "a").metadata["reference_downscale_factor"] == "2"


def test_connector_layers_are_loaded_with_the_connectors_and_never_left_out(model, tmp_path):
    text = connectors()
    pair = factors(text, (CONNECTOR,), (4,))[CONNECTOR]
    file = write(tmp_path / "a.safetensors", factors(model) | {THEIR_CONNECTOR: pair})
    assert acts_on_text(file)
    assert not acts_on_text(write(tmp_path / "b.safetensors", factors(model)))

    with pytest.raises(LoraMismatch, match="2 tensors of it fit no layer of this model"):
        load(model, file, "alone")

    both = {"transformer": model, "connectors": text}
    whole = load(both, file, "whole")
    assert whole.layers == len(LAYERS) + 1
    x = torch.randn(3, 20)
    layer = text.get_submodule(CONNECTOR)
    base = layer(x)
    with applied(both, [("whole", 0.5)]):
        torch.testing.assert_close(layer(x), base + 0.5 * x @ pair[0].T @ pair[1].T)
    assert torch.equal(layer(x), base)


def test_a_file_for_both_acts_on_each_when_its_time_comes(model, tmp_path):
    text, store = connectors(), AdapterStore()
    pair = factors(text, (CONNECTOR,), (4,))[CONNECTOR]
    pairs = factors(model)
    file = write(tmp_path / "a.safetensors", pairs | {THEIR_CONNECTOR: pair})
    words = write(tmp_path / "words.safetensors", {THEIR_CONNECTOR: pair})
    reference, x = fused(model, (pairs, 0.5, {})), torch.randn(3, 20)
    with store.applied({"connectors": text}, [(file, 0.5)], elsewhere=("transformer",)):
        layer = text.get_submodule(CONNECTOR)
        expected = layer.base_layer(x) + 0.5 * x @ pair[0].T @ pair[1].T
        torch.testing.assert_close(layer(x), expected)
    files = [(file, 0.5), (words, 1.0)]
    with store.applied({"transformer": model}, files, elsewhere=("connectors",)):
        assert (run(model) - reference).abs().max() < TOLERANCE
    assert [item.layers for item in store.loaded({"transformer": model})] == [len(LAYERS), 0]


def test_a_connector_layer_that_does_not_exist_is_refused_with_the_connectors(tmp_path):
    text = connectors()
    pair = factors(text, (CONNECTOR,), (4,))[CONNECTOR]
    wrong = THEIR_CONNECTOR.replace("blocks.0", "blocks.7")
    other = tuple(factor.clone() for factor in pair)
    file = write(tmp_path / "a.safetensors", {THEIR_CONNECTOR: pair, wrong: other})
    with (
        pytest.raises(LoraMismatch, match="2 tensors of it fit no layer"),
        AdapterStore().applied({"connectors": text}, [(file, 1.0)], elsewhere=("transformer",)),
    ):
        pytest.fail("unreachable")


# The store


@pytest.fixture
def files(model, tmp_path):
    """Three files of equal size."""
    return [write(tmp_path / f"{n}.safetensors", factors(model, seed=n)) for n in range(3)]


def names(store, model):
    return [item.name for item in store.loaded(model)]


def ensure(store, model, file):
    """The name of a file's adapter after it was applied once."""
    with store.applied(model, [(file, 1.0)]):
        return names(store, model)[-1]


def test_a_file_is_loaded_once(model, files):
    store = AdapterStore()
    first = ensure(store, model, files[0])
    assert ensure(store, model, files[0]) == first
    assert ensure(store, model, files[1]) != first
    assert len(store.loaded(model)) == 2


def test_a_file_that_was_replaced_is_loaded_anew(model, files):
    store = AdapterStore()
    pairs = factors(model, seed=77)
    reference = fused(model, (pairs, 1.0, {}))
    first = ensure(store, model, files[0])
    size, second = files[0].stat().st_size, files[0].stat().st_mtime + 1
    write(files[0], pairs)
    os.utime(files[0], (second, second))
    assert files[0].stat().st_size == size
    assert ensure(store, model, files[0]) != first
    with store.applied(model, [(files[0], 1.0)]):
        assert (run(model) - reference).abs().max() < TOLERANCE


def test_files_act_by_strength_inside_the_block_only(model, files):
    store = AdapterStore()
    base = run(model)
    reference = fused(model, (factors(model, seed=0), 0.5, {}), (factors(model, seed=1), -1.0, {}))
    with store.applied(model, [(files[0], 0.5), (files[1], -1.0)]):
        assert (run(model) - reference).abs().max() < TOLERANCE
    assert torch.equal(run(model), base)


def test_another_strength_loads_nothing(model, files):
    store = AdapterStore()
    name = ensure(store, model, files[0])
    layer = model.get_submodule(Q)
    weights = [id(layer.lora_A[name].weight), id(layer.lora_B[name].weight)]
    for strength in (0.25, 1.5):
        with store.applied(model, [(files[0], strength)]):
            assert layer.scaling[name] == strength
        assert [id(layer.lora_A[name].weight), id(layer.lora_B[name].weight)] == weights
    assert names(store, model) == [name]


def test_a_store_that_is_cleared_leaves_the_very_modules_of_before(model, files):
    modules = [id(module) for module in model.modules()]
    store = AdapterStore()
    with store.applied(model, [(files[0], 1.0)]):
        ensure(store, model, files[1])
        store.clear()
        assert len(names(store, model)) == 1
    store.clear()
    assert [id(module) for module in model.modules()] == modules


def test_the_least_recently_used_goes_first(model, files):
    one = AdapterStore()
    ensure(one, model, files[0])
    nbytes = one.loaded(model)[0].nbytes
    one.forget(model)
    store = AdapterStore(max_bytes=2 * nbytes)
    first, second = ensure(store, model, files[0]), ensure(store, model, files[1])
    ensure(store, model, files[0])
    third = ensure(store, model, files[2])
    assert names(store, model) == [first, third]
    assert all(second not in scaling for _, scaling, _ in state(model).values())


def test_an_adapter_that_is_applied_is_never_evicted(model, files):
    with AdapterStore().applied(model, [(files[0], 1.0)]):
        nbytes = 4 * sum(a.numel() + b.numel() for a, b in factors(model).values())
    store = AdapterStore(max_bytes=2 * nbytes)
    ensure(store, model, files[1])
    with store.applied(model, [(files[0], 1.0)]):
        before = run(model)
        kept = names(store, model)[-1]
        ensure(store, model, files[2])
        ensure(store, model, files[1])
        assert kept in names(store, model)
        assert torch.equal(run(model), before)
    small = AdapterStore(max_bytes=nbytes)
    with small.applied(model, [(files[0], 1.0)]), pytest.raises(LoraMismatch, match="in use"):
        ensure(small, model, files[1])
    ensure(small, model, files[1])
    assert len(names(small, model)) == 1


def test_a_file_beyond_the_bound_is_refused_and_what_is_there_stays(model, files):
    store = AdapterStore(max_bytes=1000)
    told = (
        r"0\.safetensors takes [1-9],\d{3} bytes beside 0 bytes in use; all adapters together may "
        "take 1,000 bytes"
    )
    with pytest.raises(LoraMismatch, match=told) as caught:
        ensure(store, model, files[0])
    assert caught.value.file == files[0]
    assert store.loaded(model) == []
    assert state(model) == {}


def test_a_mismatch_among_several_files_leaves_nothing_applied(model, files, tmp_path):
    bad = write(tmp_path / "bad.safetensors", foreign(model))
    store, base = AdapterStore(), run(model)
    with pytest.raises(LoraMismatch), store.applied(model, [(files[0], 1.0), (bad, 1.0)]):
        pytest.fail("unreachable")
    assert torch.equal(run(model), base)
    assert all(active == () for active, _, _ in state(model).values())


def test_two_models_have_their_own_copies(files):
    store, one, two = AdapterStore(), build(), build()
    assert ensure(store, one, files[0]) != ensure(store, two, files[0])
    store.forget(one)
    assert (len(store.loaded(one)), len(store.loaded(two))) == (0, 1)


class Small(nn.Module):
    """One layer: models of this class come and go at the same address."""

    def __init__(self):
        super().__init__()
        self.proj_in = nn.Linear(8, 6)


def test_a_store_does_not_keep_a_model_alive_or_take_the_next_one_for_it(tmp_path):
    file = write(tmp_path / "a.safetensors", factors(Small(), ("proj_in",), (2,)))
    store, x, addresses = AdapterStore(), torch.randn(3, 8), []
    for _ in range(8):
        model = Small()
        addresses.append(id(model))
        base = model.proj_in(x)
        with store.applied(model, [(file, 1.0)]):
            assert not torch.equal(model.proj_in(x), base)
        reference = weakref.ref(model)
        del model
        assert reference() is None
    assert len(set(addresses)) < len(addresses)
