// EventSource, in Node and in a real browser, and the page of live.md that keeps one.

import { readFile } from "node:fs/promises";

import { EventSource } from "eventsource";

const PAGE = new URL("../../docs/reference/live.md", import.meta.url);

/** An EventSource of npm that keeps what it hears, as `{event, data, id}`. */
export class Source {
  heard = [];
  errors = 0;

  constructor(t, url, ...events) {
    this.source = new EventSource(url);
    t.after(() => this.source.close());
    this.source.addEventListener("error", () => this.errors++);
    for (const event of events) {
      this.source.addEventListener(event, ({ data, lastEventId }) =>
        this.heard.push({ event, data: JSON.parse(data), id: lastEventId }),
      );
    }
  }

  /** All that was heard by this event. */
  all(event) {
    return this.heard.filter((one) => one.event === event);
  }

  get isClosed() {
    return this.source.readyState === EventSource.CLOSED;
  }
}

/** Where a browser's EventSource follows a topic as the document shows it. */
export class Page {
  #page;

  /** `event` of `topic`, at this server; the page is one of its own. */
  static async open(browser, url, topic, event) {
    const page = await browser.newPage();
    await page.goto(`${url}/healthz`);
    const source = await snippet();
    const changed = source
      .replace("room:1", encodeURIComponent(topic))
      .replace('"said"', JSON.stringify(event));
    await page.evaluate(() => {
      window.shown = [];
      window.show = (data) => window.shown.push(data);
      // How often the browser gave up, and how often it came back by itself.
      window.sources = [];
      const Plain = window.EventSource;
      window.EventSource = class extends Plain {
        constructor(url) {
          super(url);
          window.sources.push(this);
        }
      };
    });
    await page.addScriptTag({ content: changed });
    const opened = new Page();
    opened.#page = page;
    return opened;
  }

  /** What the page has shown. */
  shown() {
    return this.#page.evaluate(() => window.shown);
  }

  /** How many EventSources it has made. */
  sources() {
    return this.#page.evaluate(() => window.sources.length);
  }

  /** True while the newest one is open. */
  isOpen() {
    return this.#page.evaluate(() => window.sources.at(-1)?.readyState === 1);
  }

  close() {
    return this.#page.close();
  }
}

async function snippet() {
  const page = await readFile(PAGE, "utf8");
  const blocks = [...page.matchAll(/```js\n(.*?)```/gs)].map(([, block]) => block);
  const found = blocks.find((block) => block.includes("new EventSource"));
  if (!found) throw new Error("live.md shows no EventSource");
  return found;
}
