"""``python -m latticework``: the command line where no script is installed."""

from latticework.cli import main

if __name__ == "__main__":
    main()
