"""Decides which third-party files the pages and documents use, and where each lies. Copies named files and no others.

Pages: static/vendor (served). Documents and tests: assets (not served; the fonts for PDFs are 10 MB each). Both are
git-ignored. Never fetches anything: setup_steps.py has npm put the packages into node_modules first.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
MODULES = PROJECT / "node_modules"
ICON_NAMES = PROJECT / "scripts" / "icons.txt"
ICONS = PROJECT / "static" / "vendor" / "icons.svg"
#: What the copies are made from; a change of any makes them anew.
SOURCES = (PROJECT / "package.json", PROJECT / "package-lock.json", ICON_NAMES, Path(__file__))

FILES = {
    "htmx.org/dist/htmx.min.js": "static/vendor/htmx.min.js",
    "echarts/dist/echarts.min.js": "static/vendor/echarts.min.js",
    "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2": "static/vendor/inter-latin.woff2",
    "@expo-google-fonts/noto-sans-sc/400Regular/NotoSansSC_400Regular.ttf": "assets/fonts/NotoSansSC-Regular.ttf",
    "@expo-google-fonts/noto-sans-sc/700Bold/NotoSansSC_700Bold.ttf": "assets/fonts/NotoSansSC-Bold.ttf",
    "axe-core/axe.min.js": "assets/axe.min.js",
}


def made() -> bool:
    """Whether every copy is there."""
    return ICONS.is_file() and all((PROJECT / target).is_file() for target in FILES.values())


def copy() -> None:
    """Copy the files and draw the sprite. Raises FileNotFoundError when a package lacks one."""
    for source, target in FILES.items():
        (PROJECT / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(MODULES / source, PROJECT / target)
    ICONS.write_text(sprite(icon_names(), MODULES / "@tabler" / "icons" / "icons" / "outline"), "utf-8")


def icon_names() -> list[str]:
    """The names in scripts/icons.txt."""
    lines = ICON_NAMES.read_text("utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def sprite(names: list[str], folder: Path) -> str:
    """One SVG with a symbol for each name, whose id is the name. Raises FileNotFoundError for a name Tabler lacks."""
    symbols = []
    for name in names:
        text = (folder / f"{name}.svg").read_text("utf-8")
        inner = re.search(r"<svg[^>]*>(.*)</svg>", text, re.DOTALL)
        assert inner, f"the icon {name} is no SVG as Tabler draws them"
        # The empty square every icon begins with only marks the edge.
        shapes = re.sub(r'<path stroke="none" d="M0 0h24v24H0z" fill="none"\s*/>', "", inner[1])
        shapes = re.sub(r"\s*\n\s*", "", shapes)
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{shapes}</symbol>')
    # On each symbol: a use inherits from where it stands on the page, not from this file's outer element.
    style = 'fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"'
    drawn = "\n".join(symbol.replace("<symbol ", f"<symbol {style} ") for symbol in symbols)
    return f'<svg xmlns="http://www.w3.org/2000/svg">\n<!-- Tabler Icons, MIT licence -->\n{drawn}\n</svg>\n'
