"""`python -m advkit` is the command `advkit`."""

from advkit.cli import main

if __name__ == "__main__":
    main()
