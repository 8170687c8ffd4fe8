"""The download against a real server on loopback: what is fetched, continued, verified, refused."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from ltx2.download import Item, Order, Survey, carry_out, check_room, sources_of, survey
from ltx2.errors import BadRequest, ConfigError
from ltx2.hub import Hub
from pipelines.models import CHECKPOINTS
from tests.unit.hub_server import COMMIT, FakeHub, blob_name, serving

GEMMA = "google/gemma-3-12b-it-qat-q4_0-unquantized"
ROW = CHECKPOINTS["ltx-2.3"].files
GEMMA_FILES = {
    "config.json": b'{"model_type": "gemma3"}',
    "tokenizer.json": b"{}",
    "tokenizer.model": b"sentencepiece",
    "model-00001-of-00002.safetensors": b"first shard" * 50,
    "model-00002-of-00002.safetensors": b"second shard" * 50,
    "model.safetensors.index.json": b'{"weight_map": {}}',
    "README.md": b"not needed",
}
BIG = bytes(range(256)) * 4000  # 1 MB
PIECE = 64 * 1024


def everything() -> FakeHub:
    files = {
        ROW.distilled: BIG,
        ROW.dev: b"dev" * 1000,
        ROW.distilled_lora: b"lora" * 100,
        ROW.spatial_upscaler: b"spatial" * 100,
        ROW.temporal_upscaler: b"temporal" * 100,
        "ltx-2.3-22b-dev-fp8.safetensors": b"another variant",
        "README.md": b"card",
    }
    return FakeHub({ROW.repository: files, GEMMA: dict(GEMMA_FILES)})


@pytest.fixture
def hub() -> FakeHub:
    return everything()


@pytest.fixture
def address(hub: FakeHub) -> Iterator[str]:
    with serving(hub) as where:
        yield where


def order(to: Path | None = None, mode: str = "fast", *, verify: bool = False) -> Order:
    return Order(checkpoint="ltx-2.3", mode=mode, to=to, verify=verify)  # type: ignore[arg-type]


def look(address: str, wanted: Order, cache: Path, **more: object) -> Survey:
    return survey(wanted, Hub(endpoint=address), cache=cache, **more)  # type: ignore[arg-type]


def get(address: str, wanted: Order, cache: Path) -> Survey:
    found = look(address, wanted, cache)
    carry_out(found, Hub(endpoint=address))
    return found


def states(found: Survey) -> dict[str, str]:
    return {item.file.path: item.state for item in found.items}


def distilled(found: Survey) -> Item:
    return next(item for item in found.items if item.file.path == ROW.distilled)


class CtrlC:
    """A progress bar under which the user presses Ctrl-C at the second piece: the first is on the
    disk by then.
    """

    def __init__(self, *args: object, **settings: object) -> None:
        self.seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def update(self, count: float | None = 1) -> None:
        self.seen += 1
        if self.seen == 2:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library writes in pieces of 10 MB; files of a test are smaller than one."""
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", PIECE)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("fast", {ROW.distilled}),
        ("pro", {ROW.dev, ROW.distilled_lora}),
        ("all", {ROW.distilled, ROW.dev, ROW.distilled_lora}),
    ],
)
def test_a_mode_needs_exactly_its_files_and_the_text_encoder(
    address: str, tmp_path: Path, mode: str, expected: set[str]
) -> None:
    found = look(address, order(tmp_path / "to", mode), tmp_path)
    encoder = set(GEMMA_FILES) - {"README.md"}
    upscalers = {ROW.spatial_upscaler, ROW.temporal_upscaler}
    assert set(states(found)) == expected | upscalers | encoder
    assert set(states(found).values()) == {"absent"}
    assert found.total == found.to_fetch == sum(item.file.bytes for item in found.items)


def test_a_plain_folder_gets_every_file_verified_and_nothing_else(
    address: str, tmp_path: Path, hub: FakeHub
) -> None:
    target = tmp_path / "models"
    get(address, order(target), tmp_path / "cache")
    assert (target / ROW.distilled).read_bytes() == BIG
    encoder = target / GEMMA.split("/")[1]
    assert {path.name for path in encoder.iterdir()} == set(GEMMA_FILES) - {"README.md"}
    assert not (target / ".partial").exists()
    assert not (tmp_path / "cache").exists()
    again = look(address, order(target), tmp_path)
    assert set(states(again).values()) == {"present"}
    assert again.to_fetch == 0
    gets = len([1 for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path])
    carry_out(again, Hub(endpoint=address))
    assert gets == len(
        [1 for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]
    )


def test_the_cache_is_filled_in_the_hubs_own_layout(address: str, tmp_path: Path) -> None:
    from huggingface_hub import hf_hub_download

    cache = tmp_path / "hub"
    get(address, order(), cache)
    path = hf_hub_download(ROW.repository, ROW.distilled, cache_dir=cache, local_files_only=True)
    assert Path(path).read_bytes() == BIG
    folder = cache / f"models--{ROW.repository.replace('/', '--')}"
    assert (folder / "refs" / "main").read_text() == COMMIT
    assert (folder / "blobs" / hashlib.sha256(BIG).hexdigest()).is_file()
    assert set(states(look(address, order(), cache)).values()) == {"present"}


def test_a_connection_that_breaks_is_continued_where_it_stopped(
    address: str, tmp_path: Path, hub: FakeHub
) -> None:
    hub.cut[ROW.distilled] = 300_000
    get(address, order(tmp_path), tmp_path / "cache")
    first, second = hub.ranges(ROW.distilled)
    assert first is None
    assert second == f"bytes={300_000 // PIECE * PIECE}-"
    assert (tmp_path / ROW.distilled).read_bytes() == BIG


def test_a_stopped_download_goes_on_in_the_next_run(
    address: str, tmp_path: Path, hub: FakeHub
) -> None:
    found = look(address, order(tmp_path), tmp_path / "cache")
    with pytest.raises(KeyboardInterrupt):
        carry_out(found, Hub(endpoint=address), bar=CtrlC)
    assert not (tmp_path / ROW.distilled).exists()
    again = look(address, order(tmp_path), tmp_path / "cache")
    assert distilled(again).state == "partial"
    assert distilled(again).have == PIECE
    assert again.to_fetch == again.total - distilled(again).have
    carry_out(again, Hub(endpoint=address))
    assert hub.ranges(ROW.distilled)[-1] == f"bytes={distilled(again).have}-"
    assert (tmp_path / ROW.distilled).read_bytes() == BIG


def test_the_token_stays_with_the_hub_when_the_bytes_come_from_elsewhere(
    address: str, tmp_path: Path, hub: FakeHub
) -> None:
    store = everything()
    with serving(store) as cdn:
        hub.cdn = cdn
        mine = Hub(endpoint=address, token="good-token")
        carry_out(survey(order(tmp_path), mine, cache=tmp_path), mine)
        carry_out(survey(order(), mine, cache=tmp_path / "hub"), mine)
    assert (tmp_path / ROW.distilled).read_bytes() == BIG
    assert set(hub.authorizations) == {"Bearer good-token"}
    assert set(store.authorizations) == {None}


def test_bytes_that_do_not_fit_the_checksum_are_deleted_and_refused(
    address: str, tmp_path: Path, hub: FakeHub
) -> None:
    hub.corrupt.add(ROW.distilled)
    with pytest.raises(ConfigError, match=r"sha256 .* the hub says"):
        get(address, order(tmp_path), tmp_path / "cache")
    assert not (tmp_path / ROW.distilled).exists()
    assert list((tmp_path / ".partial").iterdir()) == []
    hub.corrupt.clear()
    get(address, order(tmp_path), tmp_path / "cache")
    assert (tmp_path / ROW.distilled).read_bytes() == BIG


def test_small_files_are_verified_by_their_git_id(
    address: str, tmp_path: Path, hub: FakeHub
) -> None:
    hub.corrupt.add("config.json")
    with pytest.raises(ConfigError, match=r"config\.json: has git id"):
        get(address, order(tmp_path), tmp_path / "cache")


@pytest.mark.parametrize("plain", [True, False])
def test_verify_finds_damage_that_a_look_at_the_size_does_not(
    address: str, tmp_path: Path, plain: bool
) -> None:
    to = tmp_path / "plain" if plain else None
    path = distilled(get(address, order(to), tmp_path / "cache")).path
    path.resolve().write_bytes(b"\1" + BIG[1:])
    assert distilled(look(address, order(to), tmp_path / "cache")).state == "present"
    damaged = look(address, order(to, verify=True), tmp_path / "cache")
    assert distilled(damaged).state == "damaged"
    assert damaged.to_fetch == len(BIG)
    carry_out(damaged, Hub(endpoint=address))
    assert path.read_bytes() == BIG


def test_a_gated_repository_names_its_licence_page_and_the_token_before_anything_is_fetched(
    address: str, tmp_path: Path, hub: FakeHub
) -> None:
    hub.gated.add(GEMMA)
    with pytest.raises(ConfigError) as refusal:
        get(address, order(tmp_path), tmp_path / "cache")
    assert f"https://huggingface.co/{GEMMA}" in str(refusal.value)
    assert "HF_TOKEN is empty" in str(refusal.value)
    with pytest.raises(ConfigError, match="the token in HF_TOKEN has no access"):
        survey(order(tmp_path), Hub(endpoint=address, token="other"), cache=tmp_path)
    assert not any("/resolve/" in path for _, path, _ in hub.requests)
    good = Hub(endpoint=address, token=hub.token)
    carry_out(survey(order(tmp_path), good, cache=tmp_path), good)
    assert (tmp_path / GEMMA.split("/")[1] / "config.json").is_file()


def test_a_file_that_the_repository_lost_is_named(
    address: str, tmp_path: Path, hub: FakeHub
) -> None:
    del hub.repositories[ROW.repository][ROW.spatial_upscaler]
    del hub.repositories[GEMMA]["config.json"]
    with pytest.raises(ConfigError) as refusal:
        look(address, order(tmp_path), tmp_path)
    assert ROW.spatial_upscaler in str(refusal.value)
    assert "config.json" in str(refusal.value)


def test_a_repository_that_is_not_there_is_named(
    address: str, tmp_path: Path, hub: FakeHub
) -> None:
    del hub.repositories[GEMMA]
    with pytest.raises(ConfigError, match=f"{GEMMA}: no such repository"):
        look(address, order(tmp_path), tmp_path)


def test_a_hub_that_fails_is_one_sentence(address: str, tmp_path: Path, hub: FakeHub) -> None:
    hub.status[ROW.distilled] = 500
    with pytest.raises(ConfigError, match="the hub answered 500"):
        get(address, order(tmp_path), tmp_path / "cache")


def test_a_hub_that_cannot_be_reached_is_one_sentence(tmp_path: Path) -> None:
    with serving(everything()) as address:
        pass
    with pytest.raises(ConfigError, match="the connection failed"):
        look(address, order(tmp_path), tmp_path)


def test_a_full_disk_is_refused_before_anything_is_fetched_with_both_numbers(
    address: str, tmp_path: Path, hub: FakeHub
) -> None:
    found = look(address, order(tmp_path), tmp_path, free=lambda folder: 1_000_000)
    with pytest.raises(ConfigError, match=r"1\.0 MB are still to come and 1\.0 MB are free"):
        carry_out(found, Hub(endpoint=address))
    assert not any("/resolve/" in path for _, path, _ in hub.requests)


def test_a_complete_folder_needs_no_room(address: str, tmp_path: Path) -> None:
    get(address, order(tmp_path), tmp_path / "cache")
    check_room(look(address, order(tmp_path), tmp_path, free=lambda folder: 0))


def test_a_cached_model_folder_that_is_whole_is_not_fetched_again(
    address: str, tmp_path: Path, hub: FakeHub
) -> None:
    worker = tmp_path / "huggingface-cache" / "hub"
    get(address, order(), worker)
    hub.requests.clear()
    found = look(address, order(), tmp_path / "mine", other_caches=[worker])
    assert found.to_fetch == 0
    assert distilled(found).path.is_relative_to(worker)
    carry_out(found, Hub(endpoint=address))
    assert not (tmp_path / "mine").exists()
    distilled(found).path.resolve().unlink()
    assert (
        distilled(look(address, order(), tmp_path / "mine", other_caches=[worker])).state
        == "absent"
    )


def test_a_repository_by_name_is_fetched_without_its_papers(
    address: str, tmp_path: Path, hub: FakeHub
) -> None:
    hub.repositories["someone/model"] = {
        "model_index.json": b"{}",
        "vae/config.json": b"{}",
        "vae/model.safetensors": b"weights",
        "README.md": b"card",
        "pytorch_model.bin": b"a pickle",
    }
    found = look(address, Order(checkpoint="someone/model", to=tmp_path), tmp_path)
    assert set(states(found)) == {"model_index.json", "vae/config.json", "vae/model.safetensors"}


def test_file_names_that_leave_the_folder_are_refused(
    address: str, tmp_path: Path, hub: FakeHub
) -> None:
    hub.repositories["someone/model"] = {"../model.safetensors": b"weights"}
    with pytest.raises(ConfigError, match="refused file names"):
        look(address, Order(checkpoint="someone/model", to=tmp_path), tmp_path)


def test_what_needs_no_download_or_is_unknown_is_refused_with_what_is_accepted() -> None:
    with pytest.raises(
        BadRequest, match=r"comes with the package; accepted are ltx-2\.5, ltx-2\.3"
    ):
        sources_of(Order(checkpoint="tiny"))
    with pytest.raises(BadRequest, match="no checkpoint name; accepted are"):
        sources_of(Order(checkpoint="ltx-9"))
    with pytest.raises(BadRequest, match="--loras go with a checkpoint name"):
        sources_of(Order(checkpoint="someone/model", loras=True))


def test_diffusers_layout_is_refused_where_no_official_repository_holds_the_mode() -> None:
    for name, mode in (("ltx-2.3", "fast"), ("ltx-2.3", "pro"), ("ltx-2", "fast")):
        with pytest.raises(BadRequest, match=f"no official repository holds {name}"):
            sources_of(Order(checkpoint=name, mode=mode, diffusers=True))  # type: ignore[arg-type]
    [fast, _] = sources_of(Order(checkpoint="ltx-2.5", mode="fast", diffusers=True))
    assert fast.picks("transformer/config.json")
    assert not fast.picks("transformer_full/config.json")
    [pro, _] = sources_of(Order(checkpoint="ltx-2.5", mode="pro", diffusers=True))
    assert pro.picks("transformer_full/config.json")
    assert not pro.picks("transformer/config.json")


def test_the_servers_blob_names_are_gits() -> None:
    # `git hash-object` of a file that holds "hello\n"
    assert blob_name("a.txt", b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_loras_of_a_model_that_has_none_are_refused_with_the_models_that_have():
    order = Order(checkpoint="ltx-2.3", loras=True)
    with pytest.raises(BadRequest, match=r"none for ltx-2\.3; it has some for ltx-2$"):
        sources_of(order)
    assert any(
        source.folder == "loras" for source in sources_of(replace(order, checkpoint="ltx-2"))
    )


@pytest.mark.parametrize("diffusers", [False, True])
def test_2_5_comes_with_its_duration_head_and_the_model_that_rewrites_prompts(diffusers):
    model, writer = sources_of(Order(checkpoint="ltx-2.5", mode="fast", diffusers=diffusers))
    head = CHECKPOINTS["ltx-2.5"].files.duration_head
    assert head is not None
    assert model.picks("duration_head/config.json" if diffusers else head)
    assert writer.repository == "google/gemma-4-E2B-it"
    assert writer.folder == "gemma-4-E2B-it"
    for file in ("config.json", "chat_template.jinja", "processor_config.json"):
        assert writer.picks(file)
    assert writer.licence == "Apache-2.0"


def test_other_generations_rewrite_with_their_text_encoder():
    for name in ("ltx-2", "ltx-2.3"):
        _, encoder = sources_of(Order(checkpoint=name))
        assert "gemma-3" in encoder.repository
        for file in ("chat_template.json", "preprocessor_config.json", "generation_config.json"):
            assert encoder.picks(file)
