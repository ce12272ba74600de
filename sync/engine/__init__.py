"""The story of one run: pull, plan, deliver, finish; each step goes on where a killed one stopped."""

from sync.engine.executor import RunContext, RunExecutor
from sync.engine.retry import Clock, RetryPolicy

__all__ = ["Clock", "RetryPolicy", "RunContext", "RunExecutor"]
