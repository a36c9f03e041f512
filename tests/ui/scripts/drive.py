"""Use the page as a person does; run by the environment with Selenium. Prints one JSON object of what was seen."""

import json
import socket
import sys
import time
from http.client import HTTPConnection
from urllib.parse import urlsplit

from tests.ui.helpers.browser import Browser, chromium

ADDRESS = sys.argv[1]
_STAGES = """
const seen = window.seen = [];
setInterval(() => {
  const stage = document.querySelector("[data-stage]")?.dataset.stage;
  if (stage && seen.at(-1) !== stage) seen.push(stage);
}, 50);
"""
_PLAY = """
const [selector, done] = arguments;
const audio = document.querySelector(selector);
audio.muted = true;
audio.play().then(() => setTimeout(() => done({
  duration: audio.duration, position: audio.currentTime, error: audio.error && audio.error.message}), 700));
"""
_LOADED = (
    "return [...document.querySelectorAll('.mg-clip img')].map(image => [image.naturalWidth, image.naturalHeight])"
)
_HISTORY = "#history [role=gridcell]"
_CLIP, _ERROR, _NOTE = ".mg-clip audio", ".mg-error", "#progress .mg-note"


def main() -> None:
    """Generate two variations, play, download, stop, fail, and open the history."""
    with chromium() as browser:
        browser.open(ADDRESS)
        seen = {"about": text(browser, "#about .mg-note"), **generate(browser), **stop(browser), **fail(browser)}
        seen |= reopen(browser)
        seen["foreign"] = browser.foreign_requests()
        seen |= reach(int(urlsplit(ADDRESS).port or 0))
        seen["console"] = [
            entry["message"] for entry in browser.driver.get_log("browser") if entry["level"] == "SEVERE"
        ]
    print(json.dumps(seen))


def text(browser: Browser, selector: str) -> str:
    """Return the text of the first element of a selector."""
    return browser.wait_for(selector).text


def generate(browser: Browser) -> dict[str, object]:
    """Generate with a parameter of the folded part, and watch the stages."""
    browser.driver.execute_script(_STAGES)
    browser.fill("#prompt textarea", "calm piano")
    browser.fill("#field-seed :is(textarea, input)", "41")
    browser.click("#more button")
    browser.fill("#field-guidance_scale input[type=number]", "5")
    browser.fill("#field-negative_prompt :is(textarea, input)", "drums")
    browser.click("#generate")
    browser.wait_for(_CLIP, 60)
    browser.wait_for(_HISTORY, text="calm piano")
    link = browser.find(".mg-clip a")[1]
    link.click()
    return {
        "stages": browser.driver.execute_script("return window.seen"),
        "facts": [item.text for item in browser.find(".mg-facts span")],
        "waveforms": len(browser.find(".mg-clip svg path")),
        "spectrograms": browser.driver.execute_script(_LOADED),
        "played": browser.run(_PLAY, _CLIP),
        "download": browser.downloaded(link.get_attribute("download")),
        "explanations": text(browser, "#field-temperature"),
    }


def stop(browser: Browser) -> dict[str, object]:
    """Stop a clip that would take a minute."""
    browser.fill("#prompt textarea", "slow strings")
    browser.click("#generate")
    browser.wait_for(".mg-stages li.now", 20, "generating")
    asked = time.monotonic()
    browser.click("#stop")
    return {"stopped": browser.wait_for(_NOTE, 30, "Stopped").text, "stop_seconds": time.monotonic() - asked}


def fail(browser: Browser) -> dict[str, object]:
    """Have one request refused by the endpoint, and one by the form."""
    browser.fill("#prompt textarea", "refuse this")
    browser.click("#generate")
    refused = browser.wait_for(_ERROR, 30).text
    browser.fill("#field-seed :is(textarea, input)", "-1")
    browser.click("#generate")
    return {"refused": refused, "invalid": browser.wait_for(_ERROR, 30, "seed").text}


def reopen(browser: Browser) -> dict[str, object]:
    """Reload the page, and open the clips of the first request from the history."""
    browser.open(ADDRESS)
    browser.click("#more button")
    browser.wait_for(_HISTORY, text="calm piano").click()
    browser.wait_for(_CLIP, 30)
    fields = {
        name: browser.find(f"#field-{name} {kind}")[0].get_attribute("value")
        for name, kind in (("seed", ":is(input, textarea)"), ("guidance_scale", "input[type=number]"))
    }
    return {"again": [item.text for item in browser.find(".mg-facts span")], "fields": fields}


def reach(port: int) -> dict[str, object]:
    """Ask for the page at another address of this machine, and under another name."""
    try:
        socket.create_connection(("127.0.0.2", port), 5).close()
        other = "connected"
    except ConnectionRefusedError:
        other = "refused"
    statuses: dict[str, int] = {}
    for name in ("127.0.0.1", "evil.example"):
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/", headers={"Host": f"{name}:{port}"})
        statuses[name] = connection.getresponse().status
        connection.close()
    return {"other_address": other, "statuses": statuses}


if __name__ == "__main__":
    main()
