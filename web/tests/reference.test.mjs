// The pages of a server itself, as wide as a phone and as a desk: nothing sticks out to the side,
// no mark of the source is shown, and links lead somewhere. The API reference is complete, and comes
// from the server alone.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { openBrowser, openPage } from "./browser.mjs";
import { serve } from "./start.mjs";

const PAGES = ["/", "/reference", "/reference/errors"];
const WIDTHS = [390, 1200];

describe("the pages of a server", () => {
  it("are readable on a phone and on a desk, and their links lead somewhere", async (t) => {
    const server = await serve(t);
    const browser = await openBrowser(t);
    for (const width of WIDTHS) {
      const context = await browser.newContext({ viewport: { width, height: 800 } });
      for (const path of PAGES) {
        const page = await openPage(t, context, server.url + path);
        if (path === "/reference") await page.waitForSelector("#operations-commits-commit");
        const seen = await page.evaluate(look);
        const where = `${path} at ${width}`;
        assert.ok(seen.width <= width, `${where} is ${seen.width} wide`);
        assert.ok(!seen.text.includes("`"), `${where} shows raw back-ticks`);
        assert.deepEqual(seen.astray, [], `${where} has links to nothing`);
        for (const address of new Set(seen.links.filter((link) => link.startsWith(server.url)))) {
          const { status } = await fetch(address);
          assert.equal(status, 200, `${where}: ${address}`);
        }
        const folder = process.env.SCREENSHOTS;
        const name = path.replaceAll("/", "_");
        if (folder) await page.screenshot({ path: `${folder}/page${name}-${width}.png` });
        await page.close();
      }
      await context.close();
    }
  });

  it("the API reference shows every operation and schema, and asks this server only", async (t) => {
    const server = await serve(t);
    const browser = await openBrowser(t);
    const document = await (await fetch(`${server.url}/openapi.json`)).json();
    const operations = Object.values(document.paths).flatMap((item) => Object.values(item));
    for (const width of WIDTHS) {
      const context = await browser.newContext({ viewport: { width, height: 900 } });
      const [said, asked] = [[], []];
      context.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
      context.on("request", (request) => asked.push(request.url()));
      const page = await openPage(t, context, `${server.url}/reference`);

      for (const { tags, operationId } of operations) {
        await page.waitForSelector(`#operations-${tags[0]}-${operationId}`);
      }
      await page.click("#operations-commits-commit .opblock-summary-control");
      await page.waitForSelector("#operations-commits-commit .body-param__example");
      const example = await page.textContent("#operations-commits-commit .body-param__example");
      assert.ok(example.includes('"op": "require"'), example);
      await page.click("section.models > h4 > button");
      await page.waitForSelector("section.models >> text=CommitRequest");

      const { width: wide } = await page.evaluate(look);
      assert.ok(wide <= width, `an open operation is ${wide} wide at ${width}`);
      assert.deepEqual(said, [], `at ${width}`);
      const elsewhere = asked.filter((url) => !url.startsWith("data:") && !url.startsWith(server.url));
      assert.deepEqual(elsewhere, [], `at ${width}`);
      const folder = process.env.SCREENSHOTS;
      if (folder) await page.screenshot({ path: `${folder}/reference-open-${width}.png`, fullPage: true });
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
    // Of Swagger UI, an address with a slash is that of an operation or a part, not of an element.
    astray: own
      .map((link) => decodeURIComponent(link.hash.slice(1)))
      .filter((id) => !id.startsWith("/") && !document.getElementById(id)),
  };
}
