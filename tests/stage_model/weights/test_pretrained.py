# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportGeneralTypeIssues=false
# transformers ships types that strict mode cannot follow.
"""What is staged loads in `transformers` to the published values, whatever the weights' format was."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MusicgenForConditionalGeneration

from local_aws.hub.tiny_model import make_tiny_musicgen
from stage_model.archive.staging_plan import SizeLimits, collect_inputs
from stage_model.request import StagedModelRequest
from stage_model.source.byte_source import BytesSource
from stage_model.source.repository_listing import RepoFile
from stage_model.upload.journal import ResumePoint
from stage_model.upload.pipeline import PartProducer


class Folder:
    """A repository in a folder; the weights as one safetensors file or as shards that torch.save wrote."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self._sha256 = {name: hashlib.sha256(data).hexdigest() for name, data in self._files.items()}

    def list_files(self) -> list[RepoFile]:
        """Return all files."""
        return [RepoFile(name, len(data), self._sha256[name], None) for name, data in self._files.items()]

    def open(self, file: RepoFile) -> BytesSource:
        """Return a file's bytes."""
        return BytesSource(self._files[file.path])


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny MusicGen as it is published."""
    folder = tmp_path_factory.mktemp("published")
    make_tiny_musicgen(folder)
    yield folder


def stage_into(source: Path, target: Path, packaging_shard: int, decoder_dtype: str = "float16") -> list[str]:
    """Stage uncompressed into a folder, as S3 would hold it; return the tensors that kept float32."""
    request = StagedModelRequest(
        "facebook/musicgen-tiny",
        "0" * 40,
        decoder_dtype,
        "assets",
        "bundle.zip",
        "artifacts",
        "models/S/M/",
        "uncompressed",
    )
    sizes = SizeLimits(shard=packaging_shard, cast_part_blocks=1)
    inputs = collect_inputs(request, Folder(source), {"inference.py": b"pass\n"}, sizes)
    plan = inputs.plan(())
    producer = PartProducer(plan, ResumePoint())
    *tasks, last = producer.tasks
    for task in tasks:
        built = producer.build(task, memoryview(bytearray(producer.buffer_size)))
        producer.hash(task, built)
        append(target / plan.objects[task.target].key.removeprefix(plan.key), bytes(built.frame))
    append(target / plan.objects[last.target].key.removeprefix(plan.key), bytes(producer.build_last(last).frame))
    return list(plan.manifest.kept_float32)


def append(path: Path, data: bytes) -> None:
    """Add bytes to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data)


def same_values(folder: Path, other: Path) -> bool:
    """Return whether both load to the same float32 parameters and buffers, without anything missing."""
    states = []
    for one in (folder, other):
        model, report = MusicgenForConditionalGeneration.from_pretrained(one, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
        states.append(model.state_dict())
    first, second = states
    return first.keys() == second.keys() and all(
        tensor.dtype == second[name].dtype and torch.equal(tensor, second[name]) for name, tensor in first.items()
    )


@pytest.mark.parametrize("shard", [4_000_000_000, 300_000])
def test_from_pretrained_gives_the_published_values(published: Path, tmp_path: Path, shard: int) -> None:
    assert stage_into(published, tmp_path, shard) == []
    assert json.loads((tmp_path / "musicgen-manifest.json").read_text())["decoder_dtype"] == "float16"
    assert same_values(tmp_path, published)


@pytest.mark.parametrize("decoder_dtype", ["float16", "float32"])
@pytest.mark.parametrize("shards", [1, 2])
def test_stereo_models_published_float16_files_are_staged_as_they_are(
    tmp_path: Path, shards: int, decoder_dtype: str
) -> None:
    """As facebook/musicgen-stereo-* are published: next to other copies of the weights, which staging ignores."""
    published, staged = tmp_path / "published", tmp_path / "staged"
    make_tiny_musicgen(published, stereo=True)
    if shards == 2:
        tensors = load_file(published / "model.safetensors")
        (published / "model.safetensors").unlink()
        halves = {f"model-0000{half + 1}-of-00002.safetensors": sorted(tensors)[half::2] for half in range(2)}
        for name, names in halves.items():
            save_file({tensor: tensors[tensor] for tensor in names}, published / name)
        weight_map = {tensor: name for name, names in halves.items() for tensor in names}
        (published / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    wanted = {path.name: path.read_bytes() for path in published.iterdir()}
    ignored = ("model.fp32.safetensors", "model.safetensors.index.fp32.json", "pytorch_model.bin", "state_dict.bin",
               "pytorch_model.bin.index.fp32.json")  # fmt: skip
    for name in ignored:
        (published / name).write_bytes(b"not staged")
    assert stage_into(published, staged, 4_000_000_000, decoder_dtype) == []
    files = {path.name: path.read_bytes() for path in staged.iterdir() if path.is_file()}
    assert json.loads(files.pop("musicgen-manifest.json"))["decoder_dtype"] == "float16"
    assert files == wanted
    loaded = [load_file(path) for path in staged.glob("*.safetensors")]
    assert {tensor.dtype for file in loaded for tensor in file.values() if tensor.is_floating_point()} == {
        torch.float16
    }


@pytest.mark.parametrize("shard", [4_000_000_000, 300_000])
def test_melody_models_are_staged_with_every_tensor(tmp_path: Path, shard: int) -> None:
    """Their decoder has no cross-attention, and a projection of the chroma stands beside that of the text."""
    published, staged = tmp_path / "published", tmp_path / "staged"
    make_tiny_musicgen(published, melody=True)
    stage_into(published, staged, shard)
    wanted = {name: tensor for path in published.glob("*.safetensors") for name, tensor in load_file(path).items()}
    found = {name: tensor for path in staged.glob("*.safetensors") for name, tensor in load_file(path).items()}
    assert found.keys() == wanted.keys() and "audio_enc_to_dec_proj.weight" in found
    for name, tensor in wanted.items():
        assert torch.equal(
            found[name].float(), tensor.half().float() if name.startswith("decoder.") else tensor.float()
        )


def test_torch_shards_convert_to_what_safetensors_hold(published: Path, tmp_path: Path) -> None:
    model = MusicgenForConditionalGeneration.from_pretrained(published)
    source, staged = tmp_path / "torch", tmp_path / "staged"
    source.mkdir()
    for path in published.iterdir():
        if path.suffix == ".json" and "index" not in path.name:
            (source / path.name).write_bytes(path.read_bytes())
    names = list(model.state_dict())
    halves = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for file, chosen in halves.items():
        torch.save({name: model.state_dict()[name] for name in chosen}, source / file)
    weight_map = {name: file for file, chosen in halves.items() for name in chosen}
    (source / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    stage_into(source, staged, 4_000_000_000)
    assert same_values(staged, published)
