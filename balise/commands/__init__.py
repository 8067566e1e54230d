"""The sub-commands: each module has HELP, add_arguments(parser) and run(args) -> exit status.

Modules import nothing heavy at their top, so that a gateway runs on the base install.
"""
