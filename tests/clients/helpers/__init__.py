"""A running endpoint, and scripts run by another environment."""
