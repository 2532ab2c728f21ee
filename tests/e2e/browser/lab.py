"""What the lab's page must do, in a real browser, on a lab that is served.

    lab.py ADDRESS BOARD RUN AXE SHOTS

ADDRESS is that of `pumice serve`, BOARD one of its boards, RUN a run of synthetic_run.py in its store. Prints what was
checked; what fails is an exception.
"""

import os
import sys
import urllib.parse

from browser import Browser
from synthetic_run import RUN, at

JOB = "name: from the page\nboard: {{name: {board}}}\ntests:\n  - name: uname\n    run: uname -a\n"


def lab(browser, address, board):
    """Every board with a link to its console, and the queue."""
    browser.open(f"{address}/#/")
    browser.until("the board", f"return document.querySelector('[aria-label=\"Board {board}\"]')")
    browser.click(f"[aria-label='Board {board}'] .board-row a:last-child")
    browser.until("its page", "return location.hash.startsWith('#/boards/')")


def console(browser, address, board):
    """A live console; the board is acquired and released."""
    browser.open(f"{address}/#/boards/{board}")
    browser.until("a connection", "return document.querySelector('[role=status].faint')?.textContent === 'live'")
    browser.click(".primary")
    browser.until("the lease", "return document.querySelector('.facts').textContent.includes('Acquired')")
    browser.click(".bar-of-buttons button:not([hidden])")
    browser.until("its end", "return !document.querySelector('.facts').textContent.includes('Acquired')")


def submit(browser, address, board):
    """A job from the form: a fault is named with its line, a good one is shown."""
    browser.open(f"{address}/#/jobs")
    browser.until("the form", "return document.querySelector('details')")
    browser.click("details summary")
    browser.type("textarea", JOB.format(board=board).replace("board:", "bord:"))
    browser.click("form .primary")
    browser.until("a complaint", "return /:2: .*bord/.test(document.querySelector('form .wrong').textContent)")
    browser.type("textarea", JOB.format(board=board))
    browser.click("form .primary")
    browser.until("the job", "return /^#.jobs.\\d+$/.test(location.hash) && document.querySelector('h1')?.textContent.includes('from the page')")
    browser.until("its definition", "return document.querySelector('pre').textContent.includes('uname -a')")


def run(browser, address, name):
    """The run with its filters, from the server."""
    browser.open(f"{address}/#/runs/{urllib.parse.quote(name)}?source=kernel&t={urllib.parse.quote(at(38.36))}")
    browser.until("the line", "return document.querySelector('.line[aria-selected=true] .text')?.textContent === 'usb 1-1: new high-speed USB device number 8'")
    browser.click(".filters .quiet")
    browser.until("all lines", "return !document.querySelector('.count').textContent.includes(' of ')")
    browser.type(".field-grep", "item (")
    browser.until("a complaint", "return document.querySelector('.filters .wrong').textContent !== ''")
    browser.type(".field-grep", "item 1[0-4] of")
    browser.until("a filter", "return document.querySelector('.count').textContent.startsWith('60 of')")
    browser.click(".lane-case .bar", 5)
    browser.until("a range", "return document.querySelectorAll('.line.in-range').length === 5")
    browser.click("#tab-results")
    browser.until("results", "return document.querySelectorAll('.results tbody tr').length === 15")
    browser.click("#tab-files")
    browser.until("files", "return [...document.querySelectorAll('.files-panel a')].some((link) => link.textContent === 'tests/smoke/stdout.log')")
    answer = browser.driver.execute_async_script("""
        const done = arguments[0], link = [...document.querySelectorAll('.files-panel a')].find((link) => link.textContent === 'tests/smoke/stdout.log');
        fetch(link.href).then(async (response) => done([response.status, response.headers.get('content-disposition'), await response.text()]), (error) => done([String(error)]))""")
    assert answer[0] == 200 and "attachment" in answer[1] and answer[2] == "{}\n", answer


def looks(browser, address, board, name, axe, shots, kind):
    """Colours, width, accessibility of every page."""
    for page in ("", "jobs", "runs", f"boards/{board}", f"runs/{name}"):
        browser.open(f"{address}/#/{page}")
        browser.until("the page", "return document.querySelector('main h1')")
        browser.js("for (const details of document.querySelectorAll('details')) details.open = true")
        browser.shot(os.path.join(shots, f"lab-{kind}-{page.split('/')[0] or 'lab'}{'-one' if '/' in page else ''}.png"))
        assert browser.js("return document.documentElement.scrollWidth <= innerWidth"), f"{page} scrolls to the side"
        violations = browser.violations(axe)
        assert violations == [], "\n".join([f"{kind} {page}:", *violations])


def main(address, board, name, axe, shots):
    os.environ["PUMICE_SHOTS"] = shots
    with Browser() as browser:
        for check, what in ((lab, board), (console, board), (submit, board), (run, name)):
            check(browser, address, what)
            print(check.__doc__)
        # What was refused on purpose is told here too.
        complaints = [line for line in browser.complaints() if "status of 4" not in line]
        assert complaints == [], complaints
    for kind, width, dark in (("light", 1280, False), ("phone", 360, True)):
        with Browser(width, 800, dark) as browser:
            looks(browser, address, board, name, axe, shots, kind)
            print(looks.__doc__, kind)


if __name__ == "__main__":
    assert len(sys.argv) == 6 and sys.argv[3].endswith(RUN.split("-")[-1]), __doc__
    main(*sys.argv[1:])
