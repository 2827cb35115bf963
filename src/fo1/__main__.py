"""`python -m fo1` is `fo1`."""

from fo1.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
