"""The pictures that tests/lab/test_grafana.py takes, of a page that is no Grafana's."""

import struct
from pathlib import Path

import pytest

from tests.lab import browser
from tests.lab.httpd import Httpd, QuietHandler
from tests.lab.rack import Rack

pytestmark = [pytest.mark.lab, pytest.mark.skipif(browser.missing() is not None, reason=browser.missing() or "")]

# Like Grafana's: the page is empty until a script has asked for what it shows.
PAGE = """<!doctype html><title>Vane</title><body><script>
fetch("/panels").then(answer => answer.json()).then(panels => {
  for (const [title, fault] of panels) {
    const panel = document.body.appendChild(document.createElement("section"));
    panel.textContent = title;
    if (fault) panel.dataset.testid = "fault";
  }
});
</script>"""
PANELS = '[["Verdict", false], ["Loss", true]]'


class _Pages(QuietHandler):
    def do_GET(self) -> None:  # noqa: N802 - the name that http.server looks for
        if self.headers["Authorization"] != "Basic dmFuZQ==":
            self.send_error(401)
            return
        kind, text = ("application/json", PANELS) if self.path == "/panels" else ("text/html", PAGE)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())


def visit(
    rack: Rack, directory: Path, texts: list[str], headers: dict[str, str], patience_seconds: float
) -> dict[str, list[str]]:
    (machine,) = rack.namespaces("web")
    page = {"name": "home", "url": "http://127.0.0.1:8080/", "height": 700, "texts": texts}
    with Httpd(machine.listen("127.0.0.1", 8080), _Pages):
        found = browser.take(
            *(machine, directory, [page]),
            headers=headers,
            faults='[data-testid="fault"]',
            patience_seconds=patience_seconds,
        )
    return found["home"]


def test_a_picture_is_taken_and_what_is_missing_or_faulty_is_named(rack: Rack, tmp_path: Path) -> None:
    texts = ["Verdict", "Loss", "Jitter"]
    found = visit(rack, tmp_path, texts, {"Authorization": "Basic dmFuZQ=="}, patience_seconds=5)
    assert found == {"missing": ["Jitter"], "faults": ["Loss"]}
    picture = (tmp_path / "home.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == (browser.WIDTH, 700)  # IHDR: width and height


def test_who_may_not_see_the_page_sees_nothing(rack: Rack, tmp_path: Path) -> None:
    assert visit(rack, tmp_path, ["Verdict"], {}, patience_seconds=1) == {"missing": ["Verdict"], "faults": []}
