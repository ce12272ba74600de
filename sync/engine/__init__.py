"""The execution of one run: read, plan, deliver, record; each step goes on where a killed one stopped."""

from sync.engine.executor import RunExecutor
from sync.engine.lease import RunContext
from sync.engine.retry import Clock, RetryPolicy

__all__ = ["Clock", "RetryPolicy", "RunContext", "RunExecutor"]
