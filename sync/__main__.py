"""`python -m sync COMMAND`: the command line."""

import signal

if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may ignore it in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what loads has nothing to leave in order
    from sync.cli.commands import main
    from sync.runner import exit_immediately

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    exit_immediately(main())
