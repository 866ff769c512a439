"""What goes wrong with a tool beside this package, in words: stages turn it into an error of the program."""

from __future__ import annotations


class ToolError(Exception):
    """A tool, its files or its device are not there, or not what they should be.

    Parameters
    ----------
    message : str
    remedy : str
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message, self.remedy = message, remedy
