"""Secrets that a change would write where others read them, and environment variables that the gate does not know."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase

from stack_gate.diff.stacks import StackDiff
from stack_gate.findings import Finding
from stack_gate.rules.tables import environment_table, stack_finding
from stack_gate.template import Json, Resolver, Stack, as_object, canonical, is_object, objects, same, texts

# The fixed start of credentials, as GitHub's and GitLab's secret scanners know them.
_CREDENTIAL = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}"
    r"|\bglpat-[\w-]{16,}|\bxox[abprs]-[\w-]{10,}|\bsk-[\w-]{20,}|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}|://[^/\s:@]+:[^/\s@]+@"
)
_DYNAMIC = re.compile(r"\{\{resolve:(secretsmanager|ssm-secure):")
_TOKEN = re.compile(r"[A-Za-z0-9+/=_-]{20,}")
_MIN_BITS = 3.8  # of entropy a character: random base64 of 24 characters has about 4.2, words and names below 3.7
_SECRET_ATTRIBUTE = re.compile(r"\b(SecretAccessKey|SecretString|Password|ClientSecret)\b")


def find_secrets(diff: StackDiff) -> Iterator[Finding]:
    """Find credentials in the template: literal anywhere, random-looking ones in environments and outputs."""
    before = {text for text, _, _ in _places(diff.base)}
    for text, name, path in _places(diff.head):
        if text not in before and _is_secret(text, path):
            yield stack_finding("secret", resource=name, what=f"{'.'.join(path)}: what looks like a secret")
    known = {canonical(item) for _, _, item in _secret_references(diff.base)}
    for name, path, item in _secret_references(diff.head):
        if canonical(item) not in known:
            yield stack_finding("secret", resource=name, what=f"{'.'.join(path)}: {canonical(item)[:120]}")


def _places(stack: Stack) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield (text, resource, path) of every text in resources and outputs, but not of inline code."""
    for logical_id, resource in stack.resources.items():
        for path, text in texts(resource.get("Properties", {})):
            yield text, stack.display(logical_id), path
    for path, text in texts(stack.template.get("Outputs", {})):
        yield text, "", ("Outputs", *path)


def _is_secret(text: str, path: tuple[str, ...]) -> bool:
    if _CREDENTIAL.search(text) or _DYNAMIC.search(text):
        return True
    shown = path[0] == "Outputs" or "Environment" in path
    return shown and any(_looks_random(token) for token in _TOKEN.findall(text))


def _looks_random(token: str) -> bool:
    """Return whether a word has letters and digits mixed as only random keys do."""
    kinds = sum(any(test(char) for char in token) for test in (str.islower, str.isupper, str.isdigit))
    is_hex = re.fullmatch(r"[0-9a-f]{32,}", token) is not None
    counts = Counter(token)
    bits = -sum(count / len(token) * math.log2(count / len(token)) for count in counts.values())
    return is_hex or (kinds == 3 and bits >= _MIN_BITS)


def _secret_references(stack: Stack) -> Iterator[tuple[str, tuple[str, ...], Json]]:
    """Yield references to attributes that are secret, and to parameters with NoEcho."""
    hidden = {
        name
        for name, parameter in as_object(stack.template.get("Parameters")).items()
        if is_object(parameter) and str(parameter.get("NoEcho", False)).lower() == "true"
    }
    sources = {stack.display(name): entry.get("Properties", {}) for name, entry in stack.resources.items()}
    for name, node in {**sources, "": {"Outputs": stack.template.get("Outputs", {})}}.items():
        for path, found in objects(node):
            function = found.get("Fn::GetAtt", found.get("Fn::Sub"))
            text = "" if function is None else canonical(function)  # most objects of a template are neither
            by_attribute = _SECRET_ATTRIBUTE.search(text) is not None
            by_parameter = found.get("Ref") in hidden or any(f"${{{item}}}" in text for item in hidden)
            if by_attribute or by_parameter:
                yield name, path, found


def find_environments(diff: StackDiff) -> Iterator[Finding]:
    """Find environment variables that are new or changed and not in the allow list of rules.toml."""
    for logical_id, resource in diff.head.resources.items():
        allowed = environment_table().get(resource["Type"])
        if allowed is None:
            continue
        before = _variables(diff.base.properties(logical_id))
        for name, value in _variables(resource.get("Properties", {})).items():
            if name in before and same(before[name], value):
                continue
            values = next((item for pattern, item in allowed.items() if fnmatchcase(name[-1], pattern)), None)
            text = Resolver(diff.head).text(value) if not isinstance(value, list) else "a list"
            if values is None or re.fullmatch(values, text, re.DOTALL) is None:
                what = f"environment variable {name[-1]}: {canonical(before.get(name))} → {canonical(value)}"
                yield stack_finding("environment", resource=diff.head.display(logical_id), what=what)


def _variables(properties: dict[str, Json]) -> dict[tuple[str, ...], Json]:
    """Return the variables of every Environment, by path; an Environment that is a function is itself one."""
    found: dict[tuple[str, ...], Json] = {}
    for path, node in objects(properties):
        if "Environment" in node:
            variables = node["Environment"]
            nested = as_object(variables).get("Variables", variables)
            if not is_object(nested):
                found[(*path, "Environment")] = nested
            else:
                found |= {(*path, "Environment", str(name)): value for name, value in nested.items()}
    return found
