"""List everything of moto that this package replaces or imports, in moto_internals.json, with a hash of its source.

An upgrade of moto begins with `find_changed`, which names what to read again; then
`python -m local_aws.emulator.moto_internals` writes the list for the new version. moto's files are read, not imported,
so that patches in this process do not matter. What moto lacks and this package adds is listed with null.
"""

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

LIST = Path(__file__).with_suffix(".json")
PACKAGE = Path(__file__).parents[1]
# Assigned to by `moto_patches` and by `sagemaker.install`, or overridden by a subclass of this package.
REPLACED = (
    "moto.awslambda.models:LambdaBackend.invoke",
    "moto.awslambda.models:LambdaFunction.__init__",
    "moto.awslambda.models:LambdaFunction.get_configuration",
    "moto.awslambda.models:LambdaFunction.invoke",
    "moto.awslambda.models:LambdaFunction.update_configuration",
    "moto.cloudformation.models:CloudFormationBackend",
    "moto.cloudformation.responses:CloudFormationResponse._validate_different_update",
    "moto.cloudformation.responses:CloudFormationResponse.execute_change_set",
    "moto.core.authorization:ActionAuthenticatorMixin._authenticate_and_authorize_action",
    "moto.s3.models:FakeBucket.get_permission",
    "moto.s3.responses:S3Response._complete_multipart_body",
    "moto.sagemaker.models:FakeEndpointConfig.validate_production_variants",
    "moto.sagemaker.models:SageMakerModelBackend.create_endpoint",
    "moto.sagemaker.models:SageMakerModelBackend.delete_endpoint",
    "moto.sagemaker.models:SageMakerModelBackend.update_endpoint",
    "moto.sagemaker.models:SageMakerModelBackend.update_endpoint_weights_and_capacities",
    "moto.sagemaker.responses:SageMakerResponse.update_endpoint",
    "moto.sagemakerruntime.responses:SageMakerRuntimeResponse.invoke_endpoint",
    "moto.sagemakerruntime.responses:SageMakerRuntimeResponse.invoke_endpoint_async",
)
_WHOLE_MODULES = ("moto.awslambda:urls", "moto.s3:exceptions")


def find_changed(listed: dict[str, str | None]) -> str | None:
    """Return the first name in `listed` (source hashes by `module:name`) that moto changed or removed, or None."""
    return next((name for name, digest in sorted(listed.items()) if source_digest(name) != digest), None)


def source_digest(name: str) -> str | None:
    """Return a hash of the source of `module:Class.method`, or None if moto has no such name."""
    module, _, path = name.partition(":")
    spec = importlib.util.find_spec("moto")
    assert spec and spec.origin
    file = Path(spec.origin).parent.joinpath(*module.split(".")[1:])
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    if not file.exists():
        return None
    text = file.read_text(encoding="utf-8")
    node: ast.AST | None = ast.parse(text)
    for part in path.split("."):
        node = next((item for item in getattr(node, "body", []) if part in _names(item)), None)
        if node is None:
            return None
    return hashlib.sha256((ast.get_source_segment(text, node) or "").encode()).hexdigest()[:16]


def _names(node: ast.AST) -> list[str]:
    """Return what a statement defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    if isinstance(node, ast.ImportFrom | ast.Import):
        return [alias.asname or alias.name for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def imported_names() -> Iterator[str]:
    """Yield what the modules of this package import from moto, except whole modules."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("moto."):
                names = (f"{node.module}:{alias.name}" for alias in node.names)
                yield from (name for name in names if name not in _WHOLE_MODULES)


def write_list() -> None:
    """Write the list for the installed moto."""
    names = sorted({*REPLACED, *imported_names()})
    LIST.write_text(json.dumps({name: source_digest(name) for name in names}, indent=2) + "\n", encoding="utf-8")


def read_list() -> dict[str, str | None]:
    """Return the list: source hashes by `module:name`, null for what moto lacks."""
    return json.loads(LIST.read_text(encoding="utf-8"))


if __name__ == "__main__":
    write_list()
