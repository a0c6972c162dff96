"""Run both quickstarts one after the other; `make demo` starts the models they talk to."""

import runpy
import sys
from pathlib import Path

for name in ("quickstart_langchain.py", "quickstart_llamaindex.py"):
    print(f"\n$ python examples/{name}\n", flush=True)
    try:
        runpy.run_path(str(Path(__file__).with_name(name)), run_name="__main__")
    except SystemExit as stop:
        if stop.code:
            sys.exit(stop.code)
