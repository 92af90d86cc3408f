// The pages of a server itself, as wide as a phone and as a desk: nothing sticks out to the side,
// no mark of the source is shown, and the contents lead to what they name.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { openBrowser, openPage } from "./browser.mjs";
import { serve } from "./start.mjs";

const PAGES = ["/", "/reference", "/reference/errors"];
const WIDTHS = [390, 1280];

describe("the pages of a server", () => {
  it("are readable on a phone and on a desk, and their links lead somewhere", async (t) => {
    const server = await serve(t);
    const browser = await openBrowser(t);
    for (const width of WIDTHS) {
      const context = await browser.newContext({ viewport: { width, height: 800 } });
      for (const path of PAGES) {
        const page = await openPage(t, context, server.url + path);
        const seen = await page.evaluate(look);
        const where = `${path} at ${width}`;
        assert.ok(seen.width <= width, `${where} is ${seen.width} wide`);
        assert.ok(!seen.text.includes("`"), `${where} shows raw back-ticks`);
        assert.deepEqual(seen.astray, [], `${where} has links to nothing`);
        for (const address of new Set(seen.links)) {
          const { status } = await fetch(address);
          assert.equal(status, 200, `${where}: ${address}`);
        }
        if (path === "/reference") assert.ok(seen.contents >= 30, `${where}: ${seen.contents} contents`);
        const folder = process.env.SCREENSHOTS;
        const name = path.replaceAll("/", "_");
        if (folder) await page.screenshot({ path: `${folder}/page${name}-${width}.png` });
        await page.close();
      }
      await context.close();
    }
  });
});

/** In the page: how wide it is, what it says, where its links lead to. */
function look() {
  const links = [...document.querySelectorAll("a[href]")];
  const own = links.filter((link) => link.getAttribute("href").startsWith("#"));
  return {
    width: document.documentElement.scrollWidth,
    text: document.body.textContent,
    links: links.filter((link) => !own.includes(link)).map((link) => link.href),
    astray: own.map((link) => link.hash.slice(1)).filter((id) => !document.getElementById(id)),
    contents: document.querySelectorAll("nav a").length,
  };
}
