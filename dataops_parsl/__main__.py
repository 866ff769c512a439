"""``python -m dataops_parsl``."""

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from dataops_parsl import cli

    sys.exit(cli.main())


if __name__ == "__main__":
    main()
