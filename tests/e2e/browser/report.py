"""What a page of `pumice report` must do, in a real browser.

    report.py small REPORT AXE SHOTS
    report.py large REPORT AXE SHOTS

`small` is the report of synthetic_run.py, `large` that of one with a million lines more. Prints what was checked; what
fails is an exception.
"""

import json
import os
import sys
import time
import urllib.parse

from browser import Browser
from synthetic_run import HOSTILE, at, timeline

CASE_5 = (at(35), at(35.75))


def check_kernel(browser):
    """Kernel lines alone, exactly: another source, not a pattern."""
    expected = [record["text"] for record in sorted(timeline(0), key=lambda record: record["host_time"]) if record["source"] == "kernel"]
    browser.click("[data-source=kernel]")
    browser.until("a filter", "return document.querySelector('.count').textContent.includes('of')")
    assert [line["text"] for line in browser.all_lines()] == expected
    browser.press("K")
    browser.until("all lines", "return !document.querySelector('.count').textContent.includes('of')")
    browser.press("K")
    browser.until("kernel lines", "return document.querySelector('.count').textContent.includes('of')")
    assert "source=kernel" in browser.driver.current_url
    browser.js("document.querySelector('.level, select').value = '3'; document.querySelector('select').dispatchEvent(new Event('change'))")
    browser.until("grave ones", "return document.querySelector('.count').textContent.startsWith('2 of')")
    browser.click(".filters .quiet")


def check_stands_out(browser):
    """Among a test's output a kernel line has another ground and another weight."""
    browser.js("location.hash = arguments[0]", "#?t=" + urllib.parse.quote(at(30.5)))
    browser.until("the line", "return document.querySelector('.line[aria-selected=true]')?.textContent.includes('item 10')")
    kernel, stdout = browser.js("""
        return ['kernel', 'stdout'].map((source) => { const line = document.querySelector(`.line.source-${source}[aria-selected=false]`);
            const text = getComputedStyle(line.querySelector('.text'));
            return [getComputedStyle(line).backgroundColor, text.fontWeight, text.color]; })""")
    assert all(one != other for one, other in zip(kernel, stdout)), (kernel, stdout)


def check_text(browser):
    """A regular expression, and one that is none."""
    browser.type(".field-grep", "item 1[0-4] of")
    browser.until("a filter", "return document.querySelector('.count').textContent.startsWith('60 of')")
    assert all("item 1" in line["text"] for line in browser.all_lines())
    browser.type(".field-grep", "item (")
    browser.until("a complaint", "return document.querySelector('.filters .wrong').textContent !== ''")
    browser.type(".field-grep", "")
    browser.press("BACK_SPACE")
    browser.until("all lines", "return !document.querySelector('.count').textContent.includes('of') && document.querySelector('.filters .wrong').hidden")


def check_case(browser):
    """A click on a case marks its range in the log, and the address is a link to it."""
    browser.click(".lane-case .bar", 5)
    browser.until("a range", "return document.querySelectorAll('.line.in-range').length > 5")
    marked = [line for line in browser.all_lines() if "in-range" in line["classes"]]
    assert len(marked) == 16 and {line["text"][:7] for line in marked} == {"case-05", "usb 1-1"}, marked
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(browser.driver.current_url.replace("#?", "?")).query)
    assert (query["t"][0], query["t2"][0]) == CASE_5, query
    browser.press("ESCAPE")
    browser.until("no range", "return document.querySelectorAll('.line.in-range').length === 0")
    browser.click("#tab-results")
    browser.click(".results tbody tr.case .link", 5)
    browser.until("a range", "return document.querySelectorAll('.line.in-range').length > 5")


def check_hostile(browser):
    """What a board sent is text: as markup, colours and directions it does nothing."""
    assert browser.js("return document.title").startswith("smoke on bookworm")
    browser.js("location.hash = arguments[0]", "#?source=stdout&t=" + urllib.parse.quote(at(43)))
    browser.until("the line", "return document.querySelector('.line[aria-selected=true]')?.textContent.includes('script')")
    shown = [line["text"] for line in browser.lines()]
    first = shown.index(HOSTILE[0])
    assert shown[first + 1] == HOSTILE[1]
    assert shown[first + 2] == r"\x1b[31mred\x1b[0m \x1b]0;title\x07 \x00 bell", shown[first + 2]
    assert r"\u{202e}" in shown[first + 3] and "\u202e" not in shown[first + 3]
    assert shown[first + 4] == r"<!-- & &lt; \u{2028} end"
    assert browser.js("return document.querySelectorAll('img, .log script, b, i').length") == 0
    browser.click("#tab-results")
    names = browser.js("return [...document.querySelectorAll('.results .link')].map((link) => link.textContent)")
    assert r"<b>bold</b> \u{202e}name\x1b[31m" in names, names


def check_link(browser, address):
    """A link to a line, with its filters, opens there; hovering shows both clocks."""
    query = urllib.parse.urlencode({"source": "kernel", "t": at(38.36)})
    browser.open(f"{address}#?{query}")
    browser.until("the line", "return document.querySelector('.line[aria-selected=true] .text')?.textContent === 'usb 1-1: new high-speed USB device number 8'")
    facts = browser.js("return document.querySelector('.detail-facts').textContent")
    for part in ("kernel", "info", "host 2026-03-01 12:00:38.360000", "± 850 µs", "board 18.460000 s"):
        assert part in facts, facts
    place = browser.js("""const line = document.querySelector('.line[aria-selected=true]').getBoundingClientRect();
        const box = document.querySelector('.log').getBoundingClientRect(); return line.top >= box.top && line.bottom <= box.bottom""")
    assert place, "the line is out of sight"


def check_keys(browser):
    """Everything without a mouse."""
    selected = "return Number(document.querySelector('.line[aria-selected=true]')?.dataset.line ?? -1)"
    browser.press("j", "j", "k")
    assert browser.js(selected) == 0
    browser.press("END")
    last = browser.js(selected)
    assert last == len(list(timeline(0))) - 1, last
    browser.press("PAGE_UP", "HOME")
    assert browser.js(selected) == 0
    active = browser.js("return document.getElementById(document.querySelector('.log').getAttribute('aria-activedescendant'))?.dataset.line")
    assert active == "0", active
    browser.press("/")
    assert browser.js("return document.activeElement.className") == "field-grep"
    browser.press("ESCAPE", "?")
    assert browser.js("return document.querySelector('dialog').open")
    browser.press("ESCAPE")
    assert not browser.js("return document.querySelector('dialog').open")
    browser.js("document.querySelector('.lane-test .bar').focus()")
    browser.press("ARROW_DOWN", "ARROW_RIGHT", "ENTER")
    browser.until("a range", "return document.querySelectorAll('.line.in-range').length > 5")
    outline = browser.js("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", outline
    # Everything that Tab reaches has a name, and Tab leaves it again.
    browser.js("document.activeElement.blur()")
    reached = []
    for _ in range(60):
        browser.press("TAB")
        name = browser.js("const at = document.activeElement; return at === document.body ? '' : `${at.className} ${at.id} ${at.textContent.slice(0, 20)}`")
        if name in reached or not name:
            break
        reached.append(name)
    assert any("log" in name for name in reached) and any("tab" in name for name in reached) and len(reached) > 10, reached


def check_stays(browser):
    """Nothing moves while lines come and go: layout shifts are counted by the browser."""
    browser.js("""window.shifts = 0; new PerformanceObserver((list) => { for (const entry of list.getEntries()) window.shifts += entry.value; })
        .observe({ type: 'layout-shift', buffered: false })""")
    browser.press("END", "HOME", "PAGE_DOWN", "PAGE_DOWN", "PAGE_UP")
    browser.wheel(".log", 700)
    browser.settled()
    shifts = browser.js("return window.shifts")
    assert shifts < 0.05, shifts


def small(report, axe, shots):
    address = f"file://{report}"
    with Browser() as browser:
        for check in (check_kernel, check_stands_out, check_text, check_case, check_hostile, check_keys, check_stays):
            browser.open(address)
            browser.until("the log", "return document.querySelector('.log .line .text')?.textContent")
            check(browser)
            print(check.__doc__.splitlines()[0])
        check_link(browser, address)
        assert browser.complaints() == [], browser.complaints()
    for name, width, height, dark in (("light", 1280, 860, False), ("dark", 1280, 860, True), ("phone", 360, 740, False), ("phone-dark", 360, 740, True)):
        with Browser(width, height, dark) as browser:
            browser.open(address + "#?t=" + urllib.parse.quote(CASE_5[0]) + "&t2=" + urllib.parse.quote(CASE_5[1]))
            browser.until("the range", "return document.querySelector('.line.in-range')")
            assert browser.js("return document.documentElement.scrollWidth <= innerWidth"), f"{name} scrolls to the side"
            grounds = browser.js("return getComputedStyle(document.documentElement).backgroundColor")
            assert (grounds == "rgb(20, 25, 27)") == dark, grounds
            for tab in ("log", "results", "files"):
                browser.click(f"#tab-{tab}")
                if tab == "log":
                    browser.js("document.querySelector('.log').scrollIntoView({ block: 'nearest' })")
                browser.shot(os.path.join(shots, f"report-{name}-{tab}.png"))
                assert browser.js("return document.documentElement.scrollWidth <= innerWidth"), f"{name} {tab} scrolls to the side"
                violations = browser.violations(axe)
                assert violations == [], "\n".join([f"{name} {tab}:", *violations])
            # The switch goes over the system's colours.
            for theme in ("light", "dark"):
                while browser.js("return document.documentElement.dataset.theme") != theme:
                    browser.click(".top .quiet")
                color = browser.js("return getComputedStyle(document.documentElement).backgroundColor")
                assert (color == "rgb(20, 25, 27)") == (theme == "dark"), color
            print(f"{name}: colours, width, accessibility")


def large(report, _axe, shots):
    with Browser() as browser:
        begun = time.monotonic()
        browser.open(f"file://{report}")
        browser.until("the log", "return document.querySelector('.log .line .text')?.textContent")
        took = {"open": time.monotonic() - begun}
        total = browser.js("return Number(document.querySelector('.line').getAttribute('aria-setsize'))")
        assert total == 200_001, total
        assert "lines from the middle of the log" in browser.js("return document.querySelector('.troubles').textContent")
        for key, line in (("END", total - 1), ("HOME", 0)):
            begun = time.monotonic()
            browser.press(key)
            browser.settled()
            took[key.lower()] = time.monotonic() - begun
            assert line in [seen["line"] for seen in browser.lines()], key
        # The bar that is dragged to its middle shows the middle, and the wheel goes on by lines from there.
        browser.js("const log = document.querySelector('.log'); log.scrollTop = (log.scrollHeight - log.clientHeight) / 2")
        browser.settled()
        middle = browser.lines()[0]["line"]
        assert abs(middle - total / 2) < 100, middle
        assert any("left out of this page" in line["text"] for line in browser.lines()), "the gap lies in the middle"
        browser.wheel(".log", 200)
        browser.settled()
        moved = browser.lines()[0]["line"] - middle
        assert moved in (9, 10, 11), moved
        browser.shot(os.path.join(shots, "report-large.png"))
        begun = time.monotonic()
        browser.press("K")
        browser.until("kernel lines", "return document.querySelector('.count').textContent.includes(' of ')")
        took["filter"] = time.monotonic() - begun
        # 200 of the stress test's, and those around it that are not left out.
        kept = browser.js("return Number(document.querySelector('.line').getAttribute('aria-setsize'))")
        assert 400 < kept < 500, kept
        assert browser.complaints() == [], browser.complaints()
        # A window of frames while it scrolls: none of them may take long enough to be seen as a halt.
        browser.press("K")
        frames = browser.driver.execute_async_script("""
            const done = arguments[0], log = document.querySelector('.log'), times = []; let last = performance.now();
            const step = (now) => { times.push(now - last); last = now; log.dispatchEvent(new WheelEvent('wheel', { deltaY: 120, cancelable: true, bubbles: true }));
                if (times.length < 120) requestAnimationFrame(step); else done(times.slice(1).sort((one, other) => one - other)); };
            requestAnimationFrame(step)""")
        took["frame, the middle of 120"], took["frame, the longest"] = frames[len(frames) // 2] / 1e3, frames[-1] / 1e3
        print(json.dumps({name: f"{seconds * 1e3:.0f} ms" for name, seconds in took.items()}))


if __name__ == "__main__":
    kind, page, axe_file, folder = sys.argv[1:]
    os.environ["PUMICE_SHOTS"] = folder
    {"small": small, "large": large}[kind](os.path.abspath(page), axe_file, folder)
