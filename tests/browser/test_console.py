"""The console in a real Chromium: signing in, searching, acting, live refresh; light and dark, wide and narrow.

Every page is checked for what only a browser sees: errors of scripts and of the security policy, parts that stick out
of a narrow screen, controls without a name, text that is too pale.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from crossdock.console.users import place_user
from crossdock.ledger.database import open_pool
from tests.integration.console.console_server import console_of, serve
from tests.integration.insight.estate import place_estate
from tests.integration.insight.stock_estate import place_stock_estate, stock_policy

pytestmark = pytest.mark.browser

# What a page does after a click may take as long as the slowest machine needs.
expect.set_options(timeout=60_000)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PASSWORD = "correct horse battery"
PAGES = (
    "/console",
    "/console/orders",
    "/console/orders/CD00000003",
    "/console/orders/CD00000017",
    "/console/orders/CD00000005",
    "/console/stock",
    "/console/stock?q=BOLT&channel=shop",
    "/console/stock/sku/BOLT-M8",
    "/console/stock/sku/SET-1",
    "/console/stock/drift",
    "/console/connections",
    "/console/holds",
    "/console/holds/orders?cause=credit_limit",
    "/console/quarantine/facts?connection=shop",
    "/console/quarantine/steps?connection=erp",
)

# What a person sees is compared with what stands behind it: WCAG's contrast of every visible text.
CONTRAST = """
() => {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const channels = (colour) => {
    context.clearRect(0, 0, 1, 1); context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
    return context.getImageData(0, 0, 1, 1).data;
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const back = channels(getComputedStyle(e).backgroundColor);
      if (back[3] > 250) return back;
    }
    return [255, 255, 255];
  };
  const pale = [];
  for (const element of document.querySelectorAll("main *, header *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(".hidden, svg, .zero")) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const text = `${element.tagName}.${element.className}: ${element.textContent.trim()}`;
    if (ratio < 4.5) pale.push(`${ratio.toFixed(2)} ${text}`);
  }
  return pale;
}
"""
NAMELESS = """
() => [...document.querySelectorAll(
    "main button, main input:not([type=hidden]), main select, main a, header input:not([type=hidden])")]
  .filter((element) => !element.textContent.trim() && !element.getAttribute("aria-label")
    && !(element.labels && element.labels.length) && !element.querySelector("img[alt]"))
  .map((element) => element.outerHTML)
"""


@asynccontextmanager
async def console(database_url: str) -> AsyncIterator[tuple[str, Any]]:
    pool = await open_pool(database_url, size=4)
    await place_estate(pool, datetime.now(UTC))
    await place_stock_estate(pool, datetime.now(UTC))
    await place_user(pool, "olive", PASSWORD, "operator")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        async with serve(console_of(pool, lambda: datetime.now(UTC), policy=stock_policy()), port) as address:
            yield address, pool
    finally:
        await pool.close()


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("BROWSER TESTS ARE SKIPPED: there is no Chromium here (apt-get install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"], timeout=180_000
        )
        try:
            yield browser
        finally:
            await browser.close()


async def signed_in(browser: Browser, address: str, problems: list[str], **options: Any) -> Page:
    context = await browser.new_context(**options)
    context.set_default_timeout(120_000)
    page = await context.new_page()
    page.on("console", lambda message: problems.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}"))
    await page.goto(f"{address}/console")
    await page.fill("#name", "olive")
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#overview")
    return page


async def test_every_page_light_and_dark_wide_and_narrow(database_url: str) -> None:
    problems: list[str] = []
    async with console(database_url) as (address, _), chromium() as browser:
        for scheme in ("light", "dark"):
            for width in (1280, 390):
                page = await signed_in(
                    browser, address, problems, color_scheme=scheme, viewport={"width": width, "height": 900}
                )
                for path in PAGES:
                    await page.goto(address + path)
                    where = f"{scheme} {width} {path}"
                    over = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
                    problems += [f"{where}: sticks out by {over}"] if over > 0 else []
                    problems += [f"{where}: {pale}" for pale in await page.evaluate(CONTRAST)]
                    problems += [f"{where}: {nameless}" for nameless in await page.evaluate(NAMELESS)]
                    assert await page.locator("h1").count() == 1, where
                await page.context.close()
    assert sorted(set(problems)) == []


async def test_a_person_finds_an_order_and_reads_what_went_over_the_wire(database_url: str) -> None:
    problems: list[str] = []
    async with console(database_url) as (address, _), chromium() as browser:
        page = await signed_in(browser, address, problems)
        await page.keyboard.press("/")
        await page.keyboard.type("TRK000000061")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/console/orders?q=TRK000000061")
        await page.click("text=CD00000061")
        await page.wait_for_selector("#order")
        await page.click(".exchange summary >> nth=0")
        shown = await page.locator(".exchange[open] pre >> nth=0").inner_text()
        assert "CD00000061" in shown
        assert "Musterfrau" not in shown
        await page.goto(f"{address}/console/orders")
        await page.fill("#q", "utrecht")
        await expect(page.locator("#order-rows")).not_to_contain_text("consumer")
        await page.goto(f"{address}/console/orders")
        await page.click("text=Show older orders")
        await expect(page.locator("#order-rows a.key")).to_have_count(70)
    assert problems == []


async def test_an_operator_pauses_refuses_and_replays(database_url: str) -> None:
    problems: list[str] = []
    async with console(database_url) as (address, pool), chromium() as browser:
        page = await signed_in(browser, address, problems)
        await page.goto(f"{address}/console/connections")
        await page.click("#shop button:has-text('Pause')")
        await page.wait_for_selector("text=Paused. Nothing is sent until it is resumed")
        assert await pool.fetchval("SELECT paused_by FROM connections WHERE connection = 'shop'") == "olive"
        await page.goto(f"{address}/console/holds/orders?cause=credit_limit")
        await page.check("[data-choose-all]")
        await page.fill("#reason", "No credit.")
        await page.click("text=Refuse chosen")
        await page.wait_for_selector("text=3 refused.")
        await page.goto(f"{address}/console/holds")
        await page.click("text=Replay all of this cause >> nth=0")
        await page.wait_for_selector("text=4 will be tried again now.")
        await page.goto(f"{address}/console/stock")
        await page.click("button:has-text('Tell shop again')")
        await page.wait_for_selector("text=1 will be told again now.")
        assert not await pool.fetchval("SELECT count(*) FROM publications WHERE channel = 'shop' AND parked")
        await page.click("text=Sign out")
        await page.wait_for_selector("#password")
    assert problems == []


async def test_the_overview_follows_what_happens_without_reloading(database_url: str) -> None:
    problems: list[str] = []
    async with console(database_url) as (address, pool), chromium() as browser:
        page = await signed_in(browser, address, problems)
        await page.wait_for_selector("[data-live-state=on]")
        await page.evaluate("window.notReloaded = true")
        await expect(page.locator("#overview")).to_contain_text("credit limit")
        await pool.execute("UPDATE order_progress SET hold_cause = NULL WHERE hold_cause = 'credit_limit'")
        await expect(page.locator("#overview")).not_to_contain_text("credit limit")
        await expect(page.locator("#overview")).to_contain_text("6 price deviation")
        assert await page.evaluate("window.notReloaded")
    assert problems == []
