"""``python -m place_cxr`` is ``place``."""

from place_cxr.cli.main import main

if __name__ == "__main__":
    main()
