"""Run the Python code of README.md as it stands there, so that it stays right.

A block that imports torch is a program by itself and names its backend. The others are one program,
from the first to the last, on the usual backend.

Run it with `python examples/readme.py`. The pictures that README saves are thrown away.
"""

# %% Find the code
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"

blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)
alone = [block for block in blocks if re.search(r"^import torch$", block, re.M)]
together = [block for block in blocks if block not in alone]
if not alone or not together:
    sys.exit(f"{README} must hold code for Keras and for torch.")


# %% Run it
def run(name, code, variables):
    print(f"{name}, {len(code.splitlines())} lines:", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", code]
        status = subprocess.run(command, cwd=folder, env=variables, check=False).returncode
        pictures = sorted(path.name for path in Path(folder).glob("*.png"))
    if status or not pictures:
        sys.exit(f"{name} ended with exit status {status} and drew {pictures}.")
    print(f"It ran, and drew {', '.join(pictures)}.")


run("The code for Keras", "\n".join(together), os.environ)
unset = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
for block in alone:
    run("The code for torch", block, unset)
