"""docs/first-deployment.md and the other pages name what the stack has, and its figures follow from infra/config."""

import re
from pathlib import Path
from typing import Any

import pytest

from infra.config import Config
from infra.config.images import image_uri
from infra.config.instances import GPU_FAMILIES, usd_per_hour
from infra.constructs.async_endpoint import VARIANT, download_timeout_seconds, health_check_timeout_seconds

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "first-deployment.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OUTPUT = re.compile(
    r"(?:\$\(output |`output |OutputKey=='|\boutputs? `|^ *MusicGen-dev\.)([A-Z]\w*)(?=[\)'` ])", re.MULTILINE
)

GPU = Config()
CPU = Config(model_id="facebook/musicgen-small", instance_type="ml.c7i.4xlarge")
HOURLY = usd_per_hour(GPU.instance_type, region=GPU.region) or 0

MESSAGES = {
    "infra/config/images.py": ["region must be one that has the Hugging Face inference container: "],
    "infra/config/context.py": ["must not change in the deployment that turns scaling off, "],
    "lambda/stage_model/custom_resource/lifecycle.py": [
        "staging did not finish within ",
        "; see the function's log",
    ],
    "lambda/stage_model/source/hub.py": [
        "does not exist on the Hub",
        "is gated, private or does not exist: ",
        "and no token is configured",
        "changed while it was read",
    ],
    "model_bundle/code/musicgen_serving/engine/loading.py": [
        "graphs_of",
        "kernels_failed",
        "kernels_missing",
        "loaded",
    ],
}


@pytest.mark.parametrize(("source", "text"), [(source, text) for source, texts in MESSAGES.items() for text in texts])
def test_messages_and_log_events_are_those_of_the_code(source: str, text: str) -> None:
    assert text in (ROOT / source).read_text(encoding="utf-8")
    assert text in " ".join(PAGE.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_outputs_that_a_page_names_exist(page: Path, dev_template: dict[str, Any]) -> None:
    assert set(OUTPUT.findall(page.read_text(encoding="utf-8"))) <= set(dev_template["Outputs"])


def test_page_names_the_outputs_that_a_first_clip_takes() -> None:
    used = {"ClientPolicyArn", "EndpointName", "InvokeCommand", "InvokeCommandS3", "OutputBucketName"}
    assert used <= set(OUTPUT.findall(PAGE))


def test_logical_ids_that_a_command_searches_exist(dev_template: dict[str, Any]) -> None:
    searched = re.findall(r"starts_with\(LogicalResourceId,'(\w+)'\)", PAGE)
    assert searched
    for prefix in searched:
        assert [name for name in dev_template["Resources"] if name.startswith(prefix)], prefix


def test_names_are_those_of_the_dev_environment() -> None:
    assert f"--stack-name {GPU.stack_name}" in PAGE
    assert f"/aws/sagemaker/Endpoints/{GPU.endpoint}" in PAGE
    assert f"TargetTracking-endpoint/{GPU.endpoint}" in PAGE
    assert f"production variant {VARIANT} did not pass" in PAGE


def test_quota_is_the_one_that_an_update_needs() -> None:
    assert f"`{GPU.instance_type} for endpoint usage`" in PAGE
    assert f"--desired-value {GPU.required_quota}" in PAGE


def test_limits_in_minutes_follow_from_the_timeouts() -> None:
    download, start = download_timeout_seconds(GPU.staged_bytes), health_check_timeout_seconds(GPU.staged_bytes)
    limits = [round(seconds / 60) for seconds in (GPU.provision_timeout_seconds, download, start)]
    assert "limits: {} to get an instance, {} to download, {} to start".format(*limits) in PAGE


def test_staging_figures_follow_from_the_model() -> None:
    published = GPU.model.staged_bytes("float32") / 1e9
    assert f"{published:.1f} GB read and {GPU.staged_bytes / 1e9:.1f} GB written at 75 MB/s" in PAGE
    assert f"Staging reads {CPU.model.staged_bytes('float32') / 1e9:.1f} GB" in PAGE


def test_prices_follow_from_the_table() -> None:
    assert f"${HOURLY} an hour is ${HOURLY / 60:.3f} a minute" in PAGE
    assert f"| {HOURLY * 5 / 60:.2f} to {HOURLY * 15 / 60:.2f} | ${HOURLY} an hour" in PAGE, (
        "5 to 15 minutes of a start"
    )
    assert f"| 15 idle | {HOURLY / 4:.2f} |" in PAGE
    assert f"at most {HOURLY} |" in PAGE, "the first hour"


def test_figures_without_a_gpu_follow_from_the_model() -> None:
    capacity = CPU.capacity(CPU.instance_type)
    short, long = (capacity.clip_seconds(seconds=seconds) for seconds in (5, 30))
    hourly = usd_per_hour(CPU.instance_type, region=CPU.region) or 0
    assert f"{short:.0f} s for a clip of 5 s and {long:.0f} s for one of 30 s" in PAGE
    assert f"(about ${long * hourly / 3600:.3f})" in PAGE
    assert f"About ${hourly:.2f} an hour" in PAGE
    assert f'ARGS="-c model_id={CPU.model_id} -c instance_type={CPU.instance_type}"' in PAGE


def test_container_is_the_one_that_the_stack_runs() -> None:
    uri = image_uri(GPU.region, GPU.device)
    assert f"docker run --rm --entrypoint python {uri} -m pip list" in PAGE
    assert f"--password-stdin {uri.partition('/')[0]}\n" in PAGE


def test_host_image_of_g5_is_the_one_whose_driver_the_page_names() -> None:
    assert GPU_FAMILIES["g5"]["inference_ami_version"] == "al2-ami-sagemaker-inference-gpu-3-1"
    assert "driver 550 (`gpu_families`" in PAGE
