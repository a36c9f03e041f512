"""Test the GPU benchmark: a run on the CPU with a tiny model, its arithmetic, goals and report."""

import gc
import json
import sys
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity

from benchmarks import engine_gpu, stock
from benchmarks.checkpoints import SIZES, write_checkpoint
from benchmarks.gpu.logit_error import logit_errors
from benchmarks.gpu.report import PAGE, goals, page, results_block
from benchmarks.gpu.roofline import cache_bytes, clip_seconds, costs, infra_table, nominal_bandwidth, weight_bytes
from benchmarks.gpu.sections import ResultsFile
from benchmarks.gpu.step_launches import count_by_kind, host_calls, trace_here, trace_steps
from benchmarks.stock import Stock
from musicgen_serving.engine.model.config import DecoderConfig, decoder_config, read_config
from musicgen_serving.engine.model.weights import WeightFiles, load_decoder
from musicgen_serving.engine.request import Request
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from tests.model_bundle.helpers.memory_log import MemoryLog

pytestmark = pytest.mark.timeout(900)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def old_objects_are_not_collected() -> Iterator[None]:
    """Spare the benchmark, which collects before every section, what imports and other tests have left."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark") / "tiny"
    write_checkpoint(folder, "tiny", CPU)
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any], Path]:
    """Return the exit code, the results and their folder of a run on the CPU, which is traced in this process."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_gpu, "trace_steps", trace_here)
        code = engine_gpu.main(
            ["--device", "cpu", "--models", "tiny", "--tokens", "24", "--stock-tokens", "12", "--rounds", "1",
             "--in-flight", "2", "10", "--stock", "sample", "float16", "--results", str(folder)]
        )  # fmt: skip
    (path,) = folder.glob("*.json")
    return code, json.loads(path.read_text(encoding="utf-8")), folder


def config_of(name: str) -> DecoderConfig:
    layers, width, heads, ffn = SIZES[name]
    return DecoderConfig(
        layers=layers, hidden=width, heads=heads, ffn=ffn, vocabulary=2048, codebooks=4, channels=1, pad_token=2048
    )


def test_runs_on_a_cpu_where_no_goals_apply(measured: tuple[int, dict[str, Any], Path]) -> None:
    code, found, _ = measured
    assert code == 0 and goals(found) == []
    assert found["kind"] == "cpu" and found["versions"]["torch"] == torch.__version__
    assert found["copy_bytes_per_second"] > 1e8
    tiny = found["models"]["tiny"]
    assert tiny["one"]["decode_seconds"] > 0 and 0 < tiny["roofline_seconds"] < tiny["one"]["clip_seconds"]
    assert [entry["in_flight"] for entry in tiny["in_flight"]] == [2, 10]
    assert all(entry["clips_per_second"] > 0 for entry in tiny["in_flight"])
    assert set(tiny["stock"]) == {"sample", "float16"} and tiny["stock"]["sample"]["scaled_by"] == 2
    assert len(tiny["clip_seconds_between_stocks"]) == 2
    assert tiny["times_faster_than_sample"] > 0 and tiny["error"]["both_rows"] == 0  # float32 both, on a CPU
    assert tiny["trace"]["graph_launches"] is None and tiny["memory"] is None
    assert tiny["int8"]["start"]["slots"] == 1
    assert found["read_bytes_per_second"] > 1e8 and tiny["failed"] == {}
    assert [entry["clips"] for entry in tiny["steps"]] == [1, 2, 10]
    for entry in tiny["steps"]:
        assert entry["milliseconds"] > 0 and 0 < entry["read_share"] < 1
        assert entry["bytes"] == weight_bytes(config_of("tiny")) + entry["clips"] * cache_bytes(config_of("tiny"), 13)


def test_the_report_has_a_row_for_each_model(measured: tuple[int, dict[str, Any], Path]) -> None:
    _, found, folder = measured
    block = results_block(folder)
    assert f"### {found['device']}" in block and "| tiny |" in block and "not run" in block
    assert block in page(folder) and "No GPU has been measured yet." not in page(folder)


def test_the_documentation_contains_the_current_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_the_report_without_results_says_so(tmp_path: Path) -> None:
    assert results_block(tmp_path) == "No GPU has been measured yet.\n"
    assert "make bench-gpu" in page(tmp_path)


def test_stock_and_engine_generate_the_same_codes_from_random_weights_without_zeros(tiny: Path) -> None:
    from musicgen_serving.engine.generator import Capacity, Generator
    from musicgen_serving.engine.loading import WeightFormat

    tokens, stock_codes = [5, 9, 7, 1], list[torch.Tensor]()
    stock = Stock(tiny, CPU)
    no_audio = stock.model.audio_encoder.decode

    def recording_decode(codes: torch.Tensor, **rest: Any) -> Any:
        stock_codes.append(codes)
        return no_audio(codes, **rest)

    stock.model.audio_encoder.decode = recording_decode
    ids = torch.tensor([tokens])
    stock.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, guidance_scale=3, max_new_tokens=30
    )
    generator = Generator(tiny, weight_format=WeightFormat(), capacity=Capacity(slots=1), log=MemoryLog().log)
    request = Request([ClipSpec("", 0, SamplingParams(max_new_tokens=30, do_sample=False))], [[tokens]])
    generator.engine.submit(request)
    assert torch.equal(request.wait()[0], stock_codes[0][0, 0])
    generator.close()
    with WeightFiles(tiny) as files:
        assert all(files.read(name).any() for name in files.names("decoder.") if "bias" not in name)


def test_the_roofline_of_the_published_shapes() -> None:
    gigabytes = {name: round(weight_bytes(config_of(name)) / 1e9, 3) for name in ("small", "medium", "large")}
    assert gigabytes == {"small": 0.722, "medium": 3.197, "large": 5.672}
    assert round(cache_bytes(config_of("large"), 1503) / 1e9, 3) == 1.182
    bandwidths = [300e9, 600e9, 864e9, 2039e9, 3350e9]  # L4, A10G, L40S, A100, H100
    seconds = [round(clip_seconds(config_of("large"), 1503, 1, bandwidth), 1) for bandwidth in bandwidths]
    assert seconds == [31.4, 15.7, 10.9, 4.6, 2.8]
    clips_per_second = [
        round(count / clip_seconds(config_of("large"), 1503, count, 3350e9), 2) for count in (8, 16, 32)
    ]
    assert clips_per_second == [1.71, 2.36, 2.90]
    assert weight_bytes(config_of("large"), eight_bit=True) < 0.51 * weight_bytes(config_of("large"))


def test_the_roofline_counts_the_bytes_of_the_loaded_weights(tiny: Path) -> None:
    config = decoder_config(read_config(tiny))
    with WeightFiles(tiny) as files:
        weights = load_decoder(files, config, CPU, torch.float16, 16)
    layers = [one for layer in weights.layers for one in vars(layer).items() if one[0] != "cross_kv"]
    parts = [value if isinstance(value, torch.Tensor) else (value.weight, value.bias) for _, value in layers]
    tensors = [one for part in parts for one in ((part,) if isinstance(part, torch.Tensor) else part)]
    tensors += [weights.heads, weights.final_norm.weight, weights.final_norm.bias]
    assert weight_bytes(config) == sum(tensor.nbytes for tensor in tensors)


GOOD: dict[str, Any] = {
    "kind": "cuda", "device": "NVIDIA H100 80GB HBM3", "quick": False, "nominal_bytes_per_second": 3350e9,
    "copy_bytes_per_second": 3000e9, "read_bytes_per_second": 3200e9,
    "versions": {"torch": "2.6.0"}, "plan": {"steps": 1503, "rounds": 3},
    "models": {"large": {
        "section_seconds": dict.fromkeys(("checkpoint", "start", "one", "steps_1", "error", "int8", "trace"), 1.0),
        "steps": [{"clips": 1, "milliseconds": 2.4, "bytes": 6.26e9, "copy_share": 0.87, "read_share": 0.815}],
        "start": {
            "seconds": 40.0, "compile_seconds": 9.5, "graph_seconds": 3.0, "gigabytes_per_second": 3.0, "graphs": 24,
            "step": "kernels", "launch": "graphs",
        },
        "one": {"clip_seconds": 3.5, "decode_seconds": 3.4}, "roofline_seconds": 3.1, "roofline_share": 0.9,
        "trace": {"graph_launches": 1.0, "other_kernels": 0.0, "copies": 0.0, "waits": 0.0},
        "error": {"both_rows": 1e-3}, "stock": {"sample": {"clip_seconds": 60.0}}, "times_faster_than_sample": 17.0,
        "in_flight": [{"in_flight": 32, "clips_per_second": 2.4}], "memory": {"device_bytes": 20e9},
        "int8": {"decode_seconds": 2.5, "clip_seconds": 2.6, "error": {"both_rows": 5e-2}},
        "cost": costs(2.4, "NVIDIA H100 80GB HBM3"),
    }},
}  # fmt: skip


def test_keeps_models_of_earlier_runs_on_the_same_device_with_the_same_versions(tmp_path: Path) -> None:
    path = tmp_path / "h100.json"
    assert engine_gpu.earlier_models(path, GOOD) == {}
    ResultsFile(path, GOOD).write()
    assert engine_gpu.earlier_models(path, GOOD) == GOOD["models"]
    assert engine_gpu.earlier_models(path, GOOD | {"versions": {"torch": "2.7.0"}}) == {}


def test_exits_with_0_if_all_goals_are_met(capsys: pytest.CaptureFixture[str]) -> None:
    assert engine_gpu.print_goals(GOOD) == 0
    assert len(goals(GOOD)) == 14 and "MISSED" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("place", "value", "name"),
    [
        (("one", "clip_seconds"), 3.95, "large: seconds per clip"),
        (("roofline_share",), 0.79, "large: share of the roofline"),
        (("times_faster_than_sample",), 11.9, "large: times faster than the sample"),
        (("in_flight", 0, "clips_per_second"), 2.0, "large: clips per second, 32 in flight"),
        (("int8", "decode_seconds"), 3.2, "large: decode seconds, 8-bit"),
        (("error", "both_rows"), 2e-2, "large: error of float16 logits"),
        (("error", "both_rows"), float("nan"), "large: error of float16 logits"),
        (("memory", "device_bytes"), 22.5e9, "large: bytes of memory at 8 slots"),
        (("start", "graph_seconds"), 11.0, "large: seconds to record graphs"),
        (("start", "gigabytes_per_second"), 1.9, "large: gigabytes per second read"),
        (("trace", "graph_launches"), 2.0, "large: graph launches per step"),
        (("trace", "graph_launches"), 0.0, "large: graph launches per step"),
        (("trace", "other_kernels"), 3.0, "large: other kernels per step"),
        (("trace", "waits"), 0.05, "large: waits per step"),
    ],
)
def test_exits_with_1_and_names_the_goal_that_is_missed(
    capsys: pytest.CaptureFixture[str], place: tuple[Any, ...], value: float, name: str
) -> None:
    found = deepcopy(GOOD)
    part = found["models"]["large"]
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    assert engine_gpu.print_goals(found) == 1
    missed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MISSED")]
    assert len(missed) == 1 and missed[0].startswith(f"MISSED {name}:")


def test_goals_scale_with_the_devices_bandwidth() -> None:
    slower = deepcopy(GOOD) | {"nominal_bytes_per_second": 335e9}
    wanted = {goal.name: goal.wanted for goal in goals(slower)}
    assert wanted["large: seconds per clip"] == pytest.approx(39)
    assert wanted["large: clips per second, 32 in flight"] == pytest.approx(0.21)
    assert wanted["large: share of the roofline"] == 0.8


def test_the_report_of_a_gpu_has_goals_and_costs(tmp_path: Path) -> None:
    (tmp_path / "h100.json").write_text(json.dumps(GOOD), encoding="utf-8")
    block = results_block(tmp_path)
    assert "| large | 3.50 s | 3.10 s | 90% | 2.40 clips/s | 2.60 s | 60.0 s | not run | not run |" in block
    assert "- met    large: seconds per clip: at most 3.9, got 3.5" in block
    assert "| large | 1 | 2.400 | 87% | 82% | 1 + 0 |" in block
    assert "- large: start-up 40.0 s (compile 9.5, graph 3.0); path kernels/graphs" in block
    assert "not measured there" in block and "| large | ml.g5.xlarge | 0.430 |" in block


def test_estimates_the_cost_of_a_clip_from_price_and_bandwidth() -> None:
    found = costs(2.0, "NVIDIA H100 80GB HBM3")
    assert found["estimate"] is True and set(found["types"]) == {
        name for name, facts in infra_table("instances")["types"].items() if "gpu" in facts
    }
    entry = found["types"]["ml.g5.2xlarge"]
    assert entry["clips_per_second"] == pytest.approx(2.0 * 600 / 3350)
    assert entry["usd_per_clip"] == pytest.approx(1.515 / 3600 / (2.0 * 600 / 3350))
    assert "is unknown" in costs(2.0, "an unknown card")["failed"]


@pytest.mark.parametrize(
    ("name", "speed"),
    [("NVIDIA L40S", 864e9), ("NVIDIA L4", 300e9), ("NVIDIA H100 80GB HBM3", 3350e9), ("NVIDIA H200", 4800e9),
     ("NVIDIA A100-SXM4-40GB", 1555e9), ("Tesla K80", None)],
)  # fmt: skip
def test_finds_the_nominal_bandwidth_by_device_name(name: str, speed: float | None) -> None:
    assert nominal_bandwidth(name) == speed


def test_counts_a_steps_calls_by_kind() -> None:
    names = ["cudaGraphLaunch"] * 10 + ["cudaLaunchKernel"] * 5 + ["cudaMemcpyAsync", "aten::add"]
    assert count_by_kind(names, 10) == {"graph_launches": 1, "other_kernels": 0.5, "copies": 0.1, "waits": 0}
    assert count_by_kind(["cudaGraphLaunch", "cudaStreamSynchronize"], 1)["waits"] == 1


def test_counts_only_calls_during_the_work() -> None:
    values = torch.ones(3)

    def work() -> None:
        for _ in range(7):
            values.add_(1)

    names = host_calls(work, [ProfilerActivity.CPU])
    assert Counter(names)["aten::add_"] == 7 and "measured steps" not in names


def test_reports_the_error_of_a_stock_method_that_fails(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*rest: Any) -> Stock:
        raise RuntimeError("StaticCache is not compileable")

    monkeypatch.setattr(stock, "StaticCompiled", broken)
    found = stock.measure("static_compiled", tiny, CPU, steps=24, clip_steps=48, rounds=1, before_each=lambda: None)
    assert found == {"failed": "RuntimeError: StaticCache is not compileable"}


def test_measures_the_error_of_rounded_weights(tiny: Path) -> None:
    log = MemoryLog().log
    half = logit_errors(tiny, CPU, log, eight_bit=False, dtype=torch.float16)
    eight = logit_errors(tiny, CPU, log, eight_bit=True)
    assert logit_errors(tiny, CPU, log, eight_bit=False) == {"both_rows": 0, "guided": 0}
    assert 0 < half["both_rows"] < 1e-2
    assert half["both_rows"] < eight["both_rows"] < 0.2
    assert eight["guided"] > 0


def test_refuses_to_run_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        engine_gpu.main([])
    assert ended.value.code == 2 and "no CUDA device is available" in capsys.readouterr().err


def test_a_failed_trace_meets_no_goal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that fails at once stands for Python, which imports for seconds; a quick run starts the real one."""
    with pytest.raises(FileNotFoundError):
        trace_here(tmp_path, 5)  # there is no checkpoint
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "no checkpoint in $3" >&2\nexit 1\n', encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    failed = trace_steps(tmp_path, 5)
    assert failed == {"failed": f"the trace ended with exit code 1: no checkpoint in {tmp_path}\n"}
    found = deepcopy(GOOD)
    found["models"]["large"]["trace"] = failed
    assert engine_gpu.print_goals(found) == 1
    missed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MISSED")]
    assert len(missed) == 5 and all("per step" in line and "got nan" in line for line in missed)


QUICK = ["--quick", "--device", "cpu", "--models", "tiny", "--tokens", "48", "--rounds", "1", "--in-flight", "1", "2"]


def test_a_quick_run_measures_start_up_steps_and_launches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert engine_gpu.main([*QUICK, "--results", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("*")
    assert path.name.endswith("-quick.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    tiny = found["models"]["tiny"]
    assert list(tiny["section_seconds"]) == ["checkpoint", "start", "clip", "steps_1", "steps_2", "trace"]
    assert tiny["failed"] == {} and tiny["start"]["seconds"] > 0 and "graph_launches" in tiny["trace"]
    assert tiny["second_of_audio"]["repeats"] and tiny["second_of_audio"]["peak"] > 0
    assert "steps_2: done" in capsys.readouterr().out
    assert "| tiny | 2 |" in results_block(tmp_path) and ", quick" in results_block(tmp_path)


def test_a_section_that_fails_keeps_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(generator: Any, clips: int, plan: Any) -> float:
        if clips == 1:
            raise RuntimeError("an illegal memory access was encountered")
        return 0.5

    monkeypatch.setattr(engine_gpu, "time_steps", broken)
    monkeypatch.setattr(engine_gpu, "trace_steps", trace_here)
    assert engine_gpu.main([*QUICK, "--results", str(tmp_path)]) == 1
    (path,) = tmp_path.glob("*.json")
    tiny = json.loads(path.read_text(encoding="utf-8"))["models"]["tiny"]
    assert tiny["failed"] == {"steps_1": "RuntimeError: an illegal memory access was encountered"}
    assert [(entry["clips"], entry["milliseconds"]) for entry in tiny["steps"]] == [(2, 500.0)]
    assert "graph_launches" in tiny["trace"]
    assert "section steps_1 failed: RuntimeError" in results_block(tmp_path)


def test_results_are_written_after_each_section_even_if_the_run_is_ended(tmp_path: Path) -> None:
    model: dict[str, Any] = {}
    file = ResultsFile(tmp_path / "one.json", {"models": {"tiny": model}})

    def interrupted() -> dict[str, Any]:
        raise KeyboardInterrupt

    assert file.section(model, "start", lambda: {"start": 1})
    with pytest.raises(KeyboardInterrupt):
        file.section(model, "steps", interrupted)
    (path,) = tmp_path.iterdir()  # no partial file
    assert json.loads(path.read_text(encoding="utf-8"))["models"]["tiny"]["start"] == 1


def test_a_failed_section_meets_none_of_its_goals() -> None:
    found = deepcopy(GOOD)
    for section in ("one", "roofline_share", "roofline_seconds", "memory"):
        del found["models"]["large"][section]
    missed = [goal.name for goal in goals(found) if not goal.met]
    assert "large: share of the roofline" in missed and "large: seconds per clip" in missed


def test_goals_of_a_quick_run_are_about_what_it_measured() -> None:
    found = deepcopy(GOOD)
    found["quick"], large = True, found["models"]["large"]
    large["section_seconds"] = dict.fromkeys(("checkpoint", "start", "clip", "steps_1", "trace"), 1.0)
    found["models"]["large"] = {name: large[name] for name in ("section_seconds", "steps", "start", "trace")}
    assert len(goals(found)) == 8 and all(goal.met for goal in goals(found))
    large["steps"][0]["copy_share"] = 0.79
    assert [goal.name for goal in goals(found) if not goal.met] == ["large: share of the copy bandwidth, one clip"]
