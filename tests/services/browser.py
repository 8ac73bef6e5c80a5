"""A real browser, headless, that is asked what a reader sees."""

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ABSENT = "needs chromium and chromedriver (Debian: apt install chromium chromium-driver fonts-dejavu)"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1366,1400"
)
PICTURES = "ASSAY_PICTURES"
"""Environment variable: a folder that keeps the pictures; without it they go with the tests' temporary ones."""
SECONDS = 60
"""That a page may take to show what it should."""


class Browser:
    """Opens pages, clicks links, and takes a picture of each."""

    def __init__(self, folder: Path) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"):
            options.add_argument(flag)
        self._folder = Path(os.environ.get(PICTURES) or folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self.clicks = 0
        """Since a page was last opened by its address."""
        self._driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._driver.quit()

    def see(self, url: str, *texts: str, picture: str) -> str:
        """Open a page and wait until it shows the texts; all of its text.

        Args:
            url: of the page.
            texts: that it has to show.
            picture: name of a file for what was seen.
        """
        self._open(url)
        self.clicks = 0
        return self.shows(*texts, picture=picture)

    def click(self, link: str, *texts: str, picture: str) -> str:
        """Click a link, as a person finds it by its words, and wait until the texts are shown; all of the text.

        Args:
            link: its words.
            texts: that the page has to show then.
            picture: name of a file for what was seen.
        """
        from selenium.webdriver.common.by import By

        self._wait(lambda _: self._driver.find_elements(By.LINK_TEXT, link))
        found = self._driver.find_elements(By.LINK_TEXT, link)[0]
        self.clicks += 1
        if found.get_attribute("target") == "_blank":  # links in descriptions open another tab
            self._open(str(found.get_attribute("href")))
        else:
            self._driver.execute_script("arguments[0].click()", found)
        return self.shows(*texts, picture=picture)

    def shows(self, *texts: str, picture: str) -> str:
        """Wait until the page shows the texts; all of its text.

        Args:
            texts: that it has to show.
            picture: name of a file for what was seen.
        """
        from selenium.common.exceptions import TimeoutException

        try:
            self._wait(lambda _: all(text in self.text() for text in texts))
        except TimeoutException:
            missing = [text for text in texts if text not in self.text()]
            pytest.fail(f"{self._driver.current_url} does not show {missing}, but:\n{self.text()}")
        finally:
            self._driver.save_screenshot(str(self._folder / picture))
        return self.text()

    def darken(self) -> None:
        """Show pages from now on as to a reader who prefers them dark; MLflow has a switch of its own for that."""
        scheme = {"name": "prefers-color-scheme", "value": "dark"}
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        script = "localStorage.setItem('_mlflow_dark_mode_toggle_enabled', 'true')"
        self._driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})

    def _open(self, url: str) -> None:
        self._driver.get("about:blank")  # else another part of the same page would not be loaded anew
        self._driver.get(url)

    def text(self) -> str:
        """The text of the page, and of the frames in which MLflow shows some previews."""
        from selenium.webdriver.common.by import By

        self._driver.switch_to.default_content()
        texts = [self._driver.find_element(By.TAG_NAME, "body").text]
        for frame in self._driver.find_elements(By.TAG_NAME, "iframe"):
            self._driver.switch_to.frame(frame)
            texts.append(self._driver.find_element(By.TAG_NAME, "body").text)
            self._driver.switch_to.default_content()
        return "\n".join(texts)

    def _wait(self, until: object) -> None:
        from selenium.common.exceptions import NoSuchFrameException, StaleElementReferenceException
        from selenium.webdriver.support.wait import WebDriverWait

        redrawn = (NoSuchFrameException, StaleElementReferenceException)
        WebDriverWait(self._driver, SECONDS, ignored_exceptions=redrawn).until(until)  # type: ignore[arg-type]
