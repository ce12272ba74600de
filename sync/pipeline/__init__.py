"""The story of one run: pull, plan, deliver, finish; each step goes on where a killed one stopped."""

from sync.pipeline.ends import Clock, Policy
from sync.pipeline.story import Story, Tools

__all__ = ["Clock", "Policy", "Story", "Tools"]
