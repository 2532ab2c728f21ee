"""A headless Chromium, and what the tests of the page look at in it."""

import os
import time

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

# Only a hang reaches it.
PATIENCE = 120


class Browser:
    """One window of a browser; ends with its `with`."""

    def __init__(self, width=1280, height=860, dark=False):
        options = Options()
        for word in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", f"--window-size={width},{height}"):
            options.add_argument(word)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self.driver.set_script_timeout(PATIENCE)
        # A window has a least width; the page of a phone has not.
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def open(self, address):
        """Shows a page, from its beginning."""
        self.driver.get("about:blank")
        self.driver.get(address)

    def js(self, script, *values):
        """The value of a script's `return`."""
        return self.driver.execute_script(script, *values)

    def until(self, what, script, *values):
        """Waits until a script's value is true, and returns it."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            value = self.js(script, *values)
            if value:
                return value
            time.sleep(0.02)
        self.shot(os.path.join(os.environ.get("PUMICE_SHOTS", "."), "failed.png"))
        raise AssertionError(f"still without {what}")

    def click(self, selector, number=0):
        self.driver.find_elements(By.CSS_SELECTOR, selector)[number].click()

    def type(self, selector, text):
        """Replaces the text of a field."""
        field = self.driver.find_element(By.CSS_SELECTOR, selector)
        field.clear()
        field.send_keys(text)

    def press(self, *keys):
        """Keys, for whatever has the focus."""
        for key in keys:
            ActionChains(self.driver).send_keys(getattr(Keys, key, key)).perform()

    def wheel(self, selector, distance):
        element = self.driver.find_element(By.CSS_SELECTOR, selector)
        origin = webdriver.common.actions.wheel_input.ScrollOrigin.from_element(element)
        ActionChains(self.driver).scroll_from_origin(origin, 0, distance).perform()

    def lines(self):
        """The lines of the log that are seen: {line, time, source, text, classes, selected}."""
        return self.js("""
            return [...document.querySelectorAll('.log .line:not([hidden])')].map((line) => ({
                line: Number(line.dataset.line), time: line.querySelector('.time').textContent,
                source: line.querySelector('.source').textContent, text: line.querySelector('.text').textContent,
                classes: line.className, selected: line.getAttribute('aria-selected') === 'true' }))""")

    def count(self):
        """What the page says of how many lines there are."""
        return self.js("return document.querySelector('.count').textContent").replace("\u202f", "")

    def all_lines(self):
        """Every line that the filters take, read from the first to the last, a window after the other."""
        found = {}
        self.js("document.querySelector('.log').focus()")
        self.press("HOME")
        while True:
            self.settled()
            seen = self.lines()
            news = [line for line in seen if line["line"] not in found]
            if not news:
                return [found[number] for number in sorted(found)]
            found.update((line["line"], line) for line in news)
            self.press("PAGE_DOWN")

    def settled(self):
        """Waits until what is seen has come."""
        self.until("lines", "return document.querySelectorAll('.log .missing:not([hidden])').length === 0")
        self.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def complaints(self):
        """What the browser says is wrong, its policy among it."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def violations(self, axe):
        """What axe-core finds, as sentences."""
        with open(axe, encoding="utf-8") as file:
            # By the driver, which the page's policy does not bind.
            self.js(file.read() + "; window.axe = axe;" if not self.js("return 'axe' in window") else "")
        found = self.driver.execute_async_script("""
            const done = arguments[0];
            axe.run(document, { resultTypes: ['violations'] }).then((result) => done(result.violations.map((violation) =>
                `${violation.id}: ${violation.help}: ${violation.nodes.slice(0, 5).map((node) => node.html.slice(0, 200) + ' ' + (node.any[0]?.message ?? '')).join(' | ')}`)),
                (error) => done([String(error)]))""")
        return found

    def shot(self, path):
        """For a person to look at."""
        self.driver.save_screenshot(path)
