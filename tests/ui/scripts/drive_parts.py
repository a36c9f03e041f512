"""Use the parts of the page that are folded in; run by the environment with Selenium. Prints one JSON object."""

import json
import sys

from tests.ui.helpers.browser import Browser, chromium

ADDRESS, HUMMED = sys.argv[1:]
_HISTORY, _TITLE, _FACTS, _ERROR = "#history [role=gridcell]", ".mg-clip h4", ".mg-facts span", ".mg-error"
_BOX = ":is(textarea, input:not([type=range]))"
_PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
_IN_VIEW = """
const box = document.querySelector(arguments[0]).getBoundingClientRect();
return box.top < innerHeight && box.bottom > 0;
"""


def main() -> None:
    """Generate with each part, and open the requests from the history after a reload."""
    with chromium() as browser:
        browser.open(ADDRESS)
        folded = not [item for item in browser.find("#text-0, #loop, #melody-url") if item.is_displayed()]
        seen = {"folded": folded, **sections(browser), **loop(browser), **continuation(browser), **melody(browser)}
        seen |= reopen(browser)
        seen["phone_width"] = phone(browser)
        log = browser.driver.get_log("browser")
        seen["console"] = [entry["message"] for entry in log if entry["level"] == "SEVERE"]
    print(json.dumps(seen))


def value(browser: Browser, selector: str) -> str:
    """Return what a field holds."""
    return browser.wait_for(f"{selector} {_BOX}").get_property("value")


def unfold(browser: Browser, part: str) -> None:
    """Open or close a part."""
    browser.click(f"#part-{part} button")


def filled(browser: Browser, selector: str, text: str) -> None:
    """Replace a field's text."""
    browser.fill(f"{selector} {_BOX}", text)


def one_clip(browser: Browser, title: str) -> list[str]:
    """Generate, and return the facts of the clips with a title."""
    browser.click("#generate")
    browser.wait_for("[data-stage]")  # earlier clips are gone
    browser.wait_for(_TITLE, 60, title)
    browser.wait_for(_HISTORY, text=title)
    return [item.text for item in browser.find(_FACTS)]


def sections(browser: Browser) -> dict[str, object]:
    """Fill three sections."""
    unfold(browser, "sections")
    browser.fill("#count input[type=number]", "1")
    for place, (text, seconds) in enumerate((("quiet strings", "4"), ("drums enter", "3.5"), ("all fade", "2"))):
        if place == 2:
            browser.click("#add-section")
        filled(browser, f"#text-{place}", text)
        filled(browser, f"#seconds-{place}", seconds)
    said = browser.wait_for("#said-sections", text="3 sections, 9.5 s").text
    return {"sections_said": said, "sections": one_clip(browser, "quiet strings / drums enter / all fade")}


def loop(browser: Browser) -> dict[str, object]:
    """Make two loops, in a new form."""
    browser.open(ADDRESS)
    browser.fill("#prompt textarea", "house loop")
    unfold(browser, "loop")
    browser.click("#loop input")
    filled(browser, "#bpm", "112")
    filled(browser, "#bars", "8")
    said = browser.wait_for("#summary", text="17.14 s").text
    return {"loop_said": said, "loop": one_clip(browser, "house loop")}


def continuation(browser: Browser) -> dict[str, object]:
    """Continue the second loop, without its own sound."""
    browser.click("#loop input")
    browser.click(".mg-clip:nth-child(2) [data-audio]")
    browser.wait_for("#said-continuation", text="from 0 s to its end")
    in_view = browser.driver.execute_script(_IN_VIEW, "#part-continuation")
    filled(browser, "#continuation-end", "5")
    browser.click("#return-excerpt input")
    browser.fill("#prompt textarea", "onwards")
    browser.wait_for("#said-continuation", text="new alone")
    return {"continuation_in_view": in_view, "continuation": one_clip(browser, "onwards")}


def melody(browser: Browser) -> dict[str, object]:
    """Choose a file for the melody, which this endpoint's model refuses; then clear the form."""
    browser.open(ADDRESS)
    browser.fill("#prompt textarea", "a waltz")
    unfold(browser, "melody")
    browser.wait_for("#melody-file input[type=file]").send_keys(HUMMED)
    browser.wait_for("#said-melody", text="hummed.wav")
    filled(browser, "#melody-start", "0.5")
    browser.wait_for("#said-melody", text="from 0.5 s")
    player = "#said-melody audio"
    heard = browser.wait_for(player).get_property("src")
    browser.click("#generate")
    return {"heard": heard.rpartition("#")[2], "refused": browser.wait_for(_ERROR, 60).text}


def reopen(browser: Browser) -> dict[str, object]:
    """Open each request from the history after a reload, and send two of them again."""
    browser.open(ADDRESS)
    browser.wait_for(_HISTORY, text="quiet strings").click()
    browser.wait_for(_TITLE, 30, "quiet strings")
    rows = [place for place in range(4) if browser.find(f"#text-{place}")]
    seen: dict[str, object] = {
        "sections_again": [
            [value(browser, f"#text-{place}"), value(browser, f"#seconds-{place}")] for place in rows
        ],
    }  # fmt: skip
    browser.wait_for(_HISTORY, text="onwards").click()
    browser.wait_for(_TITLE, 30, "onwards")
    browser.wait_for("#summary", text="Continues")
    names = ("url", "start", "end")
    seen["continuation_again"] = [value(browser, f"#continuation-{name}") for name in names]
    seen["excerpt_again"] = browser.find("#return-excerpt input")[0].is_selected()
    one_clip(browser, "onwards")
    browser.wait_for(_HISTORY, text="a waltz").click()
    browser.wait_for(_ERROR, 30, "melody")
    browser.wait_for("#said-melody", text="melody-")
    browser.click("#generate")
    browser.wait_for("[data-stage]", 30)
    browser.wait_for(_ERROR, 60)
    return seen | lost(browser)


def lost(browser: Browser) -> dict[str, object]:
    """Open a request whose audio is not in the journal, and try to send it."""
    browser.wait_for(_HISTORY, text="early").click()
    remarks = browser.wait_for("#remarks", 30, "choose it again").text
    browser.wait_for(_ERROR, 30, "out of luck")
    browser.click("#generate")
    return {"remarks": remarks, "not_sent": browser.wait_for(_ERROR, 30, "again").text}


def phone(browser: Browser) -> int:
    """Return the width of the page, with all parts open, on a narrow screen."""
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", _PHONE)
    browser.open(ADDRESS)
    for part in ("sections", "loop", "continuation", "melody"):
        unfold(browser, part)
    browser.wait_for("#melody-url")
    return browser.driver.execute_script("return document.documentElement.scrollWidth")


if __name__ == "__main__":
    main()
