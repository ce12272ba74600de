"""Both APIs as one real HTTP process: truthful, with faults on demand.

`python -m tests.sandbox` starts it; `tests.sandbox.control.Sandbox` is what tests use.
"""
