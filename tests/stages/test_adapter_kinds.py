"""DoRA, LoKr and LoHa on a real, small transformer: exact, by strength, gone without a trace."""

import copy
import json

import pytest
import torch
from safetensors.torch import save_file

from loras.adapters import AdapterStore, LoraMismatch, applied, load, unload
from loras.factors import weight_of
from tests.stages.adapted import FF, OUT, TOLERANCE, Q, build, factors, fused, run, size, state
from tests.stages.adapted import write as write_lora

PATHS = (Q, OUT, FF)  # OUT and FF have a bias; FF is not square


def randn(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def halves(number):
    """A number as a product, the smaller factor first: how LoKr cuts a layer."""
    small = next(n for n in range(int(number**0.5), 0, -1) if number % n == 0)
    return small, number // small


def lora(model, path, alpha=3.0):
    outputs, inputs = size(model, path)
    down, up = randn(4, inputs, seed=1), randn(outputs, 4, seed=2) / 8
    tensors = {"lora_A.weight": down, "lora_B.weight": up, "alpha": torch.tensor(alpha)}
    return tensors, alpha / 4 * up @ down


def lokr(model, path, *, first="whole", second="whole", alpha=3.0):
    outputs, inputs = size(model, path)
    rows, columns = halves(outputs), halves(inputs)
    scale = 1.0 if first == second == "whole" else alpha / 2
    tensors, whole = {"alpha": torch.tensor(alpha)}, []
    for name, row, column, form in zip(("w1", "w2"), rows, columns, (first, second), strict=True):
        if form == "whole":
            tensors[f"lokr_{name}"] = randn(row, column, seed=row) / 3
            whole.append(tensors[f"lokr_{name}"])
        else:
            tensors[f"lokr_{name}_a"] = randn(row, 2, seed=row) / 3
            tensors[f"lokr_{name}_b"] = randn(2, column, seed=column) / 3
            whole.append(tensors[f"lokr_{name}_a"] @ tensors[f"lokr_{name}_b"])
    # By its definition, number by number: blocks of the second, each scaled by one of the first.
    blocks = [torch.cat([w * whole[1] for w in row], dim=1) for row in whole[0]]
    return tensors, scale * torch.cat(blocks)


def loha(model, path, alpha=3.0):
    outputs, inputs = size(model, path)
    tensors, products = {"alpha": torch.tensor(alpha)}, []
    for name in ("w1", "w2"):
        left, right = randn(outputs, 3, seed=3), randn(3, inputs, seed=ord(name[1])) / 4
        tensors |= {f"hada_{name}_a": left.clone(), f"hada_{name}_b": right}
        products.append(left @ right)
    return tensors, alpha / 3 * products[0] * products[1]


def with_magnitudes(axis, weight, tensors, change):
    """The same update as a DoRA of that axis: its tensors and its change."""
    whole = weight + change
    if axis == "outputs":
        lengths = whole.square().sum(1, keepdim=True).sqrt()
        given = {"dora_scale": lengths * (1 + randn(*lengths.shape, seed=5) / 4)}
    elif axis == "vector":  # PEFT's own spelling
        lengths = whole.square().sum(1, keepdim=True).sqrt()
        given = {"lora_magnitude_vector": (lengths * (1 + randn(*lengths.shape, seed=5) / 4))[:, 0]}
    else:
        lengths = whole.square().sum(0, keepdim=True).sqrt()
        given = {"dora_scale": lengths * (1 + randn(*lengths.shape, seed=5) / 4)}
    magnitude = next(iter(given.values())).reshape(lengths.shape)
    return tensors | given, magnitude * whole / lengths - weight


KINDS = {
    "lora": lora,
    "lokr": lokr,
    "lokr-low-second": lambda m, p: lokr(m, p, second="low"),
    "lokr-low-first": lambda m, p: lokr(m, p, first="low"),
    "lokr-low-both": lambda m, p: lokr(m, p, first="low", second="low"),
    "loha": loha,
}
AXES = ("none", "outputs", "inputs", "vector")


def update(model, kind, axis, path):
    """Tensors of one layer by their role, and the change (outputs, inputs) they stand for."""
    tensors, change = KINDS[kind](model, path)
    if axis == "none":
        return tensors, change
    return with_magnitudes(axis, model.get_submodule(path).weight.detach(), tensors, change)


def written(file, model, kind, axis="none", paths=PATHS, **notes):
    """A file of these updates, and the change of each layer."""
    tensors, changes = {}, {}
    for path in paths:
        own, changes[path] = update(model, kind, axis, path)
        tensors |= {f"diffusion_model.{path}.{role}": t.contiguous() for role, t in own.items()}
    save_file(tensors, file, metadata=notes or None)
    return file, changes


@torch.no_grad()
def changed(model, *weighted):
    """The output of a copy whose weights are W + the sum of strength * change."""
    model = copy.deepcopy(model)
    for changes, strength in weighted:
        for path, change in changes.items():
            model.get_submodule(path).weight += strength * change
    return run(model)


@pytest.fixture
def model():
    return build()


def modules(model):
    return [id(module) for module in model.modules()]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("kind", KINDS)
def test_strength_scales_the_whole_change_and_removal_leaves_the_very_modules(
    model, tmp_path, kind, axis
):
    file, changes = written(tmp_path / "a.safetensors", model, kind, axis)
    base, before = run(model), modules(model)
    references = {s: changed(model, (changes, s)) for s in (1.0, 0.5, -0.75)}
    loaded = load(model, file, "a")
    named = kind.partition("-")[0]
    if axis != "none":
        named = "dora" if named == "lora" else f"{named} with magnitudes"
    assert (loaded.kind, loaded.layers) == (named, len(PATHS))
    parameters = [p for name, p in model.named_parameters() if ".lora_" in name]
    assert loaded.nbytes == sum(p.numel() * p.element_size() for p in parameters)
    assert torch.equal(run(model), base)
    for strength, reference in references.items():
        with applied(model, [("a", strength)]):
            assert (run(model) - reference).abs().max() < 2 * TOLERANCE
        assert (base - reference).abs().max() > 100 * TOLERANCE
    with applied(model, [("a", 0.0)]):
        assert torch.equal(run(model), base)
    assert torch.equal(run(model), base)
    unload(model, "a")
    assert modules(model) == before


@pytest.mark.parametrize("order", ["as listed", "reversed"])
def test_adapters_of_all_kinds_add_up_on_one_layer_in_any_order(model, tmp_path, order):
    camera = factors(model)
    given = [("lokr", "none"), ("lora", "vector"), ("loha", "inputs"), ("lora", "outputs")]
    files = [
        written(tmp_path / f"{n}.safetensors", model, kind, axis)
        for n, (kind, axis) in enumerate(given)
    ]
    changes = [(change, 0.5) for _, change in files]
    plain = {path: up @ down for path, (down, up) in camera.items()}
    reference = changed(model, *changes, (plain, 1.0))
    base, store = run(model), AdapterStore()
    asked = [(write_lora(tmp_path / "camera.safetensors", camera), 1.0)]
    asked += [(file, 0.5) for file, _ in files]
    with store.applied(model, asked if order == "as listed" else asked[::-1]):
        assert (run(model) - reference).abs().max() < 2 * TOLERANCE
        assert len(state(model)[Q][0]) == 5
    assert torch.equal(run(model), base)
    with store.applied(model, asked[:1]):
        assert (run(model) - fused(build(), (camera, 1.0, {}))).abs().max() < TOLERANCE


def test_eight_adapters_act_at_once_and_each_by_its_own_strength(model, tmp_path):
    """Camera, detailer, distilled and four of a user's own, with one to spare."""
    weighted = [(factors(model, seed=seed), 0.1 * (seed + 1), {}) for seed in range(8)]
    reference = fused(model, *weighted)
    files = [
        (write_lora(tmp_path / f"{seed}.safetensors", pairs), strength)
        for seed, (pairs, strength, _) in enumerate(weighted)
    ]
    base, store = run(model), AdapterStore()
    with store.applied(model, files):
        assert (run(model) - reference).abs().max() < 5 * TOLERANCE
        assert sorted(state(model)[Q][1].values()) == pytest.approx([s for _, s in files])
    assert torch.equal(run(model), base)


def test_a_half_precision_model_runs_with_every_kind(tmp_path):
    model = build()
    files = []
    for kind, axis in (("lokr-low-second", "none"), ("loha", "none"), ("lora", "outputs")):
        name = f"{kind}-{axis}.safetensors"
        files.append((*written(tmp_path / name, model, kind, axis), kind))
    exact = {kind: changed(model, (changes, 1.0)) for _, changes, kind in files}
    model = model.to(torch.bfloat16)
    base = run(model, torch.bfloat16).float()
    for file, _, kind in files:
        load(model, file, kind)
        with applied(model, [(kind, 1.0)]):
            ours = run(model, torch.bfloat16)
        assert ours.dtype == torch.bfloat16
        assert (ours.float() - exact[kind]).abs().mean() < (base - exact[kind]).abs().mean() / 4


class Stored(torch.nn.Linear):
    """Keeps its weight as sixteenths in whole numbers, as a quantised layer might."""

    def forward(self, x):
        return torch.nn.functional.linear(x.float(), self.weight.float() / 16, self.bias)


def test_the_weight_of_a_quantised_layer_is_the_one_that_acts():
    linear = Stored(1500, 7)
    whole = torch.randint(-128, 127, (7, 1500), dtype=torch.int8)
    linear.weight = torch.nn.Parameter(whole, requires_grad=False)
    bias = linear.bias
    assert torch.equal(weight_of(linear), whole.float() / 16)
    assert linear.bias is bias
    plain = torch.nn.Linear(24, 7)
    assert torch.equal(weight_of(plain), plain.weight)


def stated(model, **values):
    """Metadata of diffusers for the layers of PATHS."""
    own = {"r": 4, "use_dora": False, **values}
    return json.dumps({f"transformer.{name}": value for name, value in own.items()})


def without_alphas(file, model, text):
    tensors = {}
    changes = {}
    for path in PATHS:
        own, change = lora(model, path, alpha=4.0)
        changes[path] = change
        del own["alpha"]
        tensors |= {f"transformer.{path}.{role}": t.contiguous() for role, t in own.items()}
    save_file(tensors, file, metadata={"lora_adapter_metadata": text})
    return file, changes


@pytest.mark.parametrize(
    ("values", "scales"),
    [
        ({"lora_alpha": 8}, (2, 2, 2)),
        ({"lora_alpha": 8, "use_rslora": True}, (4, 4, 4)),
        ({"lora_alpha": 2, "alpha_pattern": {"ff.net.0.proj": 8}}, (0.5, 0.5, 2)),
        ({"lora_alpha": 2, "alpha_pattern": {f"^{Q}": 4}}, (1, 0.5, 0.5)),
    ],
)
def test_alphas_that_diffusers_keeps_in_the_metadata_count(model, tmp_path, values, scales):
    file, changes = without_alphas(tmp_path / "a.safetensors", model, stated(model, **values))
    weighted = [({path: changes[path]}, scale) for path, scale in zip(PATHS, scales, strict=True)]
    reference = changed(model, *weighted)
    load(model, file, "a")
    with applied(model, [("a", 1.0)]):
        assert (run(model) - reference).abs().max() < 2 * TOLERANCE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read"),
        ('{"transformer.lora_alpha": "much"}', "cannot be read"),
        ('{"transformer.lora_alpha": 1, "transformer.alpha_pattern": {".*q": 2}}', "no paths"),
    ],
)
def test_metadata_that_cannot_be_read_are_refused(model, tmp_path, text, reason):
    file, _ = without_alphas(tmp_path / "a.safetensors", model, text)
    with pytest.raises(LoraMismatch, match=reason):
        load(model, file, "a")


def test_numbers_that_are_none_are_refused_and_the_model_stays_as_it_was(model, tmp_path):
    before = modules(model)
    outputs, _ = size(model, Q)
    tensors, _ = lora(model, Q, alpha=float("nan"))
    bad = {"alpha": tensors}
    tensors, _ = lora(model, Q)
    bad["dora_scale"] = tensors | {"dora_scale": torch.full((outputs, 1), float("inf"))}
    up = next(role for role in tensors if "lora_B" in role or "up" in role)
    model.get_submodule(Q).weight.data[0] = tensors[up][0] = 0  # a row without a length
    bad["gains"] = tensors | {"dora_scale": torch.ones(outputs, 1)}
    for reason, own in bad.items():
        file = tmp_path / f"{reason}.safetensors"
        save_file({f"{Q}.{role}": t.contiguous() for role, t in own.items()}, file)
        with pytest.raises(LoraMismatch, match=f"{reason}.safetensors: {Q}: .*{reason}"):
            load(model, file, "a")
        assert modules(model) == before
