"""The part of CloudWatch's metric math that alarms here use: arithmetic, comparison, AND, OR, IF and FILL.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

import ast
import functools
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_LONGEST = 1024  # characters, CloudWatch's own limit
Values = Mapping[str, float | None]


def _divide(left: float, right: float) -> float:
    return left / right if right else math.nan


_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: _divide,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@dataclass(frozen=True)
class Expression:
    """One expression. ValueError for anything but the operators and functions above."""

    text: str

    def __post_init__(self) -> None:
        if len(self.text) > _LONGEST:
            raise ValueError(f"a metric math expression must have {_LONGEST} characters at most, got {len(self.text)}")
        self.value({})  # meets every operator and function once

    @functools.cached_property
    def _tree(self) -> ast.expr:
        python = re.sub(r"\bAND\b|&&", " and ", re.sub(r"\bOR\b|\|\|", " or ", self.text))
        try:
            return ast.parse(python.strip(), mode="eval").body
        except SyntaxError as error:
            raise ValueError(f"a metric math expression must parse, got {self.text!r}") from error

    def value(self, values: Values) -> float | None:
        """The result for one moment, from the datapoints by id; None where one that it needs is missing."""
        return _evaluate(self._tree, values)


def _evaluate(node: ast.expr, values: Values) -> float | None:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return values.get(name)
        case ast.BinOp() | ast.Compare():
            return _binary(node, values)
        case ast.BoolOp():
            return _logical(node, values)
        case ast.Call(func=ast.Name(id=function), args=arguments):
            return _call(function, arguments, values)
        case _:
            raise ValueError(
                f"metric math must use + - * /, comparisons, AND, OR, IF and FILL, got {ast.unparse(node)}"
            )


def _binary(node: ast.BinOp | ast.Compare, values: Values) -> float | None:
    if isinstance(node, ast.BinOp):
        operands, function = (node.left, node.right), _BINARY.get(type(node.op))
    else:
        operands, function = (node.left, *node.comparators), _COMPARE.get(type(node.ops[0]))
    if function is None or len(operands) != 2:
        raise ValueError(f"metric math must use + - * / and single comparisons, got {ast.unparse(node)}")
    left, right = (_evaluate(operand, values) for operand in operands)
    if left is None or right is None:
        return None
    result = float(function(left, right))
    return None if math.isnan(result) else result


def _logical(node: ast.BoolOp, values: Values) -> float | None:
    operands = [_evaluate(operand, values) for operand in node.values]
    if None in operands:
        return None
    return float((all if isinstance(node.op, ast.And) else any)(operands))


def _call(function: str, arguments: list[ast.expr], values: Values) -> float | None:
    results = [_evaluate(argument, values) for argument in arguments]
    match function, results:
        case "FILL", [value, instead]:
            return instead if value is None else value
        case "IF", [condition, yes, no]:
            return None if condition is None else (yes if condition else no)
        case _:
            raise ValueError(f"metric math must call IF(a, b, c) or FILL(a, number), got {function}/{len(results)}")
