"""A request's way: accepted, queued, delivered to an instance, and its output, message and metrics."""
