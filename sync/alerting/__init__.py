"""Decide what is worth an alert and when it waits, and send alerts and webhooks."""
