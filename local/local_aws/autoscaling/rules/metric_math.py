"""The part of CloudWatch's metric math that is supported here: arithmetic, comparison, AND, OR, IF, FILL and the time.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

import ast
import functools
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

_MAX_LENGTH = 1024  # characters, CloudWatch's own limit
Values = Mapping[str, float | None]

_BINARY: Mapping[type[ast.operator | ast.cmpop], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda left, right: left / right if right else math.nan,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
# Of each datapoint of the range, whether or not it is missing; Monday is 1.
_TIME: Mapping[str, Callable[[datetime], int]] = {
    "DAY": datetime.isoweekday,
    "HOUR": lambda moment: moment.hour,
    "MINUTE": lambda moment: moment.minute,
}
_ANY_TIME = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Expression:
    """A metric math expression. Raise ValueError for unsupported operators and functions."""

    text: str

    def __post_init__(self) -> None:
        if len(self.text) > _MAX_LENGTH:
            raise ValueError(
                f"a metric math expression must have at most {_MAX_LENGTH} characters, got {len(self.text)}"
            )
        self.value({}, _ANY_TIME)  # evaluates every operator and function once, so unsupported ones raise here

    @functools.cached_property
    def _tree(self) -> ast.expr:
        python = re.sub(r"\bAND\b|&&", " and ", re.sub(r"\bOR\b|\|\|", " or ", self.text))
        try:
            return ast.parse(python.strip(), mode="eval").body
        except SyntaxError as error:
            raise ValueError(f"a metric math expression must parse, got {self.text!r}") from error

    def value(self, values: Values, at: datetime) -> float | None:
        """Return the result for datapoints by id, which begin `at`, or None if it needs one that is missing."""
        return _evaluate(self._tree, values, at)


def _evaluate(node: ast.expr, values: Values, at: datetime) -> float | None:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return values.get(name)
        case (
            ast.BinOp(left=left, op=operation, right=right)
            | ast.Compare(left=left, ops=[operation], comparators=[right])
        ) if type(operation) in _BINARY:
            first, second = _evaluate(left, values, at), _evaluate(right, values, at)
            if first is None or second is None:
                return None
            result = float(_BINARY[type(operation)](first, second))
            return None if math.isnan(result) else result
        case ast.BoolOp():
            operands = [_evaluate(operand, values, at) for operand in node.values]
            if None in operands:
                return None
            return float((all if isinstance(node.op, ast.And) else any)(operands))
        case ast.Call(func=ast.Name(id=function), args=[_]) if function in _TIME:
            return float(_TIME[function](at.astimezone(UTC)))
        case ast.Call(func=ast.Name(id=function), args=arguments):
            return _call(function, [_evaluate(argument, values, at) for argument in arguments])
        case _:
            raise ValueError(
                f"metric math must use + - * /, single comparisons, AND, OR and functions, got {ast.unparse(node)}"
            )


def _call(function: str, arguments: list[float | None]) -> float | None:
    match function, arguments:
        case "FILL", [value, default]:
            return default if value is None else value
        case "IF", [condition, yes, no]:
            return None if condition is None else (yes if condition else no)
        case _:
            raise ValueError(
                "metric math must call IF(a, b, c), FILL(a, number), DAY(a), HOUR(a) or MINUTE(a), "
                f"got {function}/{len(arguments)}"
            )
