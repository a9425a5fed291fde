"""`python -m ferrisstreams` is `ferris`."""

from ferrisstreams.cli.start import main

if __name__ == "__main__":
    main()
