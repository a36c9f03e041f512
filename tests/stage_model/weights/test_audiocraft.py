"""Files that audiocraft exported are staged for transformers and the engine, which generate the original's codes."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportOptionalMemberAccess=false
# transformers ships types that strict mode cannot follow.

import copy
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MusicgenForConditionalGeneration

from local_aws.hub import LoopbackHub, Repository
from local_aws.hub.tiny_model import save_processor
from musicgen_serving.engine.sampling_params import SamplingParams
from stage_model.errors import StagingError
from stage_model.source.byte_source import BytesSource
from stage_model.weights.export_settings import MAX_SETTINGS, SETTINGS_COST, ExportSettings
from stage_model.weights.torch_zip import index_package
from tests.model_bundle.helpers.reference_musicgen import Reference, make_reference
from tests.stage_model.fakes.audiocraft_files import (
    as_yaml,
    compression_settings,
    compression_state,
    exported,
    language_model_settings,
    language_model_state,
    reference_to,
    saved,
)
from tests.stage_model.fakes.lambda_runner import Lambda

FRAMES = 24
COMPANION = "facebook/musicgen-small"
SIZE = {
    "Like": COMPANION, "Layers": "4", "HiddenSize": "64", "AudioChannels": "2", "DecoderElements": "700000",
    "OtherElements": "300000", "ChromaFrames": "0", "CompanionModelId": COMPANION, "CompanionRevision": "c" * 40,
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def companion(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A published model: its weights, tokenizer and configuration."""
    folder = tmp_path_factory.mktemp("companion")
    reference = make_reference(folder, 1, layers=2)
    save_processor(folder)
    (folder / "processor_config.json").unlink()  # transformers 5 writes this one, the published models have the other
    extractor = {"feature_extractor_type": "EncodecFeatureExtractor", "feature_size": 1, "sampling_rate": 32000}
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor))
    return reference


@dataclass
class Trained:
    """A model that was trained with audiocraft, and its two files."""

    model: Any
    dtype: torch.dtype
    own_codec: bool

    @property
    def files(self) -> dict[str, bytes]:
        state = {name: tensor.to(self.dtype) for name, tensor in language_model_state(self.model).items()}
        codec = compression_state(self.model.audio_encoder)
        return {
            "state_dict.bin": exported(state, language_model_settings(self.model)),
            "compression_state_dict.bin": exported(codec, compression_settings()) if self.own_codec else reference_to(),
            "README.md": b"---\nlicense: mit\ntags:\n- music\n---\n# Mine\n",
        }


def train(companion: Reference, *, dtype: torch.dtype, own_codec: bool, channels: int = 1) -> Trained:
    """Return a model with the companion's T5, and a decoder of its own with three layers."""
    config = copy.deepcopy(companion.model.config)
    config.decoder.num_hidden_layers, config.decoder.audio_channels = 3, channels
    config.decoder.num_codebooks = 4 * channels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = MusicgenForConditionalGeneration(config).eval()
        with torch.no_grad():
            for name, parameter in [*model.decoder.named_parameters(), *model.enc_to_dec_proj.named_parameters()]:
                values = torch.randn_like(parameter) * (0.25 if parameter.dim() == 2 else 0.1)
                parameter.copy_((values + name.endswith("norm.weight")).to(dtype))
            for layer in model.audio_encoder.quantizer.layers:
                layer.codebook.embed.normal_()
    model.text_encoder.load_state_dict(companion.model.text_encoder.state_dict())
    if not own_codec:
        model.audio_encoder.load_state_dict(companion.model.audio_encoder.state_dict())
    model.generation_config = copy.deepcopy(companion.model.generation_config)
    return Trained(model, dtype, own_codec)


@pytest.fixture
def served(aws: Lambda, hub: LoopbackHub, companion: Reference) -> Callable[[dict[str, bytes]], None]:
    """Let the Hub serve these files as `me/my-musicgen`, and the companion."""

    def serve(files: dict[str, bytes]) -> None:
        hub.repository = Repository("me/my-musicgen", "a" * 40, files)
        hub.others = [Repository.from_folder(companion.folder, model_id=COMPANION, revision="c" * 40)]

    return serve


def unpack(aws: Lambda, folder: Path) -> dict[str, Any]:
    """Extract the one staged tarball; return its manifest."""
    (data,) = aws.staged().values()
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        archive.extractall(folder, filter="data")
    return json.loads((folder / "musicgen-manifest.json").read_text())


def engine_codes(reference: Reference) -> list[torch.Tensor]:
    """Return the engine's greedy codes of both texts, generated together."""
    runner = reference.runner(slots=2, text=int(reference.mask.sum(1).max()))
    for slot in range(2):
        params = SamplingParams(do_sample=False, guidance_scale=3.0)
        runner.admit(slot, reference.states(slot), FRAMES, params, 0)
    for _ in range(FRAMES + 3):
        runner.step(0, 2, length=runner.positions, text_length=runner.text_length, max_top_k=1, use_top_p=False)
    return [runner.codes(slot, FRAMES) for slot in range(2)]


@pytest.mark.parametrize(
    ("dtype", "own_codec", "channels"),
    [
        (torch.float16, False, 1),
        (torch.float16, True, 1),
        (torch.float32, True, 1),
        (torch.float32, False, 2),
        (torch.float16, True, 2),
    ],
)
def test_the_staged_model_generates_the_originals_codes(
    companion: Reference, served: Callable[..., None], aws: Lambda, tmp_path: Path, dtype: torch.dtype, own_codec: bool,
    channels: int,
) -> None:  # fmt: skip
    trained = train(companion, dtype=dtype, own_codec=own_codec, channels=channels)
    original = replace(companion, model=trained.model)
    expected = original.greedy(FRAMES, 3.0)
    served(trained.files)
    response = aws.run(Custom=SIZE)
    assert response["Status"] == "SUCCESS", response
    manifest = unpack(aws, tmp_path)
    assert (manifest["model_id"], manifest["license"]) == ("me/my-musicgen", "mit")
    assert manifest["decoder_dtype"] == ("float16" if dtype == torch.float16 else "float32")
    assert [entry["path"] for entry in manifest["sources"]] == [
        "state_dict.bin",
        *(["compression_state_dict.bin"] if own_codec else []),
        "facebook/musicgen-small/model.safetensors",
    ]

    loaded, report = MusicgenForConditionalGeneration.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager", dtype=torch.float32
    )
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    want = trained.model.state_dict()
    assert loaded.state_dict().keys() == want.keys()
    assert all(torch.equal(tensor, want[name]) for name, tensor in loaded.state_dict().items())
    assert json.loads((tmp_path / "preprocessor_config.json").read_text())["feature_size"] == channels
    staged = replace(companion, model=loaded.eval(), folder=tmp_path)
    assert len(expected.unique()) >= 20
    assert torch.equal(staged.greedy(FRAMES, 3.0), expected)
    for codes, one in zip(engine_codes(staged), expected, strict=True):
        assert torch.equal(codes, one)


def test_a_run_that_continues_in_new_invocations_stages_the_same(
    companion: Reference, served: Callable[..., None], aws: Lambda
) -> None:
    served(train(companion, dtype=torch.float16, own_codec=False).files)
    assert aws.run(Custom=SIZE)["Status"] == "SUCCESS"
    at_once = aws.staged()
    (key,) = at_once
    aws.run("Delete", "r2", key.removeprefix("artifacts/"), Custom=SIZE)
    assert aws.is_empty()
    aws.end_invocations_after(lambda: 3, times=4)
    before = aws.invocations
    assert aws.run("Create", "r3", Custom=SIZE)["Status"] == "SUCCESS"
    assert aws.invocations >= before + 5
    assert aws.staged() == at_once


def changed(files: dict[str, bytes], model: Any, **others: Any) -> dict[str, bytes]:
    state = language_model_state(model)
    return files | {"state_dict.bin": exported(state, language_model_settings(model, **others))}


class Evil:
    """An object whose unpickling would call print."""

    def __reduce__(self) -> Any:
        return print, ("executed",)


REFUSED: list[tuple[str, Callable[[Any, dict[str, bytes]], dict[str, bytes]], str]] = [
    (
        "another activation",
        lambda model, files: changed(files, model, activation="relu"),
        "state_dict.bin's xp.cfg must have transformer_lm.activation gelu, got 'relu'",
    ),
    (
        "settings of another size",
        lambda model, files: changed(files, model, num_layers=24),
        "state_dict.bin's xp.cfg must have transformer_lm.num_layers 3, got '24'",
    ),
    (
        "heads that do not divide the width",
        lambda model, files: changed(files, model, num_heads=5),
        "config.json's decoder.num_attention_heads must be a divisor of hidden_size 64, got 5",
    ),
    (
        "a melody model",
        lambda model, files: (
            files
            | {
                "state_dict.bin": exported(
                    {
                        **language_model_state(model),
                        "condition_provider.conditioners.self_wav.output_proj.weight": torch.ones(2),
                    },
                    language_model_settings(model),
                )
            }
        ),
        "state_dict.bin must be conditioned by text only, through a frozen T5, got "
        "condition_provider.conditioners.self_wav.output_proj.weight: models that follow a melody or style are not "
        "converted",
    ),
    (
        "a layer scale",
        lambda model, files: (
            files
            | {
                "state_dict.bin": exported(
                    {**language_model_state(model), "transformer.layers.0.layer_scale_1.scale": torch.ones(64)},
                    language_model_settings(model),
                )
            }
        ),
        "state_dict.bin must hold MusicGen's tensors only, got transformer.layers.0.layer_scale_1.scale",
    ),
    (
        "a tensor too few",
        lambda model, files: (
            files
            | {
                "state_dict.bin": exported(
                    {n: t for n, t in language_model_state(model).items() if n != "linears.2.weight"},
                    language_model_settings(model),
                )
            }
        ),
        "state_dict.bin must hold linears.2.weight of the shape [128, 64], got none",
    ),
    (
        "another codec",
        lambda model, files: files | {"compression_state_dict.bin": reference_to("dac_44khz")},
        "compression_state_dict.bin must name facebook/encodec_32khz, got 'dac_44khz'",
    ),
    (
        "a codec of another size",
        lambda model, files: (
            files
            | {
                "compression_state_dict.bin": exported(
                    {**compression_state(model.audio_encoder), "encoder.model.0.conv.conv.bias": torch.zeros(9)},
                    compression_settings(),
                )
            }
        ),
        "compression_state_dict.bin must hold a model of facebook/encodec_32khz's architecture, got "
        "encoder.model.0.conv.conv.bias of the shape [9]",
    ),
    (
        "a checkpoint that was not exported",
        lambda model, files: files | {"state_dict.bin": saved({"model": language_model_state(model), "epoch": 3})},
        "state_dict.bin must hold best_state and a text xp.cfg, as audiocraft's export_lm and export_encodec write "
        "them, got ['model', 'epoch']",
    ),
    (
        "an object in the package",
        lambda model, files: files | {"state_dict.bin": saved({"best_state": {}, "xp.cfg": "", "version": Evil()})},
        "the pickle of state_dict.bin must call nothing but what rebuilds tensors, got '__builtin__ print'",
    ),
    (
        "an object in the state",
        lambda model, files: (
            files
            | {"compression_state_dict.bin": saved({"best_state": {"a": {"b": 1}}, "xp.cfg": "", "exported": True})}
        ),
        "the state dict of compression_state_dict.bin must hold tensors only, got 'a': {'b': 1}",
    ),
]


@pytest.mark.parametrize(("change", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_be_served_is_refused_before_bytes_are_moved(
    companion: Reference, served: Callable[..., None], aws: Lambda, capfd: pytest.CaptureFixture[str],
    change: Callable[[Any, dict[str, bytes]], dict[str, bytes]], reason: str,
) -> None:  # fmt: skip
    trained = train(companion, dtype=torch.float32, own_codec=True)
    served(change(trained.model, trained.files))
    response = aws.run(Custom=SIZE)
    assert (response["Status"], response["Reason"]) == ("FAILED", reason)
    assert aws.is_empty()
    assert "executed" not in capfd.readouterr().out


def test_a_larger_model_than_the_stack_was_sized_for_is_refused(
    companion: Reference, served: Callable[..., None], aws: Lambda
) -> None:
    served(train(companion, dtype=torch.float16, own_codec=False).files)
    response = aws.run(Custom={**SIZE, "Layers": "2"})
    assert response["Reason"] == (
        "config.json's decoder.num_hidden_layers must be at most 2, got 3: the stack is sized for "
        "facebook/musicgen-small; set model_like to a published model that is as large"
    )
    response = aws.run("Create", "r2", Custom={**SIZE, "DecoderElements": "1000"})
    assert response["Reason"].startswith("the decoder must have at most 1000 elements, got ")
    assert aws.is_empty()


def test_a_companion_that_gives_other_bytes_is_refused(
    companion: Reference, served: Callable[..., None], aws: Lambda, hub: LoopbackHub
) -> None:
    """Also where its bytes are only skipped: the whole published file is hashed."""
    served(train(companion, dtype=torch.float16, own_codec=False).files)
    (repository,) = hub.others
    weights = bytearray(repository.read("model.safetensors"))
    honest = repository.files["model.safetensors"]
    header = int.from_bytes(weights[:8], "little")
    entry = json.loads(weights[8 : 8 + header])["decoder.model.decoder.layers.0.fc1.weight"]
    weights[8 + header + entry["data_offsets"][0]] ^= 1
    repository.files["model.safetensors"] = replace(honest, content=bytes(weights))
    response = aws.run(Custom=SIZE)
    assert response["Status"] == "FAILED"
    assert response["Reason"].startswith("published facebook/musicgen-small/model.safetensors must have SHA-256 ")
    assert aws.is_empty()


def test_a_pair_is_staged_only_as_a_custom_model(
    companion: Reference, served: Callable[..., None], aws: Lambda
) -> None:
    served({**train(companion, dtype=torch.float16, own_codec=False).files, "config.json": b"{}"})
    assert "must hold weights (model.safetensors or " in aws.run()["Reason"]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_export_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(exported({"emb.0.weight": torch.ones(3, 4)}, {"transformer_lm": {"dim": 4}}))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        package = index_package("state_dict.bin", BytesSource(bytes(raw)), "0" * 64)
    except StagingError:
        return
    assert package.pretrained is None
    ExportSettings("state_dict.bin", package.config)


@given(st.text(" abc:-_1\n\t'\"", max_size=200))
def test_any_text_has_settings(text: str) -> None:
    assert ExportSettings("state_dict.bin", text).get("a.b") != 1


def test_settings_are_read_as_yaml_reads_them() -> None:
    values = {"a": {"b": {"c": "x y", "d": None, "e": True, "n": 3}, "list": [0, 1, 2], "after": "z"}, "last": 1.5}
    found = ExportSettings("state_dict.bin", as_yaml(values))
    names = ("a.b.c", "a.b.d", "a.b.e", "a.b.n", "a.list", "a.after", "last", "b", "a.b.missing")
    assert [found.get(name) for name in names] == ["x y", "null", "true", "3", "0,1,2", "z", "1.5", None, None]


def test_settings_of_any_text_take_no_more_than_their_charge() -> None:
    """The costliest texts: many short entries below long names, as deep as is read."""
    deep = "".join(f"{' ' * level}{chr(97 + level) * 40}:\n" for level in range(5))
    for line in ("     {:x}:\n", "     - {}\n", "{:x}:\n"):
        text = deep + "".join(line.replace("{:x}", f"k{index:x}").format(index) for index in range(20_000))
        text = text[:MAX_SETTINGS]
        tracemalloc.start()
        kept = ExportSettings("state_dict.bin", text)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert kept.get("none") is None
        assert peak < SETTINGS_COST * len(text), (line, peak / len(text))


def test_long_settings_are_refused() -> None:
    raw = saved({"best_state": {"a": torch.ones(2)}, "xp.cfg": "a: 1\n" * 20_000, "exported": True})
    with pytest.raises(
        StagingError, match=r"xp\.cfg of state_dict\.bin must have at most 65536 characters, got 100000"
    ):
        index_package("state_dict.bin", BytesSource(raw), "0" * 64)
