"""Makes Python of the message descriptions (``*.proto``) before the package is built; everything else stands in pyproject.toml."""

from pathlib import Path

from grpc_tools import protoc
from setuptools import Command, setup
from setuptools.command.build import build

SRC = Path("src")


class CompileMessages(Command):
    """Writes ``x_pb2.py``, and ``x_pb2.pyi`` with its types, beside each ``x.proto``.

    A step of its own: setuptools turns an error in a ``build_py`` of ours into a warning when it installs for editing.
    """

    description = "compile the message descriptions"
    editable_mode = False

    def initialize_options(self) -> None:
        self.build_lib = None

    def finalize_options(self) -> None:
        pass

    def run(self) -> None:
        """Compile all of them, or raise."""
        for path in self.get_source_files():
            if protoc.main(["protoc", f"--proto_path={SRC}", f"--python_out={SRC}", f"--pyi_out={SRC}", path]) != 0:
                raise RuntimeError(f"{path} cannot be compiled")

    def get_source_files(self) -> list[str]:
        """The descriptions."""
        return sorted(str(path) for path in SRC.glob("infrastructure/**/*.proto"))

    def get_outputs(self) -> list[str]:
        """Nothing outside of the sources: the steps that follow take what was made from there."""
        return []

    def get_output_mapping(self) -> dict[str, str]:
        """See ``get_outputs``."""
        return {}


class Build(build):
    """The usual steps, after ours."""

    sub_commands = [("compile_messages", None), *build.sub_commands]


setup(cmdclass={"build": Build, "compile_messages": CompileMessages})
