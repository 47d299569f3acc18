"""`python -m edgecil` is `edgecil`."""

from edgecil.cli import main

if __name__ == "__main__":
    main()
