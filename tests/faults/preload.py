"""What the process that is forked for each try imports beforehand: all commands."""

from dataops_parsl import cli

cli.parser()
