"""The status page in a real browser: what it shows is what is, in both themes, wide and narrow; nothing else is asked.

Screenshots go to the directory in SIDESTREAM_SCREENSHOTS, else to build/screenshots.
"""

import base64
import json
import os
import shutil
from pathlib import Path

import pytest

from harness import ROOT, HOST, wait_for
from test_admin import ask

SHOTS = Path(os.environ.get("SIDESTREAM_SCREENSHOTS") or ROOT / "build/screenshots")
PHONE, DESK = (390, 844), (1280, 900)


@pytest.fixture(scope="module")
def browser():
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("chromium and chromium-driver are not installed")
    selenium = pytest.importorskip("selenium", reason="python3-selenium is not installed")
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    options = Options()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en-GB",
                 "--force-device-scale-factor=1", "--disable-background-networking", "--disable-component-update"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.set_capability("pageLoadStrategy", "eager")
    driver = selenium.webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


class Page:
    def __init__(self, driver, instance, size=DESK, dark=False):
        self.driver, self.instance = driver, instance
        width, height = size
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                               {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
        driver.get_log("browser"), driver.get_log("performance")
        driver.get(f"http://{HOST}:{instance.admin_port}/")
        self.frames(2)

    def frames(self, more):
        """Until it has been drawn so many times again."""
        until = self.frame() + more
        wait_for(lambda: self.frame() >= until, 15, "the page to draw itself")

    def frame(self):
        return int(self.run("return document.documentElement.dataset.frame"))

    def run(self, script):
        return self.driver.execute_script(script)

    def text(self, panel):
        return self.run(f"return document.querySelector('[data-testid={panel}]').innerText")

    def edges(self):
        return self.run("return Object.fromEntries([...document.querySelectorAll('.edge')]"
                        ".map(edge => [edge.dataset.peer, edge.dataset.state]))")

    def shoot(self, name):
        SHOTS.mkdir(parents=True, exist_ok=True)
        height = self.run("return document.documentElement.scrollHeight")
        self.run("scrollTo(0, 0)")
        picture = self.driver.execute_cdp_cmd("Page.captureScreenshot", {
            "captureBeyondViewport": True, "format": "png",
            "clip": {"x": 0, "y": 0, "width": self.run("return innerWidth"), "height": height, "scale": 1}})
        (SHOTS / f"{name}.png").write_bytes(base64.b64decode(picture["data"]))

    def check(self):
        """Nothing went wrong, nothing was asked elsewhere, nothing sticks out."""
        wrong = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"
                 and "favicon" not in entry["message"]]
        assert not wrong
        own = f"http://{HOST}:{self.instance.admin_port}/"
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                assert url.startswith((own, "data:")), f"a foreign request: {url}"
        assert self.run("return document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"


def test_policy_is_strict_and_the_page_is_complete_in_itself(lab, binary):
    instance = lab.instance([lab.server()])
    status, headers, body = ask(instance, "/")
    policy = headers["Content-Security-Policy"]
    assert status == 200 and "default-src 'none'" in policy and "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy and headers["Content-Type"].startswith("text/html")
    assert "http://" not in body.replace("http://www.w3.org/2000/svg", "") and "https://" not in body


@pytest.fixture
def group(lab, binary):
    primary, first, second = lab.servers(3)
    instance = lab.instance([primary, first, second])
    client = instance.client()
    for i in range(300):
        client("SET", f"k{i % 7}", "v")
        client("GET", f"k{i % 5}"), client("GET", f"other{i}")
    client("EVAL", "return 1", 0)
    return instance, primary, first, second


def test_it_shows_what_is(browser, group):
    instance, primary, first, second = group
    page = Page(browser, instance)
    assert "ready" in page.text("ready") and "not" not in page.text("ready")
    wait_for(lambda: set(page.edges().values()) == {"online"} and len(page.edges()) == 3, 15, "three edges online")
    table = page.text("nodes")
    assert all(server.address in table for server in (primary, first, second))
    assert "primary" in table and "online" in table
    assert "no write to these keys known" in page.text("routing")
    assert "is up at" in page.text("events")
    wait_for(lambda: page.run("return document.querySelectorAll('#lag path[data-line]').length") == 2, 15,
             "two lag lines")
    assert page.text("banners").strip() == ""
    page.check()
    page.shoot("desk-light")
    Page(browser, instance, dark=True).shoot("desk-dark")


def test_trouble_is_told_with_what_to_do(browser, group):
    instance, primary, first, _ = group
    first.kill()
    page = Page(browser, instance, size=PHONE)
    wait_for(lambda: page.edges().get(first.address) == "down", 20, "the dead replica in the picture")
    assert "✕ down" in page.text("nodes"), "not by colour alone"
    primary.pause()
    wait_for(lambda: instance.status()["ready"] is False, 20, "the frozen primary to be noticed")
    client = instance.client(timeout=60)
    client("CONFIG", "SET", "hold.timeout", "60s")
    client.send("SET", "k", "held")
    wait_for(lambda: "waits for a server" in page.text("banners"), 20, "the banner of the held write")
    assert "SIDESTREAM NODES" in page.text("banners") and "not ready" in page.text("ready")
    page.check()
    page.shoot("phone-trouble")
    primary.resume()
    assert client.read() == "OK"
    instance.kill()
    wait_for(lambda: "No answer" in page.text("banners"), 20, "the banner that the data is old")


def test_a_sync_has_a_bar(browser, lab, binary):
    primary = lab.server()
    primary("DEBUG", "POPULATE", "20000", "key", "2000")
    primary("CONFIG", "SET", "rdbcompression", "no")
    replica = lab.server(rdb_key_save_delay=0)
    instance = lab.instance([primary], full_sync_rate="2mb")
    replica.replicaof(instance)
    page = Page(browser, instance)
    bar = wait_for(lambda: page.run("const bar = document.querySelector('[role=progressbar][aria-valuenow]');"
                                    "return bar && [bar.ariaLabel, Number(bar.ariaValueNow)]"), 20, "a progress bar")
    assert replica.address in bar[0] and 0 <= bar[1] <= 100
    page.check()
    page.shoot("desk-sync")


def test_quarantine_and_a_bad_configuration_are_told(browser, lab, binary):
    primary, replica = lab.servers(2)
    instance = lab.instance([primary, replica])
    with instance.client() as client:
        for i in range(50):
            client("SET", f"k{i}", "v")
    wait_for(lambda: replica("DBSIZE") == 50, 10, "the replica to have all")
    primary.kill()
    primary.start().wait_up()
    (instance.dir / "sidestream.yaml").write_text("repl-timeout: soon\n")
    assert ask(instance, "/api/v1/reload", "POST")[0] == 400
    page = Page(browser, instance, dark=True)
    wait_for(lambda: "The upstream is held" in page.text("banners"), 30, "the banner of the quarantine")
    assert "SIDESTREAM REVIVE" in page.text("banners")
    assert "sidestream.yaml:1:15" in page.text("banners") and "--check-config" in page.text("banners")
    page.check()
    page.shoot("desk-dark-held")
    page = Page(browser, instance, size=PHONE)
    page.check()
    page.shoot("phone-held")
