"""`python -m sync COMMAND`: the command line."""

from sync.cli.commands import main
from sync.runner import exit_immediately

if __name__ == "__main__":
    exit_immediately(main())
