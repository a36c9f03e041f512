"""Requests: their fields, and what they may hold."""
