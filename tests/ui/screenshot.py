"""Make the README's screenshot: `make screenshot`, or `python -m tests.ui.screenshot docs/page.png [address]`.

Without an address the page has a fake AWS, whose clips are synthetic.
"""

import sys
import time
from contextlib import nullcontext
from pathlib import Path

from PIL import Image

from tests.ui.helpers.browser import Browser, chromium
from tests.ui.helpers.process import fake_page

MAX_BYTES = 200_000
_SIZE = (1360, 1160)
_PROMPTS = (("calm piano, slow", 11), ("flute with hip hop beats", 23), ("80s pop track with bassy drums and synth", 7))


def main() -> None:
    """Generate three requests, and photograph the last one."""
    target = Path(sys.argv[1])
    given = sys.argv[2] if len(sys.argv) > 2 else None
    with nullcontext(given) if given else fake_page(FAKE_SECONDS="1") as address, chromium(*_SIZE) as browser:
        browser.open(address)
        for prompt, seed in _PROMPTS:
            generate(browser, prompt, seed)
        browser.driver.execute_script("document.activeElement.blur()")
        time.sleep(2)  # players load, transitions end
        browser.driver.save_screenshot(str(target))
    with Image.open(target) as picture:
        picture.convert("RGB").quantize(256).save(target, optimize=True)
    if target.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{target} must have at most {MAX_BYTES} bytes, got {target.stat().st_size}")


def generate(browser: Browser, prompt: str, seed: int) -> None:
    """Generate three variations."""
    browser.fill("#prompt textarea", prompt)
    browser.fill("#count input[type=number]", "3")
    browser.fill("#field-seed :is(textarea, input)", str(seed))
    browser.click("#generate")
    browser.wait_for(".mg-clip h4", 1200, prompt)
    browser.wait_for("#history [role=gridcell]", text=prompt)


if __name__ == "__main__":
    main()
