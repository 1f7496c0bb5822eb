"""Draws ``docs/demo.svg`` anew: the table of a demo after six seconds, as a terminal of 80 columns shows it. Run as ``python -m``."""

import asyncio
import re

from rich.console import Console, RenderableType

from infrastructure.demo import Demo, DemoSettings
from infrastructure.screens import picture
from tests.harness.captures import ROOT

SECONDS = 6.0


def main() -> None:
    """Run the demo and keep its last table."""
    demo = Demo(settings=DemoSettings(seconds=SECONDS, switch_every=0.5))
    shown: list[RenderableType] = []
    asyncio.run(demo.run(lambda running, elapsed: shown.append(picture(running, elapsed))))
    console = Console(record=True, width=80, force_terminal=True, color_system="truecolor")
    console.print(shown[-2])  # the last one compares
    svg = console.export_svg(title="tickrail demo --switch-every 0.5")
    # The picture must not fetch a font from anywhere.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.S).replace("Fira Code", "ui-monospace, DejaVu Sans Mono")
    (ROOT / "docs" / "demo.svg").write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")


if __name__ == "__main__":
    main()
