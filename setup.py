"""Build the compiled part where a compiler is found; the wheel's tag follows."""

import os
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError


class NotCompiled(Exception):
    """The compiler is missing, or failed."""


class BuildExt(build_ext):
    """The command build_ext. A failure of the compiler is NotCompiled."""

    def run(self) -> None:
        """Compile and link. Raises NotCompiled."""
        try:
            super().run()
        except (BaseError, CCompilerError) as error:
            raise NotCompiled(str(error)) from error


# CPython's functions are called some ten times for an event: without a detour through the PLT an
# event takes 35 ns, not 37 (GCC 12, a shared libpython).
flags = ["-fno-plt"] if sys.platform == "linux" else []
speedups = Extension(
    "sseparse._speedups", sources=["sseparse/_speedups.c"], extra_compile_args=flags
)
# The variable chooses the classes in Python at run time too. _speedups.c is written for CPython.
pure = (
    os.environ.get("SSEPARSE_PURE_PYTHON", "0") not in ("", "0")
    or sys.implementation.name != "cpython"
)

try:
    setup(ext_modules=[] if pure else [speedups], cmdclass={"build_ext": BuildExt})
except NotCompiled as error:
    print(f"SSEDecoder will not be a compiled class: {error}", file=sys.stderr)  # noqa: T201
    # Without an extension, setuptools makes a py3-none-any wheel.
    setup()
