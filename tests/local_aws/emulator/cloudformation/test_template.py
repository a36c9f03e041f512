"""Templates: parsing, references, dependency order, unsupported types."""

from typing import Any

import pytest
from moto.cloudformation.exceptions import ValidationError

from local_aws.emulator.cloudformation.template_order import (
    dependency_order,
    parse_template,
    references,
    unsupported_types,
)


def resource(**properties: Any) -> dict[str, Any]:
    return {"Type": "AWS::SNS::Topic", "Properties": properties}


def test_references_finds_ref_get_att_and_sub() -> None:
    value = {
        "a": {"Ref": "One"},
        "b": {"Fn::GetAtt": ["Two", "Arn"]},
        "c": [{"Fn::GetAtt": "Three.Arn"}],
        "d": {"Fn::Sub": "${Four}-${Five.Arn}-${!Literal}"},
        "e": {"Fn::Sub": ["${Given}-${Six}", {"Given": {"Ref": "Seven"}}]},
        "f": {"Fn::Join": ["", [{"Ref": "Eight"}, "x"]]},
    }
    assert sorted(references(value)) == sorted(["One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight"])


def test_dependency_order_puts_dependencies_first() -> None:
    template = {
        "Resources": {
            "Last": resource(DisplayName={"Ref": "Middle"}),
            "Middle": {**resource(), "DependsOn": ["First"]},
            "First": resource(DisplayName={"Ref": "AWS::Region"}),
        }
    }
    assert dependency_order(template) == ["First", "Middle", "Last"]


def test_dependency_order_names_a_cycle() -> None:
    template = {"Resources": {"A": resource(DisplayName={"Ref": "B"}), "B": resource(DisplayName={"Ref": "A"})}}
    with pytest.raises(ValidationError, match=r"Circular dependency between resources: \[.*A.*\]"):
        dependency_order(template)


def test_unsupported_types_ignores_disabled_resources() -> None:
    template = {
        "Resources": {"Known": resource(), "Odd": {"Type": "AWS::Quantum::Ledger"}, "Mine": {"Type": "Custom::X"}}
    }
    assert unsupported_types(template, lambda definition: True) == ["AWS::Quantum::Ledger"]
    assert unsupported_types(template, lambda definition: definition["Type"] != "AWS::Quantum::Ledger") == []


def test_yaml_short_forms_become_intrinsic_functions() -> None:
    parsed = parse_template("Resources:\n  A:\n    Type: T\n    Properties:\n      P: !GetAtt B.Arn\n      Q: !Ref C\n")
    assert parsed["Resources"]["A"]["Properties"] == {"P": {"Fn::GetAtt": ["B", "Arn"]}, "Q": {"Ref": "C"}}
