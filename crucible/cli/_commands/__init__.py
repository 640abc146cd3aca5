"""The table of commands. To add one: a module here with a function, and a line in `COMMANDS`.

The function's parameters are the options and its docstring is the help; `crucible.cli._commands.export` is a short one to copy.
What takes long to import is imported within the function, so that one command does not wait for another's SDKs.
"""
