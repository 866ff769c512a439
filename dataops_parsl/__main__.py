"""``python -m dataops_parsl``."""

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from dataops_parsl import cli

        sys.exit(cli.main())
    except KeyboardInterrupt:  # while Python is still loading
        sys.exit(130)


if __name__ == "__main__":
    main()
