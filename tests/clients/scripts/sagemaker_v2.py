"""The SDK's version 2 as a user calls it; run by its own environment's Python. Prints one JSON object."""

import json
import sys

import sagemaker
from sagemaker.async_inference import WaiterConfig
from sagemaker.async_inference.async_inference_config import AsyncInferenceConfig
from sagemaker.deserializers import JSONDeserializer
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.predictor_async import AsyncPredictor
from sagemaker.serializers import JSONSerializer

ENDPOINT, ROLE, MODEL_DATA = sys.argv[1:4]
ENVIRONMENT = {"MMS_DEFAULT_SERVICE_HANDLER": "inference:handle"}
shown = {"version": sagemaker.__version__}
session = sagemaker.Session()
shown["default_bucket"] = session.default_bucket()
shown["identity"] = session.boto_session.client("sts").get_caller_identity()["Arn"]
try:
    sagemaker.get_execution_role()
except ValueError as error:
    shown["no_role"] = str(error)


def client_of(name):
    predictor = Predictor(name, session, serializer=JSONSerializer(), deserializer=JSONDeserializer())
    return AsyncPredictor(predictor, name)


existing = client_of(ENDPOINT)
shown["echo"] = existing.predict(data={"texts": ["a"]}, waiter_config=WaiterConfig(max_attempts=60, delay=1))
pending = existing.predict_async(data={"texts": ["b"]})
shown["async"] = pending.get_result(WaiterConfig(max_attempts=60, delay=1))
failed = existing.predict_async(data={"fail": "on purpose"})
try:
    failed.get_result(WaiterConfig(max_attempts=60, delay=1))
except Exception as error:
    shown["failure"] = [type(error).__name__, str(error)]

name = f"{ENDPOINT}-v2"
model = Model(
    image_uri="example.com/echo:1",
    model_data=MODEL_DATA,
    role=ROLE,
    sagemaker_session=session,
    name=name,
    env=ENVIRONMENT,
)
config = AsyncInferenceConfig(
    output_path=f"s3://{session.default_bucket()}/v2", max_concurrent_invocations_per_instance=2
)
model.deploy(
    initial_instance_count=1,
    instance_type="ml.g5.2xlarge",
    endpoint_name=name,
    async_inference_config=config,
    wait=True,
)
deployed = client_of(name)
shown["deployed"] = deployed.predict(data={"texts": ["c"]}, waiter_config=WaiterConfig(max_attempts=60, delay=1))
described = session.sagemaker_client.describe_endpoint(EndpointName=name)
shown["described"] = sorted(described)
deployed.update_endpoint(initial_instance_count=2, instance_type="ml.g5.xlarge", model_name=name, wait=True)
updated = session.sagemaker_client.describe_endpoint(EndpointName=name)
shown["updated"] = [updated["EndpointStatus"], updated["EndpointConfigName"] != described["EndpointConfigName"]]
shown["still_asynchronous"] = "AsyncInferenceConfig" in updated
deployed.delete_endpoint()
session.sagemaker_client.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 1})
deployed.delete_model() if hasattr(deployed, "delete_model") else session.delete_model(name)
shown["left"] = [item["EndpointName"] for item in session.sagemaker_client.list_endpoints()["Endpoints"]]
try:
    session.wait_for_endpoint(name, poll=1)
except Exception as error:
    shown["gone"] = str(error)
try:
    session.sagemaker_client.list_training_jobs()
except Exception as error:
    shown["unsupported"] = str(error)
print(json.dumps(shown))
