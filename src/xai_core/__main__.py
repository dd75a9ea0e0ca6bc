"""`python -m xai_core` is the command `xai-core`."""

from __future__ import annotations

from xai_core.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
