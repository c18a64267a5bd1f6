"""Pictures of web pages by Debian's Chromium, which Playwright drives: ``python -m tests.lab.browser``, in a namespace.

It reads one order as JSON from its standard input and prints what it found, see `take`. Nothing is kept of a visit.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import TimeoutError as TimedOut

from tests.lab.netns import Namespace
from tests.lab.processes import PYTHON

PROGRAM = "chromium"
# It runs as root here, and asks nobody for updates.
ARGUMENTS = [
    *("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--no-first-run",
]
WIDTH = 1600
PATIENCE_SECONDS = 30.0


def missing() -> str | None:
    """Why no pictures can be taken here; None where they can."""
    return None if shutil.which(PROGRAM) else f"no `{PROGRAM}` on PATH"


def take(
    namespace: Namespace,
    directory: Path,
    pages: list[dict[str, Any]],
    *,
    headers: dict[str, str] | None = None,
    faults: str = "",
    patience_seconds: float = PATIENCE_SECONDS,
) -> dict[str, dict[str, list[str]]]:
    """Writes DIRECTORY/<name>.png for each of `pages`: name, url, height (pixels) and texts, which have to show.

    `headers` go with every request; `faults` is a CSS selector for what must not be there. Returns for each name the
    texts that did not show within `patience_seconds` (``missing``) and the words at each fault (``faults``).
    """
    order = {
        "directory": str(directory),
        "pages": pages,
        "headers": headers or {},
        "faults": faults,
        "patience": patience_seconds,
    }
    command = [*PYTHON, "-m", "tests.lab.browser"]
    longest = sum(60 + patience_seconds * len(page["texts"]) for page in pages)
    done = namespace.run(command, stdin=json.dumps(order), timeout=60 + longest)
    found: dict[str, dict[str, list[str]]] = json.loads(done.stdout)
    return found


def main() -> None:
    order = json.load(sys.stdin)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which(PROGRAM), args=ARGUMENTS)
        try:
            found = {page["name"]: _visit(browser, page, order) for page in order["pages"]}
        finally:
            browser.close()
    print(json.dumps(found))


def _visit(browser: Browser, wanted: dict[str, Any], order: dict[str, Any]) -> dict[str, list[str]]:
    milliseconds = order["patience"] * 1000
    size = {"width": WIDTH, "height": wanted["height"]}
    context = browser.new_context(viewport=size, extra_http_headers=order["headers"])  # type: ignore[arg-type]
    try:
        page = context.new_page()
        page.goto(wanted["url"], wait_until="domcontentloaded")
        missing_texts = []
        for text in wanted["texts"]:
            try:
                page.get_by_text(text, exact=True).first.wait_for(state="visible", timeout=milliseconds)
            except TimedOut:
                missing_texts.append(text)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=Path(order["directory"], f"{wanted['name']}.png"))
        at_faults = page.locator(order["faults"]).all_inner_texts() if order["faults"] else []
        return {"missing": missing_texts, "faults": at_faults}
    finally:
        context.close()


if __name__ == "__main__":
    main()
