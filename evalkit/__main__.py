"""`python -m evalkit`, and the console script."""

import sys


def main() -> None:
    """Run the command line; an interrupt while libraries load ends as quietly as a later one."""
    try:
        from evalkit.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
