"""The embedded AWS as a child process, for the walkthrough, the tests and the notebook."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.config import Config

from local_aws.autoscaling.live.accelerated_clock import CLOCK_FACTOR
from local_aws.emulator import account, child_processes
from local_aws.emulator.clients import new_session
from local_aws.emulator.environment import tool_environment

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class LocalAws:
    """Start the embedded AWS on entry; stop it and everything that it started on exit.

    `state_dir` receives certificates, logs and the functions' files; no other instance may use it. The child also ends
    when this process dies. `clock_factor` speeds up the clock of alarms and scaling: at 60, a minute takes a second.
    `instance_environment` is for the containers of SageMaker's instances, such as a mirror of the Hub in HF_ENDPOINT.
    """

    region = account.REGION
    account_id = account.ACCOUNT_ID

    def __init__(
        self, state_dir: Path, *, clock_factor: float = 1.0, instance_environment: Mapping[str, str] | None = None
    ):
        self.state_dir = state_dir.absolute()
        given = (instance_environment or {}).items()
        self._instance_options = [f"--instance-env={name}={value}" for name, value in given]
        self._clock_factor = clock_factor
        self.log_path = self.state_dir / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._ready: dict[str, Any] = {}
        self._session: Any = boto3.session.Session(botocore_session=new_session())  # untyped: services are variables

    @classmethod
    def running(cls, state_dir: Path) -> Self:
        """Connect to the embedded AWS that already runs on `state_dir`; `stop` does not end it."""
        found = cls(state_dir)
        found._ready = json.loads((found.state_dir / "ready.json").read_text(encoding="utf-8"))
        return found

    @property
    def endpoint_url(self) -> str:
        """`https://127.0.0.1:<port>`, for every service."""
        return self._ready["endpoint_url"]

    @property
    def ca_bundle(self) -> Path:
        """PEM file of the authority that signed the endpoint's certificate."""
        return Path(self._ready["ca_bundle"])

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._ready["pid"]

    def start(self) -> Self:
        """Start the server and wait until it answers; raise RuntimeError with the end of its log if it does not."""
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        ready, deadline = self.state_dir / "ready.json", time.monotonic() + _START_SECONDS
        program = [sys.executable, "-m", "local_aws.emulator.server"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
        paths = [str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")]
        environment |= {
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            CLOCK_FACTOR: str(self._clock_factor),
        }
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*program, "--state", str(self.state_dir), "--exit-with-stdin", *self._instance_options],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        try:
            while not self._is_ready(ready):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    tail = self.log_path.read_text(encoding="utf-8", errors="replace")[-2000:]
                    raise RuntimeError(f"the embedded AWS did not start; the end of {self.log_path}:\n{tail}")
                time.sleep(0.02)
        except BaseException:
            self.stop()
            raise
        return self

    def _is_ready(self, file: Path) -> bool:
        """Read what the server wrote once it answers; ignore what an earlier one left in the folder."""
        if not file.exists():
            return False
        self._ready = json.loads(file.read_text(encoding="utf-8"))
        return self._process is not None and self.pid == self._process.pid

    def stop(self) -> None:
        """End the server, its Lambdas and its instances; do nothing if it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin:
            process.stdin.close()
        child_processes.end_leftovers(self.state_dir / child_processes.REGISTRY)

    def trust_issuer(self, issuer: str, keys: Mapping[str, Any]) -> None:
        """Accept tokens of an OpenID Connect issuer such as `https://token.actions.githubusercontent.com`.

        `keys` is its public JSON Web Key Set, which AWS would fetch from the issuer. The account also needs an identity
        provider (`AWS::IAM::OIDCProvider`) of this issuer.
        """
        file = self.state_dir / account.ISSUERS
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps({**known, issuer: keys}), encoding="utf-8")
        draft.replace(file)  # atomic: the server never sees half of it

    def environment(self) -> dict[str, str]:
        """Return the full environment for the CDK CLI, Node and boto3 to use this embedded AWS as its administrator."""
        return tool_environment(self.endpoint_url, self.ca_bundle, Path(self._ready["trust_bundle"]), os.environ)

    def client(self, service: str) -> Any:
        """Create a boto3 client of `service` with the administrator's credentials."""
        return self.client_as(service, account.ROOT_ACCESS_KEY_ID, account.ROOT_SECRET_ACCESS_KEY)

    def client_as(self, service: str, key_id: str, secret: str, token: str | None = None) -> Any:
        """Create a boto3 client of `service` with other credentials, such as those of an assumed role."""
        return self._session.client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            verify=str(self.ca_bundle),
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(retries={"total_max_attempts": 1}, read_timeout=120),
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
