"""The hooks under the toolkit's own handler, which runs the bundle without its server."""

import json
import subprocess
import sys
from pathlib import Path

CODE = Path(__file__).parents[3] / "model_bundle/code"
PROGRAM = """
import json, os, sys
import transformers.file_utils
if not hasattr(transformers.file_utils, "is_tf_available"):  # toolkit 2.6.0 imports it, transformers 5 removed it
    transformers.file_utils.is_tf_available = lambda: False
from mms.context import Context, RequestProcessor
from mms.metrics.metrics_store import MetricsStore
from moto import mock_aws
import boto3
from sagemaker_huggingface_inference_toolkit.handler_service import HuggingFaceHandlerService

with mock_aws():
    boto3.client("s3").create_bucket(Bucket="out")
    context = Context("model", sys.argv[1], None, 1, None, "1.1.11")
    service = HuggingFaceHandlerService()
    service.initialize(context)
    context.metrics = MetricsStore({}, "model")
    body = json.dumps({"texts": ["calm piano"], "generation_params": {"max_new_tokens": 13}}).encode()
    for content_type in ({"Content-Type": "application/json"}, {}):
        headers = {**content_type, "Accept": "*/*", "X-Amzn-SageMaker-Inference-Id": "stock-1"}
        context.request_processor = [RequestProcessor(headers)]
        (answer,) = service.handle([{"body": body}], context)
        print("ANSWER", answer.decode())
    os._exit(0)
"""


def test_the_toolkits_own_handler_calls_the_four_hooks(staged_musicgen: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in staged_musicgen.iterdir():
        (model / file.name).symlink_to(file.resolve())
    (model / "code").symlink_to(CODE)
    environment = {
        "PATH": "/usr/bin:/bin",
        "SAGEMAKER_BASE_DIR": str(tmp_path),
        "MUSICGEN_OUTPUT_BUCKET": "out",
        "MUSICGEN_LOG_FILE": str(tmp_path / "log"),
        "OMP_NUM_THREADS": "1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "HOME": str(tmp_path),
    }
    command = [sys.executable, "-u", "-c", PROGRAM, str(model)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    answers = [json.loads(line[7:]) for line in result.stdout.splitlines() if line.startswith("ANSWER ")]
    assert len(answers) == 2, result.stderr
    for answer in answers:
        assert answer["generated_outputs_s3"] == ["s3://out/audio/stock-1/musicgen_small_stock-1_0.wav"]
        assert answer["durations"] == [0.2]
