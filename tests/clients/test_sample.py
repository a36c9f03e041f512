"""A notebook in the manner of the published sample's: it packs a bundle, deploys it with the SDK, asks and cleans up.

The bundle installs a version of transformers that this machine does not have, loads the model from the Hub when it
starts, and writes its clip to /tmp. The published notebooks are not in this repository; `make sample` runs them.
"""

# pyright: reportUnknownMemberType=false
# (nbformat is only partly typed)

import subprocess
import sys
from pathlib import Path

import nbformat

from tests.clients.conftest import ENVIRONMENTS

_PLACEHOLDERS = ("torch==2.1.0", "audiocraft==1.3.0")  # as in the Makefile
_INFERENCE = """%%writefile model/code/inference.py
import uuid

import boto3
import scipy.io.wavfile
import transformers
from transformers import AutoProcessor, MusicgenForConditionalGeneration

def model_fn(model_dir):
    return MusicgenForConditionalGeneration.from_pretrained("facebook/musicgen-large")

def predict_fn(data, model):
    inputs = AutoProcessor.from_pretrained("facebook/musicgen-large")(text=data["texts"], return_tensors="pt")
    sound = model.generate(**inputs, do_sample=True, max_new_tokens=100)
    path = f"/tmp/sample-style-{uuid.uuid4()}.wav"
    scipy.io.wavfile.write(path, 32000, sound[0, 0].numpy())
    boto3.resource("s3").Bucket(data["bucket"]).upload_file(path, "clip.wav")
    return {"transformers": transformers.__version__, "samples": sound.shape[-1]}"""
_REQUIREMENTS = """%%writefile model/code/requirements.txt
scipy
uuid
torch==2.1.0
transformers==4.37.1
audiocraft"""
_DEPLOY = """import boto3, json, sagemaker
from sagemaker.async_inference.async_inference_config import AsyncInferenceConfig
from sagemaker.huggingface.model import HuggingFaceModel
session = sagemaker.Session()
bucket = session.default_bucket()
boto3.resource("s3").Bucket(bucket).upload_file("model.tar.gz", "model.tar.gz")
model = HuggingFaceModel(
    image_uri="example.com/huggingface:1",
    model_data=f"s3://{bucket}/model.tar.gz",
    role=boto3.client("iam").get_role(RoleName="sagemaker_execution_role")["Role"]["Arn"],
)
predictor = model.deploy(
    1, "ml.g5.2xlarge", async_inference_config=AsyncInferenceConfig(output_path=f"s3://{bucket}/out")
)"""
_ASK = """answer = predictor.predict({"texts": ["80s pop"], "bucket": bucket})
print(json.dumps(answer))
print(boto3.client("s3").head_object(Bucket=bucket, Key="clip.wav")["ContentLength"])"""
_CLEAN_UP = """if clean_up:
    predictor.delete_model()
    predictor.delete_endpoint()
sagemaker = boto3.client("sagemaker")
sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=predictor.endpoint_name, WaiterConfig={"Delay": 1})
print(sagemaker.list_endpoints()["Endpoints"], sagemaker.list_models()["Models"])"""
_CELLS = (
    "!mkdir -p model/code", _REQUIREMENTS, _INFERENCE, "!tar -czf model.tar.gz -C model .", _DEPLOY, _ASK,
    "clean_up = False", _CLEAN_UP,
)  # fmt: skip


def test_a_bundle_in_the_samples_manner_is_deployed_and_answers(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in _CELLS])
    nbformat.write(notebook, tmp_path / "deploy.ipynb")
    options = [f"--placeholder={name}" for name in _PLACEHOLDERS]
    options += [f"--python={ENVIRONMENTS / 'sagemaker-2/bin/python'}", f"--wheels={ENVIRONMENTS / 'sample-wheels'}"]
    command = [sys.executable, "-m", "tests.clients.run_notebook", *options, "--set=clean_up=True"]
    done = subprocess.run(
        [*command, str(tmp_path / "deploy.ipynb")], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    answer, size = done.stdout.partition('{"transformers": "4.37.1", "samples": ')[2].split("}\n", 1)
    assert int(size.split()[0]) > 4 * int(answer) > 60_000  # float32 after the header; 1.94 s
    assert done.stdout.endswith("\n[] []\ndeploy.ipynb: every cell has run\n")
