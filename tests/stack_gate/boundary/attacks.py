"""Changes that try to pass the gate by other means than being harmless.

Each is what a head commits on top of small_app's base. A probe is Python code in the head's app: if it succeeds, the
app synthesises the base's template, and the gate passes; if it fails, a bucket without its protection.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.stack_gate.small_app import OPEN_ROLE, PUBLIC, WORKFLOW, app, git, write

PINNED = "0123456789012345678901234567890123456789"


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A change to the repository, and the classes that it needs; none if the gate must refuse to run."""

    change: Callable[[Path], None]
    classes: tuple[str, ...]
    message: str = ""


def files(**named: str) -> Callable[[Path], None]:
    """Return a change that writes files; `__` stands for a slash and `_DOT_` for a dot in their names."""
    return lambda folder: write(
        folder, {name.replace("__", "/").replace("_DOT_", "."): text for name, text in named.items()}
    )


def written(names: dict[str, str]) -> Callable[[Path], None]:
    return lambda folder: write(folder, names)


def setting(name: str, value: object) -> Callable[[Path], None]:
    """Return a change of a key of cdk.json."""

    def change(folder: Path) -> None:
        settings = json.loads((folder / "cdk.json").read_text(encoding="utf-8"))
        write(folder, {"cdk.json": json.dumps({**settings, name: value})})

    return change


def probe(code: str) -> Callable[[Path], None]:
    """Return a change of the app that weakens the bucket unless the code succeeds."""
    lines = "\n".join(f"    {line}" for line in code.strip().splitlines())
    return written({"app.py": app(change=f"try:\n{lines}\nexcept BaseException:\n    {PUBLIC}")})


def workflow(old: str, new: str) -> Callable[[Path], None]:
    """Return a change of the workflow's text."""
    assert old in WORKFLOW
    return written({".github/workflows/check.yml": WORKFLOW.replace(old, new)})


def artifact(**properties: object) -> Callable[[Path], None]:
    """Return a change of the properties of the stack's artifact."""
    return written({"manifest.json": json.dumps({"terminationProtection": True, **properties})})


def stage(folder: Path) -> None:
    """Add a stage, which is an assembly in the assembly, with a role that anyone may assume."""
    template = json.dumps({"Resources": {"Role": OPEN_ROLE}})
    nested = {
        "version": "48.0.0",
        "artifacts": {
            "N": {
                "type": "aws:cloudformation:stack",
                "environment": "aws://unknown-account/us-east-1",
                "properties": {"templateFile": "N.template.json"},
            }
        },
    }
    change = f"""
artifacts["assembly-Stage"] = {{"type": "cdk:cloud-assembly", "properties": {{"directoryName": "assembly-Stage"}}}}
(output / "assembly-Stage").mkdir(exist_ok=True)
(output / "assembly-Stage/N.template.json").write_text({template!r})
(output / "assembly-Stage/manifest.json").write_text({json.dumps(nested)!r})
"""
    write(folder, {"app.py": app(change=change)})


def asset_manifest(path: str, before: str = "") -> Callable[[Path], None]:
    """Return a change that adds an asset at a path of the assembly."""
    entry = {"files": {"0" * 64: {"source": {"path": path, "packaging": "zip"}, "destinations": {}}}}
    change = f"{before}\n(output / 'S.assets.json').write_text({json.dumps(entry)!r})"
    return written({"app.py": app(change=change)})


def hidden_context(folder: Path) -> None:
    """Let a file decide that a checkout has and `git archive` leaves out."""
    change = f"if Path('cdk.context.json').exists():\n    {PUBLIC}"
    write(folder, {"app.py": app(change=change), "cdk.context.json": "{}"})
    write(folder, {".gitattributes": "cdk.context.json export-ignore\n"})


def substituted(folder: Path) -> None:
    """Let a keyword decide that `git archive` replaces and a checkout does not."""
    change = f"if Path('stamp.txt').read_text().startswith('$Format'):\n    {PUBLIC}"
    write(
        folder,
        {"app.py": app(change=change), "stamp.txt": "$Format:%H$\n", ".gitattributes": "stamp.txt export-subst\n"},
    )


def broken_judge(folder: Path) -> None:
    """Let the head's own gate find nothing."""
    path = folder / "tools/stack_gate/rules/evaluate.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n\ndef evaluate(*_):\n    return []\n", encoding="utf-8")
    write(folder, {"app.py": app(change=PUBLIC)})


def link(name: str, target: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).symlink_to(target)

    return change


def submodule(folder: Path) -> None:
    """Add a commit of another repository, which no tree of this one contains."""
    head = git(folder, "rev-parse", "HEAD").strip()
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{head},vendor")
    (folder / "vendor").mkdir()
    git(folder / "vendor", "init", "--quiet")
    git(folder / "vendor", "commit", "--quiet", "--allow-empty", "--message=x")


def accepts_itself(folder: Path) -> None:
    """Weaken the bucket, and accept every finding that a base's gate found in such a change."""
    row = f"""
[[acceptance]]
class = "exposure"
findings = {json.dumps([f"{number:016x}" for number in range(100)])}
reason = "because"
author = "the author"
expires = 2999-01-01
"""
    write(folder, {"app.py": app(change=PUBLIC), "gate-acceptances.toml": row})


READ_ENVIRONMENTS = """
import glob
found = b"".join(open(path, "rb").read() for path in glob.glob("/proc/[0-9]*/environ"))
assert b"not-a-real-secret" in found
"""
REWRITE_RULES = """
import glob
paths = glob.glob("/proc/[0-9]*/cwd/tools/stack_gate/rules/rules.toml") + glob.glob("RULES")
for path in paths:
    open(path, "a").close()
assert paths
"""
ESCAPE_MOUNTS = """
import ctypes
libc = ctypes.CDLL(None)
libc.unshare(0x10000000 | 0x20000)
assert libc.mount(b"none", b"/usr", None, 4096 | 32, None) == 0
"""
FORK = """
import time
for _ in range(400):
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
time.sleep(60)
"""

ATTACKS: dict[str, Attack] = {
    # Who judges.
    "the Makefile overrides the base": Attack(
        change=written({"Makefile": "override BASE := HEAD\ngate:\n\t@true\n"}), classes=("gate",)
    ),
    "the head's gate finds nothing": Attack(change=broken_judge, classes=("gate", "exposure")),
    "the continuous integration does nothing": Attack(change=written({".ci/run": "true\n"}), classes=("gate",)),
    "code owners are removed": Attack(change=written({".github/CODEOWNERS": ""}), classes=("gate",)),
    "the change accepts itself": Attack(change=accepts_itself, classes=("gate", "exposure")),
    # What Python imports first.
    "sitecustomize on the import path": Attack(change=written({"lambda/sitecustomize.py": ""}), classes=("gate",)),
    "usercustomize in a folder": Attack(change=written({"local/deep/usercustomize.py": ""}), classes=("gate",)),
    "a .pth file": Attack(change=written({"tools/evil.pth": "import os\n"}), classes=("gate",)),
    "a module of the standard library": Attack(change=written({"tools/json.py": ""}), classes=("gate",)),
    "a package of the standard library": Attack(change=written({"lambda/email/__init__.py": ""}), classes=("gate",)),
    "an installed package": Attack(change=written({"yaml/__init__.py": ""}), classes=("gate",)),
    "the gate's package elsewhere": Attack(change=written({"local/stack_gate/__init__.py": ""}), classes=("gate",)),
    "conftest in a folder": Attack(change=written({"tests/deep/conftest.py": ""}), classes=("gate",)),
    "compiled code": Attack(change=written({"tools/__pycache__/a.cpython-311.pyc": ""}), classes=("gate",)),
    # Packages and commands.
    "the app's command": Attack(change=setting("app", "python3 app.py # changed"), classes=("gate",)),
    "a build command": Attack(change=setting("build", "true"), classes=("gate",)),
    "a role for CloudFormation": Attack(
        change=setting("roleArn", "arn:aws:iam::111122223333:role/Admin"), classes=("gate",)
    ),
    "a lock file": Attack(change=written({"package-lock.json": "{}"}), classes=("gate",)),
    "a requirement from a folder": Attack(
        change=written({"requirements.txt": "./evil\n"}), classes=(), message="must pin every package"
    ),
    "another index": Attack(
        change=written({"requirements.txt": "--index-url http://127.0.0.1:9/\n"}), classes=(), message="must pin every"
    ),
    "source distributions": Attack(
        change=written(
            {
                "infra/a.py": 'PIP_OPTIONS = ("--platform=any --no-binary=:all:",)\n',
                "lambda/requirements.txt": f"a==1 --hash=sha256:{'0' * 64}\n",
            }
        ),
        classes=(),
        message="PIP_OPTIONS must be plain values",
    ),
    # Workflows.
    "pull_request_target": Attack(
        change=workflow("[pull_request]", "[pull_request, pull_request_target]"),
        classes=("gate",),
        message="is triggered by pull\\_request\\_target",
    ),
    "broad permissions": Attack(
        change=workflow("contents: read", "contents: write"), classes=("gate",), message="job gate may write contents"
    ),
    "no permissions": Attack(
        change=workflow("    permissions:\n      contents: read\n", "    permissions: write-all\n"),
        classes=("gate",),
        message="job gate may write everything",
    ),
    "continue-on-error": Attack(
        change=workflow("- run: make gate", "- run: make gate\n        continue-on-error: true"),
        classes=("gate",),
        message="sets continue-on-error",
    ),
    "a check that is skipped": Attack(
        change=workflow("    runs-on:", "    if: false\n    runs-on:"), classes=("gate",), message="runs only if"
    ),
    "a secret in a step": Attack(
        change=workflow("- run: make gate", "- run: make gate\n        env: {A: '${{ secrets.KEY }}'}"),
        classes=("gate",),
        message="reads secrets.KEY",
    ),
    "an action that is not pinned": Attack(
        change=workflow("- run: make gate", "- run: make gate\n      - uses: someone/action@v1"),
        classes=("gate",),
        message="someone/action@\u200bv1 is not pinned by commit",
    ),
    # What deploys.
    "a file hidden by export-ignore": Attack(change=hidden_context, classes=("gate", "exposure")),
    "a file changed by export-subst": Attack(change=substituted, classes=("gate", "exposure")),
    "a submodule": Attack(change=submodule, classes=(), message="is a submodule"),
    "a link out of the repository": Attack(
        change=link("stolen", "/etc/passwd"), classes=(), message="leaves the repository"
    ),
    "a link to a parent folder": Attack(
        change=link("stolen", "lambda/../../x"), classes=(), message="leaves the repository"
    ),
    "a stage": Attack(change=stage, classes=("broaden", "exposure")),
    "no stack": Attack(
        change=written({"app.py": app(change="artifacts = {}")}), classes=(), message="synthesised no stack"
    ),
    "another deploy role": Attack(
        change=artifact(assumeRoleArn="arn:aws:iam::111122223333:role/A"), classes=("broaden",)
    ),
    "another execution role": Attack(
        change=artifact(cloudFormationExecutionRoleArn="arn:aws:iam::111122223333:role/A"), classes=("broaden",)
    ),
    "stack events to a foreign topic": Attack(
        change=artifact(notificationArns=["arn:aws:sns:us-east-1:111122223333:t"]), classes=("exposure",)
    ),
    "termination protection": Attack(change=artifact(terminationProtection=False), classes=("retention",)),
    "stack tags": Attack(change=artifact(tags={"team": "other"}), classes=("unknown",)),
    "parameter values": Attack(change=artifact(parameters={"A": "b"}), classes=("unknown",)),
    "an asset outside the assembly": Attack(
        change=asset_manifest("../../../../../../etc/passwd"), classes=(), message="leads out of it"
    ),
    "a link in an asset": Attack(
        change=asset_manifest("a", "(output / 'a').mkdir(exist_ok=True); os.symlink('/etc/passwd', output / 'a/b')"),
        classes=(),
        message="leads out of it",
    ),
    # What the head's code can reach.
    "a secret in its environment": Attack(
        change=probe('assert "not-a-real-secret" in os.environ.values()'), classes=("exposure",)
    ),
    "a secret in another process": Attack(change=probe(READ_ENVIRONMENTS), classes=("exposure",)),
    "a file of the home folder": Attack(change=probe('open("HOME/.aws/credentials").read()'), classes=("exposure",)),
    "the gate's rules": Attack(change=probe(REWRITE_RULES), classes=("exposure",)),
    "the repository's objects": Attack(change=probe('assert os.listdir("REPOSITORY/.git")'), classes=("exposure",)),
    "its own sources": Attack(change=probe('open("app.py", "a")'), classes=("exposure",)),
    "the virtualenv": Attack(
        change=probe('import sys\nopen(sys.prefix + "/lib/evil.pth", "w")'), classes=("exposure",)
    ),
    "the network": Attack(
        change=probe('import socket\nsocket.create_connection(("127.0.0.1", PORT), 3)'), classes=("exposure",)
    ),
    "other processes": Attack(
        change=probe('assert len([n for n in os.listdir("/proc") if n.isdigit()]) > 20'), classes=("exposure",)
    ),
    "its mounts": Attack(change=probe(ESCAPE_MOUNTS), classes=("exposure",)),
    "more processes": Attack(change=probe(FORK), classes=(), message="it started more than"),
    "more memory": Attack(change=probe("b = bytes(range(256)) * (1 << 25)"), classes=("exposure",)),
    "more time": Attack(change=probe("while True: pass"), classes=(), message="did not finish within"),
}
