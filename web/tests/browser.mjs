// A real Chromium, as the distribution ships it.

import { chromium } from "playwright-core";

const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** A browser that closes with the test. Each `newContext()` is a person of their own. */
export async function openBrowser(t) {
  const browser = await chromium.launch({
    executablePath: EXECUTABLE,
    args: [
      // Root in a container has no sandbox to offer.
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      // Nothing but the pages under test may reach for the network.
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  t.after(() => browser.close());
  return browser;
}

/** A page whose script errors fail the test instead of passing unseen. */
export async function openPage(t, context, url) {
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(error));
  t.after(() => {
    if (errors.length > 0) throw new AggregateError(errors, `script errors on ${url}`);
  });
  await page.goto(url);
  return page;
}
