"""CloudWatch alarms and Application Auto Scaling as AWS documents them, on an injected clock: no AWS, no threads."""
