"""Retention of the log groups that the stack makes."""

from aws_cdk import aws_logs as logs

from infra.config import Config

_BY_DAYS = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    5: logs.RetentionDays.FIVE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
}


def retention(config: Config) -> logs.RetentionDays:
    """The configured number of days, as CloudWatch Logs names it."""
    return _BY_DAYS[config.log_retention_days]
