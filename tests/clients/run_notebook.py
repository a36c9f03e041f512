"""Run notebooks of the published AWS sample, cell by cell and unmodified, against an embedded AWS.

`make sample NOTEBOOK=…/deploy-musicgen-large.ipynb ARGS="--then …/infer-async.ipynb"` runs them in the environment of
the SDK's version 2, next to each notebook (which imports `utils` from the folder above), with what the one before
stored. Without --state they get an account of their own, in which instances find the toy model on a Hub of this
machine. It prints each cell's output and ends with 1 at the first cell that fails, or with 2 after a cell's time limit:
the sample waits for an output object in a loop without an end, which a failed request never writes.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (nbformat is only partly typed)

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

from local_aws.emulator.process import LocalAws
from tests.clients.helpers.sample_account import sample_account
from tests.clients.helpers.sdk_home import sdk_settings

_RUNS = Path(__file__).parents[2] / ".local"


def main() -> int:
    """Run the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="run_notebook", description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--then", type=Path, action="append", default=[], help="another notebook, run after it")
    parser.add_argument("--state", type=Path, help="folder of a running `make local KEEP=1`, or its aws/")
    parser.add_argument("--python", type=Path, required=True, help="the environment's Python, with ipykernel")
    parser.add_argument("--stack", help="take bucket and endpoint from this stack's outputs, e.g. MusicGen-dev")
    parser.add_argument("--bucket", default="", help="default bucket, instead of the stack's input bucket or the SDK's")
    parser.add_argument("--store", action="append", default=[], metavar="NAME=VALUE", help="what %%store -r restores")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="overrides a cell's assignment"
    )
    parser.add_argument("--wheels", type=Path, help="folder with all that the own account's instances may install")
    parser.add_argument(
        "--placeholder",
        action="append",
        default=[],
        metavar="NAME==VERSION",
        help="count this as installed; with --wheels",
    )
    parser.add_argument("--timeout", type=float, default=300, help="seconds for each cell")
    arguments = parser.parse_args()
    state: Path | None = arguments.state
    with contextlib.ExitStack() as stack:
        if state:
            aws = LocalAws.running(state / "aws" if (state / "aws").is_dir() else state)
        else:
            # Not below /tmp: the sample's bundle writes there, which an instance may do if it shares nothing there.
            _RUNS.mkdir(exist_ok=True)
            state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sample-", dir=_RUNS)))
            aws = stack.enter_context(sample_account(state, arguments.wheels, arguments.placeholder))
        return _run_all(arguments, aws, state / "sdk-home")


def _run_all(arguments: argparse.Namespace, aws: LocalAws, home: Path) -> int:
    stored = dict(item.split("=", 1) for item in arguments.store)
    bucket: str = arguments.bucket
    if arguments.stack:
        described = aws.client("cloudformation").describe_stacks(StackName=arguments.stack)["Stacks"][0]
        outputs = {item["OutputKey"]: item["OutputValue"] for item in described["Outputs"]}
        bucket = bucket or outputs["InputBucketName"]
        stored = {
            "endpoint_name": outputs["EndpointName"],
            "sagemaker_session_bucket": outputs["OutputBucketName"],
        } | stored
    settings = sdk_settings(home, aws.endpoint_url, bucket)
    environment = aws.environment() | settings | {"PIP_NO_INDEX": "1", "SAGEMAKER_SUPPRESS_V2_WARNING": "1"}
    environment.pop("PYTHONPATH", None)
    environment["PATH"] = f"{arguments.python.absolute().parent}{os.pathsep}{environment['PATH']}"
    _install_kernel(home, arguments.python.absolute(), environment)
    changed = dict(item.split("=", 1) for item in arguments.set)
    for notebook in (arguments.notebook, *arguments.then):
        code = _run(notebook, stored, changed, arguments.timeout)
        if code:
            return code
        stored = {}  # later notebooks restore what this one has stored
    return 0


def _install_kernel(home: Path, python: Path, environment: dict[str, str]) -> None:
    """Write a kernel that runs `python` in `environment`, and let Jupyter find it."""
    folder = home / "jupyter" / "kernels" / "sample"
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = {"argv": command, "display_name": "sample", "language": "python", "env": environment}
    (folder / "kernel.json").write_text(json.dumps(kernel), encoding="utf-8")
    os.environ["JUPYTER_PATH"] = str(home / "jupyter")


def _run(path: Path, stored: dict[str, str], changed: dict[str, str], timeout: float) -> int:
    notebook: Any = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=timeout, kernel_name="sample", resources={"metadata": {"path": str(path.absolute().parent)}}
    )

    def execute(source: str) -> None:
        client.execute_cell(nbformat.v4.new_code_cell(source), -1)  # not a cell of the notebook

    cells: list[Any] = list(notebook.cells)  # nbclient writes what it executes into the notebook, -1 to the end
    with client.setup_kernel():
        if stored:
            names = "\n".join(f"{name} = {value!r}" for name, value in stored.items())
            execute(f"{names}\n%store {' '.join(stored)}")  # the deploying notebook would have stored these
        for index, cell in enumerate(cells):
            if cell.cell_type != "code":
                continue
            print(f"--- cell {index}", flush=True)
            try:
                client.execute_cell(cell, index)
                for name, value in changed.items():
                    if re.search(rf"^{re.escape(name)}\s*=", cell.source, re.MULTILINE):
                        execute(f"{name} = {value}")
            except CellExecutionError as error:
                print(f"cell {index} failed: {error.ename}: {error.evalue}\n{error.traceback}")
                return 1
            except CellTimeoutError:
                print(f"cell {index} did not end in {timeout:g} s; did the request fail? See the failures/ objects")
                return 2
            print("".join(_text(output) for output in cell.outputs).rstrip(), flush=True)
    print(f"{path.name}: every cell has run")
    return 0


def _text(output: Any) -> str:
    return str(output.get("text") or output.get("data", {}).get("text/plain", "")) + ("" if "text" in output else "\n")


if __name__ == "__main__":
    sys.exit(main())
