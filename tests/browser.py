"""A real browser, headless, for looking at pages as a person does."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PROGRAM, DRIVER = "chromium", "chromedriver"
WAIT_SECONDS = 60
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1500,950",
)


@contextlib.contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Debian's Chromium. Skips where it is not installed, unless all services are required."""
    if not (shutil.which(PROGRAM) and shutil.which(DRIVER)):
        missing = f"{PROGRAM} and {DRIVER} are not installed: apt install chromium chromium-driver"
        if os.environ.get("MOINHO_REQUIRE_SERVICES"):
            pytest.fail(missing)
        pytest.skip(missing)
    with tempfile.TemporaryDirectory() as profile:
        options = Options()
        options.binary_location = str(shutil.which(PROGRAM))
        for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        driver = webdriver.Chrome(options=options, service=Service(str(shutil.which(DRIVER))))
        try:
            yield driver
        finally:
            driver.quit()


def wait_for_text(driver: webdriver.Chrome, *texts: str) -> None:
    """Until all of `texts` stand on the page."""

    def all_there(page: webdriver.Chrome) -> bool:
        found = page.find_element(By.TAG_NAME, "body").text
        return all(text in found for text in texts)

    WebDriverWait(driver, WAIT_SECONDS).until(all_there, f"not on the page: {texts}")


def search_charts(driver: webdriver.Chrome, pattern: str) -> None:
    """On MLflow's page of a run's metrics: leave those charts whose names have the pattern."""
    boxes = "input[placeholder*='earch']"
    WebDriverWait(driver, WAIT_SECONDS).until(lambda page: page.find_elements(By.CSS_SELECTOR, boxes))
    driver.find_element(By.CSS_SELECTOR, boxes).send_keys(pattern)
