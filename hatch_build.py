"""The build hook of the wheel: leaves out the development command, whose packages the wheel does not contain."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

DEVELOPMENT_COMMAND = "kindryn-zoom-dev"


class ProductionScripts(BuildHookInterface[Any]):
    """Removes the script of `kindryn-zoom-dev`, except from an editable install, which has all packages."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """`version` is hatchling's name for the kind of build: "standard" or "editable"."""
        if version != "editable":
            self.metadata.core.scripts.pop(DEVELOPMENT_COMMAND)
