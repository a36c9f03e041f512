"""A headless Chromium with an empty profile, driven by Selenium; it resolves no name but this machine's."""

# Selenium is not in the environment of the type checker.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PROGRAMS = ("chromium", "chromedriver")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip


@contextmanager
def chromium(width: int = 1280, height: int = 900) -> Generator["Browser", None, None]:
    """Start Chromium; SystemExit if it is not installed."""
    found = {name: shutil.which(name) for name in PROGRAMS}
    if missing := [name for name, path in found.items() if path is None]:
        raise SystemExit(f"{' and '.join(missing)} must be on PATH: apt-get install chromium chromium-driver")
    with TemporaryDirectory() as profile:
        options = ChromeOptions()
        options.binary_location = str(found["chromium"])
        for flag in (*_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.add_experimental_option("prefs", {"download.default_directory": str(Path(profile) / "downloads")})
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        driver = Chrome(options=options, service=ChromeService(str(found["chromedriver"])))
        try:
            yield Browser(driver, Path(profile) / "downloads")
        finally:
            driver.quit()


class Browser:
    """What a person does with the page."""

    def __init__(self, driver: Any, downloads: Path) -> None:
        self.driver, self.downloads = driver, downloads

    def open(self, address: str) -> None:
        """Load the page and wait for the line about the stack."""
        self.driver.get(address)
        self.wait_for("#about p.mg-note", 60)

    def find(self, selector: str) -> list[Any]:
        """Return the elements of a CSS selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def wait_for(self, selector: str, seconds: float = 30, text: str = "") -> Any:
        """Return the first element of a selector that has a text, once there is one."""

        def look(_: Any) -> Any:
            return next((item for item in self.find(selector) if text in item.get_attribute("textContent")), None)

        message = f"no {selector} with {text!r} in {seconds} s"
        return WebDriverWait(self.driver, seconds, 0.1, (Exception,)).until(look, message)

    def fill(self, selector: str, text: str) -> None:
        """Replace a field's text."""
        box = self.wait_for(selector)
        self.driver.execute_script("arguments[0].select()", box)
        box.send_keys(text)

    def click(self, selector: str) -> None:
        """Click the first element of a selector, once it is enabled."""

        def enabled(_: Any) -> Any:
            return next((item for item in self.find(selector) if item.is_enabled()), None)

        WebDriverWait(self.driver, 30, 0.1, (Exception,)).until(enabled, f"{selector} is not enabled").click()

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript whose last argument is a callback, and return what it is called with."""
        return self.driver.execute_async_script(script, *arguments)

    def downloaded(self, name: str, seconds: float = 20) -> int:
        """Return the size in bytes of a file that was downloaded, once it is complete."""
        file = self.downloads / name

        def file_exists(_: Any) -> bool:
            return file.exists()

        WebDriverWait(self.driver, seconds, 0.1).until(file_exists, f"{name} is not downloaded")
        return file.stat().st_size

    def foreign_requests(self) -> list[str]:
        """Return the addresses that the page asked for, or tried to, besides its own server's."""
        wanted: set[str] = set()
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                wanted.add(message["params"]["request"]["url"])
        assert wanted, "the browser's log must have the page's requests"
        return sorted(url for url in wanted if not url.startswith(("http://127.0.0.1:", "data:", "blob:", "chrome:")))
